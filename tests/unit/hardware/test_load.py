from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trimtab.errors import MachineError, UnknownMachineError
from trimtab.hardware.detect import present
from trimtab.hardware.load import link, link_names, machine, machine_names, to_toml
from trimtab.hardware.machine import (
    EFFICIENCY_CLASSES,
    Cache,
    Core,
    Kind,
    Machine,
    Memory,
    Origin,
    Source,
    numbers_of,
)
from trimtab.hardware.schema import parse_machine

MACHINES = (
    "a100", "cascade-lake", "emerald-rapids", "genoa", "graviton2", "graviton3",
    "h100", "ice-lake", "jetson-xavier", "milan", "raspberry-pi-4", "sapphire-rapids",
    "skylake-sp", "t4", "turin", "v100",
)  # fmt: skip
LINKS = ("3g", "4g", "ethernet-1g", "wifi")


def test_names() -> None:
    assert machine_names() == MACHINES
    assert link_names() == LINKS


@pytest.mark.parametrize("name", MACHINES)
def test_a_machine_of_the_catalogue(name: str) -> None:
    found = machine(name)
    assert found.name == name
    assert found.sources.keys() == numbers_of(found).keys()
    assert found.fingerprint == ""
    assert parse_machine(to_toml(found), "again") == found


@pytest.mark.parametrize("name", LINKS)
def test_a_link_of_the_catalogue(name: str) -> None:
    found = link(name)
    assert found.name == name
    paths = {"uplink_bytes_per_s", "downlink_bytes_per_s", "rtt_s"}
    assert found.sources.keys() == paths
    assert found.uplink_bytes_per_s <= found.downlink_bytes_per_s


@pytest.mark.parametrize(
    ("name", "multiprocessors", "lanes", "frequency_hz"),
    [
        ("v100", 80, 64, 1.53e9),
        ("t4", 40, 64, 1.59e9),
        ("a100", 108, 64, 1.41e9),
        ("h100", 132, 128, 1.98e9),
        ("jetson-xavier", 8, 64, 1.377e9),
    ],
)
def test_peaks_of_gpus(
    name: str, multiprocessors: int, lanes: int, frequency_hz: float
) -> None:
    found = machine(name)
    assert found.kind is Kind.GPU
    expected = multiprocessors * lanes * 2 * frequency_hz
    assert found.peak_flops_per_s(found.cores) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "cores", "flops_per_cycle"),
    [
        ("skylake-sp", 28, 2 * 2 * 16),
        ("milan", 64, 2 * 2 * 8),
        ("genoa", 96, 2 * 2 * 8),
        ("turin", 128, 2 * 2 * 16),
        ("graviton2", 64, 2 * 2 * 4),
        ("graviton3", 64, 2 * 2 * 8),
        ("raspberry-pi-4", 4, 2 * 1 * 4),
    ],
)
def test_peaks_of_cpus(name: str, cores: int, flops_per_cycle: int) -> None:
    found = machine(name)
    assert found.kind is Kind.CPU
    expected = cores * flops_per_cycle * found.core.frequency_hz
    assert found.peak_flops_per_s(found.cores) == expected


def test_the_present_machine_without_a_calibration(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path))
    assert machine("this") == present()


def test_an_unknown_machine_with_a_near_one() -> None:
    with pytest.raises(UnknownMachineError) as caught:
        machine("Milano")
    assert str(caught.value) == (
        "machine 'Milano': no machine of that name is in the catalogue. Did you mean "
        f"'milan'? Known are {', '.join(MACHINES)}, this, or the path of a .toml file."
    )


@pytest.mark.parametrize("name", ["", "zzz", "../machine", "links/wifi", "milan\0"])
def test_an_unknown_machine(name: str) -> None:
    with pytest.raises(UnknownMachineError, match="no machine of that name"):
        machine(name)


def test_an_unknown_link() -> None:
    with pytest.raises(UnknownMachineError) as caught:
        link("wi-fi")
    assert str(caught.value) == (
        "link 'wi-fi': no link of that name is in the catalogue. Did you mean 'wifi'? "
        f"Known are {', '.join(LINKS)}, or the path of a .toml file."
    )


def test_a_file_of_the_user(plain: Machine, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(to_toml(plain), encoding="utf-8")
    assert machine(file) == machine(str(file)) == plain


def test_a_link_file_of_the_user(tmp_path: Path) -> None:
    file = tmp_path / "cable.toml"
    number = "{ value = 3.0, recalled = 'x' }"
    file.write_text(
        "name = 'cable'\ntitle = ''\n"
        f"uplink_bytes_per_s = {number}\ndownlink_bytes_per_s = {number}\n"
        f"rtt_s = {number}\n"
    )
    assert link(file).rtt_s == 3.0


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    with pytest.raises(UnknownMachineError) as caught:
        machine(file)
    assert str(caught.value) == (
        f"machine file {str(file)!r}: there is no such file. Give the path of a file, "
        "or a name of the catalogue's machines."
    )


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(MachineError, match="it cannot be read as UTF-8 text"):
        machine(file)
    folder = tmp_path / "folder.toml"
    folder.mkdir()
    with pytest.raises(MachineError, match="it cannot be read as UTF-8 text"):
        machine(folder)


def test_a_file_with_a_mistake_is_named(plain: Machine, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(to_toml(plain).replace("[memory]", "[memroy]"))
    with pytest.raises(MachineError) as caught:
        machine(file)
    assert str(file) in str(caught.value)
    assert "memroy: unknown key, did you mean 'memory'?" in str(caught.value)


def test_a_measurement_keeps_its_origin(plain: Machine) -> None:
    measured = Source(origin=Origin.MEASURED, text="a benchmark")
    found = replace(
        plain,
        sources={**plain.sources, "cores": measured},
        fingerprint="0123456789abcdef",
    )
    text = to_toml(found)
    assert 'cores = { value = 4, measured = "a benchmark" }' in text
    assert 'fingerprint = "0123456789abcdef"' in text
    assert parse_machine(text, "x") == found


def test_a_number_without_a_source_is_not_written(plain: Machine) -> None:
    sources = dict(plain.sources)
    sources["core.extra"] = sources.pop("cores")
    with pytest.raises(MachineError) as caught:
        to_toml(replace(plain, sources=sources))
    assert str(caught.value) == (
        "machine 'plain' as TOML: every number has one source and every source one "
        "number (core.extra, cores). Complete or correct Machine.sources."
    )


def test_text_that_toml_cannot_hold(plain: Machine) -> None:
    with pytest.raises(MachineError, match="not Unicode text"):
        to_toml(replace(plain, title="broken \ud800"))


texts = st.text(min_size=1).filter(lambda text: bool(text.strip()))
wholes = st.integers(1, 2**53)
reals = st.floats(min_value=0, exclude_min=True, allow_infinity=False)


@st.composite
def machines(draw: st.DrawFn) -> Machine:
    """Draw any machine, plausible or not."""
    levels = draw(st.lists(st.integers(1, 9), unique=True, max_size=4).map(sorted))
    found = Machine(
        name=draw(texts),
        title=draw(st.text()),
        kind=draw(st.sampled_from(Kind)),
        cores=draw(wholes),
        core=Core(
            isa=draw(texts),
            llvm_cpu=draw(texts),
            frequency_hz=draw(reals),
            simd_bits=draw(wholes),
            fma_units=draw(reals),
            vector_registers=draw(wholes),
        ),
        caches=tuple(
            Cache(
                level=level,
                size_bytes=draw(wholes),
                line_bytes=draw(wholes),
                ways=draw(wholes),
                shared_by_cores=draw(wholes),
                bandwidth_bytes_per_s=draw(reals),
            )
            for level in levels
        ),
        memory=Memory(
            size_bytes=draw(wholes),
            bandwidth_bytes_per_s=draw(reals),
            core_bandwidth_bytes_per_s=draw(reals),
        ),
        dispatch_s=draw(reals),
        convolution_setup_s=draw(reals),
        repack_bytes_per_s=draw(reals),
        efficiency_frac=draw(
            st.dictionaries(st.sampled_from(EFFICIENCY_CLASSES), reals)
        ),
        fingerprint=draw(st.text()),
    )
    sources = st.builds(Source, origin=st.sampled_from(Origin), text=texts)
    return replace(found, sources={path: draw(sources) for path in numbers_of(found)})


@given(machines())
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_any_machine_survives_toml(found: Machine) -> None:
    again = parse_machine(to_toml(found), "x.toml")
    assert again == found
    assert to_toml(again) == to_toml(found)


@pytest.mark.parametrize(
    "text",
    ['"', "\\", "\n", "\r\n", "\t", "\x00", "\x7f", "\x85", "\u2028", "'''", "🜨"],
)
def test_hostile_text_survives_toml(plain: Machine, text: str) -> None:
    hostile = f"{text} = {{ value = 1 }} # {text}"
    found = replace(plain, name=hostile, title=hostile)
    source = Source(origin=Origin.RECALLED, text=hostile)
    found = replace(found, sources={**found.sources, "cores": source})
    assert parse_machine(to_toml(found), "x.toml") == found
