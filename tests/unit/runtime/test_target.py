"""Code runs where its architecture and its instructions are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from trimtab.hardware.host import Host, read_host
from trimtab.runtime.program import Target
from trimtab.runtime.target import why_not_here


def _host(root: Path, *, flags: str, family: int = 25, model: int = 1) -> Host:
    (root / "proc").mkdir()
    (root / "proc" / "cpuinfo").write_text(
        "processor : 0\nvendor_id : AuthenticAMD\n"
        f"cpu family : {family}\nmodel : {model}\nstepping : 1\nflags : {flags}\n",
        "utf-8",
    )
    return read_host(root)


V3 = "avx avx2 bmi1 bmi2 f16c fma abm movbe sse4_2"
TARGET = Target(
    machine="some",
    llvm_cpu="haswell",
    triple="x86_64-linux-gnu",
    features=("avx2", "fma", "fast-gather", "sse4.2"),
    threads=1,
)


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    host = _host(tmp_path, flags=V3)
    assert why_not_here(TARGET, host, "aarch64") == (
        "it is for x86_64, this machine is aarch64"
    )
    assert why_not_here(replace(TARGET, triple=""), host, "x86_64") == (
        "it is for no architecture, this machine is x86_64"
    )


def test_all_instructions_must_be_there(tmp_path: Path) -> None:
    host = _host(tmp_path, flags=V3)
    assert host.llvm_cpu == "znver3"
    assert why_not_here(TARGET, host, "x86_64") == ""
    wide = replace(TARGET, features=("avx2", "avx512f", "avx512vl"))
    assert why_not_here(wide, host, "x86_64") == (
        "it is for 'haswell' and uses avx512f, avx512vl, which this machine "
        "('znver3') does not have"
    )


@pytest.mark.parametrize("cpu", ["znver3", "x86-64"])
def test_the_processors_own_name_is_enough(tmp_path: Path, cpu: str) -> None:
    flags = V3 if cpu == "znver3" else "sse2"
    host = _host(tmp_path, flags=flags)
    own = replace(TARGET, llvm_cpu=cpu, features=())
    assert why_not_here(own, host, "x86_64") == ""


def test_a_hypervisor_may_hide_instructions(tmp_path: Path) -> None:
    host = _host(tmp_path, flags=V3, model=0x11)
    assert host.microarchitecture == "znver4"
    own = replace(TARGET, llvm_cpu="znver4", features=("avx512f",))
    assert "uses avx512f" in why_not_here(own, host, "x86_64")


def test_code_that_names_no_instructions_needs_its_own_processor(
    tmp_path: Path,
) -> None:
    host = _host(tmp_path, flags=V3)
    assert why_not_here(replace(TARGET, features=()), host, "x86_64") == (
        "it is for 'haswell' and does not say which instructions it uses, this "
        "machine is 'znver3'"
    )
