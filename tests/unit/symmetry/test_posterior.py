"""Probabilities, findings and predictions from evidence."""

import math

import pytest
import torch
from scipy.stats import norm
from scipy.stats import t as student
from tests.unit.symmetry.nets import small_cnn

from trimtab.errors import UsageError
from trimtab.symmetry.evidence.heldout import Heldout
from trimtab.symmetry.network import retie
from trimtab.symmetry.posterior import Judged, Member, Posterior, contradicted
from trimtab.symmetry.schemes import flips

FAMILY = flips()


def posterior(values, *, spread=None, held=None, way="laplace", family=FAMILY):
    net = small_cnn(family)
    judged = []
    for scheme in family.schemes:
        value = values[scheme.name]
        starts = [value] if spread is None else [value, value - spread]
        each = None
        if held is not None:
            drawn = torch.Generator().manual_seed(0)
            noise = 0.1 * torch.randn(50, generator=drawn)
            each = Heldout(
                each=noise + held[scheme.name], rows=torch.arange(50), accuracy_frac=0.5
            )
        judged.append(
            Judged(
                scheme=scheme,
                members=tuple(
                    Member(network=retie(net, scheme, seed=n).eval(), value=start)
                    for n, start in enumerate(starts)
                ),
                heldout=each,
                given_up=False,
            )
        )
    return Posterior(family=family, judged=tuple(judged), way=way)


VALUES = {"none": -100.0, "C2": -120.0, "hflip": -90.0, "vflip": -130.0, "V4": -140.0}


def test_probabilities_are_those_of_evidence_and_prior():
    found = posterior(VALUES)
    total = sum(math.exp(each) for each in VALUES.values())
    assert found.probabilities == pytest.approx(
        [math.exp(VALUES[each.name]) / total for each in FAMILY.schemes]
    )
    assert found.best.scheme.name == "hflip"
    assert found.probability("hflip") == pytest.approx(1 / (1 + math.exp(-10)))
    favoured = FAMILY.with_prior("invariance", 60.0)
    assert posterior(VALUES, family=favoured).best.scheme.name == "V4"


def test_the_spread_of_starts_tempers():
    found = posterior(VALUES, spread=40.0)
    wider = student.ppf(0.975, 5) / norm.ppf(0.975)  # five schemes of two starts
    assert found.temperature == pytest.approx(wider * 40.0 / math.sqrt(2))
    assert found.probability("hflip") < 0.7
    assert found.untempered[FAMILY.schemes.index(FAMILY["hflip"])] > 0.99
    (only,) = [each for each in found.findings() if each.element == "hflip"]
    assert only.verdict == "undecided"
    assert "starts of a training differ by 37" in only.note


def test_prior_and_evidence_are_tempered_alike():
    favoured = FAMILY.with_prior("invariance", 60.0)
    for spread in (None, 40.0):
        found = posterior(VALUES, spread=spread, family=favoured)
        assert found.best.scheme.name == "V4"
        assert found.probabilities.index(max(found.probabilities)) == 4


def test_findings_say_what_holds_and_by_how_much():
    found = {each.element: each for each in posterior(VALUES).findings()}
    assert found["hflip"].verdict == "holds"
    assert found["hflip"].nats == 10.0
    assert found["vflip"].verdict == "rejected"
    assert found["vflip"].nats == -40.0
    held = dict.fromkeys(VALUES, -1.0)
    assert posterior(VALUES, spread=0.5, held=held).verdict() == (
        "holds: left and right exchanged (+10 nats); rejected: rotation by 180 degrees "
        "(-30 nats), top and bottom exchanged (-40 nats)"
    )
    alone = posterior(VALUES, held=held).verdict()
    assert alone.endswith("; each of one start, so that their spread is unknown")


def test_findings_say_what_they_rest_on():
    favoured = FAMILY.with_prior("invariance", 60.0)
    held = dict.fromkeys(VALUES, -1.0)
    found = posterior(VALUES, held=held, family=favoured)
    by = {each.element: each for each in found.findings()}
    assert by["vflip"].verdict == "holds"
    assert by["vflip"].nats == -40.0
    assert by["vflip"].note == "by the prior"
    left = [
        Judged(
            scheme=each.scheme,
            members=each.members,
            heldout=None if "vflip" in each.scheme.name else each.heldout,
            given_up=each.scheme.name in ("vflip", "V4"),
        )
        for each in posterior(VALUES, held=held).judged
    ]
    rest = Posterior(family=FAMILY, judged=tuple(left), way="laplace")
    by = {each.element: each for each in rest.findings()}
    assert by["vflip"].verdict == "rejected"
    assert by["vflip"].note == "given up early"
    assert by["hflip"].note == ""


def test_the_spread_is_pooled_over_schemes():
    one, *rest = posterior(VALUES, spread=40.0).judged
    quiet = Judged(
        scheme=one.scheme,
        members=(one.members[0], one.members[0]),
        heldout=None,
        given_up=False,
    )
    some = Posterior(family=FAMILY, judged=(quiet, *rest), way="laplace")
    wider = student.ppf(0.975, 5) / norm.ppf(0.975)
    assert some.temperature == pytest.approx(wider * math.sqrt(0.8) * 40 / math.sqrt(2))


def test_errors_of_what_was_given_up_do_not_count():
    found = []
    for error in (5.0, 400.0):
        judged = [
            Judged(
                scheme=each.scheme,
                members=(
                    Member(
                        network=each.members[0].network,
                        value=each.value,
                        error=error if each.scheme.name == "vflip" else 3.0,
                    ),
                ),
                heldout=None,
                given_up=each.scheme.name == "vflip",
            )
            for each in posterior(VALUES).judged
        ]
        found.append(Posterior(family=FAMILY, judged=tuple(judged), way="elbo"))
    assert found[0].temperature == found[1].temperature == 3.0
    close = posterior(VALUES | {"none": -91.0})
    judged = [
        Judged(
            scheme=each.scheme,
            members=(
                Member(network=each.members[0].network, value=each.value, error=9),
            ),
            heldout=None,
            given_up=False,
        )
        for each in close.judged
    ]
    doubtful = Posterior(family=FAMILY, judged=tuple(judged), way="elbo")
    (only,) = [each for each in doubtful.findings() if each.element == "hflip"]
    assert only.note == "estimates are off by 9 nats"


def test_held_out_examples_may_disagree():
    held = dict.fromkeys(VALUES, -1.0) | {"hflip": -2.0}
    found = {each.element: each for each in posterior(VALUES, held=held).findings()}
    assert found["hflip"].verdict == "undecided"
    assert "none predicts held-out examples better than hflip by 1.0" in (
        found["hflip"].note
    )
    # Without vflip none is still ahead of all with it.
    assert found["vflip"].verdict == "rejected"
    agreed = posterior(VALUES, held=dict.fromkeys(VALUES, -1.0))
    assert {each.verdict for each in agreed.findings()} == {"holds", "rejected"}


def test_what_held_out_examples_contradict_has_no_probability():
    held = dict.fromkeys(VALUES, -1.0) | {"hflip": -2.0}
    found = posterior(VALUES, held=held)
    assert found.contradicted == {"hflip": "none"}
    chances = dict(zip(VALUES, found.probabilities, strict=True))
    assert chances["hflip"] == 0.0
    assert found.best.scheme.name == "none"
    # All of them differ in the same way: what is best on average stays.
    rising = {name: -float(at) for at, name in enumerate(VALUES)}
    worst = posterior(dict.fromkeys(VALUES, 0.0), held=rising)
    assert set(worst.contradicted) == set(VALUES) - {"none"}
    assert posterior(VALUES, held=held, way="heldout").contradicted == {}


def test_a_difference_that_may_be_chance_contradicts_nothing():
    drawn = torch.Generator().manual_seed(0)
    base = torch.randn(60, generator=drawn)

    def held(mean):
        noise = torch.randn(60, generator=drawn)
        return Heldout(each=base + noise + mean, rows=torch.arange(60),
                       accuracy_frac=0.5)  # fmt: skip

    assert contradicted({"a": held(0.0), "b": held(0.2)}) == {}
    assert contradicted({"a": held(0.0), "b": held(1.5)}) == {"a": "b"}
    assert contradicted({"a": held(0.0)}) == {}


def test_predictions_are_averaged_and_sum_to_one():
    x = torch.randn(5, 1, 8, 8)
    close = dict.fromkeys(VALUES, -100.0)
    found = posterior(close)
    p = found.predict(x)
    assert torch.allclose(p.sum(1), torch.ones(5))
    each = torch.stack(
        [one.members[0].network(x).softmax(1).detach() for one in found.judged]
    )
    assert torch.allclose(p, each.mean(0), atol=1e-6)
    sure = posterior(VALUES | {"hflip": 0.0})
    wanted = sure.best.members[0].network(x).softmax(1).detach()
    assert torch.allclose(sure.predict(x), wanted, atol=1e-6)


def test_draws_blur_predictions():
    x = torch.randn(5, 1, 8, 8)
    found = posterior(VALUES | {"hflip": 0.0})
    member = found.best.members[0]
    sigmas = {
        path.removesuffix(".values"): torch.full_like(each, 0.5)
        for path, each in member.network.named_parameters()
    }
    drawn = Judged(
        scheme=found.best.scheme,
        members=(Member(network=member.network, value=0.0, sigmas=sigmas),),
        heldout=None,
        given_up=False,
    )
    judged = tuple(drawn if one is found.best else one for one in found.judged)
    blurred = Posterior(family=FAMILY, judged=judged, way="elbo")
    p = blurred.predict(x, samples=8, seed=1)
    assert torch.equal(p, blurred.predict(x, samples=8, seed=1))
    assert not torch.allclose(p, blurred.predict(x))


def test_the_table_has_a_row_for_each_scheme():
    rows = posterior(VALUES).table()
    assert [each["scheme"] for each in rows] == [each.name for each in FAMILY.schemes]
    assert rows[2]["against_none_nats"] == 10.0
    assert sum(each["posterior"] for each in rows) == pytest.approx(1.0)


def test_what_is_neither_element_nor_scheme_is_refused():
    with pytest.raises(UsageError, match="scheme 'rot90'"):
        posterior(VALUES).probability("rot90")
