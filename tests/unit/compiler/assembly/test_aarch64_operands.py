from trimtab.compiler.assembly.aarch64_operands import memory_of, operand_of
from trimtab.compiler.assembly.instruction import Effect


def test_every_width_of_a_register_has_one_name():
    for text in ("x7", "w7"):
        assert operand_of(text).register == "x7"
    for text in ("q3", "d3", "s3", "h3", "b3", "v3.4s", "v3.s[1]", "z3.s"):
        assert operand_of(text).register == "v3"
    assert operand_of("p1/m").register == "p1"
    assert operand_of("sp").register == "sp"
    assert operand_of("wzr").register == ""


def test_widths_and_elements():
    found = operand_of("v2.8h")
    assert (found.bits, found.element, found.packed) == (8 * 16, 16, True)
    lane = operand_of("v2.s[3]")
    assert (lane.element, lane.packed) == (32, False)
    scalar = operand_of("d4")
    assert (scalar.bits, scalar.packed) == (64, False)
    scalable = operand_of("z4.s")
    assert (scalable.bits, scalable.element, scalable.packed) == (0, 32, True)


def test_constants():
    assert operand_of("#-32").value == -32
    assert operand_of("#0x10").value == 16
    assert operand_of("#1, lsl #12").value == 1 << 12
    assert operand_of(":lo12:name").value is None


def test_places_that_stay():
    memory, moved, effect = memory_of(["q0", "[x1, #32]"], 16)
    assert (memory.base, memory.displacement, memory.size_bytes) == ("x1", 32, 16)
    assert (moved, effect) == ((), None)
    scaled, *_ = memory_of(["q0", "[x1, w2, sxtw #3]"], 16)
    assert (scaled.index, scaled.scale) == ("x2", 1 << 3)
    named, *_ = memory_of(["q0", "[x1, :lo12:name]"], 16)
    assert named.symbol == ":lo12:name"


def test_places_that_move_on():
    before, moved, effect = memory_of(["x0", "[sp, #-16]!"], 8)
    assert (before.displacement, before.stack, moved) == (-16, True, ("sp",))
    assert effect == Effect("add", "sp", "sp", value=-16)
    after, moved, effect = memory_of(["x0", "[x1]", "#8"], 8)
    assert (after.displacement, moved) == (0, ("x1",))
    assert effect == Effect("add", "x1", "x1", value=8)
    by_register, moved, effect = memory_of(["x0", "[x1]", "x2"], 8)
    assert (by_register.base, moved, effect) == ("x1", ("x1",), None)
