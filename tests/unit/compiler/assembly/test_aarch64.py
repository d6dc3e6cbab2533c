import pytest

from trimtab.compiler.assembly.aarch64 import decode
from trimtab.compiler.assembly.instruction import FLAGS, Effect, Part
from trimtab.hardware.operations import Operation as Op


def read(mnemonic, operands):
    return decode(mnemonic, operands)


def test_multiply_adds():
    found = read("fmla", "v9.4s, v2.4s, v15.s[0]")
    assert (found.operation, found.bits, found.lanes) == (Op.FMA, 128, 4)
    assert found.packed
    assert found.reads == ("v9", "v2", "v15")
    assert found.addend == "v9"
    scalar = read("fmadd", "s0, s1, s2, s3")
    assert (scalar.bits, scalar.lanes, scalar.packed) == (32, 1, False)
    assert scalar.addend == "v3"
    assert scalar.reads == ("v1", "v2", "v3")


def test_a_pair_is_two_loads():
    found = read("ldp", "q13, q14, [x6, #-32]")
    assert found.parts == (Part(Op.LOAD, 128, 2),)
    assert found.loads == 2
    assert found.writes == ("v13", "v14")
    assert (found.memory.base, found.memory.displacement) == ("x6", -32)
    assert found.memory.size_bytes == 2 * 16
    integers = read("ldp", "x20, x19, [sp, #96]")
    assert integers.parts == (Part(Op.LOAD_INTEGER, 64),)
    assert integers.memory.stack


def test_addresses_that_move_on():
    after = read("ldp", "q15, q0, [x6], #64")
    assert after.effect == Effect("add", "x6", "x6", value=64)
    assert after.writes == ("v15", "v0", "x6")
    assert after.memory.displacement == 0
    before = read("stp", "d15, d14, [sp, #-96]!")
    assert before.effect == Effect("add", "sp", "sp", value=-96)
    assert before.stores == 2
    assert before.memory.displacement == -96


def test_indexed_addresses():
    found = read("ldr", "q0, [x8, x9, lsl #4]")
    assert (found.memory.base, found.memory.index) == ("x8", "x9")
    assert found.memory.scale == 1 << 4


def test_a_broadcast_load():
    found = read("ld1r", "{ v0.4s }, [x19], #4")
    assert found.operation is Op.LOAD_BROADCAST
    assert found.broadcast
    assert found.memory.size_bytes == 4
    assert found.writes == ("v0", "x19")


def test_lists_of_registers():
    found = read("ld1", "{ v0.4s, v1.4s, v2.4s }, [x0]")
    assert found.parts == (Part(Op.LOAD, 128, 3),)
    assert found.writes == ("v0", "v1", "v2")
    span = read("ld4", "{ v4.16b - v7.16b }, [x0]")
    assert span.operation is Op.LOAD_INTERLEAVED
    assert span.writes == ("v4", "v5", "v6", "v7")
    lane = read("ld1", "{ v0.s }[1], [x8]")
    assert lane.reads == ("v0",)
    assert lane.memory.size_bytes == 4
    stored = read("st1", "{ v0.4s }, [x8]")
    assert (stored.operation, stored.reads) == (Op.STORE, ("v0",))


def test_moves_and_constants():
    assert read("mov", "v7.16b, v14.16b").operation is Op.VECTOR_MOVE
    assert read("movi", "v31.2d, #0000000000000000").operation is Op.ZERO
    assert read("movi", "v31.4s, #1").operation is Op.CONSTANT
    assert read("fmov", "v0.4s, #1.00000000").operation is Op.CONSTANT
    assert read("fmov", "w8, s0").operation is Op.FROM_VECTOR
    assert read("fmov", "s0, w8").operation is Op.TO_VECTOR
    assert read("dup", "v0.4s, w8").operation is Op.TO_VECTOR
    assert read("dup", "v0.4s, v1.s[0]").operation is Op.BROADCAST
    inserted = read("mov", "v0.s[1], v2.s[0]")
    assert (inserted.operation, inserted.reads) == (Op.SHUFFLE, ("v2", "v0"))
    assert read("mov", "x8, xzr").operation is Op.ZERO
    assert read("mov", "w8, #4144").operation is Op.INTEGER
    assert read("mov", "x1, x11").operation is Op.MOVE


@pytest.mark.parametrize(
    ("mnemonic", "operands", "effect"),
    [
        ("mov", "w7, #64", Effect("set", "x7", value=64)),
        ("mov", "x8, xzr", Effect("set", "x8")),
        ("mov", "x1, x11", Effect("add", "x1", "x11")),
        ("add", "x9, x1, #32", Effect("add", "x9", "x1", value=32)),
        ("add", "x9, x1, #1, lsl #12", Effect("add", "x9", "x1", value=1 << 12)),
        ("subs", "x7, x7, #1", Effect("add", "x7", "x7", value=-1)),
        ("cmp", "x8, #28", Effect("compare", source="x8", value=28)),
        ("cmp", "x8, #1, lsl #12", Effect("compare", source="x8", value=1 << 12)),
        ("cmp", "x8, x9", Effect("compare", source="x8", other="x9")),
        ("add", "x8, x8, x9", None),
    ],
)
def test_effects_on_whole_numbers(mnemonic, operands, effect):
    assert read(mnemonic, operands).effect == effect


def test_flags_and_branches():
    assert FLAGS in read("subs", "x7, x7, #1").writes
    assert read("cmp", "x8, #28").writes == (FLAGS,)
    found = read("b.ne", ".LBB3_4")
    assert (found.target, found.condition) == (".LBB3_4", "ne")
    tested = read("cbnz", "x7, .LBB3_4")
    assert (tested.condition, tested.reads) == ("ne", ("x7",))
    assert tested.effect == Effect("compare", source="x7")
    assert read("csel", "x0, x1, x2, ne").reads == ("x1", "x2", FLAGS)


def test_shifted_registers_are_read():
    assert read("add", "x8, x8, x9, lsl #2").reads == ("x8", "x9")


def test_conversions_tell_general_registers():
    assert read("scvtf", "s0, w8").operation is Op.CONVERT_FROM_INTEGER
    assert read("fcvtzs", "w8, s0").operation is Op.CONVERT_TO_INTEGER
    assert read("fcvtzs", "v0.4s, v0.4s").operation is Op.CONVERT


def test_sve_is_read_with_a_width_of_zero():
    found = read("fmla", "z0.s, p0/m, z1.s, z2.s")
    assert (found.operation, found.bits) == (Op.FMA, 0)
    assert set(found.reads) == {"v0", "p0", "v1", "v2"}
    load = read("ld1w", "{ z0.s }, p0/z, [x0, x1, lsl #2]")
    assert load.operation is Op.LOAD
    assert load.reads == ("p0",)


def test_unknown_instructions_keep_their_name():
    assert not read("frobnicate", "v0.4s, v1.4s").known
