"""What a page remembers from look to look."""

import pytest

from trimtab.runtime.dashboard.state import COLOURS, Entry, Target
from trimtab.runtime.dashboard.watch import Watch


class Clock:
    """A clock that stands until it is set."""

    def __init__(self):
        self.at_s = 0.0

    def __call__(self):
        return self.at_s


def watch(**more):
    clock = Clock()
    return clock, Watch(clock=clock, **more)


def test_percentiles_are_of_answers_of_the_last_seconds():
    clock, seen = watch()
    for number in range(101):
        seen.answered(number / 100, 200)
    seen.answered(9.0, 429)
    seen.look({})
    assert seen.latency_s == {"p50": 0.5, "p95": 0.95, "p99": 0.99}
    clock.at_s = 10.5
    seen.look({})
    assert set(seen.latency_s.values()) == {None}
    refused, failed = seen.status_tiles()
    assert (refused.value, refused.tone) == (1, "warn")
    assert (failed.value, failed.tone) == (0, "plain")


@pytest.mark.parametrize(
    ("took_s", "tone"), [(0.1, "good"), (0.1001, "bad"), (None, "plain")]
)
def test_the_percentile_with_a_limit_says_how_it_stands(took_s, tone):
    _, seen = watch(tail=("p99.9", 0.999), limit_s=0.1)
    if took_s is not None:
        seen.answered(took_s, 200)
    seen.look({})
    *others, tail = seen.latency_tiles()
    assert [each.tone for each in others] == ["plain"] * 3
    assert (tail.name, tail.metric) == ("p99.9 latency", "latency_p99_9")
    assert (tail.value, tail.tone) == (took_s, tone)
    assert tail.note.startswith("target 100 ms")


def test_a_percentile_that_is_there_already_is_not_shown_twice():
    _, seen = watch(tail=("p95", 0.95), limit_s=0.1)
    assert list(seen.latency_s) == ["p50", "p95", "p99"]


def test_counters_have_rates_and_what_they_grew_by():
    clock, seen = watch()
    grown = []
    for second in range(4):
        clock.at_s = float(second)
        seen.look({"answers": 7 + 5 * second})
        seen.see({"open": float(second)})
        grown.append(seen.grown["answers"])
    assert grown == [0, 5, 5, 5]  # what was before the first look is no growth
    assert seen.rates["answers"] == 5.0
    found = seen.trend(
        "T", "count", {"open": "open", "answers/s": "answers"},
        target=Target(name="most", value=9.0),
    )  # fmt: skip
    assert found.times_s == (-3.0, -2.0, -1.0, 0.0)
    assert found.lines[0] == ("open", (0.0, 1.0, 2.0, 3.0))
    assert found.lines[1][1] == (0.0, 5.0, 5.0, 5.0)


def test_what_is_in_force_is_a_strip_and_its_changes_are_events():
    clock, seen = watch()
    seen.force("a", "First.")
    clock.at_s = 10.0
    seen.look({})
    seen.force("a", "Still.")
    seen.force("b", "More comes.", at_s=8.0)
    seen.force("a", "Less comes.")
    clock.at_s = 20.0
    seen.look({})
    spans = seen.forces("F").spans
    assert [(each.name, each.begin_s, each.end_s) for each in spans] == [
        ("a", -20.0, -12.0), ("b", -12.0, -10.0), ("a", -10.0, 0.0),
    ]  # fmt: skip
    assert spans[0].colour == spans[2].colour != spans[1].colour
    assert seen.log().entries == (
        Entry(when_s=-10.0, what="b → a", why="Less comes."),
        Entry(when_s=-12.0, what="a → b", why="More comes."),
        Entry(when_s=-20.0, what="a", why="First."),
    )


def test_the_strip_has_the_last_minutes_only():
    clock, seen = watch()
    for second in range(0, 1000, 100):
        clock.at_s = float(second)
        seen.look({})
        seen.force(f"at {second}", "")
    clock.at_s = 1000.0
    seen.look({})
    spans = seen.forces("F").spans
    assert [(each.name, each.begin_s) for each in spans] == [
        ("at 800", -180.0), ("at 900", -100.0),
    ]  # fmt: skip


def test_an_event_that_comes_again_is_told_once():
    clock, seen = watch()
    for second in (0.0, 1.0, 59.0):
        clock.at_s = second
        seen.look({})
        seen.note("refused", "No room.", times=2, tone="warn")
    clock.at_s = 200.0
    seen.look({})
    seen.note("refused", "No room.", times=5)
    seen.note("failed")
    failed, late, early = seen.log().entries
    assert (failed.what, failed.times) == ("failed", 1)
    assert (late.times, late.when_s) == (5, 0.0)
    assert (early.times, early.when_s, early.tone) == (6, 59.0 - 200.0, "warn")


def test_events_are_told_in_order_and_all_of_it_is_bounded():
    clock, seen = watch()
    for second in range(5_000):
        clock.at_s = float(second)
        seen.look({"answers": second})
        seen.see({})
        seen.force(f"batch {second}", "")
        seen.note(f"event {second}", at_s=second - 0.5)
        seen.answered(0.1, 200)
    entries = seen.log().entries
    assert len(entries) == 20
    times = [each.when_s for each in entries]
    assert times == sorted(times, reverse=True)
    assert entries[0].what == "batch 4998 → batch 4999"
    assert len(seen.forces("F").spans) <= 182
    assert len(seen.latencies().times_s) <= 181
    assert all(0 <= each.colour < COLOURS for each in seen.forces("F").spans)
    held = (seen._forces, seen._events, seen._colours)
    assert all(len(each) <= 401 for each in held)


def test_colours_that_are_wanted_are_given_if_they_are_free():
    _, seen = watch()
    wanted = {"after a": 1, "edge": 0, "cloud": 2, "cloud, int8": 2, "after b": 1}
    for name, colour in wanted.items():
        seen.force(name, "", colour=colour)
    colours = {each.name: each.colour for each in seen.forces("F").spans}
    found = {name: seen._colours[name] for name in wanted}
    assert (found["edge"], found["after a"], found["cloud"]) == (0, 1, 2)
    assert len(set(found.values())) == len(wanted)
    assert colours.items() <= found.items()
