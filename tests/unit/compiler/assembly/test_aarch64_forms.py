import pytest

from trimtab.compiler.assembly.aarch64_forms import integer_form, vector_form
from trimtab.hardware.operations import Operation as Op


@pytest.mark.parametrize(
    ("name", "operation"),
    [
        ("fmla", Op.FMA), ("fmadd", Op.FMA), ("fmul", Op.MULTIPLY), ("fadd", Op.ADD),
        ("fmaxnm", Op.MINMAX), ("fmaxv", Op.REDUCE), ("fdiv", Op.DIVIDE),
        ("fsqrt", Op.SQRT), ("frecpe", Op.RECIPROCAL), ("frintm", Op.ROUND),
        ("fcmgt", Op.COMPARE), ("fcmp", Op.COMPARE_FLAGS), ("fcvtzs", Op.CONVERT),
        ("scvtf", Op.CONVERT), ("movi", Op.CONSTANT), ("bsl", Op.SELECT),
        ("orr", Op.LOGIC),
        ("zip1", Op.SHUFFLE), ("ext", Op.SHUFFLE), ("dup", Op.BROADCAST),
        ("add", Op.VECTOR_ADD), ("mul", Op.VECTOR_MULTIPLY), ("shl", Op.VECTOR_SHIFT),
        ("ushll", Op.VECTOR_SHIFT), ("whilelo", Op.MASK), ("frobnicate", None),
    ],
)  # fmt: skip
def test_vectors(name, operation):
    assert vector_form(name) is operation


@pytest.mark.parametrize(
    ("name", "operation"),
    [
        ("add", Op.INTEGER), ("subs", Op.INTEGER), ("cmp", Op.INTEGER),
        ("lsl", Op.SHIFT),
        ("madd", Op.INTEGER_MULTIPLY), ("udiv", Op.INTEGER_DIVIDE), ("clz", Op.BITS),
        ("csel", Op.CONDITIONAL), ("adrp", Op.ADDRESS), ("mov", Op.MOVE),
        ("bl", Op.CALL),
        ("nop", Op.NOTHING), ("prfm", Op.PREFETCH), ("frobnicate", None),
    ],
)  # fmt: skip
def test_integers(name, operation):
    assert integer_form(name) is operation
