"""What passes between stages: records that do not change."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trimtab.bundle.section import Section
from trimtab.bundle.stage import Context, Data, Stage, StageResult
from trimtab.cost.latency import Roofline
from trimtab.cost.verdict import Budget
from trimtab.hardware import load


@dataclasses.dataclass(frozen=True)
class _Digits:
    """A data set by structure: it inherits nothing."""

    name: str = "digits"
    digest: str = "0" * 64

    @property
    def train(self) -> tuple[Tensor, Tensor]:
        return torch.zeros(4, 2), torch.zeros(4, dtype=torch.int64)

    @property
    def test(self) -> tuple[Tensor, Tensor]:
        return torch.zeros(2, 2), torch.zeros(2, dtype=torch.int64)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Settings:
    factor: float = 2.0


class _Scale:
    """A stage by structure, with settings of its own."""

    settings = _Settings
    gives: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()

    def run(self, context: Context, settings: _Settings) -> StageResult:
        layer = nn.Linear(2, 2, bias=False)
        with torch.no_grad():
            layer.weight.fill_(settings.factor)
        context.progress(0.5, "half way")
        return StageResult(
            network=nn.Sequential(context.network, layer).eval(), summary="scaled"
        )


@pytest.fixture
def context() -> Context:
    told: list[tuple[float, str]] = []
    return Context(
        name="n",
        network=nn.Identity().eval(),
        inputs=(torch.ones(1, 2),),
        keywords={},
        data=None,
        machine=load.machine("milan"),
        threads=1,
        latency=Roofline(),
        budget=Budget(),
        seed=0,
        folder=Path(),
        progress=lambda done, text: told.append((done, text)),
    )


def test_a_class_of_that_shape_is_a_stage(context: Context) -> None:
    stage: Stage[_Settings] = _Scale()
    result = stage.run(context, stage.settings(factor=3.0))
    output: Tensor = result.network(torch.ones(1, 2))
    assert output.tolist() == [[3.0 + 3.0, 3.0 + 3.0]]
    assert result.summary == "scaled"


def test_a_class_of_that_shape_is_a_data_set(context: Context) -> None:
    data: Data = _Digits()
    assert dataclasses.replace(context, data=data).data is data


def test_a_result_shows_and_observes_nothing_by_default() -> None:
    result = StageResult(network=nn.Identity(), summary="nothing")
    assert result.sections == () == result.observed_sections
    assert [*result.values, *result.observed, *result.files] == []


def test_results_do_not_share_their_defaults() -> None:
    a, b = (StageResult(network=nn.Identity(), summary="") for _ in range(2))
    assert a.values is not b.values
    assert a.files is not b.files


@pytest.mark.parametrize("name", ["network", "summary", "sections"])
def test_a_result_cannot_be_changed(name: str) -> None:
    section = Section(name="n", title="t", text="x")
    result = StageResult(network=nn.Identity(), summary="", sections=(section,))
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(result, name, None)


def test_a_context_is_handed_on_with_changes_only(context: Context) -> None:
    network: Any = nn.ReLU()
    following = dataclasses.replace(context, network=network)
    assert following.network is network
    assert isinstance(context.network, nn.Identity)
    assert following.machine is context.machine
    with pytest.raises(dataclasses.FrozenInstanceError):
        context.seed = 1  # type: ignore[misc]
