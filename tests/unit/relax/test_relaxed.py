"""The optimizer: identities, closed forms, and what training loops do to it."""

import io
import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from trimtab.errors import UsageError
from trimtab.relax.relaxed import Relaxed
from trimtab.relax.rounds import equilibration, paces
from trimtab.relax.scopes import Exponential

MODES: dict[str, dict[str, Any]] = {
    "local-entropy": {"scope": 0.3, "temperature": 1e-4},
    "hopf-lax": {"scope": 0.5},
    "hopf-lax-fixed-point": {"scope": 20.0},
    "heat": {"scope": 1.0, "temperature": 1e-3},
}


def sgd(rate, **more):
    return lambda groups: torch.optim.SGD(groups, lr=rate, **more)


def net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


def batches(count, seed=0):
    drawn = torch.Generator().manual_seed(seed)
    for _ in range(count):
        x = torch.randn(16, 6, generator=drawn)
        yield x, (x[:, :3].argmax(1))


def trained(model, opt, some):
    for x, y in some:
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
    return [each.detach().clone() for each in model.parameters()]


def made(model, mode, *, steps=4, **more):
    generator = torch.Generator().manual_seed(7)
    settings = MODES[mode] | more
    return Relaxed(
        model.parameters(), relaxation=mode, steps=steps, generator=generator,
        **settings,
    )  # fmt: skip


def same(one, two):
    return all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_without_a_tether_it_is_lookahead_bit_for_bit():
    one, two = net(), net()
    opt = Relaxed(
        one.parameters(), scope=0.0, newest=1.0, steps=5,
        inner=sgd(0.1, momentum=0.9, nesterov=True), outer=sgd(0.5),
    )  # fmt: skip
    found = trained(one, opt, batches(50))
    fast = torch.optim.SGD(two.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    slow = [each.detach().clone() for each in two.parameters()]
    for number, (x, y) in enumerate(batches(50), 1):
        fast.zero_grad()
        F.cross_entropy(two(x), y).backward()
        fast.step()
        if number % 5 == 0:
            with torch.no_grad():
                for kept, each in zip(slow, two.parameters(), strict=True):
                    kept.add_(each - kept, alpha=0.5)
                    each.copy_(kept)
    assert same(found, list(two.parameters()))


def test_one_worker_is_the_outer_step_of_diloco():
    one, two = net(), net()
    outer: dict[str, Any] = {"momentum": 0.9, "nesterov": True}
    opt = Relaxed(
        one.parameters(), scope=0.0, newest=1.0, steps=5,
        inner=lambda groups: torch.optim.AdamW(groups, lr=0.01),
        outer=sgd(0.7, **outer),
    )  # fmt: skip
    found = trained(one, opt, batches(30))
    inner = torch.optim.AdamW(two.parameters(), lr=0.01)
    kept = [each.detach().clone().requires_grad_() for each in two.parameters()]
    after = torch.optim.SGD(kept, lr=0.7, **outer)
    for number, (x, y) in enumerate(batches(30), 1):
        inner.zero_grad()
        F.cross_entropy(two(x), y).backward()
        inner.step()
        if number % 5 == 0:
            with torch.no_grad():
                for a, b in zip(kept, two.parameters(), strict=True):
                    a.grad = a - b  # original less local
                after.step()
                for a, b in zip(kept, two.parameters(), strict=True):
                    b.copy_(a)
    assert same(found, list(two.parameters()))


@pytest.mark.parametrize("curvature", [0.5, 3.0])
@pytest.mark.parametrize("mode", MODES)
def test_each_mode_moves_along_the_slope_of_its_closed_form(mode, curvature):
    x = nn.Parameter(torch.tensor([2.0, -1.0], dtype=torch.float64))
    start, t = x.detach().clone(), 0.5
    tethered = mode in ("local-entropy", "hopf-lax")
    more: dict[str, Any] = {"temperature": 0.01} if mode == "heat" else {}
    opt = Relaxed(
        [x], relaxation=mode, scope=1 / t, steps=401,
        inner=sgd(0.1) if tethered else None, outer=sgd(0.25),
        generator=torch.Generator().manual_seed(0), **more,
    )  # fmt: skip
    for _ in range(401):
        opt.zero_grad()
        (0.5 * curvature * x**2).sum().backward()
        opt.step()
    # x - mu is t times the slope of the relaxed parabola.
    relaxed = curvature / (1 + t * curvature)
    slope = {"heat": curvature, "hopf-lax-fixed-point": relaxed}.get(mode, t * relaxed)
    wanted = start - 0.25 * slope * start
    with opt.at_iterate():
        assert torch.allclose(x, wanted, atol=1e-10)


def test_the_proximal_point_is_that_of_the_equation():
    t = 0.02  # t times the curvature, 1 + 3 pi^2 at most, below one: one minimiser
    start = torch.linspace(-2, 2, 21, dtype=torch.float64)
    x = nn.Parameter(start.clone())
    opt = Relaxed(
        [x], relaxation="hopf-lax", scope=1 / t, steps=600, inner=sgd(0.01),
        outer=sgd(1.0),
    )  # fmt: skip
    for _ in range(600):
        opt.zero_grad()
        (x**2 / 2 + 0.75 * torch.sin(2 * math.pi * x)).sum().backward()
        opt.step()
    y = x.detach()
    slope = y + 1.5 * math.pi * torch.cos(2 * math.pi * y)
    assert torch.allclose((start - y) / t, slope, atol=1e-6)


def test_noise_has_the_variance_of_langevin_dynamics():
    curvature, gamma, rate, temperature, count = 2.0, 1.0, 0.05, 0.25, 20_000
    x = nn.Parameter(torch.zeros(count, dtype=torch.float64))
    opt = Relaxed(
        [x], scope=gamma, steps=10_000, inner=sgd(rate), temperature=temperature,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    for _ in range(200):
        opt.zero_grad()
        (0.5 * curvature * x**2).sum().backward()
        opt.step()
    stiffness = curvature + gamma
    wanted = temperature / stiffness / (1 - rate * stiffness / 2)
    found = float(x.detach().var())
    assert abs(found - wanted) < 4 * wanted * math.sqrt(2 / count)


@pytest.mark.parametrize("mode", MODES)
def test_a_run_goes_on_from_the_middle_of_a_round_bit_for_bit(mode):
    model = net()
    opt = made(model, mode, scope=Exponential(MODES[mode]["scope"], 1.1))
    whole = trained(model, opt, batches(22))
    again = net()
    first = made(again, mode, scope=Exponential(MODES[mode]["scope"], 1.1))
    some = list(batches(22))
    trained(again, first, some[:10])
    file = io.BytesIO()
    with first.at_iterate():  # the weights that are kept are the iterate's
        weights = {key: each.clone() for key, each in again.state_dict().items()}
    # What users of torch do, whose checkpoints hold optimizers.
    state = {"model": weights, "optimizer": first.state_dict()}
    torch.save(state, file)  # noqa: TID251
    file.seek(0)
    stored = torch.load(file, weights_only=True)  # noqa: TID251
    resumed = net(seed=5)
    resumed.load_state_dict(stored["model"])
    second = made(resumed, mode, scope=Exponential(MODES[mode]["scope"], 1.1))
    second.load_state_dict(stored["optimizer"])
    assert (second.rounds, second.position, second.evaluations) == (2, 2, 10)
    assert same(trained(resumed, second, some[10:]), whole)


@pytest.mark.parametrize("mode", MODES)
def test_equal_generators_give_equal_runs(mode):
    runs = []
    for _ in range(2):
        model = net()
        runs.append(trained(model, made(model, mode), batches(9)))
    assert same(*runs)
    assert all(bool(each.isfinite().all()) for each in runs[0])


def test_a_scaler_of_gradients_changes_nothing():
    one, two = net(), net()
    plain, scaled = (made(each, "local-entropy") for each in (one, two))
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for x, y in batches(9):
        scaled.zero_grad()
        scaler.scale(F.cross_entropy(two(x), y)).backward()
        scaler.step(scaled)
        scaler.update()
    assert same(trained(one, plain, batches(9)), list(two.parameters()))
    # An overflow skips the step, and the round does not advance.
    before = scaled.position
    scaled.zero_grad()
    scaler.scale(F.cross_entropy(two(x) * math.inf, y)).backward()
    scaler.step(scaled)
    assert scaled.position == before


def test_frozen_parameters_stay_and_thawed_ones_join():
    model = net()
    for each in model[0].parameters():
        each.requires_grad_(False)
    first = [each.detach().clone() for each in model[0].parameters()]
    opt = made(model, "local-entropy", outer=sgd(1.0, momentum=0.5))
    some = list(batches(12))
    trained(model, opt, some[:6])
    assert same(first, list(model[0].parameters()))
    for each in model[0].parameters():
        each.requires_grad_(True)
    trained(model, opt, some[6:])
    assert not same(first, list(model[0].parameters()))
    assert opt.rounds == 3


@pytest.mark.filterwarnings("ignore:the tether")
def test_groups_and_schedules_reach_the_inner_and_outer_optimizers():
    model = net()
    opt = Relaxed(
        [{"params": model[0].parameters(), "lr": 0.01, "weight_decay": 0.1},
         {"params": model[2].parameters()}],
        inner=sgd(0.2, momentum=0.9), outer=lambda groups: torch.optim.SGD(
            [{"params": each["params"]} for each in groups], lr=1.0),
        steps=2, scope=9.0,
    )  # fmt: skip
    assert opt.inner is not None
    assert [group["lr"] for group in opt.inner.param_groups] == [0.01, 0.2]
    assert opt.inner.param_groups[0]["weight_decay"] == 0.1
    schedule = torch.optim.lr_scheduler.StepLR(opt.outer, 1, 0.5)
    trained(model, opt, batches(2))
    schedule.step()
    assert opt.outer.param_groups[1]["lr"] == 0.5
    both = paces(opt.inner)
    assert both is not None
    assert opt.equilibration == pytest.approx(equilibration(both, 9.0, 2))


def test_closures_are_called_once_a_step():
    model, calls = net(), []
    opt = made(model, "hopf-lax")
    some = iter(batches(5))

    def closure():
        x, y = next(some)
        opt.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        calls.append(float(loss.detach()))
        return calls[-1]

    assert [opt.step(closure) for _ in range(5)] == calls
    other = net()
    assert same(
        trained(other, made(other, "hopf-lax"), batches(5)), list(model.parameters())
    )


def test_a_tether_without_effect_is_told_once():
    model = net()
    opt = made(model, "local-entropy", scope=Exponential(1e-4, 1.0))
    assert opt.equilibration < 0.01
    with pytest.warns(UserWarning, match="the method is Lookahead") as told:
        trained(model, opt, batches(12))
    assert len(told) == 1
    adam = Relaxed(model.parameters(), inner=torch.optim.Adam)
    assert adam.equilibration is None
    assert made(model, "heat").equilibration is None


def test_unstable_fixed_points_are_refused_at_the_iterate():
    x = nn.Parameter(torch.tensor([1.0]))
    opt = Relaxed(
        [x], relaxation="hopf-lax-fixed-point", scope=1 / 9, damping=0.75, steps=200
    )

    def run():
        for _ in range(200):
            opt.zero_grad()
            (0.5 * x**2).sum().backward()
            opt.step()

    with pytest.raises(UsageError, match="curvature of the loss is above 7"):
        run()
    assert float(x.detach()) == 1.0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"relaxation": "entropy"}, "known are local-entropy"),
        ({"steps": 0}, "at least one"),
        ({"scope": -0.1}, "a scope with gamma of -0.1"),
        ({"temperature": math.nan}, "finite and at least 0"),
        ({"newest": 0.0}, "above 0 and at most 1"),
        ({"relaxation": "hopf-lax", "scope": 0.0}, "would be infinite"),
        ({"relaxation": "hopf-lax", "newest": 0.5}, "it is not used there"),
        ({"relaxation": "hopf-lax", "temperature": 0.5}, "it is not used there"),
        ({"relaxation": "heat"}, "smooths over a variance"),
        ({"relaxation": "heat", "temperature": 1.0, "inner": torch.optim.Adam},
         "it is not used there"),
        ({"relaxation": "hopf-lax-fixed-point", "damping": 1.0}, "at most 0.999"),
        ({"inner": lambda groups: torch.optim.SGD(groups[0]["params"][:1], lr=0.1)},
         "its factory made one of 1 in 1"),
    ],
)  # fmt: skip
def test_bad_settings_are_refused(settings, said):
    with pytest.raises(UsageError, match=said):
        Relaxed(net().parameters(), **settings)


def test_states_of_other_modes_and_sparse_gradients_are_refused():
    model = net()
    state = made(model, "heat").state_dict()
    with pytest.raises(UsageError, match=r"a state of heat loaded into .*'hopf-lax'"):
        made(model, "hopf-lax").load_state_dict(state)
    other = torch.optim.SGD(model.parameters(), lr=0.1).state_dict()
    with pytest.raises(UsageError, match="a state of another optimizer"):
        made(model, "hopf-lax").load_state_dict(other)
    table = nn.Embedding(4, 2, sparse=True)
    opt = Relaxed(table.parameters())
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(UsageError, match="sparse gradients"):
        opt.step()


@pytest.mark.parametrize("mode", MODES)
def test_settling_ends_the_round_and_leaves_the_iterate(mode):
    model = net()
    opt = Relaxed(model.parameters(), relaxation=mode, steps=6, **MODES[mode])
    start = [each.detach().clone() for each in model.parameters()]
    for x, y in batches(4):
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
    opt.settle()
    assert (opt.rounds, opt.position) == (1, 0)
    assert not any(map(torch.equal, start, model.parameters()))
    with opt.at_iterate():
        shown = [each.detach().clone() for each in model.parameters()]
    assert all(map(torch.equal, shown, model.parameters()))
    opt.settle()
    assert opt.rounds == 1


def test_the_slope_of_heat_is_the_mean_of_as_many_gradients_as_there_are():
    x = nn.Parameter(torch.ones(3))
    opt = Relaxed(
        [x], relaxation="heat", temperature=1e-3, scope=1.0, steps=100,
        outer=sgd(1.0), generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    slopes = []
    for _ in range(4):
        slopes.append(x.detach().clone())
        x.grad = x.detach().clone()
        opt.step()
    opt.settle()
    mean = torch.stack(slopes).mean(0)
    assert torch.allclose(x, 1.0 - mean, atol=1e-6)


@pytest.mark.parametrize("steps", [2, 4, 5])
def test_draws_of_heat_come_in_pairs_and_an_odd_one_is_at_the_iterate(steps):
    x = nn.Parameter(torch.zeros(3))
    opt = Relaxed(
        [x], relaxation="heat", temperature=0.04, scope=1.0, steps=steps,
        outer=sgd(0.0), generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    places = []
    for _ in range(3 * steps):
        places.append(x.detach().clone())
        x.grad = torch.zeros(3)
        opt.step()
    for start in range(0, 3 * steps, steps):
        some = places[start : start + steps]
        assert torch.allclose(torch.stack(some).sum(0), torch.zeros(3), atol=1e-6)
    assert not places[0].any()  # the very first gradient is one of the iterate
    later = places[steps : 2 * steps]
    assert sum(not each.any() for each in later) == steps % 2


def test_after_an_unstable_fixed_point_the_round_begins_again():
    x = nn.Parameter(torch.tensor([1.0]))
    opt = Relaxed([x], relaxation="hopf-lax-fixed-point", scope=0.01, steps=30)

    def go():
        for _ in range(30):
            x.grad = x.detach().clone()
            opt.step()

    with pytest.raises(UsageError, match="begins again"):
        go()
    assert (opt.position, x.item()) == (0, 1.0)
    opt.scope = Exponential(1.0, 1.0)
    go()
    assert opt.rounds == 1
    assert x.item() < 1.0


def test_noise_has_its_temperature_whatever_the_momentum():
    """The law of y around an iterate that stays: exp(-(f + gamma y^2 / 2) / T)."""
    curvature, gamma, temperature = 2.0, 1.0, 0.25
    for momentum, rate in ((0.0, 0.02), (0.9, 0.002)):
        y = nn.Parameter(torch.zeros(4_000))
        opt = Relaxed(
            [y], scope=gamma, steps=10**6, temperature=temperature,
            inner=sgd(rate, momentum=momentum, nesterov=momentum > 0),
            generator=torch.Generator().manual_seed(0),
        )  # fmt: skip
        seen = []
        for number in range(900):
            y.grad = curvature * y.detach()
            opt.step()
            if number >= 300 and number % 20 == 0:
                seen.append(float(y.detach().square().mean()))
        wanted = temperature / (curvature + gamma)
        assert sum(seen) / len(seen) == pytest.approx(wanted, rel=0.08)


def test_noise_needs_sgd_inside():
    x = nn.Parameter(torch.ones(1))
    with pytest.raises(UsageError, match="noise of temperature"):
        Relaxed([x], temperature=0.1, inner=lambda p: torch.optim.Adam(p))


def test_frozen_parameters_go_home_where_others_scatter():
    x, y = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(3))
    opt = Relaxed([x, y], relaxation="heat", temperature=0.01, scope=1.0, steps=4)
    for number in range(10):
        if number == 6:
            y.requires_grad_(False)
            y.grad = None
        for each in (x, y):
            if each.requires_grad:
                each.grad = torch.zeros(3)
        opt.step()
        if number > 6:
            assert torch.equal(y.detach(), torch.zeros(3))


@pytest.mark.parametrize("mode", MODES)
def test_a_round_without_any_gradient_is_a_round(mode):
    x = nn.Parameter(torch.ones(2))
    opt = Relaxed([x], relaxation=mode, steps=2, **MODES[mode])
    for _ in range(4):
        opt.step()
    assert opt.rounds == 2
    assert torch.equal(x.detach(), torch.ones(2))


def test_fixed_points_near_the_end_of_a_training_are_left_alone():
    """Gradients become small and noisy there: growth is not instability."""
    drawn = torch.Generator().manual_seed(0)
    x = nn.Parameter(torch.ones(20))
    opt = Relaxed([x], relaxation="hopf-lax-fixed-point", scope=3.0, steps=5)
    for number in range(4_000):
        noise = torch.randn(20, generator=drawn) * (1e-5 if number % 97 else 0.02)
        x.grad = x.detach() + noise
        opt.step()
    assert float(x.detach().abs().max()) < 0.1


@pytest.mark.parametrize("steps", [5, 30])
def test_unstable_fixed_points_are_seen_however_short_the_rounds(steps):
    x = nn.Parameter(torch.tensor([1.0]))
    opt = Relaxed(
        [x], relaxation="hopf-lax-fixed-point", scope=1 / 9, steps=steps, outer=sgd(1.0)
    )

    def go():
        for _ in range(400):
            x.grad = x.detach().clone()
            opt.step()

    with pytest.raises(UsageError, match="begins again"):
        go()
    assert bool(x.isfinite())


def test_gradients_that_are_no_numbers_are_called_that():
    x = nn.Parameter(torch.tensor([1.0]))
    opt = Relaxed([x], relaxation="hopf-lax-fixed-point", scope=1.0)
    x.grad = torch.tensor([float("nan")])
    with pytest.raises(UsageError, match="infinite or NaN"):
        opt.step()
    assert x.item() == 1.0
    x.grad = torch.zeros(1)
    opt.step()
    x.grad = torch.ones(1)
    opt.step()


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"steps": 2.5}, "whole number"), ({"scope": "exp"}, "a scope 'exp'")],
)
def test_settings_of_the_wrong_kind_are_refused(settings, said):
    with pytest.raises(UsageError, match=said):
        Relaxed([nn.Parameter(torch.ones(1))], **settings)
