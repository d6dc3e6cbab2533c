from trimtab.compiler.assembly.inorder import in_order_cycles
from trimtab.compiler.assembly.program import parse
from trimtab.hardware.cores import microarchitecture

A53 = microarchitecture("cortex-a53")


def cycles(*lines):
    text = "f:\n.L1:\n" + "".join(f"\t{line}\n" for line in lines)
    (found,) = parse(text + "\tb.ne .L1\n\tret\n")
    return in_order_cycles(found.body(found.loops[0])[:-1], A53)


def test_two_start_a_cycle():
    assert cycles(*[f"add x{i}, x{i}, #1" for i in range(8)]) == 8 / 2


def test_a_vector_of_128_bits_takes_its_pipe_twice():
    lines = [f"fmla v{i}.4s, v30.4s, v31.4s" for i in range(8)]
    assert cycles(*lines) == 8 * 2


def test_a_chain_stalls_what_is_behind_it():
    lines = ["fadd s0, s0, s1"] * 3
    assert cycles(*lines) == 3 * 4
    # What does not depend on it waits for its turn, too, but costs nothing more.
    assert cycles(*lines, "add x0, x0, #1") == 3 * 4


def test_an_addend_may_come_late():
    assert cycles("fmla v0.2s, v30.2s, v31.2s") == 4


def test_a_load_stalls_its_user():
    # The load starts, its user 5 cycles later, and the next load at once.
    assert cycles("ldr q0, [x0]", "fadd v1.4s, v0.4s, v2.4s") == 5


def test_order_matters_where_a_window_would_not():
    far = ["ldr q0, [x0]", "ldr q1, [x0, #16]"]
    use = ["fadd v2.4s, v0.4s, v30.4s", "fadd v3.4s, v1.4s, v30.4s"]
    assert cycles(far[0], use[0], far[1], use[1]) > cycles(*far, *use)
