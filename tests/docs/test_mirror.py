import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "trimtab"

# Modules without a test file of their own, each with the reason.
EXCEPTIONS = {
    "_version.py": "one constant; tests/docs/test_changelog.py compares it",
}


def _without_test() -> list[str]:
    missing = []
    for path in sorted(SOURCE.rglob("*.py")):
        module = path.relative_to(SOURCE)
        mirrored = ROOT / "tests" / "unit" / module.parent / f"test_{module.stem}.py"
        if path.name not in ("__init__.py", "__main__.py") and not mirrored.exists():
            missing.append(module.as_posix())
    return missing


def test_every_module_has_a_test_file_of_its_name():
    missing = [
        module
        for module in _without_test()
        if not any(fnmatch.fnmatch(module, pattern) for pattern in EXCEPTIONS)
    ]
    assert not missing, f"each needs tests/unit/<same path>/test_<name>.py: {missing}"


def test_no_exception_is_out_of_date():
    without = _without_test()
    unused = [each for each in EXCEPTIONS if not fnmatch.filter(without, each)]
    assert not unused, f"these have a test now: {unused}"
