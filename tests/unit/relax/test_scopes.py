"""gamma round by round."""

import math

import pytest

from trimtab.errors import UsageError
from trimtab.relax.scopes import Constant, Exponential, Linear


def test_exponential_scopes_grow_as_powers_do():
    scope = Exponential(1e-4, 1.001)
    for done in (0, 1, 10, 1000):
        assert scope.at(done) == pytest.approx(1e-4 * 1.001**done, rel=1e-12)
    assert Exponential(1e-4, 10.0, 1.0).at(10_000) == 1.0
    assert Exponential(1.0, 0.0).at(1) == 0.0
    assert Exponential(0.0, 2.0).at(5000) == 0.0


def test_linear_scopes_end_where_they_should():
    assert Linear(1.0, 3.0, 10).at(5) == 2.0
    assert Linear(1.0, 3.0, 10).at(11) == 3.0


@pytest.mark.parametrize(
    "made",
    [
        lambda: Constant(-1.0),
        lambda: Constant(math.nan),
        lambda: Constant(math.inf),
        lambda: Exponential(-1e-4, 1.0),
        lambda: Exponential(1e-4, math.inf),
        lambda: Exponential(1e-4, 1.0, -1.0),
        lambda: Linear(0.0, 1.0, 0),
        lambda: Linear(0.0, -1.0, 5),
    ],
)
def test_bad_numbers_are_refused(made):
    with pytest.raises(UsageError, match="a scope"):
        made()
