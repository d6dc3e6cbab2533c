"""The networks of the comparison, and what every engine needs of them.

Parameters are random, from a fixed seed. Statistics of batch normalisation are taken
from random images, as training would leave them: with the initial ones the activations
of a deep network vanish or overflow, and comparing outputs says little. They are kept
in the cache, beside the output in float64 and the ONNX file.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from benchmarks.jobs import cache_folder
from benchmarks.vision import torchvision
from trimtab.zoo.registry import network as zoo_network

__all__ = ["NETWORKS", "Prepared", "flat", "prepared"]

_SEED = 0


class _EncoderLayer(nn.Module):
    """One layer of BERT: attention and two dense layers, normalised after each."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.first_norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)
        self.second_norm = nn.LayerNorm(width)

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        return x.view(batch, length, self.heads, width // self.heads).transpose(1, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mixed = nn.functional.scaled_dot_product_attention(
            self._split(self.query(x)),
            self._split(self.key(x)),
            self._split(self.value(x)),
        )
        joined = mixed.transpose(1, 2).reshape(x.shape)
        x = self.first_norm(x + self.out(joined))
        hidden: torch.Tensor = self.down(nn.functional.gelu(self.up(x)))
        result: torch.Tensor = self.second_norm(x + hidden)
        return result


def _bert_small() -> nn.Module:
    """Return four encoder layers of width 512, 8 heads: BERT-small, no embeddings."""
    return nn.Sequential(*(_EncoderLayer(512, 8) for _ in range(4)))


class _Recommendation(nn.Module):
    """The two dense parts of DLRM, each with an input and an output of its own.

    The interaction of 26 embedded categories with the dense features (27 vectors of 16,
    their 351 pairwise products beside the 16) is what the top part takes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bottom = _dense_layers(13, 512, 256, 64, 16)
        self.top = _dense_layers(367, 512, 256, 1)
        self.top[-1] = nn.Sigmoid()

    def forward(
        self, dense: torch.Tensor, interaction: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return self.bottom(dense), self.top(interaction)


def _dense_layers(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers)


def _images() -> tuple[torch.Tensor, ...]:
    return (torch.randn(1, 3, 224, 224, generator=_generator()),)


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(_SEED)


Factory = Callable[[], nn.Module]
Inputs = Callable[[], tuple[torch.Tensor, ...]]

NETWORKS: dict[str, tuple[Factory, Inputs]] = {
    **{
        name: (zoo_network(name).build, _images)
        for name in (
            "resnet18",
            "resnet50",
            "mobilenet_v1",
            "mobilenet_v2",
            "densenet121",
            "vgg16",
        )
    },
    "squeezenet1_1": (lambda: torchvision().models.squeezenet1_1(), _images),
    "efficientnet_b0": (lambda: torchvision().models.efficientnet_b0(), _images),
    "bert_small": (
        _bert_small,
        lambda: (torch.randn(1, 128, 512, generator=_generator()),),
    ),
    "dlrm_mlps": (
        _Recommendation,
        lambda: (
            torch.randn(1, 13, generator=_generator()),
            torch.randn(1, 367, generator=_generator()),
        ),
    ),
}
"""By name: how to build a network, and its inputs at batch 1."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A network ready to be handed to an engine.

    Attributes:
        name: of the network.
        module: in evaluation mode.
        inputs: of one call.
        reference: outputs in float64, flat.
        onnx: the exported file.
        flops: of one call by direct convolution.
    """

    name: str
    module: nn.Module
    inputs: tuple[torch.Tensor, ...]
    reference: tuple[torch.Tensor, ...]
    onnx: Path
    flops: float


def prepared(name: str, *, files: bool = True) -> Prepared:
    """Return a network with all that belongs to it, made on the first call.

    Args:
        name: a key of `NETWORKS`.
        files: whether what is missing is made; if not, nothing is written.
    """
    folder = cache_folder("compile") / f"{name}-{_digest()}"
    if not (folder / "network.json").exists():
        if not files:
            raise FileNotFoundError(folder)
        _prepare(name, folder)
    module, inputs = _built(name)
    module.load_state_dict(load_file(folder / "buffers.safetensors"), strict=False)
    stored = json.loads((folder / "network.json").read_text("utf-8"))
    reference = load_file(folder / "reference.safetensors")
    return Prepared(
        name=name,
        module=module,
        inputs=inputs,
        reference=tuple(reference[str(index)] for index in range(len(reference))),
        onnx=folder / "network.onnx",
        flops=stored["flops"],
    )


def flat(outputs: Any) -> tuple[torch.Tensor, ...]:
    """Return the tensors of an output."""
    return (outputs,) if isinstance(outputs, torch.Tensor) else tuple(outputs)


def _digest() -> str:
    """Return what tells results of other code or another torch apart."""
    text = Path(__file__).read_bytes() + torch.__version__.encode()
    return hashlib.sha256(text).hexdigest()[:12]


def _built(name: str) -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    factory, inputs = NETWORKS[name]
    torch.manual_seed(_SEED)
    return factory().eval(), inputs()


def _prepare(name: str, folder: Path) -> None:
    from trimtab.cost.latency import Roofline
    from trimtab.graph.capture import capture
    from trimtab.hardware.load import machine

    folder.mkdir(parents=True, exist_ok=True)
    module, inputs = _built(name)
    _settle_norms(module, inputs)
    save_file(
        {key: each.contiguous() for key, each in module.named_buffers()},
        folder / "buffers.safetensors",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter announces its successor
        torch.onnx.export(
            module,
            inputs,
            str(folder / "network.onnx"),
            dynamo=False,
            opset_version=17,
            input_names=[f"x{index}" for index in range(len(inputs))],
        )
    graph = capture(module, inputs, name=name)
    flops = Roofline().estimate(graph, machine("milan")).work.flops
    with torch.no_grad():
        exact = flat(module.double()(*(each.double() for each in inputs)))
    save_file(
        {str(index): each.contiguous() for index, each in enumerate(exact)},
        folder / "reference.safetensors",
    )
    # Written last: without it the folder counts as empty.
    (folder / "network.json").write_text(json.dumps({"flops": flops}), "utf-8")


def _settle_norms(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
    """Give batch normalisations the statistics of random inputs."""
    norms = [each for each in module.modules() if isinstance(each, nn.BatchNorm2d)]
    momenta = [each.momentum for each in norms]
    if not norms:
        return
    for each in norms:
        each.train()
        each.momentum = None  # the mean of all batches
    generator = _generator()
    with torch.no_grad():
        for _ in range(2):
            module(
                *(
                    torch.randn(2, *each.shape[1:], generator=generator)
                    for each in inputs
                )
            )
    for each, momentum in zip(norms, momenta, strict=True):
        each.eval()
        each.momentum = momentum
