from trimtab.compiler.assembly.program import parse
from trimtab.hardware.operations import Operation

NESTED = """
	.text
	.globl	kernel
kernel:
.Lfunc_begin0:
	.cfi_startproc
	xorl	%eax, %eax
.LBB0_1:
.Ltmp1:
	xorl	%ecx, %ecx
	.p2align	4
.LBB0_2:
	vfmadd231ps	(%rdi,%rcx), %ymm0, %ymm1	# a comment
	addq	$32, %rcx
	cmpq	$256, %rcx
	jne	.LBB0_2
	testl	%esi, %esi
	je	.LBB0_4
	vaddps	%ymm1, %ymm1, %ymm1
.LBB0_4:
	incq	%rax
	cmpq	$7, %rax
	jne	.LBB0_1
	retq
.Lfunc_end0:
	.section	.debug_info,"",@progbits
ghost:
	.byte	1
"""


def test_blocks_start_where_something_jumps_to_and_after_jumps():
    (found,) = parse(NESTED)
    assert found.name == "kernel"
    assert [block.label for block in found.blocks] == [
        "",
        ".LBB0_1",
        ".LBB0_2",
        "",
        "",
        ".LBB0_4",
        "",
    ]
    assert [block.successors for block in found.blocks] == [
        (1,),
        (2,),
        (2, 3),
        (5, 4),
        (5,),
        (1, 6),
        (),
    ]


def test_instructions_are_read_without_comments():
    (found,) = parse(NESTED)
    first = found.blocks[2].instructions[0]
    assert first.operation is Operation.FMA
    assert first.text == "vfmadd231ps (%rdi,%rcx), %ymm0, %ymm1"


def test_loops_are_nested():
    (found,) = parse(NESTED)
    outer, inner = found.loops
    assert (outer.header, outer.depth, outer.parent) == (1, 1, None)
    assert outer.blocks == (1, 2, 3, 4, 5)
    assert outer.own == (1, 3, 4, 5)
    assert not outer.innermost
    assert (inner.header, inner.depth, inner.parent) == (2, 2, 0)
    assert inner.blocks == inner.own == inner.latches == (2,)
    assert inner.innermost
    assert len(found.body(inner)) == 4


def test_two_functions_and_data_between():
    found = parse(
        "f:\n\tretq\n\t.section .rodata\nd:\n\t.long 1\n\t.text\ng:\n\tretq\n"
    )
    assert [each.name for each in found] == ["f", "g"]


def test_a_function_without_a_loop_has_none():
    (found,) = parse("f:\n\txorl %eax, %eax\n\tretq\n")
    assert found.loops == ()


def test_a_way_into_the_middle_is_no_loop():
    text = """
f:
	testl %edi, %edi
	je .L2
.L1:
	incl %eax
.L2:
	incl %ecx
	cmpl $9, %ecx
	jne .L1
	retq
"""
    (found,) = parse(text)
    assert found.loops == ()


def test_aarch64_is_told_by_its_instructions():
    text = """
f:
	mov	w7, #64
.LBB0_1:
	ldp	q0, q1, [x6], #32
	fmla	v2.4s, v0.4s, v1.4s	// a comment
	subs	x7, x7, #1
	b.ne	.LBB0_1
	ret
"""
    (found,) = parse(text)
    body = found.body(found.loops[0])
    assert [each.operation for each in body] == [
        Operation.LOAD,
        Operation.FMA,
        Operation.INTEGER,
        Operation.BRANCH,
    ]
