"""AArch64 instructions in GNU syntax, as LLVM writes them: operands, reads, writes."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

from trimtab.compiler.assembly.aarch64_forms import (
    CONDITIONS,
    integer_form,
    vector_form,
)
from trimtab.compiler.assembly.aarch64_operands import Operand, memory_of, operand_of
from trimtab.compiler.assembly.instruction import (
    FLAGS,
    Effect,
    Instruction,
    Part,
)
from trimtab.hardware.operations import FREE, Operation

__all__ = ["decode"]

_O = Operation
_SPLIT = re.compile(r",\s*(?![^\[{]*[\]}])")
_LOAD = re.compile(
    r"(ld[npr]|ldu?r|ldnp|ldp|ldp?sw|ldu?r(s?[bhw])|ldpsw|ldtr|ldar|ldxr)"
)
_STORE = re.compile(r"(stu?r[bh]?|stn?p|stlr|stxr)")
_LIST = re.compile(
    r"(ld|st)([1-4])(r|[bhwdq]|r[qbhwd]+|s[bhw])?|(ld|st)(nt1|ff1|nf1)\w+"
)
_ADDEND_LAST = re.compile(r"fn?m(add|sub)|m(add|sub)|[su]m(add|sub)l")
_ACCUMULATES = re.compile(
    r"f?n?ml[as]\w*|f(n?mad|n?msb)|[su]ml[as]l2?|[su]s?dot|usdot|bf\w+|[su]adalp"
    r"|[su]r?sra|[su]aba\w*|s[lr]i|bsl|bit|bif|ins|tbx|movk|bfi|bfxil|[su]?q?xtu?n2"
    r"|mad|msb|[su]?mmla|splice|insr|inc[bhwd]|dec[bhwd]"
)
# They read what they write.


@functools.lru_cache(maxsize=1 << 15)
def decode(mnemonic: str, operands: str) -> Instruction:
    """Return one instruction; its operation is `UNKNOWN` if the mnemonic is.

    Example:
        >>> found = decode("fmla", "v9.4s, v2.4s, v15.s[0]")
        >>> found.operation, found.lanes, found.reads, found.addend
        (<Operation.FMA: 'fma'>, 4, ('v9', 'v2', 'v15'), 'v9')
    """
    text = f"{mnemonic} {operands}".strip()
    words = [each.strip() for each in _SPLIT.split(operands)] if operands else []
    branch = _branch(text, mnemonic, words)
    if branch is not None:
        return branch
    if _LIST.fullmatch(mnemonic) and words and words[0].startswith("{"):
        return _listed(text, mnemonic, words)
    if "[" in operands and (_LOAD.fullmatch(mnemonic) or _STORE.fullmatch(mnemonic)):
        return _access(text, mnemonic, words)
    found = [operand_of(each) for each in words]
    vector = any(each.kind in tuple("vqdshbzp") for each in found)
    operation = vector_form(mnemonic) if vector else integer_form(mnemonic)
    if mnemonic in ("mov", "fmov") and vector:
        return _moved(text, mnemonic, found)
    if operation is None and vector:
        operation = integer_form(mnemonic)
    if operation is None:
        registers = tuple(each.register for each in found if each.register)
        return Instruction(
            text=text,
            mnemonic=mnemonic,
            operation=_O.UNKNOWN,
            reads=registers,
            writes=registers[:1],
        )
    if vector:
        return _vector(text, mnemonic, operation, found)
    return _integer(text, mnemonic, operation, found)


def _branch(text: str, mnemonic: str, words: Sequence[str]) -> Instruction | None:
    condition, reads, effect = "", tuple[str, ...](), None
    if mnemonic.startswith("b.") and mnemonic[2:] in CONDITIONS:
        condition, reads = CONDITIONS[mnemonic[2:]], (FLAGS,)
    elif mnemonic in ("cbz", "cbnz", "tbz", "tbnz"):
        condition = "eq" if mnemonic.endswith("bz") else "ne"
        reads = (operand_of(words[0]).register,)
        effect = Effect("compare", source=reads[0])
    elif mnemonic not in ("b", "br"):
        return None
    return Instruction(
        text=text,
        mnemonic=mnemonic,
        operation=_O.BRANCH,
        parts=(Part(_O.BRANCH, 0),),
        reads=reads,
        target=words[-1] if mnemonic != "br" and words else "",
        condition=condition,
        effect=effect,
    )


# ---------------------------------------------------------------- memory


def _access(text: str, mnemonic: str, words: Sequence[str]) -> Instruction:
    """Return a load or store of one or two registers."""
    place = next(index for index, word in enumerate(words) if word.startswith("["))
    moved = [operand_of(each) for each in words[:place]]
    registers = tuple(each.register for each in moved if each.register)
    vector = moved[0].kind != "x" and moved[0].kind != "w"
    store = mnemonic.startswith("st")
    bits = moved[0].bits
    if not vector and mnemonic[-1] in "bh" and len(moved) == 1:
        bits = 8 if mnemonic[-1] == "b" else 16
    times = len(moved) if vector and bits > 64 else 1
    memory, steps, effect = memory_of(words, len(moved) * bits // 8)
    operation = {
        (False, False): _O.LOAD_INTEGER,
        (False, True): _O.STORE_INTEGER,
        (True, False): _O.LOAD,
        (True, True): _O.STORE,
    }[vector, store]
    parts = [Part(operation, bits, times)]
    if steps:
        parts.append(Part(_O.INTEGER, 64))
    return Instruction(
        text=text,
        mnemonic=mnemonic,
        operation=operation,
        bits=bits,
        element_bits=32 if bits == 128 else bits,
        packed=vector and bits in (0, 128),
        parts=tuple(parts),
        reads=registers if store else (),
        writes=(*(() if store else registers), *steps),
        memory=memory,
        loads=0 if store else len(moved),
        stores=len(moved) if store else 0,
        effect=effect,
    )


def _listed(text: str, mnemonic: str, words: Sequence[str]) -> Instruction:
    """Return a load or store of a list of registers, ``ld1 { v0.4s, v1.4s }, [x0]``."""
    inside, _, lane = words[0].partition("}")
    names = inside.strip("{ ")
    if " - " in names:
        first, last = (operand_of(each) for each in names.split(" - "))
        span = range(int(first.register[1:]), int(last.register[1:]) + 1)
        moved = [first._replace(register=f"v{number}") for number in span]
    else:
        moved = [operand_of(each) for each in names.split(",")]
    registers = tuple(each.register for each in moved)
    masks = [operand_of(each).register for each in words if re.match(r"p\d", each)]
    store = mnemonic.startswith("st")
    replicates = mnemonic[:3] == "ld1" and mnemonic[3:4] == "r"
    bits, element = moved[0].bits, moved[0].element
    single = bool(lane)
    interleaved = mnemonic[2:3] in "234"
    size = element // 8 if single or replicates else max(bits, 128) // 8 * len(moved)
    memory, steps, effect = memory_of(words, size)
    if store:
        operation = _O.STORE_INTERLEAVED if interleaved or single else _O.STORE
    else:
        operation = _O.LOAD_INTERLEAVED if interleaved else _O.LOAD
        operation = _O.LOAD_BROADCAST if replicates else operation
    parts = [Part(operation, bits if not single else 128, len(moved))]
    if single and not store:
        parts.append(Part(_O.SHUFFLE, 128))
    if steps:
        parts.append(Part(_O.INTEGER, 64))
    keeps = single and not store
    return Instruction(
        text=text,
        mnemonic=mnemonic,
        operation=operation,
        bits=bits,
        element_bits=element,
        packed=True,
        parts=tuple(parts),
        reads=(*(registers if store or keeps else ()), *masks),
        writes=(*(() if store else registers), *steps),
        memory=memory,
        loads=0 if store else len(moved),
        stores=len(moved) if store else 0,
        broadcast=replicates,
        effect=effect,
    )


# ---------------------------------------------------------------- registers


def _moved(text: str, mnemonic: str, found: Sequence[Operand]) -> Instruction:
    """Return a move from, to, or between vector registers."""
    target, source = found[0], found[-1]
    lane_in, lane_out = "[" in target.text, "[" in source.text
    general_in, general_out = source.kind in ("x", "w"), target.kind in ("x", "w")
    reads = [source.register] if source.register else []
    if source.value is not None or "#" in source.text:
        zero = source.text in ("#0", "#0.0", "#0.00000000", "wzr", "xzr")
        operation = _O.ZERO if zero and not lane_in else _O.CONSTANT
    elif general_in and not source.register and not lane_in:
        operation = _O.ZERO
    elif general_out:
        operation = _O.FROM_VECTOR
    elif general_in:
        operation = _O.TO_VECTOR
    elif lane_in or lane_out:
        operation = _O.SHUFFLE
    else:
        operation = _O.VECTOR_MOVE
    if lane_in:
        reads.append(target.register)
    if any(each.kind == "p" for each in found[1:-1]):
        reads += [each.register for each in found[1:-1]]
        operation = _O.SELECT
        reads.append(target.register)
    vectors = [each for each in found if each.kind not in ("x", "w", "")]
    bits = max((each.bits for each in vectors), default=128)
    return _made(text, mnemonic, operation, bits, reads=reads, writes=[target.register])


def _vector(
    text: str, mnemonic: str, operation: Operation, found: Sequence[Operand]
) -> Instruction:
    target = found[0]
    general = [each.kind in ("x", "w") for each in found]
    packed = any(each.packed for each in found)
    shaped = [each for each in found if each.kind not in ("x", "w", "p", "")]
    bits = max((each.bits for each in shaped), default=0)
    element = min((each.element for each in shaped if each.element), default=32)
    if mnemonic in ("movi", "fdup") and _zero(found[-1].text):
        return _made(text, mnemonic, _O.ZERO, bits, writes=[target.register])
    if operation is _O.CONVERT and any(general):
        operation = _O.CONVERT_TO_INTEGER if general[0] else _O.CONVERT_FROM_INTEGER
    if operation is _O.BROADCAST and general[-1]:
        operation = _O.TO_VECTOR
    reads = [each.register for each in found[1:] if each.register]
    merges = any(each.text.endswith("/m") for each in found)
    flags = operation is _O.COMPARE_FLAGS
    if _ACCUMULATES.fullmatch(mnemonic) or merges or flags:
        reads.insert(0, target.register)
    if mnemonic in ("fcsel", "fccmp"):
        reads.append(FLAGS)
    addend = ""
    if operation is _O.FMA and _ADDEND_LAST.fullmatch(mnemonic):
        addend = found[-1].register
    elif operation is _O.FMA and re.fullmatch(r"f?n?ml[as]\w*", mnemonic):
        addend = target.register
    writes = [FLAGS] if flags else [target.register]
    if operation is _O.MASK and mnemonic.startswith(("while", "ptest")):
        writes.append(FLAGS)
    return _made(
        text,
        mnemonic,
        operation,
        bits,
        element=element,
        packed=packed,
        reads=reads,
        writes=writes,
        addend=addend,
    )


def _zero(text: str) -> bool:
    return re.fullmatch(r"#(0x)?0*(\.0+)?", text) is not None


def _integer(
    text: str, mnemonic: str, operation: Operation, found: Sequence[Operand]
) -> Instruction:
    if operation in FREE:
        return _made(text, mnemonic, operation, 0)
    if operation is _O.PREFETCH:
        return Instruction(
            text=text,
            mnemonic=mnemonic,
            operation=operation,
            parts=(Part(operation, 0),),
            memory=memory_of(text.partition(" ")[2].split(", ", 1)[1:], 64)[0]
            if "[" in text
            else None,
        )
    if operation is _O.CALL:
        writes = ["x0", "x30"] if mnemonic.startswith("bl") else []
        return _made(text, mnemonic, operation, 0, writes=writes)
    compares = mnemonic in ("cmp", "cmn", "tst", "ccmp", "ccmn")
    reads = [each.register for each in found if each.register]
    for each in found:  # a shifted register: `x1, lsl #3` is two words
        reads += [r for r in re.findall(r"\b[xw]\d+\b", each.text) if not each.register]
    target = found[0].register if found else ""
    writes = [] if compares else [target]
    if not compares and not _ACCUMULATES.fullmatch(mnemonic):
        reads = reads[1:] if target and reads[:1] == [target] else reads
    if operation is _O.CONDITIONAL or mnemonic.startswith(("adc", "sbc", "ccm")):
        reads.append(FLAGS)
    if compares or (mnemonic.endswith("s") and operation is _O.INTEGER):
        writes.append(FLAGS)
    zero = operation is _O.MOVE and len(found) == 2 and found[1].text in ("xzr", "wzr")
    effect = _effect(mnemonic, found)
    if operation is _O.MOVE and (zero or found[-1].value is not None):
        operation = _O.ZERO if zero or found[-1].value == 0 else _O.INTEGER
    return _made(
        text,
        mnemonic,
        operation,
        found[0].bits if found else 0,
        reads=reads,
        writes=[each for each in writes if each],
        effect=effect,
    )


def _effect(mnemonic: str, found: Sequence[Operand]) -> Effect | None:
    """Return what an instruction does to whole numbers, where that is simple."""
    if mnemonic in ("mov", "movz") and len(found) == 2:
        target, source = found
        if source.value is not None or source.text in ("xzr", "wzr"):
            return Effect("set", target.register, value=source.value or 0)
        return Effect("add", target.register, source.register)
    value = found[2].value if len(found) > 2 else None
    if len(found) == 4 and value is not None:  # `#1, lsl #12`
        shift = re.fullmatch(r"lsl #(\d+)", found[3].text)
        value = value << int(shift[1]) if shift else None
    if mnemonic in ("add", "sub", "adds", "subs") and value is not None:
        amount = value if mnemonic.startswith("add") else -value
        return Effect("add", found[0].register, found[1].register, value=amount)
    if mnemonic == "cmp" and len(found) in (2, 3):
        bound = found[1].value
        if bound is not None and len(found) == 3:
            shift = re.fullmatch(r"lsl #(\d+)", found[2].text)
            bound = bound << int(shift[1]) if shift else None
        if bound is not None:
            return Effect("compare", source=found[0].register, value=bound)
        if len(found) == 2 and found[1].register:
            return Effect("compare", source=found[0].register, other=found[1].register)
    return None


def _made(
    text: str,
    mnemonic: str,
    operation: Operation,
    bits: int,
    *,
    element: int = 0,
    packed: bool = False,
    reads: Sequence[str] = (),
    writes: Sequence[str] = (),
    addend: str = "",
    effect: Effect | None = None,
) -> Instruction:
    return Instruction(
        text=text,
        mnemonic=mnemonic,
        operation=operation,
        bits=bits,
        element_bits=element or bits,
        packed=packed,
        parts=(Part(operation, bits),),
        reads=tuple(dict.fromkeys(reads)),
        writes=tuple(writes),
        addend=addend,
        effect=effect,
    )
