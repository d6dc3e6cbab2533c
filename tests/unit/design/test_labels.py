"""Labels against labels written out in full."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trimtab.design.axis import Axis
from trimtab.design.channels import Rows
from trimtab.design.labels import (
    Placed,
    along,
    axis_of,
    by_lines,
    dim_of,
    narrowed,
    packed,
    stacked,
    united,
    united_along,
)


def seen(placed, shape):
    """Return what each element sees, as pairs or as numbers."""
    labels = np.broadcast_to(placed.labels, shape)
    if isinstance(placed.table, Rows):
        return np.array([placed.table.bits[each] for each in labels.ravel()])
    table = placed.table
    return np.array([(table.first[e], table.last[e]) for e in labels.ravel()])


def test_labels_that_do_not_differ_are_kept_once():
    full = np.broadcast_to(np.arange(3)[None, :, None], (2, 3, 4))
    assert narrowed(full).shape == (1, 3, 1)
    assert narrowed(np.zeros((2, 2), dtype=np.int64)).shape == (1, 1)


@given(st.permutations([0, 1, 2, 3]))
def test_moved_labels_are_those_of_moved_elements(order):
    shape = (1, 4, 3, 2)
    rows = Placed(along(4, 2, 3), Axis.of_image(3))
    full = torch.from_numpy(rows.labels).expand(shape)
    made = packed(full.permute(order), rows.table)
    expected = full.permute(order).numpy()
    assert np.array_equal(np.broadcast_to(made.labels, expected.shape), expected)
    assert made.labels.size == 3


def test_what_is_filled_in_sees_nothing():
    labels = torch.tensor([[0, -1, 1]])
    made = packed(labels, Axis.of_image(2))
    assert seen(made, (1, 3)).tolist()[1][0] > seen(made, (1, 3)).tolist()[1][1]
    assert seen(packed(labels, Rows((1, 2))), (1, 3)).tolist() == [1, 0, 2]


def test_unions_are_those_of_elements():
    one = Placed(along(3, 0, 2), Rows((0b01, 0b10)))
    two = Placed(along(3, 2, 3), Rows((0b0100, 0b1000, 0b0100)))
    both = united(one, two)
    expected = seen(one, (2, 1, 3)) | seen(two, (2, 1, 3))
    assert seen(both, (2, 1, 3)).tolist() == expected.tolist()
    assert united(one, one) is one


def test_unions_along_a_dimension():
    labels = np.array([[[0, 1, 2], [3, 3, 4]]])
    placed = Placed(labels, Axis.of_image(5))
    made = united_along(placed, {2}, 3)
    assert seen(made, (1, 2, 1)).tolist() == [[0, 2], [3, 4]]
    whole = united_along(placed, {0, 1, 2}, 1)
    assert seen(whole, (1,)).tolist() == [[0, 4]]


def test_lines_become_others_one_by_one():
    # Two channels that see different rows: flipped in the second.
    labels = np.array([[[0, 1, 2], [2, 1, 0]]])
    placed = Placed(labels, Axis.of_image(3))
    made = by_lines(placed, 2, (1, 2, 3), lambda axis: axis.window(2, kernel=2))
    assert seen(made, (1, 2, 2)).tolist() == [[0, 1], [1, 2], [1, 2], [0, 1]]


def test_where_an_axis_lies():
    rows = Placed(along(4, 2, 3), Axis.of_image(3))
    assert dim_of(rows, 0, 2, 2, 4) == 2
    squeezed = Placed(np.zeros((1, 1, 1, 1), dtype=np.int64), Axis.of_image(3))
    assert dim_of(squeezed, 1, 2, 2, 4) == 3
    assert dim_of(Placed(along(4, 0, 3), Axis.of_image(3)), 0, 2, 2, 4) is None


def test_tables_behind_each_other():
    one, two = Axis.of_image(3), Axis.of_image(3).window(3, kernel=3, before=1)
    table, offsets = stacked([one, two])
    assert offsets == [0, 3]
    assert axis_of(Placed(np.zeros(1, dtype=np.int64), table)).first[3] == 0
    assert stacked([one, one]) == (one, [0, 0])


def test_a_table_of_sets_is_no_axis():
    with pytest.raises(AssertionError):
        axis_of(Placed(np.zeros(1, dtype=np.int64), Rows((1,))))
