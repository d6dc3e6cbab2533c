"""Decisions in a simulation: they follow the link and cost little beyond the best."""

import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from trimtab.errors import UsageError
from trimtab.graph.capture import capture
from trimtab.graph.store import digest
from trimtab.partition.conditions import Conditions
from trimtab.partition.controller import Controller, Seen, Settings
from trimtab.partition.profiles import Profile
from trimtab.partition.space import Space


@pytest.fixture(scope="module")
def space():
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(4), nn.Flatten(),
        nn.Linear(4 * 64, 10),
    )  # fmt: skip
    graph = capture(net.eval(), (torch.zeros(1, 3, 32, 32),), name="small")

    def profile(seconds):
        return Profile(
            format=1, machine="made up", source="measured", graph=digest(graph),
            threads=1, nodes=tuple(each.name for each in graph.nodes),
            p50_s=tuple(seconds), p90_s=tuple(seconds), encode_s={"raw": 0.0},
            decode_s={"raw": 0.0},
        )  # fmt: skip

    return Space(
        graph, profile([0.02, 0.001, 0.004, 0.0001, 0.03]),
        profile([0.001, 0.0001, 0.0002, 0.0001, 0.001]),
    )  # fmt: skip


FIRST = Conditions(uplink_bytes_per_s=1e6, rtt_s=0.01)


def simulated(space, rates, settings=None, period=0.1, first=FIRST):
    """Run requests over a link whose rate is given for each; return latencies."""
    control = Controller(space, first, settings)
    taken, least = [], []
    for number, rate in enumerate(rates):
        now = number * period
        at = Conditions(uplink_bytes_per_s=rate, rtt_s=0.01)
        size = control.probe_due(now)
        if size:
            control.see_probe(size, 0.01 + size / rate, at_s=now)
        decision = control.decide(now)
        edge, link, cloud = (
            float(each[decision.index]) for each in space.parts(at)
        )  # fmt: skip
        away = not space.local[decision.index]
        control.see(
            decision,
            Seen(
                edge_s=edge, sent_bytes=int(space.sizes[decision.index]),
                link_s=link if away else None, cloud_s=cloud if away else None,
                queue_s=0.0, latency_s=edge + link + cloud,
            ),
            at_s=now + edge + link + cloud,
        )  # fmt: skip
        taken.append(edge + link + cloud)
        least.append(float(space.costs(at, "latency").min()))
    return control, taken, least


def test_a_link_that_stays_costs_nothing(space):
    for rate in (1e4, 3e5, 1e8):
        _, taken, least = simulated(space, [rate] * 200)
        assert sum(taken[50:]) <= 1.001 * sum(least[50:])


def test_slow_changes_cost_little(space):
    rates = [10 ** (5.5 + 1.5 * math.sin(number / 150)) for number in range(2_000)]
    control, taken, least = simulated(space, rates)
    assert sum(taken) <= 1.05 * sum(least)
    assert control.switches >= 4


def test_after_an_outage_it_comes_back_within_two_probes(space):
    rates = [1e7] * 50 + [2e4] * 100 + [1e7] * 60
    control, _, _ = simulated(space, rates)
    during = [each.name for each in list(control.log)[60:150]]
    assert set(during) == {"edge only"}
    settings = Settings()
    back = [each for each in list(control.log)[150:] if each.name != "edge only"]
    assert back[0].at_s - 15.0 <= 2 * settings.probe_s


def test_without_probes_it_would_stay_on_the_edge(space):
    rates = [1e7] * 50 + [2e4] * 100 + [1e7] * 200
    control, _, _ = simulated(space, rates, Settings(probe_s=1e9))
    assert {each.name for each in list(control.log)[160:]} == {"edge only"}


def test_a_price_of_switching_keeps_what_is_there(space):
    rates = [4e5 if number % 20 < 10 else 9e5 for number in range(400)]
    free, _, _ = simulated(space, rates)
    dear, _, _ = simulated(space, rates, Settings(switch_s=6.0))
    assert dear.switches < free.switches


def test_bytes_are_within_their_budget(space):
    rate = 5_000.0
    settings = Settings(bytes_per_s=rate, burst_bytes=50_000, probe_bytes=1_000)
    control, _, _ = simulated(space, [1e8] * 600, settings)
    sent = sum(
        int(space.sizes[each.index]) for each in control.log
    )  # fmt: skip
    assert sent <= rate * 60 + 50_000
    names = {each.name for each in control.log}
    assert "edge only" in names
    assert len(names) > 1


def test_without_a_connection_it_is_the_edge(space):
    control = Controller(space, FIRST)
    control.connected = False
    alone = control.decide(0.0)
    assert alone.name == "edge only"
    assert alone.runner_up == ""
    assert json.loads(json.dumps(alone.record(), allow_nan=False))
    control.connected = True
    assert control.decide(1.0).name != "edge only"


def test_what_is_not_in_memory_is_wanted_and_not_taken(space):
    control = Controller(space, FIRST)
    free = control.decide(0.0)
    assert free.wanted == free.index
    here = space.positions != space.positions[free.index]
    there = control.decide(1.0, here=here)
    assert there.wanted == free.index
    assert here[there.index]
    # Where nothing that is here will do, what is best is taken all the same.
    nothing = np.zeros_like(here)
    assert control.decide(2.0, here=nothing).index == free.index


def test_every_decision_has_its_reasons_and_its_regret(space):
    control, _, _ = simulated(space, [1e6] * 20)
    record = control.log[-1].record()
    assert record["runner_up"] != record["name"]
    assert record["runner_up_s"] >= record["predicted_s"] - 1e-9
    assert record["conditions"]["uplink_bytes_per_s"] > 0
    assert record["conditions"]["downlink_bytes_per_s"] is None
    assert record["regret_s"] >= 0
    assert control.summary()["prediction_error_frac"] < 0.05
    assert control.summary()["regret_frac"] < 0.05


def test_low_goodput_counts_in_p95(space):
    settings = Settings(objective="p95")
    rates = [3e6 if number % 4 else 1e5 for number in range(400)]
    robust, _, _ = simulated(space, rates, settings)
    assert robust.conditions(40.0).fading > 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"weight": 0.0},
        {"probe_s": 0.0},
        {"requests": 0},
        {"probe_bytes": 70_000},
        {"bytes_per_s": 0.0},
    ],
)
def test_settings_have_limits(wrong):
    with pytest.raises(UsageError, match="controller"):
        Settings(**wrong)


def asked(control, space, now, *, edge_s=None, took_s=None, cloud=1.0):
    """One request; without a time of the link the edge did the rest."""
    decision = control.decide(now)
    index = decision.index
    away = not space.local[index]
    edge = float(space.edge_s[index]) if edge_s is None else edge_s
    after = cloud * float(space.cloud_s[index])
    seen = Seen(
        edge_s=edge, sent_bytes=int(space.sizes[index]),
        link_s=took_s if away else None,
        cloud_s=after if away and took_s is not None else None, queue_s=0.0,
        latency_s=edge + (0.5 if took_s is None and away else took_s or 0.0),
        overtaken=away and took_s is None,
    )  # fmt: skip
    control.see(decision, seen, at_s=now + 0.01)
    return decision


def test_a_load_that_is_not_seen_is_forgotten(space):
    control = Controller(space, FIRST, Settings(forget_s=10.0))
    control.cloud.value, control._cloud_at = 16.0, 100.0
    assert control.conditions(100.0).cloud_slowdown == 16.0
    # A root with each factor of e, and never below the profile's.
    assert control.conditions(110.0).cloud_slowdown == pytest.approx(16 ** (1 / math.e))
    assert control.conditions(1e6).cloud_slowdown == pytest.approx(1.0)
    control.cloud.value = 0.5
    assert control.conditions(1e6).cloud_slowdown == 0.5


def test_what_was_given_at_the_start_is_not_forgotten_at_once(space):
    first = Conditions(uplink_bytes_per_s=1e6, rtt_s=0.01, edge_slowdown=4.0)
    control = Controller(space, first)
    assert control.decide(1e5).conditions.edge_slowdown == 4.0


def test_no_answer_says_how_fast_the_link_was_at_most(space):
    first = Conditions(uplink_bytes_per_s=1e7, rtt_s=0.01)
    control = Controller(space, first)
    control.see_rtt(0.01, at_s=0.0)
    for number in range(3):
        if asked(control, space, 0.5 * number).name == "edge only":
            break
    assert control.conditions(2.0).uplink_bytes_per_s < 12_288 / 0.4
    assert control.decide(2.0).name != "cloud only"


def test_an_answer_that_the_cloud_refused_says_nothing_of_the_link(space):
    control = Controller(space, Conditions(uplink_bytes_per_s=1e7, rtt_s=0.01))
    before = control.conditions(0.0)
    for number in range(5):
        decision = control.decide(0.1 * number)
        assert decision.name != "edge only"
        seen = Seen(edge_s=None, sent_bytes=10_000, link_s=None, cloud_s=None,
                    queue_s=0.0, latency_s=3.0)  # fmt: skip
        control.see(decision, seen, at_s=0.1 * number + 0.05)
    assert control.conditions(0.0) == before
    assert control.probe_due(1.0) == 0  # what was sent counts


def test_a_cloud_without_room_is_left_alone_for_as_long_as_it_says(space):
    control = Controller(space, Conditions(uplink_bytes_per_s=1e7, rtt_s=0.01))
    decision = control.decide(0.0)
    assert decision.name != "edge only"
    seen = Seen(edge_s=None, sent_bytes=10_000, link_s=None, cloud_s=None,
                queue_s=20.0, latency_s=3.0)  # fmt: skip
    control.see(decision, seen, at_s=0.0)
    assert control.decide(0.1).name == "edge only"
    assert control.decide(100.0).name != "edge only"  # and then asked again


def test_after_a_probe_has_cleared_the_link_it_is_the_cloud(space):
    first = Conditions(uplink_bytes_per_s=1e7, rtt_s=0.01)
    control = Controller(space, first)
    control.see_rtt(0.01, at_s=0.0)
    now = 0.0
    for _ in range(12):
        decision = asked(control, space, now)
        now += 0.6
        if decision.name == "edge only":
            for _ in range(2):
                control.see_probe(32_768, 0.01 + 32_768 / 1e7, at_s=now)
                now += 0.3
    at = control.conditions(now)
    assert at.uplink_bytes_per_s > 5e6
    assert at.cloud_slowdown > 5


def test_an_answer_within_the_round_trip_corrects_it(space):
    control = Controller(space, Conditions(uplink_bytes_per_s=1e5, rtt_s=0.1))
    for second in range(4):
        control.see_rtt(0.1, at_s=float(second))
    for now in (4.0, 4.2):
        control.see_probe(32_768, 0.016, at_s=now)
    at = control.conditions(4.3)
    assert at.rtt_s == 0.016 / 2
    assert 32_768 / 0.016 <= at.uplink_bytes_per_s <= 2 * 32_768 / 0.016


def test_a_surprise_is_confirmed_at_once(space):
    control = Controller(space, Conditions(uplink_bytes_per_s=1e5, rtt_s=0.01))
    control.see_rtt(0.01, at_s=0.0)
    control.see_probe(32_768, 0.01 + 32_768 / 1e5, at_s=1.0)
    assert control.probe_due(1.5) == 0
    control.see_probe(32_768, 0.01 + 32_768 / 1e7, at_s=2.0)
    assert control.probe_due(2.3) == 32_768
    control.see_probe(32_768, 0.01 + 32_768 / 1e7, at_s=2.3)
    assert control.probe_due(2.6) == 0
    assert control.goodput.value == pytest.approx(1e7)


def test_a_probe_that_is_refused_is_not_sent_again_at_once(space):
    settings = Settings(bytes_per_s=1e4, burst_bytes=40_000)
    control = Controller(space, FIRST, settings)
    before = control.conditions(0.0)
    size = control.probe_due(0.0)
    assert size
    control.see_probe(size, None, at_s=0.0)
    assert control.conditions(0.0) == before
    assert not control.probe_due(0.1)
    assert not control.probe_due(2.1)  # its bytes were sent: there are too few left
    assert control.probe_due(5.0)


def test_times_between_probes_vary_within_limits(space):
    control = Controller(space, FIRST)
    gaps = []
    now = 0.0
    for _ in range(20):
        begun = now
        while not control.probe_due(now):
            now += 0.01
        gaps.append(now - begun)
        control.see_probe(32_768, 0.01 + 32_768 / 1e6, at_s=now)
    assert max(gaps[1:]) <= 2.01
    assert min(gaps[1:]) >= 2.0 * 0.59
    assert len({round(each, 1) for each in gaps}) > 4
