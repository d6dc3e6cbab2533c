import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import UsageError
from trimtab.units import (
    format_bytes,
    format_count,
    format_duration,
    format_percent,
    format_rate,
    format_value,
    parse_bytes,
    parse_count,
    parse_duration,
)

THREE_DIGITS = 0.5e-2  # relative error of a number written with three digits, at most


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s"),
        (1.0, "1.00 s"),
        (75.0, "75.0 s"),
        (15 * 60.0, "15 min"),
        (1.5e-3, "1.50 ms"),
        (42e-6, "42.0 µs"),
        (250e-9, "250 ns"),
        (-2e-3, "-2.00 ms"),
        (math.inf, "inf"),
    ],
)
def test_durations(seconds, text):
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (2**10, "1.00 KiB"),
        (3 * 2**19, "1.50 MiB"),
        (64 * 2**30, "64.0 GiB"),
        (2**41, "2.00 TiB"),
    ],
)
def test_sizes(size, text):
    assert format_bytes(size) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0"), (999, "999"), (0.25, "0.250"), (1500, "1.50 k"), (4.1e9, "4.10 G")],
)
def test_counts(count, text):
    assert format_count(count) == text


def test_rates_percentages_and_units_of_records():
    assert format_rate(1e9 / 8) == "125 MB/s"
    assert format_rate(12.0) == "12 B/s"
    assert format_percent(1 / 4) == "25.0 %"
    assert format_value(1 / 4, "frac") == "25.0 %"
    assert format_value(2**20, "bytes") == "1.00 MiB"
    assert format_value(2e12, "flops/s") == "2.00 TFLOP/s"
    assert format_value(7, "queries") == "7 queries"
    assert format_value(7, "") == "7"


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (parse_duration, "25ms", 25e-3),
        (parse_duration, " 1.5 min ", 1.5 * 60),
        (parse_duration, "2h", 2 * 3600),
        (parse_duration, "3us", 3e-6),
        (parse_duration, "3µs", 3e-6),
        (parse_bytes, "64", 64),
        (parse_bytes, "1kB", 1000),
        (parse_bytes, "1KiB", 1024),
        (parse_bytes, "0.5GiB", 2**29),
        (parse_count, "25M", 25 * 10**6),
        (parse_count, "1e3", 1000),
    ],
)
def test_parsing(parse, text, value):
    assert parse(text) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parse_duration, "25"),
        (parse_duration, "25 MB"),
        (parse_duration, "-1s"),
        (parse_duration, "ms"),
        (parse_bytes, "1 GiB/s"),
        (parse_count, "many"),
    ],
)
def test_what_is_no_quantity_is_refused(parse, text):
    with pytest.raises(UsageError, match="it must be a number with one of the units"):
        parse(text)


def test_the_refusal_tells_how_to_write_it():
    with pytest.raises(UsageError) as caught:
        parse_duration("5 parsecs")
    assert str(caught.value) == (
        "quantity '5 parsecs': it must be a number with one of the units "
        "s, ms, us, µs, ns, min, h. Write it like '25ms'."
    )


positive = st.floats(min_value=1e-9, max_value=1e14)


@given(positive)
def test_a_written_duration_reads_back(seconds):
    error = 0.5 * 60 if seconds >= 600 else THREE_DIGITS * seconds
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, abs=error)


@given(st.integers(min_value=0, max_value=2**49))
def test_a_written_size_reads_back(size):
    assert parse_bytes(format_bytes(size)) == pytest.approx(size, rel=THREE_DIGITS)


@given(st.integers(min_value=0, max_value=10**14))
def test_a_written_count_reads_back(count):
    assert parse_count(format_count(count)) == pytest.approx(count, rel=THREE_DIGITS)
