"""MLPerf's LoadGen as a referee: its load, its clock, its verdict.

The Server scenario of MLPerf Inference (arXiv 1911.02549): queries come at times of a
Poisson process, latencies count from when a query was to come, and a run is valid if
the tail is within the target and early stopping finds enough queries for that. Its
samples are queries whose sizes stand for a law of sizes. LoadGen knows no refusal: it
is told that a refused query is over, and the run is then invalid here, whatever it
says. It drives from threads of its own; one run at a time in a process.
"""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from trimtab.errors import DataError, MissingExtraError, TrimtabError, UsageError
from trimtab.serve.capacity import Target
from trimtab.serve.live.load import Subject, end_of
from trimtab.serve.sizes import Sizes
from trimtab.serve.verdict import ENDS, least_queries

__all__ = ["Judgment", "check_referee", "read_summary", "referee", "samples_of"]

_SAMPLES: Final = 128
_DRAWN: Final = 64  # sizes for each sample
_SUMMARY: Final = "mlperf_log_summary.txt"
_ONE: Final = threading.Lock()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Judgment:
    """What LoadGen says of a run.

    Attributes:
        valid: whether it calls it VALID, and every query was answered.
        said: its own word.
        ends: how many queries ended which way.
        scheduled_per_s: queries that came.
        completed_per_s: that were over.
        latency_s: by percentile.
        error: of a query that was not answered; "" for none.
        summary: all that it says, as text.
    """

    valid: bool
    said: str
    ends: dict[str, int]
    scheduled_per_s: float
    completed_per_s: float
    latency_s: dict[str, float]
    error: str
    summary: str

    def record(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        return {"verdict": "VALID" if self.valid else "INVALID", **asdict(self)}


def check_referee() -> Any:
    """Return LoadGen.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import mlperf_loadgen
    except ImportError:
        raise MissingExtraError(
            "LoadGen as a referee",
            rule="the package mlcommons-loadgen is not installed",
            where="--referee",
            remedy="install the extra: pip install 'trimtab[bench]'",
        ) from None
    return mlperf_loadgen


def samples_of(law: Sizes, *, seed: int = 0) -> list[int]:
    """Return sizes that stand for a law: quantiles of many that were drawn.

    Example:
        >>> from trimtab.serve.sizes import parse_sizes
        >>> sizes = samples_of(parse_sizes("fixed:7"))
        >>> len(sizes), set(sizes)
        (128, {7})
    """
    drawn = np.sort(law.draw(_SAMPLES * _DRAWN, np.random.default_rng(seed)))
    return [int(each) for each in drawn[_DRAWN // 2 :: _DRAWN]]


def referee(
    subject: Subject,
    sizes: Sequence[int],
    target: Target,
    *,
    rate_per_s: float,
    seconds: float,
    folder: Path,
    seed: int = 0,
    progress: Callable[[int], None] = lambda ended: None,
) -> Judgment:
    """Let LoadGen ask, and return what it says.

    Args:
        subject: what is asked.
        sizes: of its samples, in items.
        target: that the tail is held against.
        rate_per_s: that is claimed.
        seconds: that it takes at least.
        folder: for its logs; made where it does not exist.
        seed: of gaps and of the order of samples.
        progress: told how many queries are over, from any thread.

    Raises:
        MissingExtraError: LoadGen is not installed.
        UsageError: its logs cannot be written.
        DataError: it says no result.
    """
    loadgen = check_referee()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _SUMMARY).unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(
            f"logs in {str(folder)!r}",
            rule=error.strerror or str(error),
            where="--logs",
            remedy="give a folder that may be written to",
        ) from None
    queries = [subject.prepare(items, number) for number, items in enumerate(sizes)]
    ends: Counter[str] = Counter()
    last = ""
    lock = threading.Lock()

    def ended(query: int, error: TrimtabError | None) -> None:
        nonlocal last
        with lock:
            ends[end_of(error)] += 1
            last = last if error is None else str(error)
            over = ends.total()
        loadgen.QuerySamplesComplete([loadgen.QuerySampleResponse(query, 0, 0)])
        progress(over)

    def ask(samples: Sequence[Any]) -> None:
        for sample in samples:
            query = sample.id  # the sample itself is gone with this call
            try:
                subject.send(
                    queries[sample.index], time.monotonic_ns(), partial(ended, query)
                )
            except Exception as error:  # nothing may be raised into LoadGen
                ended(query, DataError("a query", rule=repr(error), remedy="report it"))

    with _ONE:
        system = loadgen.ConstructSUT(ask, lambda: None)
        library = loadgen.ConstructQSL(
            len(queries), len(queries), lambda _: None, lambda _: None
        )
        try:
            loadgen.StartTestWithLogSettings(
                system, library, _settings(loadgen, target, rate_per_s, seconds, seed),
                _logs(loadgen, folder), "",
            )  # fmt: skip
        finally:
            loadgen.DestroyQSL(library)
            loadgen.DestroySUT(system)
    said = read_summary(folder / _SUMMARY)
    counts = {name: ends[name] for name in ENDS if ends[name]}
    valid = said["said"] == "VALID" and set(counts) == {"answered"}
    return Judgment(valid=valid, ends=counts, error=last, **said)


def _settings(
    loadgen: Any, target: Target, rate_per_s: float, seconds: float, seed: int
) -> Any:
    made = loadgen.TestSettings()
    made.scenario = loadgen.TestScenario.Server
    made.mode = loadgen.TestMode.PerformanceOnly
    made.server_target_qps = rate_per_s
    made.server_target_latency_ns = round(1e9 * target.latency_s)
    made.server_target_latency_percentile = target.share
    made.min_duration_ms = round(1e3 * seconds)
    made.min_query_count = least_queries(target)
    made.qsl_rng_seed = made.sample_index_rng_seed = made.schedule_rng_seed = 1 + seed
    return made


def _logs(loadgen: Any, folder: Path) -> Any:
    output = loadgen.LogOutputSettings()
    output.outdir = str(folder)
    output.copy_summary_to_stdout = False
    made = loadgen.LogSettings()
    made.log_output = output
    made.enable_trace = False
    return made


def read_summary(path: Path) -> dict[str, Any]:
    """Return what a summary of LoadGen says, by the names of `Judgment`.

    Raises:
        DataError: it says no result.
    """
    try:
        text = path.read_text("utf-8", "replace")
        (said,) = re.findall(r"^Result is : (VALID|INVALID)$", text, re.MULTILINE)
        (rates, done) = (
            re.findall(
                rf"^{what} samples per second\s*: ([0-9.]+)$", text, re.MULTILINE
            )
            for what in ("Scheduled", "Completed")
        )
        found = re.findall(
            r"^([0-9.]+) percentile latency \(ns\)\s*: (\d+)$", text, re.MULTILINE
        )
        return {
            "said": said,
            "scheduled_per_s": float(rates[0]),
            "completed_per_s": float(done[0]),
            "latency_s": {f"p{float(at):g}": 1e-9 * int(ns) for at, ns in found},
            "summary": text,
        }
    except (OSError, ValueError, IndexError) as error:
        raise DataError(
            f"the summary of LoadGen in {str(path)!r}",
            rule=getattr(error, "strerror", None) or "it says no result",
            where="--referee",
            remedy="see the logs beside it",
        ) from None
