import pytest

from trimtab.compiler.assembly.chains import longest_chain
from trimtab.compiler.assembly.program import parse
from trimtab.hardware.cores import parse_core

CORE = """
name = "toy"
title = "Toy"
llvm_cpus = ["toy"]
ports = ["a"]
fuses_branches = false
splits_indexed = false
in_order = false
"""
for _name in ("issue_width", "mispredict_cycles"):
    CORE += f'{_name} = {{ value = 4.0, derived = "a toy" }}\n'
CORE += 'store_forward_cycles = { value = 10.0, derived = "a toy" }\n'
for _name in ("vector_registers", "integer_registers"):
    CORE += f'{_name} = {{ value = 16, derived = "a toy" }}\n'
for _operation, _latency in {
    "fma": 4, "add": 3, "multiply": 2, "load": 7, "load-integer": 5, "store": 1,
    "integer": 1, "vector-move": 0, "address": 1, "branch": 1,
}.items():  # fmt: skip
    CORE += f"""
[[rows]]
operations = ["{_operation}"]
uops = ["a"]
latency = {_latency}
{"accumulate_latency = 2.5" if _operation == "fma" else ""}
derived = "a toy"
"""
TOY = parse_core(CORE, "toy.toml")


def chain(text):
    (found,) = parse("f:\n" + "".join(f"\t{line.strip()}\n" for line in text))
    return longest_chain(found.blocks[0].instructions, TOY)


def test_a_sum_in_one_register():
    found = chain(["vaddps %ymm1, %ymm0, %ymm0", "vaddps %ymm2, %ymm0, %ymm0"])
    assert found.cycles == 3 + 3
    assert found.values == ("v0",)


def test_independent_sums_do_not_add_up():
    assert chain(["vaddps %ymm2, %ymm0, %ymm0", "vaddps %ymm2, %ymm1, %ymm1"]) == (
        3,
        ("v0",),
    )


def test_the_addend_waits_less_than_the_factors():
    assert chain(["vfmadd231ps %ymm2, %ymm1, %ymm0"]).cycles == 2.5
    assert chain(["vfmadd213ps %ymm2, %ymm1, %ymm0"]).cycles == 4


def test_a_value_that_does_not_come_back_is_no_chain():
    assert chain(["vaddps %ymm1, %ymm2, %ymm0", "vmulps %ymm0, %ymm0, %ymm3"]) == (
        0,
        (),
    )


def test_registers_that_change_places_share_a_chain():
    # Two passes: three adds of one value, then none; the mean is half of them.
    found = chain(
        [
            "vaddps %ymm5, %ymm0, %ymm2",
            "vmovaps %ymm1, %ymm0",
            "vmovaps %ymm2, %ymm1",
        ]
    )
    assert found.cycles == pytest.approx((3 + 0) / 2)
    assert found.values == ("v0", "v1")


def test_a_pointer_that_moves_is_a_chain_of_one():
    found = chain(["vmovups (%rax), %ymm0", "addq $32, %rax"])
    assert found == (1, ("rax",))


def test_a_pointer_that_is_loaded_waits_for_the_load():
    assert chain(["movq (%rax), %rax"]).cycles == 5


def test_a_sum_in_memory_waits_for_forwarding():
    found = chain(
        [
            "vmovups (%rsp), %ymm0",
            "vfmadd231ps %ymm2, %ymm1, %ymm0",
            "vmovups %ymm0, (%rsp)",
        ]
    )
    assert found.cycles == 10 + 2.5
    assert found.values == ("memory[rsp+0]",)


def test_a_folded_sum_in_memory():
    found = chain(["vaddps (%rsp), %ymm1, %ymm0", "vmovups %ymm0, (%rsp)"])
    assert found.cycles == 10 + 3


def test_a_spill_within_the_pass_adds_to_the_chain():
    found = chain(
        [
            "vmovups %ymm0, -32(%rsp)",
            "vaddps %ymm2, %ymm1, %ymm0",
            "vmovups -32(%rsp), %ymm0",
            "vaddps %ymm1, %ymm0, %ymm0",
        ]
    )
    assert found == (10 + 3, ("v0",))


def test_a_store_read_in_the_next_pass_through_a_moving_pointer():
    # y[i + 1] = y[i] + c
    found = chain(
        [
            "vmovss (%rdi), %xmm0",
            "vaddss %xmm1, %xmm0, %xmm0",
            "vmovss %xmm0, 4(%rdi)",
            "addq $4, %rdi",
        ]
    )
    assert found.cycles == 10 + 3


def test_other_places_are_not_connected():
    found = chain(
        [
            "vmovss (%rdi), %xmm0",
            "vaddss %xmm1, %xmm0, %xmm0",
            "vmovss %xmm0, 64(%rdi)",
            "addq $4, %rdi",
        ]
    )
    assert found == (1, ("rdi",))


def test_a_pair_in_memory_is_two_places():
    text = """
f:
	ldp	q0, q1, [sp, #16]
	fadd	v1.4s, v1.4s, v2.4s
	str	q1, [sp, #32]
	ret
"""
    (found,) = parse(text)
    got = longest_chain(found.blocks[0].instructions[:-1], TOY)
    assert got == (10 + 3, ("memory[sp+32]",))
