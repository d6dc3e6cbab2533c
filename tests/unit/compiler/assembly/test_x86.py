import pytest

from trimtab.compiler.assembly.instruction import FLAGS, Effect, Part
from trimtab.compiler.assembly.x86 import decode
from trimtab.hardware.operations import Operation as Op


def read(mnemonic, operands):
    return decode(mnemonic, operands)


def test_a_folded_load_is_a_part_of_its_own():
    found = read("vfmadd231ps", "-96(%rax,%rcx,4), %ymm15, %ymm6")
    assert found.parts == (Part(Op.FMA, 256), Part(Op.LOAD, 256))
    assert found.reads == ("v15", "v6")
    assert found.writes == ("v6",)
    assert found.folded
    place = found.memory
    assert (place.base, place.index, place.scale) == ("rax", "rcx", 4)
    assert (place.displacement, place.size_bytes) == (-96, 32)
    assert not place.stack


@pytest.mark.parametrize(
    ("form", "addend"), [("231", "v1"), ("213", "v3"), ("132", "v2")]
)
def test_the_addend_follows_from_the_digits(form, addend):
    # AT&T turns the operands around: third, second, first.
    found = read(f"vfmadd{form}ps", "%ymm3, %ymm2, %ymm1")
    assert found.addend == addend
    assert set(found.reads) == {"v1", "v2", "v3"}


def test_plain_loads_and_stores():
    load = read("vmovups", "64(%rdi), %zmm3")
    assert load.operation is Op.LOAD
    assert load.bits == 512
    assert (load.loads, load.stores) == (1, 0)
    assert load.writes == ("v3",)
    store = read("vmovups", "%ymm15, -128(%rsp)")
    assert store.operation is Op.STORE
    assert store.memory.stack
    assert (store.reads, store.writes) == (("v15",), ())


def test_a_broadcast_load_moves_one_element():
    found = read("vbroadcastss", "-1284(%r15,%rdi), %ymm1")
    assert found.operation is Op.LOAD_BROADCAST
    assert found.broadcast
    assert found.memory.size_bytes == 4
    between = read("vbroadcastss", "%xmm1, %ymm1")
    assert between.operation is Op.BROADCAST
    folded = read("vfmadd231ps", "(%rax){1to16}, %zmm1, %zmm2")
    assert folded.broadcast
    assert folded.memory.size_bytes == 4
    assert folded.parts[1] == Part(Op.LOAD_BROADCAST, 512)


def test_sub_registers_are_one_register():
    assert read("addps", "%xmm1, %xmm0").writes == ("v0",)
    assert read("vaddps", "%zmm1, %zmm2, %zmm0").writes == ("v0",)
    assert read("addl", "%ecx, %eax").reads == ("rcx", "rax")
    assert read("movb", "$1, %r8b").writes == ("r8",)


def test_two_operands_read_what_they_write():
    assert read("mulps", "%xmm15, %xmm1").reads == ("v15", "v1")
    assert read("vmulps", "%xmm15, %xmm1, %xmm2").reads == ("v15", "v1")
    assert read("movaps", "%xmm2, %xmm1").reads == ("v2",)
    assert read("sqrtss", "%xmm2, %xmm1").reads == ("v2", "v1")
    assert read("pshufd", "$0, %xmm2, %xmm1").reads == ("v2",)


@pytest.mark.parametrize(
    ("mnemonic", "operands"),
    [
        ("vxorps", "%xmm6, %xmm6, %xmm6"),
        ("xorps", "%xmm6, %xmm6"),
        ("vpxor", "%ymm6, %ymm6, %ymm6"),
        ("vpxord", "%zmm6, %zmm6, %zmm6"),
    ],
)
def test_a_register_with_itself_is_zero(mnemonic, operands):
    found = read(mnemonic, operands)
    assert found.operation is Op.ZERO
    assert (found.reads, found.writes) == ((), ("v6",))


def test_different_registers_are_not_zero():
    assert read("vxorps", "%xmm6, %xmm5, %xmm6").operation is Op.LOGIC


def test_all_ones_is_a_constant():
    found = read("vpcmpeqd", "%ymm1, %ymm1, %ymm1")
    assert (found.operation, found.reads) == (Op.CONSTANT, ())


def test_masks_are_read_and_merge():
    merged = read("vaddps", "%zmm1, %zmm2, %zmm3 {%k1}")
    assert set(merged.reads) == {"v1", "v2", "v3", "k1"}
    zeroed = read("vaddps", "%zmm1, %zmm2, %zmm3 {%k1} {z}")
    assert set(zeroed.reads) == {"v1", "v2", "k1"}
    compared = read("vcmpltps", "%zmm1, %zmm2, %k2")
    assert (compared.operation, compared.writes) == (Op.COMPARE_MASK, ("k2",))


def test_integers_in_memory_are_read_and_written():
    found = read("addq", "%rax, 8(%rdi)")
    assert found.parts == (
        Part(Op.INTEGER, 64),
        Part(Op.LOAD_INTEGER, 64),
        Part(Op.STORE_INTEGER, 64),
    )
    assert (found.loads, found.stores) == (1, 1)
    compared = read("cmpl", "$3, 8(%rdi)")
    assert (compared.loads, compared.stores) == (1, 0)
    assert compared.writes == (FLAGS,)


def test_moves_of_integers():
    assert read("movq", "%rsi, %rdx").operation is Op.MOVE
    assert read("movq", "$-256, %rdi").operation is Op.INTEGER
    assert read("movq", "-56(%rsp), %rax").operation is Op.LOAD_INTEGER
    assert read("movq", "%rax, -56(%rsp)").operation is Op.STORE_INTEGER
    assert read("movq", "%xmm0, %rax").operation is Op.FROM_VECTOR
    assert read("vmovd", "%eax, %xmm0").operation is Op.TO_VECTOR


@pytest.mark.parametrize(
    ("mnemonic", "operands", "effect"),
    [
        ("movq", "$-256, %rdi", Effect("set", "rdi", value=-256)),
        ("xorl", "%eax, %eax", Effect("set", "rax")),
        ("movq", "%rsi, %rdx", Effect("add", "rdx", "rsi")),
        ("addq", "$8, %rdi", Effect("add", "rdi", "rdi", value=8)),
        ("subq", "$-128, %rax", Effect("add", "rax", "rax", value=128)),
        ("incq", "%r10", Effect("add", "r10", "r10", value=1)),
        ("decl", "%ecx", Effect("add", "rcx", "rcx", value=-1)),
        ("leaq", "4(%rcx), %rdx", Effect("add", "rdx", "rcx", value=4)),
        ("cmpq", "$3, %r10", Effect("compare", source="r10", value=3)),
        ("cmpq", "%rdx, %rcx", Effect("compare", source="rcx", other="rdx")),
        ("testl", "%eax, %eax", Effect("compare", source="rax")),
        ("addq", "%rcx, %rax", None),
        ("leaq", "(%rcx,%rdx,4), %rax", None),
    ],
)
def test_effects_on_whole_numbers(mnemonic, operands, effect):
    assert read(mnemonic, operands).effect == effect


def test_addresses_of_three_parts_are_slow():
    assert read("leaq", "8(%rdx), %rcx").operation is Op.ADDRESS
    assert read("leaq", "(%rdx,%rcx,4), %rcx").operation is Op.ADDRESS
    slow = read("leaq", "8(%rdx,%rcx,4), %rax")
    assert slow.operation is Op.ADDRESS_SLOW
    assert slow.reads == ("rdx", "rcx")


def test_branches_have_a_target_and_a_condition():
    found = read("jne", ".LBB3_4")
    assert (found.target, found.condition, found.reads) == (".LBB3_4", "ne", (FLAGS,))
    assert read("jmp", ".LBB3_4").condition == ""
    assert read("jmpq", "*%rax").target == ""


def test_a_part_of_a_vector_is_stored_without_a_shuffle():
    found = read("vextractf128", "$1, %ymm0, 16(%rdi)")
    assert found.parts == (Part(Op.STORE, 128),)
    assert found.memory.size_bytes == 16


def test_widening_loads_read_less_than_they_write():
    found = read("vpmovzxbd", "(%rdi), %ymm0")
    assert found.memory.size_bytes == 32 // 4


def test_unknown_instructions_keep_their_name():
    found = read("vfoo", "%ymm1, %ymm2")
    assert not found.known
    assert found.mnemonic == "vfoo"
    assert read("lock", "addl $0, (%rsp)").operation is Op.UNKNOWN
