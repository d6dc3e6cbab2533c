"""Answers of a study, on machines and networks where they are known."""

from dataclasses import asdict

import numpy as np
import pytest
from tests.unit.partition.test_plan import graph  # noqa: F401 - a fixture
from tests.unit.partition.test_study import made

from trimtab.partition.answers import PAIRS, answers
from trimtab.partition.conditions import Limits
from trimtab.partition.factors import FACTORS
from trimtab.partition.sensitivity import HIGHER
from trimtab.partition.study import AXES


def found(graph, objective="latency", **more):  # noqa: F811
    some = made(graph, uplinks=5, **more)
    return answers(some, some.outcome(objective), noise_frac=0.05, seed=0)


def test_effects_add_up(graph):  # noqa: F811
    some = found(graph)
    assert [each.factor for each in some.effects] == list(AXES)
    alone = sum(each.variance_best_frac for each in some.effects)
    pairs = sum(share for _, _, share in some.pairs)
    assert alone + pairs + some.higher_frac == pytest.approx(1.0)
    assert set(some.conditions) == {*FACTORS, PAIRS, HIGHER}
    assert sum(some.conditions.values()) == pytest.approx(1.0)
    shares = some.shares
    total = shares.edge_frac + shares.between_frac + shares.cloud_frac
    assert total == pytest.approx(1.0)
    assert len(some.machines) == 2
    assert set(some.codecs) == {"raw", "int8"}


def test_elasticities_have_their_signs_and_sizes(graph):  # noqa: F811
    by_name = {each.factor: each for each in found(graph).effects}
    for which in ("elasticity_fixed", "elasticity_best"):
        slopes = {name: getattr(by_name[name], which) for name in FACTORS}
        assert slopes["uplink"].mean <= 0
        for name in FACTORS[1:]:
            assert 0 <= slopes[name].mean <= 1
        # Time is a sum: halving the rate and doubling all else doubles it.
        if which == "elasticity_fixed":
            parts = -slopes["uplink"].mean + sum(
                slopes[name].mean for name in ("rtt", "edge load", "cloud load")
            )
            assert 0.5 < parts < 1.1
    assert by_name["codec"].elasticity_best is None


def test_what_stays_is_never_better(graph):  # noqa: F811
    for objective in ("latency", "throughput"):
        some = found(graph, objective)
        assert some.shares.stay_ratio.mean >= some.shares.static_ratio.mean >= 1.0
        assert some.shares.ends_ratio is not None
        assert some.shares.ends_ratio.p05 >= 1.0
        assert some.edge_ratio is not None
        assert some.edge_ratio.p05 >= 1.0
        assert some.gain.attainable >= some.gain.true
        assert some.gain.corrected.low <= some.gain.true <= some.gain.corrected.high


def test_round_trips_are_hidden_by_a_pipeline(graph):  # noqa: F811
    by_name = {each.factor: each for each in found(graph, "throughput").effects}
    rtt = by_name["rtt"]
    assert rtt.elasticity_best is not None
    assert rtt.elasticity_best.most == 0.0
    assert rtt.changes_frac == 0.0
    assert rtt.tau == pytest.approx(1.0)


def test_the_same_answers_again(graph):  # noqa: F811
    assert asdict(found(graph)) == asdict(found(graph))


def test_without_a_cloud_for_the_input_there_is_no_such_ratio(graph):  # noqa: F811
    some = found(graph, limits=Limits(private_layers=1))
    assert some.cloud_ratio is None
    assert some.compressed_frac is None
    assert np.isfinite(some.together_ratio)
