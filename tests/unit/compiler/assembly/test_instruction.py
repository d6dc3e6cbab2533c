from trimtab.compiler.assembly.instruction import Instruction, Memory
from trimtab.hardware.operations import Operation


def made(**fields):
    return Instruction(
        text="x", mnemonic="x", **({"operation": Operation.FMA} | fields)
    )


def test_lanes_are_the_width_over_the_element():
    assert made(bits=256, element_bits=32, packed=True).lanes == 256 // 32
    assert made(bits=32, element_bits=32).lanes == 1


def test_a_vector_of_sve_has_at_least_128_bits():
    assert made(bits=0, element_bits=32, packed=True).lanes == 128 // 32


def test_only_a_load_within_another_operation_is_folded():
    assert made(loads=1).folded
    assert not made(loads=1, operation=Operation.LOAD).folded
    assert not made(loads=0).folded


def test_an_unknown_operation_is_not_known():
    assert not made(operation=Operation.UNKNOWN).known
    assert made().known


def test_the_slot_of_a_frame_has_a_name():
    at = Memory(base="rsp", displacement=-8, size_bytes=8, stack=True)
    assert at.slots(1) == ("[rsp-8]",)
    assert Memory(base="rax", displacement=-8, size_bytes=8).slots(1) == ()
    pair = Memory(base="sp", displacement=16, size_bytes=2 * 8, stack=True)
    assert pair.slots(2) == ("[sp+16]", f"[sp+{16 + 8}]")
    indexed = Memory(base="rsp", index="rax", size_bytes=8, stack=True)
    assert indexed.slots(1) == ()
    assert indexed.registers == ("rsp", "rax")
