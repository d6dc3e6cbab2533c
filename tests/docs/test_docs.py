"""What pages in docs/ tell a reader to run, runs."""

import contextlib
import logging
import re
from pathlib import Path

import pytest
from benchmarks import vision

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
NEEDED = {
    "trimtab.onnx.write": "onnxscript",
    'backend="trimtab"': "tvm",
    "lightning.pytorch": "lightning",
}
"""What stands in an example, and the package without which it cannot run."""


def _examples():
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        fences = re.findall(
            r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL
        )
        for index, code in enumerate(fences, 1):
            yield pytest.param(code, id=f"{page.stem}-{index}")


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore")  # of Lightning, onnxscript and TVM at themselves
@pytest.mark.parametrize("code", list(_examples()))
def test_an_example_runs(code, tmp_path, monkeypatch):
    for said, package in NEEDED.items():
        if said in code:
            if package == "lightning":
                with contextlib.suppress(ImportError):
                    vision.torchvision()  # Lightning imports torchvision where it is
            pytest.importorskip(package, reason=f"the example takes {package}")
    monkeypatch.chdir(tmp_path)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    exec(compile(code, "example", "exec"), {"__name__": "example"})
