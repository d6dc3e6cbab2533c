"""The score of an architecture: how much its convolutions see, stage by stage.

A stated reading of "An Efficient Quantitative Approach for Optimizing Convolutional
Neural Networks" (arXiv 2009.05236): of the paper its abstract is certain, and that a
kernel is worth what an output sees of a volume of rows, columns and channels, its *3D
receptive field*. The formula is ours.

* The 3D receptive field of a convolution is the share of the image that an output sees,
  times the channels of its stage that it sees, ``V = r_h r_w / (H W) * c`` with r at
  most the image.
* Its *mass* is V times the outputs it has that tell different places apart, in units of
  the image, ``U = C_out min(h/H, 1/g_h) min(w/W, 1/g_w)``. The *grain* g is the detail
  that pools have left: a 3 x 3 pool of stride 1 sees more, and of what it sees it tells
  nothing apart. Where paths meet it is that of their average.
* Convolutions with no activation between are one linear map: they count once, with the
  field of the last.
* An output that sums few of what it could sum tells less: the mass is multiplied by
  its *fill*, the logarithm of the inputs that it sums (of a run, of their product) over
  that of all inputs in its window. It is 1 for a dense convolution, and for a depthwise
  and a pointwise one together.
* A stage is a resolution; its mass is the sum over its convolutions.
* The *productive depth* adds up how much of each spatial convolution still widens the
  field that a path sees on average, ``D = sum(0.3 + 0.7 q)``: q is 1 while that field
  fits the image, 0 once it did before, and the geometric mean over rows and columns.
  After Richter et al., "Should You Go Deeper?" (arXiv 2106.12307), who call layers
  unproductive that widen no path within the image.
* The score is ``S = log(power mean of the masses of stages) + lambda log(1 + D)`` with
  the exponent p of the mean.

p = 0.3 and lambda = 1 are frozen. S compares networks for the same image and task; it
is not an accuracy and predicts none.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import final

from trimtab.design.layers import Analysis, Layer
from trimtab.frozen import FrozenDict

__all__ = [
    "DEPTH_WEIGHT",
    "STAGE_EXPONENT",
    "Score",
    "field_volume",
    "productive",
    "score",
]

STAGE_EXPONENT = 0.3
"""p: 1 where only the sum of the stages counts, 0 where every stage counts alike."""

DEPTH_WEIGHT = 1.0
"""lambda: what productive depth counts beside mass."""

_LEAST_SUM = math.log(2.0)
# A pointwise convolution of one input each only scales: it tells little, not nothing.
_KEPT = 0.3
# What a spatial convolution counts that no longer widens the field.


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """The score and what it is made of.

    Attributes:
        value: S, without a unit; larger sees more.
        masses: of stages, by rows and columns of their results.
        depth: productive spatial convolutions, D.
    """

    value: float
    masses: Mapping[tuple[int, ...], float]
    depth: float

    def with_exponent(self, exponent: float, weight: float = DEPTH_WEIGHT) -> float:
        """Return the score with another p and lambda."""
        return _power_mean(list(self.masses.values()), exponent) + weight * math.log1p(
            self.depth
        )


def field_volume(layer: Layer, image: Sequence[int]) -> float:
    """Return the 3D receptive field of an output: share of the image times channels."""
    share = math.prod(
        min(field, pixels) / pixels
        for field, pixels in zip(layer.field_out, image, strict=True)
    )
    return share * layer.channels_out


def productive(
    before: Sequence[float], after: Sequence[float], image: Sequence[int]
) -> float:
    """Return the share of a convolution that widens a field within the image.

    It is 1 while the field behind it fits the image, 0 where the one before did not.

    Args:
        before: rows and columns of the field before it.
        after: behind it.
        image: rows and columns.

    Example:
        >>> productive((7, 7), (9, 9), (8, 8))
        0.5
    """
    shares = []
    for one, two, pixels in zip(before, after, image, strict=True):
        if two <= pixels:
            shares.append(1.0)
        elif one >= pixels:
            shares.append(0.0)
        else:
            shares.append((pixels - one) / (two - one))
    return float(math.prod(shares) ** (1.0 / len(shares)))


def score(analysis: Analysis) -> Score:
    """Return the score of a network.

    Example:
        >>> import torch
        >>> from trimtab.design.layers import analyse
        >>> from trimtab.graph.capture import capture
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1)).eval()
        >>> found = score(analyse(capture(net, (torch.zeros(1, 3, 8, 8),))))
        >>> found.masses, found.depth
        (FrozenDict({(8, 8): 3.375}), 1.0)
    """
    image = analysis.image
    masses: dict[tuple[int, ...], float] = {}
    depth = 0.0
    for run in _runs(analysis.layers):
        first, layer = run[0], run[-1]
        if not layer.local:
            continue  # of what was squeezed: it sees everything and no place of it
        places = math.prod(
            min(size / pixels, 1 / grain)
            for size, pixels, grain in zip(layer.size, image, layer.grain, strict=True)
        )
        mass = field_volume(layer, image) * layer.outputs * places * _fill(run)
        masses[layer.size] = masses.get(layer.size, 0.0) + mass
        if any(each.spatial for each in run):
            share = productive(first.mean_in, layer.mean_out, image)
            depth += _KEPT + (1.0 - _KEPT) * share
    made = Score(value=0.0, masses=FrozenDict(masses), depth=depth)
    return Score(
        value=made.with_exponent(STAGE_EXPONENT), masses=made.masses, depth=depth
    )


def _fill(run: Sequence[Layer]) -> float:
    """Return the share of what it could sum that an output sums, in logarithms."""
    taps = math.prod(math.prod(each.kernel) for each in run)
    could = math.log(taps * run[0].inputs)
    sums = math.log(math.prod(math.prod(each.kernel) * each.summed for each in run))
    return min(1.0, max(sums, _LEAST_SUM) / could) if could > 0 else 1.0


def _runs(layers: Sequence[Layer]) -> Iterator[list[Layer]]:
    """Yield the convolutions that follow each other without an activation between."""
    begun: dict[str, list[Layer]] = {}
    for each in layers:
        run = [*begun.pop(each.node, []), each]
        if each.into:
            begun[each.into] = run
        else:
            yield run


def _power_mean(masses: Sequence[float], exponent: float) -> float:
    """Return the logarithm of the power mean."""
    if not masses:
        return -math.inf
    logs = [math.log(each) for each in masses]
    if exponent == 0:
        return sum(logs) / len(logs)
    top = max(logs)
    mean = sum(math.exp(exponent * (each - top)) for each in logs) / len(logs)
    return top + math.log(mean) / exponent
