import keyword

from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from trimtab.onnx.names import attribute, class_name, identifier


@given(st.text(max_size=100))
def test_any_text_is_a_name(text):
    root = nn.Module()
    root.add_module(attribute(text), nn.ReLU())  # refuses what it has already
    assert class_name(text).isidentifier()


@given(st.lists(st.text(max_size=5), max_size=20))
def test_arguments_are_names_and_differ(texts):
    taken: set[str] = set()
    found = [identifier(each, taken) for each in texts]
    assert len(set(found)) == len(texts)
    assert all(each.isidentifier() and not keyword.iskeyword(each) for each in found)
