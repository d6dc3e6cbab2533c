"""What narrower numbers and compression do to a network: bytes saved, answers changed.

Both depend on the values, so that they are measured on examples: the first ones of a
data set, none of which the result is judged by later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from pydantic import ConfigDict, with_config
from torch import Tensor

from trimtab.errors import DataError
from trimtab.graph.execute import Executor
from trimtab.graph.types import Graph, Ref, refs_in
from trimtab.partition.codec import codec, size_of
from trimtab.partition.cuts import Candidate

__all__ = ["Quality", "measured", "ratios", "too_costly"]


@final
@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """What a codec does at a cut.

    Attributes:
        position: of the cut.
        codec: its name.
        examples: it was measured on.
        ratio: bytes after compression over before, the mean.
        agreement_frac: examples whose largest output is that of the uncut network; 1
            where a network has no classes.
        accuracy_loss_frac: accuracy of the uncut network less that with the codec; None
            without labels.
        error_frac: mean deviation of outputs over their standard deviation.
    """

    position: int
    codec: str
    examples: int
    ratio: float
    agreement_frac: float
    accuracy_loss_frac: float | None
    error_frac: float


def measured(
    graph: Graph,
    weights: Mapping[str, Tensor],
    cuts: Sequence[Candidate],
    codecs: Sequence[str],
    x: Tensor,
    y: Tensor | None = None,
    *,
    progress: Callable[[float, str], None] = lambda done, text: None,
) -> tuple[Quality, ...]:
    """Return what each codec does at each cut.

    Args:
        graph: of a network with one input.
        weights: of it, by target.
        cuts: where; the end is left out.
        codecs: names.
        x: examples (n, ...); as many at a time as the graph has rows.
        y: their classes (n,), or None.
        progress: told the share that is done.

    Raises:
        DataError: the network takes other inputs than these, or there are too few.
        MissingExtraError: a compression is not installed.

    Example:
        >>> from trimtab.graph.capture import capture, weights_of
        >>> from trimtab.partition.cuts import cut_at
        >>> net = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.Linear(4, 2))
        >>> graph = capture(net.eval(), (torch.zeros(1, 8),))
        >>> x = torch.randn(10, 8)
        >>> at = [cut_at(graph, 1)]
        >>> found = measured(graph, weights_of(net, graph), at, ["raw", "int8"], x)
        >>> [each.ratio for each in found], found[0].error_frac
        ([1.0, 1.0], 0.0)
    """
    batches = _batches(graph, x)
    run = Executor(graph, weights)
    there = [cut for cut in cuts if cut.position < len(graph.nodes)]
    there.sort(key=lambda cut: cut.position)
    kinds = {cut.position: [graph.type_of(ref) for ref in cut.values] for cut in there}
    sizes = dict.fromkeys(((c.position, name) for c in there for name in codecs), 0)
    picked: dict[tuple[int, str], list[Tensor]] = {key: [] for key in sizes}
    apart = dict.fromkeys(sizes, 0.0)
    whole = []
    for number, batch in enumerate(batches):
        progress(number / len(batches), f"codecs, example {number * len(batch) + 1}")
        values: Mapping[Ref, Any] = run.bind(batch)
        before = 0
        outputs: dict[tuple[int, str], Tensor] = {}
        for cut in there:
            values = run.run(values, before, cut.position)
            before = cut.position
            for name in codecs:
                how = codec(name)
                received = dict(values)
                for ref, kind in zip(cut.values, kinds[before], strict=True):
                    sent = how.encode(values[ref])
                    sizes[before, name] += len(sent.payload)
                    received[ref] = how.decode(sent, kind)
                found = run.run(received, before)
                outputs[before, name] = _first(run, graph, found)
        whole.append(_first(run, graph, run.run(values, before)))
        for key, output in outputs.items():  # all outputs of all examples are too many
            picked[key].append(output.argmax(1))
            apart[key] += float((whole[-1] - output).abs().sum())
    truth = torch.cat(whole)
    count = len(batches) * len(batches[0])
    known = None if y is None else y[:count]
    return tuple(
        _compared(
            truth, torch.cat(picked[cut.position, name]), known,
            apart=apart[cut.position, name], position=cut.position, codec=name,
            ratio=sizes[cut.position, name]
            / max(1, len(batches) * sum(
                size_of(codec(name).form, kind) for kind in kinds[cut.position])),
        )
        for cut in there
        for name in codecs
    )  # fmt: skip


def _batches(graph: Graph, x: Tensor) -> list[Tensor]:
    leaves = [leaf for leaf in graph.inputs if leaf.type is not None]
    kind = leaves[0].type if leaves else None
    if kind is None or len(leaves) != 1 or tuple(x.shape[1:]) != kind.shape[1:]:
        takes = ", ".join(str(leaf.type) for leaf in leaves) or "no tensor"
        raise DataError(
            f"examples of shape {tuple(x.shape[1:])} for graph {graph.name!r}",
            rule=f"it takes {takes}",
            where="trimtab.partition.quality",
            remedy="give data of the network's one input, or leave the data out",
        )
    rows = kind.shape[0]
    if len(x) < rows:
        raise DataError(
            f"{len(x)} examples for graph {graph.name!r}",
            rule=f"it takes {rows} at a time",
            where="trimtab.partition.quality",
            remedy="give more examples",
        )
    x = x.to(getattr(torch, kind.dtype))
    return [x[at : at + rows] for at in range(0, len(x) - rows + 1, rows)]


def _first(run: Executor, graph: Graph, values: Mapping[Ref, Any]) -> Tensor:
    """Return the first output, a row an example."""
    ref = next(ref for each in graph.outputs for ref in refs_in(each))
    computed: Tensor = {**run.constants, **values}[ref]
    return computed.detach().flatten(1).double()


def _compared(
    truth: Tensor,
    picked: Tensor,
    y: Tensor | None,
    *,
    apart: float,
    position: int,
    codec: str,
    ratio: float,
) -> Quality:
    classes = truth.shape[1] > 1
    agree = (truth.argmax(1) == picked) if classes else torch.ones(len(truth))
    loss = None
    if y is not None and classes:
        right = (truth.argmax(1) == y).double() - (picked == y).double()
        loss = float(right.mean())
    spread = float(truth.std(correction=0)) or 1.0
    return Quality(
        position=position,
        codec=codec,
        examples=len(truth),
        ratio=ratio,
        agreement_frac=float(agree.double().mean()),
        accuracy_loss_frac=loss,
        error_frac=apart / truth.numel() / spread,
    )


def ratios(found: Sequence[Quality]) -> dict[tuple[int, str], float]:
    """Return bytes after compression over before, by position and codec."""
    return {(each.position, each.codec): each.ratio for each in found}


def too_costly(
    found: Sequence[Quality], most_loss_frac: float
) -> frozenset[tuple[int, str]]:
    """Return the positions and codecs that change too many answers.

    Args:
        found: what was measured.
        most_loss_frac: of accuracy; of agreement where there are no labels.
    """
    return frozenset(
        (each.position, each.codec)
        for each in found
        if (
            1 - each.agreement_frac
            if each.accuracy_loss_frac is None
            else each.accuracy_loss_frac
        )
        > most_loss_frac
    )
