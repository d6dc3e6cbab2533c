import torch

from trimtab.compiler.emit import Chosen, constant_name, emit
from trimtab.compiler.fallback import Alternatives, Default, operator_of
from trimtab.compiler.layout import row_major
from trimtab.compiler.loops import Buffer, Kernel
from trimtab.compiler.tasks import FallbackTask, Memory, Packing, Plan, Task, Value
from trimtab.frozen import FrozenDict
from trimtab.graph.types import Node, Ref, TensorType
from trimtab.runtime.program import Argument, Call, Fallback


def _value(key, kind="workspace", index=0, size=16):
    layout = row_major((size,))
    memory = Memory(key=key, kind=kind, index=index, elements=size)
    return Value(memory=memory, layout=layout)


def _chosen(name, scratch=0):
    kernel = Kernel(name=name, parameters=(Buffer("x", (1,)),), body=())
    return Chosen(function=name, point=7, kernel=kernel, scratch_bytes=scratch)


WEIGHT = Packing(
    key="w", order=lambda point: f"by {point}", make=lambda point: torch.ones(point)
)


def test_steps_pointers_and_constants():
    given, between = _value(1, "input"), _value(2)
    result = _value(3, "output")
    node = Node(
        name="odd",
        op="aten.sort.default",
        arguments=FrozenDict({"self": Ref("t")}),
        outputs=(TensorType((16,), "float32"),),
    )
    planned = Plan(
        tasks=(
            Task(
                work="a", parameters=(given, WEIGHT, between), nodes=("n",), module=""
            ),
            FallbackTask(node=node, reads=((Ref("t"), between),), writes=(result,)),
        ),
        inputs=(TensorType((16,), "float32"),),
        outputs=(TensorType((16,), "float32"),),
    )
    constants: dict[str, torch.Tensor] = {}
    program = emit(planned, {"a": _chosen("ka", scratch=256)}, constants)
    assert list(constants) == [constant_name(WEIGHT, 7)] == ["w|by 7"]
    assert constants["w|by 7"].shape == (7,)
    call, other = program.steps
    assert isinstance(call, Call)
    assert [each.kind for each in call.arguments] == [
        "input",
        "constant",
        "workspace",
        "workspace",
    ]
    scratch, target = call.arguments[2:]
    # Both are needed at once: 256 bytes of scratch, 64 of the value.
    assert abs(scratch.offset_bytes - target.offset_bytes) >= 64
    assert program.workspace_bytes == 256 + 64
    assert isinstance(other, Fallback)
    assert other.reads == (("%t", target),)
    assert other.writes == (Argument(kind="output"),)


def test_an_operator_with_a_default_schedule_is_a_call():
    given, result = _value(1, "input"), _value(2, "output")
    kind = TensorType((16,), "float32")
    node = Node(
        name="odd",
        op="aten.index_select.default",
        arguments=FrozenDict({"self": Ref("t"), "dim": 0, "index": Ref("w")}),
        outputs=(kind,),
    )
    places = Packing(
        key="w", order=lambda point: "", make=lambda point: torch.arange(16)
    )
    operator = operator_of(node, {Ref("t"): kind, Ref("w"): kind})
    task = FallbackTask(
        node=node,
        reads=((Ref("t"), given),),
        writes=(result,),
        constants=((Ref("w"), places),),
        operator=operator,
    )
    planned = Plan(tasks=(task,), inputs=(kind,), outputs=(kind,))
    default = Default(
        function="kd",
        reason="",
        latency_s=1e-6,
        times=Alternatives(default_s=1e-6, pytorch_s=1e-5),
        parameter_bytes=(64, 128, 100, 8, 64),
        scratch_bytes=(100, 8),
    )
    constants: dict[str, torch.Tensor] = {}
    program = emit(planned, {}, constants, {operator: default})
    assert program.steps == (
        Call(
            function="kd",
            arguments=(
                Argument(kind="input"),
                Argument(kind="constant", name="w"),
                Argument(kind="workspace", offset_bytes=0),
                Argument(kind="workspace", offset_bytes=2 * 64),
                Argument(kind="output"),
            ),
            nodes=("odd",),
        ),
    )
    assert list(constants) == ["w"]
    # 100 bytes end in the second line of 64, 8 bytes take another.
    assert program.workspace_bytes == 3 * 64
    # Where the kernel is unknown, PyTorch does it, and has the constant itself.
    constants.clear()
    (step,) = emit(planned, {}, constants, {}).steps
    assert step == Fallback(
        node="odd",
        reads=((str(Ref("t")), Argument(kind="input")),),
        writes=(Argument(kind="output"),),
    )
    assert constants == {}
