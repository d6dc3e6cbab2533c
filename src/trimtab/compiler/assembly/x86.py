"""x86-64 instructions in AT&T syntax, as LLVM writes them: operands, reads, writes."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

from trimtab.compiler.assembly.instruction import (
    FLAGS,
    Effect,
    Instruction,
    Memory,
    Part,
)
from trimtab.compiler.assembly.x86_forms import (
    CONDITIONS,
    SIGN,
    WITHOUT_FLAGS,
    Form,
    form_of,
    lane_bits,
)
from trimtab.compiler.assembly.x86_operands import Operand, memory_of, operands_of
from trimtab.hardware.operations import FREE, LOADS, STORES, Operation

__all__ = ["decode"]

_O = Operation


_PREFIXES = ("lock", "rep", "repe", "repne", "notrack", "data16", "bnd")
_KEPT = {_O.SQRT, _O.RECIPROCAL, _O.ROUND, _O.CONVERT, _O.CONVERT_TO_INTEGER}
# Old two-operand forms that do not read what they write, where packed.
_NEW = re.compile(r"pshuf(d|hw|lw)|pabs[bwd]|pmov\w+|movs[lh]dup|movddup")
# More of them, by stem.
_WIDTH = {"b": 8, "w": 16, "d": 32, "q": 64}
_ONES = re.compile(r"pcmpeq[bwdq]")


@functools.lru_cache(maxsize=1 << 15)
def decode(mnemonic: str, operands: str) -> Instruction:
    """Return one instruction; its operation is `UNKNOWN` if the mnemonic is.

    Example:
        >>> found = decode("vfmadd231ps", "(%rax), %ymm0, %ymm1")
        >>> found.operation, found.lanes, found.reads, found.writes
        (<Operation.FMA: 'fma'>, 8, ('v0', 'v1'), ('v1',))
    """
    text = f"{mnemonic} {operands}".strip()
    form = form_of(mnemonic)
    found = operands_of(operands)
    if form is None or mnemonic in _PREFIXES:
        return _unknown(text, mnemonic, found)
    if form.operation is _O.BRANCH:
        return _branch(text, mnemonic, operands)
    if form.operation in FREE:
        return _made(text, mnemonic, form.operation)
    if form.operation is _O.CALL:
        results = ("rax",) if form.stem == "call" else ()
        return _made(text, mnemonic, _O.CALL, writes=results)
    if form.stem in SIGN:
        source, target = SIGN[form.stem]
        return _made(text, mnemonic, _O.INTEGER, reads=(source,), writes=(target,))
    if form.stem in ("push", "pop"):
        return _stacked(text, mnemonic, form, found)
    vector = any(each.register[:1] in ("v", "k") for each in found)
    if form.element_bits and not vector and form.stem == "movq":
        form = Form(_O.MOVE, 64, False, False, "mov")
        return _integer(text, mnemonic, form, found)
    if form.element_bits == 0 or not (vector or form.vex):
        return _integer(text, mnemonic, form, found)
    return _vector(text, mnemonic, form, found)


def _made(
    text: str,
    mnemonic: str,
    operation: Operation,
    bits: int = 0,
    *,
    reads: Sequence[str] = (),
    writes: Sequence[str] = (),
    effect: Effect | None = None,
) -> Instruction:
    """Return an instruction without an operand in memory."""
    return Instruction(
        text=text,
        mnemonic=mnemonic,
        operation=operation,
        bits=bits,
        parts=(Part(operation, bits),),
        reads=tuple(dict.fromkeys(reads)),
        writes=tuple(writes),
        effect=effect,
    )


def _unknown(text: str, mnemonic: str, found: Sequence[Operand]) -> Instruction:
    registers = tuple(each.register for each in found if each.register)
    return Instruction(
        text=text,
        mnemonic=mnemonic,
        operation=_O.UNKNOWN,
        reads=registers,
        writes=registers[-1:],
    )


def _branch(text: str, mnemonic: str, operands: str) -> Instruction:
    condition = "" if mnemonic.startswith("jmp") else CONDITIONS[mnemonic[1:]]
    return Instruction(
        text=text,
        mnemonic=mnemonic,
        operation=_O.BRANCH,
        parts=(Part(_O.BRANCH, 0),),
        reads=(FLAGS,) if condition else (),
        target="" if operands.startswith("*") else operands.strip(),
        condition=condition,
    )


def _stacked(
    text: str, mnemonic: str, form: Form, found: Sequence[Operand]
) -> Instruction:
    registers = tuple(each.register for each in found if each.register)
    push = form.stem == "push"
    return Instruction(
        text=text,
        mnemonic=mnemonic,
        operation=form.operation,
        bits=64,
        parts=(Part(form.operation, 64),),
        reads=registers if push else (),
        writes=() if push else registers,
        memory=Memory(base="rsp", size_bytes=8, stack=True),
        loads=0 if push else 1,
        stores=1 if push else 0,
    )


def _in_memory(found: Sequence[Operand]) -> Operand | None:
    return next((each for each in found if each.memory is not None), None)


# ---------------------------------------------------------------- whole numbers


def _integer(
    text: str, mnemonic: str, form: Form, found: Sequence[Operand]
) -> Instruction:
    stem, operation = form.stem, form.operation
    place = _in_memory(found)
    registers = [each.register for each in found if each.register]
    sizes = [each.bits for each in found if each.register]
    bits = form.element_bits or (min(sizes) if sizes else 32)
    if operation is _O.PREFETCH and place is not None:
        return Instruction(
            text=text,
            mnemonic=mnemonic,
            operation=operation,
            parts=(Part(operation, 0),),
            memory=memory_of(place, 64),
        )
    if operation is _O.ADDRESS and place is not None:
        return _address(text, mnemonic, place, registers)
    last = found[-1] if found else Operand()
    compares = stem in ("cmp", "test", "bt")
    writes_memory = last.memory is not None and not compares
    target = () if compares or writes_memory or not registers else (registers[-1],)
    # Two operands: the last is read, too, unless it is only written.
    only_written = stem in ("mov", "movabs", "extend", "set", "popcnt", "lzcnt")
    only_written |= stem in ("tzcnt", "shlx", "shrx", "sarx", "rorx", "andn", "bzhi")
    only_written |= stem == "imul" and len(found) == 3
    reads = list(registers)
    if target and only_written:
        reads.pop()
    writes = list(target)
    if stem in ("mul", "imul", "div", "idiv") and len(found) == 1:
        reads = [*registers, "rax"] + (["rdx"] if "div" in stem else [])
        writes = ["rax", "rdx"]
    if stem in ("xor", "sub") and len(registers) == 2 and len(set(registers)) == 1:
        writes, effect = [registers[0], FLAGS], Effect("set", registers[0])
        return _made(text, mnemonic, _O.ZERO, bits, writes=writes, effect=effect)
    if operation is _O.CONDITIONAL or stem in ("adc", "sbb"):
        reads.append(FLAGS)
    moves = operation in (_O.MOVE, _O.CONDITIONAL) or stem == "extend"
    if not moves and stem not in WITHOUT_FLAGS:
        writes.append(FLAGS)
    immediate = operation is _O.MOVE and not writes_memory and found[0].memory is None
    if immediate and found[0].register == "":
        operation = _O.INTEGER  # a constant needs a port
    loads = int(place is not None and not (writes_memory and only_written))
    stores = int(writes_memory)
    parts = []
    if (place is not None and operation is _O.MOVE) or (stem == "extend" and loads):
        operation = _O.STORE_INTEGER if stores else _O.LOAD_INTEGER
    if operation not in LOADS | STORES:
        parts.append(Part(operation, bits))
    if loads:
        parts.append(Part(_O.LOAD_INTEGER, bits))
    if stores:
        parts.append(Part(_O.STORE_INTEGER, bits))
    return Instruction(
        text=text,
        mnemonic=mnemonic,
        operation=operation,
        bits=bits,
        element_bits=bits,
        parts=tuple(parts),
        reads=tuple(dict.fromkeys(reads)),
        writes=tuple(writes),
        memory=memory_of(place, bits // 8) if place else None,
        loads=loads,
        stores=stores,
        effect=_effect(stem, found) if place is None else None,
    )


def _address(
    text: str, mnemonic: str, place: Operand, registers: Sequence[str]
) -> Instruction:
    memory = memory_of(place, 0)
    slow = bool(memory.base and memory.index and (memory.displacement or memory.symbol))
    operation = _O.ADDRESS_SLOW if slow else _O.ADDRESS
    target, effect = registers[-1], None
    if memory.base and not memory.index and not memory.symbol:
        effect = Effect("add", target, memory.base, value=memory.displacement)
    return _made(
        text,
        mnemonic,
        operation,
        64,
        reads=memory.registers,
        writes=(target,),
        effect=effect,
    )


def _effect(stem: str, found: Sequence[Operand]) -> Effect | None:
    """Return what an instruction without memory does to whole numbers."""
    last = found[-1].register if found else ""
    first = found[0] if found else Operand()
    constant, source = first.value, first.register
    if len(found) == 1 and stem in ("inc", "dec"):
        return Effect("add", last, last, value=1 if stem == "inc" else -1)
    if len(found) != 2 or not last:
        return None
    if stem in ("mov", "movabs"):
        if constant is not None:
            return Effect("set", last, value=constant)
        return Effect("add", last, source) if source else None
    if stem in ("add", "sub") and constant is not None:
        return Effect("add", last, last, value=constant if stem == "add" else -constant)
    if stem == "cmp":
        if constant is not None:
            return Effect("compare", source=last, value=constant)
        return Effect("compare", source=last, other=source) if source else None
    if stem == "test" and (source == last or constant in (1, 255, -1)):
        return Effect("compare", source=last)  # a mark is zero or one
    return None


# ---------------------------------------------------------------- vectors


def _vector(
    text: str, mnemonic: str, form: Form, found: Sequence[Operand]
) -> Instruction:
    operation, stem = form.operation, form.stem
    place = _in_memory(found)
    last = found[-1]
    vectors = [each for each in found if each.register[:1] == "v"]
    widest = max((each.bits for each in vectors), default=0)
    bits = widest if form.packed else form.element_bits
    registers = [each.register for each in found if each.register]
    masks = [each.mask for each in found if each.mask]
    merging = any(each.mask and not each.zeroing for each in found)
    stored = last.memory is not None and operation is not _O.COMPARE_FLAGS
    flags = operation in (_O.COMPARE_FLAGS, _O.TEST) or stem[:5] in ("korte", "ktest")
    writes = [] if stored or flags else [last.register]
    sources = registers if stored or flags else registers[:-1]
    reads = [*sources, *masks]
    if writes and (_reads_target(form, found) or merging):
        reads.append(last.register)
    if flags:
        writes.append(FLAGS)
    if _clears(stem, operation, found):
        return _made(text, mnemonic, _O.ZERO, bits, writes=writes)
    if _ONES.fullmatch(stem) and len(set(registers)) == 1:
        return _made(text, mnemonic, _O.CONSTANT, bits, writes=writes)
    if operation in (_O.COMPARE, _O.VECTOR_ADD) and last.register[:1] == "k":
        operation = _O.COMPARE_MASK
    loads = int(place is not None and not stored)
    size = bits // 8 if form.packed else form.element_bits // 8
    broadcast = place is not None and place.broadcast
    access = _O.LOAD_BROADCAST if broadcast else _O.LOAD
    if operation is _O.VECTOR_MOVE:
        operation = _moved(form, found, loads=bool(loads), stored=stored)
        if operation is _O.SHUFFLE and not form.vex and stem in ("movss", "movsd"):
            reads = registers  # the upper elements stay
    elif operation is _O.BROADCAST and loads:
        small = form.element_bits < 32
        broadcast, size = True, form.element_bits // 8
        operation = _O.BROADCAST if small else _O.LOAD_BROADCAST
    elif operation is _O.LOAD_BROADCAST:
        broadcast, size = True, lane_bits(mnemonic) // 8
        operation = _O.LOAD_BROADCAST if loads else _O.PERMUTE_LANES
    elif operation is _O.LOAD_MASKED:
        operation = _O.STORE_MASKED if stored else _O.LOAD_MASKED
    elif operation is _O.EXTRACT_LANES and stored:
        operation, bits = _O.STORE, lane_bits(mnemonic)
        size = bits // 8
    elif stem == "movddup" and loads:
        operation, size = _O.LOAD_BROADCAST, 8
    elif stem[:4] in ("movl", "movh") and place is not None:
        size = 8
        operation = _O.STORE if stored and stem[3] == "l" else operation
    elif stem == "insert":
        size = 4 if operation is _O.SHUFFLE else lane_bits(mnemonic) // 8
    elif stem[:5] in ("pinsr", "pextr"):
        size = form.element_bits // 8
    elif stem.startswith(("pmovz", "pmovs")):
        size //= _WIDTH[stem[-1]] // _WIDTH[stem[-2]]
    if broadcast and place is not None and place.broadcast:
        size = form.element_bits // 8
    parts = []
    if operation not in LOADS | STORES or operation is _O.GATHER:
        parts.append(Part(operation, bits))
    if loads and operation is not _O.GATHER:
        parts.append(Part(operation if operation in LOADS else access, bits))
    if stored:
        parts.append(Part(operation if operation in STORES else _O.STORE, bits))
    if stem.startswith("pinsr") and not loads:
        parts.append(Part(_O.TO_VECTOR, 32))
    return Instruction(
        text=text,
        mnemonic=mnemonic,
        operation=operation,
        bits=bits,
        element_bits=form.element_bits,
        packed=form.packed,
        parts=tuple(parts),
        reads=tuple(dict.fromkeys(reads)),
        writes=tuple(writes),
        addend=_addend(form, found) if operation is _O.FMA else "",
        memory=memory_of(place, size) if place else None,
        loads=loads,
        stores=int(stored),
        broadcast=broadcast,
    )


def _clears(stem: str, operation: Operation, found: Sequence[Operand]) -> bool:
    """Return whether a register is combined with itself to zero."""
    sources = {each.register for each in found[: max(2, len(found) - 1)]}
    clearing = stem in ("xor", "pxor", "pxord", "pxorq", "psubd", "psubq", "psubb")
    return clearing and len(sources) == 1 and "" not in sources


def _addend(form: Form, found: Sequence[Operand]) -> str:
    """Return the register that a multiply-add adds to, by the digits of its name."""
    place = {"231": -1, "213": 0, "132": -2}[form.stem]
    return found[place].register


def _reads_target(form: Form, found: Sequence[Operand]) -> bool:
    """Return whether the register that is written is read before."""
    if form.operation is _O.FMA or form.stem.startswith(("permt2", "permi2", "pdp")):
        return True
    if form.stem.startswith(("pternlog", "vpermt2", "gather")):
        return True
    if form.vex or form.operation in (_O.VECTOR_MOVE, _O.MOVE_MASK, _O.FROM_VECTOR):
        return False
    if form.operation in _KEPT or _NEW.fullmatch(form.stem):
        # What a scalar leaves of the old register counts as read.
        return not form.packed and form.operation is not _O.CONVERT_TO_INTEGER
    return True


def _moved(
    form: Form, found: Sequence[Operand], *, loads: bool, stored: bool
) -> Operation:
    """Return what a vector move is: a load, a store, or between registers."""
    if stored:
        return _O.STORE
    if loads:
        return _O.LOAD
    general = [each.register[:1] != "v" for each in found if each.register]
    if any(general):
        return _O.FROM_VECTOR if general[-1] else _O.TO_VECTOR
    if form.stem in ("movss", "movsd"):
        return _O.SHUFFLE
    return _O.VECTOR_MOVE if form.packed else _O.SHUFFLE
