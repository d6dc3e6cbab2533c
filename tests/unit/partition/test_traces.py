"""Traces: hostile files, and what synthetic ones are like."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.errors import DataError, TrimtabError, UsageError
from trimtab.partition.traces import SYNTHETIC, read, synthetic, trace_of


def write(tmp_path, text):
    path = tmp_path / "trace.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_file_with_all_columns_in_any_order(tmp_path):
    path = write(
        tmp_path,
        "uplink_mbit_s,time_s,cloud_load,rtt_ms,edge_load\n8,100,2,30,1.5\n\n0,101.5,1,40,1\n",
    )
    found = trace_of(str(path))
    assert found.name == "trace.csv"
    assert found.time_s.tolist() == [0.0, 1.5]
    assert found.uplink_bytes_per_s.tolist() == [1e6, 0.01e6 / 8]
    assert found.rtt_s.tolist() == [0.03, 0.04]
    assert found.edge_load.tolist() == [1.5, 1.0]
    assert found.cloud_load.tolist() == [2.0, 1.0]
    assert found.length_s == 3.0
    assert found.rows(np.array([0.0, 1.4, 1.5, 9.0])).tolist() == [0, 0, 1, 1]


def test_what_is_not_said_is_usual(tmp_path):
    found = read(write(tmp_path, "time_s,uplink_mbit_s\n5,10\n"))
    assert (found.rtt_s[0], found.edge_load[0], found.cloud_load[0]) == (0.04, 1, 1)
    assert found.length_s == 1.0


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("", "the file", "no row"),
        ("time_s,uplink_mbit_s\n", "line 1", "no row"),
        ("time_s\n1\n", "line 1", "no column uplink_mbit_s"),
        ("time_s,uplink_mbit_s,colour\n", "line 1", "column 'colour'"),
        ("time_s,uplink_mbit_s,time_s\n", "line 1", "column 'time_s'"),
        ("time_s,uplink_mbit_s\n0,1\n0,1\n", "line 3", "not after"),
        ("time_s,uplink_mbit_s\n0,1\n1\n", "line 3", "1 cells"),
        ("time_s,uplink_mbit_s\n0,fast\n", "line 2", "'fast'"),
        ("time_s,uplink_mbit_s\n0,-1\n", "line 2", "'-1'"),
        ("time_s,uplink_mbit_s\n0,nan\n", "line 2", "'nan'"),
        ("time_s,uplink_mbit_s\n0,inf\n", "line 2", "'inf'"),
        ("time_s,uplink_mbit_s,rtt_ms\n0,1,1e9\n", "line 2", "rtt_ms"),
        ('time_s,uplink_mbit_s\n0,"1\n', "line", "trace"),
        (b"time_s,uplink_mbit_s\n0,\xff\n", "the file", "UTF-8"),
    ],
)
def test_each_wrong_line_is_named(tmp_path, text, line, said):
    with pytest.raises(DataError) as caught:
        read(write(tmp_path, text))
    assert line in str(caught.value)
    assert said in str(caught.value)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_end_in_a_message(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("t") / "trace.csv"
    path.write_bytes(b"time_s,uplink_mbit_s\n" + content)
    try:
        found = read(path)
    except TrimtabError:
        return
    assert np.isfinite(found.time_s).all()
    assert (found.uplink_bytes_per_s > 0).all()


def test_a_file_that_is_absent(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        read(tmp_path / "absent.csv")


@pytest.mark.parametrize("name", SYNTHETIC)
def test_synthetic_ones_say_so_and_repeat(name):
    found = trace_of(f"synthetic:{name}", seed=3)
    again, other = synthetic(name, seed=3), synthetic(name, seed=4)
    assert found.name == f"synthetic:{name}"
    assert found.length_s == len(found) == 1200
    assert (found.uplink_bytes_per_s == again.uplink_bytes_per_s).all()
    assert (found.uplink_bytes_per_s != other.uplink_bytes_per_s).any()
    assert (found.rtt_s > 0).all()
    assert (found.cloud_load >= 1).all()


def test_regimes_last_and_differ():
    found = synthetic("regimes")
    moved = np.flatnonzero(np.diff(found.rtt_s))
    assert len(moved) > 15
    assert np.diff(moved).min() >= 20
    assert set(found.rtt_s) == {0.01, 0.05, 0.1}


def test_one_that_there_is_not():
    with pytest.raises(UsageError, match="4g-walk"):
        trace_of("synthetic:5g")
