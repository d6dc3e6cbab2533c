from trimtab.compiler.reading import read
from trimtab.hardware.cores import microarchitecture

CORE = microarchitecture("znver3")

LOOP = """
f:
    xorl %eax, %eax
.L1:
{body}
    addq $32, %rax
    cmpq $320, %rax
    jne .L1
    retq
"""

EIGHT = "\n".join(f"    vfmadd231ps %ymm8, %ymm9, %ymm{i}" for i in range(8))


def test_cycles_of_a_counted_loop():
    found = read(LOOP.format(body=EIGHT), CORE)
    # Eight products, two a cycle, and a chain of four cycles: ten passes of four.
    assert found.cycles == 10 * 4
    assert found.cycles_per_fma == 4 / 8
    assert found.objection() == ""


def test_spills_scalars_and_unknown_instructions_are_objections():
    spilled = EIGHT + "\n    vmovups %ymm0, 64(%rsp)\n    vmovups 64(%rsp), %ymm0"
    found = read(LOOP.format(body=spilled), CORE)
    assert found.spills == 2
    assert found.objection() == "2 accesses of spilled registers in hot loops"
    scalar = read(LOOP.format(body="    vfmadd231ss %xmm8, %xmm9, %xmm0"), CORE)
    assert scalar.objection() == "1 instructions on single elements in hot loops"
    odd = read(LOOP.format(body=EIGHT + "\n    vfrobnicate %ymm1, %ymm2"), CORE)
    assert odd.objection() == "unknown instructions: vfrobnicate"


def test_a_loop_of_unknown_length_gives_no_total():
    text = LOOP.format(body=EIGHT).replace("$320", "%rdx")
    found = read(text, CORE)
    assert found.cycles is None
    assert found.cycles_per_fma == 4 / 8


def test_code_without_loops():
    found = read("f:\n    retq\n", CORE)
    assert (found.cycles, found.cycles_per_fma, found.loops) == (0, 0, ())
