"""Memory, layers and arrays of a space of cuts."""

import numpy as np
from tests.unit.partition.test_plan import AT, graph, space  # noqa: F401 - a fixture

from trimtab.partition.space import _memory


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
