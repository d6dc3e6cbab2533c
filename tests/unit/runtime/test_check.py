"""A program that reaches beyond its memory is refused before its first call."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from trimtab.errors import ExecutionError
from trimtab.graph.capture import capture
from trimtab.graph.types import Ref, TensorType
from trimtab.runtime.check import check_program, reads_of
from trimtab.runtime.program import Argument, Call, Fallback, Program

SIGNATURES = {"copy": (64, 64), "add": (64, 64, 64)}
CONSTANTS = {"w": 128}
INPUT, OUTPUT = Argument(kind="input"), Argument(kind="output")
TYPE = TensorType((16,), "float32")  # 16 * 4 bytes


def _program(*arguments: Argument, function: str = "copy", **change: Any) -> Program:
    whole = Program(
        inputs=(TYPE,),
        outputs=(TYPE,),
        workspace_bytes=256,
        zeroed=(),
        steps=(Call(function=function, arguments=arguments, nodes=()),),
    )
    return replace(whole, **change)


def _check(program: Program, **more: Any) -> None:
    check_program(program, signatures=SIGNATURES, constants=CONSTANTS, **more)


@pytest.mark.parametrize(
    "argument",
    [
        INPUT,
        Argument(kind="constant", name="w"),
        Argument(kind="constant", name="w", offset_bytes=128 - 64),
        Argument(kind="workspace", offset_bytes=256 - 64),
    ],
)
def test_pointers_within_their_memory_pass(argument: Argument) -> None:
    _check(_program(argument, OUTPUT))


@pytest.mark.parametrize(
    ("argument", "text"),
    [
        (
            Argument(kind="workspace", offset_bytes=256),
            "bytes 256 to 320 of the workspace: it has 256 bytes",
        ),
        (
            Argument(kind="workspace", offset_bytes=-64),
            "bytes -64 to 0 of the workspace: it has 256 bytes",
        ),
        (
            Argument(kind="workspace", offset_bytes=4),
            "byte 4 of the workspace: buffers start at multiples of 64 bytes",
        ),
        (
            Argument(kind="output", offset_bytes=64),
            "bytes 64 to 128 of output 0: it has 64 bytes",
        ),
        (Argument(kind="output", index=1), "output 1: there are 1"),
        (Argument(kind="input", index=-1), "input -1: there are 1"),
        (
            Argument(kind="constant", name="v"),
            "constant 'v': there is none of that name",
        ),
        (
            Argument(kind="constant", name="w", offset_bytes=128),
            "bytes 128 to 192 of constant 'w': it has 128 bytes",
        ),
    ],
)
def test_pointers_beyond_their_memory_are_refused(
    argument: Argument, text: str
) -> None:
    with pytest.raises(ExecutionError) as error:
        _check(_program(INPUT, argument))
    assert str(error.value) == (
        f"{text} (compiled program, step 0, kernel 'copy'). Compile the network again."
    )


def test_a_kernel_must_exist_and_get_all_its_buffers() -> None:
    with pytest.raises(ExecutionError, match="kernel 'gone': the library does not"):
        _check(_program(function="gone"))
    with pytest.raises(ExecutionError, match="'add' with 2 buffers: it takes 3"):
        _check(_program(INPUT, OUTPUT, function="add"))


@pytest.mark.parametrize("part", [(200, 57), (-1, 4), (0, -1)])
def test_zeros_stand_in_the_workspace(part: tuple[int, int]) -> None:
    _check(_program(INPUT, OUTPUT, zeroed=((200, 56),)))
    with pytest.raises(ExecutionError, match="the workspace has 256 bytes"):
        _check(_program(INPUT, OUTPUT, zeroed=(part,)))


@pytest.mark.parametrize("size", [-1, 1 << 43])
def test_a_workspace_of_an_odd_size_is_refused(size: int) -> None:
    with pytest.raises(ExecutionError, match=f"a workspace of {size} bytes"):
        _check(_program(INPUT, OUTPUT, workspace_bytes=size))


class TestFallback:
    graph = capture(nn.Softmax(dim=0).eval(), (torch.zeros(16),))
    node = graph.nodes[0]
    read = str(node.inputs[0])

    def _step(self, **change: Any) -> Program:
        step = Fallback(
            node=self.node.name, reads=((self.read, INPUT),), writes=(OUTPUT,)
        )
        return _program(steps=(replace(step, **change),))

    def test_one_within_its_memory_passes(self) -> None:
        _check(self._step(), graph=self.graph)
        step = self._step().steps[0]
        assert isinstance(step, Fallback)
        assert reads_of(step, self.graph) == {Ref(self.graph.inputs[0].name): INPUT}

    def test_it_needs_the_graph(self) -> None:
        with pytest.raises(ExecutionError, match="outside of the kernels: there is no"):
            _check(self._step())

    @pytest.mark.parametrize(
        ("change", "text"),
        [
            (
                {"reads": ((read, Argument(kind="workspace", offset_bytes=256)),)},
                "bytes 256 to 320 of the workspace: it has 256 bytes",
            ),
            ({"reads": (("%other", INPUT),)}, "value '%other': the node does not read"),
            ({"writes": ()}, "0 results: the node has 1"),
            ({"writes": (INPUT,)}, "a result in a input: those are read only"),
            (
                {"writes": (Argument(kind="workspace", offset_bytes=-64),)},
                "bytes -64 to 0 of the workspace",
            ),
        ],
    )
    def test_one_beyond_its_memory_is_refused(
        self, change: dict[str, Any], text: str
    ) -> None:
        with pytest.raises(ExecutionError) as error:
            _check(self._step(**change), graph=self.graph)
        assert text in str(error.value)
