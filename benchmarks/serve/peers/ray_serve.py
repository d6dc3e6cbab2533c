"""Ray Serve: replicas of a deployment whose queries `@serve.batch` joins.

Its settings for throughput are on (`RAY_SERVE_THROUGHPUT_OPTIMIZED`); its proxy is the
one that listens where it is told to. HAProxy, its other one, listens on all interfaces
of a machine whatever it is told, which is nothing to start on somebody's machine.

    python -m benchmarks.serve.peers.ray_serve '{"spec": "zoo:wnd-small",
        "name": "wnd-small", "port": 8000, "options": {"workers": 2, "most": 4}}'
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Sequence
from typing import Any

from benchmarks.serve.peers.network import (
    HEADER,
    TYPE,
    Command,
    Network,
    announce,
    command,
)
from trimtab.runtime.inference import Asked

__all__ = ["bound", "main"]

_ONGOING = 256  # queries of a replica; the default of 5 would keep it waiting


def bound(told: Command) -> Any:
    """Return the application, bound to what it serves."""
    from fastapi import Request, Response
    from ray import serve

    options = told.options

    class Served:
        def __init__(self) -> None:
            self.network = Network(
                told.spec, told.weights, int(options.get("threads", 1))
            )

        @serve.batch(  # type: ignore[untyped-decorator]
            max_batch_size=int(options.get("most", 1)),
            batch_wait_timeout_s=float(options.get("wait_s", 0.0)),
        )
        async def joined(self, asked: Sequence[Asked]) -> list[Any]:
            return self.network.run([each.values for each in asked])

        async def __call__(self, request: Request) -> Any:
            if request.method == "GET":
                named = request.url.path.startswith("/v2/models/")
                return self.network.model.record() if named else {"models": [told.name]}
            asked = self.network.parse(
                (await request.body(), request.headers.get(HEADER))
            )
            if int(options.get("most", 1)) > 1:
                outputs = await self.joined(asked)
            else:
                outputs = self.network.run([asked.values])[0]
            content, headers = self.network.render(asked, outputs)
            return Response(content, media_type=TYPE, headers=headers)

    deployment = serve.deployment(
        num_replicas=int(options.get("workers", 1)),
        max_ongoing_requests=_ONGOING,
        ray_actor_options={"num_cpus": 0},  # the machine has no more than they need
    )(Served)
    return deployment.bind()


def main() -> None:
    """Serve until told to end."""
    told = command()
    os.environ.update(
        RAY_SERVE_THROUGHPUT_OPTIMIZED="1", RAY_SERVE_ENABLE_DIRECT_INGRESS="0",
        RAY_SERVE_LOG_TO_STDERR="0", RAY_USAGE_STATS_ENABLED="0",
        OMP_NUM_THREADS=str(told.options.get("threads", 1)),
    )  # fmt: skip
    import ray
    from ray import serve

    ending = threading.Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda *_: ending.set())
    ray.init(
        address="local", include_dashboard=False, log_to_driver=False,
        object_store_memory=256 * 2**20, logging_level="warning",
        _node_ip_address="127.0.0.1",
    )  # fmt: skip
    try:
        serve.start(
            http_options={"host": "127.0.0.1", "port": told.port},
            logging_config={"enable_access_log": False, "log_level": "WARNING"},
        )
        serve.run(bound(told), route_prefix="/", name=told.name)
        announce(told.port)
        ending.wait()
    finally:
        serve.shutdown()
        ray.shutdown()


if __name__ == "__main__":
    main()
