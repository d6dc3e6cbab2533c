from __future__ import annotations

from dataclasses import replace

import pytest

from trimtab.hardware.check import Finding, Severity, check, check_link, unsourced
from trimtab.hardware.load import link, link_names, machine, machine_names
from trimtab.hardware.machine import Kind, Link, Machine, Origin, Source


def errors(described: Machine) -> dict[str, str]:
    """Return the errors of a machine by their path."""
    return {
        found.path: found.text
        for found in check(described)
        if found.severity is Severity.ERROR
    }


def test_nothing_is_wrong(plain: Machine) -> None:
    assert check(plain) == ()


@pytest.mark.parametrize("name", machine_names())
def test_the_catalogue_has_no_errors(name: str) -> None:
    assert check(machine(name)) == ()


@pytest.mark.parametrize("name", link_names())
def test_the_links_have_no_errors(name: str) -> None:
    assert check_link(link(name)) == ()


def test_a_bandwidth_in_the_wrong_unit_is_found() -> None:
    """A published table had 1.792e15 bytes a second for a card with 1.792e12."""
    card = machine("a100")
    card = replace(
        card,
        cores=170,
        core=replace(card.core, frequency_hz=2.407e9, fma_units=4.0),
        memory=replace(card.memory, bandwidth_bytes_per_s=1.792e12),
    )
    assert errors(card) == {}
    wrong = replace(card, memory=replace(card.memory, bandwidth_bytes_per_s=1.792e15))
    peak = 170 * 2 * 128 * 2.407e9
    assert errors(wrong) == {
        "memory.bandwidth_bytes_per_s": (
            "the machine has 105 TFLOP/s for 1.79 PB/s of memory: a balance of "
            f"{peak / 1.792e15:.3g} flops a byte is not between 2 and 200"
        )
    }


@pytest.mark.parametrize("factor", [1e-3, 1e3])
@pytest.mark.parametrize("name", machine_names())
def test_a_wrong_prefix_is_found_in_every_machine(name: str, factor: float) -> None:
    good = machine(name)
    memory, core = good.memory, good.core
    total = memory.bandwidth_bytes_per_s * factor
    alone = memory.core_bandwidth_bytes_per_s * factor
    assert errors(replace(good, memory=replace(memory, bandwidth_bytes_per_s=total)))
    assert errors(
        replace(good, memory=replace(memory, core_bandwidth_bytes_per_s=alone))
    )
    clock = core.frequency_hz * factor
    assert errors(replace(good, core=replace(core, frequency_hz=clock)))


def test_a_clock_in_megahertz(plain: Machine) -> None:
    wrong = replace(plain, core=replace(plain.core, frequency_hz=2000.0))
    assert errors(wrong)["core.frequency_hz"] == (
        "2.00 kHz is not between 300 MHz and 6.50 GHz"
    )


def test_one_core_is_not_faster_than_all(plain: Machine) -> None:
    memory = replace(plain.memory, core_bandwidth_bytes_per_s=30e9)
    assert errors(replace(plain, memory=memory)) == {
        "memory.core_bandwidth_bytes_per_s": (
            "one core draws 30.0 GB/s, more than all with 20.0 GB/s"
        )
    }


def test_caches_grow_and_slow_down_outward(plain: Machine) -> None:
    level1, level2 = plain.caches
    small = replace(plain, caches=(level1, replace(level2, size_bytes=2**15)))
    assert errors(small) == {
        "caches.2.size_bytes": (
            "level 2 of 32.0 KiB is not larger than level 1 of 32.0 KiB"
        )
    }
    fast = replace(level2, bandwidth_bytes_per_s=200e9)
    assert errors(replace(plain, caches=(level1, fast))) == {
        "caches.2.bandwidth_bytes_per_s": (
            "200 GB/s is faster than 128 GB/s of caches.1.bandwidth_bytes_per_s, "
            "which lies nearer to the core"
        )
    }
    slow = replace(level2, bandwidth_bytes_per_s=7e9)
    assert list(errors(replace(plain, caches=(level1, slow)))) == [
        "memory.core_bandwidth_bytes_per_s"
    ]
    assert "caches.1" in errors(replace(plain, caches=(level2, level1)))


def test_the_order_of_measured_bandwidths_is_only_noted(plain: Machine) -> None:
    """Measurements mix reads and writes differently; they are facts all the same."""
    level1, level2 = plain.caches
    path = "caches.2.bandwidth_bytes_per_s"
    measured = Source(origin=Origin.MEASURED, text="a benchmark")
    found = check(
        replace(
            plain,
            caches=(level1, replace(level2, bandwidth_bytes_per_s=200e9)),
            sources={**plain.sources, path: measured},
        )
    )
    assert [(item.path, item.severity) for item in found] == [(path, Severity.NOTE)]


@pytest.mark.parametrize(
    ("change", "path", "severity", "text"),
    [
        ({"line_bytes": 48}, "line_bytes", "error", "lines of 48 bytes, no power of"),
        ({"ways": 2**15}, "ways", "error", "a set exceeds the cache"),
        ({"ways": 11}, "ways", "note", "sets are no whole number"),
        ({"shared_by_cores": 5}, "shared_by_cores", "error", "5 cores share it, of 4"),
    ],
)
def test_the_shape_of_a_cache(
    plain: Machine, change: dict[str, int], path: str, severity: str, text: str
) -> None:
    level1, level2 = plain.caches
    wrong = replace(plain, caches=(level1, replace(level2, **change)))
    found = {item.path: item for item in check(wrong)}[f"caches.2.{path}"]
    assert found.severity == severity
    assert text in found.text


def test_the_last_cache_is_smaller_than_memory(plain: Machine) -> None:
    memory = replace(plain.memory, size_bytes=2**20)
    assert "memory.size_bytes" in errors(replace(plain, memory=memory))


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"llvm_cpu": " "}, "core.llvm_cpu"),
        ({"isa": ""}, "core.isa"),
        ({"simd_bits": 192}, "core.simd_bits"),
        ({"simd_bits": 2**20}, "core.simd_bits"),
        ({"fma_units": 64.0}, "core.fma_units"),
        ({"vector_registers": 2}, "core.vector_registers"),
    ],
)
def test_the_core(plain: Machine, change: dict[str, object], path: str) -> None:
    core = replace(plain.core, **change)  # type: ignore[arg-type]
    assert path in errors(replace(plain, core=core))


def test_overheads_in_the_wrong_unit(plain: Machine) -> None:
    wrong = replace(plain, dispatch_s=5.0, convolution_setup_s=10.0)
    assert errors(wrong) == {
        "dispatch_s": "5.00 s is not between 10.0 ns and 10.0 ms",
        "convolution_setup_s": "10.0 s is not between 0.100 ns and 10.0 ms",
    }


def test_repacking_is_not_faster_than_reading(plain: Machine) -> None:
    assert "repack_bytes_per_s" in errors(replace(plain, repack_bytes_per_s=1e12))


def test_a_share_of_the_peak_is_at_most_one(plain: Machine) -> None:
    shares = {**plain.efficiency_frac, "conv": 1.2}
    assert errors(replace(plain, efficiency_frac=shares)) == {
        "efficiency_frac.conv": "a share of the peak of 1.2 is not in (0, 1]"
    }


def test_a_class_that_is_missing_cannot_be_estimated(plain: Machine) -> None:
    shares = {
        key: share for key, share in plain.efficiency_frac.items() if key != "norm"
    }
    sources = {
        key: source
        for key, source in plain.sources.items()
        if key != "efficiency_frac.norm"
    }
    wrong = replace(plain, efficiency_frac=shares, sources=sources)
    assert errors(wrong) == {
        "efficiency_frac.norm": ("missing, operators of that class cannot be estimated")
    }


def test_a_number_without_a_source(plain: Machine) -> None:
    sources = dict(plain.sources)
    del sources["dispatch_s"]
    sources["cores"] = Source(origin=Origin.SOURCED, text=" ")
    sources["core.cache"] = sources["caches.1.ways"]
    assert check(replace(plain, sources=sources)) == (
        Finding(
            machine="plain",
            path="cores",
            severity=Severity.ERROR,
            text="no source says where the number comes from",
        ),
        Finding(
            machine="plain",
            path="dispatch_s",
            severity=Severity.ERROR,
            text="no source says where the number comes from",
        ),
        Finding(
            machine="plain",
            path="core.cache",
            severity=Severity.NOTE,
            text="a source for a number that the machine has not",
        ),
    )


def test_what_is_no_evidence_is_listed(plain: Machine) -> None:
    recalled = Source(origin=Origin.RECALLED, text="a talk")
    measured = Source(origin=Origin.MEASURED, text="a benchmark")
    sources = {**plain.sources, "dispatch_s": recalled, "cores": measured}
    assert unsourced(replace(plain, sources=sources)) == {"dispatch_s": recalled}


def test_gpus_have_limits_of_their_own(plain: Machine) -> None:
    gpu = replace(plain, kind=Kind.GPU)
    gpu = replace(gpu, core=replace(gpu.core, frequency_hz=5e9))
    assert "core.frequency_hz" in errors(gpu)


def test_a_link_with_bits_for_bytes() -> None:
    source = Source(origin=Origin.SOURCED, text="data sheet")
    wrong = Link(
        name="fast",
        title="Fast",
        uplink_bytes_per_s=100e9,
        downlink_bytes_per_s=1e9,
        rtt_s=30.0,
        sources={"uplink_bytes_per_s": source, "rtt_s": source},
    )
    assert [(found.path, found.text) for found in check_link(wrong)] == [
        ("downlink_bytes_per_s", "no source says where the number comes from"),
        ("uplink_bytes_per_s", "100 GB/s is more than 100 Gbit/s"),
        ("rtt_s", "30.0 s is not between 1.00 µs and 5.00 s"),
    ]
