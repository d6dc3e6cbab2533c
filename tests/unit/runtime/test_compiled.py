"""A compiled network is called like the module it was made from."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.unit.runtime.conftest import (
    COLUMNS,
    ELEMENTS,
    Affine,
    bucket,
    network,
    target,
)
from torch import Tensor, nn

from trimtab.errors import ExecutionError, UsageError
from trimtab.graph.capture import capture
from trimtab.graph.types import TensorType
from trimtab.runtime.batches import BatchPlan, Bucket
from trimtab.runtime.compiled import CompiledNetwork, Usage
from trimtab.runtime.program import Argument, Call, Code, Program

MODULE = Affine().eval()


def _expected(x: Tensor) -> Tensor:
    with torch.no_grad():
        return MODULE(x)


def test_a_network_of_one_shape(code: Code) -> None:
    fast = network(code, 4)
    x = torch.randn(4, COLUMNS)
    assert torch.equal(fast(x), _expected(x))
    assert fast.usage == Usage(calls=1, rows=4, padded_rows=0)
    assert fast.plan_for(4) == BatchPlan(buckets=(4,), padded_rows=0)
    with pytest.raises(UsageError) as error:
        fast.plan_for(3)
    assert str(error.value) == (
        "a batch of 3 rows: the network was compiled for 4 rows only (compiled "
        "network). Give a batch of that size, or compile with batch_sizes=[...]."
    )
    with pytest.raises(ExecutionError, match=r"input 0 of type float32\[3, 4\]: "):
        fast(x[:3])


@pytest.mark.parametrize(
    ("rows", "buckets"),
    [
        (1, (1,)),
        (2, (4,)),
        (4, (4,)),
        (5, (8,)),
        (8, (8,)),
        (9, (8, 1)),
        (11, (8, 4)),
        (16, (8, 8)),
        (29, (8, 8, 8, 8)),
    ],
)
def test_any_batch_is_padded_or_done_in_parts(
    code: Code, rows: int, buckets: tuple[int, ...]
) -> None:
    fast = network(code, 8, 1, 4)
    x = torch.randn(rows, COLUMNS)
    assert torch.equal(fast(x), _expected(x))
    plan = fast.plan_for(rows)
    assert plan == BatchPlan(buckets=buckets, padded_rows=sum(buckets) - rows)
    assert fast.usage == Usage(calls=1, rows=rows, padded_rows=plan.padded_rows)


def test_rows_of_a_larger_tensor_are_read_where_they_can_be(code: Code) -> None:
    fast = network(code, 1, 4, 8)
    for x in (
        torch.randn(12, COLUMNS)[1:],
        torch.randn(COLUMNS, 11).T,
        torch.randn(22, COLUMNS)[::2],
    ):
        assert torch.equal(fast(x), _expected(x))


def test_constants_are_shared(code: Code) -> None:
    fast = network(code, 1, 4, 8)
    found = [each._constants["w"].data_ptr() for each in fast._executors]
    assert set(found) == {fast.constants["w"].data_ptr()}


def test_many_threads_count_together(code: Code) -> None:
    fast = network(code, 1, 4, 8)

    def call(rows: int) -> bool:
        x = torch.full((rows, COLUMNS), float(rows))
        return bool(torch.equal(fast(x), _expected(x)))

    sizes = [1 + index % 20 for index in range(300)]
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(call, sizes))
    padded = sum(fast.plan_for(rows).padded_rows for rows in sizes)
    assert fast.usage == Usage(calls=300, rows=sum(sizes), padded_rows=padded)


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (
            torch.zeros(2, 5),
            "input 0 of type float32[2, 5]: the network was compiled for "
            "float32[any,4] (compiled network). Convert the tensor, or compile the "
            "network for this shape.",
        ),
        (3, "input 0 of type int: the network was compiled for float32[any,4]"),
        (torch.tensor(1.0), "input 0 of type float32[]: "),
        (torch.zeros(2, 4).double(), "input 0 of type float64[4, 4]: "),
    ],
)
def test_wrong_inputs_are_refused(code: Code, x: Any, text: str) -> None:
    with pytest.raises(ExecutionError) as error:
        network(code, 1, 4)(x)
    assert str(error.value).startswith(text)


def test_a_batch_without_rows_is_refused(code: Code) -> None:
    with pytest.raises(UsageError) as error:
        network(code, 1, 4)(torch.zeros(0, COLUMNS))
    assert str(error.value).startswith("a batch of 0 rows: it has at least one row")


def test_gradients_are_refused_padded_or_not(code: Code) -> None:
    fast = network(code, 1, 4)
    for rows in (1, 3, 4):
        x = torch.zeros(rows, COLUMNS, requires_grad=True)
        with pytest.raises(ExecutionError, match="a gradient for input 0"):
            fast(x)
        with torch.no_grad():
            assert torch.equal(fast(x), _expected(x))


Pair = namedtuple("Pair", ["sum", "twice"])


class _Nested(nn.Module):
    """Tensors by position and name, a number baked in, all kinds of containers."""

    def forward(self, pair: list[Tensor], *, again: int, z: Tensor) -> dict[str, Any]:
        x, y = pair
        return {"pair": Pair(x + y, 2 * z), "again": again}


def _nested(code: Code) -> CompiledNetwork:
    tensors = [torch.zeros(ELEMENTS) for _ in range(3)]
    graph = capture(_Nested().eval(), (tensors[:2],), {"again": 3, "z": tensors[2]})
    order = [leaf.name for leaf in graph.inputs if leaf.type is not None]
    at = {
        name: next(i for i, each in enumerate(order) if each.endswith(name))
        for name in ("0", "1", "z")
    }
    kind = TensorType((ELEMENTS,), "float32")
    steps = (
        Call(
            function="add",
            arguments=(
                Argument(kind="input", index=at["0"]),
                Argument(kind="input", index=at["1"]),
                Argument(kind="output"),
            ),
            nodes=(),
        ),
        Call(
            function="double",
            arguments=(
                Argument(kind="input", index=at["z"]),
                Argument(kind="output", index=1),
            ),
            nodes=(),
        ),
    )
    program = Program(
        inputs=(kind,) * 3,
        outputs=(kind,) * 2,
        workspace_bytes=0,
        zeroed=(),
        steps=steps,
    )
    one = Bucket(batch=1, program=program, graph=graph)
    return network(code, buckets=[one], weights={}, constants={})


def test_arguments_and_results_nest_as_at_capture(code: Code) -> None:
    fast = _nested(code)
    x, y, z = torch.randn(3, ELEMENTS)
    found = fast([x, y], again=3, z=z)
    assert list(found) == ["pair", "again"]
    assert type(found["pair"]).__name__ == "Pair"
    assert torch.equal(found["pair"].sum, x + y)
    assert torch.equal(found["pair"].twice, 2 * z)
    assert found["again"] == 3
    assert torch.equal(fast([x, y], z=z, again=3)["pair"].sum, x + y)


def test_arguments_go_by_place_and_by_name(code: Code) -> None:
    fast = network(code, 1, 4, parameters=("x",))
    x = torch.randn(3, COLUMNS)
    assert torch.equal(fast(x=x), _expected(x))
    assert torch.equal(fast(x), _expected(x))
    with pytest.raises(UsageError, match="argument 'x' twice"):
        fast(x, x=x)
    for wrong in ({"y": x}, {"x": x, "y": x}):
        with pytest.raises(UsageError, match="the network was captured with"):
            fast(**wrong)
    with pytest.raises(UsageError, match="captured with a tuple of 1"):
        network(code, 1, 4)(x=x)


def test_what_was_baked_in_cannot_change(code: Code) -> None:
    x, y, z = torch.randn(3, ELEMENTS)
    for other in (4, 3.0, x):
        with pytest.raises(ExecutionError, match="it was 3 at compilation and is bake"):
            _nested(code)([x, y], again=other, z=z)
    with pytest.raises(UsageError, match="the network was captured with a list of 2"):
        _nested(code)([x, y, z], again=3, z=z)


def test_networks_that_cannot_be_padded_are_refused(code: Code) -> None:
    one = bucket(4)
    program = replace(one.program, outputs=(TensorType((2, 8), "float32"),))
    graph = capture(_Reshaped().eval(), (torch.zeros(4, COLUMNS),))
    with pytest.raises(UsageError) as error:
        network(
            code,
            buckets=[replace(one, program=program, graph=graph)],
            any_batch=True,
        )
    assert str(error.value) == (
        "any batch size for a network where output 0 is float32[2,8]: its first "
        "dimension is not the batch, and rows of zeros might change it (compiled "
        "network). Compile the network for one batch size."
    )


class _Reshaped(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(2, 8)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"buckets": []}, "batch sizes []: there is at least one"),
        ({"buckets": [bucket(1), bucket(1)]}, "batch sizes [1, 1]: there is at least"),
        (
            {"buckets": [bucket(1), bucket(4)], "any_batch": False},
            "batch sizes [1, 4] for a network of fixed shapes: it has one",
        ),
        (
            {"buckets": [replace(bucket(1), program=bucket(4).program)]},
            "a program with the inputs float32[4,4]: its graph has float32[1,4]",
        ),
        ({"code": None}, "a compiled network without kernels: it has neither"),
    ],
)
def test_parts_that_do_not_fit_are_refused(
    code: Code, change: dict[str, Any], text: str
) -> None:
    with pytest.raises(UsageError) as error:
        network(change.pop("code", code), 1, 4, **change)
    assert str(error.value).startswith(text)


def test_it_says_what_it_is(code: Code) -> None:
    fast = network(code, 1, 4, report={"seconds": 1.5})
    assert repr(fast) == (
        "CompiledNetwork('Affine', any batch through 1, 4: 1 kernels, 0 nodes through "
        f"PyTorch, 16 B of constants, 0 B of workspace; for {fast.target.llvm_cpu} "
        "(this), 1 thread)"
    )
    assert fast.report == {"seconds": 1.5}
    assert fast.steps[4] == bucket(4).program.steps
    assert fast.graph == bucket(1).graph


def test_weights_that_are_written_to_are_noticed(code: Code) -> None:
    weight = torch.ones(COLUMNS)
    fast = network(code, 1, weights={"w": weight})
    assert not fast.weights_changed()
    weight.add_(1)
    assert fast.weights_changed()


def test_code_for_another_machine_can_be_saved_not_called(
    code: Code, tmp_path: Path
) -> None:
    elsewhere = replace(target(), triple="sparc-linux-gnu", machine="old")
    odd = replace(code, data=b"no library of this machine")
    fast = network(odd, 1, 4, target=elsewhere)
    assert "(old), 1 thread" in repr(fast)
    assert fast.plan_for(3) == BatchPlan(buckets=(4,), padded_rows=1)
    with pytest.raises(ExecutionError) as error:
        fast(torch.zeros(1, COLUMNS))
    here = platform.machine()
    assert str(error.value) == (
        f"a call of compiled network 'Affine': it is for sparc, this machine is {here} "
        "(machine 'old'). Save it and load it there, or compile it for this machine."
    )
    fast.save(tmp_path / "old.trimtab")
    assert (tmp_path / "old.trimtab" / "kernels.so").read_bytes() == odd.data


_FORK = """
import os
from trimtab.runtime import compiled

compiled._counting.acquire()  # as another thread does when the fork comes
child = os.fork()
if not child:
    os._exit(0 if compiled._counting.acquire(timeout=20) else 1)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_process_counts_for_itself() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _FORK],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
