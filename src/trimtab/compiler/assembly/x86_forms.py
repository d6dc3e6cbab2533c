"""Mnemonics of x86-64 as LLVM writes them, from SSE to AVX-512: what each means."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import NamedTuple

from trimtab.hardware.operations import Operation

__all__ = ["CONDITIONS", "SIGN", "WITHOUT_FLAGS", "Form", "form_of", "lane_bits"]

_O = Operation

_FLOAT: Mapping[str, Operation] = {
    "add": _O.ADD, "sub": _O.ADD, "addsub": _O.ADD, "mul": _O.MULTIPLY,
    "div": _O.DIVIDE, "sqrt": _O.SQRT, "min": _O.MINMAX, "max": _O.MINMAX,
    "and": _O.LOGIC, "andn": _O.LOGIC, "or": _O.LOGIC, "xor": _O.LOGIC,
    "rcp": _O.RECIPROCAL, "rsqrt": _O.RECIPROCAL, "rcp14": _O.RECIPROCAL,
    "rsqrt14": _O.RECIPROCAL, "round": _O.ROUND, "rndscale": _O.ROUND,
    "reduce": _O.ROUND, "ucomi": _O.COMPARE_FLAGS, "comi": _O.COMPARE_FLAGS,
    "unpckl": _O.SHUFFLE, "unpckh": _O.SHUFFLE, "shuf": _O.SHUFFLE,
    "permil": _O.SHUFFLE, "insert": _O.SHUFFLE, "perm": _O.PERMUTE,
    "permt2": _O.PERMUTE, "permi2": _O.PERMUTE, "expand": _O.PERMUTE,
    "compress": _O.PERMUTE, "blend": _O.BLEND, "blendm": _O.BLEND,
    "blendv": _O.SELECT, "hadd": _O.HORIZONTAL, "hsub": _O.HORIZONTAL,
    "dp": _O.DOT, "getexp": _O.SCALE, "getmant": _O.SCALE, "scalef": _O.SCALE,
    "range": _O.SCALE, "fixupimm": _O.SCALE, "movmsk": _O.MOVE_MASK,
    "test": _O.TEST, "extract": _O.FROM_VECTOR, "broadcast": _O.BROADCAST,
}  # fmt: skip
# What stands before ps, pd, ss or sd.

_MOVES = re.compile(
    r"mov(?:a|u|nt)(?:ps|pd)|mov(?:dq[au]|ntdqa?)(?:8|16|32|64)?|lddqu|movss|movsd"
)
_HALVES = re.compile(r"mov[lh]p[sd]")
_SHUFFLED = re.compile(r"mov(?:s[lh]dup|ddup|hlps|lhps)")
_LANES = re.compile(r"(insert|extract|broadcast|perm2|shuf)[fi](?:128|(?:32|64)x[248])")
_FMA = re.compile(r"f(?:n?m(?:add|sub)|maddsub|msubadd)(132|213|231)(p[sd]|s[sd])")
_COMPARE = re.compile(r"cmp\w*?(ps|pd|ss|sd)")
_CONVERT = re.compile(r"cvt(t?)(\w+?)2(\w+)")

_WHOLE: tuple[tuple[re.Pattern[str], Operation], ...] = tuple(
    (re.compile(pattern), operation)
    for pattern, operation in (
        (r"p(add|sub)(s|us)?[bwdq]", _O.VECTOR_ADD),
        (r"p(min|max)[su][bwdq]|p(abs|avg|sign)[bwdq]", _O.VECTOR_ADD),
        (r"pcmp(eq|gt)[bwdq]", _O.VECTOR_ADD),
        (r"pcmp\w*[bwdq]|ptestn?m[bwdq]", _O.COMPARE_MASK),
        (r"p(mul\w+|madd\w+|sadbw|dpbusds?|dpwssds?)", _O.VECTOR_MULTIPLY),
        (r"p(s[lr]ldq|shuf\w+|unpck\w+|ack\w+|alignr)", _O.SHUFFLE),
        (r"p(s[lr]l|sra)v?[wdq]|p(ro[lr]|sh[lr]d)v?[wdq]", _O.VECTOR_SHIFT),
        (r"p(and|andn|or|xor)[dq]?|pternlog[dq]", _O.LOGIC),
        (r"align[dq]|perm(t2|i2)?[bwdq]|p(expand|compress)[bwdq]", _O.PERMUTE),
        (r"perm[bwdq]|perm[ti]2[bwdq]", _O.PERMUTE),
        (r"pblend[wd]|pblendm[bwdq]", _O.BLEND),
        (r"pblendvb", _O.SELECT),
        (r"pmovmskb", _O.MOVE_MASK),
        (r"ptest", _O.TEST),
        (r"pinsr[bwdq]", _O.SHUFFLE),
        (r"pextr[bwdq]", _O.FROM_VECTOR),
        (r"pbroadcast[bwdq]", _O.BROADCAST),
        (r"pmov[sz]x\w+", _O.PERMUTE_LANES),
        (r"pmov(m2|\w2m)\w?|k\w+", _O.MASK),
        (r"pmov(s|us)?[wdq][bwd]", _O.PERMUTE),
        (r"ph(add|sub)s?[wd]", _O.HORIZONTAL),
    )
)

_INTEGER = {
    "add": _O.INTEGER, "sub": _O.INTEGER, "and": _O.INTEGER, "or": _O.INTEGER,
    "xor": _O.INTEGER, "inc": _O.INTEGER, "dec": _O.INTEGER, "neg": _O.INTEGER,
    "not": _O.INTEGER, "cmp": _O.INTEGER, "test": _O.INTEGER, "adc": _O.INTEGER,
    "sbb": _O.INTEGER, "andn": _O.INTEGER, "bswap": _O.INTEGER, "blsr": _O.INTEGER,
    "blsi": _O.INTEGER, "blsmsk": _O.INTEGER, "xchg": _O.INTEGER,
    "mov": _O.MOVE, "movabs": _O.MOVE, "lea": _O.ADDRESS,
    "shl": _O.SHIFT, "sal": _O.SHIFT, "shr": _O.SHIFT, "sar": _O.SHIFT,
    "rol": _O.SHIFT, "ror": _O.SHIFT, "shlx": _O.SHIFT, "shrx": _O.SHIFT,
    "sarx": _O.SHIFT, "rorx": _O.SHIFT, "bt": _O.SHIFT, "bts": _O.SHIFT,
    "btr": _O.SHIFT, "bzhi": _O.SHIFT, "bextr": _O.SHIFT,
    "imul": _O.INTEGER_MULTIPLY, "mul": _O.INTEGER_MULTIPLY,
    "mulx": _O.INTEGER_MULTIPLY, "div": _O.INTEGER_DIVIDE,
    "idiv": _O.INTEGER_DIVIDE, "popcnt": _O.BITS, "lzcnt": _O.BITS,
    "tzcnt": _O.BITS, "bsf": _O.BITS, "bsr": _O.BITS,
    "push": _O.STORE_INTEGER, "pop": _O.LOAD_INTEGER,
}  # fmt: skip
_SUFFIX_BITS = {"b": 8, "w": 16, "l": 32, "q": 64}
_EXTEND = re.compile(r"mov[sz](b|w|l)(w|l|q)")
_NOTHING = {
    "nop", "nopw", "nopl", "nopq", "endbr64", "vzeroupper", "vzeroall", "ud2",
    "pause", "emms",
}  # fmt: skip
SIGN = {
    "cltq": ("rax", "rax"), "cwtl": ("rax", "rax"), "cqto": ("rax", "rdx"),
    "cltd": ("rax", "rdx"),
}  # fmt: skip
WITHOUT_FLAGS = {"not", "bswap", "xchg", "shlx", "shrx", "sarx", "rorx", "mulx"}
_ELEMENT = {"ps": 32, "ss": 32, "pd": 64, "sd": 64, "ph": 16, "sh": 16}
CONDITIONS = {
    "e": "eq", "z": "eq", "ne": "ne", "nz": "ne", "l": "lt", "nge": "lt", "le": "le",
    "ng": "le", "g": "gt", "nle": "gt", "ge": "ge", "nl": "ge", "b": "lo", "c": "lo",
    "nae": "lo", "be": "ls", "na": "ls", "a": "hi", "nbe": "hi", "ae": "hs",
    "nc": "hs", "nb": "hs", "s": "mi", "ns": "pl", "o": "vs", "no": "vc", "p": "p",
    "np": "np",
}  # fmt: skip


class Form(NamedTuple):
    """What a mnemonic tells.

    Attributes:
        operation: its class.
        element_bits: of the vector's or the scalar's elements, 0 for integers.
        packed: whether it works on whole vectors.
        vex: whether it has the three-operand form.
        stem: the mnemonic without v, suffix and width.
    """

    operation: Operation
    element_bits: int
    packed: bool
    vex: bool
    stem: str


@functools.lru_cache(maxsize=4096)
def form_of(name: str) -> Form | None:
    """Return what a mnemonic means, None if unknown.

    Example:
        >>> form_of("vfmadd231ps").operation, form_of("addq").operation
        (<Operation.FMA: 'fma'>, <Operation.INTEGER: 'integer'>)
    """
    if name in _NOTHING:
        return Form(_O.NOTHING, 0, False, False, name)
    integer = _integer_form(name)
    if integer is not None:
        return integer
    vex = name.startswith("v")
    bare = name[1:] if vex else name
    if match := _FMA.fullmatch(bare):
        kind = match[2]
        return Form(_O.FMA, _ELEMENT[kind], kind[0] == "p", vex, match[1])
    if _MOVES.fullmatch(bare):
        scalar = bare in ("movss", "movsd")
        element = {"movss": 32, "movsd": 64}.get(bare, 64 if "pd" in bare else 32)
        return Form(_O.VECTOR_MOVE, element, not scalar, vex, bare)
    if bare in ("movd", "movq"):
        return Form(_O.VECTOR_MOVE, 32 if bare == "movd" else 64, False, vex, bare)
    if _HALVES.fullmatch(bare) or _SHUFFLED.fullmatch(bare):
        return Form(_O.SHUFFLE, 32, True, vex, bare)
    if match := _LANES.fullmatch(bare):
        kinds = {"extract": _O.EXTRACT_LANES, "broadcast": _O.LOAD_BROADCAST}
        return Form(kinds.get(match[1], _O.PERMUTE_LANES), 32, True, vex, match[1])
    if match := re.fullmatch(r"p?maskmov(ps|pd|d|q)", bare):
        return Form(_O.LOAD_MASKED, 32, True, vex, "maskmov")
    if re.fullmatch(r"p?gather[dq](ps|pd|d|q|dd)", bare):
        return Form(_O.GATHER, 32, True, vex, "gather")
    if _COMPARE.fullmatch(bare):
        kind = bare[-2:]
        return Form(_O.COMPARE, _ELEMENT[kind], kind[0] == "p", vex, "cmp")
    if match := _CONVERT.fullmatch(bare):
        return _convert(match, vex)
    suffix = bare[-2:]
    if suffix in _ELEMENT and bare[:-2] in _FLOAT:
        operation = _FLOAT[bare[:-2]]
        packed = suffix[0] == "p" or operation is _O.BROADCAST
        if suffix in ("sh", "ph") and not vex:
            return None
        return Form(operation, _ELEMENT[suffix], packed, vex, bare[:-2])
    for pattern, operation in _WHOLE:
        if pattern.fullmatch(bare):
            element = {"b": 8, "w": 16, "d": 32, "q": 64}.get(bare[-1], 32)
            return Form(operation, element, True, vex, bare)
    return None


def _convert(match: re.Match[str], vex: bool) -> Form:
    source, target = match[2], match[3]
    if source in ("si", "usi"):
        element = 32 if target.startswith("ss") else 64
        return Form(_O.CONVERT_FROM_INTEGER, element, False, vex, "cvt")
    if target in ("si", "usi", "sil", "siq", "usil", "usiq"):
        element = 32 if source == "ss" else 64
        return Form(_O.CONVERT_TO_INTEGER, element, False, vex, "cvt")
    element = max(_ELEMENT.get(source, 32), _ELEMENT.get(target, 32))
    scalar = source in ("ss", "sd")
    return Form(_O.CONVERT, element, not scalar, vex, "cvt")


def _integer_form(name: str) -> Form | None:
    if name in SIGN:
        return Form(_O.INTEGER, 0, False, False, name)
    if match := _EXTEND.fullmatch(name):
        return Form(_O.INTEGER, _SUFFIX_BITS[match[1]], False, False, "extend")
    if name.startswith("prefetch"):
        return Form(_O.PREFETCH, 0, False, False, name)
    for prefix in ("cmov", "set"):
        rest = name[len(prefix) :]
        if name.startswith(prefix) and (rest in CONDITIONS or rest[:-1] in CONDITIONS):
            return Form(_O.CONDITIONAL, 0, False, False, prefix)
    if name in ("call", "callq", "ret", "retq", "leave", "leaveq"):
        return Form(_O.CALL, 0, False, False, name.rstrip("q"))
    if name in ("jmp", "jmpq") or (name[:1] == "j" and name[1:] in CONDITIONS):
        return Form(_O.BRANCH, 0, False, False, "j")
    if name in _INTEGER:
        return Form(_INTEGER[name], 0, False, False, name)
    if name[:-1] in _INTEGER and name[-1] in _SUFFIX_BITS and name != "movq":
        bits = _SUFFIX_BITS[name[-1]]
        return Form(_INTEGER[name[:-1]], bits, False, False, name[:-1])
    return None


def lane_bits(mnemonic: str) -> int:
    """Return how wide a part of a vector is, by the end of its mnemonic.

    Example:
        >>> lane_bits("vextractf128"), lane_bits("vextractf64x4")
        (128, 256)
    """
    width = re.search(r"(\d+)(?:x(\d+))?$", mnemonic)
    return int(width[1]) * int(width[2] or 1) if width else 128
