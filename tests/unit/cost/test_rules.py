"""Every rule against arithmetic that is written out factor by factor."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from trimtab.cost.rules import TRANSCENDENTAL
from trimtab.cost.work import RULES, Work, work_of
from trimtab.graph.operators import OPERATORS, Family
from trimtab.graph.types import Graph, TensorType

Of = Callable[..., Work]
Single = Callable[..., Graph]

F4 = 4  # bytes of a float32
I8 = 8  # bytes of an int64


def t(*shape: int, dtype: str = "float32") -> TensorType:
    return TensorType(shape, dtype)


def only(graph: Graph) -> Work:
    return work_of(graph, graph.nodes[0])


def of_family(family: Family) -> list[str]:
    return [
        name.removeprefix("aten.")
        for name, entry in OPERATORS.items()
        if entry.family is family
    ]


def test_the_vocabulary_and_the_rules_name_the_same_operators() -> None:
    assert set(RULES) == set(OPERATORS)


# Convolutions


def test_conv2d_with_groups_stride_dilation_and_bias(work: Of) -> None:
    layer = nn.Conv2d(4, 6, (3, 2), (2, 1), padding=1, dilation=(1, 2), groups=2)
    # Height (9 + 2 - 2 - 1) // 2 + 1, width (8 + 2 - 2 - 1) // 1 + 1.
    elements = 2 * 6 * 5 * 8
    multiply_adds = elements * (4 // 2) * 3 * 2
    assert work("conv2d.default", layer, torch.zeros(2, 4, 9, 8)) == Work(
        multiply_adds=multiply_adds,
        flops=2 * multiply_adds + elements,
        read_bytes=F4 * 2 * 4 * 9 * 8,
        weight_bytes=F4 * (6 * (4 // 2) * 3 * 2 + 6),
        write_bytes=F4 * elements,
    )


def test_conv2d_without_bias_has_no_additions_of_it(work: Of) -> None:
    found = work(
        "conv2d.default", nn.Conv2d(3, 5, 1, bias=False), torch.zeros(1, 3, 4, 4)
    )
    assert found.multiply_adds == 5 * 4 * 4 * 3
    assert found.flops == 2 * 5 * 4 * 4 * 3
    assert found.weight_bytes == F4 * 5 * 3


def test_depthwise_conv2d_sees_one_channel_an_output(work: Of) -> None:
    layer = nn.Conv2d(8, 8, 3, groups=8, bias=False)
    found = work("conv2d.default", layer, torch.zeros(1, 8, 6, 6))
    assert found.multiply_adds == 8 * 4 * 4 * 3 * 3


def test_conv2d_with_padding_by_name(work: Of) -> None:
    layer = nn.Conv2d(3, 5, 3, padding="same", dilation=2)
    found = work("conv2d.padding", layer, torch.zeros(1, 3, 7, 7))
    assert found.multiply_adds == 5 * 7 * 7 * 3 * 3 * 3
    assert found.flops == 2 * found.multiply_adds + 5 * 7 * 7


def test_conv2d_of_an_image_without_batch(work: Of) -> None:
    found = work("conv2d.default", nn.Conv2d(3, 5, 3), torch.zeros(3, 7, 7))
    assert found.multiply_adds == 5 * 5 * 5 * 3 * 3 * 3


def test_conv1d_and_conv3d(work: Of) -> None:
    found = work("conv1d.default", nn.Conv1d(3, 5, 4, stride=2), torch.zeros(2, 3, 10))
    assert found.multiply_adds == 2 * 5 * 4 * 3 * 4
    found = work("conv3d.default", nn.Conv3d(2, 3, 2), torch.zeros(1, 2, 4, 5, 6))
    assert found.multiply_adds == 3 * 3 * 4 * 5 * 2 * 2 * 2 * 2


def test_a_transposed_convolution_spreads_every_input(work: Of) -> None:
    layer = nn.ConvTranspose2d(4, 6, 3, stride=2, output_padding=1, groups=2)
    # Side (5 - 1) * 2 + 3 + 1.
    found = work("conv_transpose2d.input", layer, torch.zeros(1, 4, 5, 5))
    multiply_adds = 4 * 5 * 5 * (6 // 2) * 3 * 3
    assert found == Work(
        multiply_adds=multiply_adds,
        flops=2 * multiply_adds + 6 * 12 * 12,
        read_bytes=F4 * 4 * 5 * 5,
        weight_bytes=F4 * (4 * 3 * 3 * 3 + 6),
        write_bytes=F4 * 6 * 12 * 12,
    )


def test_transposed_convolutions_of_other_ranks(work: Of) -> None:
    layer = nn.ConvTranspose1d(4, 6, 3, bias=False)
    found = work("conv_transpose1d.default", layer, torch.zeros(2, 4, 5))
    assert found.multiply_adds == 2 * 4 * 5 * 6 * 3
    volume = nn.ConvTranspose3d(2, 3, 2, bias=False)
    found = work("conv_transpose3d.input", volume, torch.zeros(1, 2, 3, 4, 5))
    assert found.multiply_adds == 2 * 3 * 4 * 5 * 3 * 2 * 2 * 2


def test_the_general_convolution_asks_whether_it_is_transposed(single: Single) -> None:
    options: dict[str, Any] = {"stride": (1, 1), "padding": (0, 0), "groups": 1}
    straight = single(
        "convolution.default", t(1, 6, 3, 3),
        input=t(1, 4, 5, 5), weight=t(6, 4, 3, 3), bias=None,
        transposed=False, **options,
    )  # fmt: skip
    assert only(straight).multiply_adds == 6 * 3 * 3 * 4 * 3 * 3
    transposed = single(
        "convolution.default", t(1, 6, 7, 7),
        input=t(1, 4, 5, 5), weight=t(4, 6, 3, 3), bias=t(6),
        transposed=True, **options,
    )  # fmt: skip
    assert only(transposed).multiply_adds == 4 * 5 * 5 * 6 * 3 * 3
    assert only(transposed).flops == 2 * 4 * 5 * 5 * 6 * 3 * 3 + 6 * 7 * 7


# Products


def test_linear(work: Of) -> None:
    found = work("linear.default", nn.Linear(5, 7), torch.zeros(2, 3, 5))
    assert found == Work(
        multiply_adds=2 * 3 * 7 * 5,
        flops=2 * 2 * 3 * 7 * 5 + 2 * 3 * 7,
        read_bytes=F4 * 2 * 3 * 5,
        weight_bytes=F4 * (7 * 5 + 7),
        write_bytes=F4 * 2 * 3 * 7,
    )


def test_linear_without_bias_or_batch(work: Of) -> None:
    found = work("linear.default", nn.Linear(5, 7, bias=False), torch.zeros(5))
    assert (found.multiply_adds, found.flops) == (7 * 5, 2 * 7 * 5)


def test_linear_with_one_row_of_weights(work: Of) -> None:
    x, weight = torch.zeros(2, 5), torch.zeros(5)
    assert work("linear.default", F.linear, x, weight).multiply_adds == 2 * 5


@pytest.mark.parametrize(
    ("op", "function", "a", "b", "multiply_adds"),
    [
        ("mm.default", torch.mm, (2, 3), (3, 4), 2 * 3 * 4),
        ("bmm.default", torch.bmm, (5, 2, 3), (5, 3, 4), 5 * 2 * 3 * 4),
        ("mv.default", torch.mv, (2, 3), (3,), 2 * 3),
        ("dot.default", torch.dot, (3,), (3,), 3),
        ("matmul.default", torch.matmul, (3,), (3,), 3),
        ("matmul.default", torch.matmul, (2, 3), (3,), 2 * 3),
        ("matmul.default", torch.matmul, (3,), (3, 4), 3 * 4),
        ("matmul.default", torch.matmul, (3,), (6, 3, 4), 6 * 3 * 4),
        ("matmul.default", torch.matmul, (6, 2, 3), (3,), 6 * 2 * 3),
        ("matmul.default", torch.matmul, (6, 2, 3), (3, 4), 6 * 2 * 3 * 4),
        ("matmul.default", torch.matmul, (6, 1, 2, 3), (5, 3, 4), 6 * 5 * 2 * 3 * 4),
    ],
)
def test_products(
    work: Of,
    op: str,
    function: Callable[..., Any],
    a: tuple[int, ...],
    b: tuple[int, ...],
    multiply_adds: int,
) -> None:
    found = work(op, function, torch.zeros(a), torch.zeros(b))
    assert found.multiply_adds == multiply_adds
    assert found.flops == 2 * multiply_adds
    assert found.read_bytes == F4 * (math.prod(a) + math.prod(b))


def test_an_operand_given_twice_is_read_once(work: Of) -> None:
    found = work("mm.default", lambda a: torch.mm(a, a), torch.zeros(3, 3))
    assert (found.multiply_adds, found.read_bytes) == (3 * 3 * 3, F4 * 3 * 3)


def test_products_with_a_summand(work: Of) -> None:
    found = work(
        "addmm.default",
        torch.addmm,
        torch.zeros(4),
        torch.zeros(2, 3),
        torch.zeros(3, 4),
    )
    assert found.multiply_adds == 2 * 3 * 4
    assert found.flops == 2 * 2 * 3 * 4 + 2 * 4
    assert found.read_bytes == F4 * (4 + 2 * 3 + 3 * 4)
    found = work(
        "baddbmm.default", torch.baddbmm,
        torch.zeros(5, 2, 4), torch.zeros(5, 2, 3), torch.zeros(5, 3, 4),
    )  # fmt: skip
    assert found.multiply_adds == 5 * 2 * 3 * 4
    assert found.flops == 2 * 5 * 2 * 3 * 4 + 5 * 2 * 4


@pytest.mark.parametrize(
    ("equation", "shapes", "multiply_adds"),
    [
        ("ij,jk->ik", [(2, 3), (3, 4)], 2 * 3 * 4),
        (
            "b h i d, b h j d -> b h i j",
            [(2, 3, 4, 5), (2, 3, 6, 5)],
            2 * 3 * 4 * 6 * 5,
        ),
        ("ij,jk", [(2, 3), (3, 4)], 2 * 3 * 4),
        ("i,j->ij", [(2,), (3,)], 2 * 3),
        ("i,i->", [(3,), (3,)], 3),
        ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 5)], 2 * 3 * 4 * 5 * 2),
        ("...ij,...jk->...ik", [(6, 2, 3), (6, 3, 4)], 6 * 2 * 3 * 4),
        ("...i,...i->...", [(2, 1, 4), (1, 3, 4)], 2 * 3 * 4),
        ("...i,i->...", [(2, 3, 4), (4,)], 2 * 3 * 4),
        ("i...,ij->j...", [(4, 2, 3), (4, 5)], 2 * 3 * 4 * 5),
        ("ij,ij->ij", [(3, 4), (1, 4)], 3 * 4),
        ("ij,ij->ij", [(1, 4), (3, 4)], 3 * 4),
    ],
)
def test_einsum(
    work: Of, equation: str, shapes: list[tuple[int, ...]], multiply_adds: int
) -> None:
    operands = [torch.zeros(shape) for shape in shapes]
    found = work(
        "einsum.default", lambda *each: torch.einsum(equation, *each), *operands
    )
    assert (found.multiply_adds, found.flops) == (multiply_adds, 2 * multiply_adds)


def test_einsum_of_one_operand_multiplies_nothing(single: Single) -> None:
    summed = single("einsum.default", t(2), equation="ij->i", tensors=(t(2, 3),))
    assert (only(summed).multiply_adds, only(summed).flops) == (0, 2 * 3)
    copied = single("einsum.default", t(3, 2), equation="ij->ji", tensors=(t(2, 3),))
    assert (only(copied).multiply_adds, only(copied).flops) == (0, 0)


# Attention and recurrence

SOFTMAX = TRANSCENDENTAL + 4  # maximum, difference, sum, quotient


def test_attention(work: Of) -> None:
    query, key, value = (
        torch.zeros(2, 3, 5, 8),
        torch.zeros(2, 3, 7, 8),
        torch.zeros(2, 3, 7, 6),
    )
    scores = 2 * 3 * 5 * 7
    found = work(
        "scaled_dot_product_attention.default",
        F.scaled_dot_product_attention, query, key, value,
    )  # fmt: skip
    assert found == Work(
        multiply_adds=scores * 8 + scores * 6,
        flops=2 * scores * (8 + 6) + scores * SOFTMAX,
        read_bytes=F4 * 2 * 3 * (5 * 8 + 7 * 8 + 7 * 6),
        write_bytes=F4 * 2 * 3 * 5 * 6,
    )


def test_attention_with_a_mask_adds_it(work: Of) -> None:
    q = torch.zeros(1, 2, 4, 8)
    mask = torch.zeros(4, 4)
    found = work(
        "scaled_dot_product_attention.default",
        lambda q, mask: F.scaled_dot_product_attention(q, q, q, mask), q, mask,
    )  # fmt: skip
    scores = 2 * 4 * 4
    assert found.flops == 2 * scores * (8 + 8) + scores * (SOFTMAX + 1)


def test_attention_counts_the_heads_of_the_queries(single: Single) -> None:
    graph = single(
        "scaled_dot_product_attention.default", t(2, 6, 5, 8),
        query=t(1, 6, 5, 8), key=t(2, 3, 7, 8), value=t(2, 3, 7, 8), enable_gqa=True,
    )  # fmt: skip
    assert only(graph).multiply_adds == 2 * 6 * 5 * 7 * (8 + 8)


@pytest.mark.parametrize(
    ("op", "kind", "gates"),
    [
        ("lstm.input", nn.LSTM, 4),
        ("gru.input", nn.GRU, 3),
        ("rnn_tanh.input", nn.RNN, 1),
    ],
)
@pytest.mark.parametrize("directions", [1, 2])
def test_stacked_recurrent_layers(
    work: Of, op: str, kind: Callable[..., nn.Module], gates: int, directions: int
) -> None:
    features, units, steps = 3, 5, 2 * 7
    layer = kind(
        features, units, num_layers=2, bidirectional=directions == 2, batch_first=True
    )
    first = gates * units * (features + units)
    second = gates * units * (directions * units + units)
    multiply_adds = steps * directions * (first + second)
    found = work(op, layer, torch.zeros(2, 7, features))
    assert found.multiply_adds == multiply_adds
    activations = steps * directions * 2 * units * gates * (TRANSCENDENTAL + 3)
    assert found.flops == 2 * multiply_adds + activations
    biases = directions * 2 * 2 * gates * units
    assert found.weight_bytes == F4 * (directions * (first + second) + biases)


def test_rnn_with_relu_and_without_batch(work: Of) -> None:
    layer = nn.RNN(3, 5, nonlinearity="relu", bias=False)
    found = work("rnn_relu.input", layer, torch.zeros(7, 3))
    assert found.multiply_adds == 7 * 5 * (3 + 5)


def test_lstm_with_projection(work: Of) -> None:
    layer = nn.LSTM(3, 5, num_layers=2, proj_size=4)
    found = work("lstm.input", layer, torch.zeros(7, 1, 3))
    first = 4 * 5 * (3 + 4) + 4 * 5
    second = 4 * 5 * (4 + 4) + 4 * 5
    assert found.multiply_adds == 7 * (first + second)
    activations = 7 * 2 * 5 * 4 * (TRANSCENDENTAL + 3)
    assert found.flops == 2 * found.multiply_adds + activations


@pytest.mark.parametrize(
    ("op", "kind", "gates"),
    [("lstm_cell.default", nn.LSTMCell, 4), ("gru_cell.default", nn.GRUCell, 3)],
)
def test_cells(work: Of, op: str, kind: Callable[..., nn.Module], gates: int) -> None:
    found = work(op, kind(3, 5), torch.zeros(2, 3))
    multiply_adds = 2 * gates * 5 * (3 + 5)
    assert found.multiply_adds == multiply_adds
    assert found.flops == 2 * multiply_adds + 2 * gates * 5 * (TRANSCENDENTAL + 3)


# Tables


def test_embedding_reads_the_rows_that_are_named(work: Of) -> None:
    indices = torch.zeros(2, 3, dtype=torch.int64)
    assert work("embedding.default", nn.Embedding(10, 4), indices) == Work(
        read_bytes=I8 * 2 * 3,
        weight_bytes=F4 * 2 * 3 * 4,
        write_bytes=F4 * 2 * 3 * 4,
    )


def test_embedding_reads_no_more_than_its_table(work: Of) -> None:
    found = work(
        "embedding.default", nn.Embedding(3, 4), torch.zeros(50, dtype=torch.int64)
    )
    assert found.weight_bytes == F4 * 3 * 4
    assert found.write_bytes == F4 * 50 * 4


def test_embedding_bag(work: Of) -> None:
    indices = torch.zeros(6, dtype=torch.int64)
    offsets = torch.tensor([0, 4])
    bag = nn.EmbeddingBag(10, 4, mode="sum")
    assert work("embedding_bag.padding_idx", bag, indices, offsets) == Work(
        flops=6 * 4,
        read_bytes=I8 * (6 + 2),
        weight_bytes=F4 * 6 * 4,
        write_bytes=F4 * 2 * 4,
    )


def test_embedding_bag_with_a_weight_for_each_row(work: Of) -> None:
    indices = torch.zeros(6, dtype=torch.int64)
    offsets, weights = torch.tensor([0, 4]), torch.zeros(6)
    bag = nn.EmbeddingBag(10, 4, mode="sum")
    found = work("embedding_bag.padding_idx", bag, indices, offsets, weights)
    assert found.flops == 6 * 4 * 2
    assert found.read_bytes == I8 * (6 + 2) + F4 * 6


def test_embedding_bag_of_an_empty_table_is_no_division_by_zero(single: Single) -> None:
    graph = single(
        "embedding_bag.default", t(1, 4),
        weight=t(0, 4), indices=t(0, dtype="int64"), offsets=t(1, dtype="int64"),
    )  # fmt: skip
    assert only(graph) == Work(read_bytes=I8, write_bytes=F4 * 4)


# Pools


@pytest.mark.parametrize(
    ("op", "layer", "shape", "outputs", "window"),
    [
        ("max_pool1d.default", nn.MaxPool1d(3), (2, 9), 2 * 3, 3),
        ("max_pool2d.default", nn.MaxPool2d(3, stride=2), (2, 9, 9), 2 * 4 * 4, 3 * 3),
        ("max_pool2d.default", nn.MaxPool2d((3, 2)), (2, 9, 8), 2 * 3 * 4, 3 * 2),
        ("max_pool3d.default", nn.MaxPool3d(2), (2, 4, 4, 4), 2 * 2 * 2 * 2, 2 * 2 * 2),
        ("avg_pool1d.default", nn.AvgPool1d(3), (2, 9), 2 * 3, 3),
        ("avg_pool2d.default", nn.AvgPool2d(2), (2, 8, 8), 2 * 4 * 4, 2 * 2),
        ("avg_pool3d.default", nn.AvgPool3d(2), (2, 4, 4, 4), 2 * 2 * 2 * 2, 2 * 2 * 2),
    ],
)  # fmt: skip
def test_pools_look_at_a_window_an_output(
    work: Of,
    op: str,
    layer: nn.Module,
    shape: tuple[int, ...],
    outputs: int,
    window: int,
) -> None:
    found = work(op, layer, torch.zeros(1, *shape))
    assert (found.multiply_adds, found.flops) == (0, outputs * window)
    assert found.read_bytes == F4 * math.prod(shape)


@pytest.mark.parametrize("kernel", [3, (3,), (3, 3)])
def test_a_window_may_be_written_in_three_ways(single: Single, kernel: Any) -> None:
    graph = single(
        "max_pool2d_with_indices.default", t(1, 2, 3, 3), t(1, 2, 3, 3, dtype="int64"),
        self=t(1, 2, 9, 9), kernel_size=kernel,
    )  # fmt: skip
    assert only(graph) == Work(
        flops=2 * 3 * 3 * 3 * 3,
        read_bytes=F4 * 2 * 9 * 9,
        write_bytes=(F4 + I8) * 2 * 3 * 3,
    )


@pytest.mark.parametrize(
    ("op", "function", "shape", "size", "looks"),
    [
        ("adaptive_avg_pool2d", F.adaptive_avg_pool2d, (2, 7, 7), 1, 2 * 7 * 7),
        ("adaptive_avg_pool2d", F.adaptive_avg_pool2d, (2, 6, 6), 3, 2 * 6 * 6),
        # 7 to 5: windows of 2, 2, 3, 2 and 2.
        ("adaptive_avg_pool2d", F.adaptive_avg_pool2d, (2, 7, 7), 5, 2 * 11 * 11),
        ("adaptive_avg_pool2d", F.adaptive_avg_pool2d, (2, 1, 1), 7, 2 * 7 * 7),
        ("adaptive_avg_pool1d", F.adaptive_avg_pool1d, (2, 7), 5, 2 * 11),
        ("adaptive_avg_pool3d", F.adaptive_avg_pool3d, (1, 4, 4, 4), 2, 4 * 4 * 4),
    ],
)  # fmt: skip
def test_windows_that_give_a_size(
    work: Of,
    op: str,
    function: Callable[..., Any],
    shape: tuple[int, ...],
    size: int,
    looks: int,
) -> None:
    found = work(f"{op}.default", lambda x: function(x, size), torch.zeros(1, *shape))
    assert found.flops == looks


def test_other_forms_of_windows_that_give_a_size(single: Single) -> None:
    graph = single(
        "_adaptive_avg_pool2d.default",
        t(1, 2, 1, 1),
        self=t(1, 2, 7, 7),
        output_size=(1, 1),
    )
    assert only(graph).flops == 2 * 7 * 7
    graph = single(
        "adaptive_max_pool2d.default", t(1, 2, 5, 5), t(1, 2, 5, 5, dtype="int64"),
        self=t(1, 2, 7, 7), output_size=(5, 5),
    )  # fmt: skip
    assert only(graph).flops == 2 * 11 * 11


# Normalisation


@pytest.mark.parametrize(
    ("op", "layer", "shape", "flops_an_element", "weights"),
    [
        ("batch_norm.default", nn.BatchNorm2d(6), (2, 6, 4, 4), 2, 4 * 6),
        ("layer_norm.default", nn.LayerNorm(6), (2, 4, 6), 7, 2 * 6),
        ("group_norm.default", nn.GroupNorm(2, 6), (2, 6, 4, 4), 7, 2 * 6),
        ("instance_norm.default", nn.InstanceNorm2d(6), (2, 6, 4, 4), 7, 0),
        ("rms_norm.default", nn.RMSNorm(6), (2, 4, 6), 4, 6),
    ],
)
def test_norms(
    work: Of,
    op: str,
    layer: nn.Module,
    shape: tuple[int, ...],
    flops_an_element: int,
    weights: int,
) -> None:
    elements = math.prod(shape)
    assert work(op, layer, torch.zeros(shape)) == Work(
        flops=flops_an_element * elements,
        read_bytes=F4 * elements,
        weight_bytes=F4 * weights,
        write_bytes=F4 * elements,
    )


def test_internal_forms_of_norms(single: Single) -> None:
    names = ("weight", "bias", "running_mean", "running_var")
    graph = single(
        "_native_batch_norm_legit_no_training.default", t(2, 6, 4), t(0), t(0),
        constants=names, input=t(2, 6, 4), **dict.fromkeys(names, t(6)),
    )  # fmt: skip
    assert only(graph).flops == 2 * 2 * 6 * 4
    assert only(graph).weight_bytes == F4 * 4 * 6
    graph = single(
        "native_layer_norm.default", t(2, 6), t(2, 1), t(2, 1), input=t(2, 6)
    )
    assert only(graph).flops == 7 * 2 * 6
    graph = single(
        "native_group_norm.default", t(2, 6), t(2, 1), t(2, 1), input=t(2, 6)
    )
    assert only(graph).flops == 7 * 2 * 6


def test_a_norm_of_vectors_is_a_sum_of_powers(single: Single) -> None:
    graph = single("linalg_vector_norm.default", t(2), self=t(2, 6), ord=2, dim=(1,))
    assert only(graph).flops == 2 * 2 * 6
    assert only(graph).write_bytes == F4 * 2


@pytest.mark.parametrize("op", of_family(Family.SOFTMAX))
def test_softmax(single: Single, op: str) -> None:
    assert only(single(op, t(2, 6), self=t(2, 6), dim=1)) == Work(
        flops=SOFTMAX * 2 * 6, read_bytes=F4 * 2 * 6, write_bytes=F4 * 2 * 6
    )


# Reductions

SORTS = {
    "topk.default",
    "sort.default",
    "sort.stable",
    "argsort.default",
    "argsort.stable",
    "mode.default",
}
EXPONENTIALS = {"logsumexp.default", "logcumsumexp.default"}
SPREADS = {
    "var.correction",
    "var.dim",
    "var_mean.correction",
    "std.correction",
    "std.dim",
    "std_mean.correction",
}


@pytest.mark.parametrize(
    "op", sorted(set(of_family(Family.REDUCTION)) - SORTS - EXPONENTIALS)
)
def test_reductions_look_at_every_input(single: Single, op: str) -> None:
    # Mean, difference, square and sum for what measures a spread.
    operations = 4 if op in SPREADS else 1
    assert only(single(op, t(2), self=t(2, 6))) == Work(
        flops=operations * 2 * 6, read_bytes=F4 * 2 * 6, write_bytes=F4 * 2
    )


@pytest.mark.parametrize(("op", "results"), [("logsumexp", 2), ("logcumsumexp", 12)])
def test_sums_of_exponentials(single: Single, op: str, results: int) -> None:
    """Maximum, difference, exp and sum of every element, log of every result."""
    output = t(2) if results == 2 else t(2, 6)
    graph = single(f"{op}.default", output, self=t(2, 6), dim=1)
    each = TRANSCENDENTAL + 3
    assert only(graph).flops == each * 2 * 6 + TRANSCENDENTAL * results


@pytest.mark.parametrize("op", ["cdist.default", "_cdist_forward.default"])
def test_distances_of_all_pairs(single: Single, op: str) -> None:
    graph = single(op, t(2, 3, 4), x1=t(2, 3, 7), x2=t(2, 4, 7), p=2.0)
    # Difference, square and sum for 7 places of 2 * 3 * 4 pairs, and a root for each.
    assert only(graph).flops == (3 * 7 + 4) * 2 * 3 * 4
    assert only(graph).read_bytes == F4 * (2 * 3 * 7 + 2 * 4 * 7)


def test_products_that_are_added(single: Single) -> None:
    graph = single("addmv.default", t(3), self=t(3), mat=t(3, 5), vec=t(5))
    assert only(graph).flops == 2 * 3 * 5 + 3
    batches = {"batch1": t(4, 3, 5), "batch2": t(4, 5, 2)}
    graph = single("addbmm.default", t(3, 2), self=t(3, 2), **batches)
    assert only(graph).flops == 2 * 4 * 3 * 5 * 2 + 3 * 2


def test_a_search_halves_its_row(single: Single) -> None:
    given = {"sorted_sequence": t(2, 16), "self": t(2, 5)}
    graph = single("searchsorted.Tensor", t(2, 5, dtype="int64"), **given)
    assert only(graph).flops == 4 * 2 * 5


@pytest.mark.parametrize("op", sorted(SORTS))
@pytest.mark.parametrize(("dim", "length"), [(-1, 8), (1, 8), (0, 32)])
def test_sorting_compares_log_n_times_along_its_dimension(
    single: Single, op: str, dim: int, length: int
) -> None:
    graph = single(op, t(32, 8), t(32, 8, dtype="int64"), self=t(32, 8), dim=dim)
    assert only(graph).flops == 32 * 8 * int(math.log2(length))


def test_sorting_one_number(single: Single) -> None:
    assert only(single("sort.default", t(), self=t(), dim=-1)).flops == 1


# Resampling


@pytest.mark.parametrize(
    ("mode", "op", "taps"),
    [
        ("nearest", "upsample_nearest2d.vec", 1),
        ("bilinear", "upsample_bilinear2d.vec", 2 * 2),
        ("bicubic", "upsample_bicubic2d.vec", 4 * 4),
    ],
)
def test_resampling_weighs_every_tap(work: Of, mode: str, op: str, taps: int) -> None:
    image = torch.zeros(1, 2, 3, 3)
    found = work(op, lambda x: F.interpolate(x, scale_factor=2.0, mode=mode), image)
    assert found == Work(
        flops=2 * taps * 2 * 6 * 6,
        read_bytes=F4 * 2 * 3 * 3,
        write_bytes=F4 * 2 * 6 * 6,
    )


@pytest.mark.parametrize(
    ("op", "shape", "taps"),
    [
        ("upsample_linear1d.vec", (4,), 2),
        ("upsample_trilinear3d.vec", (4, 4, 4), 2**3),
        ("upsample_nearest3d.vec", (4, 4, 4), 1),
        ("grid_sampler_3d.default", (4, 4, 4), 2**3),
    ],
)
def test_taps_by_rank(
    single: Single, op: str, shape: tuple[int, ...], taps: int
) -> None:
    graph = single(op, t(1, 2, *shape), input=t(1, 2, 2, 2, 2))
    assert only(graph).flops == 2 * taps * 2 * math.prod(shape)


def test_reading_at_given_places_is_bilinear(work: Of) -> None:
    image, grid = torch.zeros(1, 2, 3, 3), torch.zeros(1, 4, 5, 2)
    found = work(
        "grid_sampler.default",
        lambda x, g: F.grid_sample(x, g, align_corners=False), image, grid,
    )  # fmt: skip
    assert found.flops == 2 * 4 * 2 * 4 * 5
    assert found.read_bytes == F4 * (2 * 3 * 3 + 4 * 5 * 2)


# Element by element

POLYNOMIALS = {
    "pow.Tensor_Scalar",
    "pow.Tensor_Tensor",
    "pow.Scalar",
    "exp.default",
    "expm1.default",
    "log.default",
    "log1p.default",
    "log2.default",
    "sin.default",
    "cos.default",
    "tan.default",
    "atan2.default",
    "erf.default",
    "asin.default",
    "acos.default",
    "atan.default",
    "sinh.default",
    "cosh.default",
    "asinh.default",
    "acosh.default",
    "atanh.default",
    "log10.default",
    "exp2.default",
    "logit.default",
    "logaddexp.default",
    "logaddexp2.default",
    "xlogy.Tensor",
    "erfc.default",
    "erfinv.default",
    "lgamma.default",
    "digamma.default",
    "elu.default",
    "selu.default",
    "celu.default",
    "gelu.default",
    "silu.default",
    "mish.default",
    "sigmoid.default",
    "log_sigmoid.default",
    "tanh.default",
    "softplus.default",
    "glu.default",
}
QUOTIENTS = {
    "sqrt.default",
    "rsqrt.default",
    "reciprocal.default",
    "div.Tensor",
    "div.Scalar",
    "div.Tensor_mode",
    "div.Scalar_mode",
    "floor_divide.default",
    "remainder.Tensor",
    "remainder.Scalar",
    "remainder.Scalar_Tensor",
    "fmod.Tensor",
    "fmod.Scalar",
    "floor_divide.Scalar",
    "hypot.default",
    "addcdiv.default",
}
WRITES = {"fill.Scalar", "fill.Tensor", "zero.default", "copy.default"}


@pytest.mark.parametrize("op", sorted(set(of_family(Family.ELEMENTWISE)) - WRITES))
def test_elementwise(single: Single, op: str) -> None:
    name, overload = op.split(".")
    schema = getattr(getattr(torch.ops.aten, name), overload)._schema
    operand = next(each.name for each in schema.arguments if "Tensor" in str(each.type))
    each = TRANSCENDENTAL if op in POLYNOMIALS else 4 if op in QUOTIENTS else 1
    assert only(single(op, t(2, 3), **{operand: t(2, 3)})) == Work(
        flops=each * 2 * 3, read_bytes=F4 * 2 * 3, write_bytes=F4 * 2 * 3
    )


def test_broadcasting_counts_the_result(work: Of) -> None:
    found = work("add.Tensor", torch.add, torch.zeros(2, 1), torch.zeros(1, 3))
    assert found == Work(flops=2 * 3, read_bytes=F4 * (2 + 3), write_bytes=F4 * 2 * 3)


def test_comparisons_write_one_byte(work: Of) -> None:
    assert work("gt.Scalar", lambda x: x > 0, torch.zeros(2, 3)).write_bytes == 2 * 3


def test_writing_over_reads_what_is_written_only(single: Single) -> None:
    for op in ("fill.Scalar", "zero.default"):
        assert only(single(op, t(2, 3), self=t(2, 3))) == Work(write_bytes=F4 * 2 * 3)
    graph = single("copy.default", t(2, 3), self=t(2, 3), src=t(2, 3, dtype="float16"))
    assert only(graph) == Work(read_bytes=2 * 2 * 3, write_bytes=F4 * 2 * 3)


# Moves


def test_cat_reads_and_writes_everything(work: Of) -> None:
    found = work(
        "cat.default",
        lambda a, b: torch.cat([a, b], 1),
        torch.zeros(2, 3),
        torch.zeros(2, 4),
    )
    assert found == Work(read_bytes=F4 * 2 * (3 + 4), write_bytes=F4 * 2 * 7)


def test_a_repeated_tensor_is_read_once(work: Of) -> None:
    found = work("repeat.default", lambda x: x.repeat(5, 1), torch.zeros(2, 3))
    assert found == Work(read_bytes=F4 * 2 * 3, write_bytes=F4 * 5 * 2 * 3)


def test_padding_reads_the_image(work: Of) -> None:
    found = work("pad.default", lambda x: F.pad(x, (1, 1)), torch.zeros(2, 3))
    assert found == Work(read_bytes=F4 * 2 * 3, write_bytes=F4 * 2 * 5)


def test_cropping_reads_what_is_left(work: Of) -> None:
    found = work("pad.default", lambda x: F.pad(x, (-1, -1)), torch.zeros(2, 5))
    assert found == Work(read_bytes=F4 * 2 * 3, write_bytes=F4 * 2 * 3)


@pytest.mark.parametrize(
    ("dtype", "size"), [(torch.float16, 2), (torch.float64, 8), (torch.int8, 1)]
)
def test_a_conversion_reads_one_dtype_and_writes_the_other(
    work: Of, dtype: torch.dtype, size: int
) -> None:
    found = work("to.dtype", lambda x: x.to(dtype), torch.zeros(2, 3))
    assert found == Work(read_bytes=F4 * 2 * 3, write_bytes=size * 2 * 3)


def test_the_tensor_that_gives_a_dtype_is_not_read(single: Single) -> None:
    other = t(100, dtype="float64")
    for op in ("to.other", "type_as.default"):
        graph = single(op, t(2, 3, dtype="float64"), self=t(2, 3), other=other)
        assert only(graph) == Work(read_bytes=F4 * 2 * 3, write_bytes=8 * 2 * 3)


def test_a_converted_weight_is_cold(single: Single) -> None:
    graph = single(
        "_to_copy.default", t(2, 3, dtype="float16"), constants=("self",), self=t(2, 3)
    )
    assert only(graph) == Work(weight_bytes=F4 * 2 * 3, write_bytes=2 * 2 * 3)


def test_index_reads_places_and_what_stands_there(work: Of) -> None:
    table, places = torch.zeros(100, 3), torch.zeros(5, dtype=torch.int64)
    expected = Work(read_bytes=I8 * 5 + F4 * 5 * 3, write_bytes=F4 * 5 * 3)
    assert work("index.Tensor", lambda x, i: x[i], table, places) == expected
    found = work(
        "index_select.default", lambda x, i: x.index_select(0, i), table, places
    )
    assert found == expected


def test_gather_reads_places_and_what_stands_there(work: Of) -> None:
    table, places = torch.zeros(100, 3), torch.zeros(2, 3, dtype=torch.int64)
    found = work("gather.default", lambda x, i: x.gather(0, i), table, places)
    assert found == Work(read_bytes=(I8 + F4) * 2 * 3, write_bytes=F4 * 2 * 3)
    found = work("take.default", torch.take, table, places)
    assert found == Work(read_bytes=(I8 + F4) * 2 * 3, write_bytes=F4 * 2 * 3)


def test_scatter_reads_target_places_and_values(work: Of) -> None:
    target, places = torch.zeros(9, 3), torch.zeros(2, 3, dtype=torch.int64)
    values = torch.zeros(2, 3)
    moved = Work(read_bytes=F4 * 9 * 3 + (I8 + F4) * 2 * 3, write_bytes=F4 * 9 * 3)
    found = work(
        "scatter.src", lambda x, i, v: x.scatter(0, i, v), target, places, values
    )
    assert found == moved
    found = work(
        "scatter_add.default",
        lambda x, i, v: x.scatter_add(0, i, v),
        target,
        places,
        values,
    )
    assert found == moved + Work(flops=2 * 3)
    rows = torch.zeros(2, dtype=torch.int64)
    found = work(
        "index_add.default", lambda x, i, v: x.index_add(0, i, v), target, rows, values
    )
    assert found.flops == 2 * 3
    assert found.read_bytes == F4 * 9 * 3 + I8 * 2 + F4 * 2 * 3


def test_folding_reads_and_adds_all_columns(work: Of) -> None:
    columns = torch.zeros(1, 2 * 3 * 3, 4 * 4)
    found = work("col2im.default", lambda x: F.fold(x, (6, 6), 3), columns)
    assert found == Work(
        flops=2 * 3 * 3 * 4 * 4,
        read_bytes=F4 * 2 * 3 * 3 * 4 * 4,
        write_bytes=F4 * 2 * 6 * 6,
    )
    found = work("im2col.default", lambda x: F.unfold(x, 3), torch.zeros(1, 2, 6, 6))
    assert found == Work(read_bytes=F4 * 2 * 6 * 6, write_bytes=F4 * 2 * 3 * 3 * 4 * 4)


def test_one_hot_reads_the_indices(work: Of) -> None:
    indices = torch.zeros(5, dtype=torch.int64)
    found = work("one_hot.default", lambda x: F.one_hot(x, 10), indices)
    assert found == Work(read_bytes=I8 * 5, write_bytes=I8 * 5 * 10)


@pytest.mark.parametrize("op", of_family(Family.CREATE))
def test_new_tensors_are_written_only(single: Single, op: str) -> None:
    assert only(single(op, t(2, 3))) == Work(write_bytes=F4 * 2 * 3)


# Nothing at all


@pytest.mark.parametrize("op", of_family(Family.VIEW))
def test_views_do_no_work(single: Single, op: str) -> None:
    name, overload = op.split(".")
    schema = getattr(getattr(torch.ops.aten, name), overload)._schema
    assert only(single(op, t(2, 3), **{schema.arguments[0].name: t(2, 3)})) == Work()


def test_reshape_costs_only_where_it_copies(
    captured: Callable[..., Graph], work: Of
) -> None:
    graph = captured(lambda x: x.reshape(6), torch.zeros(2, 3))
    assert only(graph) == Work()
    found = work("reshape.default", lambda x: x.t().reshape(6), torch.zeros(2, 3))
    assert found == Work(read_bytes=F4 * 2 * 3, write_bytes=F4 * 2 * 3)


def test_only_views_are_free(single: Single) -> None:
    free = []
    for name, entry in OPERATORS.items():
        if entry.family in (Family.ELEMENTWISE, Family.SOFTMAX, Family.REDUCTION):
            op = name.removeprefix("aten.")
            packet, overload = op.split(".")
            schema = getattr(getattr(torch.ops.aten, packet), overload)._schema
            tensors = [e.name for e in schema.arguments if str(e.type) == "Tensor"]
            graph = single(op, t(2, 3), **dict.fromkeys(tensors, t(2, 3)))
            if not only(graph).traffic_bytes:
                free.append(name)
    assert not free
