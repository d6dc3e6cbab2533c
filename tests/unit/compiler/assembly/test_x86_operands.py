from trimtab.compiler.assembly.x86_operands import memory_of, operands_of


def place(text, size_bytes=32):
    return memory_of(operands_of(text)[0], size_bytes)


def test_registers_constants_and_places_in_their_order():
    constant, memory, register = operands_of("$-7, 8(%rax,%rbx,4), %ymm3")
    assert constant.value == -7
    assert memory.memory is not None
    assert (register.register, register.bits) == ("v3", 256)


def test_every_width_of_a_register_has_one_name():
    for text in ("%rax", "%eax", "%ax", "%al", "%ah"):
        assert operands_of(text)[0].register == "rax"
    for text in ("%r9", "%r9d", "%r9w", "%r9b"):
        assert operands_of(text)[0].register == "r9"
    for text in ("%xmm31", "%ymm31", "%zmm31"):
        assert operands_of(text)[0].register == "v31"


def test_marks_of_avx_512():
    first, last = operands_of("(%rdi){1to16}, %zmm3 {%k2} {z}")
    assert first.broadcast
    assert (last.mask, last.zeroing) == ("k2", True)


def test_addresses():
    found = place("-8(%rsp)")
    assert (found.base, found.displacement, found.stack) == ("rsp", -8, True)
    found = place("0x10(,%rcx,8)")
    assert (found.base, found.index, found.scale) == ("", "rcx", 8)
    assert found.displacement == 16
    found = place(".LCPI0_0(%rip)")
    assert (found.base, found.symbol) == ("", ".LCPI0_0")
    assert place("(%rdi)", 4).size_bytes == 4


def test_a_symbol_is_no_number():
    assert operands_of("$.L.str, %rdi")[0].value is None
