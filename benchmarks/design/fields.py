"""Receptive fields of torchvision's networks, and the support of gradients.

A network whose weights are all positive, with means in place of maxima and no upper
bound, has a gradient wherever an output depends on an input. Weights are one over their
number, so that values neither grow nor vanish.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import torch
from torch import nn

from benchmarks.design.tables import image_of
from benchmarks.jobs import Job
from benchmarks.vision import torchvision
from trimtab.design.analysis import analyze
from trimtab.design.labels import axis_of
from trimtab.design.layers import analyse
from trimtab.graph.capture import capture
from trimtab.graph.types import Ref

__all__ = ["KNOWN", "SUPPORTED", "jobs"]

KNOWN = {
    "vgg16": 196, "vgg11": 134, "resnet18": 435, "resnet50": 427, "googlenet": 379,
    "inception_v3": 1311, "densenet121": 2071, "mobilenet_v2": 491,
    "efficientnet_b0": 851, "squeezenet1_1": 207, "shufflenet_v2_x1_0": 527,
}  # fmt: skip
"""Rows of pixels that an output of the last convolution sees at most.

VGG-16, Inception-v3: the table of google-research/receptive_field; the others agree
with rfa-toolbox 1.7.0 where it runs.
"""

SUPPORTED = (
    "alexnet", "vgg11", "resnet18", "resnet50", "googlenet", "mobilenet_v2",
    "squeezenet1_1", "shufflenet_v2_x1_0",
)  # fmt: skip
"""Networks whose fields are compared with gradients."""

_PIXELS = 640  # rows of the image for gradients: more than any of their fields
_OUTPUTS = 4


def _model(name: str) -> nn.Module:
    options: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):
        options = {"init_weights": False, "aux_logits": False}
    module: nn.Module = torchvision().models.get_model(name, **options)
    return module.eval()


def _widest(name: str, model: nn.Module) -> Any:
    with torch.no_grad():
        image = torch.zeros(1, 3, image_of(name), image_of(name))
    found = analyze(model, (image,))
    # Of several branches that end together the one that sees most.
    local = [each for each in found.layers if each.local]
    return max(local, key=lambda each: each.field_out[0])


def _positive(model: nn.Module) -> nn.Module:
    for each in model.modules():
        for name, child in list(each.named_children()):
            if isinstance(child, nn.MaxPool2d):
                mean = nn.AvgPool2d(
                    child.kernel_size, child.stride, child.padding, child.ceil_mode
                )
                setattr(each, name, mean)
            if isinstance(child, nn.ReLU6):  # sums of residual branches exceed 6
                setattr(each, name, nn.Identity())
        if isinstance(each, nn.Conv2d):
            nn.init.constant_(each.weight, 1 / each.weight[0].numel())
            if each.bias is not None:
                nn.init.zeros_(each.bias)
        if isinstance(each, nn.BatchNorm2d):
            each.reset_running_stats()
            nn.init.ones_(each.weight)
            nn.init.zeros_(each.bias)
    return model.double().eval()


def _support(name: str) -> dict[str, Any]:
    """Return fields of some outputs of the last convolution beside their gradients."""
    torch.manual_seed(0)
    model = _positive(_model(name))
    image = torch.rand(1, 3, _PIXELS, _PIXELS, dtype=torch.float64) + 0.5
    analysis = analyse(capture(model, (image,)))
    local = [each for each in analysis.layers if each.local]
    layer = max(local, key=lambda each: each.field_out[0])
    field = analysis.fields.values[Ref(layer.node)]
    kept: list[torch.Tensor] = []
    model.get_submodule(layer.module).register_forward_hook(
        lambda module, inputs, output: kept.append(output)
    )
    x = image.requires_grad_()
    model(x)
    rows, columns = field.shape[2:]
    draws = torch.Generator().manual_seed(1)
    places = [(rows // 2, columns // 2)] + [
        (
            int(torch.randint(rows, (), generator=draws)),
            int(torch.randint(columns, (), generator=draws)),
        )
        for _ in range(_OUTPUTS - 1)
    ]
    same, widest = [], 0
    for row, column in places:
        (gradient,) = torch.autograd.grad(
            kept[0][0, 0, row, column], x, retain_graph=True
        )
        seen = (gradient[0] != 0).any(0)
        found = []
        for axis, lines in enumerate((seen.any(1), seen.any(0))):
            at = torch.nonzero(lines).flatten()
            placed, table = field.axes[axis], axis_of(field.axes[axis])
            label = torch.from_numpy(placed.labels).expand(field.shape)[
                0, 0, row, column
            ]
            found.append(
                [
                    [int(at.min()), int(at.max())],
                    [int(table.first[label]), int(table.last[label])],
                ]
            )
            widest = max(widest, int(at.max() - at.min()) + 1)
        same.append(all(one == two for one, two in found))
    return {"traced": layer.field_out[0], "gradient": widest, "same": same}


def jobs() -> list[Job]:
    """Return the one job."""
    return [Job(key="fields/torchvision", module="benchmarks.design.fields")]


def main() -> None:
    """Print fields, supports and the time of an analysis."""
    known = {}
    for name in KNOWN:
        known[name] = _widest(name, _model(name)).field_out[0]
        print(f"  {name}: {known[name]}", file=sys.stderr, flush=True)
    supports = {}
    for name in SUPPORTED:
        supports[name] = _support(name)
        print(f"  {name}: {supports[name]}", file=sys.stderr, flush=True)
    with torch.device("meta"):
        model = _model("resnet50")
        image = torch.empty(1, 3, 224, 224)
    graph = capture(model, (image,))
    times = []
    for _ in range(5):
        start = time.thread_time()
        analyse(graph)
        times.append(time.thread_time() - start)
    print(json.dumps({"known": known, "support": supports, "resnet50_s": times}))


if __name__ == "__main__":
    main()
