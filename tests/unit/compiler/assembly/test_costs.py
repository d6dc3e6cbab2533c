import pytest

from trimtab.compiler.assembly import aarch64, x86
from trimtab.compiler.assembly.costs import cost_of, latency_of
from trimtab.hardware.cores import microarchitecture

ZEN3 = microarchitecture("znver3")
HASWELL = microarchitecture("haswell")


def cost(mnemonic, operands, core=ZEN3):
    """Return ports by micro-operation, and slots."""
    found = cost_of(x86.decode(mnemonic, operands), core)
    assert found is not None
    uops, slots = found
    return ["|".join(sorted(uop.ports)) for uop in uops], slots


def test_a_folded_load_has_its_ports_and_no_slot():
    assert cost("vaddps", "(%rdi), %ymm1, %ymm0") == (["F2|F3", "M0|M1|M2", "V0|V1"], 1)


def test_an_indexed_load_splits_on_haswell():
    assert cost("vaddps", "(%rdi,%rax), %ymm1, %ymm0", HASWELL)[1] == 2
    assert cost("vaddps", "(%rdi), %ymm1, %ymm0", HASWELL)[1] == 1
    assert cost("vaddps", "(%rdi,%rax), %ymm1, %ymm0")[1] == 1


def test_what_is_read_and_written_in_memory_takes_two_slots():
    assert cost("addq", "%rax, (%rdi)") == (
        ["A0|A1|A2|A3", "M0|M1|M2", "M0|M1|M2", "W0|W1"],
        2,
    )


def test_a_cleared_register_needs_no_port():
    assert cost("vxorps", "%xmm0, %xmm0, %xmm0") == ([], 1)


def test_what_has_no_row_has_no_cost():
    assert cost_of(x86.decode("vaddps", "%zmm1, %zmm2, %zmm3"), ZEN3) is None
    assert cost_of(x86.decode("vfoo", "%ymm1"), ZEN3) is None


def test_a_pair_of_vectors_is_two_loads():
    pair = aarch64.decode("ldp", "q0, q1, [x0]")
    found = cost_of(pair, microarchitecture("neoverse-n1"))
    assert found is not None
    assert len(found[0]) == 2


@pytest.mark.parametrize(
    ("mnemonic", "operands", "expected"),
    [
        ("vaddps", "%ymm2, %ymm1, %ymm0", (3, 3, 3)),
        ("vaddps", "(%rax), %ymm1, %ymm0", (3, 3, 3 + 8)),
        ("vmovups", "(%rax), %ymm0", (0, 0, 8)),
        ("vmovups", "%ymm0, (%rax)", (0, 0, 0)),
        ("movq", "(%rax), %rax", (0, 0, 4)),
    ],
)
def test_latencies(mnemonic, operands, expected):
    assert latency_of(x86.decode(mnemonic, operands), ZEN3) == expected


def test_an_addend_may_come_late():
    fused = aarch64.decode("fmla", "v0.4s, v1.4s, v2.4s")
    found = latency_of(fused, microarchitecture("neoverse-v1"))
    assert (found.operand, found.addend) == (4, 2)


def test_an_address_that_moves_on_does_not_delay_the_load():
    load = aarch64.decode("ldr", "q0, [x0], #16")
    assert latency_of(load, microarchitecture("neoverse-n1")) == (0, 0, 5)
