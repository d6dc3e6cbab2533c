"""Files of a study: bounded, readable without trust, whole or not at all."""

import json

import numpy as np
import pytest
from tests.unit.partition.test_plan import graph  # noqa: F401 - a fixture
from tests.unit.partition.test_study import made

from trimtab.errors import UsageError
from trimtab.partition.answers import answers
from trimtab.partition.study import AXES
from trimtab.partition.study_files import FILES, arrays, require_folder, write


def results(some):
    outcome = some.outcome("latency")
    return [(outcome, answers(some, outcome, noise_frac=0.05, seed=0))]


def test_points_are_read_again(graph, tmp_path):  # noqa: F811
    some = made(graph, uplinks=5)
    mine = results(some)
    write(tmp_path / "new", {"a": 1}, arrays([some], [mine]), "<html>")
    assert sorted(each.name for each in (tmp_path / "new").iterdir()) == sorted(FILES)
    assert json.loads((tmp_path / "new" / "study.json").read_text()) == {"a": 1}
    with np.load(tmp_path / "new" / "points.npz", allow_pickle=False) as found:
        assert found["axes"].tolist() == list(AXES)
        best_s = found["small latency best_s"]
        assert best_s.shape == mine[0][0].best_s.shape
        assert best_s == pytest.approx(mine[0][0].best_s, rel=1e-6)
        positions = some.space.positions[mine[0][0].best]
        assert (found["small latency position"] == positions).all()
        assert found["levels uplink"].tolist() == list(some.grid.uplink_bytes_per_s)


def test_many_conditions_are_thinned(graph, monkeypatch):  # noqa: F811
    some = made(graph, uplinks=9)
    mine = results(some)
    cells = mine[0][0].best.size
    monkeypatch.setattr("trimtab.partition.study_files._MOST_CELLS", cells // 2)
    found = arrays([some], [mine])
    assert len(found["levels uplink"]) == 5
    assert found["small latency best_s"].shape[AXES.index("uplink")] == 5


def test_what_is_not_a_study_is_not_replaced(tmp_path):
    require_folder(tmp_path / "new")
    require_folder(tmp_path)
    write(tmp_path, {}, {}, "")
    require_folder(tmp_path)
    (tmp_path / ".points.npz.making").write_text("of one that was stopped")
    require_folder(tmp_path)
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match=r"thesis\.tex"):
        require_folder(tmp_path)
    with pytest.raises(UsageError, match=r"thesis\.tex"):
        require_folder(tmp_path / "thesis.tex")
