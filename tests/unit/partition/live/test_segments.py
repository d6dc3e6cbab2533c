"""Parts between cuts: from any cut to any other, and the same bits."""

import itertools

import pytest
import torch
from tests.unit.partition.live.nets import made

from trimtab.errors import ExecutionError
from trimtab.graph.execute import Executor
from trimtab.partition.live.segments import Segmented


class Make:
    """Parts node by node; it notes which were made, and which were called."""

    identity = "a test"

    def __init__(self):
        self.made: list[str] = []
        self.calls: list[str] = []

    def __call__(self, part, own):
        run = Executor(part, own)
        self.made.append(part.name)

        def called(*values):
            self.calls.append(part.name)
            return run(*values)

        return called


@pytest.fixture
def parts():
    """Return a network in parts, what runs it node by node, and calls by part."""
    _, halves = made()
    graph, weights = halves.graph, halves.keeping._held
    make = Make()

    positions = [cut.position for cut in halves.cuts][::2]
    subject = Segmented(graph, weights, positions, make)
    return subject, halves.run, positions, make.calls


def test_from_any_cut_to_any_other(parts):
    subject, plain, positions, calls = parts
    values = plain.bind(torch.randn(1, 3, 16, 16))
    ends = sorted({0, *positions, len(plain.graph.nodes)})
    for start, stop in itertools.combinations(ends, 2):
        before = plain.run(values, 0, start)
        calls.clear()
        found, wanted = (each.run(before, start, stop) for each in (subject, plain))
        assert list(found) == list(wanted)
        assert all(torch.equal(found[ref], wanted[ref]) for ref in wanted)
        assert len(calls) == ends.index(stop) - ends.index(start)


def test_any_other_range_runs_node_by_node(parts):
    subject, plain, positions, calls = parts
    x = torch.randn(1, 3, 16, 16)
    values = plain.bind(x)
    odd = next(at for at in range(len(plain.graph.nodes)) if at not in positions and at)
    found = subject.run(values, 0, odd)
    assert not calls
    assert torch.equal(plain.results(subject.run(found, odd)), plain(x))
    assert torch.equal(subject(x), plain(x))
    assert calls


def test_what_is_missing_is_said(parts):
    with pytest.raises(ExecutionError, match="was not given"):
        parts[0].run({})


def test_the_parts_of_an_edge_alone():
    _, halves = made()
    graph, weights = halves.graph, halves.keeping._held
    make = Make()

    positions = [cut.position for cut in halves.cuts]
    stop = positions[-1]
    subject = Segmented(graph, weights, positions, make, part=range(stop))
    assert all(name.endswith(f"to {end}") for name, end in zip(
        make.made, sorted(set(positions) - {0}), strict=True
    ))  # fmt: skip
    values = halves.run.bind(torch.randn(1, 3, 16, 16))
    found, wanted = subject.run(values, 0, stop), halves.run.run(values, 0, stop)
    assert all(torch.equal(found[ref], wanted[ref]) for ref in wanted)
