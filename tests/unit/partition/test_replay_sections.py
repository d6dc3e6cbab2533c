"""What reports show of a replay."""

from tests.unit.partition.test_controller import space  # noqa: F401 - a fixture
from tests.unit.partition.test_course import trace

from trimtab.bundle.section import Series, Table
from trimtab.partition.replay import replay
from trimtab.partition.replay_sections import replay_section
from trimtab.report.html import render


def test_a_table_and_curves(space):  # noqa: F811
    course = trace([1e7] * 30 + [2e4] * 30, rtt_s=0.01)
    found = replay(space, course, policies=("optimum", "static", "adaptive"))
    made = replay_section("small", course, found, "latency")
    policies, costs, link = made.figures
    assert isinstance(policies, Table)
    assert [row[0] for row in policies.rows] == ["optimum", "static", "adaptive"]
    assert isinstance(costs, Series)
    assert [line.name for line in costs.lines] == ["optimum", "static", "adaptive"]
    assert all(len(line.x) == 400 for line in costs.lines)
    assert isinstance(link, Series)
    assert len(link.lines[0].y) == 60
    assert link.lines[0].y[0] == 80.0
    assert "more than the best cut" in made.text
    assert "best single cut" in made.text
    assert "small on made up" in render("Replay", [made], [], {}, "")


def test_without_the_controller_it_says_less(space):  # noqa: F811
    course = trace([1e7] * 3)
    found = replay(space, course, policies=("edge",))
    assert "Ratios" in replay_section("small", course, found, "latency").text
