"""A key is the same for the same, and another for anything that decides."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trimtab.compiler import keys
from trimtab.compiler.keys import key_of, sources_digest
from trimtab.hardware.load import machine
from trimtab.runtime.cache import Cache


class TestKey:
    here = machine("milan")

    def _key(self, **change: Any) -> str:
        parts = {"machine": self.here, "versions": {"tvm": "1", "torch": "2"}}
        return key_of(change.pop("work", "conv 3x3"), **{**parts, **change})

    def test_it_is_the_same_for_the_same(self, tmp_path: Path) -> None:
        assert self._key() == self._key(versions={"torch": "2", "tvm": "1"})
        assert Cache(tmp_path).get(self._key()) is None  # one that it takes

    def test_all_that_matters_changes_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        found = {
            self._key(),
            self._key(work="conv 3x4"),
            self._key(versions={"tvm": "2", "torch": "2"}),
            self._key(what="code"),
            self._key(machine=replace(self.here, cores=self.here.cores + 1)),
        }
        monkeypatch.setattr(keys, "sources_digest", lambda: "other")
        found.add(self._key())
        assert len(found) == 6

    def test_the_source_of_all_that_decides_is_part_of_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(keys, "_ROOT", tmp_path)
        digest = sources_digest.__wrapped__
        seen = [digest()]
        for name in (
            "compiler/rules/one.py",
            "compiler/rules/two.py",
            "compiler/tvm/glue.cpp",
            "cost/rules.py",
            "hardware/cores.py",
            "hardware/catalogue/cores/zen9.toml",
        ):
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            for text in ("x = 1", "x = 2"):
                path.write_text(text)
                seen.append(digest())
        (tmp_path / "compiler/rules/two.py").rename(tmp_path / "compiler/two.py")
        seen.append(digest())
        (tmp_path / "compiler/notes.txt").write_text("no code")
        (tmp_path / "report.py").write_text("decides nothing")
        assert digest() == seen[-1]
        assert len(set(seen)) == len(seen) == 14

    def test_what_is_hashed_is_there(self) -> None:
        for pattern in keys._SOURCES:
            assert list(keys._ROOT.glob(pattern)), pattern
