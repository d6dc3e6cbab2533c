"""LitServe: its workers decode, batch and predict behind its HTTP servers.

Queries joined by `max_batch_size` and `batch_timeout` are run as one batch; answers
come back through ZeroMQ (`fast_queue`). The body goes to a worker as it came.

    python -m benchmarks.serve.peers.litserve '{"spec": "zoo:wnd-small",
        "name": "wnd-small", "port": 8000,
        "options": {"workers": 2, "servers": 1, "most": 4}}'
"""

# Annotations stay what they are, not text: LitServe hands them to FastAPI.

from collections.abc import Sequence
from typing import Annotated, Any

import litserve as ls
from fastapi import Depends, Request, Response
from torch import Tensor

from benchmarks.serve.peers.network import (
    HEADER,
    TYPE,
    Command,
    Network,
    Payload,
    announce,
    command,
)
from trimtab.runtime.inference import Asked

__all__ = ["Api", "main"]

_Outputs = dict[str, Tensor]


async def _payload(request: Request) -> Payload:
    return await request.body(), request.headers.get(HEADER)


class Api(ls.LitAPI):  # type: ignore[misc]
    """The network behind LitServe.

    Args:
        told: what to serve.
    """

    def __init__(self, told: Command) -> None:
        options = told.options
        self.told = told
        self.joins = int(options.get("most", 1)) > 1
        super().__init__(
            max_batch_size=int(options.get("most", 1)),
            batch_timeout=float(options.get("wait_s", 0.0)),
            api_path=f"/v2/models/{told.name}/infer",
        )

    def setup(self, device: Any) -> None:
        """Open the network, in a worker."""
        del device
        options = self.told.options
        self.network = Network(
            self.told.spec, self.told.weights, int(options.get("threads", 1))
        )
        announce(self.told.port)

    # What it is called with is what FastAPI makes of the annotation.
    def decode_request(
        self, request: Annotated[Any, Depends(_payload)], **kwargs: Any
    ) -> Asked:
        """Return what a body asks for."""
        del kwargs
        return self.network.parse(request)

    def batch(self, inputs: Sequence[Asked]) -> Sequence[Asked]:
        """Return queries as they are: `predict` joins their rows."""
        return inputs

    def predict(self, x: Any, **kwargs: Any) -> Any:
        """Return the outputs of a query, or of each."""
        del kwargs
        asked = x if self.joins else [x]
        found = self.network.run([each.values for each in asked])
        pairs = list(zip(asked, found, strict=True))
        return pairs if self.joins else pairs[0]

    def unbatch(self, output: Any) -> Any:
        """Return the outputs of each query."""
        return output

    def encode_response(
        self, output: tuple[Asked, _Outputs], **kwargs: Any
    ) -> Response:
        """Return an answer."""
        del kwargs
        content, headers = self.network.render(*output)
        return Response(content, media_type=TYPE, headers=headers)


def main() -> None:
    """Serve until told to end."""
    told = command()
    options = told.options
    server = ls.LitServer(
        Api(told), accelerator="cpu", workers_per_device=int(options.get("workers", 1)),
        fast_queue=True, timeout=False,
    )  # fmt: skip
    model = Network(told.spec, told.weights).model.record()

    async def listed() -> dict[str, Any]:
        return {"models": [told.name]}

    async def metadata() -> dict[str, Any]:
        return model

    server.app.add_api_route("/v2", listed)
    server.app.add_api_route(f"/v2/models/{told.name}", metadata)
    server.run(
        host="127.0.0.1", port=told.port, num_api_servers=int(options["servers"]),
        log_level="warning", generate_client_file=False, access_log=False,
    )  # fmt: skip


if __name__ == "__main__":
    main()
