"""Latencies as an HDR histogram, in the text form that plotters of it read.

Needs the package hdrhistogram (extra ``serve``).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from trimtab.errors import MissingExtraError, UsageError

__all__ = ["check_histogram", "write_histogram"]

_MOST_US: Final = 3_600_000_000
_DIGITS: Final = 3


def check_histogram(path: Path) -> None:
    """Refuse to write one, before there is anything to write.

    Raises:
        MissingExtraError: the package is not installed.
        UsageError: the folder does not exist.
    """
    try:
        import hdrh
    except ImportError:
        raise MissingExtraError(
            "an HDR histogram",
            rule="the package hdrhistogram is not installed",
            where="--histogram",
            remedy="install the extra: pip install 'trimtab[serve]'",
        ) from None
    del hdrh
    if not path.absolute().parent.is_dir():
        raise UsageError(
            f"histogram {str(path)!r}",
            rule="its folder does not exist",
            where="--histogram",
            remedy="make the folder first",
        )


def write_histogram(latencies_s: Iterable[float], path: Path) -> int:
    """Write the percentiles of latencies, milliseconds; return how many counted.

    What is infinite, a query that was not answered, is left out.

    Args:
        latencies_s: seconds.
        path: written whole or not at all.

    Raises:
        MissingExtraError: the package is not installed.
        UsageError: the folder does not exist.
    """
    check_histogram(path)
    from hdrh.histogram import HdrHistogram

    made = HdrHistogram(1, _MOST_US, _DIGITS)
    count = 0
    for each in latencies_s:
        if math.isfinite(each):
            made.record_value(min(_MOST_US, max(1, round(1e6 * each))))
            count += 1
    draft = path.with_name(f".{path.name}.making")
    with draft.open("wb") as file:
        made.output_percentile_distribution(file, 1000.0)
    draft.replace(path)
    return count
