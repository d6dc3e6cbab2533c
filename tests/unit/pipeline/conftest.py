import pytest


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    """Keep what is kept in a folder of the test."""
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
