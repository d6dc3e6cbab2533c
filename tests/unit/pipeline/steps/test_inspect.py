import pytest

from trimtab.cost.verdict import Budget
from trimtab.errors import BudgetInfeasibleError
from trimtab.pipeline.steps.inspect import STAGE, Settings

PARAMETERS = 4 * 9 + 4 + 144 * 3 + 3


def test_the_network_is_handed_on_untouched(context):
    given = context()
    result = STAGE.run(given, Settings())
    assert result.network is given.network
    assert f"{PARAMETERS} parameters" in result.summary
    assert [section.name for section in result.sections] == ["inspect"]


def test_a_static_limit_that_is_broken_stops_the_run(context):
    budget = Budget(parameters=PARAMETERS - 1, multiply_adds=1)
    with pytest.raises(BudgetInfeasibleError, match="exceeds the limit") as caught:
        STAGE.run(context(budget=budget), Settings())
    assert caught.value.binding == "multiply_adds"  # broken by the larger share
    assert isinstance(caught.value.best, tuple)


def test_a_limit_on_accuracy_is_not_its_business(context):
    STAGE.run(context(budget=Budget(accuracy_frac=1.0)), Settings())
