import re
from pathlib import Path

from trimtab._version import __version__

ROOT = Path(__file__).parents[2]
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
HEADINGS = re.findall(r"^## \[([^]]+)\]", CHANGELOG, flags=re.MULTILINE)


def test_unreleased_comes_first():
    assert HEADINGS[:1] == ["Unreleased"]


def test_the_newest_release_is_the_version_of_the_package():
    """Until the first release the version is the one to come."""
    released = HEADINGS[1:]
    assert not released or released[0] == __version__
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)


def test_every_section_is_one_of_keep_a_changelog():
    sections = set(re.findall(r"^### (.+)$", CHANGELOG, flags=re.MULTILINE))
    known = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert sections <= known
