"""The callback in a training of Lightning."""

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

from trimtab.cost.verdict import Budget
from trimtab.errors import BudgetInfeasibleError, UsageError

with contextlib.suppress(ImportError):
    vision.torchvision()  # Lightning imports torchvision where it is
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    lightning: Any = pytest.importorskip("lightning", reason="a loop of others")
    from trimtab.pipeline.lightning import WithinBudget

pytestmark = pytest.mark.filterwarnings("ignore")  # of Lightning: workers, loggers


class _Module(lightning.LightningModule):  # type: ignore[misc]
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 3))
        self.steps = 0

    def forward(self, x):
        return self.body(x)

    def training_step(self, batch, index):
        self.steps += 1
        assert self.body.training
        return F.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def _fit(module, folder, callback):
    x = torch.randn(20, 6)
    trainer = lightning.Trainer(
        max_epochs=1, accelerator="cpu", devices=1, logger=False,
        enable_progress_bar=False, enable_checkpointing=False,
        enable_model_summary=False, default_root_dir=folder, callbacks=[callback],
    )  # fmt: skip
    data = DataLoader(TensorDataset(x, x[:, :3].argmax(1)), batch_size=10)
    trainer.fit(module, data)


PARAMETERS = 6 * 8 + 8 + 8 * 3 + 3


@pytest.mark.parametrize("network", ["", "body"])
def test_a_network_that_fits_is_trained(network, tmp_path):
    module = _Module()
    callback = WithinBudget(
        Budget(parameters=PARAMETERS, latency_s=1.0), machine="milan", network=network,
        inputs=(torch.zeros(1, 6),),
    )  # fmt: skip
    _fit(module, tmp_path, callback)
    assert module.steps == 2
    values = {each.name: each.value for each in callback.verdicts}
    assert values["parameters"] == PARAMETERS
    assert 0 < values["latency_s"] < 1e-3


def test_one_that_does_not_is_not(tmp_path):
    module = _Module()
    module.example_input_array = torch.zeros(1, 6)
    callback = WithinBudget(Budget(parameters=PARAMETERS - 1), machine="milan")
    with pytest.raises(BudgetInfeasibleError, match="exceeds the limit") as caught:
        _fit(module, tmp_path, callback)
    assert caught.value.binding == "parameters"
    assert module.steps == 0


def test_what_is_missing_is_said(tmp_path):
    with pytest.raises(UsageError, match="without inputs"):
        _fit(_Module(), tmp_path, WithinBudget(Budget(parameters=1), machine="milan"))
    wrong = WithinBudget(Budget(parameters=1), machine="milan", network="head")
    with pytest.raises(UsageError, match="has no such module"):
        _fit(_Module(), tmp_path, wrong)
