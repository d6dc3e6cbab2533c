"""Plans: predictions by hand, limits, objectives, what they are compared with."""

import math

import pytest
import torch
from torch import nn

from trimtab.cost.latency import Roofline
from trimtab.errors import BudgetInfeasibleError, DataError, UsageError
from trimtab.graph.capture import capture
from trimtab.graph.store import digest
from trimtab.hardware.load import machine
from trimtab.partition.conditions import OVERHEAD_BYTES, Conditions, Limits
from trimtab.partition.plan import image_bytes, plan
from trimtab.partition.profiles import Profile, estimated
from trimtab.partition.quality import Quality
from trimtab.partition.space import Space, private_position


@pytest.fixture(scope="module")
def graph():
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(4), nn.Flatten(),
        nn.Linear(64, 10),
    )  # fmt: skip
    return capture(net.eval(), (torch.zeros(1, 3, 16, 16),), name="small")


def profile(graph, seconds, spread=1.0):
    return Profile(
        format=1, machine="made up", source="measured", graph=digest(graph), threads=1,
        nodes=tuple(each.name for each in graph.nodes), p50_s=tuple(seconds),
        p90_s=tuple(spread * each for each in seconds),
        encode_s={"raw": 0.0, "int8": 2.0}, decode_s={"raw": 0.0, "int8": 1.0},
    )  # fmt: skip


def space(graph, edge=0.01, cloud=0.001, **more):
    count = len(graph.nodes)
    return Space(
        graph, profile(graph, [edge] * count), profile(graph, [cloud] * count), **more
    )


AT = Conditions(uplink_bytes_per_s=1e6, rtt_s=0.02)


def test_predictions_are_sums_by_hand(graph):
    found = plan(space(graph, codecs=("raw", "int8")), AT)
    count = len(graph.nodes)
    assert count == 5
    for each in found.choices:
        head, tail = each.cut.position, count - each.cut.position
        millions = sum(each.cut.elements) / 1e6
        if each.name == "edge only":
            assert each.latency_s == pytest.approx(count * 0.01)
            assert each.bytes == 0
            continue
        coded = each.codec == "int8"
        size = sum(each.cut.elements) * (1 if coded else 4)
        assert each.bytes == size
        assert each.edge_s == pytest.approx(0.01 * head + 2.0 * millions * coded)
        assert each.cloud_s == pytest.approx(0.001 * tail + millions * coded)
        assert each.link_s == pytest.approx(0.02 + (size + OVERHEAD_BYTES) / 1e6)
        assert each.latency_s == pytest.approx(each.edge_s + each.link_s + each.cloud_s)
        busy = each.link_s - 0.02
        assert each.throughput_per_s == pytest.approx(
            1 / max(each.edge_s, busy, each.cloud_s)
        )
        assert each.energy_s == pytest.approx(each.edge_s + busy)


@pytest.mark.parametrize("objective", ["latency", "p95", "throughput", "energy"])
def test_the_best_is_the_best_of_all(graph, objective):
    at = Conditions(uplink_bytes_per_s=3e5, rtt_s=0.001, fading=2.0, queue_s=0.003)
    found = plan(space(graph, codecs=("raw", "int8")), at, objective=objective)

    def value(each):
        return {
            "latency": each.latency_s, "p95": each.p95_s, "energy": each.energy_s,
            "throughput": 1 / each.throughput_per_s,
        }[objective]  # fmt: skip

    values = [value(each) for each in found.choices]
    assert values == sorted(values)
    assert found.best is found.choices[0]
    assert found.runner_up is not None
    assert found.runner_up.cut.position != found.best.cut.position
    assert found.edge_only is not None
    assert found.cloud_only is not None
    assert found.cloud_only.codec == "raw"


def test_load_and_queues_count(graph):
    at = Conditions(
        uplink_bytes_per_s=1e6, rtt_s=0.02, edge_slowdown=3.0, cloud_slowdown=2.0,
        queue_s=0.5, downlink_bytes_per_s=1e3,
    )  # fmt: skip
    cloud = plan(space(graph), at).cloud_only
    assert cloud is not None
    assert cloud.cloud_s == pytest.approx(0.5 + 2 * 5 * 0.001)
    assert cloud.link_s == pytest.approx(
        0.02 + (3072 + OVERHEAD_BYTES) / 1e6 + 40 / 1e3
    )
    edge = plan(space(graph), at).edge_only
    assert edge is not None
    assert edge.latency_s == pytest.approx(3 * 5 * 0.01)


def test_slow_ends_are_those_of_edge_cloud_and_link(graph):
    count = len(graph.nodes)
    both = Space(
        graph, profile(graph, [0.01] * count, 1.5), profile(graph, [0.001] * count, 3.0)
    )
    at = Conditions(uplink_bytes_per_s=1e6, rtt_s=0.02, fading=4.0)
    cloud = plan(both, at).cloud_only
    assert cloud is not None
    assert cloud.p95_s == pytest.approx(
        0.02 + 4 * (3072 + OVERHEAD_BYTES) / 1e6 + 3 * 5 * 0.001
    )


def test_compressed_input_is_a_baseline_of_its_own(graph):
    found = plan(space(graph), AT, compressed_input_bytes=300)
    assert found.cloud_compressed is not None
    assert found.cloud_only is not None
    saved = (3072 - 300) / 1e6
    assert found.cloud_compressed.latency_s == pytest.approx(
        found.cloud_only.latency_s - saved
    )
    assert found.cloud_compressed not in found.choices


def test_limits_are_kept_and_named_where_they_cannot_be(graph):
    small = space(graph, limits=Limits(most_bytes=300))
    assert small.sizes.max() <= 300
    private = space(graph, limits=Limits(private_layers=1))
    assert private.positions.min() == 1
    head = space(graph, limits=Limits(edge_bytes=20_000))
    assert len(head.cuts) >= 1
    with pytest.raises(BudgetInfeasibleError, match="request_bytes") as caught:
        space(graph, limits=Limits(private_layers=1, most_bytes=10, edge_bytes=10))
    assert caught.value.binding == "edge_bytes"
    with pytest.raises(UsageError, match="2 layers with weights"):
        space(graph, limits=Limits(private_layers=3))


def test_private_layers_are_those_with_weights(graph):
    names = [each.op for each in graph.nodes]
    assert private_position(graph, 0) == 0
    assert "conv" in names[private_position(graph, 1) - 1]
    assert private_position(graph, 2) == len(graph.nodes)


def test_a_plan_says_why_and_from_where_another_is_better(graph):
    found = plan(space(graph), AT)
    assert found.best.name == "cloud only"
    assert "so that the" in found.why
    other = found.runner_up
    assert other is not None
    if "better below" in found.why or "better above" in found.why:
        words = found.why.split()
        rate = float(words[words.index("Mbit/s") - 1]) * 1e6 / 8
        side = "below" if "better below" in found.why else "above"
        for factor in (0.9, 1.1):
            at = Conditions(uplink_bytes_per_s=rate * factor, rtt_s=0.02)
            by_cut = {
                each.cut.position: each for each in plan(space(graph), at).choices
            }
            better = (
                by_cut[other.cut.position].latency_s
                < by_cut[found.best.cut.position].latency_s
            )
            assert better is ((factor < 1) is (side == "below"))


def test_millions_of_conditions_can_be_evaluated(graph):
    """Costs are arrays over cuts: no loop in Python over them."""
    found = space(graph, codecs=("raw", "int8"))
    costs = found.costs(AT, "latency")
    assert costs.shape == (len(found.cuts),)
    assert costs.min() == pytest.approx(plan(found, AT).best.latency_s)


def test_profiles_of_other_graphs_are_refused(graph):
    other = capture(nn.Linear(4, 2).eval(), (torch.zeros(1, 4),))
    good = estimated(graph, machine("milan"), Roofline())
    with pytest.raises(DataError, match="profile of graph"):
        Space(other, good, good)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("uplink_bytes_per_s", 0.0), ("uplink_bytes_per_s", math.nan), ("rtt_s", -1.0),
        ("fading", 0.5), ("edge_slowdown", 0.0), ("queue_s", math.inf),
    ],
)  # fmt: skip
def test_conditions_have_limits(name, value):
    with pytest.raises(UsageError, match=name):
        Conditions(**{"uplink_bytes_per_s": 1e6, "rtt_s": 0.1, name: value})


@pytest.mark.parametrize("rate", [1e4, 1e6, 1e8])
@pytest.mark.parametrize("layers", [0, 1, 2])
def test_no_plan_is_below_the_minimum_cut(graph, rate, layers):
    at = Conditions(uplink_bytes_per_s=rate, rtt_s=0.001, queue_s=0.002)
    some = space(graph, limits=Limits(private_layers=layers))
    found = plan(some, at)
    assert found.bound_s is not None
    assert found.bound_s <= found.best.latency_s * (1 + 1e-6)
    # On a chain a prefix is as good as any division, but for coding and the frame.
    assert found.bound_s == pytest.approx(found.best.latency_s, rel=1e-3)
    assert plan(some, at, objective="throughput").bound_s is None
    less = space(graph, limits=Limits(most_bytes=10_000))
    assert plan(less, at).bound_s is None


def test_what_codecs_do_at_a_cut_counts(graph):
    def quality(position, codec, ratio, lost):
        return Quality(
            position=position, codec=codec, examples=100, ratio=ratio,
            agreement_frac=0.9, accuracy_loss_frac=lost, error_frac=0.1,
        )  # fmt: skip

    known = [quality(3, "raw+zstd", 0.25, 0.0), quality(3, "int4", 1.0, 0.02),
             quality(0, "int4", 1.0, None)]  # fmt: skip
    names = ("raw+zstd", "int4")
    before = space(graph, codecs=names)
    after = space(graph, codecs=names, quality=known)
    there = {
        (int(p), c): s
        for p, c, s in zip(before.positions, before.codecs, before.sizes, strict=True)
    }
    now = {
        (int(p), c): s
        for p, c, s in zip(after.positions, after.codecs, after.sizes, strict=True)
    }
    assert set(there) - set(now) == {(3, "int4"), (0, "int4")}
    assert now[3, "raw+zstd"] == 0.25 * there[3, "raw+zstd"]
    all_kept = space(
        graph, codecs=names, quality=known, limits=Limits(accuracy_loss_frac=0.2)
    )
    assert len(all_kept.positions) == len(before.positions)


def test_only_images_are_compressed_as_such(graph):
    assert image_bytes(graph) == round(0.2 * 3 * 16 * 16)
    line = capture(nn.Linear(8, 2).eval(), (torch.zeros(1, 8),))
    assert image_bytes(line) is None
