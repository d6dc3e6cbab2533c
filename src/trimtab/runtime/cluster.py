"""A Ray cluster: connected to, and asked like any executor of the standard library."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Callable, Iterator
from concurrent import futures
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar, final
from urllib.parse import urlsplit

from trimtab.errors import (
    ExecutionError,
    LinkError,
    MissingExtraError,
    TrimtabError,
    UsageError,
)

__all__ = ["RayExecutor", "check_address", "connected", "first_line"]

_REACHED_S = 5.0
_CLIENT_PORT = 10_001  # of `ray start`, where none is given

P = ParamSpec("P")
T = TypeVar("T")


def check_address(address: str) -> None:
    """Refuse what is no cluster, before there is work.

    Raises:
        MissingExtraError: Ray is not installed.
        UsageError: an address that is none.
    """
    if address != "auto" and not address.startswith("ray://"):
        raise UsageError(
            f"the cluster at {address[:80]!r}",
            rule="it is auto, or ray://HOST:PORT",
            where="--cluster",
            remedy="give auto where ray start has run on this machine",
        )
    try:
        import ray.serve
    except ImportError as error:
        raise MissingExtraError(
            "a Ray cluster",
            rule=f"the package {error.name} is not installed",
            where="--cluster",
            remedy="install the extra: pip install 'trimtab[cluster]'",
        ) from None
    del ray


@contextlib.contextmanager
def connected(address: str) -> Iterator[None]:
    """Be connected to a cluster while the block lasts; whoever is already stays so.

    Args:
        address: ``auto`` for that of this machine, ``ray://HOST:PORT`` for one that is
            elsewhere, or as `ray.init` takes it.

    Raises:
        LinkError: there is none.
    """
    import ray

    _reachable(address)
    if ray.is_initialized():
        yield  # whoever has connected ends it
        return
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # its own errors differ from version to version
        raise _no_cluster(address, first_line(error)) from error
    try:
        yield
    finally:
        ray.shutdown()


@final
@dataclass(frozen=True, slots=True)
class _Failed:
    """An error as it was raised; Ray would wrap it in one of its own."""

    error: TrimtabError


@final
class RayExecutor(Executor):
    """Runs calls as tasks of the Ray cluster that this process is connected to.

    Each takes a core. A task whose machine is lost runs again elsewhere, so that calls
    must not do harm twice. Functions and arguments travel as Ray pickles them, modules
    by name: trimtab is installed on all machines in the same version.

    Example:
        >>> with connected("auto"), RayExecutor() as tasks:  # doctest: +SKIP
        ...     list(tasks.map(abs, [-1, 2]))
        [1, 2]
    """

    def __init__(self) -> None:
        import ray

        self._task = ray.remote(num_cpus=1, max_retries=3)(_run)
        self._cancel = ray.cancel
        self._open: set[Future[Any]] = set()
        self._ended = False

    def submit(
        self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Future[T]:
        """Return a future of what a call returns, or of what it raises.

        Errors of trimtab come back as they are; others as an `ExecutionError`. A task
        whose future is cancelled is ended.

        Raises:
            RuntimeError: it was shut down.
        """
        if self._ended:
            raise RuntimeError("cannot schedule new futures after shutdown")
        made: Future[T] = Future()
        task = self._task.remote(fn, args, kwargs)
        self._open.add(made)

        def settled(own: Future[T]) -> None:
            self._open.discard(own)
            if own.cancelled():
                self._cancel(task, force=True)  # it may not listen

        def done(found: Future[Any]) -> None:
            if not made.set_running_or_notify_cancel():
                return
            error = found.exception()
            if error is not None:
                made.set_exception(_wrapped(error))
            elif isinstance(value := found.result(), _Failed):
                made.set_exception(value.error)
            else:
                made.set_result(value)

        made.add_done_callback(settled)
        task.future().add_done_callback(done)
        return made

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait for what was submitted, or end it."""
        self._ended = True
        left = list(self._open)
        if cancel_futures:
            for each in left:
                each.cancel()
        if wait:
            futures.wait(left)


def _run(
    call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Return what a call returns; on a worker of the cluster."""
    try:
        return call(*args, **kwargs)
    except TrimtabError as error:
        return _Failed(error)


def _wrapped(error: BaseException) -> ExecutionError:
    return ExecutionError(
        "a task on the cluster",
        rule=first_line(error),
        where="--cluster",
        remedy="see the logs of Ray; without --cluster it runs here",
    )


def _reachable(address: str) -> None:
    """Refuse an address where nobody listens; Ray would try for half a minute."""
    if not address.startswith("ray://"):
        return
    try:
        parts = urlsplit(address)
        where = parts.hostname, parts.port or _CLIENT_PORT
        socket.create_connection(where, _REACHED_S).close()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise _no_cluster(address, reason or str(error)) from None


def _no_cluster(address: str, rule: str) -> LinkError:
    return LinkError(
        f"the Ray cluster at {address!r}", rule=rule, where="--cluster",
        remedy="start one: ray start --head, and on other machines "
        "ray start --address=HEAD:6379",
    )  # fmt: skip


def first_line(error: BaseException) -> str:
    """Return the first line of an error, or its name."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:300]
