"""One work rule per operator; over 400 lines since the vocabulary is as long.

Multiply-adds are counted for convolutions and products alone, as the field publishes
them; `flops` has everything. Functions that a processor evaluates as a polynomial count
as `TRANSCENDENTAL` operations an element, a comparison or a sum as one.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from trimtab.cost.work import RULES, Call, Work, rule
from trimtab.graph.operators import OPERATORS, Family
from trimtab.graph.types import Ref

__all__ = ["TRANSCENDENTAL"]

TRANSCENDENTAL = 10
# exp, tanh, erf ...: range reduction, a polynomial of degree 5 to 7, reassembly.


# Convolutions: every output element is a sum over the filter


@rule(
    "conv1d.default",
    "conv1d.padding",
    "conv2d.default",
    "conv2d.padding",
    "conv3d.default",
    "conv3d.padding",
)
def _convolution(call: Call) -> Work:
    """Weight (out, in / groups, *kernel): each output needs one filter."""
    weight = call.type("weight").shape
    adds = call.output.elements if call.has("bias") else 0
    return call.moved(
        multiply_adds=call.output.elements * math.prod(weight[1:]), flops=adds
    )


@rule(
    "conv_transpose1d.default", "conv_transpose2d.input", "conv_transpose3d.input"
)  # fmt: skip
def _transposed(call: Call) -> Work:
    """Weight (in, out / groups, *kernel): each input is spread by one filter."""
    weight = call.type("weight").shape
    adds = call.output.elements if call.has("bias") else 0
    return call.moved(
        multiply_adds=call.type("input").elements * math.prod(weight[1:]), flops=adds
    )


@rule("convolution.default")
def _any_convolution(call: Call) -> Work:
    return _transposed(call) if call.argument("transposed") else _convolution(call)


# Products


@rule("linear.default")
def _linear(call: Call) -> Work:
    """(..., k) @ (n, k).T."""
    adds = call.output.elements if call.has("bias") else 0
    return call.moved(
        multiply_adds=call.output.elements * call.type("weight").shape[-1], flops=adds
    )


@rule("addmm.default")
def _addmm(call: Call) -> Work:
    return call.moved(
        multiply_adds=call.output.elements * call.type("mat1").shape[-1],
        flops=call.output.elements,
    )


@rule("baddbmm.default")
def _baddbmm(call: Call) -> Work:
    return call.moved(
        multiply_adds=call.output.elements * call.type("batch1").shape[-1],
        flops=call.output.elements,
    )


@rule("addmv.default")
def _addmv(call: Call) -> Work:
    return call.moved(
        multiply_adds=call.type("mat").elements, flops=call.output.elements
    )


@rule("addbmm.default")
def _addbmm(call: Call) -> Work:
    """The products of all pairs are added up."""
    count, _, inner = call.type("batch1").shape
    return call.moved(
        multiply_adds=call.output.elements * count * inner, flops=call.output.elements
    )


@rule("mm.default", "bmm.default", "matmul.default", "mv.default", "dot.default")
def _product(call: Call) -> Work:
    """(..., m, k) @ (..., k, n)."""
    return call.moved(multiply_adds=call.output.elements * call.first.shape[-1])


@rule("einsum.default")
def _einsum(call: Call) -> Work:
    """One multiply-add per point of the index space for each further operand.

    A single operand is summed, or only read in another order.
    """
    equation = str(call.argument("equation")).replace(" ", "")
    operands = call.types("tensors")
    sizes: dict[str, int] = {}
    for letters, kind in zip(
        equation.split("->", maxsplit=1)[0].split(","), operands, strict=True
    ):
        head, _, tail = letters.partition("...")
        # An ellipsis stands for the dimensions without a letter, aligned at their end.
        unnamed = len(kind.shape) - len(head) - len(tail)
        names = [*head, *(f".{place}" for place in range(unnamed, 0, -1)), *tail]
        for name, size in zip(names, kind.shape, strict=True):
            if sizes.get(name, 1) == 1:  # a dimension of size one is broadcast
                sizes[name] = size
    points = math.prod(sizes.values())
    summed = len(operands) == 1 and points > call.output.elements
    return call.moved(
        multiply_adds=points * (len(operands) - 1), flops=points if summed else 0
    )


# Attention and recurrence


@rule("scaled_dot_product_attention.default")
def _attention(call: Call) -> Work:
    """Query (..., m, d), key (..., n, d), value (..., n, e)."""
    query, key = call.type("query").shape, call.type("key").shape
    value = call.type("value").shape
    # Leading dimensions are broadcast; heads of keys and values may be fewer.
    scores = math.prod(call.output.shape[:-1]) * key[-2]
    return call.moved(
        multiply_adds=scores * (query[-1] + value[-1]),
        flops=scores * (_SOFTMAX_FLOPS + (1 if call.has("attn_mask") else 0)),
    )


def _recurrent(gates: int) -> Callable[[Call], Work]:
    """Every step multiplies input and state by the weights of all gates."""

    def work(call: Call) -> Work:
        sequence = call.type("input").shape
        steps = math.prod(sequence[:-1])  # steps x batch
        matrices = [kind for kind in call.types("params") if len(kind.shape) == 2]
        # (layers x directions, batch, units); that of an LSTM's cells comes last.
        state = call.types("hx")[-1].shape
        hidden = state[0] * state[-1]
        return call.moved(
            multiply_adds=steps * sum(kind.elements for kind in matrices),
            flops=steps * hidden * gates * (TRANSCENDENTAL + 3),
        )

    return work


rule("lstm.input")(_recurrent(4))
rule("gru.input")(_recurrent(3))
rule("rnn_tanh.input", "rnn_relu.input")(_recurrent(1))


@rule(
    "lstm_cell.default",
    "gru_cell.default",
    "rnn_tanh_cell.default",
    "rnn_relu_cell.default",
)
def _cell(call: Call) -> Work:
    batch = call.type("input").shape[0]
    w_ih, w_hh = call.type("w_ih"), call.type("w_hh")
    return call.moved(
        multiply_adds=batch * (w_ih.elements + w_hh.elements),
        flops=batch * w_ih.shape[0] * (TRANSCENDENTAL + 3),
    )


# Tables: only the rows that are named are read


@rule("embedding.default")
def _embedding(call: Call) -> Work:
    rows = call.output.size_bytes
    return Work(
        read_bytes=call.type("indices").size_bytes,
        weight_bytes=min(rows, call.type("weight").size_bytes),
        write_bytes=rows,
    )


@rule(
    "embedding_bag.default",
    "embedding_bag.padding_idx",
    "_embedding_bag.default",
    "_embedding_bag_forward_only.default",
)
def _embedding_bag(call: Call) -> Work:
    table, indices = call.type("weight"), call.type("indices")
    width = table.shape[1]
    rows = indices.elements * table.size_bytes // max(1, table.shape[0])
    weighted = call.has("per_sample_weights")
    return Work(
        flops=indices.elements * width * (2 if weighted else 1),
        read_bytes=sum(
            call.type(name).size_bytes
            for name in ("indices", "offsets", "per_sample_weights")
            if call.has(name)
        ),
        weight_bytes=rows,  # rows that are named twice are read twice
        write_bytes=call.output.size_bytes,
    )


# Everything else does a fixed number of operations an element

_SOFTMAX_FLOPS = TRANSCENDENTAL + 4  # maximum, difference, exp, sum, quotient
_NORM_FLOPS = {
    "batch_norm.default": 2,  # scale and shift, both folded from the statistics
    "_native_batch_norm_legit_no_training.default": 2,
    "native_batch_norm.default": 2,
    "rms_norm.default": 4,  # square, sum, scale, scale
    "linalg_vector_norm.default": 2,  # power, sum
    "norm.Scalar": 2,
    "norm.ScalarOpt_dim": 2,
}
_FULL_NORM_FLOPS = 7  # sum, square, sum, difference, scale, scale, shift

_POLYNOMIAL = frozenset(
    {
        "pow.Tensor_Scalar", "pow.Tensor_Tensor", "pow.Scalar", "exp.default",
        "expm1.default", "log.default", "log1p.default", "log2.default", "sin.default",
        "cos.default", "tan.default", "atan2.default", "erf.default", "elu.default",
        "asin.default", "acos.default", "atan.default", "sinh.default", "cosh.default",
        "asinh.default", "acosh.default", "atanh.default", "log10.default",
        "exp2.default", "logit.default", "logaddexp.default", "logaddexp2.default",
        "xlogy.Tensor", "erfc.default", "erfinv.default", "lgamma.default",
        "digamma.default",
        "selu.default", "celu.default", "gelu.default", "silu.default", "mish.default",
        "sigmoid.default", "log_sigmoid.default", "tanh.default", "softplus.default",
        "glu.default",
    }
)  # fmt: skip
_ROOT = frozenset(
    {
        "sqrt.default", "rsqrt.default", "reciprocal.default", "div.Tensor",
        "div.Scalar", "div.Tensor_mode", "div.Scalar_mode", "floor_divide.default",
        "remainder.Tensor", "remainder.Scalar", "addcdiv.default",
        "remainder.Scalar_Tensor", "fmod.Tensor", "fmod.Scalar", "floor_divide.Scalar",
        "hypot.default",
    }
)  # fmt: skip
_ROOT_FLOPS = 4  # a Newton step and its start


def _per_element(flops: int) -> Callable[[Call], Work]:
    def work(call: Call) -> Work:
        return call.moved(flops=flops * call.output.elements)

    return work


def _per_input_element(flops: int) -> Callable[[Call], Work]:
    def work(call: Call) -> Work:
        return call.moved(flops=flops * call.first.elements)

    return work


def _rank(call: Call) -> int:
    return 1 if "1d" in call.node.op else 3 if "3d" in call.node.op else 2


def _pool(call: Call) -> Work:
    """Every output looks at one window."""
    if call.has("kernel_size"):
        window = call.numbers("kernel_size")
        size = math.prod(window) if len(window) > 1 else window[0] ** _rank(call)
        return call.moved(flops=size * call.output.elements)
    return call.moved(flops=_adaptive(call))


def _adaptive(call: Call) -> int:
    """Windows go from floor(i n / m) to ceil((i + 1) n / m): they may overlap."""
    rank = _rank(call)
    wide, narrow = call.first.shape[-rank:], call.output.shape[-rank:]
    looks = math.prod(call.output.shape[:-rank])
    for n, m in zip(wide, narrow, strict=True):
        looks *= sum(-(-(i + 1) * n // m) - i * n // m for i in range(m))
    return looks


def _resample(call: Call) -> Work:
    op = call.node.op
    taps = 2 ** (3 if "3d" in op else 1 if "1d" in op else 2)
    if "bicubic" in op or "nearest" in op:
        taps = 16 if "bicubic" in op else 1
    return call.moved(flops=2 * taps * call.output.elements)


@rule(
    "topk.default",
    "sort.default",
    "sort.stable",
    "argsort.default",
    "argsort.stable",
    "mode.default",
)
def _sort(call: Call) -> Work:
    dimension = call.number("dim") if call.has("dim") else -1
    length = max(call.first.shape[dimension] if call.first.shape else 1, 2)
    return call.moved(flops=call.first.elements * math.ceil(math.log2(length)))


@rule("logsumexp.default", "logcumsumexp.default")
def _logsumexp(call: Call) -> Work:
    """Maximum, difference, exp and sum of every element, log of every result."""
    return call.moved(
        flops=(TRANSCENDENTAL + 3) * call.first.elements
        + TRANSCENDENTAL * call.output.elements
    )


@rule("cdist.default", "_cdist_forward.default")
def _distances(call: Call) -> Work:
    """Difference, power and sum for every place of every pair, then a root."""
    width = call.type("x1").shape[-1]
    return call.moved(flops=(3 * width + _ROOT_FLOPS) * call.output.elements)


def _moves(call: Call) -> Work:
    """Copies: no more is read than is written, nor more than there is."""
    inputs = dict.fromkeys(call.node.inputs)
    given = sum(call.graph.type_of(ref).size_bytes for ref in inputs)
    written = sum(kind.size_bytes for kind in call.outputs())
    return Work(read_bytes=min(given, written), write_bytes=written)


def _reads(call: Call, name: str) -> Work:
    """Only that argument is read; another one gives a shape or a dtype."""
    size = call.type(name).size_bytes
    ref = call.argument(name)
    constant = isinstance(ref, Ref) and call.graph.is_weight(ref)
    return Work(
        read_bytes=0 if constant else size,
        weight_bytes=size if constant else 0,
        write_bytes=sum(kind.size_bytes for kind in call.outputs()),
    )


@rule(
    "to.dtype",
    "to.dtype_layout",
    "to.device",
    "to.other",
    "_to_copy.default",
    "type_as.default",
)
def _converts(call: Call) -> Work:
    return _reads(call, "self")


@rule("copy.default")
def _overwrites(call: Call) -> Work:
    return _reads(call, "src")


@rule("index.Tensor", "index_select.default", "gather.default", "take.default")
def _picks(call: Call) -> Work:
    """As much is read as is written, and the places."""
    places = call.types("indices" if call.has("indices") else "index")
    written = sum(kind.size_bytes for kind in call.outputs())
    return Work(
        read_bytes=sum(kind.size_bytes for kind in places) + written,
        write_bytes=written,
    )


@rule("searchsorted.Tensor")
def _searches(call: Call) -> Work:
    """Every value is compared as often as its row can be halved."""
    row = call.type("sorted_sequence").shape[-1]
    looks = math.ceil(math.log2(max(row, 2)))
    return call.moved(flops=looks * call.output.elements)


@rule(
    "index_put.default",
    "scatter.src",
    "scatter.value",
    "index_fill.int_Scalar",
    "index_copy.default",
    "masked_scatter.default",
    "diagonal_scatter.default",
)
def _puts(call: Call) -> Work:
    return call.moved()


@rule("scatter_add.default", "index_add.default", "scatter_reduce.two")
def _adds(call: Call) -> Work:
    """Every element of the source is added somewhere."""
    source = call.type("src" if call.has("src") else "source")
    return call.moved(flops=source.elements)


@rule("col2im.default")
def _folds(call: Call) -> Work:
    """Every element of the columns is added into the image."""
    return call.moved(flops=call.first.elements)


@rule("fill.Scalar", "fill.Tensor", "zero.default")
def _creates(call: Call) -> Work:
    return Work(write_bytes=sum(kind.size_bytes for kind in call.outputs()))


def _shows(call: Call) -> Work:
    """Views and what is an identity when a network is evaluated."""
    del call
    return Work()


def _elementwise(name: str) -> Callable[[Call], Work]:
    if name in _POLYNOMIAL:
        return _per_element(TRANSCENDENTAL)
    if name in _ROOT:
        return _per_element(_ROOT_FLOPS)
    return _per_element(1)


def _fill_in() -> None:
    """Give every operator that has no rule above the rule of its family."""
    for op, entry in OPERATORS.items():
        if op in RULES:
            continue
        name = op.removeprefix("aten.")
        match entry.family:
            case Family.ELEMENTWISE:
                RULES[op] = _elementwise(name)
            case Family.NORM:
                RULES[op] = _per_input_element(_NORM_FLOPS.get(name, _FULL_NORM_FLOPS))
            case Family.SOFTMAX:
                RULES[op] = _per_element(_SOFTMAX_FLOPS)
            case Family.POOL:
                RULES[op] = _pool
            case Family.REDUCTION:
                RULES[op] = _per_input_element(
                    4 if name.startswith(("var", "std")) else 1
                )
            case Family.RESAMPLE:
                RULES[op] = _resample
            case Family.MOVE:
                RULES[op] = _moves
            case Family.CREATE:
                RULES[op] = _creates
            case Family.VIEW:
                RULES[op] = _shows
            case _:
                pass  # a family whose operators each need a rule of their own


_fill_in()
