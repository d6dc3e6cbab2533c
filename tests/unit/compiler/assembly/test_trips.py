import pytest

from trimtab.compiler.assembly.program import parse
from trimtab.compiler.assembly.trips import trips


def count(text, number=0):
    (found,) = parse(f"f:\n{text}\n\t{'retq' if '%' in text else 'ret'}\n")
    return trips(found, found.loops[number])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\txorl %eax, %eax\n.L1:\n\tincl %eax\n\tcmpl $8, %eax\n\tjne .L1", 8),
        ("\tmovq $-256, %rdi\n.L1:\n\taddq $4, %rdi\n\tjne .L1", 256 // 4),
        ("\tmovl $10, %ecx\n.L1:\n\tdecl %ecx\n\tjne .L1", 10),
        ("\txorl %eax, %eax\n.L1:\n\taddq $3, %rax\n\tcmpq $10, %rax\n\tjl .L1", 4),
        ("\txorl %eax, %eax\n.L1:\n\taddq $3, %rax\n\tcmpq $9, %rax\n\tjle .L1", 4),
        ("\txorl %eax, %eax\n.L1:\n\taddq $3, %rax\n\tcmpq $9, %rax\n\tjb .L1", 3),
        # The comparison comes before the step.
        (
            "\txorl %ecx, %ecx\n.L1:\n\tcmpq $252, %rcx\n\tleaq 4(%rcx), %rcx\n"
            "\tjb .L1",
            252 // 4 + 1,
        ),
        # Two pointers of one origin.
        (
            "\tmovq %rdi, %rax\n\tleaq 512(%rdi), %rdx\n.L1:\n\taddq $64, %rax\n"
            "\tcmpq %rdx, %rax\n\tjne .L1",
            512 // 64,
        ),
        # The jump leaves, what follows goes back.
        (
            "\txorl %eax, %eax\n.L1:\n\tincl %eax\n\tcmpl $5, %eax\n\tje .L2\n"
            "\tjmp .L1\n.L2:",
            None,
        ),
        ("\tmov w7, #64\n.L1:\n\tsubs x7, x7, #1\n\tb.ne .L1", 64),
        ("\tmov x8, xzr\n.L1:\n\tadd x8, x8, #1\n\tcmp x8, #28\n\tb.ne .L1", 28),
        ("\tmov w7, #6\n.L1:\n\tsub x7, x7, #2\n\tcbnz x7, .L1", 3),
        # A mark that says that it is the first pass.
        (
            "\tmovb $1, %bl\n.L1:\n\ttestb $1, %bl\n\tmovl $0, %ebx\n\tjne .L1",
            2,
        ),
        ("\tmov w3, #1\n.L1:\n\tmov w17, w3\n\tmov w3, wzr\n\ttbnz w17, #0, .L1", 2),
        # Unknown start, unknown bound, a step by another register.
        (".L1:\n\tdecl %ecx\n\tjne .L1", None),
        ("\txorl %eax, %eax\n.L1:\n\tincq %rax\n\tcmpq %rsi, %rax\n\tjne .L1", None),
        ("\txorl %eax, %eax\n.L1:\n\taddq %rdx, %rax\n\tcmpq $9, %rax\n\tjl .L1", None),
        # Never equal.
        ("\txorl %eax, %eax\n.L1:\n\taddq $3, %rax\n\tcmpq $10, %rax\n\tjne .L1", None),
    ],
)
def test_trip_counts(text, expected):
    assert count(text) == expected


def test_a_counter_that_lives_in_the_frame():
    text = """
	xorl %eax, %eax
.L1:
	movq %rax, -56(%rsp)
	xorl %eax, %eax
.L2:
	incq %rax
	cmpq $5, %rax
	jne .L2
	movq -56(%rsp), %rax
	incq %rax
	cmpq $14, %rax
	jne .L1
"""
    assert count(text, 0) == 14
    assert count(text, 1) == 5


def test_counters_that_live_in_the_frame_by_twos():
    text = """
	mov x9, xzr
.L1:
	add x8, x9, #1
	stp x8, x10, [sp, #8]
	mov w20, #16
.L2:
	subs x20, x20, #1
	b.ne .L2
	ldp x9, x10, [sp, #8]
	cmp x9, #6
	b.ne .L1
"""
    assert count(text, 0) == 6
    assert count(text, 1) == 16


def test_a_bound_from_outside_the_outer_loop():
    text = """
	leaq 96(%rdi), %rdx
	xorl %ecx, %ecx
.L1:
	movq %rdi, %rax
.L2:
	addq $32, %rax
	cmpq %rdx, %rax
	jne .L2
	incl %ecx
	cmpl $4, %ecx
	jne .L1
"""
    assert count(text, 0) == 4
    assert count(text, 1) == 96 // 32


def test_two_ways_out_are_unknown():
    text = """
	xorl %eax, %eax
.L1:
	testl %esi, %esi
	je .L9
	incl %eax
	cmpl $8, %eax
	jne .L1
.L9:
"""
    assert count(text) is None
