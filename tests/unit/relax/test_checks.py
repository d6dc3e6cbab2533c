"""Limits of the numbers of a relaxation."""

import pytest

from trimtab.errors import UsageError
from trimtab.relax.checks import RELAXATIONS, TETHERED, check, share


def test_what_fits_passes():
    for relaxation in RELAXATIONS:
        check(
            relaxation, steps=1, equilibrated=relaxation in TETHERED, gamma=0.1,
            inner=relaxation in TETHERED,
            temperature=1.0 if relaxation == "heat" else 0.0,
            newest=relaxation == "local-entropy",
            damping=relaxation == "hopf-lax-fixed-point",
        )  # fmt: skip


def test_shares_have_limits():
    assert share("newest", None, 0.75, most=1.0) == 0.75
    assert share("damping", 0.0, 0.75, most=0.999) == 0.0
    with pytest.raises(UsageError, match="at least 0 and at most"):
        share("damping", -0.1, 0.75, most=0.999)
