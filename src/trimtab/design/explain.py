"""What the receptive fields of a network tell; over 400 lines: twelve codes.

* RF01: a convolution whose narrowest path sees the whole image already; it adds no
  spatial context (Richter et al., "Should You Go Deeper?", arXiv 2106.12307).
* RF02: the convolution within which the widest path grows past the image.
* RF03: the last field is smaller than the image.
* RF04: the image is small, and the stem leaves out most of its places.
* CH01: grouped convolutions in a row whose channels never mix.
* CH02: a module whose parameters reach no output.
* CH03: a stage ends before its channels have seen each other.
* ST01: a stage with less than a twentieth or more than seven tenths of the weight that
  the score gives to masses.
* ST02: a stage without a block that may be moved.
* SE01: values are scaled by what sees the whole image.
* AL01: branches are added whose positions stand differently far apart.
* OP01: an operator without a rule; it is taken to see everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

from torch import nn

from trimtab.design.blocks import Block, Group, blocks_of
from trimtab.design.edits import Replace
from trimtab.design.layers import Analysis, Layer, analyse
from trimtab.design.score import STAGE_EXPONENT, Score, productive, score
from trimtab.design.variants import Variant, with_blocks, with_kernels
from trimtab.errors import UsageError
from trimtab.frozen import FrozenDict
from trimtab.graph.types import Graph, Ref

__all__ = ["CODES", "Finding", "explain", "findings_of"]

CODES = FrozenDict(
    {
        "RF01": "unproductive convolution", "RF02": "critical convolution",
        "RF03": "field smaller than the image", "RF04": "coarse stem",
        "CH01": "channels stay apart", "CH02": "dead module",
        "CH03": "low channel field", "ST01": "unbalanced stage",
        "ST02": "fixed stage", "SE01": "global by gating",
        "AL01": "misaligned branches", "OP01": "unknown operator",
    }
)  # fmt: skip
"""Codes of findings and what they are called; they stay as they are."""

_SMALL_IMAGE, _COARSE = 64, 4
_LOW_MASS, _HIGH_MASS = 0.05, 0.7
_CHANNELS_SEEN = 0.9


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that the fields tell.

    Attributes:
        code: one of `CODES`.
        modules: paths of those it is about.
        numbers: that it rests on, by name; pixels, channels or shares.
        sentence: what is so, for people.
        edit: what may be done about it; empty where nothing needs to be.
        parameters: predicted change by that edit, None where it is not one edit.
        multiply_adds: predicted change.
        latency_s: predicted change, None where no machine was asked, too.
        score: predicted change of S.
    """

    code: str
    modules: tuple[str, ...]
    numbers: Mapping[str, float]
    sentence: str
    edit: str = ""
    parameters: int | None = None
    multiply_adds: int | None = None
    latency_s: float | None = None
    score: float | None = None


def explain(
    analysis: Analysis,
    graph: Graph,
    *,
    groups: Sequence[Group] = (),
    windows: Mapping[str, tuple[tuple[int, ...], ...]] | None = None,
    latency_of: Callable[[Graph], float] | None = None,
    dead: Mapping[str, int] | None = None,
) -> tuple[Finding, ...]:
    """Return what the fields of a network tell, in the order of the codes.

    Args:
        analysis: of the network.
        graph: of the same.
        groups: of movable blocks.
        windows: of convolutions that slide, by module.
        latency_of: predicts the latency of a graph, in seconds.
        dead: parameters of dead modules, by path.
    """
    teller = _Teller(analysis, graph, groups, windows or {}, latency_of)
    return (
        *teller.unproductive(),
        *teller.critical(),
        *teller.extent(),
        *teller.channels(),
        *teller.dead(dead or {}),
        *teller.stages(),
        *teller.notes(),
    )


def findings_of(
    model: nn.Module,
    analysis: Analysis,
    graph: Graph,
    *,
    windows: Mapping[str, tuple[tuple[int, ...], ...]] | None = None,
    latency_of: Callable[[Graph], float] | None = None,
) -> tuple[Finding, ...]:
    """Return what the fields of a network tell, dead modules and fixed stages too.

    Args:
        model: that was analysed.
        analysis: of it.
        graph: of it.
        windows: of convolutions that slide, by module.
        latency_of: predicts the latency of a graph, in seconds.
    """
    dead = {
        path: sum(
            each.numel() for each in model.get_submodule(path).parameters(recurse=False)
        )
        for path in analysis.dead
    }
    groups = blocks_of(model, graph)
    return explain(
        analysis,
        graph,
        groups=groups,
        windows=windows,
        latency_of=latency_of,
        dead=dead,
    )


@final
class _Teller:
    def __init__(
        self,
        analysis: Analysis,
        graph: Graph,
        groups: Sequence[Group],
        windows: Mapping[str, tuple[tuple[int, ...], ...]],
        latency_of: Callable[[Graph], float] | None,
    ) -> None:
        self.analysis, self.graph, self.groups = analysis, graph, groups
        self.image, self.begins = analysis.image, set(analysis.fields.before)
        self.local = [each for each in analysis.layers if each.local]
        self.before: Score = score(analysis)
        self.windows = windows
        self.latency_of = latency_of
        self.latency_s = None if latency_of is None else latency_of(graph)

    # ------------------------------------------------------------ rows and columns

    def unproductive(self) -> Iterator[Finding]:
        told = set[str]()
        for layer in self.local:
            if not layer.spatial or not self._covers(layer.least_in):
                continue
            block = self._block(layer)
            name = layer.module if block is None else block.name
            if name in told:
                continue
            told.add(name)
            finding = Finding(
                code="RF01",
                modules=(layer.module,),
                numbers=FrozenDict(
                    {"field_px": float(min(layer.least_in)), "image_px": self._pixels}
                ),
                sentence=f"{layer.module}: every path before it sees the whole image "
                f"({_size(layer.least_in)} of {_size(self.image)} pixels), so its "
                f"{_size(layer.kernel)} window adds no spatial context.",
            )
            yield self._changed(finding, layer, block)

    def critical(self) -> Iterator[Finding]:
        for layer in self.local:
            if not layer.spatial or not self._covers(layer.field_out):
                continue
            if not self._covers(layer.field_in):
                share = productive(layer.field_in, layer.field_out, self.image)
                yield Finding(
                    code="RF02",
                    modules=(layer.module,),
                    numbers=FrozenDict(
                        {
                            "field_in_px": float(max(layer.field_in)),
                            "field_out_px": float(max(layer.field_out)),
                            "productive_frac": share,
                        }
                    ),
                    sentence=f"{layer.module}: here the widest path grows past the "
                    f"image, from {_size(layer.field_in)} to "
                    f"{_size(layer.field_out)} pixels; {share:.0%} of the growth is "
                    "within it.",
                )
            return

    def extent(self) -> Iterator[Finding]:
        # The widest field at the end: a short branch that joins there shows less.
        last = max(self.local, key=lambda each: min(each.field_out), default=None)
        if last is not None and not self._covers(last.field_out):
            yield Finding(
                code="RF03",
                modules=(last.module,),
                numbers=FrozenDict(
                    {"field_px": float(max(last.field_out)), "image_px": self._pixels}
                ),
                sentence=f"The last convolution sees {_size(last.field_out)} of "
                f"{_size(self.image)} pixels; what lies further apart meets in the "
                "global pool only.",
                edit="move blocks to later stages, or dilate the last windows",
            )
        stem = [each for each in self.local if each.spatial][:3]
        jump = max((max(each.jump) for each in stem[:2]), default=1.0)
        if max(self.image) <= _SMALL_IMAGE and jump >= _COARSE:
            yield Finding(
                code="RF04",
                modules=tuple(each.module for each in stem[:2]),
                numbers=FrozenDict({"jump_px": jump, "image_px": self._pixels}),
                sentence=f"After two windows positions stand {jump:g} pixels apart in "
                f"an image of {_size(self.image)}.",
                edit="give the stem a stride of 1, and leave out its pool",
            )

    # ------------------------------------------------------------ channels

    def channels(self) -> Iterator[Finding]:
        run: list[Layer] = []
        for layer in [*self.local, None]:
            if layer is not None and layer.apart:
                run.append(layer)
                continue
            if len(run) >= 2:
                yield self._apart(run)
            run = []
        for size, layers in self._stages().items():
            # What begins a stage, a shortcut say, has seen nothing of it yet.
            inside = [each for each in layers if Ref(each.node) not in self.begins]
            if not inside:
                continue
            last = inside[-1]
            seen = last.channels_out / max(last.entries, 1)
            if len(layers) > 1 and seen < _CHANNELS_SEEN:
                yield Finding(
                    code="CH03",
                    modules=(last.module,),
                    numbers=FrozenDict(
                        {"channels": last.channels_out, "seen_frac": seen}
                    ),
                    sentence=f"{last.module}: at the end of the stage of {_size(size)} "
                    f"a channel has seen {last.channels_out:.0f} of "
                    f"{last.entries} on average.",
                    edit="end the stage with a pointwise convolution without groups",
                )

    def _apart(self, run: Sequence[Layer]) -> Finding:
        return Finding(
            code="CH01",
            modules=tuple(each.module for each in run),
            numbers=FrozenDict(
                {"groups": float(run[-1].groups), "channels": run[-1].channels_out}
            ),
            sentence=f"{len(run)} grouped convolutions follow each other from "
            f"{run[0].module} to {run[-1].module}, and no channel sees more than "
            f"{run[-1].channels_out:.0f} of its stage.",
            edit="shuffle the channels between them, or let one slide its windows",
        )

    def dead(self, parameters: Mapping[str, int]) -> Iterator[Finding]:
        for path in self.analysis.dead:
            count = parameters.get(path, 0)
            yield Finding(
                code="CH02",
                modules=(path,),
                numbers=FrozenDict({"parameters": float(count)}),
                sentence=f"{path}: its {count} parameters reach no output.",
                edit="remove the module",
                parameters=-count,
                multiply_adds=0,
                latency_s=None if self.latency_s is None else 0.0,
                score=0.0,
            )

    # ------------------------------------------------------------ stages

    def stages(self) -> Iterator[Finding]:
        # As the score weighs them: of the plain sum the first stages are nothing.
        weights = {
            size: mass**STAGE_EXPONENT for size, mass in self.before.masses.items()
        }
        total = sum(weights.values())
        movable = {group.size for group in self.groups}
        for size, weight in weights.items():
            share = weight / total if total else 0.0
            if len(self.before.masses) > 1 and not _LOW_MASS <= share <= _HIGH_MASS:
                yield Finding(
                    code="ST01",
                    modules=self._modules(size),
                    numbers=FrozenDict({"weight_frac": share}),
                    sentence=f"The stage of {_size(size)} has {share:.1%} of the "
                    "weight.",
                    edit="move blocks between stages: `trimtab design optimize "
                    "--level stage`",
                )
            if size not in movable:
                yield Finding(
                    code="ST02",
                    modules=self._modules(size),
                    numbers=FrozenDict({"weight_frac": share}),
                    sentence=f"The stage of {_size(size)} has no block that could be "
                    "left out or repeated.",
                )

    def notes(self) -> Iterator[Finding]:
        gated = [each.module for each in self.local if each.gated]
        if gated:
            yield Finding(
                code="SE01",
                modules=(gated[0], gated[-1]),
                numbers=FrozenDict({"convolutions": float(len(gated))}),
                sentence=f"From {gated[0]} on values are scaled by what sees the whole "
                "image (squeeze and excitation, or statistics); fields do not count "
                "it.",
            )
        for code, names, text in (
            ("AL01", self.analysis.misaligned,
             "adds branches whose positions stand differently far apart"),
            ("OP01", self.analysis.unknown,
             "has an operator without a rule, and is taken to see everything"),
        ):  # fmt: skip
            for name in dict.fromkeys(names):
                node = self.graph.node(name)
                where = node.module or name
                yield Finding(
                    code=code,
                    modules=(where,),
                    numbers=FrozenDict(),
                    sentence=f"{where}: {node.op} {text}.",
                )

    # ------------------------------------------------------------ helpers

    @property
    def _pixels(self) -> float:
        return float(max(self.image))

    def _covers(self, field: Sequence[int]) -> bool:
        return all(
            each >= pixels for each, pixels in zip(field, self.image, strict=True)
        )

    def _stages(self) -> dict[tuple[int, ...], list[Layer]]:
        found: dict[tuple[int, ...], list[Layer]] = {}
        for layer in self.local:
            found.setdefault(layer.size, []).append(layer)
        return found

    def _modules(self, size: tuple[int, ...]) -> tuple[str, ...]:
        layers = self._stages().get(size, [])
        return tuple(dict.fromkeys(each.module for each in (layers[:1] + layers[-1:])))

    def _block(self, layer: Layer) -> Block | None:
        return next(
            (
                each
                for group in self.groups
                for each in group.blocks
                if layer.node in each.nodes
            ),
            None,
        )

    def _changed(self, finding: Finding, layer: Layer, block: Block | None) -> Finding:
        """Add an edit, and what it changes: it is made on the graph and judged."""
        bare = Variant(graph=self.graph, windows=self.windows)
        if block is not None:
            edit = f"leave out block {block.name}"
            made = with_blocks(bare, {block.nodes: 0})
        else:
            edit = "use a 1 x 1 window"
            smaller = Replace(module=layer.module, kernel="resized", size=1)
            try:
                made = with_kernels(bare, [smaller])
            except UsageError:  # padding by name, and the like
                return replace(finding, edit=edit)
        after = analyse(made.graph, windows=made.windows)
        return replace(
            finding,
            edit=edit,
            parameters=after.parameters - self.analysis.parameters,
            multiply_adds=after.multiply_adds - self.analysis.multiply_adds,
            latency_s=None
            if self.latency_of is None or self.latency_s is None
            else self.latency_of(made.graph) - self.latency_s,
            score=score(after).value - self.before.value,
        )


def _size(pixels: Sequence[int]) -> str:
    return " x ".join(map(str, pixels))
