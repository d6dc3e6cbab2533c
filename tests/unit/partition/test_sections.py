"""What reports show of a division."""

from tests.unit.partition.test_plan import AT, graph, space  # noqa: F401 - a fixture

from trimtab.bundle.section import Bars, Series, Table
from trimtab.partition.conditions import Conditions
from trimtab.partition.plan import plan
from trimtab.partition.sections import partition_section


def test_the_best_cut_is_never_above_either_end(graph):  # noqa: F811
    some = space(graph, codecs=("raw", "int8"))
    made = partition_section(
        some, plan(some, AT, compressed_input_bytes=300), AT, "latency"
    )
    compared, bars, cuts, over = made.figures
    assert isinstance(compared, Table)
    assert isinstance(bars, Bars)
    assert isinstance(cuts, Table)
    assert isinstance(over, Series)
    assert [row[0] for row in compared.rows] == [
        "best", "runner-up", "edge only", "cloud only", "cloud only, compressed input",
    ]  # fmt: skip
    edge, cloud, best = over.lines
    for at in range(len(best.x)):
        assert best.y[at] <= min(edge.y[at], cloud.y[at]) + 1e-12
    assert best.y[0] == edge.y[0]  # a slow link
    totals = [sum(part[1][at] for part in bars.parts) for at in range(len(bars.labels))]
    assert totals == sorted(totals)


def test_what_the_edge_may_not_run_is_not_drawn(graph):  # noqa: F811
    from trimtab.partition.conditions import Limits

    small = space(graph, limits=Limits(edge_bytes=4_000))
    made = partition_section(
        small, plan(small, AT), Conditions(uplink_bytes_per_s=1e6, rtt_s=0.02), "p95"
    )
    over = made.figures[-1]
    assert isinstance(over, Series)
    assert [line.name for line in over.lines] == ["cloud only", "best cut"]
