"""Less of this machine for others: a quota of its processor, work beside, memory."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Final, final

from trimtab.errors import UsageError

__all__ = ["CpuQuota", "Stress", "no_quota", "no_stress"]

_GROUPS: Final = Path("/sys/fs/cgroup/cpu")  # hierarchy of control groups, version 1
_LEAST_QUOTA_US: Final = 1_000  # that the kernel takes
_MOST_PERIOD_US: Final = 1_000_000
_SHARES: Final = 2**18  # of 1024 that others have: the most there are
_NUMBERS = itertools.count(1)
_LIFE_S: Final = 3600  # after which stress-ng ends by itself


def no_quota() -> str:
    """Return why a quota cannot be had here; empty if it can."""
    if not (_GROUPS / "cgroup.procs").exists():
        return f"no control groups of version 1 for processors at {_GROUPS}"
    try:
        CpuQuota(0.5).close()
    except UsageError as error:
        return error.rule
    return ""


def no_stress() -> str:
    """Return why there can be no work beside here; empty if there can."""
    if shutil.which("stress-ng") is None:
        return "stress-ng is missing: apt-get install stress-ng"
    return ""


@final
class CpuQuota:
    """Processes that have a share of one core between them; a context manager.

    Not more, and not less as far as processes outside of any group are concerned. The
    kernel gives it in slices of about a millisecond: what takes less may have all
    of the core.

    Args:
        share: of a core, within (0, 1]; 1 for no limit.

    Raises:
        UsageError: this machine does not allow it, or the share is none.
    """

    def __init__(self, share: float) -> None:
        self._folder = _GROUPS / f"trimtab-{os.getpid()}-{next(_NUMBERS)}"
        for old in _GROUPS.glob("trimtab-*-*"):  # of whoever was killed
            if not Path("/proc", old.name.split("-")[1]).exists():
                with contextlib.suppress(OSError):
                    old.rmdir()
        try:
            self._folder.mkdir()
        except OSError as error:
            raise UsageError(
                "a quota of a processor",
                rule=f"a control group cannot be made: {error.strerror}",
                where=str(_GROUPS),
                remedy="be root where control groups of version 1 are, or use Stress",
            ) from error
        try:
            self._write("cpu.shares", _SHARES)
            self.set(share)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> CpuQuota:
        """Return it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove it."""
        self.close()

    def set(self, share: float) -> None:
        """Change the share.

        Raises:
            UsageError: it is none.
        """
        if not _LEAST_QUOTA_US / _MOST_PERIOD_US <= share <= 1:
            raise UsageError(
                f"a share {share} of a processor",
                rule="it is within [0.001, 1]",
                where="trimtab.partition.live.pressure",
                remedy="give 0.25 for a quarter",
            )
        # The shortest period has the smallest steps.
        period = round(_LEAST_QUOTA_US / share)
        self._write("cpu.cfs_quota_us", -1)
        self._write("cpu.cfs_period_us", period)
        if share < 1:
            self._write("cpu.cfs_quota_us", _LEAST_QUOTA_US)

    def add(self, process: int) -> None:
        """Take a process in, with what it starts later."""
        self._write("cgroup.procs", process)

    def _write(self, name: str, value: int) -> None:
        (self._folder / name).write_text(str(value), "ascii")

    def close(self) -> None:
        """Let all processes go, and remove the group."""
        for each in (self._folder / "cgroup.procs").read_text("ascii").split():
            with contextlib.suppress(OSError):  # it has ended
                (_GROUPS / "cgroup.procs").write_text(each, "ascii")
        until = time.monotonic() + 2.0
        while True:
            try:
                self._folder.rmdir()
            except OSError:
                # A process that has just ended is still in it.
                if time.monotonic() > until:
                    raise
                time.sleep(0.02)
            else:
                return


@final
class Stress:
    """Work beside, by stress-ng; a context manager.

    Args:
        cpu: workers that compute.
        memory_bytes: that one more worker writes over and over: what it takes of caches
            and bandwidth is gone for others, which memory that is only held is not.
        cores: that they may use; all by default.

    Raises:
        UsageError: stress-ng is not there, or there is nothing to do.
    """

    def __init__(
        self, *, cpu: int = 0, memory_bytes: int = 0, cores: tuple[int, ...] = ()
    ) -> None:
        why = no_stress() or ("" if cpu or memory_bytes else "it has nothing to do")
        if why:
            raise UsageError(
                "work beside",
                rule=why,
                where="trimtab.partition.live.pressure",
                remedy="install stress-ng, and say how many workers or bytes",
            )
        command = ["stress-ng", "--quiet", "--timeout", str(_LIFE_S)]
        if cpu:
            command += ["--cpu", str(cpu), "--cpu-method", "int64"]
        if memory_bytes:
            command += ["--vm", "1", "--vm-bytes", str(memory_bytes), "--vm-keep",
                        "--vm-method", "write64"]  # fmt: skip
        if cores:
            command += ["--taskset", ",".join(map(str, cores))]
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip

    def __enter__(self) -> Stress:
        """Return it."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self.close()

    def close(self) -> None:
        """End all of it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
