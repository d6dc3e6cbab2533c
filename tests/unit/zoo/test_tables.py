from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from trimtab.errors import UsageError
from trimtab.zoo.preset import NcfSizes
from trimtab.zoo.recommend import build
from trimtab.zoo.tables import mapped_tables, write_tables

SIZES = NcfSizes(users=40, items=20, dim=8, mlp=(16,))


def test_two_networks_share_the_files(tmp_path: Path) -> None:
    write_tables(SIZES.table_shapes, tmp_path, seed=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tables.f32"]
    nets = [build(SIZES, mapped_tables(tmp_path)) for _ in range(2)]
    one, other = (net.get_parameter("tables.weight") for net in nets)
    assert torch.equal(one, other)
    assert not one.requires_grad
    assert 0.04 < one.abs().max() <= 0.05
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("no /proc/self/maps on this system: sharing is not seen")
    assert maps.read_text().count(str(tmp_path / "tables.f32")) == 2


def test_another_process_computes_the_same_scores(tmp_path: Path) -> None:
    write_tables(SIZES.table_shapes, tmp_path, seed=1)
    code = (
        "import sys, torch; from pathlib import Path;"
        "from trimtab.zoo.tables import mapped_tables;"
        f"print(mapped_tables(Path({str(tmp_path)!r}))('tables', 120, 8).sum().item())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=True, timeout=60, capture_output=True, text=True,
    )  # fmt: skip
    here = mapped_tables(tmp_path)("tables", 120, 8).sum().item()
    assert float(done.stdout) == here != 0


def test_writing_to_a_mapped_table_stays_in_the_process(tmp_path: Path) -> None:
    write_tables(SIZES.table_shapes, tmp_path, seed=1)
    before = (tmp_path / "tables.f32").read_bytes()
    mapped_tables(tmp_path)("tables", 120, 8).zero_()
    assert (tmp_path / "tables.f32").read_bytes() == before


def test_the_seed_decides_the_numbers(tmp_path: Path) -> None:
    def written(seed: int) -> bytes:
        write_tables(SIZES.table_shapes, tmp_path, seed=seed)
        return (tmp_path / "tables.f32").read_bytes()

    assert written(1) == written(1) != written(2)


def test_progress_ends_at_one(tmp_path: Path) -> None:
    told: list[float] = []
    shapes = {"tables": (5, 2), "wide": (3, 1)}
    write_tables(
        shapes, tmp_path, seed=0, progress=lambda done, text: told.append(done)
    )
    assert told == [10 / 13, 1.0]


def test_a_missing_file_and_one_of_another_size_are_refused(tmp_path: Path) -> None:
    source = mapped_tables(tmp_path)
    with pytest.raises(UsageError, match="there is no such file"):
        source("tables", 3, 2)
    write_tables({"tables": (3, 2)}, tmp_path, seed=0)
    with pytest.raises(UsageError) as caught:
        source("tables", 4, 2)
    assert str(caught.value) == (
        "table tables of 4 x 2: the file has 24 bytes instead of 32 "
        f"({tmp_path / 'tables.f32'}). "
        "Write the tables of this preset with write_tables."
    )


def test_too_large_tables_are_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    with pytest.raises(UsageError, match="the folder has room for"):
        write_tables({"tables": (2**31, 2**20)}, tmp_path, seed=0)
    assert not list(tmp_path.iterdir())


def test_a_failure_leaves_the_old_file_and_no_draft(tmp_path: Path) -> None:
    write_tables({"tables": (3, 2)}, tmp_path, seed=0)
    before = (tmp_path / "tables.f32").read_bytes()

    def stop(done: float, text: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_tables({"tables": (3, 2)}, tmp_path, seed=1, progress=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["tables.f32"]
    assert (tmp_path / "tables.f32").read_bytes() == before
