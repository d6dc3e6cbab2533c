"""Networks of published accuracy, and what analysis makes of each.

    python -m benchmarks.design.tables nasbench201 0 1

prints the networks of a table with their published figures, their costs and scores.
"""

from __future__ import annotations

import ast
import csv
import functools
import gzip
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from torch import nn

from benchmarks.design.cells import (
    NasBench101,
    NasBench201,
    cell_201,
    coded_201,
    same_cell,
)
from benchmarks.jobs import Job
from benchmarks.vision import torchvision
from trimtab.design.analysis import analysis_of
from trimtab.design.score import score

__all__ = ["TABLES", "Listed", "image_of", "listed", "record"]

# Transformers, and networks that came with a newer recipe than the V1 of the others.
_OTHER_KIND = ("vit", "swin", "maxvit", "convnext", "efficientnet_v2")
_PROXIES = (
    "epe_nas", "fisher", "flops", "grad_norm", "grasp", "jacov", "l2_norm", "params",
    "plain", "snip", "synflow",
)  # fmt: skip


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A network of a table.

    Attributes:
        name: of it.
        make: builds it, without weights.
        image: rows and columns of its input.
        accuracy: published, percent, by data set.
        proxies: published figures beside it.
    """

    name: str
    make: Callable[[], nn.Module]
    image: int
    accuracy: dict[str, float]
    proxies: dict[str, float]


def _data(name: str) -> Path:
    folder = os.environ.get("TRIMTAB_DATA")
    path = Path(folder or "") / name
    if not folder or not path.exists():
        raise SystemExit(f"{name} is not in the folder that TRIMTAB_DATA names")
    return path


def _nasbench101() -> Iterator[Listed]:
    stored = json.loads(_data("nas/zc_nasbench101.json").read_text("utf-8"))
    for key, each in stored["nasbench101"]["cifar10"].items():
        code = ast.literal_eval(key)
        yield Listed(
            name=key,
            make=functools.partial(NasBench101, code),
            image=32,
            accuracy={"cifar10": each["val_accuracy"]},
            proxies={name: each[name] for name in _PROXIES},
        )


def _nasbench201() -> Iterator[Listed]:
    stored = json.loads(_data("nas/zc_nasbench201.json").read_text("utf-8"))
    tables = stored["nasbench201"]
    first = next(iter(tables.values()))
    for key in first:
        code = ast.literal_eval(key)
        yield Listed(
            name=key,
            make=functools.partial(NasBench201, coded_201(code)),
            image=32,
            accuracy={name: each[key]["val_accuracy"] for name, each in tables.items()},
            proxies={
                f"{proxy} {name}" if proxy not in ("flops", "params") else proxy:
                each[key][proxy]
                for name, each in tables.items()
                for proxy in _PROXIES
            },
        )  # fmt: skip


def _others_201() -> Iterator[Listed]:
    """Yield one cell of each network that none of the 491 makes.

    The score was developed on those; cells that make the same network are one.
    """
    known = {
        same_cell(coded_201(ast.literal_eval(each.name))) for each in _nasbench201()
    }
    cells: dict[tuple[str, int, int], list[Listed]] = {}
    for each in _every_201():
        cells.setdefault(same_cell(cell_201(each.name)), []).append(each)
    for kind, several in cells.items():
        if kind not in known:
            yield several[0]


def _every_201() -> Iterator[Listed]:
    with gzip.open(_data("nas/nas_bench_201.csv.gz"), "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            text = row["cellstr"]
            yield Listed(
                name=text,
                make=functools.partial(NasBench201, cell_201(text)),
                image=32,
                accuracy={
                    name: float(row[name])
                    for name in ("cifar10-test", "cifar100-test", "imagenet-test",
                                 "cifar10-test-200ep-mean")
                },
                proxies={},
            )  # fmt: skip


def _torchvision(version: str) -> Iterator[Listed]:
    path = _data("accuracy/torchvision_weights.csv")
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    models = torchvision().models
    found: dict[str, dict[str, str]] = {}
    for row in rows:
        weights, _, kind = row["weights"].partition(".")
        if row["dataset"] != "ImageNet-1K" or kind != f"IMAGENET1K_{version}":
            continue
        name = weights.removesuffix("_Weights").lower()
        if name.startswith(_OTHER_KIND):
            continue
        found[name] = row
    for name, row in found.items():
        options: dict[str, Any] = {}
        if name in ("googlenet", "inception_v3"):
            options = {"init_weights": False, "aux_logits": False}
        yield Listed(
            name=name,
            make=functools.partial(models.get_model, name, **options),
            image=image_of(name, f"IMAGENET1K_{version}"),
            accuracy={"imagenet": float(row["acc@1"])},
            proxies={},
        )


def image_of(name: str, weights: str = "DEFAULT") -> int:
    """Return the rows of the images that a published accuracy of torchvision is of."""
    size: int = (
        torchvision().models.get_model_weights(name)[weights]
        .transforms.keywords["crop_size"]
    )  # fmt: skip
    return size


TABLES: dict[str, Callable[[], Iterator[Listed]]] = {
    "torchvision_v1": lambda: _torchvision("V1"),
    "torchvision_v2": lambda: _torchvision("V2"),
    "nasbench101": _nasbench101,
    "nasbench201": _nasbench201,
    "nasbench201_others": _others_201,
}


def listed(table: str) -> list[Listed]:
    """Return the networks of a table."""
    return list(TABLES[table]())


def record(each: Listed) -> dict[str, Any]:
    """Return a network's published figures beside what analysis makes of it.

    A network without a path of convolutions has a score of none.
    """
    with torch.device("meta"):
        try:
            model = each.make()
        except (RuntimeError, NotImplementedError):  # regnets ask for values
            model = None
    if model is None:
        model = each.make().to("meta")
    image = torch.empty(1, 3, each.image, each.image, device="meta")
    start = time.perf_counter()
    analysis, _ = analysis_of(model.eval(), (image,), name=each.name)
    seconds = time.perf_counter() - start
    found = score(analysis)
    return {
        "name": each.name,
        "accuracy": each.accuracy,
        "proxies": each.proxies,
        "score": round(found.value, 6),
        "parameters": analysis.parameters,
        "multiply_adds": analysis.multiply_adds,
        "entropy": round(analysis.entropy, 4),
        "seconds": round(seconds, 4),
    }


_PARTS = {"nasbench201_others": 12}
# Of tables that take long.


def jobs() -> list[Job]:
    """Return one job a table, several for large ones."""
    return [
        Job(
            key=f"table/{table}/{part}",
            module="benchmarks.design.tables",
            arguments=(table, str(part), str(_PARTS.get(table, 1))),
            cap_s=3600.0,
        )
        for table in TABLES
        for part in range(_PARTS.get(table, 1))
    ]


def quick_job() -> Job:
    """Return a job of every fifth network of a table."""
    return Job(
        key="table/nasbench101/0",
        module="benchmarks.design.tables",
        arguments=("nasbench101", "0", "5"),
    )


def main() -> None:
    """Print the records of a table, or of a part of it: every n-th network from one."""
    table, begin, step = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    networks = listed(table)[begin::step]
    records = []
    for number, each in enumerate(networks):
        if number % 20 == 0:
            print(f"  {number + 1} of {len(networks)}", file=sys.stderr, flush=True)
        records.append(record(each))
    print(json.dumps({"table": table, "networks": records}))


if __name__ == "__main__":
    main()
