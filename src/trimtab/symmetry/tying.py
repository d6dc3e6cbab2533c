"""An ordinary network, tied: same modules, shapes, code; over 400 lines: all operators.

The network's graph says how every value is laid out: an image, features with a slot
for each element of the group, or their places in a row. What would break exactness for
some element is refused by its name, ahead of any training.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, final

import torch
from torch import nn

from trimtab.errors import UsageError
from trimtab.graph.capture import capture
from trimtab.graph.operators import OPERATORS
from trimtab.graph.operators import Family as Kind
from trimtab.graph.types import Node, Ref
from trimtab.symmetry.layers import (
    GroupConv2d,
    LiftConv2d,
    TiedLinear,
    TiedNorm,
)
from trimtab.symmetry.network import Symmetric, retie, verify
from trimtab.symmetry.orbits import Axis, channel, permuted, regular, space
from trimtab.symmetry.schemes import Family

__all__ = ["axes_of", "symmetrize"]

_POOLS: Final = ("aten.max_pool2d.default", "aten.avg_pool2d.default")
_ADAPTIVE: Final = (
    "aten.adaptive_avg_pool2d.default", "aten.adaptive_max_pool2d.default",
)  # fmt: skip
_OVER_PLACES: Final = ("aten.mean.dim", "aten.amax.default", "aten.sum.dim_IntList")
_FLATTENED: Final = (
    "aten.flatten.using_ints", "aten.view.default", "aten.reshape.default",
)  # fmt: skip
_SAME: Final = ("aten.dropout.default", "aten.contiguous.default", "aten.clone.default")


def axes_of(family: Family, shape: Sequence[int]) -> tuple[Axis, ...]:
    """Return the axes of one example of a shape, as a family acts on them.

    Args:
        family: of schemes.
        shape: (channels, rows, columns) of an image for families that turn images; for
            others one axis must have as many places as the family permutes; of several
            the last is taken.

    Raises:
        UsageError: it fits no such shape, or two permuted axes have as many places.

    Example:
        >>> from trimtab.symmetry.schemes import shifts
        >>> [each.kind for each in axes_of(shifts(40), (1, 40))]
        ['channel', 'permuted']
    """
    group = family.group
    if group.turns is not None and len(shape) == 3:
        axes: tuple[Axis, ...] = (channel(shape[0]), space(shape[1], shape[2]))
        for element in range(len(group)):
            axes[1].moves(group, element)
        rest = group.moves
        if not rest:
            return axes
        ((name, moves),) = list(rest.items())[:1]
        if len(rest) == 1 and moves.shape[1] == shape[0]:
            return (permuted(name, shape[0]), axes[1])
    elif group.turns is None:
        lengths = {moves.shape[1]: name for name, moves in group.moves.items()}
        found = tuple(
            permuted(lengths.pop(size), size) if size in lengths else channel(size)
            for size in reversed(shape)
        )[::-1]
        if not lengths and len(group.moves) == sum(
            each.kind == "permuted" for each in found
        ):
            return found
    raise UsageError(
        f"examples of shape {tuple(shape)}",
        rule=f"family {group.name} acts on "
        + " and ".join(
            [
                *(
                    ["images (channels, rows, columns)"]
                    if group.turns is not None
                    else []
                ),
                *(
                    f"{name!r} of {moves.shape[1]} places"
                    for name, moves in group.moves.items()
                ),
            ]
        ),
        where="trimtab.symmetry",
        remedy="give a family made for this shape",
    )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """How one example's value is laid out.

    Attributes:
        axes: in order; features have ``channel, regular`` first.
    """

    axes: tuple[Axis, ...]

    @property
    def lifted(self) -> bool:
        """Whether there are slots."""
        return any(each.kind == "regular" for each in self.axes)

    @property
    def flat(self) -> bool:
        """Whether no axis is one of places of an image."""
        return all(each.kind != "space" for each in self.axes)


def symmetrize(
    model: nn.Module, family: Family, example: torch.Tensor | None = None
) -> Symmetric:
    """Return a copy of a network whose layers a scheme of the family can tie.

    `torch.nn.Conv2d`, `Linear` and `BatchNorm2d` become their tied counterparts of the
    same shape; everything else must treat all channels and places alike. Weights are
    drawn anew: those of the model belong to no scheme. Dropout is left out: the prior
    does its work.

    Args:
        model: from examples (n, ...) to scores (n, classes); it is not changed.
        family: of schemes.
        example: one batch; by default a grey image of 28 x 28, as the model's first
            convolution takes it.

    Raises:
        UsageError: something in it breaks exactness, with its path and the reason, or
            channels are no multiple of the size of the group.
        CaptureError: its code cannot be captured.

    Example:
        >>> from trimtab.symmetry.schemes import subgroups
        >>> plain = nn.Sequential(
        ...     nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        ...     nn.Flatten(), nn.Linear(16, 10),
        ... )
        >>> net = symmetrize(plain, subgroups("D4"), torch.zeros(1, 1, 8, 8))
        >>> net(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 10])
    """
    if example is None:
        example = _example(model)
    axes = axes_of(family, tuple(example.shape[1:]))
    body = _undropped(copy.deepcopy(model)).eval()
    graph = capture(body, (example,))
    names = {each.name for each in graph.constants}
    layouts: dict[Ref, _Layout] = {
        Ref(each.name): _Layout(axes=axes) for each in graph.inputs
    }
    outputs = {each for each in graph.outputs if isinstance(each, Ref)}
    readers: dict[Ref, list[Node]] = {}
    makers = {Ref(node.name): node for node in graph.nodes}
    for node in graph.nodes:
        for ref in node.inputs:
            readers.setdefault(ref, []).append(node)
    made: dict[str, nn.Module] = {}
    for node in graph.nodes:
        given = [layouts[ref] for ref in node.inputs if ref in layouts]
        if not given:
            continue
        context = _Context(
            family=family, node=node, given=given, body=body, constants=names,
            ends=lambda ref: _ends(ref, outputs, readers),
        )  # fmt: skip
        layout, module = _laid_out(context)
        if module is not None:
            if node.module in made:
                raise context.refusal(
                    "it is called twice, and a tied layer knows one place",
                    "give each call a layer of its own",
                )
            made[node.module] = module
            if isinstance(module, TiedNorm):
                module.behind = _behind(node, makers, readers, outputs)
        layouts[Ref(node.name)] = layout
    for path, module in made.items():
        if not path:
            body = module
            continue
        parent, _, name = path.rpartition(".")
        setattr(body.get_submodule(parent), name, module)
    network = Symmetric(body, family, axes)
    for scheme in family.schemes:  # whatever else breaks it
        verify(retie(network, scheme, seed=0), _noise(example.shape))
    return network


def _undropped(module: nn.Module) -> nn.Module:
    """Take out what draws in training: values then have one posterior."""
    for name, child in module.named_children():
        if isinstance(child, nn.modules.dropout._DropoutNd):
            setattr(module, name, nn.Identity())
        else:
            _undropped(child)
    return module


def _noise(shape: Sequence[int]) -> torch.Tensor:
    return torch.randn(4, *shape[1:], generator=torch.Generator().manual_seed(0))


def _example(model: nn.Module) -> torch.Tensor:
    for each in model.modules():
        if isinstance(each, nn.Conv2d):
            return torch.zeros(1, each.in_channels, 28, 28)
    raise UsageError(
        f"a {type(model).__name__} to be tied",
        rule="it has no convolution that says what images it takes",
        where="trimtab.symmetry.symmetrize",
        remedy="give an example batch",
    )


def _ends(ref: Ref, outputs: set[Ref], readers: Mapping[Ref, list[Node]]) -> bool:
    """Whether a value reaches the outputs through no further weight."""
    if ref in outputs:
        return True
    return all(
        OPERATORS[node.op].family not in (Kind.MATMUL, Kind.CONVOLUTION)
        and _ends(Ref(node.name), outputs, readers)
        for node in readers.get(ref, [])
    ) and bool(readers.get(ref))


def _behind(
    norm: Node,
    makers: Mapping[Ref, Node],
    readers: Mapping[Ref, list[Node]],
    outputs: set[Ref],
) -> str | None:
    """Return the path of the layer that nobody but a norm reads, if it is one."""
    ref = norm.inputs[0]
    maker = makers.get(ref)
    if maker is None or ref in outputs or len(readers[ref]) > 1:
        return None
    weighs = OPERATORS[maker.op].family in (Kind.MATMUL, Kind.CONVOLUTION)
    return maker.module if weighs else None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Context:
    family: Family
    node: Node
    given: list[_Layout]
    body: nn.Module
    constants: set[str]
    ends: Callable[[Ref], bool]

    @property
    def slots(self) -> int:
        return len(self.family.group)

    def refusal(self, rule: str, remedy: str) -> UsageError:
        where = f"module {self.node.module!r}" if self.node.module else "its own code"
        return UsageError(
            f"{self.node.op.removeprefix('aten.').split('.')[0]} in a network to be "
            "tied",
            rule=rule,
            where=f"{where} ({self.node.module_type})",
            remedy=remedy,
        )

    def number(self, name: str) -> tuple[int, ...]:
        value = self.node.arguments.get(name)
        some = value if isinstance(value, tuple) else (value,)
        return tuple(each for each in some if isinstance(each, int))


def _laid_out(context: _Context) -> tuple[_Layout, nn.Module | None]:
    """Return how the result of a node is laid out, and the layer that makes it."""
    node, given = context.node, context.given
    kind = OPERATORS[node.op].family if node.op in OPERATORS else Kind.OPAQUE
    if node.op == "aten.conv2d.default":
        return _convolution(context)
    if node.op == "aten.linear.default":
        return _dense(context)
    if node.op == "aten.batch_norm.default":
        return _norm(context)
    if node.op in _POOLS:
        return _pooled(context), None
    if node.op in _ADAPTIVE:
        if any(each != 1 for each in node.output.shape[2:]):
            raise context.refusal(
                "it pools to a grid whose windows overlap unevenly",
                "pool to one place, or with windows that divide the size",
            )
        return _Layout(axes=(*_channels(given[0]), space(1, 1))), None
    if node.op in _OVER_PLACES:
        dims = {each % len(_shape_of(context)) for each in context.number("dim")}
        if dims != {2, 3} or len(given[0].axes) < 2 or given[0].flat:
            raise context.refusal(
                "it reduces other axes than rows and columns together",
                "reduce axes 2 and 3 at once",
            )
        keep = bool(node.arguments.get("keepdim"))
        rest = (space(1, 1),) if keep else ()
        return _Layout(axes=(*_channels(given[0]), *rest)), None
    if node.op in _FLATTENED:
        if (
            len(node.output.shape) == 2
            and node.output.shape[0] == _shape_of(context)[0]
        ):
            return given[0], None
        if node.output.shape == _shape_of(context):
            return given[0], None
    if node.op in _SAME:
        return given[0], None
    if kind in (Kind.ELEMENTWISE, Kind.SOFTMAX):
        if any(each != given[0] for each in given[1:]):
            raise context.refusal(
                "it joins values that are laid out unlike",
                "join features of the same layers only",
            )
        if kind is Kind.SOFTMAX and given[0].lifted:
            raise context.refusal(
                "it weighs channels against each other", "leave it to the end"
            )
        if any(ref.name in context.constants for ref in node.inputs):
            raise context.refusal(
                "it uses a tensor that knows channels or places",
                "leave it out, or make it part of a layer",
            )
        return given[0], None
    raise context.refusal(
        "it is not known to treat all channels and places alike",
        "build the network from trimtab.symmetry's layers instead",
    )


def _shape_of(context: _Context) -> tuple[int, ...]:
    axes = context.given[0].axes
    channels = 1
    for axis in axes:
        if axis.kind != "space":
            channels *= axis.places
    rest = [size for axis in axes if axis.kind == "space" for size in axis.sizes]
    return (context.node.output.shape[0], channels, *rest)


def _channels(layout: _Layout) -> tuple[Axis, ...]:
    return tuple(each for each in layout.axes if each.kind != "space")


def _base(context: _Context, channels: int, what: str) -> int:
    if channels % context.slots:
        lower = channels // context.slots * context.slots
        raise context.refusal(
            f"it has {channels} {what}, and group {context.family.group.name} needs a "
            f"slot for each of its {context.slots} elements",
            f"give {lower or ''}{' or ' if lower else ''}{lower + context.slots}",
        )
    return channels // context.slots


def _convolution(context: _Context) -> tuple[_Layout, nn.Module]:
    node, layout = context.node, context.given[0]
    module = context.body.get_submodule(node.module)
    if not isinstance(module, nn.Conv2d) or layout.flat:
        raise context.refusal(
            "it is no torch.nn.Conv2d of an image", "use torch.nn.Conv2d"
        )
    kernel = module.kernel_size
    if kernel[0] != kernel[1] or kernel[0] % 2 == 0:
        raise context.refusal(
            f"a kernel of {kernel[0]} x {kernel[1]} has no centre that turns keep",
            "take a square one of odd size",
        )
    (step, other), size = module.stride, layout.axes[-1]
    if step != other or any(each != 1 for each in module.dilation):
        raise context.refusal(
            "dilation, and strides that differ by axis, meet other pixels after a turn",
            "give dilation=1 and one stride",
        )
    if any((each - 1) % step for each in size.sizes):
        rows, columns = size.sizes
        raise context.refusal(
            f"windows {step} apart on {rows} x {columns} places leave some out on one "
            "side, which is another after a turn",
            f"take sizes that are one more than a multiple of {step}, or pool by "
            f"{step} instead of the stride",
        )
    if module.padding_mode != "zeros" or context.number("padding") not in (
        (kernel[0] // 2,) * 2,
        (kernel[0] // 2,),
    ):
        raise context.refusal(
            "its padding is not half of its kernel on all sides",
            f"give padding={kernel[0] // 2}",
        )
    outputs = _base(context, module.out_channels, "channels")
    bias = module.bias is not None
    if not layout.lifted:
        if module.groups != 1:
            raise context.refusal("the first has groups", "give groups=1")
        if layout.axes[0].kind != "channel":
            raise context.refusal(
                "its channels are permuted by the family",
                "take a dense network, or a family that leaves channels alone",
            )
        made: nn.Module = LiftConv2d(
            context.family, module.in_channels, outputs, kernel[0], stride=step,
            bias=bias,
        )  # fmt: skip
    else:
        depthwise = module.groups == module.in_channels == module.out_channels
        if module.groups != 1 and not depthwise:
            raise context.refusal(
                f"{module.groups} groups cut through slots",
                "give groups=1, or as many as channels",
            )
        inputs = module.in_channels // context.slots
        made = GroupConv2d(
            context.family, inputs, outputs, kernel[0], stride=step,
            depthwise=depthwise, bias=bias,
        )  # fmt: skip
    return _features(context, outputs, space(*node.output.shape[2:])), made


def _features(context: _Context, base: int, size: Axis) -> _Layout:
    return _Layout(axes=(channel(base), regular(context.family.group), size))


def _norm(context: _Context) -> tuple[_Layout, nn.Module]:
    layout = context.given[0]
    module = context.body.get_submodule(context.node.module)
    if not isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) or not layout.lifted:
        raise context.refusal(
            "it does not normalise the features of a tied layer",
            "put torch.nn.BatchNorm2d behind a convolution",
        )
    if not module.affine:
        raise context.refusal(
            "it has no scale and shift, and a tied norm learns both",
            "give affine=True",
        )
    if layout.axes[0].kind != "channel" or layout.axes[1].kind != "regular":
        raise context.refusal("its channels are places", "normalise before flattening")
    return layout, TiedNorm(context.family, layout.axes[0].places)


def _pooled(context: _Context) -> _Layout:
    kernel, padding = context.number("kernel_size"), context.number("padding")
    stride = context.number("stride") or kernel
    layout = context.given[0]
    if layout.flat:
        raise context.refusal("it pools what has no places", "pool before flattening")
    rows, columns = layout.axes[-1].sizes
    plain = set(kernel) == set(stride) and not any(padding)
    whole = plain and all(each % kernel[0] == 0 for each in (rows, columns))
    centred = (
        kernel[0] % 2 == 1
        and set(padding) == {kernel[0] // 2}
        and all((each - 1) % stride[0] == 0 for each in (rows, columns))
    )
    if len(set(kernel)) != 1 or len(set(stride)) != 1 or not (whole or centred):
        raise context.refusal(
            f"windows of {kernel[0]} by {stride[0]} on {rows} x {columns} places leave "
            "some out on one side, which is another after a turn",
            "let the window divide the size, such as 2 on even sizes, or the stride "
            "the size less one, such as 2 on odd ones",
        )
    return _Layout(axes=(*layout.axes[:-1], space(*context.node.output.shape[2:])))


def _dense(context: _Context) -> tuple[_Layout, nn.Module]:
    module = context.body.get_submodule(context.node.module)
    if not isinstance(module, nn.Linear) or len(context.node.output.shape) != 2:
        raise context.refusal(
            "it is no torch.nn.Linear of rows", "flatten, then use torch.nn.Linear"
        )
    inputs = context.given[0].axes
    if not any(each.kind != "channel" for each in inputs):
        raise context.refusal(
            "it follows scores, which no element moves any more",
            "let the last layer alone give the scores",
        )
    bias = module.bias is not None
    if context.ends(Ref(context.node.name)):
        outputs: tuple[Axis, ...] = (channel(module.out_features),)
    else:
        base = _base(context, module.out_features, "outputs")
        outputs = (channel(base), regular(context.family.group))
    made = TiedLinear(context.family, inputs, outputs, bias=bias)
    return _Layout(axes=outputs), made
