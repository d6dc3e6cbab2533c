"""Designs on disk: whole, importable, and not trusted."""

import importlib.util
import json

import pytest
import torch

from trimtab.design.edits import Repeat, Replace
from trimtab.design.search import replay
from trimtab.design.written import Written, read, rebuild, rebuilt, write
from trimtab.errors import UsageError
from trimtab.zoo.resolve import resolve

NETWORK = "zoo:lenet5"
WRITTEN = Written(
    network=NETWORK,
    rounds=((Replace(module="features.3", kernel="depthwise-pointwise"),),),
    seed=4,
    inputs=(("float32", (1, 1, 32, 32)),),
)


@pytest.fixture
def design(tmp_path):
    model = replay(resolve(NETWORK).module, WRITTEN.rounds, seed=WRITTEN.seed)
    return model, write(tmp_path / "made", model, WRITTEN)


def test_a_design_comes_back_with_its_weights(design):
    model, folder = design
    assert read(folder) == WRITTEN
    again = rebuilt(folder)
    x = torch.randn(2, 1, 32, 32)
    assert torch.equal(again(x), model(x))
    assert not again.training


def test_the_source_is_python_that_can_be_imported(design):
    model, folder = design
    spec = importlib.util.spec_from_file_location("made", folder / "network.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (x,) = module.example_inputs()
    assert torch.equal(module.build()(x), model(x))


def test_it_is_a_network_wherever_one_is_asked_for(design):
    model, folder = design
    found = resolve(str(folder / "network.py"))
    (x,) = found.example_inputs or ()
    assert torch.equal(found.module(x), model(x))


def test_nothing_is_replaced_but_a_design(design, tmp_path):
    model, folder = design
    with pytest.raises(UsageError, match="something stands there"):
        write(folder, model, WRITTEN)
    write(folder, model, WRITTEN, overwrite=True)
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("...")
    with pytest.raises(UsageError, match="is no design"):
        write(other, model, WRITTEN, overwrite=True)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["made", "other"]


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2}, {"network": 3}, {"seed": "x"}, {"seed": 1 << 70},
        {"inputs": [{"dtype": "float32", "shape": [1, -1]}]},
        {"inputs": [{"dtype": "load", "shape": [1]}]},
        {"rounds": [[{"edit": "burn"}]]}, {"rounds": 7},
    ],
)  # fmt: skip
def test_damaged_edits_are_refused(design, change):
    _, folder = design
    path = folder / "edits.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(UsageError, match=r"cannot be read|edits of a network"):
        read(folder)


def test_damaged_weights_are_refused(design):
    _, folder = design
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UsageError, match="cannot be read"):
        rebuilt(folder)


def test_edits_of_another_network_are_refused(design):
    wrong = Written(
        network=NETWORK, rounds=((Repeat(modules=("layer9.1",)),),), seed=0, inputs=()
    )
    with pytest.raises(UsageError, match="no such module"):
        rebuild(wrong)
