from trimtab.compiler.layout import row_major
from trimtab.compiler.tasks import Memory, Packing, Task, Value


def test_the_last_parameter_is_what_a_task_writes():
    memory = Memory(key=1, kind="workspace", elements=4)
    value = Value(memory=memory, layout=row_major((4,)))
    weight = Packing(key="w", order=lambda p: "", make=lambda p: p)
    task = Task(work="any", parameters=(weight, value), nodes=("n",), module="m")
    assert task.output is value
    assert (memory.dtype, memory.index, memory.halo) == ("float32", 0, None)
