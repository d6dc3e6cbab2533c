"""LSTM, GRU and plain recurrent layers: a product of all steps, then the recurrence.

A cell by itself is a layer of one step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch

from trimtab.compiler.formula import IDENTITY
from trimtab.compiler.groups import Group
from trimtab.compiler.layout import Layout, row_major
from trimtab.compiler.lowerings.constants import key_of, weight_of
from trimtab.compiler.plan import Planner
from trimtab.compiler.ranks import insert
from trimtab.compiler.spaces import recurrent
from trimtab.compiler.spaces.contraction import Contraction
from trimtab.compiler.spaces.recurrent import Recurrent
from trimtab.compiler.tasks import Packing, Value
from trimtab.graph.types import Ref

__all__ = ["LOWERINGS"]

_CELLS: Mapping[str, recurrent.Cell] = {
    "aten.lstm.input": "lstm",
    "aten.gru.input": "gru",
    "aten.rnn_tanh.input": "tanh",
    "aten.rnn_relu.input": "relu",
}
_SINGLE: Mapping[str, recurrent.Cell] = {
    "aten.lstm_cell.default": "lstm",
    "aten.gru_cell.default": "gru",
    "aten.rnn_tanh_cell.default": "tanh",
    "aten.rnn_relu_cell.default": "relu",
}


def _layers(planner: Planner, group: Group) -> bool:
    node = group.anchor
    assert node is not None
    arguments = node.arguments
    source, params = arguments["input"], arguments["params"]
    if not isinstance(source, Ref) or source not in planner.values:
        return False
    if not isinstance(params, tuple) or node.output.dtype != "float32":
        return False
    tensors: list[torch.Tensor] = []
    for each in params:
        if not isinstance(each, Ref) or each not in planner.constants:
            return False
        tensors.append(planner.constants[each].detach())
    if len(planner.shape(source)) != 3 or not node.output.elements:
        return False
    biased = bool(arguments["has_biases"])
    layers, two = arguments["num_layers"], bool(arguments["bidirectional"])
    assert isinstance(layers, int)
    each_has = 4 if biased else 2
    directions = 2 if two else 1
    if len(tensors) != layers * directions * each_has:
        return False  # projections
    first, outer = bool(arguments["batch_first"]), node.output.shape
    builder = _Builder(
        planner,
        group,
        _CELLS[node.op],
        biased=biased,
        first=first,
        samples=outer[0 if first else 1],
        steps=outer[1 if first else 0],
        hidden=node.outputs[1].shape[2] if node.outputs[1] else 0,
    )
    return builder.run(tensors, layers, directions, source)


def _cell(planner: Planner, group: Group) -> bool:
    """Lower one step for samples of which nobody knows another."""
    node = group.anchor
    assert node is not None
    source, shape = node.arguments["input"], node.output.shape
    if not isinstance(source, Ref) or source not in planner.values:
        return False
    tensors: list[torch.Tensor] = []
    for name in ("w_ih", "w_hh", "b_ih", "b_hh"):
        ref = node.arguments.get(name)
        if ref is None:
            continue
        if not isinstance(ref, Ref) or ref not in planner.constants:
            return False
        tensors.append(planner.constants[ref].detach())
    if len(tensors) == 3 or len(shape) != 2 or node.output.dtype != "float32":
        return False
    if not node.output.elements or not planner.type_of(source).elements:
        return False
    builder = _Builder(
        planner,
        group,
        _SINGLE[node.op],
        biased=len(tensors) == 4,
        first=False,
        samples=shape[0],
        steps=1,
        hidden=shape[1],
    )
    builder.step(tensors, source)
    return True


class _Builder:
    """Adds the tasks of stacked layers."""

    def __init__(
        self,
        planner: Planner,
        group: Group,
        cell: recurrent.Cell,
        *,
        biased: bool,
        first: bool,
        samples: int,
        steps: int,
        hidden: int,
    ) -> None:
        assert group.anchor is not None
        self.planner, self.group, self.node = planner, group, group.anchor
        self.cell, self.biased = cell, biased
        self.states = 2 if cell == "lstm" else 1
        self.first = first  # whether samples come before steps
        self.samples = samples  # sequences that are done side by side
        self.steps = steps  # of a sequence
        self.hidden = hidden

    def step(self, tensors: list[torch.Tensor], source: Ref) -> None:
        """Add the tasks of one step."""
        planner, shape = self.planner, (self.samples, self.hidden)

        def sequence(value: Value) -> Value:
            return replace(value, layout=insert(value.layout, (0,)))

        target = planner.fresh(row_major(shape))
        last = [planner.fresh(row_major(shape)) for _ in range(self.states)]
        first = [
            self.known("first", each) if isinstance(each, torch.Tensor) else each
            for each in self.initial()
        ]
        self.layer(
            0,
            sequence(planner.dense(source)),
            tensors,
            sequence(target),
            list(last),
            first,
            backward=False,
        )
        if self.states == 2:
            planner.values[Ref(self.node.name, 1)] = last[1]
        planner.finish(self.group, target, fused=False)

    def run(
        self, tensors: list[torch.Tensor], layers: int, directions: int, source: Ref
    ) -> bool:
        planner, node = self.planner, self.node
        value = planner.dense(source)
        initial = self.initial()
        states = [
            planner.fresh(row_major((layers * directions, self.samples, self.hidden)))
            for _ in range(self.states)
        ]
        each_has = 4 if self.biased else 2
        for layer in range(layers):
            width = directions * self.hidden
            target = planner.fresh(row_major(self.outer(width)))
            for direction in range(directions):
                place = layer * directions + direction
                some = tensors[each_has * place : each_has * (place + 1)]
                half = replace(
                    target,
                    layout=target.layout.slice_of(
                        2, direction * self.hidden, self.hidden
                    ),
                )
                self.layer(
                    place,
                    value,
                    some,
                    half,
                    [self.state(each, place) for each in states],
                    [self.state(each, place) for each in initial] if initial else [],
                    backward=direction == 1,
                )
            value = target
        for index, each in enumerate(states):
            planner.values[Ref(node.name, index + 1)] = each
        planner.finish(self.group, value, fused=False)
        return True

    def outer(self, width: int) -> tuple[int, int, int]:
        """Return the shape of a sequence tensor, as the module orders it."""
        if self.first:
            return (self.samples, self.steps, width)
        return (self.steps, self.samples, width)

    def by_steps(self, layout: Layout) -> Layout:
        """Return a layout of a sequence tensor as ``(T, N, width)``."""
        if not self.first:
            return layout
        (a, b, width), (sa, sb, sw) = layout.shape, layout.strides
        return replace(layout, shape=(b, a, width), strides=(sb, sa, sw))

    def initial(self) -> list[Value | torch.Tensor]:
        """Return the first states; empty where they are known to be zero."""
        given = self.node.arguments["hx"]
        refs = given if isinstance(given, tuple) else (given,)
        found: list[Value | torch.Tensor] = []
        for ref in refs[: self.states]:
            assert isinstance(ref, Ref)
            known = self.planner.constants.get(ref)
            found.append(self.planner.dense(ref) if known is None else known.detach())
        if all(isinstance(each, torch.Tensor) and not each.any() for each in found):
            return []
        return found

    def state(self, value: Value | torch.Tensor, place: int) -> Value | Packing:
        """Return the state of one direction of one layer."""
        if isinstance(value, torch.Tensor):
            return self.known(f"first.{place}", value[place])
        layout = value.layout.slice_of(0, place, 1)
        (_, n, h), (_, sn, sh) = layout.shape, layout.strides
        inner = replace(layout, shape=(n, h), strides=(sn, sh))
        return replace(value, layout=inner)

    def layer(
        self,
        place: int,
        value: Value,
        tensors: list[torch.Tensor],
        target: Value,
        last: list[Value | Packing],
        first: list[Value | Packing],
        *,
        backward: bool,
    ) -> None:
        planner = self.planner
        weight, hidden = tensors[:2]
        gates = planner.fresh(row_major(self.outer(weight.shape[0])))
        self.product(place, value, weight, tensors[2:3], gates)
        state = last[0]
        assert isinstance(state, Value)
        start = first[0].layout if first and isinstance(first[0], Value) else None
        if first and start is None:
            start = row_major((self.samples, self.hidden))
        work = Recurrent(
            cell=self.cell,
            gates=self.by_steps(gates.layout),
            output=self.by_steps(target.layout),
            initial=start,
            final=state.layout,
            bias=self.biased,
            backward=backward,
        )
        lanes = planner.lanes

        def pack(point: Any) -> torch.Tensor:
            blocks = hidden.view(work.count, work.hidden, work.hidden)
            parts = [
                blocks[:, begin : begin + units].permute(2, 0, 1).reshape(-1)
                for begin, units in recurrent.pack_order(work, point.vectors, lanes)
            ]
            return torch.cat(parts).contiguous()

        weights = Packing(
            key=key_of(self.group, f"hidden.{place}", hidden),
            order=lambda point: f"{point.vectors}x{lanes}",
            make=pack,
        )
        bias = [self.known(f"bias.{place}", tensors[3])] if self.biased else []
        planner.add(work, (gates, weights, *bias, *first, *last, target), (self.node,))

    def product(
        self,
        place: int,
        value: Value,
        weight: torch.Tensor,
        bias: list[torch.Tensor],
        gates: Value,
    ) -> None:
        """Add the input's part of the gates for all steps."""

        def samples(layout: Layout) -> Layout:
            (a, b, width), (sa, sb, sw) = layout.shape, layout.strides
            return Layout(
                shape=(a, width, 1, b),
                strides=(sa, sw, 0, sb),
                size=layout.size,
                offset=layout.offset,
            )

        work = Contraction(
            input=samples(value.layout),
            output=samples(gates.layout),
            formula=IDENTITY,
            bias=bool(bias),
        )
        packed = weight_of(
            self.group, work, weight[:, :, None, None], self.planner.lanes
        )
        packed = replace(packed, key=key_of(self.group, f"input.{place}", weight))
        extra = [self.known(f"input_bias.{place}", bias[0])] if bias else []
        self.planner.add(work, (value, packed, *extra, gates), (self.node,))

    def known(self, what: str, tensor: torch.Tensor) -> Packing:
        return Packing(
            key=key_of(self.group, what, tensor),
            order=lambda point: "",
            make=lambda point: tensor.contiguous().view(-1),
        )


LOWERINGS: Mapping[str, Callable[[Planner, Group], bool]] = {
    **dict.fromkeys(_CELLS, _layers),
    **dict.fromkeys(_SINGLE, _cell),
}
"""By the anchor's operator."""
