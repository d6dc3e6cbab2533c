"""The score of an architecture: how much its convolutions see, stage by stage.

A stated reading of "An Efficient Quantitative Approach for Optimizing Convolutional
Neural Networks" (arXiv 2009.05236): of the paper its abstract is certain, and that a
kernel is worth what an output sees of a volume of rows, columns and channels, its *3D
receptive field*. The formula is ours.

* The 3D receptive field of a convolution is the share of the image that an output sees,
  times the channels of its stage that it sees, ``V = r_h r_w / (H W) * c`` with r at
  most the image.
* Its *mass* is V times the outputs it has, in units of the image, ``U = C_out h w / (H
  W)``.
* A stage is a resolution; its mass is the sum over its convolutions.
* The *productive depth* adds up how much of each spatial convolution still widens the
  field, ``D = sum(0.3 + 0.7 q)``: q is 1 while the field fits the image, 0 once it did
  before, and the geometric mean over rows and columns. After Richter et al., "Should
  You Go Deeper?" (arXiv 2106.12307), who call such layers unproductive.
* The score is ``S = log(power mean of the masses of stages) + lambda log(1 + D)`` with
  the exponent p of the mean.

p = 0.3 and lambda = 1 are frozen. S compares networks for the same image and task; it
is not an accuracy and predicts none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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


def productive(layer: Layer, image: Sequence[int]) -> float:
    """Return the share of a convolution that widens the field within the image.

    It is 1 while the field behind it fits the image, 0 where the one before did not.
    """
    shares = []
    for before, after, pixels in zip(
        layer.field_in, layer.field_out, image, strict=True
    ):
        if after <= pixels:
            shares.append(1.0)
        elif before >= pixels:
            shares.append(0.0)
        else:
            shares.append((pixels - before) / (after - before))
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
    for layer in analysis.layers:
        if not layer.local:
            continue  # of what was squeezed: it sees everything and no place of it
        units = layer.outputs * math.prod(layer.size) / math.prod(image)
        mass = field_volume(layer, image) * units
        masses[layer.size] = masses.get(layer.size, 0.0) + mass
        if layer.spatial:
            depth += _KEPT + (1.0 - _KEPT) * productive(layer, image)
    made = Score(value=0.0, masses=FrozenDict(masses), depth=depth)
    return Score(
        value=made.with_exponent(STAGE_EXPONENT), masses=made.masses, depth=depth
    )


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
