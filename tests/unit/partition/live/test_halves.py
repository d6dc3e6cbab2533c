"""Both sides of one network."""

import pytest
import torch
from tests.unit.partition.live.nets import CODECS, made

from trimtab.errors import DataError, UsageError
from trimtab.partition.live.halves import Halves
from trimtab.partition.live.wire import Head, Part


def test_every_cut_gives_the_same_bits():
    net, halves = made()
    x = torch.randn(1, 3, 16, 16)
    wanted = net(x)
    values = halves.run.bind(x)
    for cut in range(len(halves.cuts)):
        crossing = halves.head(values, cut)
        asked = halves.encode(crossing, cut, 0)
        incoming = halves.expect(Head(asked.cut, 0, 0, 0.0, tuple(asked.parts)))
        for payload in asked.payloads:
            incoming.add(payload)
        results = halves.tail(halves.decode(incoming), cut)
        parts, payloads = halves.encode_results(results)
        back = halves.expect_results(Head(cut, 0, 0, 0.0, tuple(parts)))
        for payload in payloads:
            back.add(payload)
        found = halves.run.results(halves.decode_results(back))
        assert torch.equal(found, wanted)


def test_narrow_numbers_are_close():
    net, halves = made()
    x = torch.randn(1, 3, 16, 16)
    cut = 3
    crossing = halves.head(halves.run.bind(x), cut)
    asked = halves.encode(crossing, cut, CODECS.index("int8"))
    incoming = halves.expect(Head(cut, asked.codec, 0, 0.0, tuple(asked.parts)))
    for payload in asked.payloads:
        incoming.add(payload)
    found = halves.tail(halves.decode(incoming), cut)
    assert torch.allclose(halves.run.results(found), net(x), atol=0.05)


def test_what_no_cut_has_is_refused_before_it_comes():
    _, halves = made()
    part = Part("raw", 0, 0, 10)
    with pytest.raises(DataError, match="cut 99"):
        halves.expect(Head(99, 0, 0, 0.0, (part,)))
    with pytest.raises(DataError, match="codec 7"):
        halves.expect(Head(0, 7, 0, 0.0, (part,)))
    with pytest.raises(DataError, match="values"):
        halves.expect(Head(0, 0, 0, 0.0, (part, part, part)))
    with pytest.raises(DataError, match="at most"):
        halves.expect(Head(0, 0, 0, 0.0, (Part("raw", 0, 0, 10**9),)))


def test_only_the_same_network_agrees():
    _, halves = made()
    _, other = made()
    assert halves.agree(other.identity())
    assert not halves.agree({**other.identity(), "engine": "torch 1.0"})
    with pytest.raises(DataError, match="same bundle"):
        halves.agree({**other.identity(), "graph": "0" * 64})
    with pytest.raises(DataError, match="other codecs"):
        halves.agree(made(codecs=("raw",))[1].identity())
    with pytest.raises(DataError, match="other cuts"):
        halves.agree({**other.identity(), "cuts": []})
    with pytest.raises(UsageError, match="without cuts"):
        Halves(halves.graph, {}, [])
