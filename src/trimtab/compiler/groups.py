"""Which nodes of a graph one kernel computes.

A group has at most one anchor (a convolution, a product, a pool ...) and the
elementwise operators that follow it, fused into one formula. Batch normalisation after
a convolution or dense layer goes into its weights, elsewhere it is a scale and a shift.
Views compute nothing. What depends on constants alone was computed before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, final

from trimtab.compiler.formula import IDENTITY, Formula, elementwise, slot
from trimtab.compiler.loops import Expr
from trimtab.compiler.windows import CONVOLUTIONS
from trimtab.graph.types import Graph, Node, Ref

if TYPE_CHECKING:
    import torch

__all__ = ["IDENTITIES", "SHOWING", "Affine", "Group", "Grouping", "group"]

_NORMS = (
    "aten.batch_norm.default",
    "aten._native_batch_norm_legit_no_training.default",
)
IDENTITIES = (
    "aten.dropout.default",
    "aten.alias.default",
    "aten.detach.default",
    "aten.clone.default",
    "aten.contiguous.default",
    "aten.to.dtype",
    "aten.to.dtype_layout",
    "aten.to.device",
    "aten.to.other",
    "aten._to_copy.default",
    "aten.type_as.default",
)
"""Operators that hand a tensor through where its type stays."""
SHOWING = (
    *IDENTITIES,
    "aten.reshape.default",
    "aten.reshape_as.default",
    "aten.flatten.using_ints",
)
"""Operators that copy in PyTorch where they must; here a layout may do."""
_MOVING = ("aten.cat.default", "aten.concat.default")  # often nothing is left to do
_FOLDING = (*CONVOLUTIONS, "aten.linear.default")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Affine:
    """``x * scale + shift``, one pair for each channel: a batch normalisation.

    Attributes:
        node: of the graph.
        scale: shape ``(C,)``, float64.
        shift: likewise.
    """

    node: Node
    scale: torch.Tensor
    shift: torch.Tensor


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """What one kernel computes.

    Attributes:
        anchor: the node whose result flows into slot 0; None for elementwise alone.
        nodes: all, in the order of the graph.
        affine: batch normalisations that go into the anchor's weights.
        formula: what happens to each element.
        operands: what flows into the other slots (all slots without an anchor).
        output: the value it makes; for an anchor of several results, the first.
        view: whether it is a view, which computes nothing.
    """

    anchor: Node | None
    nodes: tuple[Node, ...]
    affine: tuple[Affine, ...] = ()
    formula: Formula = IDENTITY
    operands: tuple[Ref, ...] = ()
    output: Ref
    view: bool = False


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Grouping:
    """A graph as groups.

    Attributes:
        groups: in an order they can run in.
        constants: values that are known: the graph's own, what follows from them, and
            scales and shifts of normalisations, under names of their own.
    """

    groups: tuple[Group, ...]
    constants: Mapping[Ref, torch.Tensor]


def group(graph: Graph, constants: Mapping[Ref, torch.Tensor]) -> Grouping:
    """Return the groups of a graph.

    Args:
        graph: the network.
        constants: all values that do not depend on the input.
    """
    return _Grouper(graph, constants).run()


class _Grouper:
    def __init__(self, graph: Graph, constants: Mapping[Ref, torch.Tensor]) -> None:
        self.graph = graph
        self.constants = dict(constants)
        self.groups: list[Group] = []
        self.made_by: dict[Ref, int] = {}
        self.uses: Counter[Ref] = Counter(
            ref for node in graph.nodes for ref in node.inputs
        )
        self.uses.update(each for each in graph.outputs if isinstance(each, Ref))

    def run(self) -> Grouping:
        for node in self.graph.nodes:
            if Ref(node.name) in self.constants:
                continue
            if self.identity(node):
                continue
            if node.view_of is not None or node.op in SHOWING:
                self.open(
                    Group(anchor=node, nodes=(node,), output=Ref(node.name), view=True)
                )
            elif not (self.norm(node) or self.fuse(node)):
                self.open(Group(anchor=node, nodes=(node,), output=Ref(node.name)))
        return Grouping(groups=tuple(self.groups), constants=self.constants)

    def open(self, new: Group) -> None:
        anchor = new.anchor or new.nodes[-1]
        for index in range(len(anchor.outputs)):
            self.made_by[Ref(anchor.name, index)] = len(self.groups)
        self.groups.append(new)

    def extend(self, index: int, node: Node, grown: Group) -> None:
        """Put a node at the end of a group."""
        del self.made_by[self.groups[index].output]
        self.groups[index] = replace(
            grown, nodes=(*grown.nodes, node), output=Ref(node.name)
        )
        self.made_by[Ref(node.name)] = index

    def host(self, ref: Ref, node: Node) -> int | None:
        """Return the group that may take `node` in, which reads `ref`."""
        index = self.made_by.get(ref)
        if index is None or self.uses[ref] != sum(each == ref for each in node.inputs):
            return None
        found = self.groups[index]
        if found.view or found.output != ref:
            return None
        anchor = found.anchor
        if anchor is not None and (len(anchor.outputs) != 1 or anchor.op in _MOVING):
            return None
        return index

    def identity(self, node: Node) -> bool:
        """Take in an operator that changes nothing, such as dropout in evaluation."""
        if node.op not in IDENTITIES or not node.inputs:
            return False
        source = node.inputs[0]
        index = self.host(source, node)
        if index is None or self.graph.type_of(source) != node.output:
            return False
        self.extend(index, node, self.groups[index])
        return True

    def norm(self, node: Node) -> bool:
        """Take in a batch normalisation with fixed statistics."""
        if node.op not in _NORMS or node.arguments.get("training"):
            return False
        affine = self.affine(node)
        source = node.arguments["input"]
        if affine is None or not isinstance(source, Ref):
            return False
        index = self.host(source, node)
        if index is not None:
            found = self.groups[index]
            anchor = found.anchor
            if (
                anchor is not None
                and anchor.op in _FOLDING
                and isinstance(weight := anchor.arguments["weight"], Ref)
                and weight in self.constants
                and self.constants[weight].dim() == len(node.output.shape)  # channels
                and not anchor.arguments.get("transposed")
                and found.formula.is_identity
            ):
                grown = replace(found, affine=(*found.affine, affine))
                self.extend(index, node, grown)
                return True
        shape = (1, -1, *([1] * (len(node.output.shape) - 2)))
        scale, shift = Ref(f"{node.name}.scale"), Ref(f"{node.name}.shift")
        self.constants[scale] = affine.scale.float().view(shape)
        self.constants[shift] = affine.shift.float().view(shape)
        self.merge(
            node,
            (source, scale, shift),
            lambda values: values[0] * values[1] + values[2],
        )
        return True

    def affine(self, node: Node) -> Affine | None:
        """Return a normalisation as scale and shift, if all it needs is constant."""

        def constant(name: str) -> torch.Tensor | None:
            ref = node.arguments.get(name)
            found = self.constants.get(ref) if isinstance(ref, Ref) else None
            return None if found is None else found.double()

        mean, variance = constant("running_mean"), constant("running_var")
        weight, bias = constant("weight"), constant("bias")
        given = [node.arguments.get(name) for name in ("weight", "bias")]
        if mean is None or variance is None:
            return None
        if any(
            ref is not None and known is None
            for ref, known in zip(given, (weight, bias), strict=True)
        ):
            return None
        scale = (variance + float(node.arguments["eps"])).rsqrt()  # type: ignore[arg-type]
        if weight is not None:
            scale = scale * weight
        shift = -mean * scale
        return Affine(
            node=node, scale=scale, shift=shift if bias is None else shift + bias
        )

    def fuse(self, node: Node) -> bool:
        """Take in an elementwise operator."""
        reads = tuple(dict.fromkeys(node.inputs))
        types = [self.type_of(ref) for ref in reads]
        if any(kind is None or kind[1] != "float32" for kind in types):
            return False
        trial = elementwise(node, {ref: slot(i) for i, ref in enumerate(reads)})
        if trial is None:
            return False

        def build(values: list[Expr]) -> Expr:
            found = elementwise(node, dict(zip(reads, values, strict=True)))
            assert found is not None
            return found

        self.merge(node, reads, build)
        return True

    def type_of(self, ref: Ref) -> tuple[tuple[int, ...], str] | None:
        if ref in self.constants:
            tensor = self.constants[ref]
            return tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")
        kind = self.graph.type_of(ref)
        return kind.shape, kind.dtype

    def merge(self, node: Node, reads: tuple[Ref, ...], build) -> None:  # type: ignore[no-untyped-def]
        """Put an elementwise operator into the latest group it reads, or a new one.

        Every other operand is then made by an earlier group.
        """
        latest = max((self.made_by.get(ref, -1) for ref in reads), default=-1)
        hosts = [
            ref
            for ref in reads
            if self.made_by.get(ref, -1) == latest and self.host(ref, node) == latest
        ]
        shape = node.output.shape
        if latest >= 0 and hosts and self.graph.type_of(hosts[0]).shape == shape:
            found = self.groups[latest]
            inner, formula, operands = hosts[0], found.formula, list(found.operands)
        else:
            found, inner, operands = None, None, []
            formula = Formula(slots=0, steps=(), result=slot(0))
        values: list[Expr] = []
        first = 1 if found is not None and found.anchor is not None else 0
        for ref in reads:
            if ref == inner:
                values.append(formula.result)
            elif ref in operands:
                values.append(slot(first + operands.index(ref)))
            else:
                formula, fresh = formula.with_slot()
                operands.append(ref)
                values.append(fresh)
        formula = formula.step(build(values))
        if found is not None:
            self.extend(
                latest,
                node,
                replace(found, formula=formula, operands=tuple(operands)),
            )
        else:
            self.open(
                Group(
                    anchor=None,
                    nodes=(node,),
                    formula=formula,
                    operands=tuple(operands),
                    output=Ref(node.name),
                )
            )
