"""Programs run on the tensors they are given, from many threads at once."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.unit.runtime.conftest import COLUMNS, ELEMENTS, INNER, ROWS
from torch import Tensor, nn

from trimtab.errors import ExecutionError
from trimtab.graph.capture import capture, weights_of
from trimtab.graph.types import TensorType
from trimtab.runtime import executor as executors
from trimtab.runtime.executor import ProgramExecutor
from trimtab.runtime.kernels import SharedLibrary, start_pool
from trimtab.runtime.memory import place
from trimtab.runtime.program import Argument, Call, Code, Fallback, Program
from trimtab.runtime.workers import worker

VECTOR = TensorType((ELEMENTS,), "float32")
SIZE = VECTOR.size_bytes  # 6 * 4 * 4 = 96 bytes: one buffer takes two cache lines
INPUT, OUTPUT = Argument(kind="input"), Argument(kind="output")


def _at(offset: int) -> Argument:
    return Argument(kind="workspace", offset_bytes=offset)


def _call(function: str, *arguments: Argument) -> Call:
    return Call(function=function, arguments=arguments, nodes=())


def _program(*steps: Call | Fallback, **change: Any) -> Program:
    parts: dict[str, Any] = {
        "inputs": (VECTOR,),
        "outputs": (VECTOR,),
        "workspace_bytes": 256,
        "zeroed": (),
    }
    return Program(**{**parts, **change}, steps=steps)


QUADRUPLE = _program(_call("double", INPUT, _at(0)), _call("double", _at(0), OUTPUT))


def test_a_program_runs_and_leaves_its_inputs(library: SharedLibrary) -> None:
    run = ProgramExecutor(QUADRUPLE, library, {})
    x = torch.arange(float(ELEMENTS))
    (y,) = run.run([x])
    assert torch.equal(y, 4 * x)
    (z,) = run.run([x + 1])
    assert torch.equal(y, 4 * x), "outputs are new tensors"
    assert torch.equal(z, 4 * x + 4)
    assert torch.equal(x, torch.arange(float(ELEMENTS)))


def test_constants_are_read_where_they_stand(library: SharedLibrary) -> None:
    constants = place({"b": torch.arange(2.0 * 32).view(2, 32)})
    step = _call(
        "add",
        INPUT,
        Argument(kind="constant", name="b", offset_bytes=32 * 4),
        OUTPUT,
    )
    (y,) = ProgramExecutor(_program(step), library, constants).run([torch.ones(24)])
    assert torch.equal(y, 1 + torch.arange(32.0, 32 + ELEMENTS))


def test_workspaces_are_zero_at_first(library: SharedLibrary) -> None:
    step = _call("add", INPUT, _at(128), OUTPUT)
    run = ProgramExecutor(_program(step, zeroed=((128, SIZE),)), library, {})
    x = torch.randn(ELEMENTS)
    assert torch.equal(run.run([x])[0], x)


@pytest.mark.parametrize(
    "x",
    [
        torch.randn(2 * ELEMENTS)[::2],
        torch.randn(ELEMENTS + 1)[1:],
        torch.randn(1).expand(ELEMENTS),
    ],
)
def test_inputs_that_kernels_cannot_read_are_copied(
    library: SharedLibrary, x: Tensor
) -> None:
    assert torch.equal(ProgramExecutor(QUADRUPLE, library, {}).run([x])[0], 4 * x)


def test_conjugated_and_negated_views_are_resolved(library: SharedLibrary) -> None:
    x = torch.complex(torch.zeros(ELEMENTS), torch.arange(float(ELEMENTS))).conj().imag
    assert x.is_neg()
    assert torch.equal(ProgramExecutor(QUADRUPLE, library, {}).run([x])[0], 4 * x)


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ([], "0 inputs: the network takes 1"),
        (
            [torch.zeros(ELEMENTS, 1)],
            "input 0 of type float32[24, 1]: the network was compiled for "
            "float32[24], dense, on cpu",
        ),
        ([torch.zeros(ELEMENTS, dtype=torch.float64)], "input 0 of type float64[24]:"),
        ([3.0], "input 0 of type float:"),
        (
            [torch.zeros(ELEMENTS, device="meta")],
            "input 0 of type float32[24] on meta with layout torch.strided:",
        ),
        (
            [torch.zeros(ELEMENTS).to_sparse()],
            "input 0 of type float32[24] on cpu with layout torch.sparse_coo:",
        ),
    ],
)
def test_inputs_of_another_type_are_refused(
    library: SharedLibrary, inputs: list[Any], text: str
) -> None:
    with pytest.raises(ExecutionError) as error:
        ProgramExecutor(QUADRUPLE, library, {}).run(inputs)
    assert str(error.value).startswith(text)


def test_a_gradient_is_refused_unless_none_is_recorded(library: SharedLibrary) -> None:
    run = ProgramExecutor(QUADRUPLE, library, {})
    x = torch.ones(ELEMENTS, requires_grad=True)
    with pytest.raises(ExecutionError) as error:
        run.run([x])
    assert str(error.value) == (
        "a gradient for input 0: compiled kernels record none (compiled network). "
        "Call under torch.inference_mode(), or give tensor.detach()."
    )
    with torch.no_grad():
        assert torch.equal(run.run([x])[0], 4 * x)
    with torch.inference_mode():
        assert torch.equal(run.run([x])[0], 4 * x)
    assert torch.equal(run.run([x.detach()])[0], 4 * x.detach())


def test_constants_that_kernels_cannot_read_are_refused(library: SharedLibrary) -> None:
    for odd in (torch.zeros(25)[1:], torch.zeros(48)[::2]):
        with pytest.raises(ExecutionError) as error:
            ProgramExecutor(QUADRUPLE, library, {"w": odd})
        assert str(error.value) == (
            "constant 'w': kernels read dense memory on cpu, aligned to 64 bytes "
            "(compiled network). Pass the constants through "
            "trimtab.runtime.memory.place."
        )


def test_a_program_beyond_its_memory_is_refused(library: SharedLibrary) -> None:
    with pytest.raises(ExecutionError, match="bytes 192 to 288 of the workspace"):
        ProgramExecutor(_program(_call("double", INPUT, _at(192))), library, {})


def test_many_threads_may_call_at_once(library: SharedLibrary) -> None:
    steps = [_call("double", INPUT, _at(0))]
    steps += [_call("double", _at(128 * (i % 2)), _at(128 - 128 * (i % 2))) for i in
              range(100)]  # fmt: skip
    steps += [_call("add", _at(0), INPUT, OUTPUT)]
    run = ProgramExecutor(_program(*steps), library, {})

    def check(seed: int) -> bool:
        x = torch.full((ELEMENTS,), float(seed))
        return bool(torch.equal(run.run([x])[0], x * 2.0**101 + x))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(check, range(400)))
    assert 1 <= run.workspaces <= 8


def test_more_workspaces_than_processors_are_given_back(
    library: SharedLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    run = ProgramExecutor(QUADRUPLE, library, {})
    depth = 0
    x = torch.ones(ELEMENTS)

    def again(_: int) -> None:
        nonlocal depth
        depth += 1
        if depth < 6:
            assert torch.equal(run.run([x], watch=again)[0], 4 * x)

    run.run([x], watch=again)
    assert depth >= 6, "there were more than three at once"
    assert run.workspaces == 3


def test_steps_can_be_watched(library: SharedLibrary) -> None:
    seen: list[int] = []
    x = torch.ones(ELEMENTS)
    run = ProgramExecutor(QUADRUPLE, library, {})
    assert torch.equal(run.run([x], watch=seen.append)[0], 4 * x)
    assert seen == [0, 1]


class _Network(nn.Module):
    """Two nodes that no kernel of ours computes, one with a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(COLUMNS, COLUMNS)

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(self.linear(x), dim=1) + x


class TestFallback:
    x = torch.randn(ROWS, COLUMNS)
    network = _Network().eval()
    graph = capture(network, (x,))
    weights = weights_of(network, graph)

    def _program(self) -> Program:
        linear, softmax, _ = self.graph.nodes
        kind = TensorType((ROWS, COLUMNS), "float32")
        return _program(
            Fallback(
                node=linear.name,
                reads=((str(linear.inputs[0]), INPUT),),
                writes=(_at(0),),
            ),
            Fallback(
                node=softmax.name,
                reads=((str(softmax.inputs[0]), _at(0)),),
                writes=(_at(128),),
            ),
            _call("add", _at(128), INPUT, OUTPUT),
            inputs=(kind,),
            outputs=(kind,),
        )

    def _run(self, library: SharedLibrary, threads: int = 1) -> ProgramExecutor:
        return ProgramExecutor(
            self._program(),
            library,
            {},
            graph=self.graph,
            weights=self.weights,
            threads=threads,
        )

    def test_nodes_run_through_torch_between_kernels(
        self, library: SharedLibrary
    ) -> None:
        run = self._run(library)
        for x in (self.x, self.x.flip(0)):
            with torch.no_grad():
                assert torch.equal(run.run([x])[0], self.network(x))

    def test_any_mode_may_follow_any_other(self, library: SharedLibrary) -> None:
        run = self._run(library)
        with torch.inference_mode():
            first = run.run([self.x])[0]
        assert torch.equal(run.run([self.x])[0], first)

    def test_they_are_watched_too(self, library: SharedLibrary) -> None:
        seen: list[int] = []
        self._run(library).run([self.x], watch=seen.append)
        assert seen == [0, 1, 2]

    def test_a_value_that_stands_nowhere_is_named(self, library: SharedLibrary) -> None:
        softmax = self.graph.nodes[1]
        kind = TensorType((ROWS, COLUMNS), "float32")
        program = _program(
            Fallback(node=softmax.name, reads=(), writes=(OUTPUT,)),
            inputs=(kind,),
            outputs=(kind,),
        )
        with pytest.raises(ExecutionError) as error:
            ProgramExecutor(
                program, library, {}, graph=self.graph, weights=self.weights
            )
        assert "the program does not say where it stands" in str(error.value)
        assert f"value %{self.graph.inputs[0].name}" in str(error.value)


class TestThreads:
    a = torch.randn(ROWS, INNER)
    b = torch.randn(INNER, COLUMNS)
    program = Program(
        inputs=(
            TensorType((ROWS, INNER), "float32"),
            TensorType((INNER, COLUMNS), "float32"),
        ),
        outputs=(TensorType((ROWS, COLUMNS), "float32"),),
        workspace_bytes=0,
        zeroed=(),
        steps=(_call("matmul", INPUT, Argument(kind="input", index=1), OUTPUT),),
    )

    def test_short_lived_callers_start_no_further_threads(
        self, library: SharedLibrary
    ) -> None:
        run = ProgramExecutor(self.program, library, {}, threads=2)
        wrong = []

        def call() -> None:
            (c,) = run.run([self.a, self.b])
            if not torch.allclose(c, self.a @ self.b, atol=1e-6):
                wrong.append(c)

        call()
        before = _tasks()
        for _ in range(60):
            thread = threading.Thread(target=call)
            thread.start()
            thread.join()
        assert wrong == []
        assert _tasks(at_most=before) <= before

    def test_the_job_of_an_interrupted_caller_keeps_what_it_uses(
        self, library: SharedLibrary, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        jobs: list[Any] = []

        class Interrupted:
            def run(self, job: Any) -> None:
                jobs.append(job)
                raise KeyboardInterrupt

        run = ProgramExecutor(self.program, library, {}, threads=2)
        monkeypatch.setattr(executors, "worker", lambda threads, start: Interrupted())
        a, made = self.a.clone(), []
        kept = weakref.ref(a)

        def make() -> Tensor:
            tensor = torch.zeros(ROWS, COLUMNS)
            made.append(weakref.ref(tensor))
            return tensor

        run._outputs = [make]
        with pytest.raises(KeyboardInterrupt):
            run.run([a, self.b])
        assert run.workspaces == 0, "its workspace is not given to another call"
        del a
        gc.collect()
        output = made[0]()
        assert kept() is not None
        assert output is not None
        worker(2, lambda: start_pool(2)).run(jobs[0])
        assert torch.allclose(output, self.a @ self.b, atol=1e-6)
        del jobs[0], output
        gc.collect()
        assert (kept(), made[0]()) == (None, None)

    def test_the_pool_has_as_many_threads_as_asked(
        self, library: SharedLibrary
    ) -> None:
        ProgramExecutor(self.program, library, {}, threads=2).run([self.a, self.b])
        before = _tasks()
        run = ProgramExecutor(self.program, library, {}, threads=5)
        (c,) = run.run([self.a, self.b])
        torch.testing.assert_close(c, self.a @ self.b)
        # A worker of ours, which computes too, and four of TVM's.
        assert _tasks() == before + 5

    def test_the_callers_threads_are_left_alone(self, library: SharedLibrary) -> None:
        affinity, threads = os.sched_getaffinity(0), torch.get_num_threads()
        ProgramExecutor(self.program, library, {}, threads=3).run([self.a, self.b])
        assert os.sched_getaffinity(0) == affinity
        assert torch.get_num_threads() == threads
        assert "TVM_BIND_THREADS" not in os.environ

    def test_many_callers_share_the_pool(self, library: SharedLibrary) -> None:
        run = ProgramExecutor(self.program, library, {}, threads=2)

        def check(seed: int) -> bool:
            a = torch.full((ROWS, INNER), float(seed))
            (c,) = run.run([a, self.b])
            return bool(torch.allclose(c, a @ self.b, rtol=1e-5, atol=1e-5))

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(check, range(200)))


def _tasks(at_most: int = 0) -> int:
    """Return how many threads the process has; ended ones take a moment to go."""
    for _ in range(100):
        found = len(list(Path("/proc/self/task").iterdir()))
        if not at_most or found <= at_most:
            break
        time.sleep(0.01)
    return found


_FORK = """
import os, sys, warnings
from pathlib import Path
import torch
from trimtab.graph.types import TensorType
from trimtab.runtime.executor import ProgramExecutor
from trimtab.runtime.kernels import load_code
from trimtab.runtime.program import Argument, Call, Code, Program

library = load_code(Code(kind="shared", data=Path(sys.argv[1]).read_bytes()))
a, b = torch.ones(6, 5), torch.ones(5, 4)
kinds = [TensorType(shape, "float32") for shape in ((6, 5), (5, 4), (6, 4))]
program = Program(
    inputs=tuple(kinds[:2]), outputs=(kinds[2],), workspace_bytes=0, zeroed=(),
    steps=(Call(function="matmul", nodes=(), arguments=(Argument(kind="input"),
           Argument(kind="input", index=1), Argument(kind="output"))),),
)
run = ProgramExecutor(program, library, {}, threads=2)
assert run.run([a, b])[0].eq(5).all()
warnings.simplefilter("ignore")  # a fork beside threads
child = os.fork()
if not child:
    os._exit(0 if run.run([a, b])[0].eq(5).all() else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert run.run([a, b])[0].eq(5).all()
"""


def test_a_forked_process_computes_with_a_pool_of_its_own(
    code: Code, tmp_path: Path
) -> None:
    path = tmp_path / "kernels.so"
    path.write_bytes(code.data)
    done = subprocess.run(
        [sys.executable, "-c", _FORK, str(path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
