"""The operator vocabulary; over 400 lines because it is one line an operator.

It is what a graph may contain and what each operator means.

A graph from a file runs only operators listed here (`trimtab.graph.execute`), and every
one has a work rule (`trimtab.cost.work`). All are functional: in-place operators become
their functional form at capture. To add one, give it a line below and a rule there; a
test compares the two lists. What is not listed, but pure, is kept as an opaque operator
(`trimtab.graph.opaque`).
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import final

from trimtab.frozen import FrozenDict

__all__ = [
    "OPAQUE",
    "OPERATORS",
    "Family",
    "Operator",
    "functional_form",
    "is_opaque",
    "is_view",
]

OPAQUE = "opaque."
"""How the names of operators begin that a graph holds without knowing them."""


class Family(enum.StrEnum):
    """What kind of work an operator does; work rules and reports go by it."""

    CONVOLUTION = "convolution"
    MATMUL = "matmul"
    ATTENTION = "attention"
    RECURRENT = "recurrent"
    EMBEDDING = "embedding"
    NORM = "norm"
    SOFTMAX = "softmax"
    POOL = "pool"
    REDUCTION = "reduction"
    RESAMPLE = "resample"
    ELEMENTWISE = "elementwise"
    MOVE = "move"
    CREATE = "create"
    VIEW = "view"
    OPAQUE = "opaque"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """One entry of the vocabulary.

    Attributes:
        name: PyTorch's, with the overload.
        family: the kind of its work.
        meaning: one line.
    """

    name: str
    family: Family
    meaning: str


# One line an operator: name without "aten.", then its meaning.
_VOCABULARY: Mapping[Family, str] = {
    Family.CONVOLUTION: """
        conv1d.default               1-D convolution, (N, C, L)
        conv2d.default               2-D convolution, (N, C, H, W)
        conv1d.padding               1-D convolution, padding by name
        conv2d.padding               2-D convolution, padding by name
        conv3d.padding               3-D convolution, padding by name
        conv3d.default               3-D convolution, (N, C, D, H, W)
        conv_transpose1d.default     transposed 1-D convolution
        conv_transpose2d.input       transposed 2-D convolution
        conv_transpose3d.input       transposed 3-D convolution
        convolution.default          convolution of any rank, also transposed
    """,
    Family.MATMUL: """
        linear.default               x @ weight.T + bias
        addmm.default                input + mat1 @ mat2
        mm.default                   matrix product
        bmm.default                  batched matrix product
        baddbmm.default              input + batched matrix product
        matmul.default               matrix product with broadcasting
        mv.default                   matrix times vector
        dot.default                  inner product
        addmv.default                input + matrix times vector
        addbmm.default               input + sum of batched matrix products
        einsum.default               sum over named indices
        cdist.default                distances of all pairs of rows
        _cdist_forward.default       distances of all pairs of rows, internal form
    """,
    Family.ATTENTION: """
        scaled_dot_product_attention.default  softmax(q k.T / sqrt d + mask) v
    """,
    Family.RECURRENT: """
        lstm.input                   stacked long short-term memory layers
        gru.input                    stacked gated recurrent layers
        rnn_tanh.input               stacked Elman layers, tanh
        rnn_relu.input               stacked Elman layers, ReLU
        lstm_cell.default            one step of an LSTM
        gru_cell.default             one step of a GRU
        rnn_tanh_cell.default        one step of an Elman layer, tanh
        rnn_relu_cell.default        one step of an Elman layer, ReLU
    """,
    Family.EMBEDDING: """
        embedding.default            rows of a table
        embedding_bag.default        pooled rows of a table
        embedding_bag.padding_idx    pooled rows of a table, one row left out
        _embedding_bag.default       pooled rows of a table, internal form
        _embedding_bag_forward_only.default  pooled rows of a table, internal form
    """,
    Family.NORM: """
        batch_norm.default           batch normalisation
        _native_batch_norm_legit_no_training.default  batch normalisation, internal form
        native_batch_norm.default    batch normalisation, internal form
        layer_norm.default           layer normalisation
        native_layer_norm.default    layer normalisation, internal form
        group_norm.default           group normalisation
        native_group_norm.default    group normalisation, internal form
        instance_norm.default        instance normalisation
        rms_norm.default             root-mean-square normalisation
        linalg_vector_norm.default   p-norm along dimensions
        norm.Scalar                  p-norm of all
        norm.ScalarOpt_dim           p-norm along dimensions
    """,
    Family.SOFTMAX: """
        softmax.int                  softmax along a dimension
        _softmax.default             softmax, internal form
        _safe_softmax.default        softmax that gives zeros for fully masked rows
        log_softmax.int              logarithm of softmax
        _log_softmax.default         logarithm of softmax, internal form
    """,
    Family.POOL: """
        max_pool1d.default           maximum of a window
        max_pool2d.default           maximum of a window
        max_pool3d.default           maximum of a window
        max_pool2d_with_indices.default  maximum of a window and its place
        avg_pool1d.default           mean of a window
        avg_pool2d.default           mean of a window
        avg_pool3d.default           mean of a window
        adaptive_avg_pool1d.default  mean of windows that give a size
        adaptive_avg_pool2d.default  mean of windows that give a size
        adaptive_avg_pool3d.default  mean of windows that give a size
        _adaptive_avg_pool2d.default mean of windows that give a size, internal form
        adaptive_max_pool2d.default  maximum of windows that give a size
    """,
    Family.REDUCTION: """
        mean.default                 mean of all
        mean.dim                     mean along dimensions
        sum.default                  sum of all
        sum.dim_IntList              sum along dimensions
        amax.default                 maximum along dimensions
        amin.default                 minimum along dimensions
        max.default                  maximum of all
        max.dim                      maximum along a dimension, and its place
        min.default                  minimum of all
        min.dim                      minimum along a dimension, and its place
        argmax.default               place of the maximum
        argmin.default               place of the minimum
        var.correction               variance
        var.dim                      variance along dimensions
        var_mean.correction          variance and mean
        std.correction               standard deviation
        std.dim                      standard deviation along dimensions
        prod.dim_int                 product along a dimension
        any.default                  whether any is true
        any.dim                      whether any is true along a dimension
        all.default                  whether all are true
        cumsum.default               running sum
        topk.default                 the k largest, and their places
        sort.default                 sorted, and the places
        argsort.default              places that sort
        argsort.stable               places that sort, equal ones in order
        sort.stable                  sorted, equal ones in order, and the places
        kthvalue.default             the k-th smallest, and its place
        median.default               middle value of all
        median.dim                   middle value along a dimension, and its place
        mode.default                 most frequent value, and its place
        prod.default                 product of all
        nansum.default               sum of what is a number
        logsumexp.default            logarithm of the sum of exponentials
        logcumsumexp.default         running logarithm of the sum of exponentials
        cumprod.default              running product
        cummax.default               running maximum, and its place
        cummin.default               running minimum, and its place
        aminmax.default              minimum and maximum
        std_mean.correction          standard deviation and mean
        any.dims                     whether any is true along dimensions
        all.dim                      whether all are true along a dimension
        all.dims                     whether all are true along dimensions
        count_nonzero.dim_IntList    how many are not zero
    """,
    Family.RESAMPLE: """
        upsample_nearest1d.vec       nearest neighbour, 1-D
        upsample_nearest2d.vec       nearest neighbour, 2-D
        upsample_bilinear2d.vec      bilinear
        upsample_bicubic2d.vec       bicubic
        upsample_nearest2d.default   nearest neighbour, 2-D
        upsample_bilinear2d.default  bilinear
        upsample_bicubic2d.default   bicubic
        grid_sampler.default         values at given places
        grid_sampler_2d.default      values at given places
        grid_sampler_3d.default      values at given places, 3-D
        upsample_linear1d.vec        linear, 1-D
        upsample_trilinear3d.vec     trilinear
        upsample_nearest3d.vec       nearest neighbour, 3-D
    """,
    Family.ELEMENTWISE: """
        add.Tensor                   sum
        add.Scalar                   sum with a number
        sub.Tensor                   difference
        sub.Scalar                   difference with a number
        rsub.Tensor                  difference, reversed
        rsub.Scalar                  difference, reversed
        mul.Tensor                   product
        mul.Scalar                   product with a number
        div.Tensor                   quotient
        div.Scalar                   quotient by a number
        div.Tensor_mode              quotient, rounded
        div.Scalar_mode              quotient, rounded
        floor_divide.default         quotient, rounded down
        remainder.Tensor             remainder
        remainder.Scalar             remainder
        remainder.Scalar_Tensor      remainder of a number
        fmod.Tensor                  remainder with the sign of the dividend
        fmod.Scalar                  remainder with the sign of the dividend
        floor_divide.Scalar          quotient by a number, rounded down
        pow.Tensor_Scalar            power
        pow.Tensor_Tensor            power
        pow.Scalar                   power of a number
        addcmul.default              input + value * a * b
        addcdiv.default              input + value * a / b
        lerp.Scalar                  linear interpolation
        lerp.Tensor                  linear interpolation
        maximum.default              larger of two
        minimum.default              smaller of two
        max.other                    larger of two
        min.other                    smaller of two
        fmax.default                 larger of two, or the one that is a number
        fmin.default                 smaller of two, or the one that is a number
        hypot.default                sqrt(a^2 + b^2)
        copysign.Tensor              magnitude of one, sign of the other
        heaviside.default            0, 1, or a given value at 0
        clamp.default                between two bounds
        clamp.Tensor                 between two bounds
        clamp_min.default            not below a bound
        clamp_max.default            not above a bound
        clamp_min.Tensor             not below a bound
        clamp_max.Tensor             not above a bound
        neg.default                  minus
        abs.default                  magnitude
        sign.default                 sign
        sgn.default                  sign
        signbit.default              whether the sign is minus
        frac.default                 what is behind the point
        deg2rad.default              degrees to radians
        rad2deg.default              radians to degrees
        square.default               square
        sqrt.default                 square root
        rsqrt.default                inverse square root
        reciprocal.default           inverse
        exp.default                  exponential
        expm1.default                exponential minus one
        log.default                  logarithm
        log1p.default                logarithm of one plus
        log2.default                 logarithm to the base 2
        sin.default                  sine
        cos.default                  cosine
        tan.default                  tangent
        asin.default                 arc sine
        acos.default                 arc cosine
        atan.default                 arc tangent
        sinh.default                 hyperbolic sine
        cosh.default                 hyperbolic cosine
        asinh.default                inverse hyperbolic sine
        acosh.default                inverse hyperbolic cosine
        atanh.default                inverse hyperbolic tangent
        log10.default                logarithm to the base 10
        exp2.default                 power of 2
        logit.default                logarithm of odds, log(x / (1 - x))
        logaddexp.default            log(exp a + exp b)
        logaddexp2.default           log2(2^a + 2^b)
        xlogy.Tensor                 a * log b, 0 where a is
        atan2.default                angle
        erf.default                  error function
        erfc.default                 one minus the error function
        erfinv.default               inverse error function
        lgamma.default               logarithm of the gamma function
        digamma.default              its derivative
        floor.default                rounded down
        ceil.default                 rounded up
        round.default                rounded
        round.decimals               rounded to decimals
        trunc.default                rounded toward zero
        relu.default                 max(x, 0)
        relu6.default                min(max(x, 0), 6)
        hardtanh.default             between two bounds
        leaky_relu.default           x, or a slope times x below zero
        elu.default                  x, or an exponential below zero
        selu.default                 scaled elu
        celu.default                 continuous elu
        prelu.default                leaky ReLU with a learned slope
        _prelu_kernel.default        leaky ReLU with a learned slope, internal form
        gelu.default                 x * Phi(x)
        silu.default                 x * sigmoid(x)
        mish.default                 x * tanh(softplus(x))
        sigmoid.default              logistic function
        log_sigmoid.default          logarithm of the logistic function
        hardsigmoid.default          piecewise linear logistic function
        hardswish.default            x * hardsigmoid(x)
        hardshrink.default           x, or zero near zero
        softshrink.default           x moved toward zero
        threshold.default            x, or a number below a threshold
        tanh.default                 hyperbolic tangent
        softplus.default             log(1 + exp x)
        glu.default                  half times sigmoid of the other half
        eq.Scalar                    equal
        eq.Tensor                    equal
        ne.Scalar                    not equal
        ne.Tensor                    not equal
        lt.Scalar                    less
        lt.Tensor                    less
        le.Scalar                    at most
        le.Tensor                    at most
        gt.Scalar                    greater
        gt.Tensor                    greater
        ge.Scalar                    at least
        ge.Tensor                    at least
        isnan.default                not a number
        isinf.default                infinite
        isposinf.default             plus infinity
        isneginf.default             minus infinity
        isfinite.default             neither infinite nor NaN
        logical_and.default          and
        logical_or.default           or
        logical_not.default          not
        logical_xor.default          exclusive or
        bitwise_and.Tensor           and, bit by bit
        bitwise_or.Tensor            or, bit by bit
        bitwise_not.default          not, bit by bit
        bitwise_xor.Tensor           exclusive or, bit by bit
        bitwise_and.Scalar           and, bit by bit, with a number
        bitwise_or.Scalar            or, bit by bit, with a number
        bitwise_xor.Scalar           exclusive or, bit by bit, with a number
        where.self                   one or the other
        where.ScalarOther            one or a number
        where.ScalarSelf             a number or the other
        where.Scalar                 one number or the other
        masked_fill.Scalar           a number where a mask is true
        masked_fill.Tensor           a number where a mask is true
        nan_to_num.default           finite numbers
        fill.Scalar                  a number everywhere
        fill.Tensor                  a number everywhere
        zero.default                 zero everywhere
        copy.default                 values of another tensor
    """,
    Family.MOVE: """
        cat.default                  joined along a dimension
        concat.default               joined along a dimension
        stack.default                joined along a new dimension
        pad.default                  padded
        constant_pad_nd.default      padded with a number
        reflection_pad1d.default     padded with its mirror image
        reflection_pad2d.default     padded with its mirror image
        reflection_pad3d.default     padded with its mirror image
        replication_pad1d.default    padded with its border
        replication_pad2d.default    padded with its border
        replication_pad3d.default    padded with its border
        clone.default                copy
        contiguous.default           copy in row-major order where it is not yet
        reshape.default              other shape, copied where it must be
        reshape_as.default           shape of another, copied where it must be
        flatten.using_ints           dimensions joined, copied where they must be
        to.dtype                     other dtype
        to.dtype_layout              other dtype
        to.device                    other device or dtype
        to.other                     dtype of another
        _to_copy.default             other dtype, copied
        type_as.default              dtype of another
        index.Tensor                 elements at places
        index_select.default         slices at places
        index_put.default            values written at places
        gather.default               elements at places along a dimension
        scatter.src                  values written at places along a dimension
        scatter.value                a number written at places along a dimension
        scatter_add.default          values added at places along a dimension
        index_add.default            slices added at places
        take.default                 elements at places of the flat tensor
        select_scatter.default       one slice replaced
        slice_scatter.default        a range of slices replaced
        roll.default                 rotated along dimensions
        flip.default                 reversed along dimensions
        repeat.default               repeated
        repeat_interleave.self_int   every element repeated
        tile.default                 repeated
        tril.default                 lower triangle
        triu.default                 upper triangle
        diag_embed.default           diagonals of matrices
        rot90.default                rotated by right angles
        pixel_shuffle.default        channels to space
        pixel_unshuffle.default      space to channels
        channel_shuffle.default      channels of groups interleaved
        im2col.default               windows as columns
        col2im.default               columns added into windows
        one_hot.default              unit vectors
        lift_fresh_copy.default      a tensor written in the code
        _unsafe_view.default         other shape
        meshgrid.indexing            coordinates
        meshgrid.default             coordinates
        bucketize.Tensor             which interval
        searchsorted.Tensor          which interval, by row
        index_fill.int_Scalar        a number at places along a dimension
        index_copy.default           slices written at places
        scatter_reduce.two           values combined at places along a dimension
        masked_scatter.default       values where a mask is true
        diagonal_scatter.default     the diagonal replaced
    """,
    Family.CREATE: """
        zeros.default                zeros
        zeros_like.default           zeros
        ones.default                 ones
        ones_like.default            ones
        full.default                 a number
        full_like.default            a number
        empty.memory_format          memory that is written later
        empty_like.default           memory that is written later
        new_zeros.default            zeros
        new_ones.default             ones
        new_full.default             a number
        new_empty.default            memory that is written later
        arange.default               0, 1, 2 ...
        arange.start                 a range
        arange.start_step            a range with a step
        linspace.default             evenly spaced
        eye.default                  identity matrix
        scalar_tensor.default        a number as a tensor
        tril_indices.default         places of the lower triangle
        triu_indices.default         places of the upper triangle
    """,
    Family.VIEW: """
        view.default                 other shape
        view.dtype                   other dtype, same bits
        view_as.default              shape of another
        permute.default              dimensions reordered
        transpose.int                two dimensions swapped
        t.default                    matrix transposed
        numpy_T.default              dimensions reversed
        mT.default                   last two dimensions swapped
        squeeze.default              dimensions of size one removed
        squeeze.dim                  a dimension of size one removed
        squeeze.dims                 dimensions of size one removed
        unsqueeze.default            a dimension of size one added
        expand.default               repeated without copying
        expand_as.default            repeated without copying
        broadcast_to.default         repeated without copying
        select.int                   one slice
        slice.Tensor                 a range of slices
        narrow.default               a range of slices
        unbind.int                   all slices
        chunk.default                equal parts
        split.Tensor                 parts of a size
        split.sizes                  parts of sizes
        split_with_sizes.default     parts of sizes
        tensor_split.indices         parts at places
        unflatten.int                a dimension split
        movedim.int                  a dimension moved
        movedim.intlist              dimensions moved
        swapaxes.default             two dimensions swapped
        diagonal.default             the diagonal
        unfold.default               sliding windows
        detach.default               without gradient
        alias.default                the same
        dropout.default              the same: no dropout in evaluation
        feature_dropout.default      the same: no dropout in evaluation
        alpha_dropout.default        the same: no dropout in evaluation
    """,
}


def _entries() -> dict[str, Operator]:
    found: dict[str, Operator] = {}
    for family, lines in _VOCABULARY.items():
        for line in filter(None, map(str.strip, lines.splitlines())):
            name, meaning = line.split(None, 1)
            found[f"aten.{name}"] = Operator(
                name=f"aten.{name}", family=family, meaning=meaning
            )
    return found


@final
class _Vocabulary(Mapping[str, Operator]):
    """Operators by name; of opaque ones, of which there is no list, all it can say."""

    def __init__(self, entries: Mapping[str, Operator]) -> None:
        self._entries = FrozenDict(entries)

    def __getitem__(self, op: str) -> Operator:
        if is_opaque(op):
            meaning = "unknown: PyTorch does it, and it counts as its traffic"
            return Operator(name=op, family=Family.OPAQUE, meaning=meaning)
        return self._entries[op]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


OPERATORS: Mapping[str, Operator] = _Vocabulary(_entries())
"""Every operator a graph may contain, by name; opaque ones are found, not listed."""


_OTHER_NAMES = {
    # pow.Scalar has the number first, pow.Tensor does not exist.
    "aten.pow_.Scalar": "aten.pow.Tensor_Scalar",
    "aten.pow_.Tensor": "aten.pow.Tensor_Tensor",
    # What Python's & | ^ and &= |= ^= call.
    "aten.__and__.Tensor": "aten.bitwise_and.Tensor",
    "aten.__or__.Tensor": "aten.bitwise_or.Tensor",
    "aten.__xor__.Tensor": "aten.bitwise_xor.Tensor",
    "aten.__iand__.Tensor": "aten.bitwise_and.Tensor",
    "aten.__ior__.Tensor": "aten.bitwise_or.Tensor",
    "aten.__ixor__.Tensor": "aten.bitwise_xor.Tensor",
}


def is_opaque(op: str) -> bool:
    """Whether a name is of an operator that graphs hold without knowing it.

    Example:
        >>> is_opaque("opaque.histc.default"), is_opaque("aten.relu.default")
        (True, False)
    """
    return op.startswith(OPAQUE) and op.count(".") == 2


def is_view(op: str) -> bool:
    """Whether the operator only shows memory in another way.

    Example:
        >>> is_view("aten.permute.default"), is_view("aten.clone.default")
        (True, False)
    """
    return OPERATORS[op].family is Family.VIEW


def functional_form(op: str) -> str | None:
    """Return the functional form of an in-place operator, or None if there is none.

    Example:
        >>> functional_form("aten.add_.Tensor"), functional_form("aten.resize_.default")
        ('aten.add.Tensor', None)
    """
    if op in _OTHER_NAMES:
        return _OTHER_NAMES[op]
    base, _, overload = op.rpartition(".")
    if not base.endswith("_"):
        return op if op in OPERATORS else None
    name = f"{base[:-1]}.{overload}"
    return name if name in OPERATORS else None
