from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import pytest

from trimtab.errors import MachineError
from trimtab.hardware.machine import Link, Machine, numbers_of


def test_peak_counts_two_flops_a_lane_and_multiply_add(plain: Machine) -> None:
    assert plain.core.peak_flops_per_s == 2 * 2 * (256 / 32) * 2e9
    assert plain.peak_flops_per_s() == plain.core.peak_flops_per_s


@pytest.mark.parametrize(("threads", "cores"), [(1, 1), (3, 3), (4, 4), (64, 4)])
def test_more_threads_than_cores_bring_nothing(
    plain: Machine, threads: int, cores: int
) -> None:
    expected = cores * plain.core.peak_flops_per_s
    assert plain.peak_flops_per_s(threads) == expected


def test_a_cache_is_found_by_its_level(plain: Machine) -> None:
    assert plain.cache(2) is plain.caches[1]
    assert plain.cache(3) is None


def test_a_store_costs_two_loads_until_it_was_measured(plain: Machine) -> None:
    cache = plain.caches[1]
    assert cache.store_loads == 2.0
    measured = replace(cache, load_bytes_per_s=90e9, store_bytes_per_s=60e9)
    assert measured.store_loads == 1.5
    # A store cannot be cheaper than a load: that would be noise.
    assert replace(measured, store_bytes_per_s=99e9).store_loads == 1.0


def test_kernels_stream_from_memory_what_was_measured(plain: Machine) -> None:
    for cores in (1, 2, 4):
        assert plain.kernel_memory_bandwidth(cores) == plain.memory_bandwidth(cores)
    memory = replace(plain.memory, core_load_bytes_per_s=12e9)
    faster = replace(plain, memory=memory)
    assert faster.memory_bandwidth(4) == 20e9
    assert faster.kernel_memory_bandwidth(1) == 12e9
    assert faster.kernel_memory_bandwidth(4) == 20e9  # no more than the memory has
    alone = replace(plain, memory=replace(memory, core_load_bytes_per_s=25e9))
    assert alone.kernel_memory_bandwidth(4) == 25e9


def test_numbers_are_keyed_by_dotted_path(plain: Machine) -> None:
    numbers = numbers_of(plain)
    assert numbers["cores"] == 4
    assert numbers["caches.2.size_bytes"] == 2**20
    assert numbers["memory.core_bandwidth_bytes_per_s"] == 8e9
    assert numbers["efficiency_frac.conv"] == 0.5


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("nan")])
def test_every_number_must_be_positive(plain: Machine, wrong: float) -> None:
    with pytest.raises(MachineError) as caught:
        replace(plain, dispatch_s=wrong)
    assert str(caught.value) == (
        f"dispatch_s = {wrong}: every number of a machine must be positive "
        "(machine 'plain'). Correct the number in its catalogue file."
    )


def test_a_number_deep_inside_must_be_positive(plain: Machine) -> None:
    core = replace(plain.core, fma_units=0.0)
    with pytest.raises(MachineError, match=r"core\.fma_units = 0\.0"):
        replace(plain, core=core)


def test_a_link_must_be_positive() -> None:
    with pytest.raises(MachineError, match=r"rtt_s = 0"):
        Link(
            name="x",
            title="X",
            uplink_bytes_per_s=1.0,
            downlink_bytes_per_s=1.0,
            rtt_s=0.0,
        )


def test_a_machine_never_changes(plain: Machine) -> None:
    with pytest.raises(FrozenInstanceError):
        plain.cores = 8  # type: ignore[misc]
    with pytest.raises(TypeError):
        plain.efficiency_frac["conv"] = 1.0  # type: ignore[index]
    assert hash(plain) == hash(replace(plain))
