"""How many items a query has.

References:
    MLPerf Inference, DLRM: ``dist_quantile.txt`` (github.com/mlcommons/inference,
    Apache-2.0), said to be "similar to the one shown on Fig. 5 ... in the DeepRecSys
    paper" (mlcommons/inference_policies, issue 137).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol, final

import numpy as np
from numpy.typing import NDArray

from trimtab.errors import DataError, UsageError

__all__ = [
    "LARGEST",
    "MLPERF",
    "SIZES",
    "Counted",
    "Drawn",
    "Sizes",
    "parse_sizes",
]

Integers = NDArray[np.int64]

MLPERF: Final = (
    100, 100, *[200] * 12, 300, 300, 400, 500, 600, 700,
)  # fmt: skip
"""Twenty equally likely sizes, the public stand-in for those of production."""

LARGEST: Final = 1000
"""Items of the largest query of DeepRecSys, from which it has its static batch size."""

_MOST_ITEMS: Final = 65_536
_MOST_BYTES: Final = 16 * 2**20


class Sizes(Protocol):
    """A law of query sizes."""

    @property
    def largest(self) -> int:
        """No query has more items."""
        ...

    def draw(self, count: int, rng: np.random.Generator) -> Integers:
        """Return so many sizes, each at least 1."""
        ...


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Sizes out of a list, all equally likely.

    Attributes:
        sizes: the list; a size that stands twice is twice as likely.

    Raises:
        UsageError: an empty list, or a size below 1 or above 65,536.
    """

    sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.sizes or min(self.sizes) < 1 or max(self.sizes) > _MOST_ITEMS:
            raise _wrong(f"{len(self.sizes)} query sizes")

    @property
    def largest(self) -> int:
        """No query has more items."""
        return max(self.sizes)

    def draw(self, count: int, rng: np.random.Generator) -> Integers:
        """Return so many sizes."""
        return rng.choice(np.array(self.sizes, dtype=np.int64), size=count)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """Sizes of a normal or lognormal law, rounded, within 1 and `largest`.

    Attributes:
        law: which one.
        mean: of the normal law, or of the logarithm.
        deviation: the same.
        largest: larger ones have this size.

    Raises:
        UsageError: a negative deviation, or a mean or `largest` out of bounds.
    """

    law: Literal["normal", "lognormal"]
    mean: float
    deviation: float
    largest: int = 1024

    def __post_init__(self) -> None:
        most = _MOST_ITEMS if self.law == "normal" else float(np.log(_MOST_ITEMS))
        if not (0 <= self.mean <= most and 0 <= self.deviation <= most) or not (
            1 <= self.largest <= _MOST_ITEMS
        ):
            raise _wrong(f"{self.law} sizes of {self.mean:g}, {self.deviation:g}")

    def draw(self, count: int, rng: np.random.Generator) -> Integers:
        """Return so many sizes."""
        draw = rng.normal if self.law == "normal" else rng.lognormal
        values = draw(self.mean, self.deviation, size=count)
        return np.clip(np.rint(values), 1, self.largest).astype(np.int64)


def parse_sizes(spec: str) -> Sizes:
    """Return the law of a text: see `SIZES` for all forms.

    Raises:
        UsageError: no such form.
        DataError: a file that is absent or holds no sizes.

    Example:
        >>> parse_sizes("fixed:100")
        Counted(sizes=(100,))
        >>> parse_sizes("mlperf").largest
        700
    """
    kind, _, rest = spec.partition(":")
    if kind == "mlperf" and not rest:
        return Counted(sizes=MLPERF)
    if kind == "file" and rest:
        return _of_file(Path(rest))
    if kind == "fixed" and re.fullmatch(r"[0-9]{1,6}", rest):
        return Counted(sizes=(int(rest),))
    numbers = re.fullmatch(r"([0-9.]{1,9}),([0-9.]{1,9})", rest)
    if kind in ("normal", "lognormal") and numbers:
        try:
            mean, deviation = float(numbers[1]), float(numbers[2])
        except ValueError:
            raise _wrong(f"query sizes {spec!r}") from None
        return Drawn(
            law=kind,  # type: ignore[arg-type]
            mean=mean,
            deviation=deviation,
        )
    raise _wrong(f"query sizes {spec!r}")


SIZES: Final = (
    "mlperf", "lognormal:MU,SIGMA", "normal:MEAN,DEVIATION", "fixed:N", "file:PATH",
)  # fmt: skip
"""Forms that `parse_sizes` takes."""


def _of_file(path: Path) -> Sizes:
    """Return the sizes in a text file, between spaces, commas or lines."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise _no_sizes(path, f"it is larger than {_MOST_BYTES} bytes")
        words = re.split(r"[\s,]+", path.read_text("utf-8").strip())
    except (OSError, UnicodeDecodeError) as error:
        raise _no_sizes(path, str(error)) from error
    for number, word in enumerate(words, 1):
        if not re.fullmatch(r"[0-9]{1,5}", word) or not 1 <= int(word) <= _MOST_ITEMS:
            raise _no_sizes(path, f"entry {number} is {word[:20]!r}")
    return Counted(sizes=tuple(map(int, words)))


def _no_sizes(path: Path, rule: str) -> DataError:
    return DataError(
        f"query sizes in {str(path)!r}",
        rule=rule,
        where="trimtab.serve.sizes",
        remedy=f"give whole numbers from 1 to {_MOST_ITEMS}",
    )


def _wrong(asked: str) -> UsageError:
    return UsageError(
        asked,
        rule=f"they are one of {', '.join(SIZES)}, of 1 to {_MOST_ITEMS} items",
        where="trimtab.serve.sizes",
        remedy="give mlperf",
    )
