"""Observations are appended whole, whoever else writes or dies."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import trimtab.bundle.observations as module
from trimtab.bundle.observations import Observation, append, read, sidecar
from trimtab.errors import BundleError

SOURCE = Path(module.__file__).parents[2]
DATE, HOST = "2026-01-02T03:04:05+00:00", "0123456789abcdef"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return tmp_path / "digits.trimtab"


def add(bundle: Path, number: float) -> None:
    append(bundle, "latency", {"latency_s": number}, date=DATE, host=HOST)


def numbers(bundle: Path) -> list[float]:
    return [each.values["latency_s"] for each in read(bundle)]


def test_the_file_stands_beside_the_bundle(bundle: Path) -> None:
    assert sidecar(bundle) == bundle.parent / "digits.trimtab.observations.jsonl"
    add(bundle, 1.0)
    assert [path.name for path in bundle.parent.iterdir()] == [sidecar(bundle).name]


def test_what_is_appended_comes_back_in_order(bundle: Path) -> None:
    assert read(bundle) == []
    add(bundle, 1.5)
    append(bundle, "training", {"epochs": 3, "loss": 0.25}, date=DATE, host="other")
    assert read(bundle) == [
        Observation(kind="latency", date=DATE, host=HOST, values={"latency_s": 1.5}),
        Observation(
            kind="training", date=DATE, host="other", values={"epochs": 3, "loss": 0.25}
        ),
    ]


FINITE = st.floats(allow_nan=False, allow_infinity=False)


@settings(deadline=None)
@given(kind=st.text(), host=st.text(), values=st.dictionaries(st.text(), FINITE))
def test_any_text_comes_back(
    tmp_path_factory: pytest.TempPathFactory,
    kind: str,
    host: str,
    values: dict[str, float],
) -> None:
    bundle = tmp_path_factory.mktemp("any") / "b"
    append(bundle, kind, values, date=DATE, host=host)
    append(bundle, kind, values, date=DATE, host=host)
    expected = Observation(kind=kind, date=DATE, host=host, values=values)
    assert read(bundle) == [expected, expected]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_refused_and_not_written(
    bundle: Path, value: float
) -> None:
    with pytest.raises(BundleError) as caught:
        add(bundle, value)
    assert str(caught.value) == (
        f"observation 'latency': its values must be finite: {{'latency_s': {value}}} "
        f"({sidecar(bundle)}). Leave the value out."
    )
    assert not sidecar(bundle).exists()


# What writers leave


@pytest.mark.parametrize("left", ['{"kind": "laten', "x" * 200_000, "", "{"])
def test_a_line_that_was_cut_off_is_passed_over(bundle: Path, left: str) -> None:
    add(bundle, 1.0)
    with sidecar(bundle).open("a") as file:
        file.write(left)
    assert numbers(bundle) == [1.0]


@pytest.mark.parametrize("left", ['{"kind": "laten', "x" * 200_000])
@pytest.mark.parametrize("whole", [0, 1])
def test_the_next_one_takes_the_place_of_a_line_that_was_cut_off(
    bundle: Path, left: str, whole: int
) -> None:
    for _ in range(whole):
        add(bundle, 1.0)
    with sidecar(bundle).open("a") as file:
        file.write(left)
    add(bundle, 2.0)
    assert numbers(bundle) == [1.0] * whole + [2.0]


def test_a_file_may_be_empty(bundle: Path) -> None:
    sidecar(bundle).touch()
    assert read(bundle) == []
    add(bundle, 1.0)
    assert numbers(bundle) == [1.0]


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        (b"nonsense", "Invalid JSON: expected ident at line 1 column 2"),
        (b"", "Invalid JSON: EOF while parsing a value at line 1 column 0"),
        (b"{}", "Field required"),
        (b"[1]", "Input should be an object"),
        (b"\xff\xfe", "Invalid JSON: expected value at line 1 column 1"),
    ],
)
def test_a_damaged_line_is_refused_with_its_number(
    bundle: Path, line: bytes, rule: str
) -> None:
    add(bundle, 1.0)
    with sidecar(bundle).open("ab") as file:
        file.write(line + b"\n")
    add(bundle, 2.0)
    with pytest.raises(BundleError) as caught:
        read(bundle)
    assert str(caught.value) == (
        f"observation: {rule} ({sidecar(bundle)}, line 2). Remove the line."
    )


def test_only_a_line_feed_ends_a_line(bundle: Path) -> None:
    """JSON may hold U+2028 and U+0085, at which Python splits text."""
    record = {"kind": "a\u2028b\u0085c", "date": DATE, "host": HOST, "values": {}}
    text = json.dumps(record, ensure_ascii=False) + "\n"
    sidecar(bundle).write_text(text, encoding="utf-8")
    add(bundle, 1.0)
    assert [each.kind for each in read(bundle)] == ["a\u2028b\u0085c", "latency"]


def test_a_file_that_has_grown_too_large_is_refused(bundle: Path) -> None:
    with sidecar(bundle).open("wb") as file:
        file.truncate((64 << 20) + 1)  # takes no room on the disk
    with pytest.raises(BundleError) as caught:
        read(bundle)
    assert str(caught.value) == (
        f"observations of {(64 << 20) + 1} bytes: at most {64 << 20} are read "
        f"({sidecar(bundle)}). Move the old ones away."
    )


WRITER = """
import sys
from pathlib import Path
from trimtab.bundle.observations import append
bundle, writer, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
values = {f"value_{i}": i / 7 for i in range(1500)}  # far more than one buffer
sys.stdin.read()
for number in range(count):
    append(bundle, writer, {"number": number, **values}, date="now", host=writer)
"""


@pytest.mark.integration
def test_four_processes_do_not_mix_their_lines(bundle: Path) -> None:
    count = 40
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(bundle), f"writer {i}", str(count)],
            env={"PYTHONPATH": str(SOURCE)},
            stdin=subprocess.PIPE,
        )
        for i in range(4)
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.close()  # all start
    assert [writer.wait(timeout=60) for writer in writers] == [0] * 4
    found = read(bundle)
    assert len(found) == 4 * count
    for i in range(4):
        mine = [each for each in found if each.kind == f"writer {i}"]
        assert [each.values["number"] for each in mine] == list(range(count))
        assert all(len(each.values) == 1 + 1500 for each in mine)
