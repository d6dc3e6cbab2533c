import pytest

from trimtab.compiler.assembly.program import parse
from trimtab.compiler.assembly.report import UNKNOWN_TRIPS, analyse, hot_loops
from trimtab.hardware.cores import microarchitecture

ZEN3 = microarchitecture("znver3")
SKX = microarchitecture("skylake-avx512")


def body(*lines):
    (found,) = parse("f:\n" + "".join(f"\t{line}\n" for line in lines) + "\tretq\n")
    return found.blocks[0].instructions[:-1]


def tile(rows, columns, vector="ymm"):
    """Return the body of a register tile: one broadcast a row, one load a column."""
    sums = iter(range(rows * columns))
    lines = [f"vmovups {32 * c}(%rsi), %{vector}{15 - c}" for c in range(columns)]
    for row in range(rows):
        lines.append(f"vbroadcastss {4 * row}(%rdi), %{vector}{15 - columns}")
        lines += [
            f"vfmadd231ps %{vector}{15 - c}, %{vector}{15 - columns}, "
            f"%{vector}{next(sums)}"
            for c in range(columns)
        ]
    return body(*lines)


def test_a_register_tile_is_limited_by_its_multiply_adds():
    found = analyse(tile(6, 2), ZEN3)
    assert found.fmas == 6 * 2
    assert found.fma_lanes == 6 * 2 * 8
    assert found.limits_cycles["ports F0 F1"] == 12 / 2
    assert found.limits_cycles["ports V0 V1"] == (6 + 2) / 2
    assert found.limits_cycles["front end"] == (12 + 8) / 6
    assert found.limits_cycles["chain"] == 4
    assert (found.cycles, found.bottleneck) == (6, "ports F0 F1")
    assert found.broadcasts == 6
    assert found.spills == 0
    assert found.unknown == ()


def test_one_sum_is_limited_by_its_chain():
    found = analyse(body(*["vfmadd231ps %ymm1, %ymm2, %ymm0"] * 8), ZEN3)
    assert (found.cycles, found.bottleneck) == (8 * 4, "chain")
    assert found.chain == ("v0",)


def test_without_repetition_there_is_no_chain():
    code = body(*["vfmadd231ps %ymm1, %ymm2, %ymm0"] * 8)
    assert analyse(code, ZEN3, repeated=False).cycles == 8 / 2


def test_loads_and_stores_have_ports_of_their_own():
    loads = analyse(body(*[f"vmovups {32 * i}(%rsi), %ymm0" for i in range(8)]), ZEN3)
    assert (loads.cycles, loads.bottleneck) == (8 / 2, "ports V0 V1")
    stores = analyse(body(*[f"vmovups %ymm0, {32 * i}(%rsi)" for i in range(8)]), ZEN3)
    assert stores.cycles == 8


def test_a_vector_store_delays_multiply_adds_on_zen_3():
    lines = ["vfmadd231ps %ymm1, %ymm2, %ymm3", "vfmadd231ps %ymm1, %ymm2, %ymm4"]
    code = body(*lines, "vmovups %ymm5, (%rsi)")
    # Third operands: one for each of two, two for the store, by two ports.
    assert analyse(code, ZEN3, repeated=False).cycles == (2 * 1 + 2) / 2


def test_512_bits_take_ports_0_and_5_on_skylake():
    found = analyse(tile(7, 2, "zmm"), SKX)
    assert found.limits_cycles["ports p0 p5"] == 14 / 2
    assert found.cycles == 14 / 2


def test_spills_and_scalars_are_counted():
    code = body(
        "vmovups -32(%rsp), %ymm0",
        "vfmadd231ss %xmm1, %xmm2, %xmm3",
        "vmovups %ymm0, -64(%rsp)",
        "vfmadd231ps (%rdi), %ymm2, %ymm4",
    )
    found = analyse(code, ZEN3)
    assert (found.stack_loads, found.stack_stores, found.spills) == (1, 1, 2)
    assert (found.loads, found.stores) == (2, 1)
    assert (found.fmas, found.scalar_fmas) == (2, 1)
    assert found.fma_lanes == 1 + 8
    assert (found.arithmetic, found.scalar_arithmetic) == (2, 1)


def test_an_unknown_instruction_is_named():
    found = analyse(body("vfoo %ymm1, %ymm2", "vaddps %ymm1, %ymm2, %ymm3"), ZEN3)
    assert found.unknown == ("vfoo",)
    assert found.slots == 2


def test_an_instruction_without_a_row_is_named():
    # Zen 3 has no vectors of 512 bits.
    found = analyse(body("vaddps %zmm1, %zmm2, %zmm3"), ZEN3)
    assert found.unknown == ("vaddps",)


def test_a_compare_and_its_branch_are_one():
    (found,) = parse(
        "f:\n.L1:\n\taddq $32, %rdi\n\tcmpq $256, %rdi\n\tjne .L1\n\tretq\n"
    )
    report = analyse(found.body(found.loops[0]), ZEN3)
    assert report.slots == 1 + 1
    assert report.instructions == 3


LOOPS = """
f:
	xorl %eax, %eax
.L1:
	movq $-64, %rcx
.L2:
	vfmadd231ps 64(%rsi,%rcx), %ymm1, %ymm0
	addq $32, %rcx
	jne .L2
	vmaxps %ymm0, %ymm2, %ymm3
	vmovups %ymm3, (%rdi)
	incq %rax
	cmpq $5, %rax
	jne .L1
.L3:
	addq $1, %rdx
	cmpq %r8, %rdx
	jne .L3
	retq
"""


def test_hot_loops_come_by_the_work_of_all_their_passes():
    (found,) = parse(LOOPS)
    first, second = hot_loops(found, ZEN3)
    assert (first.trips, first.passes, first.lanes) == (2, 5 * 2, 8)
    assert first.weight == 5 * 2 * 8
    assert first.cycles == 4 * 5 * 2
    assert (second.trips, second.passes) == (5, 5)
    assert second.weight == 5 * 8
    # The last loop computes nothing.
    assert {first.loop.header, second.loop.header} == {1, 2}


def test_loops_of_unknown_length_weigh_a_fixed_count():
    (found,) = parse(
        "f:\n.L1:\n\tvaddps %ymm1, %ymm0, %ymm0\n\tdecq %rcx\n\tjne .L1\n\tretq\n"
    )
    (only,) = hot_loops(found, ZEN3)
    assert only.trips is None
    assert only.passes == UNKNOWN_TRIPS


def test_large_bodies_are_analysed_quickly():
    code = body(
        *(
            f"vfmadd231ps {32 * i}(%rsp), %ymm{14 + i % 2}, %ymm{i % 14}"
            for i in range(500)
        )
    )
    assert analyse(code, ZEN3).cycles == pytest.approx(500 / 2)


def test_small_cores_have_one_more_limit():
    text = """
f:
.L1:
	ldr	q0, [x0], #16
	fmla	v1.4s, v0.4s, v2.4s
	subs	x1, x1, #1
	b.ne	.L1
	ret
"""
    (found,) = parse(text)
    code = found.body(found.loops[0])
    assert "in order" in analyse(code, microarchitecture("cortex-a53")).limits_cycles
    assert (
        "in order" not in analyse(code, microarchitecture("cortex-a72")).limits_cycles
    )
