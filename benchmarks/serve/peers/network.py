"""What all peers have alike: the network, and the protocol that they are asked by.

The same module of PyTorch, the same parser and the same answers as of `trimtab serve`:
what is compared is who waits for whom, and what a request is carried through.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, final

import torch
from torch import Tensor

from trimtab.graph.types import TensorType
from trimtab.pipeline.serving import open_model
from trimtab.runtime.inference import Asked, parse, render
from trimtab.runtime.signature import Model, Port
from trimtab.serve.live.arena import Field

__all__ = ["HEADER", "TYPE", "Command", "Network", "Payload", "announce", "command"]

HEADER: Final = "Inference-Header-Content-Length"
TYPE: Final = "application/octet-stream"
_MOST_ITEMS: Final = 1024

Payload = tuple[bytes, str | None]
"""A body, and what its header says."""


@final
class Network:
    """A network as a process of a peer runs it.

    Args:
        spec: as of `trimtab serve start`.
        weights: a ``.safetensors`` file, or None.
        threads: of PyTorch.
    """

    def __init__(self, spec: str, weights: str | None, threads: int = 1) -> None:
        torch.set_num_threads(threads)
        torch.set_num_interop_threads(1)
        self._network = open_model(spec, weights=weights)
        self.model = Model(
            name=self._network.name,
            inputs=tuple(map(_port, self._network.inputs)),
            outputs=tuple(map(_port, self._network.outputs)),
            most_items=_MOST_ITEMS,
        )
        for rows in (1, 256):  # kernels choose their ways by the size
            self._network.call(self._network.drawn(rows))

    def parse(self, payload: Payload) -> Asked:
        """Return what a body asks for."""
        body, head = payload
        return parse(self.model, body, header_bytes=None if head is None else int(head))

    def run(self, values: Sequence[Mapping[str, Tensor]]) -> list[dict[str, Tensor]]:
        """Return the outputs of queries that are run as one batch."""
        ports = self.model.inputs
        if len(values) == 1:
            rows = [values[0][port.name] for port in ports]
        else:
            rows = [torch.cat([each[port.name] for each in values]) for port in ports]
        found = self._network.call(rows)
        counts = [len(each[ports[0].name]) for each in values]
        names = [port.name for port in self.model.outputs]
        parts = zip(*(each.split(counts) for each in found), strict=True)
        return [dict(zip(names, each, strict=True)) for each in parts]

    def render(
        self, asked: Asked, outputs: Mapping[str, Tensor]
    ) -> tuple[bytes, dict[str, str]]:
        """Return the body of an answer, and its headers."""
        content, head = render(self.model, asked, outputs)
        return content, {} if head is None else {HEADER: str(head)}

    def answer(self, payload: Payload) -> tuple[bytes, dict[str, str]]:
        """Return the body and the headers of the answer to one query."""
        asked = self.parse(payload)
        return self.render(asked, self.run([asked.values])[0])


def _port(each: Field) -> Port:
    kind = TensorType((1, *each.shape), each.dtype)
    return Port(name=each.name, type=kind, bounds=each.bounds)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What a peer is started with.

    Attributes:
        spec: of the network.
        name: of the model in addresses.
        port: of 127.0.0.1.
        weights: a file, or None.
        options: of the peer's own.
    """

    spec: str
    name: str
    port: int
    weights: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


def command() -> Command:
    """Return what the command line says: fields of a command as one JSON object."""
    return Command(**json.loads(sys.argv[1]))


def announce(port: int) -> None:
    """Say that one more process is ready, as `trimtab serve start --json` does."""
    print(json.dumps({"http": f"http://127.0.0.1:{port}"}), flush=True)
