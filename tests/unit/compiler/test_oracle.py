import pytest

from trimtab.compiler.formula import IDENTITY
from trimtab.compiler.layout import Layout
from trimtab.compiler.spaces.contraction import Contraction, Point

pytest.importorskip("tvm", reason="apache-tvm makes the machine code")


def test_schedules_are_timed_hot_and_cold():
    from trimtab.compiler.model import timing_of
    from trimtab.compiler.oracle import measure
    from trimtab.compiler.tvm.lower import target_of
    from trimtab.hardware.load import machine

    size = 32
    flat = Layout(shape=(1, size, 1, size), strides=(0, 1, 0, size), size=size * size)
    work = Contraction(input=flat, output=flat, formula=IDENTITY)
    points = [Point(1, 4, 2, 4, "nhgw"), Point(1, 1, 1, 1, "nhgw")]
    told = []
    found = measure(
        work,
        points,
        timing_of(machine("milan")),
        target_of("x86-64-v3"),
        calls=3,
        cold_calls=1,
        progress=lambda done, text: told.append(done),
    )
    assert told == [0.5, 1.0]
    for each in found:
        assert len(each.samples_s) == 3
        assert each.hot_s == sorted(each.samples_s)[1]
        assert each.cold_s is not None
        assert each.cold_s > 0
