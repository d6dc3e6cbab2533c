"""Sums over named indices that are products of matrices, perhaps many of them.

``bhid,bhjd->bhij`` has indices of four kinds: those of both operands and the result
count the products (b, h), those of one operand and the result are rows (i) and columns
(j), and over those that the result lacks is summed (d). Each kind becomes one axis,
where the memory allows that without a copy.
"""

from __future__ import annotations

import math
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

import torch

from trimtab.compiler.formula import IDENTITY
from trimtab.compiler.groups import Group
from trimtab.compiler.layout import Layout, row_major
from trimtab.compiler.lowerings.constants import key_of
from trimtab.compiler.lowerings.product import product_of, samples_along_width
from trimtab.compiler.plan import Planner
from trimtab.compiler.spaces.contraction import Contraction
from trimtab.compiler.tasks import Packing, Value
from trimtab.graph.types import Ref

__all__ = ["LOWERINGS", "Sum", "parse"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Sum:
    """A sum over named indices that is a product of matrices.

    Attributes:
        operands: the letters of left and right operand.
        result: its letters; the last of them is a column.
        batch: letters that count the products.
        rows: letters of the left operand and the result.
        columns: letters of the right operand and the result.
        summed: letters of both operands.
        swapped: whether the left operand is the second of the equation.
    """

    operands: tuple[str, str]
    result: str
    batch: str
    rows: str
    columns: str
    summed: str
    swapped: bool


def parse(equation: str, ranks: Sequence[int]) -> Sum | None:
    """Return what an equation of two operands says; None where it is no product.

    Args:
        equation: as `torch.einsum` takes it.
        ranks: of the operands, for an ellipsis.

    Example:
        >>> found = parse("bij,bkj->bik", (3, 3))
        >>> found.batch, found.rows, found.columns, found.summed
        ('b', 'i', 'k', 'j')
        >>> parse("ii,ij->j", (2, 2)) is None
        True
    """
    left, arrow, result = equation.replace(" ", "").partition("->")
    operands = left.split(",")
    if len(operands) != 2 or len(ranks) != 2:
        return None
    unnamed = [
        rank - len(each.replace("...", ""))
        for each, rank in zip(operands, ranks, strict=True)
        if "..." in each
    ]
    if len(set(unnamed)) > 1:
        return None  # one is broadcast along the other
    free = [each for each in string.ascii_letters if each not in equation]
    if unnamed and unnamed[0] > len(free):
        return None
    rest = "".join(free[: unnamed[0]]) if unnamed else ""
    if not arrow:
        names = left.replace("...", "").replace(",", "")
        result = "..." if rest else ""
        result += "".join(sorted(each for each in set(names) if names.count(each) == 1))
    first, second = (each.replace("...", rest) for each in operands)
    result = result.replace("...", rest)
    for letters, size in ((first, ranks[0]), (second, ranks[1])):
        if len(letters) != size or len(set(letters)) != size:
            return None  # a diagonal
    if not result or not set(result) <= set(first) | set(second):
        return None
    swapped = result[-1] not in second
    if swapped:
        first, second = second, first
    both = set(first) & set(second)
    if (set(first) | set(second)) - both - set(result) or result[-1] in both:
        return None  # sums of one operand alone, or the last letter counts products
    return Sum(
        operands=(first, second),
        result=result,
        batch="".join(each for each in result if each in both),
        rows="".join(each for each in result if each not in second),
        columns="".join(each for each in result if each not in first),
        summed="".join(each for each in first if each in both and each not in result),
        swapped=swapped,
    )


def _einsum(planner: Planner, group: Group) -> bool:
    node = group.anchor
    assert node is not None
    equation, tensors = node.arguments["equation"], node.arguments["tensors"]
    if not isinstance(equation, str) or not isinstance(tensors, tuple):
        return False
    refs = [each for each in tensors if isinstance(each, Ref)]
    found = parse(equation, [len(planner.shape(ref)) for ref in refs])
    if found is None or any(planner.type_of(ref).dtype != "float32" for ref in refs):
        return False
    left, right = reversed(refs) if found.swapped else refs
    sizes: dict[str, int] = {}
    for ref, letters in zip((left, right), found.operands, strict=True):
        for letter, size in zip(letters, planner.shape(ref), strict=True):
            if sizes.setdefault(letter, size) != size:
                return False  # an axis of extent one is broadcast
    if not math.prod(sizes.values()) or not found.summed:
        return False
    return _Product(planner, group, found, sizes).run(left, right)


class _Product:
    """Adds the tasks of one product."""

    def __init__(
        self, planner: Planner, group: Group, found: Sum, sizes: Mapping[str, int]
    ) -> None:
        assert group.anchor is not None
        self.planner, self.group, self.node = planner, group, group.anchor
        self.found, self.sizes = found, sizes

    def run(self, left: Ref, right: Ref) -> bool:
        planner, found = self.planner, self.found
        if left in planner.constants and right in planner.constants:
            return False
        if not found.batch and right in planner.constants:
            return self.dense(left, planner.constants[right].detach())
        first = self.operand(left, 0, (found.batch, found.rows, found.summed))
        second = self.operand(right, 1, (found.batch, found.summed, found.columns))
        parts = (found.batch, found.rows, found.columns)
        shape = self.node.output.shape
        target = planner.fresh(row_major(shape))
        written = self.arranged(target.layout, found.result, parts)
        others = [planner.operand(ref, shape) for ref in self.group.operands]
        layouts = [self.arranged(layout, found.result, parts) for _, layout in others]
        kept = [each for each in layouts if each is not None]
        fused = written is not None and len(kept) == len(others)
        if written is None:  # the axes of the result go through each other
            target, written, shown = self.apart()
        else:
            shown = target
        work = Contraction(
            input=samples_along_width(first[1]),
            output=samples_along_width(written),
            formula=self.group.formula if fused else IDENTITY,
            operands=tuple(map(samples_along_width, kept)) if fused else (),
            weight=second[1],
        )
        planner.add(
            work,
            (
                first[0],
                second[0],
                *((each for each, _ in others) if fused else ()),
                target,
            ),
            self.group.nodes if fused else (self.node,),
        )
        planner.finish(self.group, shown, fused=fused)
        return True

    def dense(self, left: Ref, weight: torch.Tensor) -> bool:
        """Lower a product with a constant matrix, whose weights are packed."""
        found, planner = self.found, self.planner
        letters = found.operands[1]
        order = [letters.index(each) for each in found.columns + found.summed]
        matrix = weight.permute(order).reshape(
            self.extent(found.columns), self.extent(found.summed)
        )
        wanted = [*found.rows, found.summed]
        value = self.stacked(left, 0, wanted)
        shape = (*(self.sizes[each] for each in found.rows), matrix.shape[0])
        plain = found.result == found.rows + found.columns and shape == (
            self.node.output.shape
        )
        bare = Group(anchor=self.node, nodes=(self.node,), output=Ref(self.node.name))
        target = product_of(
            planner, self.group if plain else bare, value, matrix, None, shape
        )
        if target is None:
            return False
        layout = target.layout
        if not plain:
            natural = found.rows + found.columns
            layout = _permuted(
                row_major([self.sizes[each] for each in natural]),
                [natural.index(each) for each in found.result],
            )
        planner.finish(self.group, replace(target, layout=layout), fused=plain)
        return True

    def apart(self) -> tuple[Value, Layout, Value]:
        """Return memory for the result in the order of the product, and it shown."""
        found = self.found
        natural = found.batch + found.rows + found.columns
        plain = row_major([self.sizes[each] for each in natural])
        target = self.planner.fresh(plain)
        written = self.arranged(
            plain, natural, (found.batch, found.rows, found.columns)
        )
        assert written is not None
        order = [natural.index(each) for each in found.result]
        return target, written, replace(target, layout=_permuted(plain, order))

    def operand(
        self, ref: Ref, place: int, parts: tuple[str, str, str]
    ) -> tuple[Value | Packing, Layout]:
        """Return an operand with an axis a part; the last one dense on the right."""
        letters = self.found.operands[place]
        planner = self.planner
        if ref in planner.constants:
            order = [letters.index(each) for each in "".join(parts)]
            tensor = planner.constants[ref].detach().permute(order)
            tensor = tensor.reshape([self.extent(part) for part in parts])
            return _constant(self.group, tensor, place), row_major(tensor.shape)
        value = planner.values[ref]
        found = self.arranged(value.layout, letters, parts)
        if found is None or (place == 1 and found.strides[-1] != 1):
            value = self.copied(ref, letters, "".join(parts))
            found = self.arranged(value.layout, "".join(parts), parts)
            assert found is not None
        return value, found

    def stacked(self, ref: Ref, place: int, parts: Sequence[str]) -> Value:
        """Return an operand with an axis a part, the last one dense."""
        letters, value = self.found.operands[place], self.planner.values[ref]
        layout = self.arranged(value.layout, letters, parts)
        if layout is None or layout.strides[-1] != 1:
            value = self.copied(ref, letters, "".join(parts))
            layout = self.arranged(value.layout, "".join(parts), parts)
            assert layout is not None
        return replace(value, layout=layout)

    def copied(self, ref: Ref, letters: str, wanted: str) -> Value:
        """Return an operand row-major in another order of its axes."""
        planner, value = self.planner, self.planner.values[ref]
        if wanted == letters:
            return planner.dense(ref)
        if value.layout.axis is not None:
            value = planner.dense(ref)
        order = [letters.index(each) for each in wanted]
        turned = replace(value, layout=_permuted(value.layout, order))
        target = planner.fresh(row_major(turned.layout.shape))
        planner.copy(turned, target, (self.node,))
        return target

    def arranged(
        self, layout: Layout, letters: str, parts: Sequence[str]
    ) -> Layout | None:
        """Return a layout with an axis a part; None where its letters do not join."""
        if layout.axis is not None:
            return None
        found: list[tuple[int, int]] = []
        for part in parts:
            extent, stride = 1, 0
            for letter in part:
                place = letters.index(letter)
                size, step = layout.shape[place], layout.strides[place]
                if size == 1:
                    continue
                if extent > 1 and stride != size * step:
                    return None
                extent, stride = extent * size, step
            found.append((extent, stride))
        if found[-1][0] == 1:  # as good as dense
            found[-1] = (1, 1)
        shape, strides = zip(*found, strict=True)
        return replace(layout, shape=shape, strides=strides)

    def extent(self, letters: str) -> int:
        """Return the points of some indices."""
        return math.prod(self.sizes[each] for each in letters)


def _permuted(layout: Layout, order: Sequence[int]) -> Layout:
    return replace(
        layout,
        shape=tuple(layout.shape[axis] for axis in order),
        strides=tuple(layout.strides[axis] for axis in order),
    )


def _constant(group: Group, tensor: torch.Tensor, place: int) -> Packing:
    flat = tensor.reshape(-1)
    return Packing(
        key=key_of(group, f"operand.{place}", tensor),
        order=lambda point: "",
        make=lambda point: flat.contiguous(),
    )


LOWERINGS: Mapping[str, Callable[[Planner, Group], bool]] = {
    "aten.einsum.default": _einsum,
}
"""By the anchor's operator."""
