"""Mnemonics of AArch64, with ASIMD and the usual ones of SVE: what each means."""

from __future__ import annotations

import functools
import re

from trimtab.hardware.operations import Operation

__all__ = ["CONDITIONS", "integer_form", "vector_form"]

_O = Operation

_VECTOR: tuple[tuple[re.Pattern[str], Operation], ...] = tuple(
    (re.compile(pattern), operation)
    for pattern, operation in (
        (r"fml[as]|fn?m(add|sub)|fml[as]l2?|frecps|frsqrts|f(n?mad|n?msb)", _O.FMA),
        (r"fn?ml[as]", _O.FMA),
        (r"fn?mulx?", _O.MULTIPLY),
        (r"fadd|fsub|fsubr|fabd|faddp", _O.ADD),
        (r"f(max|min)(nm)?p?", _O.MINMAX),
        (r"f(max|min)(nm)?v|faddv|[su]?addl?v|[su](max|min)v", _O.REDUCE),
        (r"fdivr?", _O.DIVIDE),
        (r"fsqrt", _O.SQRT),
        (r"frecp[ex]|frsqrte|urecpe|ursqrte", _O.RECIPROCAL),
        (r"frint\w+", _O.ROUND),
        (r"fc?cmpe?|fccmpe?", _O.COMPARE_FLAGS),
        (r"fcm\w+|fac\w+", _O.COMPARE),
        (r"fcvt\w*|[su]cvtf|bfcvt\w*", _O.CONVERT),
        (r"fneg|fabs", _O.LOGIC),
        (r"fcsel|sel|bsl|bit|bif", _O.SELECT),
        (r"fscale|fexpa|ftmad", _O.SCALE),
        (r"movi|mvni|fdup", _O.CONSTANT),
        (r"and|orr|eor|bic|orn|not|mvn|eor3|bcax", _O.LOGIC),
        (r"zip[12]|uzp[12]|trn[12]|ext|rev(16|32|64)?|tb[lx]", _O.SHUFFLE),
        (r"[su]?q?xtu?n2?", _O.SHUFFLE),
        (r"splice|compact|insr", _O.SHUFFLE),
        (r"sqxtun2?|rbit|cnt|cls|clz|addhn2?", _O.SHUFFLE),
        (r"dup", _O.BROADCAST),
        (r"ins", _O.SHUFFLE),
        (r"umov|smov", _O.FROM_VECTOR),
        (r"(s|u|sq|uq|h|rh)*(add|sub)(w|l|p|hn)*2?|addp", _O.VECTOR_ADD),
        (r"[su](max|min)p?|[su]ab[ad]l?2?|s?abs|neg|sqneg|sqabs", _O.VECTOR_ADD),
        (r"cm(eq|ge|gt|hi|hs|le|lt|tst|lo|ls|ne|pl\w+)", _O.VECTOR_ADD),
        (r"cmp(eq|ge|gt|hi|hs|le|lt|lo|ls|ne)", _O.COMPARE_MASK),
        (r"mul|ml[as]|[su]mull2?|[su]ml[as]l2?|sqr?dmulh", _O.VECTOR_MULTIPLY),
        (r"[su]dot|usdot|[su]mmla|bfmmla|bfdot|bfmlal[bt]", _O.VECTOR_MULTIPLY),
        (r"mad|msb|[su]adalpl?", _O.VECTOR_MULTIPLY),
        (r"sh(l|ll|rn)2?|[su]sh(l|r|ll)2?|[su]r?sra|s[lr]i|[su]xtl2?", _O.VECTOR_SHIFT),
        (r"(sq|uq|r|sr|ur)*sh(l|r|rn|run)2?|ls[lr]r?|asrr?", _O.VECTOR_SHIFT),
        (r"index|movprfx", _O.VECTOR_MOVE),
        (r"ptrue|pfalse|while\w+|p(test|next|first)|cntp|brk\w+|punpk\w+", _O.MASK),
    )
)  # fmt: skip

_INTEGER: tuple[tuple[re.Pattern[str], Operation], ...] = tuple(
    (re.compile(pattern), operation)
    for pattern, operation in (
        (r"(add|sub|adc|sbc|and|bic|orr|orn|eor|eon|neg|ngc)s?|mvn", _O.INTEGER),
        (r"cm[pn]|tst|ccm[pn]|movz|movn|movk", _O.INTEGER),
        (r"ubfx|sbfx|ubfm|sbfm|bfi|bfxil|ubfiz|sbfiz|ubfm|bfm|bfc|extr", _O.SHIFT),
        (r"ls[lr]v?|asrv?|rorv?|[su]xt[bhw]", _O.SHIFT),
        (r"m(add|sub|ul|neg)|[su]m(add|sub|ul|neg)l|[su]mulh", _O.INTEGER_MULTIPLY),
        (r"[su]div", _O.INTEGER_DIVIDE),
        (r"clz|cls|rbit|rev(16|32|64)?|cnt|ctz", _O.BITS),
        (r"c(sel|sinc|sinv|sneg|set|setm|inc|inv|neg)", _O.CONDITIONAL),
        (r"adrp?", _O.ADDRESS),
        (r"mov", _O.MOVE),
        (r"(cnt|inc|dec)[bhwd]|addvl|addpl|rdvl", _O.INTEGER),
        (r"bl|blr|ret", _O.CALL),
        (r"nop|hint|bti|yield|isb|dmb|pac\w+|aut\w+|brk|udf", _O.NOTHING),
        (r"prfu?m|prf[bhwd]", _O.PREFETCH),
    )
)

CONDITIONS = {
    "eq": "eq", "ne": "ne", "lt": "lt", "le": "le", "gt": "gt", "ge": "ge", "lo": "lo",
    "cc": "lo", "ls": "ls", "hi": "hi", "hs": "hs", "cs": "hs", "mi": "mi", "pl": "pl",
    "vs": "vs", "vc": "vc",
}  # fmt: skip


@functools.lru_cache(maxsize=1024)
def vector_form(name: str) -> Operation | None:
    """Return what a mnemonic does to vectors, None if unknown.

    Example:
        >>> vector_form("fmla"), vector_form("cmp")
        (<Operation.FMA: 'fma'>, None)
    """
    return next((o for pattern, o in _VECTOR if pattern.fullmatch(name)), None)


@functools.lru_cache(maxsize=1024)
def integer_form(name: str) -> Operation | None:
    """Return what a mnemonic does to general registers, None if unknown.

    Example:
        >>> integer_form("subs"), integer_form("fmla")
        (<Operation.INTEGER: 'integer'>, None)
    """
    return next((o for pattern, o in _INTEGER if pattern.fullmatch(name)), None)
