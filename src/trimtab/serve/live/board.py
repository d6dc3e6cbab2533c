"""What dispatcher and workers say to each other: rings of numbers, and bells.

Each worker has a ring of orders and a ring of answers in shared memory, and each side
an eventfd to wake the other. Whoever writes an entry moves the ring's head after it and
rings; both are one word each, so that neither side ever waits for a lock.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
from typing import Final, final

__all__ = ["ANSWER", "DONE", "FAILED", "ORDER", "Board", "Mailbox"]

ENTRIES: Final = 4096  # of a ring: two batches whose rows stand all apart
ORDER: Final = 4  # batch, first row, rows, how many more ranges of it follow
ANSWER: Final = 5  # batch, DONE or FAILED, begun, ended (ns), CPU time (ns)
DONE: Final = 0
FAILED: Final = 1
_TEXT: Final = 512  # bytes of an error
_RING: Final = 2 + ENTRIES * max(ORDER, ANSWER)  # words: head, tail, entries
_WORDS: Final = 2 * _RING
_SIZE: Final = 8 * _WORDS + _TEXT


@final
class _Ring:
    """Entries of some words, from one writer to one reader."""

    def __init__(self, words: memoryview, width: int) -> None:
        self._words = words
        self._entry = struct.Struct(f"@{width}Q")
        self._entries = words[2:].cast("B")

    def put(self, entry: tuple[int, ...]) -> None:
        words = self._words
        head = words[0]
        assert head - words[1] < ENTRIES
        at = (head % ENTRIES) * self._entry.size
        self._entry.pack_into(self._entries, at, *entry)
        words[0] = head + 1  # seen only when the entry is whole

    def take(self) -> list[tuple[int, ...]]:
        words, found = self._words, []
        while (tail := words[1]) < words[0]:
            at = (tail % ENTRIES) * self._entry.size
            found.append(self._entry.unpack_from(self._entries, at))
            words[1] = tail + 1
        return found

    def clear(self) -> None:
        self._words[1] = self._words[0]


@final
class Mailbox:
    """The rings of one worker."""

    def __init__(self, memory: mmap.mmap, at: int) -> None:
        view = memoryview(memory)[at : at + _SIZE]
        words = view[: 8 * _WORDS].cast("Q")
        self.orders = _Ring(words[:_RING], ORDER)
        self.answers = _Ring(words[_RING:], ANSWER)
        self._text = view[8 * _WORDS :]

    @property
    def text(self) -> str:
        """What went wrong last."""
        return bytes(self._text).split(b"\0", 1)[0].decode("utf-8", "replace")

    @text.setter
    def text(self, value: str) -> None:
        self._text[:] = value.encode()[: _TEXT - 1].ljust(_TEXT, b"\0")


@final
class Board:
    """The mailboxes of all workers.

    Args:
        workers: how many.
        descriptor: of memory that another process made; made here by default.
    """

    def __init__(self, workers: int, *, descriptor: int | None = None) -> None:
        size = -(-workers * _SIZE // mmap.PAGESIZE) * mmap.PAGESIZE
        if descriptor is None:
            descriptor = os.memfd_create("trimtab-board")
            os.ftruncate(descriptor, size)
        self.descriptor = descriptor
        self._memory = mmap.mmap(descriptor, size)
        self.boxes = [Mailbox(self._memory, each * _SIZE) for each in range(workers)]

    def close(self) -> None:
        """Let go of the memory."""
        with contextlib.suppress(BufferError):  # of a mailbox that somebody still has
            self._memory.close()
        os.close(self.descriptor)
