"""Less of a machine for others, and all of it again."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trimtab.errors import UsageError
from trimtab.partition.live import pressure
from trimtab.partition.live.pressure import CpuQuota, Stress, no_quota, no_stress

WORK = """
import sys, time
sys.stdin.readline()
begun = time.perf_counter()
while time.process_time() < 0.3:
    pass
print(time.process_time() / (time.perf_counter() - begun))
"""


@pytest.fixture
def quotas():
    if why := no_quota():
        pytest.skip(f"no quota of a processor: {why}")


def test_a_quota_is_not_exceeded_and_its_group_is_removed(quotas):
    with CpuQuota(0.2) as quota:
        folder = quota._folder
        with subprocess.Popen(
            [sys.executable, "-c", WORK], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            quota.add(process.pid)
            said, _ = process.communicate("\n")
    # What it needed to start counts, too; other work makes it less.
    assert float(said) < 0.3
    assert not folder.exists()


def test_processes_outlive_their_quota(quotas):
    with subprocess.Popen([sys.executable, "-c", WORK], stdin=subprocess.PIPE,
                          stdout=subprocess.DEVNULL) as process:  # fmt: skip
        with CpuQuota(0.5) as quota:
            quota.add(process.pid)
            quota.set(1)
            assert (quota._folder / "cpu.cfs_quota_us").read_text() == "-1\n"
        assert process.poll() is None
        process.communicate(b"\n")
    assert process.returncode == 0


def test_groups_of_who_was_killed_are_removed(quotas):
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    old = pressure._GROUPS / f"trimtab-{process.pid}-1"
    old.mkdir()
    CpuQuota(0.5).close()
    assert not old.exists()


@pytest.mark.parametrize("share", [0.0, -1.0, 1.5, float("nan")])
def test_a_share_that_is_none_is_refused(quotas, share):
    with pytest.raises(UsageError, match="of a processor"):
        CpuQuota(share)
    assert not list(pressure._GROUPS.glob(f"trimtab-{os.getpid()}-*"))


def test_memory_is_really_written():
    if why := no_stress():
        pytest.skip(why)
    size = 64 * 2**20
    with Stress(memory_bytes=size) as stress:
        group = stress._process.pid
        until = time.monotonic() + 20
        while time.monotonic() < until:
            resident = sum(map(_resident_bytes, _processes(group)))
            if resident > size:
                break
            time.sleep(0.05)
        assert resident > size
        assert len(_processes(group)) >= 2
    until = time.monotonic() + 20
    while (left := sum(map(_resident_bytes, _processes(group)))) > 0:
        assert time.monotonic() < until, left
        time.sleep(0.05)


def _processes(group):
    found = []
    for each in Path("/proc").iterdir():
        if each.name.isdecimal():
            try:
                if os.getpgid(int(each.name)) == group:
                    found.append(int(each.name))
            except ProcessLookupError:
                continue
    return found


def _resident_bytes(process):
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGESIZE")


def test_there_is_work_and_a_tool_for_it(monkeypatch):
    with pytest.raises(UsageError, match=r"nothing to do|missing"):
        Stress()
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(UsageError, match="apt-get install stress-ng"):
        Stress(cpu=1)


def test_where_there_are_no_groups_the_reason_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(pressure, "_GROUPS", tmp_path / "absent")
    assert "version 1" in no_quota()
    with pytest.raises(UsageError, match="cannot be made"):
        CpuQuota(0.5)
