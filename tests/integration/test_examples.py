"""The examples run as a user would run them, with smaller numbers."""

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name, *arguments):
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_turned_digits():
    said = run("turned_digits.py", "--examples", "60", "--steps", "24")
    assert "as plain layers: AdaptiveMaxPool2d, AvgPool2d, Conv2d" in said
    assert "of 1000 other digits are right" in said
    assert "rotation by 90 degrees" in said
