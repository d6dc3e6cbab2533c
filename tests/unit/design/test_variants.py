"""Edits on graphs are edits on modules, to the last number."""

import pytest
import torch
from tests.unit.design.nets import IMAGE, plain, residual
from torch import nn

from trimtab.design.analysis import windows_of
from trimtab.design.blocks import blocks_of
from trimtab.design.edits import Remove, Repeat, Replace, apply
from trimtab.design.kernel_level import alternatives
from trimtab.design.layers import analyse
from trimtab.design.score import score
from trimtab.design.search import variant_of
from trimtab.design.variants import Variant, with_blocks, with_kernels
from trimtab.errors import UsageError
from trimtab.graph.capture import capture


def compared(model, edits, x=IMAGE):
    """Return what a variant and the rewritten network are, for comparison."""
    graph = capture(model, (x,))
    nodes = {
        path: each.nodes
        for group in blocks_of(model, graph)
        for each in group.blocks
        for path in each.paths
    }
    bare = Variant(graph=graph, windows=windows_of(model))
    variant = variant_of(bare, tuple(edits), nodes)
    made = apply(model, edits).eval()
    return (
        numbers(analyse(variant.graph, windows=variant.windows)),
        numbers(analyse(capture(made, (x,)), windows=windows_of(made))),
    )


def numbers(analysis):
    return (
        analysis.parameters,
        analysis.multiply_adds,
        round(score(analysis).value, 9),
        [
            (each.field_out, each.least_out, round(each.channels_out, 9), each.size)
            for each in analysis.layers
        ],
    )


@pytest.mark.parametrize(
    "edits",
    [
        [Remove(modules=("stages.1.1",))],
        [Repeat(modules=("stages.0.1",), times=3)],
        [Remove(modules=("stages.0.1",)), Repeat(modules=("stages.1.2",), times=2)],
        [
            Repeat(modules=("stages.0.0",)),
            Replace(module="stages.1.0.a", kernel="depthwise-sliding", groups=2,
                    overlap=0.5),
        ],
    ],
    ids=str,
)  # fmt: skip
def test_blocks_of_a_graph_are_those_of_modules(edits):
    variant, made = compared(residual(2, 3), edits)
    assert variant == made


def test_units_of_several_modules_too():
    edits = [Remove(modules=("3", "4", "5")), Repeat(modules=("6", "7", "8"), times=2)]
    variant, made = compared(plain(), edits)
    assert variant == made


NET = residual(2, 2)
EVERY = [
    edit
    for path, module in NET.named_modules()
    if isinstance(module, nn.Conv2d) and path != "stem.0"
    for edit in alternatives(path, module)
]


@pytest.mark.parametrize("path", sorted({each.module for each in EVERY}))
def test_kernels_of_a_graph_are_those_of_modules(path):
    for edit in EVERY:
        if edit.module == path:
            variant, made = compared(NET, [edit])
            assert variant == made, edit


def bare(graph):
    return Variant(graph=graph, windows={})


def test_what_slides_slides_in_copies_too():
    graph = capture(residual(2, 2), (IMAGE,))
    group = blocks_of(residual(2, 2), graph)[0]
    edit = Replace(
        module="stages.0.1.a", kernel="depthwise-sliding", groups=2, overlap=0.5
    )
    slides = with_kernels(bare(graph), [edit])
    nodes = tuple(
        each.name for each in slides.graph.nodes
        if each.module.startswith("stages.0.1") or each.name in group.blocks[1].nodes
    )  # fmt: skip
    made = with_blocks(slides, {nodes: 3})
    assert len(made.windows) == 3
    assert len(set(made.windows.values())) == 1


def test_a_copy_has_weights_and_a_name_of_its_own():
    graph = capture(residual(2, 2), (IMAGE,))
    group = blocks_of(residual(2, 2), graph)[0]
    made = with_blocks(bare(graph), {group.blocks[1].nodes: 2}).graph
    assert len(made.nodes) == len(graph.nodes) + len(group.blocks[1].nodes)
    assert made.parameters > graph.parameters


def test_only_whole_blocks_can_be_left_out():
    graph = capture(residual(2, 2), (IMAGE,))
    inside = [n.name for n in graph.nodes if n.module.startswith("stages.1.0")]
    with pytest.raises(UsageError, match="1 values come in and 2 leave it"):
        with_blocks(bare(graph), {(inside[0], inside[-3]): 0})


def test_a_module_without_a_convolution_is_refused():
    graph = capture(
        nn.Sequential(nn.Conv2d(3, 3, 1)).eval(), (torch.zeros(1, 3, 4, 4),)
    )
    with pytest.raises(UsageError, match="no call of a convolution"):
        with_kernels(bare(graph), [Replace(module="7", kernel="grouped")])
