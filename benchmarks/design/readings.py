"""Readings of the score that were tried, each a number from the layers of a network.

What is frozen in all of them: the exponent p = 0.3 over the stages and the weight 1 of
depth. What differs is what counts as the field of a convolution, in its mass and in
productive depth, and how many places of a map count as distinct.

Fields:

* widest: of any path, the figure of tables;
* mean: of all paths;
* convolved: the same, without what windows without weights (pools) add;
* effective: the width of an even window whose variance is that of where the paths come
  from, ``sqrt(12 var + 1)``: k for one convolution, and for deep stacks in proportion
  to the root of their depth (Luo et al., arXiv 1701.04128).

Places: all of a map; or those that its *grain* leaves apart, the effective width of its
pools: they see more and tell less of it apart. Runs: convolutions without an activation
between are one linear map and count once.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from trimtab.design.axis import Paths
from trimtab.design.layers import Analysis, Layer
from trimtab.design.score import productive

__all__ = ["READINGS", "readings"]

_P = 0.3
Extent = Callable[[Paths], float]


def _even(variance: float) -> float:
    return math.sqrt(12 * variance + 1)


_EXTENTS: Mapping[str, Extent | None] = {
    "widest": None,
    "mean": lambda paths: paths.mean,
    "convolved": lambda paths: paths.convolved,
    "effective": lambda paths: _even(paths.variance),
}


def _joined(layers: Sequence[Layer]) -> Iterator[Layer]:
    """Yield convolutions, of each run the last with what the first began with."""
    begun: dict[str, Layer] = {}
    for each in layers:
        first = begun.pop(each.node, None)
        one = each
        if first is not None:
            one = replace(
                each,
                field_in=first.field_in,
                paths_in=first.paths_in,
                kernel=first.kernel if first.spatial else each.kernel,
            )
        if each.into:
            begun[each.into] = one
        else:
            yield one


def _with(layer: Layer, kind: str) -> Layer:
    extent = _EXTENTS[kind]
    if extent is None:
        return layer
    return replace(
        layer,
        field_in=tuple(map(extent, layer.paths_in)),  # type: ignore[arg-type]
        field_out=tuple(map(extent, layer.paths_out)),  # type: ignore[arg-type]
    )


def _of(
    analysis: Analysis, mass: str, depth: str, *, grain: str, runs: bool
) -> float:
    """Return the score of one reading."""
    image = analysis.image
    masses: dict[tuple[int, ...], float] = {}
    deep = 0.0
    for layer in _joined(analysis.layers) if runs else analysis.layers:
        if not layer.local:
            continue
        seen = _with(layer, mass)
        share = math.prod(
            min(field, pixels) / pixels
            for field, pixels in zip(seen.field_out, image, strict=True)
        )
        places = math.prod(
            min(size / pixels, 1 / _grain(paths, grain))
            for size, pixels, paths in zip(
                layer.size, image, layer.paths_in, strict=True
            )
        )
        value = share * layer.channels_out * layer.outputs * places
        masses[layer.size] = masses.get(layer.size, 0.0) + value
        if layer.spatial:
            deep += 0.3 + 0.7 * productive(_with(layer, depth), image)
    if not masses:
        return -math.inf
    logs = [math.log(each) for each in masses.values()]
    top = max(logs)
    mean = sum(math.exp(_P * (each - top)) for each in logs) / len(logs)
    return top + math.log(mean) / _P + math.log1p(deep)


def _grain(paths: Paths, kind: str) -> float:
    return 1e-9 if kind == "all" else _even(paths.blur)


READINGS: Mapping[str, Callable[[Analysis], float]] = {
    f"{mass} mass, {depth} depth, {grain} places{', runs' if runs else ''}": (
        lambda found, mass=mass, depth=depth, grain=grain, runs=runs: _of(
            found, mass, depth, grain=grain, runs=runs
        )
    )
    for mass, depth, grain, runs in itertools.product(
        _EXTENTS, _EXTENTS, ("all", "distinct"), (False, True)
    )
}
"""By name: what the score would be."""


def readings(analysis: Analysis) -> dict[str, float]:
    """Return every reading of a network."""
    return {name: of(analysis) for name, of in READINGS.items()}
