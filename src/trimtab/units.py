"""Parse and format quantities: the only place that writes "ms" or "MiB".

Inside trimtab every quantity is in its SI base unit and its name says so
(``latency_s``, ``size_bytes``, ``bandwidth_bytes_per_s``); text appears only here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from trimtab.errors import UsageError

__all__ = [
    "format_bytes",
    "format_count",
    "format_duration",
    "format_percent",
    "format_rate",
    "format_value",
    "parse_bytes",
    "parse_count",
    "parse_duration",
]

_SI = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
_BINARY = ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"), (1, "B"))
_NUMBER = re.compile(r"\s*([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*([^\s0-9]*)\s*")
_DURATION_UNITS = {
    "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9, "min": 60.0, "h": 3600.0,
}  # fmt: skip
_BYTE_UNITS = {
    "": 1, "B": 1,
    "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip
_COUNT_UNITS = {
    "": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "B": 1e9, "T": 1e12,
}  # fmt: skip


def _three_digits(value: float) -> str:
    """Return `value` with three significant digits and no exponent."""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{digits}f}"


def format_duration(seconds: float) -> str:
    """Return a time in the unit a reader expects.

    Example:
        >>> format_duration(0.00123), format_duration(75.0), format_duration(2.5e-7)
        ('1.23 ms', '75.0 s', '250 ns')
    """
    if not math.isfinite(seconds):
        return str(seconds)
    if abs(seconds) >= 600:
        return f"{seconds / 60:.0f} min"
    for factor, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if abs(seconds) >= factor:
            return f"{_three_digits(seconds / factor)} {unit}"
    return f"{_three_digits(seconds / 1e-9)} ns" if seconds else "0 s"


def format_bytes(size_bytes: float) -> str:
    """Return a size in binary units.

    Example:
        >>> format_bytes(3 * 2**20), format_bytes(100)
        ('3.00 MiB', '100 B')
    """
    if not math.isfinite(size_bytes):
        return str(size_bytes)
    for factor, unit in _BINARY:
        if abs(size_bytes) >= factor and factor > 1:
            return f"{_three_digits(size_bytes / factor)} {unit}"
    return f"{size_bytes:.0f} B"


def format_count(count: float) -> str:
    """Return a count with an SI prefix.

    Example:
        >>> format_count(25_557_032), format_count(12)
        ('25.6 M', '12')
    """
    if not math.isfinite(count):
        return str(count)
    for factor, prefix in _SI:
        if abs(count) >= factor and factor > 1:
            return f"{_three_digits(count / factor)} {prefix}"
    return f"{count:.0f}" if float(count).is_integer() else _three_digits(count)


def format_rate(per_second: float, unit: str = "B/s") -> str:
    """Return a rate with an SI prefix.

    Example:
        >>> format_rate(25.6e9), format_rate(178e9, "FLOP/s")
        ('25.6 GB/s', '178 GFLOP/s')
    """
    text = format_count(per_second)
    return f"{text}{unit}" if " " in text else f"{text} {unit}"


def format_percent(fraction: float) -> str:
    """Return a fraction as a percentage.

    Example:
        >>> format_percent(0.1234)
        '12.3 %'
    """
    return f"{100 * fraction:.1f} %"


_FORMATS: dict[str, Callable[[float], str]] = {
    "s": format_duration,
    "bytes": format_bytes,
    "count": format_count,
    "frac": format_percent,
    "bytes/s": format_rate,
    "flops/s": lambda value: format_rate(value, "FLOP/s"),
    "Hz": lambda value: format_rate(value, "Hz"),
}


def format_value(value: float, unit: str) -> str:
    """Return `value` as text; `unit` is the base unit of a record.

    Args:
        value: the quantity in `unit`.
        unit: ``s``, ``bytes``, ``count``, ``frac``, ``bytes/s`` or ``flops/s``; any
            other unit is written behind the number as it is.

    Example:
        >>> format_value(0.002, "s"), format_value(3.0, "rows")
        ('2.00 ms', '3 rows')
    """
    formatter = _FORMATS.get(unit)
    if formatter is not None:
        return formatter(value)
    return f"{format_count(value)} {unit}".rstrip()


def _parse(text: str, units: dict[str, float] | dict[str, int], example: str) -> float:
    match = _NUMBER.fullmatch(text)
    if match is None or match[2] not in units:
        names = ", ".join(unit for unit in units if unit)
        raise UsageError(
            f"quantity {text!r}",
            rule=f"it must be a number with one of the units {names}",
            remedy=f"write it like {example!r}",
        )
    return float(match[1]) * units[match[2]]


def parse_duration(text: str) -> float:
    """Return seconds; the unit is required.

    Raises:
        UsageError: not a number with a unit of time.

    Example:
        >>> parse_duration("25ms")
        0.025
    """
    return _parse(text, _DURATION_UNITS, "25ms")


def parse_bytes(text: str) -> int:
    """Return bytes; ``MB`` is decimal, ``MiB`` binary.

    Raises:
        UsageError: not a number with a unit of size.

    Example:
        >>> parse_bytes("64MiB"), parse_bytes("1.5MB")
        (67108864, 1500000)
    """
    return round(_parse(text, _BYTE_UNITS, "64MiB"))


def parse_count(text: str) -> int:
    """Return a count.

    Raises:
        UsageError: not a number with an SI prefix.

    Example:
        >>> parse_count("1.5M")
        1500000
    """
    return round(_parse(text, _COUNT_UNITS, "1.5M"))
