import torch
from torch import nn

from trimtab.compiler.layout import packed, row_major
from trimtab.compiler.views import view_layouts
from trimtab.graph.capture import capture
from trimtab.graph.types import Ref


def found(networks, function, shape, layout=None):
    """Return the layouts that a view of an input has."""
    net = networks.Network(lambda m, x: function(x)).eval()
    graph = capture(net, (torch.zeros(shape),))
    (node,) = graph.nodes
    source = Ref("inputs_0")
    types = {ref: graph.type_of(ref) for ref in node.inputs}
    return view_layouts(node, source, layout or row_major(shape), types)


def test_axes_are_reordered(networks):
    (layout,) = found(networks, lambda x: x.transpose(1, 2), (2, 3, 5))
    assert (layout.shape, layout.strides, layout.size) == ((2, 5, 3), (15, 1, 5), 30)


def test_parts_have_places_in_the_whole(networks):
    first, second = found(networks, lambda x: x.split(2, 1), (2, 4, 5))
    assert (first.offset, second.offset) == (0, 2 * 5)
    assert first.shape == second.shape == (2, 2, 5)


def test_what_would_have_to_move_has_no_layout(networks):
    turned = row_major((5, 4))
    layout = type(turned)(shape=(4, 5), strides=(1, 4), size=20)
    assert found(networks, lambda x: x.view(20), (4, 5), layout) is None


def test_blocks_stay_where_nothing_moves(networks):
    image = packed((1, 16, 4, 4), block=8)
    same = found(networks, lambda x: x.expand(1, 16, 4, 4), (1, 16, 4, 4), image)
    assert same == (image,)
    assert found(networks, nn.Flatten(), (1, 16, 4, 4), image) is None
