"""Designs on disk: whole, importable, and not trusted."""

import importlib.util
import json
from dataclasses import replace

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


def test_only_a_whole_design_is_overwritten(design, tmp_path):
    model, folder = design
    write(folder, model, WRITTEN, overwrite=True)
    (folder / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match="no part of a design"):
        write(folder, model, WRITTEN, overwrite=True)
    other = tmp_path / "other"
    other.mkdir()
    (other / "edits.json").write_text('{"whatever": 1}')
    with pytest.raises(UsageError, match="cannot be read"):
        write(other, model, WRITTEN, overwrite=True)
    assert (other / "edits.json").exists()
    with pytest.raises(UsageError, match="nothing can be written"):
        write(folder / "edits.json" / "child", model, WRITTEN)


def test_a_design_never_replaces_what_it_is_made_of(design):
    model, folder = design
    (folder / "thesis.tex").unlink(missing_ok=True)
    mine = replace(WRITTEN, network=str(folder / "network.py"))
    with pytest.raises(UsageError, match="that is to be rewritten"):
        write(folder, model, mine, overwrite=True)
    assert read(folder) == WRITTEN


def test_a_design_of_a_file_is_found_from_anywhere(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    (tmp_path / "here" / "net.py").write_text(
        "import torch\n\n\ndef build():\n    return torch.nn.Sequential("
        "torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 8, 3, padding=1))\n"
    )
    monkeypatch.chdir(tmp_path / "here")
    rounds = ((Replace(module="1", kernel="depthwise-pointwise"),),)
    written = Written(
        network="net.py:build", rounds=rounds, seed=0,
        inputs=(("float64", (1, 3, 8, 8)),),
    )  # fmt: skip
    model = replay(resolve("net.py:build").module, rounds)
    folder = write(tmp_path / "here" / "made", model, written)
    monkeypatch.chdir(tmp_path / "there")
    found = resolve(str(folder / "network.py"))
    assert isinstance(found.module.get_submodule("1"), torch.nn.Sequential)
    assert found.example_inputs is not None
    assert found.example_inputs[0].dtype == torch.float64
