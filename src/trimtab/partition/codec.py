"""How values are written for a link: narrower numbers, and compressed.

| name | numbers | bits each |
| --- | --- | --- |
| ``raw`` | as they are computed, bit for bit | those of their type |
| ``fp16``, ``bf16`` | half precision, the range of float32 | 16 |
| ``int8``, ``int4`` | steps between the least and the largest of a value | 8, 4 |

Each may end in ``+zstd`` or ``+lz4``. Integers and truth values go as they are whatever
the codec, and so do values that are infinite or NaN. What comes from a link is checked
for its exact length before any memory is taken for it.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final, final

import numpy as np
import torch
from torch import Tensor

from trimtab.errors import DataError, MissingExtraError, UsageError
from trimtab.graph.types import TensorType

__all__ = ["CODECS", "CYCLES", "Codec", "Encoded", "codec"]

_FORMS: Final = ("raw", "fp16", "bf16", "int8", "int4")
_PACKERS: Final = ("", "zstd", "lz4")
_LEVEL: Final = 1  # of zstd: more costs time, and saves little on activations

CODECS: Final = tuple(
    form + (f"+{packer}" if packer else "") for form in _FORMS for packer in _PACKERS
)
"""Names of all codecs."""


CYCLES: Final[dict[str, tuple[float, float]]] = {
    "raw": (0.8, 0.6),
    "raw+zstd": (44.0, 21.0),
    "raw+lz4": (24.0, 5.7),
    "fp16": (9.1, 1.8),
    "fp16+zstd": (28.0, 8.6),
    "fp16+lz4": (23.0, 4.2),
    "bf16": (1.4, 1.7),
    "bf16+zstd": (21.0, 8.6),
    "bf16+lz4": (15.0, 4.2),
    "int8": (5.1, 1.1),
    "int8+zstd": (13.0, 4.2),
    "int8+lz4": (9.9, 2.8),
    "int4": (5.0, 2.8),
    "int4+zstd": (8.0, 3.8),
    "int4+lz4": (7.8, 2.7),
}
"""Cycles to encode and decode a number, for machines whose profile is a model's.

Measured once, on a million rectified Gaussians, one thread of a server core at about
3 GHz: no more than an order of magnitude for others.
"""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """A value as it is sent.

    Attributes:
        form: what its numbers are, one of the names without a compression; it is
            ``raw`` where a codec does not fit the value.
        low: least number, of ``int8`` and ``int4``.
        step: between two numbers, of these.
        payload: the bytes.
    """

    form: str
    low: float
    step: float
    payload: bytes


@final
@dataclass(frozen=True, slots=True)
class Codec:
    """A way to write values.

    Attributes:
        form: what numbers become.
        packer: compression, "" for none.
    """

    form: str
    packer: str

    @property
    def name(self) -> str:
        """As in `CODECS`."""
        return f"{self.form}+{self.packer}" if self.packer else self.form

    def encode(self, value: Tensor) -> Encoded:
        """Return a value as bytes.

        Raises:
            MissingExtraError: zstandard or lz4 is not installed.

        Example:
            >>> made = codec("int8").encode(torch.tensor([0.0, 1.0, 0.5]))
            >>> len(made.payload), made.form
            (3, 'int8')
            >>> codec("int8").decode(made, TensorType((3,), "float32"))
            tensor([0.0000, 1.0000, 0.5020])
        """
        value = value.detach().contiguous()
        form, low, step = self.form, 0.0, 0.0
        if not value.is_floating_point() or not value.numel():
            form = "raw"
        if form == "raw":
            content = _bytes_of(value)
        elif form == "fp16":
            content = _bytes_of(value.half())
            if bool((value.half().isinf() & ~value.isinf()).any()):  # too large for it
                form, content = "raw", _bytes_of(value)
        elif form == "bf16":
            content = _bytes_of(value.bfloat16())
        else:
            flat = value.float().reshape(-1)
            bounds = torch.aminmax(flat)
            low, high = float(bounds.min), float(bounds.max)
            if not (np.isfinite(low) and np.isfinite(high)):
                form, content = "raw", _bytes_of(value)
                low = 0.0
            else:
                most = 255 if form == "int8" else 15
                step = (high - low) / most
                whole = flat.sub(low).mul_(1.0 / step if step else 0.0).round_()
                content = _packed(whole.clamp_(0, most).to(torch.uint8), form)
        return Encoded(
            form=form, low=low, step=step, payload=_pack(self.packer, content)
        )

    def decode(self, encoded: Encoded, kind: TensorType) -> Tensor:
        """Return the value again, of the type that the cut says it has.

        Raises:
            DataError: bytes that are not such a value; nothing large was allocated.
        """
        if encoded.form not in ("raw", self.form):
            raise _broken(f"numbers of form {encoded.form!r}", f"this is {self.name}")
        if not (np.isfinite(encoded.low) and np.isfinite(encoded.step)):
            raise _broken("a scale", f"{encoded.low} by {encoded.step} is not finite")
        content = _unpack(self.packer, encoded.payload, size_of(encoded.form, kind))
        dtype = getattr(torch, kind.dtype)
        if encoded.form in ("raw", "fp16", "bf16"):
            sent = {"raw": dtype, "fp16": torch.float16, "bf16": torch.bfloat16}
            found = torch.frombuffer(
                bytearray(content), dtype=sent[encoded.form]
            ) if content else torch.empty(0, dtype=dtype)  # fmt: skip
            return found.to(dtype).reshape(kind.shape)
        numbers = np.frombuffer(content, dtype=np.uint8)
        if encoded.form == "int4":
            both = np.empty(2 * len(numbers), dtype=np.uint8)
            both[0::2], both[1::2] = numbers >> 4, numbers & 15
            numbers = both[: kind.elements]
        whole = torch.from_numpy(numbers.astype(np.float32))
        return whole.mul_(encoded.step).add_(encoded.low).to(dtype).reshape(kind.shape)


def codec(name: str) -> Codec:
    """Return the codec of a name.

    Raises:
        UsageError: there is none.
    """
    if name not in CODECS:
        raise UsageError(
            f"codec {name!r}",
            rule=f"known are {', '.join(CODECS)}",
            where="trimtab.partition",
            remedy="choose one of these",
        )
    form, _, packer = name.partition("+")
    return Codec(form, packer)


def size_of(form: str, kind: TensorType) -> int:
    """Return the bytes of a value in a form, before compression."""
    if form == "raw" or not kind.dtype.startswith(("float", "bfloat")):
        return kind.size_bytes
    bits = {"fp16": 16, "bf16": 16, "int8": 8, "int4": 4}[form]
    return (kind.elements * bits + 7) // 8


def _bytes_of(value: Tensor) -> bytes:
    if value.dtype == torch.bfloat16:
        value = value.view(torch.int16)
    found: bytes = value.numpy().tobytes()
    return found


def _packed(numbers: Tensor, form: str) -> bytes:
    array = numbers.numpy()
    if form == "int8":
        return bytes(array.tobytes())
    if len(array) % 2:
        array = np.append(array, np.uint8(0))
    return bytes(((array[0::2] << 4) | array[1::2]).tobytes())


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise MissingExtraError(
            f"compression by {name}",
            rule="it is not installed",
            where="trimtab.partition",
            remedy='pip install "trimtab[edge]", or take a codec without compression',
        ) from None


def _pack(packer: str, content: bytes) -> bytes:
    if not packer:
        return content
    found: bytes
    if packer == "zstd":
        found = _module("zstandard").ZstdCompressor(level=_LEVEL).compress(content)
    else:
        found = _module("lz4.block").compress(content, store_size=False)
    return found


def _unpack(packer: str, payload: bytes, size: int) -> bytes:
    """Return the content, if it is exactly as long as it must be."""
    content: Any = payload
    try:
        if packer == "zstd":
            zstandard = _module("zstandard")
            said = zstandard.frame_content_size(payload)
            if said != size:
                raise _broken(f"{said} bytes of a value", f"it has {size}")
            content = zstandard.ZstdDecompressor().decompress(
                payload, max_output_size=size, allow_extra_data=False
            )
        elif packer == "lz4":
            content = _module("lz4.block").decompress(payload, uncompressed_size=size)
    except (DataError, MissingExtraError):
        raise
    except Exception as error:  # each library has its own
        raise _broken(
            "a compressed value", str(error) or type(error).__name__
        ) from None
    if len(content) != size:
        raise _broken(f"{len(content)} bytes of a value", f"it has {size}")
    return bytes(content)


def _broken(asked: str, rule: str) -> DataError:
    return DataError(
        asked,
        rule=rule,
        where="what came over the link",
        remedy="check that both sides have the same bundle and version",
    )
