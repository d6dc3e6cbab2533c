"""A worker: one process, one core, one thread; it takes batches and answers them.

    python -m trimtab.serve.live.worker

is started by the engine with what it has to know as a line of JSON on its standard
input, and ends when that is closed: a worker does not outlive its dispatcher. What it
says goes to its standard output as lines of JSON; what a network prints goes to
standard error, or the pipe that nobody reads meanwhile would be full one day.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import sys
import time
from typing import IO, TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from trimtab.serve.live.models import Model

__all__ = ["main"]

_IDLE_MS: Final = 500  # after which there is time to collect garbage
_PROFILED_S: Final = 0.25  # of CPU time, for each batch size


def main() -> None:
    """Do what the line on standard input says: ``prepare``, ``profile`` or ``work``."""
    said = json.loads(sys.stdin.readline())
    if said["what"] == "work":
        # They reach all of a terminal or a unit: who serves says when a worker ends.
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    core = said.get("core")
    if core is not None:
        os.sched_setaffinity(0, {core})
    import torch

    from trimtab.errors import TrimtabError

    torch.set_num_threads(said.get("threads", 1))
    torch.set_num_interop_threads(1)
    try:
        if said["what"] == "work":
            _work(said)
        else:
            {"prepare": _prepare, "profile": _profile}[said["what"]](said, out)
    except TrimtabError as error:
        _say({"error": error.to_dict()}, out)
        sys.exit(1)


def _say(record: dict[str, Any], out: IO[str]) -> None:
    out.write(json.dumps(record) + "\n")
    out.flush()


def _opened(said: dict[str, Any]) -> Model:
    from trimtab.serve.live.models import attach

    module, _, name = said["opener"].partition(":")
    opener = getattr(importlib.import_module(module), name)
    model: Model = opener(said["spec"], weights=said["weights"], trust=said["trust"])
    if said.get("table") is not None and model.module is not None:
        attach(model.module, said["shared"], said["table"])
    return model


def _prepare(said: dict[str, Any], out: IO[str]) -> None:
    """Say what the network takes and gives; write its weights to shared memory."""
    from trimtab.serve.live.models import share

    model = _opened(said)
    table = None
    if model.module is not None:
        table = share(model.module, said["shared"])
    if said.get("device") is not None:  # or it says why it cannot
        from trimtab.serve.live.devices import on_device

        on_device(model, said["device"])
    _say({
        "name": model.name,
        "inputs": [each.to_dict() for each in model.inputs],
        "outputs": [each.to_dict() for each in model.outputs],
        "table": table,
    }, out)  # fmt: skip


def _profile(said: dict[str, Any], out: IO[str]) -> None:
    """Say the time of a batch of each size: the median over a quarter second."""
    import statistics

    import torch

    from trimtab.serve.live.load import Drawn

    model, device = _opened(said), said.get("device")
    # As queries are: popular ids often, and rows that no cache has from the last call.
    pool = Drawn(model.inputs, most_items=max(said["sizes"]))
    call, clock = model.call, time.thread_time
    if device is not None:
        from trimtab.serve.live.devices import on_device

        call, clock = on_device(model, device), time.monotonic
    for size in said["sizes"]:
        times: list[float] = []
        with torch.inference_mode():
            call(model.drawn(size))
            begun = clock()
            while len(times) < 5 or clock() - begun < _PROFILED_S:
                rows = pool.draw(size, len(times))
                inputs = [torch.from_numpy(each) for each in rows.values()]
                start = clock()
                call(inputs)
                times.append(clock() - start)
        _say({"size": size, "seconds": statistics.median(times)}, out)


def _work(said: dict[str, Any]) -> None:
    """Answer batches until standard input is closed."""
    import torch

    from trimtab.serve.live.arena import Arena, Field
    from trimtab.serve.live.board import DONE, FAILED, Board

    model = _opened(said)
    arena = Arena(
        [Field.from_dict(each) for each in said["inputs"]],
        [Field.from_dict(each) for each in said["outputs"]],
        said["capacity"],
        descriptor=said["arena"],
    )
    box = Board(said["workers"], descriptor=said["board"]).boxes[said["worker"]]
    inputs = [torch.from_numpy(arena.rows(each.name)) for each in arena.inputs]
    outputs = [torch.from_numpy(arena.rows(each.name)) for each in arena.outputs]
    call = model.call
    if said.get("device") is not None:
        from trimtab.serve.live.devices import on_device

        call = on_device(model, said["device"])
    # Kernels choose their ways by the size: each is met once ahead of any query.
    for size in said["warm"]:
        call(model.drawn(size))
    box.orders.clear()
    gc.collect()
    gc.freeze()
    gc.disable()
    box.answers.put((0, DONE, time.monotonic_ns(), time.monotonic_ns(), 0))
    os.eventfd_write(said["out"], 1)
    waiting = select.poll()
    waiting.register(said["bell"], select.POLLIN)
    waiting.register(sys.stdin.fileno(), 0)  # only that it is closed
    idle = True
    ranges: list[tuple[int, int]] = []
    while True:
        events = waiting.poll(None if idle else _IDLE_MS)
        if not events:
            gc.collect()
            idle = True
            continue
        idle = False
        if any(fd != said["bell"] for fd, _ in events):
            return
        os.eventfd_read(said["bell"])
        for batch, start, count, more in box.orders.take():
            ranges.append((start, start + count))
            if more:
                continue
            begun, cpu = time.monotonic_ns(), time.thread_time_ns()
            status = DONE
            try:
                _answer(call, inputs, outputs, ranges)
            except Exception as error:  # whatever the network raises: the query fails
                box.text = (str(error).splitlines() or [type(error).__name__])[0]
                status = FAILED
            ranges.clear()
            spent = time.thread_time_ns() - cpu
            box.answers.put((batch, status, begun, time.monotonic_ns(), spent))
            os.eventfd_write(said["out"], 1)


def _answer(
    call: Any, inputs: list[Any], outputs: list[Any], ranges: list[tuple[int, int]]
) -> None:
    """Run a batch whose rows stand in some ranges, mostly one."""
    import torch

    with torch.inference_mode():
        if len(ranges) == 1:
            first, last = ranges[0]
            rows = [each[first:last] for each in inputs]
        else:
            rows = [torch.cat([each[a:b] for a, b in ranges]) for each in inputs]
        count = sum(b - a for a, b in ranges)
        for place, value in zip(outputs, call(rows), strict=True):
            # What has fewer rows would be spread over all of them.
            if tuple(value.shape) != (count, *place.shape[1:]):
                raise ValueError(
                    f"it gives {list(value.shape)} for {count} items, where "
                    f"{[count, *place.shape[1:]]} was to come"
                )
            at = 0
            for a, b in ranges:
                place[a:b] = value[at : at + b - a]
                at += b - a


if __name__ == "__main__":
    main()
