"""Limits of the numbers of a relaxation."""

import pytest

from trimtab.errors import UsageError
from trimtab.relax.checks import (
    RELAXATIONS,
    TETHERED,
    check,
    check_gamma,
    damping_of,
    newest_of,
)
from trimtab.relax.scopes import Constant, Linear


def test_what_fits_passes():
    for relaxation in RELAXATIONS:
        check(
            relaxation, steps=1, equilibrated=relaxation in TETHERED,
            scope=Constant(0.1), inner=relaxation in TETHERED,
            temperature=1.0 if relaxation == "heat" else 0.0,
            newest=relaxation == "local-entropy",
            damping=relaxation == "hopf-lax-fixed-point",
        )  # fmt: skip


@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan")])
def test_weights_have_limits(value):
    assert newest_of(None) == damping_of(None) == 0.75
    assert newest_of(1.0) == 1.0
    assert damping_of(0.0) == 0.0
    for of in (newest_of, damping_of):
        with pytest.raises(UsageError, match="at most"):
            of(value)
    with pytest.raises(UsageError, match="above 0"):
        newest_of(0.0)


def test_a_gamma_of_later_rounds_is_checked_then():
    assert check_gamma(Linear(1.0, 0.0, 2), 2, "local-entropy") == 0
    with pytest.raises(UsageError, match="after 2 rounds"):
        check_gamma(Linear(1.0, 0.0, 2), 2, "heat")

    class Falling:
        def at(self, done):
            return 1.0 - done

    with pytest.raises(UsageError, match=r"gamma of -1\.0 after 2"):
        check_gamma(Falling(), 2, "local-entropy")
