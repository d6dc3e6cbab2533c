"""Numbers of a link."""

import pytest

from trimtab.errors import UsageError
from trimtab.partition.conditions import (
    OBJECTIVES,
    OVERHEAD_BYTES,
    Conditions,
    Limits,
    objective_of,
)


def test_a_request_takes_its_bytes_and_a_round_trip():
    at = Conditions(uplink_bytes_per_s=1e6, rtt_s=0.1, fading=2.0)
    assert at.sent_s(1e6) == pytest.approx(1.1 + OVERHEAD_BYTES / 1e6)
    assert at.sent_s(0, low=True) == pytest.approx(0.1 + 2 * OVERHEAD_BYTES / 1e6)


@pytest.mark.parametrize("name", ["private_layers", "most_bytes", "cloud_bytes"])
def test_limits_are_not_below_nothing(name):
    with pytest.raises(UsageError, match=name):
        Limits(**{name: -1})


def test_objectives_by_name():
    assert [objective_of(each) for each in OBJECTIVES] == list(OBJECTIVES)
    with pytest.raises(UsageError, match="objective 'speed'"):
        objective_of("speed")
