"""JSON files of records."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from trimtab import files
from trimtab.errors import DataError, UsageError


@dataclass(frozen=True)
class Pair:
    first: int
    second: list[int]


ADAPTER = TypeAdapter(Pair)


def wrong(rule):
    return DataError("pair", rule=rule, where="here", remedy="make it again")


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "pair.json"
    files.write({"first": 1, "second": [2, 3]}, path, "pair")
    found = files.read(ADAPTER, path, wrong, most_bytes=100)
    assert found == Pair(first=1, second=[2, 3])
    assert [each.name for each in tmp_path.iterdir()] == ["pair.json"]


def test_what_cannot_be_written_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "pair.json"
    files.write({"first": 1}, path, "pair")
    with pytest.raises(TypeError):
        files.write({"first": object()}, path, "pair")
    assert json.loads(path.read_text()) == {"first": 1}


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"[1", "the file: invalid json"),
        (b"\xff", "the file: invalid json"),
        (b'{"first": "x", "second": []}', "first: input should be a valid integer"),
        (b'{"first": 1, "second": [0, "y"]}', "second.1: input should be"),
        (b'{"first": 1, "second": []}' + 75 * b" ", "it is larger than 100 bytes"),
    ],
)
def test_what_is_no_record_is_told_with_its_place(tmp_path, content, rule):
    path = tmp_path / "pair.json"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        files.read(ADAPTER, path, wrong, most_bytes=100)
    assert caught.value.rule.startswith(rule)
    assert len(caught.value.rule) <= 300


def test_a_file_as_large_as_it_may_be_is_read(tmp_path):
    path = tmp_path / "pair.json"
    path.write_bytes(b'{"first": 1, "second": []}')
    assert files.read(ADAPTER, path, wrong, most_bytes=path.stat().st_size).first == 1


def test_a_file_without_an_end_is_not_read_whole():
    with pytest.raises(DataError, match="larger than 100 bytes"):
        files.read(ADAPTER, Path("/dev/zero"), wrong, most_bytes=100)


def test_what_is_absent_or_has_no_folder_is_one_message(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        files.read(ADAPTER, tmp_path / "none", wrong, most_bytes=100)
    with pytest.raises(UsageError, match="its folder does not exist"):
        files.write({}, tmp_path / "none" / "pair.json", "pair")
