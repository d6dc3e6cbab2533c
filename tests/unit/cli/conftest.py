import subprocess
import sys

import pytest


@pytest.fixture
def trimtab(tmp_path, monkeypatch):
    """Run the command line as a user does, in an empty folder with an empty cache."""
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))

    def run(*arguments, cwd=tmp_path, timeout=120):
        return subprocess.run(
            [sys.executable, "-m", "trimtab", *map(str, arguments)],
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run
