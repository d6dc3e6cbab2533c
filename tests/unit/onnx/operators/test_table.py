import importlib
import pkgutil

import trimtab.onnx.operators as room
from trimtab.onnx.operators.table import TRANSLATIONS, Operation, refused


def test_every_module_enters_what_it_translates():
    """The table is filled by importing the package; no module is forgotten."""
    modules = {each.name for each in pkgutil.iter_modules(room.__path__)} - {"table"}
    for name in modules:
        module = importlib.import_module(f"{room.__name__}.{name}")
        own = {k for k, v in TRANSLATIONS.items() if _home(v) == module.__name__}
        assert own, name


def _home(function):
    return getattr(function, "func", function).__module__


def test_attributes_and_refusals():
    operation = Operation(kind="Conv", opset=18, attributes={"group": 2})
    assert (operation.get("group"), operation.get("pads", 0)) == (2, 0)
    assert "operator Conv: why" in str(refused(operation, "why"))
