"""Edits on modules: what changes, what stays, what is refused."""

import copy
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.design.nets import IMAGE, plain, residual
from torch import nn

from trimtab.design import edits as _edits
from trimtab.design.edits import (
    Remove,
    Repeat,
    Replace,
    edits_from_json,
    edits_to_json,
    shared_modules,
)
from trimtab.design.sliding import SlidingChannelConv2d
from trimtab.errors import UsageError

apply: Any = _edits.apply  # tests look into what it returns


def test_a_block_is_left_out_and_the_others_keep_their_weights():
    model = residual(2, 3)
    before = copy.deepcopy(model.state_dict())
    made = apply(model, [Remove(modules=("stages.1.1",))])
    assert [name for name, _ in made.stages[1].named_children()] == ["0", "2"]
    assert made(IMAGE).shape == model(IMAGE).shape
    for name, tensor in made.state_dict().items():
        assert torch.equal(tensor, before[name])
    # The network that was given is as it was.
    assert before.keys() == model.state_dict().keys()
    assert all(torch.equal(model.state_dict()[name], before[name]) for name in before)


def test_a_block_is_repeated_with_weights_of_its_own():
    model = residual(2, 2)
    made = apply(model, [Repeat(modules=("stages.0.1",), times=2)], seed=3)
    names = [name for name, _ in made.stages[0].named_children()]
    assert names == ["0", "1", "1_1", "1_2"]
    one, two, three = (made.stages[0].get_submodule(name) for name in names[1:])
    assert torch.equal(one.a.weight, model.stages[0][1].a.weight)
    assert not torch.equal(one.a.weight, two.a.weight)
    assert not torch.equal(two.a.weight, three.a.weight)
    again = apply(model, [Repeat(modules=("stages.0.1",), times=2)], seed=3)
    assert torch.equal(again.stages[0].get_submodule("1_2").a.weight, three.a.weight)


def test_drawing_weights_leaves_the_global_generator_alone():
    model = plain()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    apply(model, [Repeat(modules=("3", "4", "5"))])
    assert torch.equal(torch.rand(3), expected)


def test_a_unit_of_several_modules_is_repeated_in_its_order():
    made = apply(plain(), [Repeat(modules=("3", "4", "5"), times=2)])
    kinds = [type(each).__name__ for each in made][3:12]
    assert kinds == ["Conv2d", "BatchNorm2d", "ReLU"] * 3
    assert made(IMAGE).shape == plain()(IMAGE).shape


def test_a_list_is_numbered_anew():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList([nn.Conv2d(3, 3, 1) for _ in range(3)])

        def forward(self, x):
            for number in range(len(self.blocks)):
                x = self.blocks[number](x)
            return x

    made = apply(Net(), [Remove(modules=("blocks.1",)), Repeat(modules=("blocks.2",))])
    assert [name for name, _ in made.blocks.named_children()] == ["0", "1", "2"]
    assert made(IMAGE).shape == IMAGE.shape


KERNELS = [
    Replace(module="stages.0.1.a", kernel="grouped", groups=2),
    Replace(module="stages.0.1.a", kernel="depthwise-pointwise"),
    Replace(module="stages.0.1.a", kernel="depthwise-grouped", groups=4),
    Replace(module="stages.0.1.a", kernel="depthwise-sliding", groups=2, overlap=0.33),
    Replace(module="stages.1.0.a", kernel="depthwise-pointwise"),
    Replace(module="stages.1.0.a", kernel="asymmetric"),
    Replace(module="stages.0.1.a", kernel="resized", size=5),
    Replace(module="stages.0.1.a", kernel="dilated", dilation=2),
    Replace(module="stages.1.0.down", kernel="grouped", groups=2),
]


@pytest.mark.parametrize(
    "edit", KERNELS, ids=lambda edit: f"{edit.module} {edit.kernel}"
)
def test_a_convolution_is_replaced_by_what_fits_its_place(edit):
    model = residual(2, 2)
    made = apply(model, [edit])
    assert made(IMAGE).shape == model(IMAGE).shape
    old = model.get_submodule(edit.module)
    new = made.get_submodule(edit.module)
    x = torch.randn(2, old.in_channels, 7, 9)
    assert new(x).shape == old(x).shape
    assert (new is old) is False


def test_a_pointwise_convolution_slides():
    net = nn.Sequential(nn.Conv2d(4, 8, 1, bias=True))
    made = apply(net, [Replace(module="0", kernel="sliding", groups=2, overlap=0.5)])
    assert isinstance(made[0], SlidingChannelConv2d)
    assert made[0].bias is not None


@pytest.mark.parametrize(
    ("edits", "text"),
    [
        ([Remove(modules=("nowhere",))], "no such module"),
        ([Remove(modules=())], "names at least one module"),
        ([Remove(modules=("head",))], "no Sequential and no ModuleList"),
        ([Replace(module="head", kernel="grouped")], "it is a Linear"),
        ([Replace(module="stages.0.0.a", kernel="sliding", groups=2)],
         "only a pointwise"),
        ([Remove(modules=("stages.0.0", "stages.1.0"))], "several containers"),
        ([Remove(modules=("stages.0.0",)), Repeat(modules=("stages.0.0",))],
         "two edits are of it"),
        ([Remove(modules=("stages.0.0",)), Remove(modules=("stages.0.1",))],
         "nothing would be left"),
    ],
)  # fmt: skip
def test_what_is_refused(edits, text):
    with pytest.raises(UsageError, match=text):
        apply(residual(2, 2), edits)


def test_padding_that_is_no_number_of_zeros_is_refused():
    net = nn.Sequential(nn.Conv2d(4, 4, 3, padding="same"))
    with pytest.raises(UsageError, match="padding is not of zeros"):
        apply(net, [Replace(module="0", kernel="depthwise-pointwise")])


EDITS = st.one_of(
    st.builds(Remove, modules=st.lists(st.text(), min_size=1).map(tuple)),
    st.builds(
        Repeat,
        modules=st.lists(st.text(), min_size=1).map(tuple),
        times=st.integers(1, 5),
    ),
    st.builds(
        Replace,
        module=st.text(),
        kernel=st.sampled_from(["grouped", "sliding", "resized"]),
        groups=st.integers(1, 8),
        overlap=st.sampled_from([0.0, 0.25, 0.33]),
    ),
)


@given(st.lists(EDITS, max_size=4))
def test_edits_come_back_from_json(edits):
    assert edits_from_json(edits_to_json(edits)) == tuple(edits)


@pytest.mark.parametrize(
    "record",
    [
        {}, "remove", [{}], [{"edit": "burn", "modules": ["a"]}],
        [{"edit": "remove"}], [{"edit": "remove", "modules": [3]}],
        [{"edit": "replace", "module": "a", "kernel": "eval"}],
        [{"edit": "remove", "modules": ["a"], "more": 1}],
    ],
)  # fmt: skip
def test_json_that_holds_no_edits_is_refused(record):
    with pytest.raises(UsageError, match="edits of a network"):
        edits_from_json(record)


def test_what_is_used_under_several_names_stays():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            shared = nn.Conv2d(8, 8, 3, padding=1)
            self.layers = nn.Sequential(
                nn.Conv2d(3, 8, 3, padding=1), shared, shared, nn.Conv2d(8, 8, 1)
            )
            self.alias = self.layers[3]

        def forward(self, x):
            return self.layers(x)

    net = Twice()
    assert shared_modules(net) >= {"layers.1", "layers.2", "layers.3", "alias"}
    for edit in (
        Remove(modules=("layers.1",)),
        Repeat(modules=("layers.2",)),
        Replace(module="layers.3", kernel="grouped", groups=2),
    ):
        with pytest.raises(UsageError, match="under several names"):
            apply(net, [edit])
    # What stands beside them can be edited, and both calls stay.
    stem, shared = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1)
    last = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)
    alone = nn.Sequential(stem, shared, shared, *last)
    made = apply(alone, [Remove(modules=("4",))])
    assert list(made._modules) == ["0", "1", "2", "3"]
    assert made[1] is made[2]


def test_tied_weights_are_shared():
    net = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1))
    net[1].weight = net[0].weight
    assert shared_modules(net) == {
        "0", "0.weight", "1", "1.weight",
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["class", "parametrized", "hook"])
def test_a_convolution_that_is_more_than_one_is_not_replaced(kind):
    class Scaled(nn.Conv2d):
        def forward(self, x):
            return super().forward(x) * 2

    conv = (Scaled if kind == "class" else nn.Conv2d)(8, 8, 3, padding=1)
    if kind == "parametrized":
        nn.utils.parametrizations.weight_norm(conv)
    if kind == "hook":
        conv.register_forward_pre_hook(lambda *given: None)
    with pytest.raises(UsageError, match="hooks or parametrizations"):
        apply(nn.Sequential(conv), [Replace(module="0", kernel="depthwise-pointwise")])


def test_what_takes_the_place_has_the_type_and_learns_alike():
    net = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1)).double().eval()
    net.requires_grad_(False)
    made = apply(net, [Replace(module="0", kernel="depthwise-sliding", groups=2)])
    assert {each.dtype for each in made.parameters()} == {torch.float64}
    assert not any(each.requires_grad for each in made.parameters())
    assert made(torch.zeros(1, 8, 4, 4, dtype=torch.float64)).dtype == torch.float64
    assert not made[0].training


def test_an_even_window_is_not_dilated():
    net = nn.Sequential(nn.Conv2d(8, 8, 2))
    with pytest.raises(UsageError, match="has no middle"):
        apply(net, [Replace(module="0", kernel="dilated", dilation=2)])


def test_copies_never_take_a_name_that_is_there():
    block = [nn.Conv2d(4, 4, 3, padding=1) for _ in range(2)]
    net = nn.Sequential()
    net.add_module("block", block[0])
    net.add_module("block_1", block[1])
    made = apply(net, [Repeat(modules=("block",))])
    assert list(made._modules) == ["block", "block_1_", "block_1"]
    assert torch.equal(made.block_1.weight, block[1].weight)


@pytest.mark.parametrize(
    "record",
    [
        {"edit": "repeat", "modules": ["a"], "times": -3},
        {"edit": "repeat", "modules": ["a"], "times": 10**9},
        {"edit": "replace", "module": "a", "kernel": "resized", "size": 200001},
        {"edit": "replace", "module": "a", "kernel": "grouped", "groups": 0},
        {"edit": "replace", "module": "a", "kernel": "dilated", "dilation": 0},
        {"edit": "replace", "module": "a", "kernel": "sliding", "overlap": 2.0},
    ],
)
def test_numbers_of_edits_have_bounds(record):
    with pytest.raises(UsageError, match="edits of a network"):
        edits_from_json([record])
