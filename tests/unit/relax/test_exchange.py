"""Means over replicas in one process; `test_parle` has those between processes."""

import pytest
import torch

from trimtab.errors import ReplicaError, UsageError
from trimtab.relax.exchange import Processes, Together


def test_the_last_to_arrive_calls_all_back_in_order():
    both = Together(3)
    members = [both.member() for _ in range(3)]
    assert [each.rank for each in members] == [0, 1, 2]
    calls = []

    def called(value):
        return lambda mean: calls.append((value, mean.tolist()))

    for value in (2, 0, 1):  # whatever order they arrive in
        members[value].mean(torch.full((2,), float(value)), called(value))
    assert calls == [(0, [1.0, 1.0]), (1, [1.0, 1.0]), (2, [1.0, 1.0])]
    assert [each.communicated_bytes for each in members] == [8, 8, 8]


def test_all_begin_from_the_first():
    both = Together(2)
    one, two = both.member(), both.member()
    assert one.first(torch.ones(2)).tolist() == [1.0, 1.0]
    assert two.first(torch.zeros(2)).tolist() == [1.0, 1.0]


def test_what_cannot_be_is_refused():
    both = Together(1)
    one = both.member()
    with pytest.raises(UsageError, match="all of them are there"):
        both.member()
    with pytest.raises(UsageError, match="in this process"):
        one.now(torch.ones(1))
    pair = Together(2)
    first = pair.member()
    first.mean(torch.ones(1), lambda mean: None)
    with pytest.raises(ReplicaError, match="Step all replicas by turns"):
        first.mean(torch.ones(1), lambda mean: None)
    with pytest.raises(UsageError, match="there is at least one"):
        Together(0)
    with pytest.raises(UsageError, match=r"torch\.distributed is not set up"):
        Processes()
