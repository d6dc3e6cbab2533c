import pytest

from trimtab.compiler.assembly.x86_forms import form_of
from trimtab.hardware.operations import Operation as Op


def read(name):
    return form_of(name)


@pytest.mark.parametrize(
    ("name", "operation", "element", "packed"),
    [
        ("vfmadd231ps", Op.FMA, 32, True),
        ("vfnmadd213sd", Op.FMA, 64, False),
        ("mulps", Op.MULTIPLY, 32, True),
        ("vaddsd", Op.ADD, 64, False),
        ("maxps", Op.MINMAX, 32, True),
        ("vcmpltps", Op.COMPARE, 32, True),
        ("ucomiss", Op.COMPARE_FLAGS, 32, False),
        ("vroundps", Op.ROUND, 32, True),
        ("vrndscaleps", Op.ROUND, 32, True),
        ("vcvtps2dq", Op.CONVERT, 32, True),
        ("vcvttps2dq", Op.CONVERT, 32, True),
        ("cvtsi2ss", Op.CONVERT_FROM_INTEGER, 32, False),
        ("cvttss2si", Op.CONVERT_TO_INTEGER, 32, False),
        ("vxorps", Op.LOGIC, 32, True),
        ("vpternlogd", Op.LOGIC, 32, True),
        ("vshufps", Op.SHUFFLE, 32, True),
        ("vpermps", Op.PERMUTE, 32, True),
        ("vpermt2ps", Op.PERMUTE, 32, True),
        ("vperm2f128", Op.PERMUTE_LANES, 32, True),
        ("vextractf64x4", Op.EXTRACT_LANES, 32, True),
        ("vbroadcastss", Op.BROADCAST, 32, True),
        ("vblendvps", Op.SELECT, 32, True),
        ("vpaddd", Op.VECTOR_ADD, 32, True),
        ("vpmulld", Op.VECTOR_MULTIPLY, 32, True),
        ("vpslld", Op.VECTOR_SHIFT, 32, True),
        ("kandw", Op.MASK, 16, True),
        ("vmovups", Op.VECTOR_MOVE, 32, True),
        ("vmovdqu64", Op.VECTOR_MOVE, 32, True),
        ("movss", Op.VECTOR_MOVE, 32, False),
        ("vgatherdps", Op.GATHER, 32, True),
        ("vmaskmovps", Op.LOAD_MASKED, 32, True),
    ],
)
def test_vector_mnemonics(name, operation, element, packed):
    form = read(name)
    assert (form.operation, form.element_bits, form.packed) == (
        operation,
        element,
        packed,
    )


@pytest.mark.parametrize(
    ("name", "operation"),
    [
        ("addq", Op.INTEGER),
        ("decl", Op.INTEGER),
        ("cmpq", Op.INTEGER),
        ("leaq", Op.ADDRESS),
        ("movl", Op.MOVE),
        ("movslq", Op.INTEGER),
        ("shlq", Op.SHIFT),
        ("imulq", Op.INTEGER_MULTIPLY),
        ("idivl", Op.INTEGER_DIVIDE),
        ("popcntq", Op.BITS),
        ("cmovgeq", Op.CONDITIONAL),
        ("setb", Op.CONDITIONAL),
        ("jne", Op.BRANCH),
        ("jmp", Op.BRANCH),
        ("callq", Op.CALL),
        ("prefetcht0", Op.PREFETCH),
        ("vzeroupper", Op.NOTHING),
        ("pushq", Op.STORE_INTEGER),
    ],
)
def test_integer_mnemonics(name, operation):
    assert read(name).operation is operation


@pytest.mark.parametrize("name", ["vfoo", "vaddsh3", "frobnicate", "fld"])
def test_what_is_not_in_the_tables_is_unknown(name):
    assert read(name) is None
