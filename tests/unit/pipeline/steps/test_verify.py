import itertools

import pytest
import torch
from torch import nn

from trimtab.errors import ExecutionError
from trimtab.pipeline.steps.verify import STAGE, Settings

CALLS = itertools.count()


class Moody(nn.Module):
    """Computes something else each time it is called: no graph can be equal."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + next(CALLS)


def test_equal_and_measured(context):
    result = STAGE.run(context(), Settings(calls=3))
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
