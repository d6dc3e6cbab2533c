"""What the positions along an axis see of an image's axis: intervals, exactly.

A position sees an interval of pixels. Two are kept of each. The *field* is what it
would see of an image without end, the figure that tables of receptive fields print. The
*support* is what it sees of the image that is there; padding shows nothing of it, so at
the border the support is more than the field cut off only where strides skip pixels.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import final

import numpy as np
from numpy.typing import NDArray

__all__ = ["NOTHING", "Axis", "Paths"]

Integers = NDArray[np.int64]

NOTHING = 1 << 40
"""The first pixel of a support that is empty; its last is minus this."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """What the paths through a network see on average, each counting alike.

    Attributes:
        logarithm: base 2, of how many there are.
        mean: pixels that a path sees.
        blur: variance that windows without weights (pools) give to the place that a
            path comes from, as if they weighed evenly; in pixels squared.
    """

    logarithm: float = 0.0
    mean: float = 1.0
    blur: float = 0.0

    @property
    def grain(self) -> float:
        """Pixels of the even window that would blur as much; 1 where nothing does.

        Example:
            >>> Paths().through(3, 1.0, weights=False).grain
            3.0
        """
        return math.sqrt(12 * self.blur + 1)

    def through(self, taps: int, step: float, *, weights: bool) -> Paths:
        """Return the paths behind a window.

        Args:
            taps: positions in the window.
            step: pixels from one to the next.
            weights: whether the window has some: others tell no place apart.
        """
        return Paths(
            logarithm=self.logarithm,
            mean=self.mean + (taps - 1) * step,
            blur=self.blur + (0.0 if weights else (taps**2 - 1) / 12 * step**2),
        )

    @staticmethod
    def met(several: Sequence[Paths]) -> Paths:
        """Return the paths of branches that meet.

        Example:
            >>> one, wide = Paths(), Paths(mean=3.0, logarithm=1.0)
            >>> found = Paths.met([one, wide])
            >>> round(found.mean, 3), round(2**found.logarithm)
            (2.333, 3)
        """
        most = max(each.logarithm for each in several)
        shares = [2.0 ** (each.logarithm - most) for each in several]
        total = sum(shares)
        return Paths(
            logarithm=most + math.log2(total),
            mean=sum(map(operator.mul, shares, (each.mean for each in several)))
            / total,
            blur=sum(map(operator.mul, shares, (each.blur for each in several)))
            / total,
        )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """Positions along an axis, and what each sees of an image's axis.

    Attributes:
        pixels: length of the image's axis.
        low: first pixel of each position's field; may lie before the image.
        high: the last one; may lie behind it.
        first: first pixel of each position's support, `NOTHING` where it is empty.
        last: the last one.
        jump: pixels from one position to the next.
        least: pixels that the narrowest path through the network sees.
        paths: through the network.
    """

    pixels: int
    low: Integers
    high: Integers
    first: Integers
    last: Integers
    jump: Fraction = Fraction(1)
    least: int = 1
    paths: Paths = Paths()

    @staticmethod
    def of_image(pixels: int) -> Axis:
        """Return the axis of the image itself.

        Example:
            >>> Axis.of_image(3).high
            array([0, 1, 2])
        """
        each = np.arange(pixels, dtype=np.int64)
        return Axis(pixels=pixels, low=each, high=each, first=each, last=each)

    @staticmethod
    def of_nothing(pixels: int) -> Axis:
        """Return one position that sees no pixel."""
        empty = np.array([NOTHING], dtype=np.int64)
        return Axis(pixels=pixels, low=empty, high=-empty, first=empty, last=-empty)

    def __len__(self) -> int:
        return len(self.low)

    @property
    def size(self) -> int:
        """Pixels of the widest field.

        Example:
            >>> Axis.of_image(9).window(9, kernel=3, before=1).size
            3
        """
        return max(0, int((self.high - self.low).max()) + 1) if len(self) else 0

    @property
    def is_whole(self) -> bool:
        """Whether every position sees the whole image."""
        return bool(np.all(self.first <= 0) and np.all(self.last >= self.pixels - 1))

    def take(self, places: Integers) -> Axis:
        """Return these positions, in this order."""
        return Axis(
            pixels=self.pixels,
            low=self.low[places],
            high=self.high[places],
            first=self.first[places],
            last=self.last[places],
            jump=self.jump,
            least=self.least,
            paths=self.paths,
        )

    def window(
        self,
        count: int,
        *,
        kernel: int,
        stride: int = 1,
        before: int = 0,
        dilation: int = 1,
        weights: bool = True,
    ) -> Axis:
        """Return what windows over the positions see.

        Args:
            count: of windows.
            kernel: positions in one.
            stride: positions from one to the next.
            before: positions of padding before the first.
            dilation: positions from one of a window to the next.
            weights: whether a window has some.

        Example:
            >>> halves = Axis.of_image(8).window(4, kernel=3, stride=2, before=1)
            >>> halves.low, halves.first, halves.jump, halves.least
            (array([-1,  1,  3,  5]), array([0, 1, 3, 5]), Fraction(2, 1), 3)
        """
        start = np.arange(count, dtype=np.int64) * stride - before
        taps = start[:, None] + np.arange(kernel, dtype=np.int64)[None] * dilation
        return replace(
            self._seen(taps, self.jump * stride, (kernel - 1) * dilation),
            paths=self.paths.through(
                kernel, float(self.jump) * dilation, weights=weights
            ),
        )

    def spread(
        self,
        count: int,
        *,
        kernel: int,
        stride: int = 1,
        before: int = 0,
        dilation: int = 1,
    ) -> Axis:
        """Return what the outputs of a transposed convolution see.

        Position i adds to the outputs ``i * stride - before + t * dilation`` for the
        taps t of the kernel; an output to which none does sees nothing.

        Args:
            count: of outputs.
            kernel: taps.
            stride: outputs from one position's first to the next one's.
            before: outputs that are cut off.
            dilation: outputs from one tap to the next.
        """
        at = np.arange(count, dtype=np.int64)[:, None] + before
        reached = at - np.arange(kernel, dtype=np.int64)[None] * dilation
        taps = np.where(reached % stride == 0, reached // stride, NOTHING)
        # A path of the least width goes through one position for each output.
        grown = max(0, -(-((kernel - 1) * dilation) // stride))
        return replace(
            self._seen(taps, self.jump / stride, grown),
            paths=self.paths.through(
                -(-kernel // stride), float(self.jump) * dilation, weights=True
            ),
        )

    def _seen(self, taps: Integers, jump: Fraction, grown: int) -> Axis:
        """Return what rows of positions see; some are beyond either end or nowhere."""
        none = taps == NOTHING
        ends = len(self) - 1
        inside = np.clip(taps, 0, ends)
        # Beyond an end positions go on in steps of the jump.
        beyond = np.where(none, 0, taps - inside) * float(self.jump)
        low = self.low[inside] + np.floor(beyond).astype(np.int64)
        high = self.high[inside] + np.ceil(beyond).astype(np.int64)
        real = (taps == inside) & ~none
        return Axis(
            pixels=self.pixels,
            low=np.where(none, NOTHING, low).min(1),
            high=np.where(none, -NOTHING, high).max(1),
            first=np.where(real, self.first[inside], NOTHING).min(1),
            last=np.where(real, self.last[inside], -NOTHING).max(1),
            jump=jump,
            least=self.least + round(grown * float(self.jump)),
            paths=self.paths,
        )

    def seen(self, taps: Integers, jump: Fraction) -> Axis:
        """Return what sets of positions see.

        Args:
            taps: a row of positions for each new one; may repeat, and lie outside.
            jump: pixels from one new position to the next.
        """
        return self._seen(taps, jump, 0)

    def union(self, places: Integers, other: Axis, others: Integers) -> Axis:
        """Return what pairs of positions see, one of this axis and one of another.

        Args:
            places: of this axis.
            other: axis of the same image.
            others: of that axis, as many.
        """
        return Axis(
            pixels=self.pixels,
            low=np.minimum(self.low[places], other.low[others]),
            high=np.maximum(self.high[places], other.high[others]),
            first=np.minimum(self.first[places], other.first[others]),
            last=np.maximum(self.last[places], other.last[others]),
            jump=max(self.jump, other.jump),
            least=min(self.least, other.least),
            paths=Paths.met((self.paths, other.paths)),
        )

    def together(self, groups: Integers, count: int) -> Axis:
        """Return what groups of positions see.

        Args:
            groups: of each position, from 0.
            count: of groups.
        """

        def least(values: Integers) -> Integers:
            found = np.full(count, NOTHING, dtype=np.int64)
            np.minimum.at(found, groups, values)
            return found

        return Axis(
            pixels=self.pixels,
            low=least(self.low),
            high=-least(-self.high),
            first=least(self.first),
            last=-least(-self.last),
            jump=self.jump,
            least=self.least,
            paths=self.paths,
        )
