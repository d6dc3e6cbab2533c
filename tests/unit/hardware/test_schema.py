from __future__ import annotations

import pytest

from trimtab.errors import MachineError
from trimtab.hardware.load import to_toml
from trimtab.hardware.machine import Machine, Origin
from trimtab.hardware.schema import parse_link, parse_machine

LINK = """
name = "cable"
title = "A cable"
uplink_bytes_per_s = { value = 1e6, source = "data sheet, page 1" }
downlink_bytes_per_s = { value = 2000000, derived = "twice the uplink" }
rtt_s = { value = 0.01, measured = "ping" }
"""


def problem(text: str, file: str = "a.toml") -> str:
    """Return the error of a machine file."""
    with pytest.raises(MachineError) as caught:
        parse_machine(text, file)
    return str(caught.value)


@pytest.fixture
def text(plain: Machine) -> str:
    """A file without mistakes."""
    return to_toml(plain)


def test_a_file_without_mistakes(plain: Machine, text: str) -> None:
    assert parse_machine(text, "a.toml") == plain


def test_the_whole_message(text: str) -> None:
    assert problem(text.replace("simd_bits =", "simd_bit =")) == (
        "machine file 'a.toml': core.simd_bits: missing; core.simd_bit: unknown key, "
        "did you mean 'simd_bits'? (2 problems). Correct the file; the catalogue's "
        "machines show the schema."
    )


def test_all_problems_are_told_at_once() -> None:
    message = problem("cores = 4\nkind = 'tpu'")
    assert 'cores: it must be { value = ..., source = "..." }' in message
    assert "kind: input should be 'cpu' or 'gpu', not 'tpu'" in message
    assert "core: missing" in message


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("cores = { value = 4", "cores = { value = 4.0", "cores.value: input should"),
        ("cores = { value = 4", "cores = { value = true", "integer, not True"),
        ("cores = { value = 4", "cores = { value = '4'", "integer, not '4'"),
        ("cores = { value = 4", "cores = { value = 0", "greater than 0, not 0"),
        ("value = 2000000000.0", "value = inf", "core.frequency_hz.value: input shoul"),
        ("value = 2000000000.0", "value = nan", "finite number, not nan"),
        ("value = 5e-06", "value = -5e-06", "dispatch_s.value: input should be gr"),
        ('name = "plain"', 'name = " "', "name: it must not be blank"),
        ('name = "plain"', "name = 3", "name: input should be a valid string, not 3"),
        ("level = 2", "level = 1", "caches: levels [1, 1] must rise"),
        ("level = 2", "level = 0", "caches.0.level: input should be greater than or"),
        (
            "matmul =",
            "matmull =",
            "efficiency_frac.matmull: unknown class, known are m",
        ),
        ("ways = { value = 16", "ways = { val = 16", "caches.2.ways.value: missing"),
        ("[memory]", "[memory]\nsise = 1", "memory.sise: unknown key"),
    ],
)
def test_one_mistake(text: str, old: str, new: str, expected: str) -> None:
    assert old in text
    assert expected in problem(text.replace(old, new))


@pytest.mark.parametrize(
    ("origins", "count"),
    [("", 0), (', source = "x", recalled = "y"', 2)],
)
def test_a_number_has_exactly_one_origin(text: str, origins: str, count: int) -> None:
    wrong = text.replace(
        'cores = { value = 4, source = "data sheet, page 1" }',
        f"cores = {{ value = 4{origins} }}",
    )
    assert (
        f"cores: {count} origins, it needs exactly one of source, derived, recalled, "
        "measured"
    ) in problem(wrong)


def test_an_origin_is_not_blank(text: str) -> None:
    wrong = text.replace("cores = { value = 4, source = \"data sheet, page 1\"",
                         "cores = { value = 4, source = '  '")  # fmt: skip
    assert "cores.source: it must not be blank" in problem(wrong)


@pytest.mark.parametrize("wrong", ["x = [", "x = 1\nx = 2", "\0", "[" * 5000])
def test_no_toml(wrong: str) -> None:
    assert "not TOML: " in problem(wrong)


def test_a_huge_number_is_not_printed_whole(text: str) -> None:
    wrong = text.replace("cores = { value = 4", "cores = { value = " + "9" * 300)
    assert len(problem(wrong)) < 400


def test_a_link() -> None:
    cable = parse_link(LINK, "cable.toml")
    assert cable.uplink_bytes_per_s == 1e6
    assert cable.downlink_bytes_per_s == 2e6
    assert cable.rtt_s == 0.01
    assert [source.origin for source in cable.sources.values()] == [
        Origin.SOURCED,
        Origin.DERIVED,
        Origin.MEASURED,
    ]


def test_a_link_with_a_mistake() -> None:
    with pytest.raises(MachineError) as caught:
        parse_link(LINK.replace("rtt_s", "rtt"), "cable.toml")
    assert str(caught.value) == (
        "link file 'cable.toml': rtt_s: missing; rtt: unknown key, did you mean "
        "'rtt_s'? (2 problems). Correct the file; the catalogue's links show the "
        "schema."
    )
