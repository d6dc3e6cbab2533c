"""Memory, layers and arrays of a space of cuts."""

import numpy as np
import pytest
from tests.unit.partition.test_plan import (  # noqa: F401 - a fixture
    AT,
    graph,
    profile,
    space,
)

from trimtab.partition.space import Space, _memory


def test_edges_weights_are_those_it_runs(graph):  # noqa: F811
    """Memory of head and tail: weights by first and last use, activations at peak."""
    head, tail = _memory(graph)
    assert np.all(np.diff(head) >= 0)
    assert np.all(np.diff(tail) <= 0)
    assert head[0] == 0
    assert tail[-1] == 0
    weights = sum(each.type.size_bytes for each in graph.tensors)
    assert head[-1] >= weights
    assert tail[0] >= weights


def test_a_codec_without_a_time_is_taken_to_be_slow(graph):  # noqa: F811
    found = space(graph, codecs=("raw", "fp16"))
    coded = [at for at, name in enumerate(found.codecs) if name == "fp16"]
    assert min(found.encode_s[coded]) > 0
    assert found.costs(AT, "latency")[coded].min() > 0


def test_given_positions_and_other_profiles(graph):  # noqa: F811
    some = space(graph, codecs=("raw", "int8"), positions={0, 2, len(graph.nodes)})
    assert set(some.positions.tolist()) == {0, 2, len(graph.nodes)}
    other = profile(graph, [0.5] * len(graph.nodes))
    whole = Space(graph, other, other, codecs=("raw", "int8"),
                  positions={0, 2, len(graph.nodes)})  # fmt: skip
    assert some.head_s(other) == pytest.approx(whole.edge_s + whole.encode_s)
    assert some.tail_s(other) == pytest.approx(whole.cloud_s + whole.decode_s)
    assert some.name(0) == "cloud only"
    assert some.name(len(some.cuts) - 1) == "edge only"
