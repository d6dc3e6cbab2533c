"""Frames over TCP: what edge and cloud say to each other, and nothing else.

A frame is a header of 16 bytes and a body; all numbers are big-endian.

    bytes 0-1    the letters TT
    byte  2      version, 1
    byte  3      kind, see `Kind`
    bytes 4-11   request, 0 for what belongs to none
    bytes 12-15  length of the body, at most 64 KiB

A request or a reply is a head frame that says which cut, which codec and how many bytes
of each value will come, and chunks; chunks of several requests may alternate, so that a
large one does not hold up small ones. After a request is cancelled nothing more of it
comes. Sizes are checked against the cut that both sides
agreed on before anything is allocated. There is no pickle, and no frame that makes the
other side run or load anything but a cut of the network that it has.
"""

from __future__ import annotations

import enum
import json
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

from trimtab.errors import DataError

__all__ = [
    "MOST_BODY",
    "VERSION",
    "Frame",
    "Head",
    "Incoming",
    "Kind",
    "Part",
    "Reader",
    "chunks",
    "frame",
    "head",
    "parse_head",
    "parse_record",
    "record",
]

VERSION: Final = 1
MOST_BODY: Final = 64 * 1024
"""Bytes of a body; what is larger is sent in chunks."""

_HEADER: Final = struct.Struct(">2sBBQI")
_HEAD: Final = struct.Struct(">HBIdB")  # cut, codec, milliseconds, seconds, values
_PART: Final = struct.Struct(">BddI")  # form, low, step, bytes
_MOST_VALUES: Final = 255
_FORMS: Final = ("raw", "fp16", "bf16", "int8", "int4")


class Kind(enum.IntEnum):
    """What a frame is."""

    HELLO = 1
    WELCOME = 2
    REQUEST = 3
    REPLY = 4
    CHUNK = 5
    CANCEL = 6
    PROBE = 7
    OVERLOADED = 8
    ERROR = 9
    BYE = 10
    PREPARE = 11
    READY = 12


_KINDS: Final = frozenset(Kind)


@final
@dataclass(frozen=True, slots=True)
class Frame:
    """One frame.

    Attributes:
        kind: what it is.
        request: that it belongs to.
        body: its content.
    """

    kind: Kind
    request: int
    body: bytes


@final
@dataclass(frozen=True, slots=True)
class Part:
    """What is said of a value ahead of its bytes.

    Attributes:
        form: of its numbers, see `trimtab.partition.codec`.
        low: least number of a narrow form.
        step: between two numbers of it.
        size: bytes that will come.
    """

    form: str
    low: float
    step: float
    size: int


@final
@dataclass(frozen=True, slots=True)
class Head:
    """The head of a request or a reply.

    Attributes:
        cut: number of the agreed cut.
        codec: number of the agreed codec.
        milliseconds: that the answer may take; of a reply, the queue's length.
        seconds: of a reply, that it was worked on.
        parts: of each value.
    """

    cut: int
    codec: int
    milliseconds: int
    seconds: float
    parts: tuple[Part, ...]

    @property
    def size(self) -> int:
        """Bytes that will come."""
        return sum(each.size for each in self.parts)


def frame(kind: Kind, request: int = 0, body: bytes | memoryview = b"") -> bytes:
    """Return a frame as bytes.

    Example:
        >>> frame(Kind.BYE).hex()
        '5454010a000000000000000000000000'
    """
    assert len(body) <= MOST_BODY
    return _HEADER.pack(b"TT", VERSION, kind, request, len(body)) + body


def chunks(request: int, payloads: Sequence[bytes]) -> Iterator[bytes]:
    """Return the frames of the bytes of all values, one after the other."""
    for payload in payloads:
        view = memoryview(payload)
        for start in range(0, len(view), MOST_BODY):
            yield frame(Kind.CHUNK, request, view[start : start + MOST_BODY])


def head(
    kind: Kind,
    request: int,
    *,
    cut: int,
    codec: int,
    milliseconds: int,
    seconds: float,
    parts: Sequence[Part],
) -> bytes:
    """Return the head frame of a request or a reply."""
    body = _HEAD.pack(cut, codec, milliseconds, seconds, len(parts))
    body += b"".join(
        _PART.pack(_FORMS.index(each.form), each.low, each.step, each.size)
        for each in parts
    )
    return frame(kind, request, body)


def parse_head(body: bytes) -> Head:
    """Return the head in a body.

    Raises:
        DataError: it is none.
    """
    if len(body) < _HEAD.size:
        raise _broken(f"a head of {len(body)} bytes", f"it has at least {_HEAD.size}")
    cut, codec, milliseconds, seconds, count = _HEAD.unpack_from(body)
    if len(body) != _HEAD.size + count * _PART.size:
        raise _broken(f"a head of {len(body)} bytes", f"it says {count} values")
    parts = []
    for number in range(count):
        form, low, step, size = _PART.unpack_from(
            body, _HEAD.size + number * _PART.size
        )
        if form >= len(_FORMS):
            raise _broken(f"numbers of form {form}", f"there are {len(_FORMS)}")
        parts.append(Part(_FORMS[form], low, step, size))
    return Head(cut, codec, milliseconds, seconds, tuple(parts))


def record(kind: Kind, content: dict[str, Any], request: int = 0) -> bytes:
    """Return a frame with JSON in it."""
    return frame(kind, request, json.dumps(content).encode())


def parse_record(body: bytes) -> dict[str, Any]:
    """Return the JSON in a body.

    Raises:
        DataError: it is none, or no object.
    """
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _broken("a record", f"it is no JSON: {str(error)[:100]}") from None
    if not isinstance(found, dict):
        raise _broken("a record", "it is no object")
    return found


@final
class Reader:
    """Frames out of bytes as they come, however they are cut.

    It holds one frame at most. After an error nothing more can be read: where the next
    frame would begin is not known.
    """

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that are complete now.

        Raises:
            DataError: these are not frames.
        """
        self._held += data
        found = []
        while len(self._held) >= _HEADER.size:
            mark, version, kind, request, size = _HEADER.unpack_from(self._held)
            if mark != b"TT":
                raise _broken("a frame", "it does not begin with the letters TT")
            if version != VERSION:
                raise _broken(f"a frame of version {version}", f"this is {VERSION}")
            if kind not in _KINDS:
                raise _broken(f"a frame of kind {kind}", "there is no such kind")
            if size > MOST_BODY:
                raise _broken(f"a frame of {size} bytes", f"at most {MOST_BODY} fit")
            if len(self._held) < _HEADER.size + size:
                break
            with memoryview(self._held) as held:  # one copy, not two
                body = bytes(held[_HEADER.size : _HEADER.size + size])
            del self._held[: _HEADER.size + size]
            found.append(Frame(Kind(kind), request, body))
        return found

    @property
    def held(self) -> int:
        """Bytes of a frame that is not complete."""
        return len(self._held)


@final
class Incoming:
    """Values of a request or a reply on their way.

    Args:
        head: that was read.
        most: bytes that each value may have, in order.

    Raises:
        DataError: more or larger values than the cut has.
    """

    def __init__(self, head: Head, most: Sequence[int]) -> None:
        if len(head.parts) != len(most):
            raise _broken(f"{len(head.parts)} values", f"the cut has {len(most)}")
        for part, size in zip(head.parts, most, strict=True):
            if part.size > size:
                raise _broken(f"a value of {part.size} bytes", f"it has at most {size}")
        self.head = head
        self._payload = bytearray()
        self._came, self._size = 0, head.size
        self._kept = True

    def forget(self) -> None:
        """Keep nothing of what came and comes; only count it."""
        self._kept = False
        self._payload.clear()

    def add(self, body: bytes) -> bool:
        """Take a chunk; return whether all is there.

        Raises:
            DataError: more than the head said.
        """
        if not body or self._came + len(body) > self._size:
            raise _broken(
                f"a chunk of {len(body)} bytes",
                f"{self._size - self._came} are missing",
            )
        self._came += len(body)
        if self._kept:
            self._payload += body
        return self.done

    @property
    def done(self) -> bool:
        """Whether all is there."""
        return self._came == self._size

    def payloads(self) -> list[bytes]:
        """Return the bytes of each value."""
        found, start = [], 0
        with memoryview(self._payload) as payload:
            for part in self.head.parts:
                found.append(bytes(payload[start : start + part.size]))
                start += part.size
        return found


def _broken(asked: str, rule: str) -> DataError:
    return DataError(
        asked,
        rule=rule,
        where="what came over the link",
        remedy="check that both sides run the same version of trimtab",
    )
