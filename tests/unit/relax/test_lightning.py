"""The callback in a training of Lightning, beside the same steps by hand."""

from __future__ import annotations

import contextlib
import warnings
from typing import Any

import pytest
import torch
from benchmarks import vision
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from trimtab.errors import UsageError
from trimtab.relax.relaxed import Relaxed

with contextlib.suppress(ImportError):
    vision.torchvision()  # Lightning imports torchvision where it is
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    lightning: Any = pytest.importorskip("lightning", reason="a loop of others")
    from trimtab.relax.lightning import AtIterate

pytestmark = pytest.mark.filterwarnings("ignore")  # of Lightning: workers, loggers


def _data():
    drawn = torch.Generator().manual_seed(1)
    x = torch.randn(70, 6, generator=drawn)
    return DataLoader(TensorDataset(x, x[:, :3].argmax(1)), batch_size=10)


class _Module(lightning.LightningModule):  # type: ignore[misc]
    """Notes at which weights it is validated."""

    def __init__(self, *, relaxed=True):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Linear(6, 3)
        self.relaxed = relaxed
        self.seen: list[torch.Tensor] = []
        self.iterates: list[torch.Tensor] = []

    def training_step(self, batch, index):
        return F.cross_entropy(self.body(batch[0]), batch[1])

    def validation_step(self, batch, index):
        if index == 0 and not self.trainer.sanity_checking:
            self.seen.append(self.body.weight.detach().clone())
            state = self.trainer.optimizers[0].state[self.body.weight]
            self.iterates.append(state["iterate"].clone())

    def configure_optimizers(self):
        if not self.relaxed:
            return torch.optim.SGD(self.parameters(), lr=0.1)
        return Relaxed(
            self.parameters(), relaxation="local-entropy", steps=4, scope=0.3,
            temperature=0.0, generator=torch.Generator().manual_seed(2),
        )  # fmt: skip


def _fit(module, folder, *callbacks):
    trainer = lightning.Trainer(
        max_epochs=2, accelerator="cpu", devices=1, logger=False,
        enable_progress_bar=False, enable_checkpointing=False,
        enable_model_summary=False, default_root_dir=folder, callbacks=[*callbacks],
    )  # fmt: skip
    trainer.fit(module, _data(), _data())
    return trainer


def test_validation_and_the_end_see_the_iterate(tmp_path):
    module = _Module()
    trainer = _fit(module, tmp_path, AtIterate())
    opt = trainer.optimizers[0]
    # 7 gradients an epoch, 4 a round: the first validation falls into a round.
    assert opt.evaluations == 14
    assert len(module.seen) == 2
    for seen, iterate in zip(module.seen, module.iterates, strict=True):
        assert torch.equal(seen, iterate)
    assert torch.equal(module.body.weight, opt.state[module.body.weight]["iterate"])
    assert trainer.callback_metrics["relax/rounds"] == 3
    assert trainer.callback_metrics["relax/gamma"] == pytest.approx(opt.gamma)


def test_without_it_validation_sees_where_the_round_is(tmp_path):
    module = _Module()
    _fit(module, tmp_path)
    assert not torch.equal(module.seen[0], module.iterates[0])


def test_it_changes_no_step(tmp_path):
    one, two = _Module(), _Module()
    _fit(one, tmp_path, AtIterate(settle=False, log=False))
    _fit(two, tmp_path)
    assert torch.equal(one.body.weight, two.body.weight)


def test_a_training_without_a_relaxation_is_refused(tmp_path):
    with pytest.raises(UsageError, match="none of the optimizers is a relaxation"):
        _fit(_Module(relaxed=False), tmp_path, AtIterate())
