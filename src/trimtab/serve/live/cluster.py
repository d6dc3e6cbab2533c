"""Hosts of a Ray cluster that serve as one; over 400 lines: all that Ray is asked for.

Ray Serve places the replicas, starts lost ones anew and has as many as it is told. Two
of its decisions are taken by the rules of `trimtab.serve.cluster` instead: where a
query goes (`ItemsRouter`, in the process that asks), and how many replicas there are
(`HeadroomPolicy`, in the controller of Ray Serve). A query that a replica takes with it
when it dies is asked again elsewhere: to ask a network twice does no harm.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
import uuid
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from types import TracebackType
from typing import Any, Final, final

import ray
from numpy.typing import NDArray
from ray import serve
from ray.exceptions import (
    NodeDiedError,
    ObjectLostError,
    RayActorError,
    RayTaskError,
    WorkerCrashedError,
)
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy, RequestRouterConfig
from ray.serve.exceptions import BackPressureError, RayServeException
from ray.serve.request_router import RequestRouter

from trimtab._version import __version__
from trimtab.errors import (
    ExecutionError,
    LinkError,
    OverloadedError,
    TrimtabError,
    UsageError,
)
from trimtab.runtime.cluster import connected, first_line
from trimtab.serve.cluster import Outstanding, Scaling
from trimtab.serve.live.arena import Field
from trimtab.serve.live.engine import Settings
from trimtab.serve.live.opening import Wanted
from trimtab.serve.live.replica import Replica
from trimtab.serve.live.scaling import LOOK_S, HeadroomPolicy
from trimtab.serve.schedule import DEFAULT_PRIORITY

__all__ = ["Cluster", "ItemsRouter"]

_LOG = logging.getLogger(__name__)
_START_S: Final = 600.0  # that placing them may take
_ANSWER_S: Final = 60.0  # that a query may take, replicas that are lost included
_TRIES: Final = 4  # replicas that a query may be lost with, and one more
_ONGOING: Final = 1_000  # queries of a replica: its engine says when there is no room
_HEALTH_S: Final = 2.0  # between two looks at whether a replica is there
_LOST: Final = (RayActorError, ObjectLostError, WorkerCrashedError, NodeDiedError)
_REMEMBERED: Final = 100  # replicas that do not answer
_SUMMED: Final = ("batches", "joined", "offloaded", "restarts", "late")

Arrays = Mapping[str, NDArray[Any]]


@final
class ItemsRouter(RequestRouter):
    """Sends a query to the replica that has the fewest items to answer.

    It counts a query from when a replica is chosen for it, or many that come together
    would all go to the same one.
    """

    def initialize_state(self, **kwargs: Any) -> None:
        """Begin with an empty book."""
        self._book: Outstanding[Any] = Outstanding(**kwargs)

    async def choose_replicas(
        self, candidate_replicas: Sequence[Any], pending_request: Any = None
    ) -> list[list[Any]]:
        """Return replicas in the order in which they are to be tried."""
        by_id = {each.replica_id: each for each in candidate_replicas}
        ranked = self._book.ranked(list(by_id))
        if pending_request is not None and ranked:
            query = pending_request.metadata.internal_request_id
            self._book.take(query, ranked[0], _items(pending_request.args))
            pending_request.future.add_done_callback(
                lambda done: self._book.done(query) if done.cancelled() else None
            )
        return [[by_id[each]] for each in ranked]

    def on_request_routed(
        self, pending_request: Any, replica_id: Any, result: Any
    ) -> None:
        """Take the replica that it was, where the first one had no room."""
        del result
        self._book.move(pending_request.metadata.internal_request_id, replica_id)

    def on_request_completed(self, replica_id: Any, internal_request_id: str) -> None:
        """Cross out a query, however it ended."""
        del replica_id
        self._book.done(internal_request_id)

    def update_replicas(self, replicas: list[Any]) -> None:
        """Take the replicas that there are now."""
        super().update_replicas(replicas)
        self._book.keep({each.replica_id for each in replicas})


def _items(args: Sequence[Any]) -> int:
    """Return the items of a query; 1 of anything else that is asked."""
    inputs = args[0] if args else None
    if isinstance(inputs, Mapping) and inputs:
        first = next(iter(inputs.values()))
        # One without an axis is refused by the replica, which says why.
        return len(first) if getattr(first, "ndim", 0) else 1
    return 1


@final
class Cluster:
    """A network served by several hosts, while the block lasts.

    Args:
        wanted: what each of them serves.
        address: of the Ray cluster: ``auto`` for that of this machine,
            ``ray://HOST:PORT`` for one that is elsewhere, or as `ray.init` takes it.
        least: replicas.
        most: replicas, one a node; None for as many as there are nodes.
        judged: further fields of `Scaling`: when there are to be more, or fewer.

    Attributes:
        wanted: what each of them serves.
        scaling: how many replicas, and when more; there in the block.
        name: of the network.
        why: of the first schedule: a sentence.
        inputs: what an item has.
        outputs: what an item gets.
        changes: seconds since the begin, and replicas from then on.
    """

    scaling: Scaling
    name: str
    why: str
    inputs: tuple[Field, ...]
    outputs: tuple[Field, ...]

    def __init__(
        self,
        wanted: Wanted,
        address: str,
        *,
        least: int = 1,
        most: int | None = None,
        **judged: Any,
    ) -> None:
        self.wanted, self.address = wanted, address
        self._limits, self._judged = (least, most), judged
        self.changes: list[tuple[float, int]] = []
        self._counts = dict.fromkeys(
            ("queries", "answers", "shed", "failed", "gone", "again"), 0
        )
        self._application = f"trimtab-{uuid.uuid4().hex[:8]}"
        self._stack = contextlib.ExitStack()
        self._handle: Any = None
        self._known: dict[str, dict[str, Any]] = {}  # last state of each, by its id
        self._gone = dict.fromkeys(_SUMMED, 0)  # of those that are forgotten
        self._alive: frozenset[str] = frozenset()
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._begun_s = 0.0
        self._thread = threading.Thread(target=self._watch, name="watch", daemon=True)

    def __enter__(self) -> Cluster:
        """Place the replicas; return once all that there are to be at first answer.

        Raises:
            LinkError: there is no cluster, or they are not placed in time.
            UsageError: more replicas than nodes.
            ExecutionError: a replica cannot serve; the reason is its own.
        """
        with contextlib.ExitStack() as stack:
            logging.getLogger("ray.serve").setLevel(logging.ERROR)
            stack.enter_context(connected(self.address))
            self.scaling = self._scaling()
            stack.callback(self._remove)
            self._place()
            said = self._described()
            self._stack = stack.pop_all()
        self.name, self.why = said["name"], said["why"]
        self.inputs, self.outputs = (
            tuple(Field.from_dict(each) for each in said[side])
            for side in ("inputs", "outputs")
        )
        self._begun_s = time.monotonic()
        self._see()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the replicas away; who asks has ended before."""
        self._ending.set()
        self._thread.join()
        self._see()
        self._stack.close()

    # Ray

    @property
    def _cpus(self) -> int:
        return self.wanted.settings.workers or 1

    def _scaling(self) -> Scaling:
        """Return how many replicas there may be, of those that nodes have room for."""
        nodes = sum(
            each["Alive"] and each["Resources"].get("CPU", 0) >= self._cpus
            for each in ray.nodes()  # type: ignore[no-untyped-call]
        )
        least, most = self._limits
        if max(least, most or 1) > nodes:
            raise UsageError(
                f"{max(least, most or 1)} replicas",
                rule=f"one a node, and {nodes} nodes have {self._cpus} CPUs or more",
                where="--replicas",
                remedy="give fewer, or add nodes: ray start --address=HEAD:6379",
            )
        return Scaling(
            target_s=self.wanted.target.latency_s,
            least=least,
            most=most or nodes,
            **self._judged,
        )

    def _place(self) -> None:
        scaling = self.scaling
        options: dict[str, Any] = {"num_replicas": scaling.least}
        if scaling.least < scaling.most:
            policy = AutoscalingPolicy(  # type: ignore[no-untyped-call]
                policy_function=HeadroomPolicy, policy_kwargs=asdict(scaling)
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the only way to have it per command
                config = AutoscalingConfig(
                    min_replicas=scaling.least, max_replicas=scaling.most,
                    initial_replicas=scaling.least, upscale_delay_s=0,
                    downscale_delay_s=0, metrics_interval_s=LOOK_S / 2,
                    look_back_period_s=4 * LOOK_S, policy=policy,
                )  # fmt: skip
            options = {"autoscaling_config": config}
        routing: Any = {"request_router_class": ItemsRouter}
        made: Any = serve.deployment(Replica)
        deployment = made.options(
            name="replica",
            max_replicas_per_node=1,
            max_ongoing_requests=_ONGOING,
            max_constructor_retry_count=2,
            health_check_period_s=_HEALTH_S,
            graceful_shutdown_wait_loop_s=0.1,
            ray_actor_options={"num_cpus": self._cpus},
            request_router_config=RequestRouterConfig(**routing),
            **options,
        )
        serve.start(proxy_location="Disabled", logging_config={"log_level": "ERROR"})
        target = serve.RunTarget(
            deployment.bind(self.wanted, __version__),
            name=self._application,
            route_prefix=None,
        )
        serve.run_many([target], wait_for_applications_running=False)
        self._handle = self._running()

    def _running(self) -> Any:
        until = time.monotonic() + _START_S
        while time.monotonic() < until:
            found = serve.status().applications[self._application]
            if found.status == "RUNNING":
                return serve.get_app_handle(self._application)
            if found.status == "DEPLOY_FAILED":
                said = [each.message for each in found.deployments.values()]
                raise ExecutionError(
                    f"a replica of {self.wanted.settings.spec!r}",
                    rule=_last_line("\n".join([found.message, *said])),
                    where=self.address,
                    remedy="see that each host has the network, and trimtab",
                )
            time.sleep(0.1)
        raise LinkError(
            f"{self.scaling.least} replicas",
            rule=f"they were not placed within {_START_S:.0f} s",
            where=self.address,
            remedy="see ray status: nodes may be busy with other work",
        )

    def _described(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = self._handle.describe.remote().result(
                timeout_s=_ANSWER_S
            )
        except Exception as error:  # it was there a moment ago
            raise LinkError(
                "a replica",
                rule=f"it does not answer: {first_line(error)}",
                where=self.address,
                remedy="see that RAY_AUTH_MODE and the token are the same here and on "
                "all hosts; then see the logs of Ray Serve",
            ) from error
        return found

    def _remove(self) -> None:
        """Take away what was placed; Ray Serve stays, for it may serve others, too."""
        try:
            if self._handle is not None:
                # Or its tasks go on, and connect to Ray once more after the end.
                self._handle.shutdown()
            serve.delete(self._application)
        except Exception as error:  # the cluster may be gone
            _LOG.warning("replicas were not taken away: %s", first_line(error))

    # Queries, from one loop

    async def ask(
        self,
        inputs: Arrays,
        *,
        deadline_s: float | None = None,
        priority: int = DEFAULT_PRIORITY,
    ) -> Arrays:
        """Return the outputs of a query.

        Args:
            inputs: rows of each input, by name.
            deadline_s: from its coming to a replica; what would be later is refused.
            priority: 0, 1 or 2; smaller ones go first.

        Raises:
            ExecutionError: inputs that the network does not take, or that it fails on.
            OverloadedError: there is no room, or it would not be ready in time.
            LinkError: all replicas that it went to were lost, or none is there.
        """
        counts = self._counts
        counts["queries"] += 1
        try:
            found = await self._answered(inputs, deadline_s, priority)
        except OverloadedError:
            counts["shed"] += 1
            raise
        except asyncio.CancelledError:  # whoever asked
            counts["gone"] += 1
            raise
        except BaseException:
            counts["failed"] += 1
            raise
        counts["answers"] += 1
        return found

    async def _answered(
        self, inputs: Arrays, deadline_s: float | None, priority: int
    ) -> Arrays:
        lost = "no replica answered in time"
        response = None
        try:
            async with asyncio.timeout(_ANSWER_S):
                for _ in range(_TRIES):
                    response = self._handle.remote(inputs, deadline_s, priority)
                    try:
                        found = await response
                    except _LOST as error:
                        self._counts["again"] += 1
                        lost = first_line(error)
                        continue
                    if isinstance(found, TrimtabError):
                        raise found
                    outputs: Arrays = found
                    return outputs
        except TimeoutError:
            if response is not None:
                response.cancel()
        except BackPressureError as error:
            raise OverloadedError(
                "a query", rule=first_line(error), where="trimtab serve",
                remedy="come again later", retry_after_s=1.0,
            ) from None  # fmt: skip
        except RayTaskError as error:
            raise ExecutionError(
                "a query", rule=first_line(error), where="trimtab serve",
                remedy="see the log of the replica",
            ) from None  # fmt: skip
        except RayServeException as error:
            lost = first_line(error)
        raise LinkError(
            "a query", rule=lost, where="trimtab serve", remedy="ask again",
        )  # fmt: skip

    # What is seen

    @property
    def settings(self) -> Settings:
        """Of the engine of each replica."""
        return self.wanted.settings

    @property
    def replicas(self) -> int:
        """That answered at the last look."""
        return len(self._alive)

    def hosts(self) -> list[dict[str, Any]]:
        """Return the last state of each replica that is there."""
        return [self._known[each] for each in sorted(self._alive)]

    def state(self) -> dict[str, Any]:
        """Return what happened to queries, and sums over the replicas.

        Batches and restarts of a replica that is gone count on, as they were at the
        last look at it.
        """
        counts, hosts = self._counts, self.hosts()
        with self._lock:
            known, gone = list(self._known.values()), self._gone
        ended = sum(counts[each] for each in ("answers", "shed", "failed", "gone"))
        return {
            **counts,
            "open": counts["queries"] - ended,
            **{
                name: gone[name] + sum(each[name] for each in known) for name in _SUMMED
            },
            "replicas": len(hosts),
            "workers": sum(each["workers"] for each in hosts),
            "backlog_s": sum(each["backlog_s"] for each in hosts),
            "oldest_s": max((each["oldest_s"] for each in hosts), default=0.0),
        }

    def _watch(self) -> None:
        """Look at the replicas; a thread of its own."""
        while not self._ending.wait(LOOK_S):
            self._see()

    def _see(self) -> None:
        try:
            told = self._handle.broadcast("state").results(
                timeout_s=10 * LOOK_S, return_exceptions=True
            )
        except Exception as error:  # none is there now
            _LOG.info("no replica tells its state: %s", first_line(error))
            told = []
        states = {each["id"]: each for each in told if isinstance(each, dict)}
        known, gone = {**self._known, **states}, dict(self._gone)
        # Which is gone for good nobody says; one that is late is told of again soon.
        for old in [each for each in known if each not in states][:-_REMEMBERED]:
            for name, before in known.pop(old).items():
                if name in gone:
                    gone[name] += before
        with self._lock:  # or sums would rise and fall
            self._known, self._gone = known, gone
        self._alive = frozenset(states)
        if not self.changes or self.changes[-1][1] != len(states):
            self.changes.append((time.monotonic() - self._begun_s, len(states)))


def _last_line(message: str) -> str:
    """Return what a traceback within a message ends with: the error itself."""
    lines = [each.strip() for each in message.splitlines()]
    own = [each for each in lines if each.startswith("trimtab.errors.")]
    found = own[-1] if own else next((each for each in reversed(lines) if each), "?")
    return found.removeprefix("trimtab.errors.")[:500]
