import pytest
from benchmarks.compile.tuning import FACTORS, REACHED, best_at, jobs, reached, rows
from benchmarks.compile.workloads import WORKLOADS


def search(*trace):
    return {"trace": [{"at_s": at_s, "measured_s": found} for at_s, found in trace]}


def stored(**fields):
    return {
        "ours_seconds": 0.5,
        "ours_s": 1.0,
        "budget_s": 120.0,
        "searches": {
            "evolutionary": search((6.0, 3.0), (30.0, 1.04)),
            "replay-trace": search((2.0, 4.0), (9.0, 2.0)),
        },
        **fields,
    }


def by_id(results):
    return {row.id: row for row in rows(results)}


def test_the_better_of_both_searches_counts():
    found = stored()
    assert best_at(found, 1.0) is None
    assert best_at(found, 5.0) == 4.0
    assert best_at(found, 10.0) == 2.0
    assert best_at(found, 50.0) == 1.04
    assert reached(found, 3.0) == 6.0
    assert reached(found, 1.0) is None


def test_a_budget_without_a_candidate_has_no_ratio():
    found = by_id({"tuning/matmul_512": stored()})
    row = found["compile/tuning/matmul_512/1x"]
    assert row.value is None
    assert row.note.endswith("MetaSchedule none: it had no candidate yet")
    assert found["compile/tuning/matmul_512/10x"].value == 4.0 / 1.0
    assert found["compile/tuning/matmul_512/100x"].value == 1.04 / 1.0


def test_95_percent_of_our_speed_is_a_time_of_ours_over_0_95():
    found = by_id({"tuning/matmul_512": stored()})
    assert 1.04 < 1.0 / 0.95
    assert found["compile/tuning/matmul_512/reached"].value == 30.0


def test_what_is_not_reached_says_how_far_it_came():
    slow = {"evolutionary": search((10.0, 2.0))}
    found = by_id({"tuning/matmul_512": stored(searches=slow)})
    row = found["compile/tuning/matmul_512/reached"]
    assert row.value is None
    assert row.note == "ours took 0.5 s; not within 120 s: it reached 50 %"


def test_a_search_that_was_shorter_claims_nothing_beyond():
    found = by_id({"tuning/matmul_512": stored(budget_s=5.0)})
    assert found["compile/tuning/matmul_512/10x"].value == 4.0
    assert found["compile/tuning/matmul_512/100x"].note == "not measured"
    assert found["compile/tuning/matmul_512/reached"].note == "not measured"


@pytest.mark.parametrize(
    ("latencies", "value", "note"),
    [
        ((None, 6.0), 6.0 / 2.0, "both had 20 s; MetaSchedule 6e+03 ms, ours 2e+03 ms"),
        (
            (None, None),
            None,
            "both had 20 s; MetaSchedule none: 25 of 29 kernels had no candidate yet",
        ),
    ],
)
def test_the_network_needs_a_candidate_for_every_kernel(latencies, value, note):
    searches = {
        str(index): {"latency_s": each, "tasks": 29, "without": 25 + index}
        for index, each in enumerate(latencies)
    }
    result = {"seconds": 20.0, "ours_s": 2.0, "searches": searches}
    row = by_id({"tuning/resnet50": result})["compile/tuning/resnet50/total"]
    assert (row.value, row.note) == (value, note)


def test_every_operator_has_a_row_a_budget_and_four_a_time():
    found = rows({})
    assert len(REACHED) == 4
    assert len(found) == len(WORKLOADS) * len(FACTORS) + len(REACHED) + 1
    assert {row.note for row in found} == {"not measured"}


def test_a_failure_is_the_note():
    found = by_id({"tuning/matmul_512": {"failed": "stopped after 900 s"}})
    assert found["compile/tuning/matmul_512/1x"].note == "stopped after 900 s"


def test_only_the_longest_search_goes_on_to_the_cap():
    (short,) = jobs(["matmul_512"], [1, 10])
    (long,) = jobs(["matmul_512"], FACTORS)
    assert short.arguments == ("matmul_512", "10", "0")
    assert long.arguments == ("matmul_512", "100", "1")
