"""`--cluster`: machines of a Ray cluster that share the work of a command."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from concurrent.futures import Executor

__all__ = ["Cluster", "executor_of"]

Cluster = Annotated[
    str | None,
    typer.Option(
        "--cluster", help="Of Ray, that shares the work: auto, or ray://HOST:PORT."
    ),
]


@contextlib.contextmanager
def executor_of(address: str | None) -> Iterator[Executor | None]:
    """Give what runs tasks on a cluster, or None without an address.

    Raises:
        MissingExtraError: Ray is not installed.
        UsageError: an address that is none.
        LinkError: there is no cluster.
    """
    if address is None:
        yield None
        return
    from trimtab.runtime.cluster import RayExecutor, check_address, connected

    check_address(address)
    with connected(address), contextlib.ExitStack() as stack:
        tasks = RayExecutor()
        stack.callback(tasks.shutdown, cancel_futures=True)
        yield tasks
