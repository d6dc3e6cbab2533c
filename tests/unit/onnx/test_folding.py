import numpy as np
import pytest
from onnx import helper

from trimtab.errors import OnnxError
from trimtab.onnx.folding import MOST_ELEMENTS, Folding, folds


def _done(kind, *values, **attributes):
    names = [f"v{i}" for i in range(len(values))]
    node = helper.make_node(kind, names, ["y"], **attributes)
    return Folding(node, 18)([np.array(each) for each in values])


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("Concat", ([1], [2, 3]), [1, 2, 3]),
        ("Div", ([-7], [2]), [-3]),  # toward zero
        ("Gather", ([5, 6, 7], 1), 6),
        ("Range", (0, 6, 2), [0, 2, 4]),
        ("Expand", ([1], [2, 2]), [[1, 1], [1, 1]]),
    ],
)
def test_known_numbers(kind, values, expected):
    more = {"axis": 0} if kind == "Concat" else {}
    [found] = _done(kind, *values, **more)
    assert np.array_equal(found, expected)
    assert folds(kind)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("Range", (0, 10**15, 1)),
        ("ConstantOfShape", ([10**6, 10**6],)),
        ("Expand", ([1], [10**9, 10])),
        ("Tile", ([1], [10**12])),
        ("Add", (np.ones((400, 1)), np.ones((1, 400)))),
    ],
)
def test_what_would_be_large_is_not_made(kind, values):
    assert _done(kind, *values) is None


def test_numbers_that_do_not_fit_are_refused():
    with pytest.raises(OnnxError, match="operator Add"):
        _done("Add", [1, 2], [1, 2, 3])
    assert MOST_ELEMENTS == 65536
