"""Query sizes follow their laws."""

import numpy as np
import pytest

from trimtab.errors import DataError, UsageError
from trimtab.serve.sizes import MLPERF, Counted, Drawn, parse_sizes


def drawn(spec, count=100_000, seed=0):
    return parse_sizes(spec).draw(count, np.random.default_rng(seed))


def test_the_public_quantiles():
    """Mean 270, and the largest quarter of queries holds 46 % of items."""
    assert len(MLPERF) == 20
    assert sum(MLPERF) / 20 == 270
    largest = sorted(MLPERF)[15:]
    assert sum(largest) / sum(MLPERF) == pytest.approx(0.46, abs=0.005)
    found = drawn("mlperf")
    assert found.mean() == pytest.approx(270, rel=0.01)
    assert np.quantile(found, [0.5, 0.75, 0.88]).tolist() == [200, 300, 500]


def test_the_file_of_quantiles_is_the_same(data_folder):
    path = data_folder("serving/mlperf_dlrm_query_sizes.txt")
    assert parse_sizes(f"file:{path}") == Counted(sizes=MLPERF)


def test_lognormal_sizes_of_the_reference():
    """Median exp(5.1) = 164; p95 exp(5.1 + 1.645 * 0.2) = 228."""
    found = drawn("lognormal:5.1,0.2")
    assert np.quantile(found, 0.5) == pytest.approx(np.exp(5.1), rel=0.01)
    assert np.quantile(found, 0.95) == pytest.approx(np.exp(5.1 + 0.329), rel=0.01)


def test_normal_sizes_stay_within_bounds():
    found = drawn("normal:256,32")
    assert found.mean() == pytest.approx(256, abs=1)
    assert found.std() == pytest.approx(32, rel=0.02)
    wide = Drawn(law="normal", mean=10, deviation=500, largest=64).draw(
        1_000, np.random.default_rng(0)
    )
    assert (wide.min(), wide.max()) == (1, 64)


def test_fixed_sizes_and_their_largest():
    assert set(drawn("fixed:100", 50).tolist()) == {100}
    assert parse_sizes("fixed:100").largest == 100
    assert parse_sizes("lognormal:5.1,0.2").largest == 1024


@pytest.mark.parametrize(
    "spec",
    ["", "mlperf:1", "fixed:0", "fixed:-1", "fixed:999999", "lognormal:5.1",
     "normal:1e9,2", "lognormal:50,1", "normal:1.2.3,4", "zipf:1,2"],
)  # fmt: skip
def test_a_wrong_spec_is_one_message(spec):
    with pytest.raises(UsageError, match="mlperf"):
        parse_sizes(spec)


@pytest.mark.parametrize("text", ["", "1, 2, x", "0", "70000", "1.5"])
def test_a_wrong_file_is_refused(tmp_path, text):
    file = tmp_path / "sizes.txt"
    file.write_text(text, "utf-8")
    with pytest.raises(DataError, match="entry"):
        parse_sizes(f"file:{file}")
    with pytest.raises(DataError, match=r"absent.txt"):
        parse_sizes(f"file:{tmp_path / 'absent.txt'}")
