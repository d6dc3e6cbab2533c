"""What makes two networks the same."""

import copy

import pytest
import torch
from torch import nn

from trimtab.errors import DataError
from trimtab.pipeline.identity import (
    digest_of,
    load_state,
    look,
    state_of,
    structure_of,
)


class Odd(nn.Module):
    """Has a buffer that its state leaves out, and a number that code alone knows."""

    hidden: torch.Tensor

    def __init__(self, factor: float = 2.0) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.factor = factor
        self.register_buffer("hidden", torch.ones(3), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) * self.factor + self.hidden


def seen(network):
    return look(network.eval(), (torch.zeros(1, 3),), {}, "odd")


def test_a_copy_is_the_same_and_a_changed_value_is_not():
    first = Odd()
    assert seen(first).digest == seen(copy.deepcopy(first)).digest
    changed = copy.deepcopy(first)
    with torch.no_grad():
        changed.layer.bias[0] += 1e-6
    assert seen(changed).digest != seen(first).digest
    assert seen(changed).structure == seen(first).structure


def test_a_number_in_the_code_a_hidden_buffer_and_a_frozen_weight_count():
    first = Odd()
    other = copy.deepcopy(first)
    other.factor = 3.0
    assert seen(other).digest != seen(first).digest
    other = copy.deepcopy(first)
    other.hidden += 1
    assert seen(other).digest != seen(first).digest
    other = copy.deepcopy(first)
    other.layer.weight.requires_grad_(False)
    assert structure_of(other) != structure_of(first)


class Training(nn.Module):
    """In training it does what no graph of evaluation has."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def extra_repr(self) -> str:
        return f"rate={self.rate}"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.rate if self.training else x + 1


def test_what_training_alone_does_counts_where_the_text_of_a_module_says_it():
    some = [Training(rate).eval() for rate in (0.1, 0.5)]
    assert seen(some[0]).graph == seen(some[1]).graph
    assert seen(some[0]).digest != seen(some[1]).digest


def test_a_state_goes_from_one_to_the_other():
    first, second = Odd(), Odd()
    first.hidden += 5
    load_state(second, {name: each.clone() for name, each in state_of(first).items()})
    assert seen(first).digest == seen(second).digest


def test_a_tied_weight_is_once_in_a_state_and_stays_tied():
    def tied():
        made = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
        made[1].weight = made[0].weight
        return made

    first, second = tied(), tied()
    assert list(state_of(first)) == ["0.weight", "0.bias", "1.bias"]
    load_state(second, state_of(first))
    assert second[1].weight is second[0].weight
    loose = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    assert structure_of(loose) != structure_of(first)
    with pytest.raises(DataError, match="the network has 4"):
        load_state(loose, state_of(first))


def test_texts_and_tensors_have_digests_by_name_and_type():
    zeros = torch.zeros(2)
    assert digest_of([("a", zeros)]) != digest_of([("b", zeros)])
    assert digest_of([("a", zeros)]) != digest_of([("a", zeros.double())])
    assert digest_of([("a", 1)]) != digest_of([("a", 2)])
