"""What each convolution of a network adds: its fields before and after, its work.

Calls, not modules: a module that is called twice has two entries, its parameters are
counted with the first. Dead calls, whose results reach no output, are left out before
anything is counted, and listed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch

from trimtab.cost import rules as _rules  # fills the table of rules
from trimtab.cost.work import work_of
from trimtab.design.elements import is_nothing
from trimtab.design.field import Field, Fields
from trimtab.design.propagate import fields_of
from trimtab.errors import UsageError
from trimtab.graph.operators import OPERATORS, Family
from trimtab.graph.types import Constant, ConstantKind, Graph, Node, Ref

__all__ = ["Analysis", "Layer", "analyse"]

assert _rules

_PRODUCTS = frozenset(
    {"aten.mul.Tensor", "aten.div.Tensor", "aten.matmul.default", "aten.bmm.default"}
)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One call of a convolution.

    Attributes:
        node: of the graph.
        module: path of the module that made the call.
        kernel: rows and columns of the window.
        stride: of it.
        groups: of channels.
        inputs: channels that come in.
        summed: of them, those that an output sums.
        outputs: channels that go out.
        size: rows and columns of the result.
        field_in: rows and columns of the widest field before.
        field_out: after.
        least_in: rows and columns that the narrowest path sees before.
        least_out: after.
        mean_in: rows and columns that a path sees on average before.
        mean_out: after.
        grain: rows and columns of the detail that pools before have left.
        channels_in: of its stage that a channel sees before, on average.
        channels_out: after, of the same stage.
        entries: channels of its stage that any of its channels sees after.
        jump: pixels of the image from one position of the result to the next.
        parameters: weights and bias, 0 where an earlier call has counted them.
        multiply_adds: of the call.
        apart: whether it has groups of several channels, and what these see of their
            stage is disjoint still.
        gated: whether the result was scaled by what sees the whole image.
        local: whether the result has places of the image; squeezed ones have not.
        into: node of the convolution that alone reads its result, with nothing or a
            normalisation between; empty where there is none.
    """

    node: str
    module: str
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    groups: int
    inputs: int
    summed: int
    outputs: int
    size: tuple[int, ...]
    field_in: tuple[int, ...]
    field_out: tuple[int, ...]
    least_in: tuple[int, ...]
    least_out: tuple[int, ...]
    mean_in: tuple[float, ...]
    mean_out: tuple[float, ...]
    grain: tuple[float, ...]
    channels_in: float
    channels_out: float
    entries: int
    jump: tuple[float, ...]
    parameters: int
    multiply_adds: int
    apart: bool
    gated: bool
    local: bool
    into: str

    @property
    def spatial(self) -> bool:
        """Whether its window has more than one place."""
        return any(each > 1 for each in self.kernel)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """A network as its receptive fields show it.

    Attributes:
        name: of the network.
        image: rows and columns.
        layers: convolutions in the order of their calls, dead ones left out.
        fields: of every value.
        parameters: of live modules, tied ones once.
        multiply_adds: of live calls; of convolutions that slide those of their windows,
            though most engines run them as dense ones.
        shortest: convolutions with a window on the path to an output that has fewest;
            shortcuts are ways around them.
        dead: paths of modules whose parameters reach no output.
        unknown: nodes that are taken to see everything.
        misaligned: nodes that unite positions of different jump.
    """

    name: str
    image: tuple[int, ...]
    layers: tuple[Layer, ...]
    fields: Fields
    parameters: int
    multiply_adds: int
    shortest: int
    dead: tuple[str, ...]
    unknown: tuple[str, ...]
    misaligned: tuple[str, ...]

    @property
    def entropy(self) -> float:
        """Sum of the logarithms of what each output of a convolution sums up.

        After Sun et al., MAE-DET (ICML 2022): the entropy of a network of Gaussian
        weights, up to constants.
        """
        return sum(
            math.log(math.prod(each.kernel) * each.summed) for each in self.layers
        )


def analyse(
    graph: Graph,
    *,
    known: Mapping[Ref, torch.Tensor] | None = None,
    windows: Mapping[str, Sequence[Sequence[int]]] | None = None,
    modules: Mapping[str, int] | None = None,
) -> Analysis:
    """Return what every convolution of a network adds.

    Args:
        graph: of the network.
        known: values of constants that say which elements are taken.
        windows: as `trimtab.design.field.fields_of` takes them.
        modules: parameters by path of every module that has some of its own: those that
            no live call reads are dead.

    Raises:
        UsageError: no input is a batch of images, or there is no convolution.
    """
    fields = fields_of(graph, known=known, windows=windows)
    live = _live(graph)
    layers, counted = [], set[str]()
    readers = _readers(graph, live)
    for node in graph.nodes:
        if OPERATORS[node.op].family is not Family.CONVOLUTION:
            continue
        if node.name not in live or Ref(node.name) not in fields.values:
            continue
        into = _into(graph, node, readers)
        layers.append(_layer(graph, node, fields, counted, windows or {}, into))
    if not any(each.local for each in layers):
        raise UsageError(
            f"receptive fields of network {graph.name!r}",
            rule="no convolution of the image reaches an output, or every one is of "
            "a single place",
            where="the graph of the network",
            remedy="give a convolutional network and a larger image; `trimtab inspect` "
            "takes others",
        )
    read = _read(graph, live)
    return Analysis(
        name=graph.name,
        image=fields.image,
        layers=tuple(layers),
        fields=fields,
        parameters=sum(
            each.type.elements
            for each in graph.tensors
            if each.kind is ConstantKind.PARAMETER and each.shares in read
        ),
        multiply_adds=sum(
            _multiply_adds(graph, node, windows or {})
            for node in graph.nodes
            if node.name in live
        ),
        shortest=_shortest(graph, live, {each.node for each in layers if each.spatial}),
        dead=_dead(graph, read, modules or {}),
        unknown=tuple(each for each in fields.unknown if each in live),
        misaligned=tuple(each for each in fields.misaligned if each in live),
    )


def _readers(graph: Graph, live: set[str]) -> dict[str, list[Node]]:
    """Return the live nodes that read each node; an output counts as one without."""
    found: dict[str, list[Node]] = {}
    for node in graph.nodes:
        if node.name in live:
            for name in {ref.name for ref in node.inputs}:
                found.setdefault(name, []).append(node)
    return found


def _into(graph: Graph, node: Node, readers: Mapping[str, list[Node]]) -> str:
    """Return the convolution that a convolution runs into without an activation."""
    outputs = {each.name for each in graph.outputs if isinstance(each, Ref)}
    while node.name not in outputs:
        following = readers.get(node.name, [])
        if len(following) != 1:
            return ""
        (node,) = following
        family = OPERATORS[node.op].family
        if family is Family.CONVOLUTION:
            return node.name
        if family is not Family.NORM or "batch_norm" not in node.op:
            return ""
    return ""


def _live(graph: Graph) -> set[str]:
    """Return names of nodes whose results reach an output, through no zero."""
    wanted = {each.name for each in graph.outputs if isinstance(each, Ref)}
    for node in reversed(graph.nodes):
        if node.name not in wanted:
            continue
        if is_nothing(node):
            continue
        wanted |= {ref.name for ref in node.inputs}
    return wanted


def _shortest(graph: Graph, live: set[str], counted: set[str]) -> int:
    """Return how many of some nodes the path has that has fewest of them.

    What is multiplied takes all its factors: a gate is no way around what it scales. Of
    several outputs that counts which is farthest.
    """
    found = {each.name: 0 for each in graph.inputs}
    for node in graph.nodes:
        lengths = [found[ref.name] for ref in node.inputs if ref.name in found]
        if node.name in live and lengths and not is_nothing(node):
            way = max if node.op in _PRODUCTS else min
            found[node.name] = way(lengths) + (node.name in counted)
    return max(
        (
            found[each.name]
            for each in graph.outputs
            if isinstance(each, Ref) and each.name in found
        ),
        default=0,
    )


def _constants(graph: Graph) -> dict[str, Constant]:
    return {each.name: each for each in graph.constants}


def _read(graph: Graph, live: set[str]) -> set[str]:
    """Return the tensors that live nodes read, by the target that they share."""
    constants = _constants(graph)
    return {
        constants[ref.name].shares
        for node in graph.nodes
        if node.name in live
        for ref in node.inputs
        if ref.name in constants
    }


def _dead(graph: Graph, read: set[str], modules: Mapping[str, int]) -> tuple[str, ...]:
    """Return paths of modules with parameters none of which is read."""
    alive = {target.rpartition(".")[0] for target in read}
    # A tied tensor is read under the name that it shares.
    alive |= {
        each.target.rpartition(".")[0]
        for each in graph.constants
        if each.shares in read
    }
    return tuple(path for path, count in modules.items() if count and path not in alive)


def _multiply_adds(
    graph: Graph, node: Node, windows: Mapping[str, Sequence[Sequence[int]]]
) -> int:
    """Return what a node needs; where windows slide, not the zeros beside them."""
    window = windows.get(node.module)
    if window is None or OPERATORS[node.op].family is not Family.CONVOLUTION:
        return work_of(graph, node).multiply_adds
    return node.output.elements * max(map(len, window))


def _layer(
    graph: Graph,
    node: Node,
    fields: Fields,
    counted: set[str],
    windows: Mapping[str, Sequence[Sequence[int]]],
    into: str,
) -> Layer:
    weight, given = node.arguments["weight"], node.arguments["input"]
    assert isinstance(weight, Ref)
    assert isinstance(given, Ref)
    before, after = fields.values[given], fields.values[Ref(node.name)]
    constants = _constants(graph)
    parameters = 0
    for ref in (weight, node.arguments.get("bias")):
        if isinstance(ref, Ref):
            owner = graph.owner(ref).name
            shared = constants[owner].shares if owner in constants else owner
            if shared not in counted:
                counted.add(shared)
                parameters += graph.type_of(ref).elements
    groups = node.arguments.get("groups", 1)
    stride = node.arguments.get("stride", 1)
    kernel = graph.type_of(weight).shape[2:]
    seen = [before.axis(each) for each in range(len(fields.image))]
    sees = [after.axis(each) for each in range(len(fields.image))]
    return Layer(
        node=node.name,
        module=node.module,
        kernel=kernel,
        stride=_numbers(stride, len(kernel)),
        groups=groups if isinstance(groups, int) else 1,
        inputs=before.shape[1],
        summed=_summed(before.shape[1], groups, windows.get(node.module)),
        outputs=after.shape[1],
        size=after.shape[2:],
        field_in=tuple(each.size for each in seen),
        field_out=tuple(each.size for each in sees),
        least_in=tuple(each.least for each in seen),
        least_out=tuple(each.least for each in sees),
        mean_in=tuple(each.paths.mean for each in seen),
        mean_out=tuple(each.paths.mean for each in sees),
        grain=tuple(each.paths.grain for each in seen),
        channels_in=before.channel_count,
        channels_out=fields.before.get(Ref(node.name), after.channel_count),
        entries=after.rows.all_of(range(len(after.rows))).bit_count(),
        jump=tuple(float(each.jump) for each in sees),
        parameters=parameters,
        multiply_adds=_multiply_adds(graph, node, windows),
        apart=Ref(node.name) not in fields.before
        and 1 < (groups if isinstance(groups, int) else 1) < before.shape[1]
        and _disjoint(after),
        gated=after.gated,
        local=_is_local(after, fields.image),
        into=into,
    )


def _summed(inputs: int, groups: object, window: Sequence[Sequence[int]] | None) -> int:
    """Return how many channels an output sums."""
    if window is not None:
        return max(map(len, window))
    return inputs // groups if isinstance(groups, int) else inputs


def _disjoint(field: Field) -> bool:
    """Whether channels see several sets of their stage that share nothing."""
    sets = field.rows
    together = sets.all_of(range(len(sets))).bit_count()
    return len(sets) > 1 and int(sets.counts().sum()) == together


def _is_local(field: Field, image: tuple[int, ...]) -> bool:
    """Whether a value has places of the image, or is one place that sees a part."""
    if field.spatial:
        return True
    return not all(field.axis(each).is_whole for each in range(len(image)))


def _numbers(value: object, rank: int) -> tuple[int, ...]:
    found = value if isinstance(value, tuple) else (value,)
    numbers = tuple(each for each in found if isinstance(each, int)) or (1,)
    return numbers * rank if len(numbers) == 1 else numbers
