import pytest
import torch

from trimtab.compiler.layout import Layout, packed, row_major
from trimtab.compiler.ranks import insert, insert_ones, remove


def _shown(layout: Layout) -> torch.Tensor:
    """Return the places of all elements of a layout without blocks."""
    memory = torch.arange(layout.size)
    return memory.as_strided(layout.shape, layout.strides, layout.offset)


@pytest.mark.parametrize("axes", [(), (0,), (2,), (0, 2)])
def test_no_element_moves(axes):
    plain = row_major((4, 6, 5)[: 4 - len(axes)])
    grown = insert(plain, axes)
    assert grown.shape == insert_ones(plain.shape, axes)
    assert len(grown.shape) == 4 or not axes
    assert torch.equal(_shown(grown).reshape(plain.shape), _shown(plain))
    assert torch.equal(_shown(remove(grown, axes)), _shown(plain))


def test_blocks_stay_with_their_axis():
    image = packed((1, 16, 1, 5), block=8, halo=(0, 0, 1, 1))
    line = remove(image, (0, 2))
    assert (line.shape, line.axis, line.block) == ((16, 5), 0, 8)
    assert line.halo == (0, 0, 0, 0), "its last two axes are others"
    assert line.at((9, 3)) == image.at((0, 9, 0, 3))
    again = insert(line, (0, 2))
    assert (again.shape, again.axis) == (image.shape, 1)
    assert again.at((0, 9, 0, 3)) == image.at((0, 9, 0, 3))
