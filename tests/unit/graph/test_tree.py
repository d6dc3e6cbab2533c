from collections import namedtuple
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import UsageError
from trimtab.graph.tree import LEAF, Tree, flatten, unflatten

TREES = st.recursive(
    st.just(LEAF),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda c: Tree(kind="tuple", children=(*c,))),
        st.lists(inner, max_size=3).map(lambda c: Tree(kind="list", children=(*c,))),
        st.dictionaries(st.text(max_size=3), inner, max_size=3).map(
            lambda d: Tree(kind="dict", keys=(*d,), children=(*d.values(),))
        ),
    ),
    max_leaves=8,
)


@given(TREES)
def test_what_is_nested_comes_apart_again(tree):
    leaves = list(range(tree.leaf_count))
    nested = unflatten(iter(leaves), tree)
    assert list(flatten(nested, tree)) == leaves


def test_named_tuples_come_back_equal_without_their_class():
    Pair = namedtuple("Pair", "left right")
    tree = Tree(
        kind="namedtuple", keys=("left", "right"), children=(LEAF, LEAF), name="Pair"
    )
    made = unflatten(iter([1, 2]), tree)
    assert made == Pair(1, 2)
    assert made.left == 1
    assert list(flatten(Pair(1, 2), tree)) == [1, 2]


def test_results_of_operators_come_back_in_their_class():
    keys = ("values", "indices")
    tree = Tree(kind="return_type", keys=keys, children=(LEAF, LEAF), name="topk")
    made: Any = unflatten(iter([1, 2]), tree)
    assert type(made) is torch.return_types.topk
    assert made.values == 1
    assert made.indices == 2
    assert list(flatten(made, tree)) == list(flatten((1, 2), tree)) == [1, 2]


@pytest.mark.parametrize("name", ["inspect", "all_return_types", "topk", "nothing"])
def test_names_that_are_no_such_class_are_named_tuples(name):
    tree = Tree(kind="return_type", keys=("a",), children=(LEAF,), name=name)
    made: Any = unflatten(iter([1]), tree)
    assert type(made).__name__ == name
    assert type(made) is not torch.return_types.topk
    assert made.a == 1


def test_names_from_a_file_cannot_be_code():
    keys = ("class", "_x")  # a keyword and a leading underscore are renamed
    tree = Tree(kind="namedtuple", keys=keys, children=(LEAF, LEAF), name="T")
    assert unflatten(iter([1, 2]), tree) == (1, 2)
    with pytest.raises(UsageError, match="Python identifiers"):
        Tree(kind="namedtuple", keys=("a",), children=(LEAF,), name="a b;import os")
    with pytest.raises(UsageError, match="its own is no keyword"):
        Tree(kind="namedtuple", keys=("a",), children=(LEAF,), name="class")


@pytest.mark.parametrize("kind", ["dict", "namedtuple", "return_type"])
def test_a_key_stands_for_one_child(kind):
    with pytest.raises(UsageError, match="one child only"):
        Tree(kind=kind, keys=("a", "a"), children=(LEAF, LEAF), name="T")


@pytest.mark.parametrize(
    "value",
    [(1,), [1, 2], (1, 2, 3), {"a": 1}, 7],
    ids=["short", "list", "long", "dict", "leaf"],
)
def test_another_nesting_is_told_with_its_place(value):
    tree = Tree(kind="tuple", children=(LEAF, LEAF))
    with pytest.raises(UsageError, match="captured with a tuple of 2"):
        list(flatten(value, tree))


def test_keys_of_a_dict_must_be_the_same():
    tree = Tree(kind="dict", keys=("a",), children=(LEAF,))
    with pytest.raises(UsageError, match="with the keys 'a'"):
        list(flatten({"b": 1}, tree))


def test_keys_and_children_agree():
    with pytest.raises(UsageError, match="one key a child"):
        Tree(kind="dict", keys=("a",))
    with pytest.raises(UsageError, match="one key a child"):
        Tree(kind="leaf", children=(LEAF,))
