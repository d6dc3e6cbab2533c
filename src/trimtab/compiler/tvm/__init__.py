"""All that imports TVM: code generation, linking, fallback, the measured baseline."""

from trimtab.errors import MissingExtraError

try:
    import tvm
except ModuleNotFoundError as error:
    raise MissingExtraError(
        "code generation",
        rule=f"it takes TVM, which is not installed ({error.name})",
        where="compiler/tvm",
        remedy="pip install 'trimtab[compile]'",
    ) from error

assert tvm
