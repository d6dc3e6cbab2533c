"""What batches took: a mean of late ones, and the nearest size for others."""

import pytest

from trimtab.serve.live.pace import Pace


def test_late_batches_count_more():
    pace = Pace()
    pace.see(64, 64 * 1.0)
    pace.see(64, 64 * 2.0)
    assert pace(64) == pytest.approx(64 * (0.8 * 1.0 + 0.2 * 2.0))


def test_unseen_sizes_are_as_the_nearest():
    pace = Pace()
    pace.see(1, 0.5)
    pace.see(512, 512 * 0.25)
    assert pace(3) == 3 * 0.5
    assert pace(600) == 600 * 0.25
    assert pace(2**31) == 2**31 * 0.25
