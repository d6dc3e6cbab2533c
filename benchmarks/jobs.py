"""Jobs that can be interrupted: each result is a file, stored when it is known."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, final

import typer
from platformdirs import user_cache_path

from benchmarks.results import Row, _commit, claims, fill, write
from trimtab.errors import TrimtabError
from trimtab.hardware.load import machine

__all__ = [
    "NOT_MEASURED",
    "Again",
    "Job",
    "Quick",
    "Store",
    "cache_folder",
    "environment",
    "of_part",
    "origins",
    "run",
    "store_of",
    "tell",
]

_ROOT = Path(__file__).parents[1]

NOT_MEASURED = "not measured"
"""The note of a row whose job has no result yet."""


Quick = Annotated[bool, typer.Option(help="The short form.")]
Again = Annotated[bool, typer.Option(help="Do what is stored anew.")]


def cache_folder(benchmark: str) -> Path:
    """Return where a benchmark keeps what it prepares."""
    folder = os.environ.get("TRIMTAB_CACHE")
    root = Path(folder) if folder else user_cache_path("trimtab")
    return root / "benchmarks" / benchmark


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One measurement in a process of its own.

    Attributes:
        key: of the result, such as ``rank/matmul_512/avx2``.
        module: run with ``python -m``; its last line of output is the result as JSON.
        arguments: of the module.
        threads: that torch and TVM may use.
        cap_s: after which it is stopped.
    """

    key: str
    module: str
    arguments: tuple[str, ...] = ()
    threads: int = 1
    cap_s: float = 900.0


@final
class Store:
    """Results by key, a file each, so that a run can go on where it was stopped."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, key: str) -> Path:
        """Return the file of a key."""
        return self.folder / f"{key.replace('/', '.')}.json"

    def get(self, key: str) -> dict[str, Any] | None:
        """Return a stored result; None where there is none."""
        path = self.path(key)
        if not path.exists():
            return None
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return found

    def done(self, key: str) -> bool:
        """Return whether a result is stored that is not a failure."""
        found = self.get(key)
        return found is not None and "failed" not in found

    def put(self, key: str, result: Mapping[str, Any]) -> None:
        """Store a result, whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.path(key)
        draft = path.with_suffix(".making")
        when = datetime.now(UTC).isoformat(timespec="seconds")
        stored = {
            "key": key,
            "commit": _commit(),
            "date": when,
            "machine": _machine(),
            **result,
        }
        draft.write_text(json.dumps(stored) + "\n", "utf-8")
        draft.replace(path)

    def all(self, prefix: str) -> dict[str, dict[str, Any]]:
        """Return the results whose key begins with `prefix`, by key."""
        found = {}
        for path in sorted(self.folder.glob("*.json")):
            result = json.loads(path.read_text("utf-8"))
            if str(result["key"]).startswith(prefix):
                found[str(result["key"])] = result
        return found


def _machine() -> str:
    where = machine("this")
    return f"{where.title} ({where.core.llvm_cpu})"


def store_of(folder: Path, *, quick: bool) -> Store:
    """Return the results of a benchmark: samples in its folder, or the short form's."""
    short = cache_folder(folder.name) / "quick"
    return Store(short if quick else folder / "samples")


def of_part(jobs: Sequence[Job], part: str) -> list[Job]:
    """Return the jobs whose key begins with a part; all of them for ``all``."""
    return [each for each in jobs if part in ("all", each.key.split("/")[0])]


def tell(
    folder: Path, store: Store, rows: Sequence[Row], *, quick: bool, more: str = ""
) -> None:
    """Write the results of a benchmark, and its tables into its README.

    The short form writes what it has measured, and no tables.

    Args:
        folder: of the benchmark.
        store: of its samples.
        rows: of its results.
        quick: whether it was the short form.
        more: text below the tables.
    """
    if quick:
        rows = [row for row in rows if row.note != NOT_MEASURED]
    write(folder, list(rows), quick=quick)
    if not quick:
        body = f"{origins(store)}\n\n{claims(list(rows))}"
        fill(folder / "README.md", body + (f"\n\n{more}" if more else ""))


def origins(store: Store) -> str:
    """Return the sentence that says where samples were taken, and from what commit."""
    taken: dict[tuple[str, str], list[str]] = {}
    for key, each in store.all("").items():
        where = str(each.get("machine", "an unknown machine")), str(each["commit"])
        taken.setdefault(where, []).append(key.split("/")[0])
    parts = [
        f"{', '.join(dict.fromkeys(sorted(jobs)))} on {machine} at commit {commit} "
        f"({len(jobs)})"
        for (machine, commit), jobs in sorted(taken.items())
    ]
    return f"Samples: {'; '.join(parts) or 'none'}."


def environment(threads: int) -> dict[str, str]:
    """Return the environment of a process that may use that many threads."""
    return {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "TVM_NUM_THREADS": str(threads),
        # Its workers spin for long after a product of NumPy's, beside what is timed.
        "OPENBLAS_NUM_THREADS": "1",
    }


def run(
    jobs: Sequence[Job],
    store: Store,
    *,
    again: bool = False,
    at_once: int = 1,
    executor: Executor | None = None,
) -> None:
    """Run jobs whose result is not stored yet, or all; a failure does not end the rest.

    A failure is stored with its reason and tried again by the next run.

    Args:
        jobs: in order.
        store: of results.
        again: whether to do what is stored anew.
        at_once: jobs that run beside each other; more than one for results that are no
            times.
        executor: of a cluster whose machines have this checkout at the same path; for
            results that are no times, too.
    """

    def do(numbered: tuple[int, Job]) -> None:
        index, job = numbered
        place = f"[{index + 1}/{len(jobs)}] {job.key}"
        if store.done(job.key) and not again:
            print(f"{place}: stored", file=sys.stderr)
            return
        print(place, file=sys.stderr, flush=True)
        result = _result(job) if executor is None else _from_elsewhere(executor, job)
        if "failed" in result:
            print(f"{place}: {result['failed']}", file=sys.stderr, flush=True)
        store.put(job.key, result)

    with ThreadPoolExecutor(at_once) as workers:
        list(workers.map(do, enumerate(jobs)))


def _from_elsewhere(executor: Executor, job: Job) -> dict[str, Any]:
    try:
        return executor.submit(_elsewhere, job, _commit()).result()
    except TrimtabError as error:
        return {"failed": str(error)[:300]}


def _elsewhere(job: Job, commit: str) -> dict[str, Any]:
    """Run a job on a machine of a cluster; return its result, and where that was."""
    here = _commit()
    if here != commit:
        return {"failed": f"{platform.node()} is at commit {here}, not at {commit}"}
    return {"machine": _machine(), "commit": here, **_result(job)}


def _result(job: Job) -> dict[str, Any]:
    """Run a job and return its result; what it says on the way is passed on."""
    command = [sys.executable, "-m", job.module, *job.arguments]
    stopped = threading.Event()
    last = ""
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as output,
        subprocess.Popen(
            command,
            cwd=_ROOT,
            env=environment(job.threads),
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # ended together with what it starts
        ) as process,
    ):

        def stop() -> None:
            stopped.set()
            os.killpg(process.pid, signal.SIGKILL)

        timer = threading.Timer(job.cap_s, stop)
        timer.start()
        assert process.stderr is not None
        try:
            for line in process.stderr:
                sys.stderr.write(line)
                last = line.strip() or last
            code = process.wait()
        except BaseException:  # it has a session of its own, and would go on
            stop()
            raise
        finally:
            timer.cancel()
        output.seek(0)
        lines = output.read().strip().splitlines()
    if stopped.is_set():
        return {"failed": f"stopped after {job.cap_s:.0f} s"}
    if code != 0 or not lines:
        return {"failed": f"exit code {code}: {last[:300] or 'no output'}"}
    try:
        found: dict[str, Any] = json.loads(lines[-1])
    except json.JSONDecodeError:
        return {"failed": f"not a result: {lines[-1][:200]}"}
    return found
