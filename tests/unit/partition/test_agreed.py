"""What a bundle keeps of its division."""

import json

import pytest
import torch
from tests.unit.partition.live.nets import made, profile

from trimtab.errors import BundleError, ExecutionError
from trimtab.graph.capture import weights_of
from trimtab.graph.store import digest
from trimtab.partition.agreed import FORMAT, Agreed, Cut, check_exact, dumps, loads
from trimtab.partition.quality import Quality


@pytest.fixture(scope="module")
def both():
    return made()


def agreed(halves):
    each = profile(halves.graph, 0.01)
    return Agreed(
        format=FORMAT, graph=digest(halves.graph),
        cuts=tuple(
            Cut(position=cut.position, digest=cut.digest, after=cut.after,
                size_bytes=cut.size_bytes)
            for cut in halves.cuts
        ),
        codecs=("raw",), edge=each, cloud=each, private_layers=0, most_bytes=None,
        whole=True, uplink_bytes_per_s=1e6, rtt_s=0.1, objective="latency",
        accuracy_loss_frac=0.005,
        quality=(
            Quality(position=2, codec="int4", examples=9, ratio=0.5,
                    agreement_frac=0.9, accuracy_loss_frac=None, error_frac=0.1),
        ),
    )  # fmt: skip


def test_it_comes_back_as_it_was(both):
    _, halves = both
    found = agreed(halves)
    assert loads(dumps(found), halves.graph, "here") == found


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 9}, "format is 9"),
        ({"graph": "0" * 64}, "another graph"),
        ({"cuts": []}, "no cut or no codec"),
        ({"codecs": []}, "no cut or no codec"),
        ({"cuts": [{"position": 1, "digest": "f" * 64, "after": "", "size_bytes": 4}]},
         "no cut ffff"),
        ({"cuts": [{"position": 99, "digest": "f", "after": "", "size_bytes": 4}]},
         "no cut f"),
        ({"extra": 1}, "extra"),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_graph_is_refused(both, change, said):
    _, halves = both
    record = {**json.loads(dumps(agreed(halves))), **change}
    with pytest.raises(BundleError, match=said):
        loads(json.dumps(record).encode(), halves.graph, "here")
    with pytest.raises(BundleError):
        loads(b"{", halves.graph, "here")


def test_every_cut_is_compared_bit_by_bit(both, monkeypatch):
    net, halves = both
    weights = weights_of(net, halves.graph)
    positions = [cut.position for cut in halves.cuts]
    assert check_exact(halves.graph, weights, positions) == len(positions)
    clone = torch.Tensor.clone
    monkeypatch.setattr(torch.Tensor, "clone", lambda each: clone(each) + 1e-3)
    with pytest.raises(ExecutionError, match="differs from that of the uncut"):
        check_exact(halves.graph, weights, positions)
