"""Relaxations in training loops of others, and compiled."""

import contextlib
import copy
import shutil
import warnings
from typing import Any

import pytest
import torch
from benchmarks import vision
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from trimtab.relax.relaxed import Relaxed

MODES: dict[str, dict[str, Any]] = {
    "local-entropy": {"scope": 0.3, "temperature": 1e-4},
    "hopf-lax": {"scope": 0.5},
    "hopf-lax-fixed-point": {"scope": 20.0},
    "heat": {"scope": 1.0, "temperature": 1e-3},
}
EACH = pytest.mark.parametrize("mode", MODES)


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


def loader():
    drawn = torch.Generator().manual_seed(1)
    x = torch.randn(70, 6, generator=drawn)
    return DataLoader(TensorDataset(x, x[:, :3].argmax(1)), batch_size=10)


def optimizer(model, mode, steps=4):
    return Relaxed(
        model.parameters(), relaxation=mode, steps=steps,
        generator=torch.Generator().manual_seed(2), **MODES[mode],
    )  # fmt: skip


def by_hand(mode, epochs=3):
    model = net()
    opt = optimizer(model, mode)
    for _ in range(epochs):
        for x, y in loader():
            opt.zero_grad()
            F.cross_entropy(model(x), y).backward()
            opt.step()
    return model, opt


def same(one, two):
    pairs = zip(one.parameters(), two.parameters(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@EACH
def test_accelerate_takes_the_same_steps(mode):
    accelerate = pytest.importorskip("accelerate")
    helper = accelerate.Accelerator(cpu=True)
    model = net()
    model, opt, data = helper.prepare(model, optimizer(model, mode), loader())
    for _ in range(3):
        for x, y in data:
            opt.zero_grad()
            helper.backward(F.cross_entropy(model(x), y))
            opt.step()
    expected, made = by_hand(mode)
    assert same(helper.unwrap_model(model), expected)
    assert opt.optimizer.rounds == made.rounds == 5


@EACH
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_lightning_takes_the_same_steps(mode, tmp_path):
    with contextlib.suppress(ImportError):
        vision.torchvision()  # Lightning imports torchvision where it is
    lightning: Any = pytest.importorskip("lightning")

    class Module(lightning.LightningModule):  # type: ignore[misc]
        def __init__(self):
            super().__init__()
            self.body = net()

        def training_step(self, batch, index):
            return F.cross_entropy(self.body(batch[0]), batch[1])

        def configure_optimizers(self):
            return optimizer(self.body, mode)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of workers, loggers, short epochs
        trainer = lightning.Trainer(
            max_epochs=3, accelerator="cpu", devices=1, logger=False,
            enable_progress_bar=False, enable_checkpointing=False,
            enable_model_summary=False, default_root_dir=tmp_path,
        )  # fmt: skip
        module = Module()
        trainer.fit(module, loader())
    expected, made = by_hand(mode)
    assert same(module.body, expected)
    opt = trainer.optimizers[0]
    assert (opt.rounds, opt.evaluations) == (made.rounds, 21)
    # What Lightning keeps of an optimizer is enough to go on with.
    path = tmp_path / "here.ckpt"
    trainer.save_checkpoint(path)
    kept = trainer.strategy.load_checkpoint(path, weights_only=True)
    kept = kept["optimizer_states"][0]
    model = net()
    other = optimizer(model, mode)
    other.load_state_dict(kept)
    assert same(model, expected)


@pytest.mark.skipif(
    shutil.which("c++") is None and shutil.which("g++") is None,
    reason="torch.compile needs a C++ compiler",
)
@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch at itself
def test_the_inner_update_may_be_compiled():
    models = [net(), net()]
    opts = [optimizer(each, "local-entropy") for each in models]
    for each in opts:
        each.temperature = 0.0
    assert opts[1].inner is not None
    opts[1].inner.step = torch.compile(opts[1].inner.step)
    for _ in range(2):
        for x, y in loader():
            for model, opt in zip(models, opts, strict=True):
                opt.zero_grad()
                F.cross_entropy(model(x), y).backward()
                opt.step()
    for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)
    assert opts[1].rounds == 3


def test_an_average_goes_on_top_of_the_iterates():
    """The average of torch over iterates is the one that is worked out by hand."""
    model = net()
    opt = optimizer(model, "local-entropy")
    average = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.5)
    )
    expected = None
    for x, y in loader():
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
        if opt.position == 0:
            with opt.at_iterate():
                average.update_parameters(model)
                now = [each.detach().clone() for each in model.parameters()]
            expected = (
                now
                if expected is None
                else [0.5 * a + 0.5 * b for a, b in zip(expected, now, strict=True)]
            )
    assert opt.rounds == 1
    assert expected is not None
    for a, b in zip(average.module.parameters(), expected, strict=True):
        assert torch.allclose(a, b, atol=1e-7)


@EACH
def test_distributed_checkpoints_keep_all_of_it(mode, tmp_path):
    """A flat state is what torch.distributed.checkpoint saves and loads."""
    from torch.distributed.checkpoint.state_dict import (
        get_optimizer_state_dict,
        set_optimizer_state_dict,
    )
    from torch.distributed.checkpoint.state_dict_loader import load
    from torch.distributed.checkpoint.state_dict_saver import save

    expected, made = by_hand(mode)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of there being one process
        state: dict[str, Any] = {"optimizer": get_optimizer_state_dict(expected, made)}
        save(state, checkpoint_id=tmp_path / "kept")
        blank = copy.deepcopy(state)
        for each in blank["optimizer"]["state"].values():
            for key, value in each.items():
                if isinstance(value, torch.Tensor):
                    each[key] = torch.zeros_like(value)
        load(blank, checkpoint_id=tmp_path / "kept")
        model = net()
        other = optimizer(model, mode)
        set_optimizer_state_dict(model, other, blank["optimizer"])
    assert same(model, expected)
    assert (other.rounds, other.position) == (made.rounds, made.position)
