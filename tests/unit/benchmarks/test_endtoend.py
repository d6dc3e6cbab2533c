import pytest
from benchmarks.compile.alternate import calls_for
from benchmarks.compile.endtoend import best_peer, clock, latency_s, ratios, rows
from benchmarks.compile.worker import errors
from benchmarks.results import met


def engine(wall, cpu=None, *, error=1e-6, **notes):
    """Return an engine with one sample a round."""
    return {
        "variant": "v",
        "version": "1",
        "notes": notes,
        "errors": [error],
        "wall_s": [[each] for each in wall],
        "cpu_s": [[each] for each in (cpu or wall)],
    }


def stored(**engines):
    return {
        "flops": 6e9,
        "peak_flops_per_s": 1e11,
        "others_processors": 0.0,
        "engines": engines,
    }


def by_id(found):
    return {row.id: row for row in found}


def test_one_thread_counts_cpu_time_and_two_the_wall():
    assert (clock(1), clock(2)) == ("cpu_s", "wall_s")
    one = engine([3.0, 5.0, 4.0], [2.0, 2.5, 1.0])
    assert latency_s(one, 1) == 2.0
    assert latency_s(one, 2) == 4.0


def test_a_round_counts_by_its_median():
    one = engine([1.0])
    one["wall_s"] = [[1.0, 9.0, 2.0], [4.0, 4.0, 100.0]]
    assert latency_s(one, 2) == (2.0 + 4.0) / 2


def test_ratios_are_of_the_same_round():
    assert ratios(engine([2.0, 6.0]), engine([1.0, 2.0]), 2) == [2 / 1, 6 / 2]


def test_the_best_peer_is_the_fastest_that_ran():
    engines = {
        "eager": engine([3.0]),
        "onnxruntime": engine([2.0]),
        "openvino": {"failed": "it ended"},
        "ours": engine([1.0]),
    }
    assert best_peer(engines, 1) == "onnxruntime"
    assert best_peer({"ours": engine([1.0])}, 1) is None


def test_speed_is_against_the_best_peer_with_an_interval():
    found = rows(
        {
            "e2e/resnet18/1": stored(
                eager=engine([9.0, 9.0, 9.0]),
                openvino=engine([0.4, 0.4, 0.4]),
                ours=engine([0.2, 0.2, 0.2]),
            )
        },
        networks=["resnet18"],
        threads=[1],
    )
    speed = by_id(found)["compile/e2e/1/resnet18/speed"]
    assert (speed.value, speed.peer, speed.interval) == (0.4 / 0.2, "openvino", (2, 2))
    mean = by_id(found)["compile/e2e/1/mean"]
    assert mean.value == pytest.approx(0.4 / 0.2)
    assert mean.note == "1.3 is the mark"
    roofline = by_id(found)["compile/e2e/1/resnet18/roofline"]
    assert roofline.value == pytest.approx(6e9 / 1e11 / 0.2)
    assert by_id(found)["compile/e2e/1/resnet18/latency/eager"].value == 9.0


def test_a_busy_machine_is_told():
    result = stored(eager=engine([2.0]), ours=engine([1.0]))
    result["others_processors"] = 0.7
    found = by_id(rows({"e2e/vgg16/2": result}, networks=["vgg16"], threads=[2]))
    assert found["compile/e2e/2/vgg16/speed"].note == (
        "ours 1e+03 ms, eager 2e+03 ms; other programs kept 0.7 processors busy "
        "meanwhile"
    )


def test_the_mean_is_not_claimed_while_a_network_is_missing():
    found = rows(
        {"e2e/resnet18/1": stored(eager=engine([2.0]), ours=engine([4.0]))},
        networks=["resnet18", "vgg16"],
        threads=[1],
    )
    mean = by_id(found)["compile/e2e/1/mean"]
    assert mean.value is None
    assert mean.note == (
        "1.3 is the mark; 1 of 2 networks are measured, their mean is 0.50; slower: "
        "resnet18 0.50"
    )
    missing = by_id(found)["compile/e2e/1/vgg16/speed"]
    assert (missing.value, missing.note) == (None, "not measured")


def test_an_engine_that_failed_says_why():
    found = by_id(
        rows(
            {
                "e2e/vgg16/2": stored(
                    **{
                        "eager": engine([1.0]),
                        "torch.compile": {"failed": "stopped after 360 s"},
                        "ours": {"failed": "ValueError: no"},
                    }
                )
            },
            networks=["vgg16"],
            threads=[2],
        )
    )
    base = "compile/e2e/2/vgg16"
    assert found[f"{base}/speed"].note == "ValueError: no"
    assert found[f"{base}/error"].value is None
    assert found[f"{base}/latency/torch.compile"].note == "stopped after 360 s"
    assert found[f"{base}/latency/onnxruntime"].note == "not run"


@pytest.mark.parametrize(
    ("error", "winograd", "goal", "fits"),
    [
        (5e-5, False, 1e-4, True),
        (5e-4, False, 1e-4, False),
        (5e-4, True, 1e-3, True),
        (5e-3, True, 1e-3, False),
    ],
)
def test_winograd_loosens_the_bound_of_the_error(error, winograd, goal, fits):
    ours = engine([1.0], error=error, winograd=winograd)
    result = {"e2e/vgg16/1": stored(eager=engine([1.0]), ours=ours)}
    found = by_id(rows(result, networks=["vgg16"], threads=[1]))
    row = found["compile/e2e/1/vgg16/error"]
    assert (row.value, row.op, row.goal) == (error, "<=", goal)
    assert met({"op": row.op, "value": row.value, "goal": row.goal}) is fits
    assert row.note.startswith("with Winograd") is winograd


def test_the_error_is_relative_to_the_largest_output_and_shapes_must_agree():
    import torch

    exact = torch.tensor([4.0, -8.0], dtype=torch.float64)
    (found,) = errors((torch.tensor([4.5, -8.0]),), (exact,))
    assert found == 0.5 / 8.0
    with pytest.raises(ValueError, match=r"shape \(1, 2\), not \(2,\)"):
        errors((torch.zeros(1, 2),), (exact,))
    with pytest.raises(ValueError, match="zip"):
        errors((), (exact,))


def test_a_turn_has_a_time_and_bounds():
    assert calls_for(0.05, 2) == round(0.4 / (0.05 * 2))
    assert calls_for(10.0, 1) == 3
    assert calls_for(1e-6, 1) == 40
