import math
from typing import Any, cast

import pytest
import torch
from torch import nn

from trimtab.errors import CaptureError, ExecutionError, MachineError, UsageError

pytest.importorskip("tvm", reason="apache-tvm makes the machine code")

from trimtab.compiler.compile import compile as compile_module
from trimtab.compiler.compile import compile_graphs, prepare
from trimtab.compiler.target import target_for
from trimtab.graph.capture import capture, weights_of
from trimtab.hardware.load import machine
from trimtab.pipeline.load import load
from trimtab.runtime.compiled import CompiledNetwork


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8 * 4 * 4, 10),
    ).eval()


def _close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_called_like_the_module_saved_and_loaded(network, tmp_path, monkeypatch):
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    x = torch.randn(2, 3, 4, 4)
    fast = compile_module(network, (x,), machine="milan")
    with torch.no_grad():
        _close(fast(x), network(x))
        _close(fast(x + 1), network(x + 1))
    assert {task["family"] for task in fast.report["tasks"]} >= {"contraction"}
    assert fast.report["latency_s"] > 0
    fast.save(tmp_path / "net.trimtab")
    again = load(tmp_path / "net.trimtab")
    assert torch.equal(again(x), fast(x))
    with pytest.raises(ExecutionError, match="compiled for"):
        fast(torch.randn(3, 3, 4, 4))


def test_a_second_call_finds_schedules_and_code(network, tmp_path, monkeypatch):
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path))
    x = torch.randn(1, 3, 4, 4)
    first = compile_module(network, (x,), machine="milan")
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.bin")}
    assert files
    monkeypatch.setattr("trimtab.compiler.build.rank", None)  # nothing is searched
    second = compile_module(network, (x,), machine="milan")
    assert second.report == first.report
    assert torch.equal(second(x), first(x))


def test_batches_share_constants(network):
    fast = compile_module(
        network,
        (torch.zeros(1, 3, 4, 4),),
        machine="milan",
        batch_sizes=[4, 1],
        cache=False,
    )
    names = {name.partition("|")[0] for name in fast.constants}
    assert len(names) == len(fast.constants), "each weight is packed once"
    for batch in (1, 3, 4, 9):
        x = torch.randn(batch, 3, 4, 4)
        with torch.no_grad():
            _close(fast(x), network(x))
    assert fast.plan_for(9).buckets == (4, 4, 1)


def test_the_same_seed_gives_the_same_code(network):
    x = (torch.zeros(1, 3, 4, 4),)
    first = prepare(network, x, machine="milan", cache=False)
    second = prepare(network, x, machine="milan", cache=False)
    assert first.built.code == second.built.code
    assert first.report == second.report


def test_a_machine_that_is_not_here(network, tmp_path):
    made = prepare(
        network, (torch.zeros(1, 3, 4, 4),), machine="graviton2", cache=False
    )
    assert made.report["llvm_cpu"] == "neoverse-n1"
    made.network().save(tmp_path / "arm.trimtab")
    text = made.explain("0")[0]
    for said in ("schedule", "registers", "bytes touched", "fmla", "limits in cycles"):
        assert said in text, said
    with pytest.raises(UsageError, match=r"'conv1': no task.*Name one of conv2d"):
        made.explain("conv1")


def test_bad_input(network):
    x = (torch.zeros(1, 3, 4, 4),)
    with pytest.raises(CaptureError, match="training"):
        compile_module(network.train(), x, machine="milan")
    network.eval()
    with pytest.raises(MachineError, match="CPUs only"):
        compile_module(network, x, machine="h100")
    for sizes in ([], [0, 2]):
        with pytest.raises(UsageError, match="none below 1"):
            compile_module(network, x, machine="milan", batch_sizes=sizes)


class Mixing(nn.Module):
    def forward(self, x):
        return x - x.mean(0, keepdim=True)


class Scaled(nn.Module):
    """A weight that depends on the batch size, and so do all rows."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x):
        return nn.functional.linear(x, self.linear.weight * x.shape[0])


def test_rows_that_depend_on_each_other_are_not_padded():
    module: nn.Module
    for module, batch, sizes in (
        (Mixing(), 4, [1, 4]),
        (Mixing(), 1, [1]),
        (Scaled(), 1, [1, 4]),
        (nn.LSTM(8, 8), 4, [2, 4]),
        (nn.Softmax(0), 1, [1]),
    ):
        x = torch.zeros(batch, 8)
        if isinstance(module, nn.LSTM):
            module, x = First(module), x[:, None]
        with pytest.raises(UsageError, match="change with other rows of the batch"):
            compile_module(module.eval(), (x,), machine="milan", batch_sizes=sizes)


class First(nn.Module):
    """The first of several results."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)[0]


def test_an_input_that_is_written_to_is_refused():
    class Adding(nn.Module):
        def forward(self, x):
            return x.add_(1)

    for sizes in (None, [1, 4]):
        with pytest.raises(CaptureError, match="it writes to its input 0"):
            compile_module(
                Adding().eval(),
                (torch.zeros(1, 8),),
                machine="milan",
                batch_sizes=sizes,
            )
    with torch.inference_mode(), pytest.raises(CaptureError, match="it writes to its"):
        compile_module(Adding().eval(), (torch.zeros(1, 8),), machine="milan")


def test_in_inference_mode_it_is_the_same(network):
    x = torch.randn(2, 3, 4, 4)
    expected = prepare(network, (x,), machine="milan")
    with torch.inference_mode():
        found = prepare(network, (x.clone(),), machine="milan")
        assert found.graphs == expected.graphs
        _close(found.network()(x), network(x))


def test_constants_that_depend_on_the_batch_are_not_shared():
    module = Scaled().eval()
    found = machine("milan")
    graphs = {size: capture(module, (torch.zeros(size, 8),)) for size in (1, 4)}
    fast = compile_graphs(
        graphs,
        weights_of(module, graphs[1]),
        found,
        target_for(found),
        any_batch=True,
        cache=False,
    )
    for batch in (1, 4):
        x = torch.randn(batch, 8)
        with torch.no_grad():
            _close(fast(x), module(x))


def test_settings_that_make_no_sense_are_one_message():
    x = (torch.zeros(1, 8),)
    wrong: Any
    for wrong in (0, -1, 1.5, "2", True):
        with pytest.raises(UsageError, match="whole number of them, at least one"):
            compile_module(Scaled().eval(), x, machine="milan", threads=wrong)
    for wrong in (4, [1.5], ["a"], [True]):
        with pytest.raises(UsageError, match="whole numbers, none below 1"):
            compile_module(Scaled().eval(), x, machine="milan", batch_sizes=wrong)
    for wrong in (x[0], None, 3):
        with pytest.raises(UsageError, match=r"Give \(x,\)"):
            compile_module(Scaled().eval(), wrong, machine="milan")
    for wrong in ({1: x}, [x], "x"):
        with pytest.raises(UsageError, match="arguments by name, a dict"):
            compile_module(Scaled().eval(), x, wrong, machine="milan")
    for wrong in ("a", 1.5, -1, True, None):
        with pytest.raises(UsageError, match="a whole number, at least 0"):
            compile_module(Scaled().eval(), x, machine="milan", seed=wrong)
    for wrong in ("/tmp/x", 1, None):
        with pytest.raises(UsageError, match="Give True or False; the folder is set"):
            compile_module(Scaled().eval(), x, machine="milan", cache=wrong)
    with pytest.raises(UsageError, match="winograd = 'no': it is true or false"):
        compile_module(Scaled().eval(), x, machine="milan", winograd=cast(Any, "no"))
    wrong = 3
    with pytest.raises(UsageError, match="machine = 3: it is a name"):
        compile_module(Scaled().eval(), x, machine=wrong)


def test_seed_and_names_go_with_the_network(tmp_path, monkeypatch):
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    module, x = nn.Linear(8, 8).eval(), torch.randn(1, 8)
    by_place = compile_module(module, (x,), machine="this", seed=3)
    by_name = compile_module(module, (), {"input": x}, machine="this")
    for fast in (by_place, by_name):
        assert torch.equal(fast(x), fast(input=x))
    assert (by_place.seed, by_place.parameters) == (3, ("input",))
    by_place.save(tmp_path / "net.trimtab")
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "another user"))
    again = load(tmp_path / "net.trimtab")  # compiled again
    assert isinstance(again, CompiledNetwork)
    assert (again.seed, again.parameters) == (3, ("input",))
    assert torch.equal(again(input=x), by_place(x))


def test_stand_ins_of_tracers_are_refused():
    from torch._subclasses import FakeTensorMode

    fast = compile_module(nn.Linear(8, 8).eval(), (torch.zeros(1, 8),), machine="milan")
    with FakeTensorMode() as mode, pytest.raises(ExecutionError, match="input 0"):
        fast(mode.from_tensor(torch.zeros(1, 8)))


def test_without_winograd_what_is_no_number_stays_a_pixel(tmp_path, monkeypatch):
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    module = nn.Conv2d(32, 64, 3, padding=1, bias=False).eval()
    x = torch.rand(1, 32, 28, 28)
    families = {}
    for winograd in (True, False):
        made = prepare(module, (x,), machine="milan", cache=False, winograd=winograd)
        families[winograd] = {task["family"] for task in made.report["tasks"]}
        assert made.report["winograd"] is winograd
    assert families[True] - families[False] == {"winograd"}
    assert families[False] - families[True] == {"contraction"}
    fast = compile_module(module, (x,), cache=False, winograd=False)
    fast.save(tmp_path / "net.trimtab")
    x[0, 3, 10, 11] = math.nan
    found, expected = fast(x), module(x)
    assert torch.equal(found.isnan(), expected.isnan())
    assert found.isnan()[0, 0].sum() == 9
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "another user"))
    again = load(tmp_path / "net.trimtab")  # compiled again
    assert isinstance(again, CompiledNetwork)
    assert again.report["winograd"] is False
    assert torch.equal(again(x).isnan(), expected.isnan())


def test_the_cache_tells_kernels_without_winograd_apart(monkeypatch, tmp_path):
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path))
    module, x = nn.Conv2d(32, 64, 3, padding=1).eval(), torch.rand(1, 32, 28, 28)
    found = [
        {task["family"] for task in made.report["tasks"]}
        for made in (
            prepare(module, (x,), machine="milan", winograd=winograd)
            for winograd in (True, False, True, False)
        )
    ]
    assert ["winograd" in families for families in found] == [True, False] * 2
