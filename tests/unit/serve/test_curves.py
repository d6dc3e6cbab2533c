"""Service curves: points, what lies between, contention, tables, files."""

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trimtab.cost.latency import Roofline
from trimtab.errors import DataError, UsageError
from trimtab.graph.capture import capture
from trimtab.hardware.load import machine
from trimtab.serve.curves import (
    ServiceCurve,
    accelerated,
    accelerator_names,
    contended,
    curve_names,
    estimated,
    item_bytes,
    named,
    read,
    target_s,
    write,
)

CURVE = ServiceCurve(
    network="made up", source="by hand", sizes=(1, 3, 7), seconds=(1.0, 2.0, 6.0)
)


def test_between_points_it_is_linear_and_beyond_them_it_goes_on():
    assert CURVE.table(9) == [0.0, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
    assert CURVE.batch_s(4) == 2.0 + 1 * (6.0 - 2.0) / (7 - 3)


def test_a_single_point_is_time_for_each_item():
    one = replace(CURVE, sizes=(1,), seconds=(0.5,))
    assert one.batch_s(4) == 4 * 0.5


def test_dispatch_is_paid_once_a_batch():
    assert replace(CURVE, dispatch_s=0.25).table(3) == [0.0, 1.25, 1.75, 2.25]


@given(
    st.lists(st.floats(1e-6, 10.0), min_size=1, max_size=12),
    st.integers(1, 40),
)
def test_a_larger_batch_never_takes_less(times, busy):
    curve = ServiceCurve(
        network="made up", source="by hand", sizes=tuple(range(1, len(times) + 1)),
        seconds=tuple(times), workers=16, busy_seconds=tuple(2 * t for t in times),
    )  # fmt: skip
    table = curve.table(len(times) + 5, busy)
    assert table == sorted(table)
    assert all(a <= b + 1e-12 for a, b in zip(curve.table(5), table, strict=False))


def test_contention_grows_evenly_from_one_worker_to_all():
    busy = replace(CURVE, workers=5, busy_seconds=(2.0, 4.0, 12.0))
    assert [busy.batch_s(3, each) for each in (1, 2, 3, 5, 9)] == [
        2.0, 2.0 + 2.0 * 1 / 4, 2.0 + 2.0 * 2 / 4, 4.0, 4.0,
    ]  # fmt: skip


def test_a_shared_memory_bounds_all_workers_together():
    """4 workers, 100 B an item, 200 B/s: size 3 takes 4 * 300 / 200 = 6 s."""
    found = contended(CURVE, workers=4, item_bytes=100.0, bandwidth_bytes_per_s=200.0)
    assert found.busy_seconds == (2.0, 6.0, 14.0)
    assert found.batch_s(3, 1) == 2.0
    free = contended(CURVE, workers=4, item_bytes=1.0, bandwidth_bytes_per_s=1e9)
    assert free.busy_seconds == CURVE.seconds


def test_the_prior_comes_from_captures():
    net = torch.nn.Linear(64, 8).eval()
    captured = {size: capture(net, (torch.zeros(size, 64),)) for size in (1, 16)}
    here = machine("skylake-sp")
    curve = estimated(captured, here, Roofline())
    expected = Roofline().estimate(captured[16], here, 1).nodes[0].estimate.latency_s
    assert curve.sizes == (1, 16)
    assert curve.batch_s(16) == pytest.approx(expected)
    assert here.title in curve.source
    with pytest.raises(DataError, match="begin at 1"):
        estimated({16: captured[16]}, here, Roofline())


def test_shipped_curves_are_those_of_the_table():
    assert len(curve_names()) == 8
    assert named("zoo:rmc2").batch_s(512) == pytest.approx(0.100)
    assert named("din").batch_s(25) / 25 < named("din").batch_s(1024) / 1024
    assert "measured once" in named("ncf").source
    assert (target_s("dien"), item_bytes("rmc1")) == (0.035, 8 * 80 * 32 * 4)


def test_an_accelerator_is_its_speed_up():
    assert accelerator_names() == ("gtx-1080ti",)
    cpu = named("rmc3")
    gpu = accelerated("gtx-1080ti", "zoo:rmc3", cpu)
    for size, ratio in ((1, 0.70), (64, 2.45), (1024, 3.13)):
        assert cpu.batch_s(size) / gpu.batch_s(size) == pytest.approx(ratio)
    assert "thread count is not stated" in gpu.source
    shared = accelerated("gtx-1080ti", "rmc3", cpu, threads=4)
    assert shared.batch_s(1024) == pytest.approx(cpu.batch_s(256) / 3.13)
    for name, network in (("gtx-1", "rmc3"), ("gtx-1080ti", "resnet50")):
        with pytest.raises(UsageError, match="known are"):
            accelerated(name, network, cpu)


def test_a_file_is_read_as_it_was_written(tmp_path):
    file = tmp_path / "curve.json"
    curve = replace(CURVE, workers=2, busy_seconds=(1.0, 3.0, 9.0), dispatch_s=1e-5)
    write(curve, file)
    assert read(file) == named(str(file)) == curve
    assert [each.name for each in tmp_path.iterdir()] == ["curve.json"]
    with pytest.raises(UsageError, match="folder does not exist"):
        write(curve, tmp_path / "absent" / "curve.json")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sizes": [2, 3, 7]}, "begin at 1"),
        ({"sizes": [1, 7, 3]}, "ascend"),
        ({"sizes": [1, 3, 10**7]}, "end below"),
        ({"seconds": [1.0, 2.0]}, "one time for each"),
        ({"seconds": [1.0, 0.0, 1.0]}, "above 0"),
        ({"busy_seconds": [1.0]}, "one time for each"),
        ({"workers": 0}, "workers"),
        ({"dispatch_s": -1.0}, "dispatch"),
        ({"format": 9}, "format is 9"),
        ({"surprise": 1}, "surprise"),
        ({"sizes": "all"}, "sizes"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path, change, said):
    file = tmp_path / "curve.json"
    good = {"network": "n", "source": "s", "sizes": [1, 3, 7], "seconds": [1, 2, 3]}
    file.write_text(json.dumps(good | change), "utf-8")
    with pytest.raises(DataError, match=said):
        read(file)


def test_what_is_no_curve_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"absent.json"):
        named(str(tmp_path / "absent.json"))
    with pytest.raises(UsageError, match="rmc1"):
        named("zoo:resnet50")
