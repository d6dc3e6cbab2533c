"""Schedules in files, hostile until read."""

import json

import pytest

from trimtab.errors import DataError, UsageError
from trimtab.serve.capacity import Target
from trimtab.serve.curves import ServiceCurve
from trimtab.serve.schedule import Schedule
from trimtab.serve.tuned import Tuned, check_place, read_tuned, write_tuned

TUNED = Tuned(
    network="net", workers=2, target=Target(latency_s=0.1),
    schedule=Schedule(batch=64, coalesce=True), rate_per_s=50.0, why="It is best.",
    curve=ServiceCurve(network="net", source="test", sizes=(1, 64), seconds=(0.1, 0.2)),
)  # fmt: skip


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "schedule.json"
    write_tuned(TUNED, path)
    assert read_tuned(path) == TUNED
    assert [each.name for each in tmp_path.iterdir()] == ["schedule.json"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schedule": {"batch": 0}}, "at least 1"),
        ({"schedule": {"batch": "many"}}, "schedule.batch"),
        ({"format": 2}, "format"),
        ({"more": 1}, "more"),
        ({"target": {"latency_s": -1}}, "above 0"),
    ],
)
def test_what_is_no_schedule_is_refused(tmp_path, change, said):
    path = tmp_path / "schedule.json"
    write_tuned(TUNED, path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DataError, match=said):
        read_tuned(path)


def test_absent_files_and_folders(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        read_tuned(tmp_path / "none.json")
    with pytest.raises(UsageError, match="its folder does not exist"):
        check_place(tmp_path / "none" / "schedule.json")
