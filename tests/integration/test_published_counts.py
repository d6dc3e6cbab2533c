"""Counts against what torchvision publishes for its weights, row by row.

Tracing all networks takes two and a half minutes. So of every family only the rows of
its smallest network are looked at, unless TRIMTAB_ALL_COUNTS is set:

    TRIMTAB_ALL_COUNTS=1 scripts/test tests/integration -k published_counts
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from trimtab.cost import rules as _rules  # fills the table of rules
from trimtab.cost.work import total_work
from trimtab.graph.capture import capture

assert _rules

TABLE = "accuracy/torchvision_weights.csv"
FAMILIES = (
    "alexnet", "convnext", "densenet", "efficientnet", "googlenet", "inception",
    "mnasnet", "mobilenetv2", "mobilenetv3", "regnet", "resnet", "shufflenetv2",
    "squeezenet", "vgg",
)  # fmt: skip
TOLERANCE = 0.012
_DEFAULT_SIZE = 224
# Heads for training only: absent from what is counted, present in what is published.
_OPTIONS: dict[str, dict[str, bool]] = {
    "inception_v3": {"init_weights": False},
    "googlenet": {"init_weights": False, "aux_logits": False},
}


@dataclass(frozen=True)
class _Row:
    weights: str
    network: str
    size: int
    gflops: float
    parameters: int | None


def _rows(file: Path, family: str, models: Any) -> list[_Row]:
    """Return the rows of one file of torchvision's that classify images."""
    builders = {
        models.get_model_weights(name): name for name in models.list_models(models)
    }
    found = []
    with file.open(newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            if row["file"] != f"torchvision/models/{family}.py":
                continue
            weights = models.get_weight(row["weights"])
            found.append(
                _Row(
                    weights=row["weights"],
                    network=builders[type(weights)],
                    size=weights.transforms.keywords.get("crop_size", _DEFAULT_SIZE),
                    gflops=float(row["gflops"]),
                    parameters=int(row["params"]) if row["params"] else None,
                )
            )
    return found


def _chosen(rows: list[_Row]) -> list[_Row]:
    if os.environ.get("TRIMTAB_ALL_COUNTS"):
        return rows
    smallest = min(rows, key=lambda row: row.gflops)
    return [row for row in rows if row.network == smallest.network]


def _counts(models: Any, network: str, size: int) -> tuple[int, int]:
    """Return multiply-adds and parameters; the weights take no memory."""
    parameters_of_blocks = models.regnet.BlockParams.from_init_params

    def on_cpu(**options: float) -> Any:  # it reads the values of tensors
        with torch.device("cpu"):
            return parameters_of_blocks(**options)

    with pytest.MonkeyPatch.context() as patch, torch.device("meta"):
        patch.setattr(models.regnet.BlockParams, "from_init_params", on_cpu)
        module = models.get_model(network, **_OPTIONS.get(network, {})).eval()
        image = torch.empty(1, 3, size, size)
    graph = capture(module, (image,))
    return total_work(graph).multiply_adds, graph.parameters


@pytest.mark.integration
@pytest.mark.parametrize("family", FAMILIES)
def test_every_row_of_a_family(
    family: str,
    torchvision: ModuleType,
    data_folder: Callable[[str], Path],
) -> None:
    models: Any = torchvision.models
    rows = _rows(data_folder(TABLE), family, models)
    assert rows, f"no row of {family}"
    rows = _chosen(rows)
    counts: dict[tuple[str, int], tuple[int, int]] = {}
    misses = []
    for row in rows:
        key = (row.network, row.size)
        if key not in counts:
            counts[key] = _counts(models, *key)
        multiply_adds, parameters = counts[key]
        error = multiply_adds / 1e9 / row.gflops - 1
        if abs(error) > TOLERANCE:
            misses.append(f"{row.weights}: multiply-adds off by {100 * error:.2f} %")
        if row.parameters is not None and parameters != row.parameters:
            misses.append(
                f"{row.weights}: {parameters} not {row.parameters} parameters"
            )
    assert not misses, "\n".join(misses)
