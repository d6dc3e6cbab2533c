import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.frozen import FrozenDict

DICTS = st.dictionaries(st.text(max_size=3), st.integers(), max_size=5)


@given(DICTS)
def test_it_is_a_mapping_equal_to_its_dict(items):
    frozen = FrozenDict(items)
    assert frozen == items
    assert dict(frozen) == items
    assert list(frozen) == list(items)
    assert len(frozen) == len(items)
    assert pickle.loads(pickle.dumps(frozen)) == frozen


@given(DICTS, DICTS)
def test_equal_ones_hash_alike(left, right):
    if left == right:
        assert hash(FrozenDict(left)) == hash(FrozenDict(right))
    else:
        assert FrozenDict(left) != FrozenDict(right)


def test_it_cannot_be_changed():
    items = {"a": 1}
    frozen = FrozenDict(items)
    items["b"] = 2
    assert frozen == {"a": 1}
    with pytest.raises(TypeError):
        frozen["b"] = 2  # type: ignore[index]
    with pytest.raises(AttributeError, match="read-only"):
        frozen._items = {}
    with pytest.raises(AttributeError, match="read-only: cannot delete"):
        del frozen._items
    assert frozen == {"a": 1}
