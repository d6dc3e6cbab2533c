"""Pooling kernels against PyTorch, with a halo that must not be seen."""

import math

import pytest
import torch
from torch.nn import functional as F

from trimtab.compiler.formula import IDENTITY, Formula, slot
from trimtab.compiler.layout import Layout, packed, row_major
from trimtab.compiler.loops import Kind, Loop, maximum, walk
from trimtab.compiler.spaces.pool import Point, Pool, Segment, Window, kernel, points

LANES = 8
SEEN = 1e6  # stands around the images


def _layout(kind: str, shape) -> Layout:
    if kind == "rows":
        return row_major(shape)
    block = 8 if kind == "blocks" else shape[1]
    return packed(shape, block=block, halo=(2, 1, 1, 3))


def _maximum(shape, *arguments, **keywords):
    return shape, {"kind": "max"}, arguments, keywords, F.max_pool2d


def _mean(shape, *arguments, **keywords):
    return shape, {"kind": "mean"}, arguments, keywords, F.avg_pool2d


CASES = {
    "max": _maximum((2, 16, 9, 12), (3, 3), (2, 2), (1, 1)),
    "max plain": _maximum((1, 8, 8, 8), (2, 2), (2, 2)),
    "max overlapping": _maximum((1, 8, 7, 11), (3, 2), (1, 1), (1, 0)),
    "max dilated": _maximum((1, 8, 11, 14), (3, 3), (2, 1), (1, 1), (2, 3)),
    "max ceiling": _maximum((1, 8, 8, 10), (3, 3), (2, 2), (0, 0), ceil_mode=True),
    "max wide": _maximum((1, 8, 13, 20), (13, 13), (1, 1), (6, 6)),
    "max wide dilated": _maximum((1, 8, 30, 28), (9, 5), (1, 3), (4, 2), (3, 5)),
    "mean": _mean((1, 16, 9, 12), (3, 3), (2, 2), (1, 1)),
    "mean inside": _mean((1, 8, 9, 9), (3, 3), (1, 1), (1, 1), count_include_pad=False),
    "mean ceiling": _mean((2, 8, 8, 10), (3, 3), (2, 2), (1, 1), ceil_mode=True),
    "mean divisor": _mean((1, 8, 8, 8), (3, 2), (2, 2), (1, 0), divisor_override=5),
    "mean wide": _mean((1, 8, 20, 13), (11, 11), (1, 1), (5, 5)),
    "mean wide inside": _mean(
        (1, 8, 20, 20), (11, 11), (2, 1), (5, 5), count_include_pad=False
    ),
    "few channels": _maximum((2, 3, 9, 9), (3, 3), (2, 2), (1, 1)),
    "mixed channels": _mean((1, 20, 7, 7), (3, 3), (2, 2), (1, 1)),
    "one row": _maximum((1, 8, 1, 40), (1, 4), (1, 4)),
}

ADAPTIVE = {
    "global": ((2, 16, 7, 7), (1, 1)),
    "large global": ((1, 8, 40, 40), (1, 1)),
    "even": ((1, 8, 12, 8), (3, 4)),
    "uneven": ((1, 8, 10, 11), (7, 4)),
    "many": ((1, 8, 40, 37), (21, 17)),
    "upward": ((1, 8, 3, 5), (7, 7)),
    "odd channels": ((1, 12, 7, 7), (2, 2)),
}


def _work(case, layouts) -> Pool:
    shape, settings, arguments, keywords, function = case
    output = function(torch.zeros(shape), *arguments, **keywords).shape
    window, stride = arguments[:2]
    padding = arguments[2] if len(arguments) > 2 else (0, 0)
    dilation = arguments[3] if len(arguments) > 3 else (1, 1)
    return Pool(
        input=_layout(layouts, shape),
        output=_layout(layouts, tuple(output)),
        kernel=window,
        stride=stride,
        padding=padding,
        dilation=dilation,
        include_padding=keywords.get("count_include_pad", True),
        divisor=keywords.get("divisor_override"),
        **settings,
    )


def _run(work, x, check, expected, buffers=(), threads=1) -> None:
    found = points(work, lanes=LANES, threads=threads)
    chosen = dict.fromkeys((found[0], found[len(found) // 2], found[-1]))
    kernels = [
        kernel(work, point, lanes=LANES, threads=threads, name=f"k{index}")
        for index, point in enumerate(chosen)
    ]
    call = check.compile_all(kernels)
    inputs = [check.scatter(x, work.input, SEEN), *buffers]
    for each in kernels:
        check.close(check.called(call, each.name, inputs, work.output), expected)


def _layouts(shape) -> list[str]:
    return ["rows", "blocks" if shape[1] % 8 == 0 else "last"]


@pytest.mark.parametrize(
    ("name", "layouts"),
    [(name, each) for name, case in CASES.items() for each in _layouts(case[0])],
)
def test_windows(name, layouts, check) -> None:
    case = CASES[name]
    work = _work(case, layouts)
    x = torch.randn(case[0])
    _run(work, x, check, case[4](x.double(), *case[2], **case[3]))


@pytest.mark.parametrize("name", sorted(ADAPTIVE))
@pytest.mark.parametrize("kind", ["mean", "max"])
def test_adaptive(name, kind, check) -> None:
    shape, size = ADAPTIVE[name]
    layouts = _layouts(shape)[1]
    function = F.adaptive_avg_pool2d if kind == "mean" else F.adaptive_max_pool2d
    work = Pool(
        input=_layout(layouts, shape),
        output=_layout(layouts, (*shape[:2], *size)),
        kind=kind,
        adaptive=True,
    )
    x = torch.randn(shape)
    _run(work, x, check, function(x.double(), size))


def test_between_layouts_in_parallel_with_a_formula(check) -> None:
    shape, target = (2, 16, 8, 8), (2, 16, 4, 4)
    formula = Formula(slots=2, steps=(), result=slot(0)).step(slot(0) * slot(1))
    work = Pool(
        input=row_major(shape),
        output=packed(target, block=8, halo=(1, 1, 1, 1)),
        kind="mean",
        kernel=(2, 2),
        stride=(2, 2),
        formula=formula.then(lambda x: maximum(0.0, x)),
        operands=(row_major((16, 1, 1)).broadcast(target),),
    )
    x, scale = torch.randn(shape), torch.randn(16)
    expected = (F.avg_pool2d(x.double(), 2) * scale.view(16, 1, 1)).relu()
    _run(work, x, check, expected, [scale], threads=2)


def test_not_a_number_and_infinity(check) -> None:
    x = torch.randn(1, 8, 8, 8)
    x[0, 0, 2, 2] = math.nan
    x[0, 1, 3, 3] = math.inf
    x[0, 2] = -math.inf
    work = _work(_maximum(x.shape, (3, 3), (2, 2), (1, 1)), "blocks")
    _run(work, x, check, F.max_pool2d(x, 3, 2, 1))


def test_windows_by_hand() -> None:
    work = _work(_mean((1, 8, 5, 5), (3, 3), (2, 2), (1, 1)), "rows")
    # Places -1..1, 1..3, 3..5 of an image of 5.
    assert work.windows(0) == [Window(0, 2, 3), Window(1, 3, 3), Window(3, 2, 3)]
    inside = _work(
        _mean((1, 8, 5, 5), (3, 3), (2, 2), (1, 1), count_include_pad=False), "rows"
    )
    assert [each.divisor for each in inside.windows(1)] == [2, 3, 2]
    adaptive = Pool(
        input=row_major((1, 8, 7, 7)), output=row_major((1, 8, 3, 3)),
        kind="mean", adaptive=True,
    )  # fmt: skip
    # From floor(i 7 / 3) to ceil((i + 1) 7 / 3).
    assert adaptive.windows(0) == [Window(0, 3, 3), Window(2, 3, 3), Window(4, 3, 3)]


def test_segments() -> None:
    work = _work(_maximum((1, 8, 56, 56), (3, 3), (1, 1), (1, 1)), "rows")
    assert work.segments(0) == [
        Segment(0, 1, Window(0, 2, 3), 0),
        Segment(1, 54, Window(0, 3, 3), 1),
        Segment(55, 1, Window(54, 2, 3), 0),
    ]


def test_what_it_asks_for() -> None:
    work = _work(_maximum((2, 8, 8, 8), (3, 3), (2, 2), (1, 1)), "blocks")
    taps = 2 + 3 + 3 + 3  # of an axis, over its four outputs
    assert work.flops == 2 * 8 * taps * taps
    assert work.read_bytes == 4 * 2 * 8 * 8 * 8
    assert work.write_bytes == 4 * 2 * 8 * 4 * 4
    more = Pool(
        input=row_major((1, 8, 4, 4)),
        output=row_major((1, 8, 1, 1)),
        kind="mean",
        adaptive=True,
        formula=IDENTITY.then(lambda x: x * 2.0),
    )
    assert more.flops == 8 * 16 + 8


def test_points() -> None:
    blocks = _work(CASES["max"], "blocks")
    assert {point.axis for point in points(blocks, lanes=8, threads=1)} == {"c"}
    assert points(blocks, lanes=8, threads=1)[0] == Point("c", 1, 4, "nchw", 0)
    rows = _work(CASES["max"], "rows")
    assert points(rows, lanes=8, threads=1)[0].axis == "w"
    last = _work(CASES["mixed channels"], "last")
    found = points(last, lanes=8, threads=2)
    assert found[0].order == "nhwc"
    assert len(found) == len(set(found))


def test_one_thread_has_no_parallel_loop() -> None:
    work = _work(CASES["max"], "blocks")
    point = points(work, lanes=8, threads=2)[0]
    assert point.fused

    def kinds(threads):
        written = kernel(work, point, lanes=8, threads=threads, name="k")
        return {each.kind for each in walk(written.body) if isinstance(each, Loop)}

    assert Kind.PARALLEL in kinds(2)
    assert Kind.PARALLEL not in kinds(1)
