"""Servers that are compared: how each is started, made ready, and ended.

All run behind the load (`nice`): on a machine that both share, the generator then sends
when it has to, and what the server lacks shows as latency, not as a run without worth.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, final

from trimtab.serve.live.http_load import Served
from trimtab.units import format_duration

__all__ = ["SUBJECTS", "Setting", "started"]

_ROOT: Final = Path(__file__).parents[3]
_NICE: Final = 5
_START_S: Final = 600.0  # of a busy machine
_END_S: Final = 30.0
_READY: Final = re.compile(r'"http": "')


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One way to start a server.

    Attributes:
        subject: ``ours``, or a module of this package.
        options: of the command line, or of the peer's own.
    """

    subject: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The options, for people."""
        said = (
            key if each is True else f"{key} {each}"
            for key, each in self.options.items()
        )
        return " ".join(said) or "as it comes"

    def command(
        self, spec: str, name: str, port: int, slo: str, weights: str | None
    ) -> list[str]:
        """Return the command that starts it."""
        if self.subject == "ours":
            own = [] if weights is None else ["--weights", weights]
            given = [
                part for key, each in self.options.items()
                for part in ([f"--{key}"] if each is True else [f"--{key}", str(each)])
            ]  # fmt: skip
            return [
                sys.executable, "-m", "trimtab", "serve", "start", spec, "--slo", slo,
                "--http", f"127.0.0.1:{port}", "--json", *given, *own,
            ]  # fmt: skip
        told = {
            "spec": spec, "name": name, "port": port, "weights": weights,
            "options": dict(self.options),
        }  # fmt: skip
        module = f"benchmarks.serve.peers.{self.subject}"
        return [sys.executable, "-m", module, json.dumps(told)]

    @property
    def announced(self) -> int:
        """How often a line says that something is ready."""
        if self.subject in ("litserve", "fastapi_torch"):
            return int(self.options.get("workers", 1))
        return 1


def _settings(subject: str, *each: Mapping[str, Any]) -> tuple[Setting, ...]:
    return tuple(Setting(subject=subject, options=one) for one in each)


SUBJECTS: Final[Mapping[str, tuple[Setting, ...]]] = {
    "ours": _settings(
        "ours",
        {},
        {"batch": 128, "steady": True},
        {"batch": 256, "steady": True},
        {"batch": 1024, "steady": True},
    ),
    "ray_serve": _settings(
        "ray_serve",
        {"workers": 2, "most": 1},
        {"workers": 2, "most": 4, "wait_s": 0.0},
        {"workers": 2, "most": 8, "wait_s": 0.002},
        {"workers": 1, "most": 4, "wait_s": 0.0, "threads": 2},
    ),
    "litserve": _settings(
        "litserve",
        {"workers": 2, "servers": 1, "most": 1},
        {"workers": 2, "servers": 1, "most": 4, "wait_s": 0.0},
        {"workers": 2, "servers": 2, "most": 8, "wait_s": 0.002},
        {"workers": 1, "servers": 1, "most": 4, "wait_s": 0.0, "threads": 2},
    ),
    "fastapi_torch": _settings(
        "fastapi_torch",
        {"workers": 2, "pool": 0},
        {"workers": 2, "pool": 2},
        {"workers": 1, "pool": 2},
        {"workers": 1, "pool": 0, "threads": 2},
    ),
}
"""As many settings of each. Peers may have a process for each of two cores or one that
uses both for a query, and join queries or not."""


@contextmanager
def started(
    setting: Setting, spec: str, name: str, slo: str, *, weights: str | None = None
) -> Iterator[Served]:
    """Start a server; give what asks it, once it is ready; end it after the block.

    Raises:
        RuntimeError: it is not ready in time; the last of what it said.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    made = setting.command(spec, name, port, slo, weights)
    with subprocess.Popen(
        ["nice", "-n", str(_NICE), *made],
        cwd=_ROOT, env={**os.environ, "PYTHONPATH": _path()},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        try:
            _wait(process, setting.announced)
            with _reached(f"http://127.0.0.1:{port}/v2/models/{name}") as served:
                yield served
        finally:
            _end(process)


def _path() -> str:
    before = os.environ.get("PYTHONPATH")
    return os.pathsep.join([str(_ROOT), *([before] if before else [])])


def _wait(process: subprocess.Popen[bytes], count: int) -> None:
    """Read until it has said that often that something is ready."""
    assert process.stdout is not None
    until = time.monotonic() + _START_S
    said = ""
    while len(_READY.findall(said)) < count:
        left = until - time.monotonic()
        if left <= 0:
            raise RuntimeError(
                f"not ready in {format_duration(_START_S)}: {said[-400:]}"
            )
        if not select.select([process.stdout], [], [], left)[0]:
            continue
        more = os.read(process.stdout.fileno(), 65_536)
        if not more:
            raise RuntimeError(f"it ended with {process.wait()}: {said[-400:]}")
        said += more.decode("utf-8", "replace")


@contextmanager
def _reached(url: str) -> Iterator[Served]:
    """Give what asks a server, once that answers."""
    until = time.monotonic() + _START_S
    while True:
        try:
            served = Served(url).__enter__()
            break
        except Exception:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
    try:
        yield served
    finally:
        served.__exit__(None, None, None)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a server and all that it started."""
    below = _below(process.pid)
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    until = time.monotonic() + _END_S
    # Its pipe is read: whoever writes to a full one does not end.
    assert process.stdout is not None
    while process.poll() is None and time.monotonic() < until:
        if select.select([process.stdout], [], [], 0.1)[0]:
            os.read(process.stdout.fileno(), 65_536)
    for pid, born in {**below, **_below(process.pid)}.items():
        if _born(pid) == born:  # the number may be another's by now
            _kill(pid)
    if process.poll() is None:
        process.kill()


def _kill(pid: int) -> None:
    """Kill one process, if it is still there."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _below(pid: int) -> dict[int, int]:
    """Return the processes that one has started, and theirs, with when they began."""
    children: dict[int, list[int]] = {}
    for each in Path("/proc").iterdir():
        if each.name.isdecimal() and (found := _stat(int(each.name))) is not None:
            children.setdefault(int(found[1]), []).append(int(each.name))
    found_all: dict[int, int] = {}
    waiting = [pid]
    while waiting:
        for each_pid in children.get(waiting.pop(), []):
            born = _born(each_pid)
            if born is not None and each_pid not in found_all:
                found_all[each_pid] = born
                waiting.append(each_pid)
    return found_all


def _born(pid: int) -> int | None:
    found = _stat(pid)
    return None if found is None else int(found[19])


def _stat(pid: int) -> list[str] | None:
    """Return the fields of a process from its state on; None where there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return None
    return text[text.rindex(")") + 2 :].split()
