import itertools

import pytest
import torch
from torch import nn

from trimtab.errors import ExecutionError, UsageError
from trimtab.hardware.detect import present
from trimtab.pipeline.steps.verify import STAGE, Settings

CALLS = itertools.count()


class Moody(nn.Module):
    """Computes something else each time it is called: no graph can be equal."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + next(CALLS)


def test_equal_and_measured(context):
    result = STAGE.run(context(machine=present()), Settings(calls=3))
    assert "bit-equal on 1 inputs" in result.summary
    assert result.observed["latency"]["measured_s"] > 0
    assert [section.name for section in result.observed_sections] == ["measured"]


def test_without_measurement_nothing_is_observed(context):
    result = STAGE.run(context(), Settings(measure=False))
    assert not result.observed
    assert not result.observed_sections


def test_a_difference_is_found(context):
    with pytest.raises(ExecutionError, match="its output differs from the module's"):
        STAGE.run(context(network=Moody().eval()), Settings(measure=False))


def test_a_prediction_for_another_machine_is_not_compared(context):
    result = STAGE.run(context(), Settings(calls=3))
    assert "this host, which is not milan" in result.observed_summary
    assert "predicted_s" not in result.observed["latency"]
    assert not result.observed_sections


@pytest.mark.parametrize("wrong", [{"calls": 1}, {"examples": -1}])
def test_settings_have_limits(wrong):
    with pytest.raises(UsageError, match="must be at least"):
        Settings(**wrong)


class Root(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.log(x)


def test_nan_is_equal_to_nan(context):
    given = context(network=Root().eval(), inputs=(torch.tensor([-1.0]),))
    assert "bit-equal" in STAGE.run(given, Settings(measure=False)).summary


def test_a_network_of_no_operators(context):
    given = context(network=nn.Identity().eval(), machine=present())
    assert "bit-equal" in STAGE.run(given, Settings(calls=3)).summary
