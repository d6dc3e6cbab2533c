from trimtab.compiler.assembly.explain import explain
from trimtab.compiler.assembly.program import parse
from trimtab.hardware.cores import microarchitecture

LOOP = """
f:
.L1:
	vmovups	-64(%rsp), %ymm3
	vbroadcastss	(%rdi), %ymm2
	vfmadd231ps	(%rsi), %ymm2, %ymm3
	vmovups	%ymm3, -64(%rsp)
	vfoo	%ymm0, %ymm1
	addq	$32, %rsi
	cmpq	%rsi, %rdx
	jne	.L1
	retq
"""


def test_the_body_of_a_loop(golden):
    (found,) = parse(LOOP)
    code = found.body(found.loops[0])
    golden(explain(code, microarchitecture("znver3")) + "\n", "explain_znver3.txt")
    golden(explain(code, microarchitecture("skylake-avx512")) + "\n", "explain_skx.txt")
