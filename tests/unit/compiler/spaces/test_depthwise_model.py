import numpy as np
import pytest

from trimtab.compiler.formula import IDENTITY
from trimtab.compiler.layout import packed
from trimtab.compiler.spaces.depthwise import Depthwise, Point
from trimtab.compiler.spaces.depthwise_model import knobs, nests, points


def _work(channels=16, size=14, stride=1, batch=1):
    out = (size - 1) // stride + 1
    return Depthwise(
        input=packed((batch, channels, size, size), block=8, halo=(1, 1, 1, 1)),
        output=packed((batch, channels, out, out), block=8),
        kernel=(3, 3),
        stride=(stride, stride),
        padding=(1, 1),
        formula=IDENTITY,
    )


def test_every_point_is_legal_and_the_space_is_large():
    work = _work(channels=96, size=56)
    found = points(work, lanes=8, threads=1)
    assert len(found) == len(set(found)) >= 1000
    legal = knobs(work, lanes=8, threads=1).legal
    assert all(legal(each) for each in found)
    assert not legal(Point(8, 28, 3, "nchw"))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("batch", [1, 3])
def test_products_are_counted_exactly(stride, batch):
    work = _work(stride=stride, batch=batch)
    some = points(work, lanes=8, threads=1)[::37]
    out = work.output.shape[2]
    # Two vectors of channels, nine products for each pixel.
    expected = batch * 2 * out * out * 9
    for places, nest in nests(work, some, lanes=8, threads=1):
        total = sum(np.asarray(part.steps * part.body.fmas) for part in nest.parts)
        np.testing.assert_allclose(total, expected)
        assert np.shape(total) == (len(places),)


def test_a_written_window_loads_a_pixel_once():
    work = _work()
    once, again = Point(1, 7, 3, "nchw"), Point(1, 7, 1, "nchw")
    ((_, nest),) = nests(work, [once, again], lanes=8, threads=1)
    body = nest.parts[0].body
    # Three rows of nine pixels for seven outputs, and nine weights, over nine taps.
    np.testing.assert_allclose(np.asarray(body.loads)[0] * 9, 3 * 9 + 9)
    np.testing.assert_allclose(np.asarray(body.loads)[1] * 9, 3 * 9 + 9)
    two = Point(2, 7, 3, "nchw"), Point(2, 7, 1, "nchw")
    ((_, nest),) = nests(work, two, lanes=8, threads=1)
    loads = np.asarray(nest.parts[0].body.loads) * 9
    np.testing.assert_allclose(loads, [4 * 9 + 9, 2 * 3 * 9 + 9])


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        # Tiles of one row, and of two: row behind row is a plain stream.
        ("nchw", (1.0, 1.15)),
        ("ncwh", (1.0, 1.15)),
        ("nhcw", (1.15, 1.15)),
        ("nhwc", (1.4, 1.4)),
    ],
)
def test_data_lie_scattered_where_steps_leave_a_row(order, expected):
    work = _work(channels=32)
    some = [Point(1, 7, 3, order), Point(2, 7, 3, order)]
    ((places, nest),) = nests(work, some, lanes=8, threads=1)
    assert places.tolist() == [0, 1]
    np.testing.assert_allclose(nest.scatter, expected)


def test_a_schedule_is_judged_alike_alone_and_among_others():
    work = _work(channels=32, size=7, batch=2)
    # A tile of the whole image: of rows and columns no loop moves, whatever others do.
    some = [Point(7, 7, 3, "nhcw"), Point(1, 2, 3, "nhcw")]
    ((_, together),) = nests(work, some, lanes=8, threads=1)
    for place, each in enumerate(some):
        ((_, alone),) = nests(work, [each], lanes=8, threads=1)
        assert np.asarray(alone.scatter)[0] == np.asarray(together.scatter)[place]
    assert np.asarray(together.scatter)[0] == 1.4
