"""What codecs do to a network: exact codecs nothing, coarse ones something."""

import pytest
import torch
from tests.unit.partition.live.nets import made

from trimtab.errors import DataError
from trimtab.partition.quality import measured, ratios, too_costly


@pytest.fixture(scope="module")
def found():
    net, halves = made()
    drawn = torch.Generator().manual_seed(0)
    # Mostly zero, so that a compression has something to do.
    x = torch.randn(40, 3, 16, 16, generator=drawn)
    x[torch.rand(x.shape, generator=drawn) < 0.7] = 0
    y = net(x).argmax(1)
    weights = dict(net.named_parameters())
    names = ("raw", "raw+zstd", "int8", "int4")
    cuts = halves.cuts
    return halves, measured(halves.graph, weights, cuts, names, x, y)


def of(found, position, codec):
    return next(
        each for each in found if (each.position, each.codec) == (position, codec)
    )


def test_bits_as_they_are_change_nothing(found):
    halves, all_of_them = found
    assert len(all_of_them) == 4 * len(halves.cuts)
    for each in all_of_them:
        assert each.examples == 40
        if each.codec.startswith("raw"):
            assert each.agreement_frac == 1.0
            assert each.accuracy_loss_frac == each.error_frac == 0.0
    assert of(all_of_them, 0, "raw").ratio == 1.0
    assert of(all_of_them, 0, "raw+zstd").ratio < 0.7


def test_fewer_bits_deviate_more(found):
    halves, all_of_them = found
    for cut in halves.cuts:
        fine, coarse = (of(all_of_them, cut.position, c) for c in ("int8", "int4"))
        assert 0 < fine.error_frac < coarse.error_frac
        assert fine.agreement_frac >= 0.9
        # The labels are what the uncut network says.
        assert coarse.accuracy_loss_frac == pytest.approx(1 - coarse.agreement_frac)


def test_what_costs_too_much_is_named(found):
    _, all_of_them = found
    worst = max(all_of_them, key=lambda each: each.accuracy_loss_frac)
    assert worst.accuracy_loss_frac > 0
    named = too_costly(all_of_them, worst.accuracy_loss_frac / 2)
    assert (worst.position, worst.codec) in named
    assert not any(codec.startswith("raw") for _, codec in named)
    assert too_costly(all_of_them, 1.0) == frozenset()
    assert ratios(all_of_them)[0, "raw"] == 1.0


def test_other_data_than_the_network_takes_are_refused(found):
    halves, _ = found
    net, _ = made()
    weights = dict(net.named_parameters())
    for x, said in (
        (torch.zeros(5, 3, 8, 8), "it takes"),
        (torch.zeros(0, 3, 16, 16), "at a time"),
    ):
        with pytest.raises(DataError, match=said):
            measured(halves.graph, weights, halves.cuts, ["int8"], x)


def test_one_number_has_no_deviation():
    from trimtab.graph.capture import capture, weights_of
    from trimtab.partition.cuts import cut_at

    net = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.Linear(4, 1)).eval()
    graph = capture(net, (torch.zeros(1, 8),))
    only = measured(
        graph, weights_of(net, graph), [cut_at(graph, 1)], ["int8"], torch.ones(1, 8)
    )
    assert 0 <= only[0].error_frac < 1
