"""A graph as tasks; over 400 lines, since all of it keeps one record of values.

Which kernel computes what, from where, to where.

Decides layouts for the whole network at once: convolutions work on packed channels, a
value carries the zeros its readers need around it, pieces of a concatenation are
written where the whole will stand, and a conversion is inserted only where a reader
cannot take what there is. What each operator becomes stands in
`trimtab.compiler.lowerings`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch

from trimtab.compiler.fallback import operator_of
from trimtab.compiler.formula import IDENTITY, Formula, slot
from trimtab.compiler.groups import IDENTITIES, Affine, Group, Grouping
from trimtab.compiler.layout import NO_HALO, Halo, Layout, packed, row_major
from trimtab.compiler.ranks import insert, insert_ones, remove
from trimtab.compiler.spaces.elementwise import Elementwise
from trimtab.compiler.tasks import FallbackTask, Memory, Packing, Plan, Task, Value
from trimtab.compiler.views import view_layouts
from trimtab.compiler.windows import window_of
from trimtab.errors import UsageError
from trimtab.graph.types import ConstantKind, Graph, Node, Ref, TensorType

__all__ = ["Planner", "plan"]


_MOST_ELEMENTS = 2**31 - 1


def plan(graph: Graph, grouping: Grouping, *, lanes: int) -> Plan:
    """Return the tasks of a network.

    Args:
        graph: the network.
        grouping: its groups and constants.
        lanes: float32 elements of a vector.
    """
    return Planner(graph, grouping, lanes).run()


@dataclass
class Planner:
    """Makes a plan; `lowerings` add tasks through it."""

    graph: Graph
    grouping: Grouping
    lanes: int
    values: dict[Ref, Value] = field(default_factory=dict)
    images: dict[Ref, Value] = field(default_factory=dict)  # converted
    tasks: list[Task | FallbackTask] = field(default_factory=list)
    halos: dict[Ref, Halo] = field(default_factory=dict)
    flat: set[Ref] = field(default_factory=set)
    places: dict[Ref, tuple[Ref, int]] = field(default_factory=dict)
    whole: dict[Ref, Value] = field(default_factory=dict)
    constants: dict[Ref, torch.Tensor] = field(init=False)
    owned: set[Ref] = field(init=False)
    memories: int = 0

    def __post_init__(self) -> None:
        self.constants = dict(self.grouping.constants)
        self.owned = {
            Ref(each.name)
            for each in self.graph.constants
            if each.kind is not ConstantKind.TENSOR
        }

    # ------------------------------------------------------------ the whole

    def run(self) -> Plan:
        """Return the plan."""
        tensors = [leaf for leaf in self.graph.inputs if leaf.type is not None]
        for index, leaf in enumerate(tensors):
            assert leaf.type is not None
            self.values[Ref(leaf.name)] = Value(
                memory=self.memory(
                    "input", leaf.type.elements, index=index, dtype=leaf.type.dtype
                ),
                layout=row_major(leaf.type.shape),
            )
        self.look_ahead()
        for each in self.grouping.groups:
            self.group(each)
        outputs = self.outputs()
        return Plan(
            tasks=tuple(self.tasks),
            inputs=tuple(leaf.type for leaf in tensors if leaf.type is not None),
            outputs=tuple(outputs),
        )

    def outputs(self) -> list[TensorType]:
        """Bring every output into the row-major form that is handed out."""
        found: list[TensorType] = []
        for each in self.graph.outputs:
            if not isinstance(each, Ref):
                continue
            kind = self.graph.type_of(each)
            memory = self.memory(
                "output", kind.elements, index=len(found), dtype=kind.dtype
            )
            target = Value(memory=memory, layout=row_major(kind.shape))
            found.append(kind)
            source = self.constant_or_value(each)
            if not self.redirect(source, target):
                self.copy(source, target, (each.name,))
        return found

    def redirect(self, source: Value | Packing, target: Value) -> bool:
        """Let the task that makes a value write it into an output instead."""
        if not isinstance(source, Value) or source.memory.kind != "workspace":
            return False
        if source.layout != target.layout or source.memory.halo is not None:
            return False
        if source.memory.elements != target.memory.elements:
            return False
        moved = source.memory

        def move(value: Any) -> Any:
            if isinstance(value, Value) and value.memory == moved:
                return replace(value, memory=target.memory)
            return value

        for index, task in enumerate(self.tasks):
            if isinstance(task, Task):
                self.tasks[index] = replace(
                    task, parameters=tuple(map(move, task.parameters))
                )
            else:
                self.tasks[index] = replace(
                    task,
                    reads=tuple((ref, move(value)) for ref, value in task.reads),
                    writes=tuple(map(move, task.writes)),
                )
        for ref, value in self.values.items():
            self.values[ref] = move(value)
        return True

    def group(self, group: Group) -> None:
        """Add the tasks of a group."""
        if group.view:
            self.view(group)
            return
        if group.anchor is None:
            self.elementwise(group)
            return
        from trimtab.compiler.lowerings import LOWERINGS

        lower = LOWERINGS.get(group.anchor.op)
        if lower is None or not lower(self, group):
            self.fallback(group)

    # ------------------------------------------------------------ looking ahead

    def look_ahead(self) -> None:
        """Find what readers need around a value, and where concatenations stand."""
        for node in self.graph.nodes:
            window = window_of(self.graph, node)
            if window is not None:
                self.need(window.source, window.halo)
                if window.winograd:
                    self.need(window.source, window.reach(4))
                ragged = window.channels // window.groups % self.lanes
                if window.groups > 1 and not window.depthwise and ragged:
                    self.flat.add(window.source)
        cats = [node for node in self.graph.nodes if node.op == "aten.cat.default"]
        for node in reversed(cats):
            self.place(node)

    def need(self, ref: Ref, halo: Halo) -> None:
        """Note zeros that a reader of a value wants around it."""
        have = self.halos.get(ref, NO_HALO)
        self.halos[ref] = tuple(map(max, have, halo))  # type: ignore[assignment]

    def place(self, node: Node) -> None:
        """Reserve the places of the pieces of a concatenation of channels."""
        pieces, axis = node.arguments["tensors"], node.arguments.get("dim", 0)
        shape = node.output.shape
        if len(shape) != 4 or axis not in (1, -3) or not isinstance(pieces, tuple):
            return
        refs = [each for each in pieces if isinstance(each, Ref)]
        if any(
            len(self.shape(ref)) != 4  # an empty tensor may have any rank
            or self.shape(ref)[1] % self.lanes
            or ref in self.constants
            or self.graph.type_of(ref).dtype != "float32"
            or any(ref == Ref(leaf.name) for leaf in self.graph.inputs)
            for ref in refs
        ) or len(set(refs)) != len(refs):
            return
        result = Ref(node.name)
        spots = [self.places.get(ref) for ref in refs]
        if all(spot is None for spot in spots):
            start = 0
            for ref in refs:
                self.places[ref] = (result, start)
                start += self.shape(ref)[1]
        elif spots[0] is not None and spots[0][1] == 0:
            start = 0
            for ref, spot in zip(refs, spots, strict=True):
                if spot != (spots[0][0], start):
                    return
                start += self.shape(ref)[1]
        else:
            return
        root = self.places[refs[0]][0]
        for ref in (*refs, result):
            self.need(root, self.halos.get(ref, NO_HALO))

    def type_of(self, ref: Ref) -> TensorType:
        """Return the type of a value or constant."""
        if ref in self.constants:
            found = self.constants[ref]
            dtype = str(found.dtype).removeprefix("torch.")
            return TensorType(tuple(found.shape), dtype)
        return self.graph.type_of(ref)

    def shape(self, ref: Ref) -> tuple[int, ...]:
        """Return the shape of a value or constant."""
        if ref in self.constants:
            return tuple(self.constants[ref].shape)
        return self.graph.type_of(ref).shape

    # ------------------------------------------------------------ memory

    def memory(
        self,
        kind: Literal["input", "output", "workspace"],
        elements: int,
        *,
        index: int = 0,
        dtype: str = "float32",
        halo: Layout | None = None,
    ) -> Memory:
        """Return a new buffer.

        Raises:
            UsageError: kernels cannot count its elements.
        """
        if elements > _MOST_ELEMENTS:
            raise UsageError(
                f"a tensor of {elements} elements",
                rule=f"kernels count with 32 bits, up to {_MOST_ELEMENTS}",
                where=f"network {self.graph.name!r}",
                remedy="compile for smaller inputs, or in parts",
            )
        self.memories += 1
        return Memory(
            key=self.memories,
            kind=kind,
            index=index,
            elements=elements,
            dtype=dtype,
            halo=halo,
        )

    def fresh(self, layout: Layout, dtype: str = "float32") -> Value:
        """Return a value in working memory of its own."""
        halo = layout if layout.halo != NO_HALO else None
        return Value(
            memory=self.memory("workspace", layout.size, dtype=dtype, halo=halo),
            layout=layout,
        )

    def activation(self, ref: Ref, shape: Sequence[int]) -> Value:
        """Return where an image-like value goes."""
        place = self.places.get(ref)
        if place is not None:
            return self.part(*place, shape[1])
        halo = self.halos.get(ref, NO_HALO)
        block = self.lanes if shape[1] % self.lanes == 0 else shape[1]
        if ref in self.flat:
            block = shape[1]
        return self.fresh(packed(shape, block=block, halo=halo))

    def part(self, root: Ref, start: int, channels: int) -> Value:
        """Return where channels of a concatenation stand."""
        if root not in self.whole:
            halo = self.halos.get(root, NO_HALO)
            layout = packed(self.shape(root), block=self.lanes, halo=halo)
            self.whole[root] = self.fresh(layout)
        whole = self.whole[root]
        return replace(whole, layout=whole.layout.slice_of(1, start, channels))

    def constant_or_value(self, ref: Ref) -> Value | Packing:
        """Return where a kernel finds a tensor."""
        if ref in self.constants:
            return self.constant(ref)
        return self.values[ref]

    def constant(self, ref: Ref) -> Packing:
        """Return a constant, row-major."""
        tensor = self.constants[ref]
        key = str(ref)
        if ref not in self.owned:  # it may differ between batch sizes
            raw = tensor.detach().contiguous().view(-1).view(torch.uint8)
            key += f".{hashlib.sha256(raw.numpy().data).hexdigest()[:12]}"
        return Packing(
            key=key,
            order=lambda point: "",
            make=lambda point: tensor.contiguous().view(-1),
        )

    def operand(
        self, ref: Ref, shape: Sequence[int], added: tuple[int, ...] = ()
    ) -> tuple[Value | Packing, Layout]:
        """Return a further tensor of a formula and its layout over a shape.

        Args:
            ref: of the tensor.
            shape: of the result.
            added: axes of extent one that make the result an image.
        """
        if ref in self.constants:
            layout = row_major(tuple(self.constants[ref].shape))
            return self.constant(ref), insert(layout.broadcast(shape), added)
        value, whole = self.values[ref], insert_ones(shape, added)
        image = self.images.get(ref, value)
        if value.layout.shape == tuple(shape) and image.layout.shape == whole:
            return image, image.layout.broadcast(whole)  # packed, as the result
        return value, insert(value.layout.broadcast(shape), added)

    def add(
        self,
        work: Any,
        parameters: Sequence[Value | Packing],
        nodes: Sequence[Node] | Sequence[str],
    ) -> None:
        """Add a task."""
        last = parameters[-1]
        if isinstance(last, Value) and 0 in last.layout.shape:
            return  # there is nothing to compute
        names = tuple(node if isinstance(node, str) else node.name for node in nodes)
        module = next((node.module for node in nodes if isinstance(node, Node)), "")
        self.tasks.append(
            Task(work=work, parameters=tuple(parameters), nodes=names, module=module)
        )

    # ------------------------------------------------------------ conversions

    def copy(
        self,
        source: Value | Packing,
        target: Value,
        nodes: Sequence[Node] | Sequence[str],
    ) -> None:
        """Add a copy from one layout to another."""
        shape = target.layout.shape
        layout = source.layout if isinstance(source, Value) else row_major(shape)
        self.add(
            Elementwise(
                output=target.layout,
                formula=IDENTITY,
                operands=(layout,),
                dtype=target.memory.dtype,
            ),
            (source, target),
            nodes,
        )

    def dense(self, ref: Ref) -> Value:
        """Return a value in row-major form, converted where it is not."""
        value = self.values[ref]
        if value.layout.dense:
            return value
        target = self.fresh(row_major(value.layout.shape), value.memory.dtype)
        self.copy(value, target, (ref.name,))
        return target

    def show(self, ref: Ref, image: Value, added: tuple[int, ...]) -> None:
        """Note that a value stands as an image, with axes that it does not have."""
        self.values[ref] = replace(image, layout=remove(image.layout, added))
        if added:
            self.images[ref] = image

    def image(
        self,
        ref: Ref,
        halo: Halo,
        *,
        flat: bool = False,
        added: tuple[int, ...] = (),
    ) -> Value:
        """Return a value whose channels lie together, with zeros around it.

        What was converted once is not converted again.

        Args:
            ref: of the value.
            halo: the zeros.
            flat: whether all channels must lie together.
            added: axes of extent one that make it an image.
        """
        value = self.values[ref]
        if added:
            value = replace(value, layout=insert(value.layout, added))
        channels = value.layout.shape[1]
        for each in (value, self.images.get(ref, value)):
            if each.layout.shape != value.layout.shape:
                continue
            near = each.layout.contiguous_along(1)
            good = near == channels or (not flat and near % self.lanes == 0)
            pairs = zip(each.layout.halo, halo, strict=True)
            if good and all(have >= need for have, need in pairs):
                return each
        block = self.lanes if channels % self.lanes == 0 and not flat else channels
        needs = zip(self.halos.get(ref, NO_HALO), halo, strict=True)
        around = tuple(map(max, needs))
        target = self.fresh(packed(value.layout.shape, block=block, halo=around))  # type: ignore[arg-type]
        self.copy(value, target, (ref.name,))
        self.images[ref] = target
        return target

    # ------------------------------------------------------------ lowerings

    def view(self, group: Group) -> None:
        """Show a value under another shape, without moving it where that can be."""
        node = group.nodes[0]
        source = node.view_of or node.inputs[0]
        if source not in self.values:  # a constant, shown as another tensor is
            self.fallback(group)
            return
        if self.type_of(source) == node.outputs[0] and node.op in IDENTITIES:
            self.values[Ref(node.name)] = self.values[source]
            return
        types = {ref: self.type_of(ref) for ref in node.inputs}
        for attempt in (self.values[source], None):
            value = attempt or self.dense(source)
            layouts = view_layouts(node, source, value.layout, types)
            if layouts is not None:
                for index, layout in enumerate(layouts):
                    if layout is not None:
                        self.values[Ref(node.name, index)] = replace(
                            value, layout=layout
                        )
                return
        self.fallback(group)

    def elementwise(self, group: Group) -> None:
        """Add a kernel for a formula by itself."""
        shape = self.shape(group.output)
        pairs = [self.operand(ref, shape) for ref in group.operands]
        images = len(shape) == 4 and any(
            layout.contiguous_along(1) > 1 and layout.shape[2:] != (1, 1)
            for _, layout in pairs
        )
        target = (
            self.activation(group.output, shape)
            if images or group.output in self.places
            else self.fresh(row_major(shape))
        )
        self.add(
            Elementwise(
                output=target.layout,
                formula=group.formula,
                operands=tuple(layout for _, layout in pairs),
            ),
            (*(value for value, _ in pairs), target),
            group.nodes,
        )
        self.values[group.output] = target

    def uses(self, ref: Ref) -> bool:
        """Whether anything reads a value."""
        return ref in self.graph.outputs or any(
            ref in node.inputs for node in self.graph.nodes
        )

    def finish(self, group: Group, value: Value, *, fused: bool = True) -> None:
        """Note where the result of a group's anchor stands.

        Args:
            group: of the anchor.
            value: the result.
            fused: whether the formula was applied; if not, a kernel of its own does.
        """
        assert group.anchor is not None
        anchor = Ref(group.anchor.name)
        if fused or group.output == anchor:
            self.values[group.output] = value
            return
        self.values[anchor] = value
        self.elementwise(
            replace(
                group,
                anchor=None,
                nodes=group.nodes[1:],
                operands=(anchor, *group.operands),
            )
        )

    def fallback(self, group: Group) -> None:
        """Run a node by itself; what was fused to it becomes a kernel."""
        node = group.anchor
        assert node is not None
        given = dict.fromkeys(node.inputs)
        reads = tuple(
            (ref, self.dense(ref)) for ref in given if ref not in self.constants
        )
        writes = []
        for index, kind in enumerate(node.outputs):
            if kind is None:
                continue
            value = self.fresh(row_major(kind.shape), kind.dtype)
            self.values[Ref(node.name, index)] = value
            writes.append(value)
        self.tasks.append(
            FallbackTask(
                node=node,
                reads=reads,
                writes=tuple(writes),
                constants=tuple(
                    (ref, self.constant(ref)) for ref in given if ref in self.constants
                ),
                operator=operator_of(node, {ref: self.type_of(ref) for ref in given}),
            )
        )
        last = Ref(node.name)
        for affine in group.affine:  # meant for the weights of a kernel
            last = self.normalise(affine, last)
        if group.output != last:
            self.elementwise(
                replace(
                    group,
                    anchor=None,
                    nodes=group.nodes[1 + len(group.affine) :],
                    operands=(last, *group.operands),
                )
            )

    def normalise(self, affine: Affine, source: Ref) -> Ref:
        """Apply a batch normalisation to a value by itself."""
        node = affine.node
        shape = (1, -1, *([1] * (len(node.output.shape) - 2)))
        scale, shift = Ref(f"{node.name}.scale"), Ref(f"{node.name}.shift")
        self.constants[scale] = affine.scale.float().view(shape)
        self.constants[shift] = affine.shift.float().view(shape)
        formula = Formula(slots=3, steps=(), result=slot(0) * slot(1) + slot(2))
        self.elementwise(
            Group(
                anchor=None,
                nodes=(node,),
                formula=formula,
                operands=(source, scale, shift),
                output=Ref(node.name),
            )
        )
        return Ref(node.name)
