"""The kernel-level optimizer: what kind each convolution is.

For every convolution its alternatives are judged alone, each by the score of the graph
that it makes and by what it saves. From the best of them a set is put together so that
every limit is kept: a knapsack with one choice a convolution, filled greedily by what a
choice loses of the score for the share of a limit it saves, and then improved by single
swaps, each judged on the whole graph.

Alternatives after DSXplore (arXiv 2101.00745) and the kernel level of arXiv 2009.05236:
the first convolution stays, and so do depthwise ones; what is pointwise behind a
depthwise one may slide or be grouped. Robust designs take none that only widens fields.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

from torch import nn

from trimtab.cost.verdict import Budget
from trimtab.design.edits import Replace
from trimtab.design.layers import Analysis, analyse
from trimtab.design.values import EXPONENTS, Design, Judge, Values, excess
from trimtab.design.variants import Variant, with_kernels

__all__ = ["Kernels", "alternatives", "choose"]

_GROUPS, _OVERLAPS = (2, 4, 8), (0.25, 0.33, 0.5, 0.75)
_SWAPS = 40
# Single changes that are tried at the end, of those that cost the score most.
_MIXED = 0.9
# Channels of its stage that a stage must have seen at its end.

Progress = Callable[[float, str], None]


def alternatives(path: str, conv: nn.Conv2d) -> Iterator[Replace]:
    """Yield what a convolution may become.

    Example:
        >>> some = alternatives("a", nn.Conv2d(8, 8, 3, padding=1))
        >>> sorted({each.kernel for each in some})[:3]
        ['asymmetric', 'depthwise-grouped', 'depthwise-pointwise']
    """
    inputs, outputs = conv.in_channels, conv.out_channels
    if isinstance(conv.padding, str) or conv.padding_mode != "zeros":
        return
    if conv.groups == inputs > 1:
        return
    fits = [
        each for each in _GROUPS
        if inputs % each == 0 and outputs % each == 0 and inputs // each > 1
    ]  # fmt: skip
    size = tuple(conv.kernel_size)
    if conv.groups == 1:
        if size == (1, 1):
            slides = tuple(conv.stride) == (1, 1) and tuple(conv.padding) == (0, 0)
            for groups in fits:
                yield Replace(module=path, kernel="grouped", groups=groups)
                for overlap in _OVERLAPS if slides else ():
                    yield Replace(
                        module=path, kernel="sliding", groups=groups, overlap=overlap
                    )
            return
        yield Replace(module=path, kernel="depthwise-pointwise")
        for groups in fits:
            yield Replace(module=path, kernel="grouped", groups=groups)
            yield Replace(module=path, kernel="depthwise-grouped", groups=groups)
            for overlap in _OVERLAPS:
                yield Replace(
                    module=path, kernel="depthwise-sliding", groups=groups,
                    overlap=overlap,
                )  # fmt: skip
        if min(size) > 1:
            yield Replace(module=path, kernel="asymmetric")
    if size[0] == size[1] and size[0] > 1:
        if size[0] > 3:
            yield Replace(module=path, kernel="resized", size=size[0] - 2)
        yield Replace(module=path, kernel="resized", size=size[0] + 2)
        alone = tuple(conv.dilation) == tuple(conv.stride) == (1, 1)
        if alone and size[0] % 2:
            yield Replace(module=path, kernel="dilated", dilation=2)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Kernels:
    """What is chosen from.

    Attributes:
        bare: the graph of the network.
        modules: convolutions that may be replaced, by path, in the order of calls.
        judge: of graphs.
        base: of the network.
        budget: limits in absolute numbers.
        robust: whether a design must not lose at any exponent, and each edit must save
            parameters or multiply-adds.
        known: what was judged of the same network; filled on the way.
    """

    bare: Variant
    modules: Mapping[str, nn.Conv2d]
    judge: Judge
    base: Values
    budget: Budget
    robust: bool = True
    known: dict[tuple[Replace, ...], Design | None] = field(default_factory=dict)


def choose(
    kernels: Kernels, progress: Progress = lambda done, text: None
) -> list[Design]:
    """Return the designs that were judged, those that break limits among them.

    Args:
        kernels: what is chosen from.
        progress: told the share that is done.
    """
    before = analyse(kernels.bare.graph, windows=kernels.bare.windows)
    alone: dict[str, list[Design]] = {}
    some = [
        each for path, conv in kernels.modules.items()
        for each in alternatives(path, conv)
    ]  # fmt: skip
    for number, edit in enumerate(some):
        found = _judged(kernels, (edit,), before)
        if found is not None and _may(kernels, found.values):
            alone.setdefault(edit.module, []).append(found)
        progress(0.6 * (number + 1) / len(some), f"kernel {number + 1} of {len(some)}")
    designs = [Design(edits=(), values=kernels.base)]
    designs += [each for several in alone.values() for each in several]
    chosen: dict[str, Replace] = {}
    current = kernels.base
    # Fill: the change that loses least of the score for what it saves, until all fits.
    order = _ranked(kernels, alone)
    for step, edit in enumerate(order):
        if excess(kernels.budget, current) <= 0:
            break
        # What was chosen for the share it saves may give way to what saves more.
        tried = {**chosen, edit.module: edit}
        made = _judged(kernels, tuple(tried.values()), before)
        if made is None or excess(kernels.budget, made.values) > excess(
            kernels.budget, current
        ):
            continue
        chosen, current = tried, made.values
        designs.append(made)
        progress(0.6 + 0.2 * (step + 1) / len(order), "kernels")
    # Improve: one convolution at a time, also back to what it was.
    trials = 0
    for edit in _best_first(alone):
        if trials == _SWAPS:
            break
        rest = {path: each for path, each in chosen.items() if path != edit.module}
        if chosen.get(edit.module) == edit:
            continue
        trials += 1
        for tried in ({**rest, edit.module: edit}, rest):
            made = _judged(kernels, tuple(tried.values()), before)
            if made is not None and _better(kernels, made.values, current):
                chosen, current = tried, made.values
                designs.append(made)
        progress(0.8 + 0.2 * trials / _SWAPS, "kernels")
    return designs


def _judged(
    kernels: Kernels, edits: Sequence[Replace], before: Analysis
) -> Design | None:
    """Return a design; None where it keeps channels apart or sees too little."""
    key = tuple(edits)
    if key not in kernels.known:
        variant = with_kernels(kernels.bare, edits)
        analysis = analyse(variant.graph, windows=variant.windows)
        design = None
        if _is_sound(analysis, before):
            latency_s = kernels.judge.latency_s(variant)
            values = kernels.judge.values_of(analysis, latency_s)
            design = Design(edits=(key,), values=values)
        kernels.known[key] = design
    return kernels.known[key]


def _may(kernels: Kernels, values: Values) -> bool:
    """Whether a single edit may be made: a robust one saves weights or work.

    What only widens fields (larger windows, dilation) is as good as the score is right.
    """
    base = kernels.base
    return not kernels.robust or (
        values.parameters < base.parameters or values.multiply_adds < base.multiply_adds
    )


def _is_sound(analysis: Analysis, before: Analysis) -> bool:
    """Whether channels mix and the last field covers what it did, or the image."""
    local = [each for each in analysis.layers if each.local]
    was = [each for each in before.layers if each.local]
    for one, two in itertools.pairwise(local):
        if one.apart and two.apart and two.channels_out <= one.channels_out:
            return False
    ends = {each.size: each for each in local}
    had = {each.size: each for each in was}
    for size, last in ends.items():
        if size in had and last.channels_out < _MIXED * min(
            had[size].channels_out, last.entries
        ):
            return False
    # The widest field there is must still be, up to the image.
    return all(
        max(each.field_out[axis] for each in local)
        >= min(pixels, max(each.field_out[axis] for each in was))
        for axis, pixels in enumerate(before.image)
    )


def _loses(kernels: Kernels, values: Values) -> float:
    """Return what a design loses of the score, by the worst exponent if it must."""
    changes = [
        was - now for was, now in zip(kernels.base.scores, values.scores, strict=True)
    ]
    return max(changes) if kernels.robust else changes[EXPONENTS.index(0.3)]


def _saves(kernels: Kernels, values: Values) -> float:
    """Return what a design saves, in shares of the limits that are broken."""
    base, now = kernels.base.as_dict(), values.as_dict()
    return sum(
        max(0.0, (base[each.name] - now[each.name]) / each.limit)
        for each in kernels.budget.judge(base)
        if not each.fits
    )


def _ranked(kernels: Kernels, alone: Mapping[str, list[Design]]) -> list[Replace]:
    """Return single edits, those first that lose least for what they save."""
    rated = []
    for designs in alone.values():
        for each in designs:
            saved = _saves(kernels, each.values)
            ((edit,),) = each.edits
            if saved > 0 and isinstance(edit, Replace):
                rated.append((_loses(kernels, each.values) / saved, -saved, edit))
    return [edit for _, _, edit in sorted(rated, key=lambda each: each[:2])]


def _best_first(alone: Mapping[str, list[Design]]) -> list[Replace]:
    every = [each for designs in alone.values() for each in designs]
    every.sort(key=lambda each: -each.values.score)
    return [
        edit
        for each in every
        for edits in each.edits
        for edit in edits
        if isinstance(edit, Replace)
    ]


def _better(kernels: Kernels, new: Values, old: Values) -> bool:
    """Whether a design is nearer to the limits, or keeps them and scores more."""
    now, was = excess(kernels.budget, new), excess(kernels.budget, old)
    if now != was:
        return now < was
    return new.score > old.score + 1e-9
