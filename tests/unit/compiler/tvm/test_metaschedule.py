import numpy as np
import pytest

tvm = pytest.importorskip("tvm", reason="apache-tvm is missing: extra `compile`")
pytest.importorskip("xgboost", reason="xgboost-cpu is missing: extra `bench`")

from trimtab.compiler.tvm.metaschedule import (  # noqa: E402
    Improvement,
    NetworkTuning,
    Task,
    Tuning,
    tune,
    tune_network,
)
from trimtab.errors import UsageError  # noqa: E402
from trimtab.hardware.load import machine  # noqa: E402

CPU = machine("this").core.llvm_cpu


def improvement(at_s, measured_s):
    return Improvement(at_s=at_s, candidates=1, searched_s=1.0, measured_s=measured_s)


def tuning(*trace):
    return Tuning(candidates=len(trace), failures=(), seconds=10.0, trace=trace)


def matmul(size):
    te = tvm.te
    a, b = (te.placeholder((size, size), name=name) for name in "AB")
    k = te.reduce_axis((0, size), name="k")
    product = te.compute(
        (size, size),
        lambda i, j: te.sum(a[i, k] * b[k, j], axis=k),
        name="C",
        attrs={"layout_free_placeholders": [b]},
    )
    return te.create_prim_func([a, b, product])


def test_the_best_is_of_the_kernels_known_by_then_and_by_the_later_timing():
    found = tuning(improvement(1.0, 5.0), improvement(2.0, 3.0), improvement(4.0, 4.0))
    assert found.best_s(within_s=0.5) is None
    assert found.best_s(within_s=1.0) == 5.0
    assert found.best_s(within_s=9.0) == 3.0
    assert found.reached_s(4.0) == 2.0
    assert found.reached_s(2.0) is None


def test_a_network_names_the_tasks_that_have_no_candidate():
    found = NetworkTuning(
        tasks=(
            Task(name="conv", weight=2, tuning=tuning(improvement(1.0, 1.0))),
            Task(name="pool", weight=1, tuning=tuning()),
        ),
        seconds=1.0,
        latency_s=None,
    )
    assert found.without_candidate == ("pool",)


@pytest.mark.integration
@pytest.mark.parametrize("strategy", ["replay-trace", "evolutionary"])
def test_an_operator_is_tuned_until_its_goal_is_met(strategy):
    found = tune(matmul(16), llvm_cpu=CPU, seconds=250.0, strategy=strategy, goal_s=1.0)
    assert found.candidates == 1
    assert found.failures == ()
    assert found.seconds < 250.0
    (only,) = found.trace
    assert 0 < only.at_s <= found.seconds
    assert 0 < only.measured_s < 1.0
    assert found.best_s() == only.measured_s


@pytest.mark.integration
def test_nothing_is_found_when_the_time_is_over_before_the_first_candidate():
    found = tune(matmul(16), llvm_cpu=CPU, seconds=1e-9, strategy="replay-trace")
    assert (found.candidates, found.trace, found.best_s()) == (0, (), None)


@pytest.mark.integration
def test_every_improvement_is_faster_than_the_one_before():
    found = tune(
        matmul(64),
        llvm_cpu=CPU,
        seconds=250.0,
        strategy="replay-trace",
        most_candidates=6,
    )
    assert found.candidates == 6
    times = [each.searched_s for each in found.trace]
    assert times == sorted(times, reverse=True)
    assert len(set(times)) == len(times)
    assert found.trace[0].candidates == 1


def network():
    """Return relu(x W): one kernel, its weight a constant."""
    relax = tvm.relax
    x = relax.Var("x", tvm.script.relax.Tensor((4, 8), "float32"))
    weight = relax.const(np.ones((8, 16), dtype=np.float32))
    builder = relax.BlockBuilder()
    with builder.function("main", [x]):
        with builder.dataflow():
            product = builder.emit(relax.op.matmul(x, weight))
            result = builder.emit_output(relax.op.nn.relu(product))
        builder.emit_func_output(result)
    return builder.get()


@pytest.mark.integration
def test_a_network_has_a_latency_when_every_kernel_has_a_candidate():
    found = tune_network(
        network(),
        llvm_cpu=CPU,
        seconds=250.0,
        strategy="replay-trace",
        most_candidates=4,
        arguments=[np.ones((4, 8), dtype=np.float32)],
    )
    (task,) = found.tasks
    assert task.weight == 1
    assert task.tuning.candidates == 4
    assert found.without_candidate == ()
    assert found.latency_s is not None
    assert 0 < found.latency_s < 1.0


@pytest.mark.integration
def test_a_network_without_candidates_has_no_latency():
    found = tune_network(
        network(),
        llvm_cpu=CPU,
        seconds=1e-9,
        arguments=[np.ones((4, 8), dtype=np.float32)],
    )
    assert found.latency_s is None
    assert len(found.without_candidate) == 1


def test_no_time_is_refused():
    with pytest.raises(UsageError) as caught:
        tune(matmul(16), llvm_cpu=CPU, seconds=0)
    assert str(caught.value) == (
        "tuning for 0 s: the time must be positive "
        "(trimtab.compiler.tvm.metaschedule). Give the seconds that MetaSchedule may "
        "spend."
    )
