import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "trimtab"
MAP = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
MENTIONED = set(re.findall(r"`([a-z0-9_/]+\.py)`", MAP))


def _modules() -> set[str]:
    paths = (path.relative_to(SOURCE) for path in SOURCE.rglob("*.py"))
    return {path.as_posix() for path in paths if path.name != "__init__.py"}


def test_every_module_has_a_line_in_the_map():
    missing = sorted(_modules() - MENTIONED)
    assert not missing, f"give each one line in ARCHITECTURE.md: {missing}"


def test_every_line_of_the_map_is_a_module():
    gone = sorted(MENTIONED - _modules())
    assert not gone, f"ARCHITECTURE.md names what is not there: {gone}"


def test_the_import_order_is_the_one_that_is_checked():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    layers = next(each for each in contracts if each["id"] == "layers")["layers"]
    checked = [re.findall(r"\w+", layer) for layer in layers]
    block = MAP.split("## Who may import whom", 1)[1].split("```")[1]
    written = [re.findall(r"\w+", layer) for layer in block.split(">")]
    assert written == checked
