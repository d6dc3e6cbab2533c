"""Traces are read as they are, or refused with one message."""

import numpy as np
import pytest

from trimtab.errors import DataError
from trimtab.serve.recorded import read_times


def test_moments_and_arrays_are_read(tmp_path):
    file = tmp_path / "trace.csv"
    file.write_text(
        "TIMESTAMP,tokens\n2023-11-16 18:15:46.5000000,1\n2023-11-16 18:15:47.75,2\n",
        "utf-8",
    )
    np.testing.assert_allclose(read_times(file), [1.25, 2.5])
    np.savez(tmp_path / "trace.npz", at_s=np.array([0.0, 2.0, 4.0]))
    np.testing.assert_allclose(read_times(tmp_path / "trace.npz"), [2.0, 4.0, 6.0])


def test_the_public_trace_is_bursty_over_minutes_only(data_folder):
    at = read_times(data_folder("serving/azure_llm_conv.csv"))
    assert at.size == 19_366
    gaps = np.diff(at)
    assert gaps.std() / gaps.mean() == pytest.approx(1.09, abs=0.01)
    minutes = np.bincount((at / 60.0).astype(int))
    assert minutes.var() / minutes.mean() > 10  # of a Poisson process 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("when\n1.0\n", "between 2 and"),
        ("when\n1.0\n0.5\n", "arrival 2 is before arrival 1"),
        ("when\n1.0\nnan\n", "not finite"),
        ("when\n1.0\n1.0\n", "same time"),
        ("when\n1.0\nsoon\n", "neither seconds nor moments"),
        ("", "between 2 and"),
    ],
)
def test_a_wrong_trace_is_refused(tmp_path, text, said):
    file = tmp_path / "trace.csv"
    file.write_text(text, "utf-8")
    with pytest.raises(DataError, match=said):
        read_times(file)


def test_what_is_no_trace_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"absent.csv"):
        read_times(tmp_path / "absent.csv")
    (tmp_path / "text.npz").write_text("no zip", "utf-8")
    with pytest.raises(DataError, match=r"text.npz"):
        read_times(tmp_path / "text.npz")
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(DataError, match="no array at_s"):
        read_times(tmp_path / "other.npz")
    np.savez(tmp_path / "objects.npz", at_s=np.array(["a", "b"]))
    with pytest.raises(DataError, match="row of at most"):
        read_times(tmp_path / "objects.npz")
