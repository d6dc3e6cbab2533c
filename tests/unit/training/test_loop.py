import contextlib
import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from trimtab.errors import DataError, UsageError
from trimtab.training.data import Dataset
from trimtab.training.loop import Settings, evaluate, fit


@pytest.fixture
def dataset():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(70, 6, generator=generator)
    y = (x @ torch.randn(6, 3, generator=generator)).argmax(1)
    return Dataset(
        name="made", train=(x[:50], y[:50]), test=(x[50:], y[50:]), classes=3
    )


@pytest.fixture
def module():
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3))


def _same(first, second):
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_sgd_is_the_loop_one_would_write_by_hand(dataset, module):
    by_hand = copy.deepcopy(module)
    settings = Settings(
        epochs=3, batch_size=16, learning_rate=0.1, weight_decay=0.01, seed=7,
        schedule="constant", label_smoothing=0.1,
    )  # fmt: skip
    history = fit(module, dataset, settings)

    torch.manual_seed(7)
    order = torch.Generator().manual_seed(7)
    optimizer = torch.optim.SGD(
        by_hand.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01
    )
    x, y = dataset.train
    for _ in range(3):
        by_hand.train()
        for rows in torch.randperm(50, generator=order).split(16):  # 16 16 16 2
            optimizer.zero_grad()
            loss = F.cross_entropy(by_hand(x[rows]), y[rows], label_smoothing=0.1)
            loss.backward()
            optimizer.step()
    by_hand.eval()
    assert _same(module, by_hand)
    scores = by_hand(dataset.test[0]).detach()
    last = history.epochs[-1]
    assert last.test_loss == pytest.approx(
        float(F.cross_entropy(scores, dataset.test[1])), rel=1e-6
    )
    assert (
        last.test_accuracy_frac == int((scores.argmax(1) == dataset.test[1]).sum()) / 20
    )


def test_one_step_of_adamw_moves_each_weight_by_the_rate(dataset, module):
    before = [each.detach().clone() for each in module.parameters()]
    fit(
        module,
        dataset,
        Settings(epochs=1, batch_size=50, optimizer="adamw", learning_rate=0.01),
    )
    for old, new in zip(before, module.parameters(), strict=True):
        moved = (new.detach() - old).abs()
        # m / sqrt(v) is 1 at the first step, unless the gradient is nearly zero.
        assert float(moved.max()) == pytest.approx(0.01, rel=1e-3)


def test_the_same_seed_gives_the_same_bits(dataset, module):
    settings = Settings(epochs=2, batch_size=8)
    twin, other = copy.deepcopy(module), copy.deepcopy(module)
    history = fit(module, dataset, settings)
    torch.manual_seed(99)  # what the global state is does not matter
    assert fit(twin, dataset, settings) == history
    assert _same(module, twin)
    fit(other, dataset, Settings(epochs=2, batch_size=8, seed=1))
    assert not _same(module, other)


def test_the_global_random_state_threads_and_modes_are_left_alone(dataset, module):
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    seen: list[Any] = []
    fit(
        module,
        dataset,
        Settings(epochs=1, threads=1),
        progress=lambda _: seen.append(torch.get_num_threads()),
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert set(seen) == {1}
    assert torch.get_num_threads() == threads
    assert not any(each.training for each in module.modules())


def test_progress_counts_steps_and_epochs(dataset, module):
    seen: list[Any] = []
    history = fit(
        module, dataset, Settings(epochs=2, batch_size=25), progress=seen.append
    )
    assert [(each.epoch, each.step) for each in seen] == [
        (1, 1),
        (1, 2),
        (2, 3),
        (2, 4),
    ]
    assert {(each.epochs, each.steps) for each in seen} == {(2, 4)}
    mean = (seen[0].loss + seen[1].loss) / 2
    assert history.epochs[0].train_loss == pytest.approx(mean)
    assert len(history.wall_s) == 2
    assert min(history.wall_s) > 0


def test_a_single_example_that_is_left_joins_the_last_batch(dataset):
    x, y = dataset.train
    data = Dataset(name="odd", train=(x[:33], y[:33]), test=dataset.test, classes=3)
    module = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    seen: list[Any] = []
    fit(module, data, Settings(epochs=1, batch_size=16), progress=seen.append)
    assert len(seen) == 2  # 16 and 17, not 16, 16 and 1


def test_an_optimizer_of_ones_own_is_the_same_as_the_named_one(dataset, module):
    twin = copy.deepcopy(module)
    settings = Settings(epochs=2, batch_size=16, learning_rate=0.1)
    history = fit(module, dataset, settings)
    own = fit(
        twin,
        dataset,
        settings,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
    )
    assert own == history
    assert _same(module, twin)


def test_an_optimizer_may_call_the_closure_often(dataset):
    module = nn.Linear(6, 3)
    history = fit(
        module,
        dataset,
        Settings(epochs=3, batch_size=50, schedule="constant"),
        optimizer=lambda parameters: torch.optim.LBFGS(parameters, lr=0.5, max_iter=10),
    )
    losses = [epoch.train_loss for epoch in history.epochs]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0] / 2
    assert history.epochs[0].learning_rate == 0.5


def test_an_optimizer_that_ignores_the_closure_is_named(dataset, module):
    class Lazy(torch.optim.SGD):
        def step(self, closure=None):
            return None

    with pytest.raises(UsageError, match="Lazy: it never called the closure"):
        fit(module, dataset, Settings(), optimizer=lambda p: Lazy(p, lr=1))
    assert not module.training


def test_the_schedule_reaches_the_optimizer(dataset, module):
    settings = Settings(epochs=2, batch_size=25, learning_rate=0.4, schedule="cosine")
    history = fit(module, dataset, settings)
    # Steps 0 to 3 of 4; the epochs end after steps 1 and 3.
    half = 2**0.5 / 2
    assert [epoch.learning_rate for epoch in history.epochs] == pytest.approx(
        [0.4 * (1 + half) / 2, 0.4 * (1 - half) / 2]
    )


def test_a_loss_that_is_not_finite_stops_with_step_and_rate(dataset):
    module = nn.Linear(6, 3)
    with pytest.raises(UsageError, match=r"step \d+, learning rate 900000") as caught:
        fit(
            module,
            dataset,
            Settings(epochs=50, learning_rate=9e5, weight_decay=1, schedule="constant"),
        )
    assert "lower the learning rate" in caught.value.remedy
    assert not module.training


def test_inputs_that_became_infinite_are_told_from_a_rate_too_high(dataset, module):
    dataset.train[0][3, 2] = torch.inf
    with pytest.raises(DataError, match="inputs of its batch are infinite"):
        fit(module, dataset, Settings(epochs=1))


def test_an_interrupt_passes_and_leaves_all_in_order(dataset, module):
    state, threads = torch.get_rng_state(), torch.get_num_threads()

    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(module, dataset, Settings(threads=1), progress=interrupt)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert not module.training


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        (nn.Linear(6, 2), "at least 3 classes"),
        (nn.Sequential(nn.Linear(6, 3), nn.Unflatten(1, (3, 1))), r"\(50, 3, 1\)"),
        (nn.Flatten(), "no parameter that requires a gradient"),
    ],
)
def test_modules_that_cannot_be_trained(dataset, wrong, rule):
    with pytest.raises(UsageError, match=rule):
        fit(wrong, dataset, Settings(batch_size=50))


def test_evaluation_in_batches_is_the_whole_and_keeps_modes(dataset, module):
    module.train()
    module[2].eval()
    x, y = dataset.test
    loss, accuracy = evaluate(module, x, y, batch_size=7)
    assert [each.training for each in module.modules()] == [
        True, True, True, False, True,
    ]  # fmt: skip
    module.eval()
    scores = module(x).detach()
    assert loss == pytest.approx(float(F.cross_entropy(scores, y)), rel=1e-6)
    assert accuracy == int((scores.argmax(1) == y).sum()) / 20


def test_evaluation_of_nothing(module):
    with pytest.raises(UsageError, match="0 inputs"):
        evaluate(module, torch.zeros(0, 6), torch.zeros(0, dtype=torch.long))


class Aside(torch.optim.SGD):
    """Keeps its weights one aside of where gradients are taken."""

    @property
    def scheduled(self):
        return self.param_groups

    def _move(self, by):
        with torch.no_grad():
            for group in self.param_groups:
                for each in group["params"]:
                    each.add_(by)

    @contextlib.contextmanager
    def at_iterate(self):
        self._move(1.0)
        yield
        self._move(-1.0)

    def settle(self, *, finish=True):
        self._move(1.0)


def test_an_indirect_optimizer_is_judged_and_left_at_its_own_weights(dataset):
    nets = [nn.Linear(6, 3) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    settings = Settings(epochs=1, schedule="constant")
    fit(nets[0], dataset, settings, optimizer=lambda p: torch.optim.SGD(p, lr=0.1))
    found = fit(nets[1], dataset, settings, optimizer=lambda p: Aside(p, lr=0.1))
    for one, two in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert torch.allclose(one + 1.0, two, atol=1e-6)
    assert found.epochs[-1].test_loss == evaluate(nets[1], *dataset.test)[0]
