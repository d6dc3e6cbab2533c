import numpy as np
import pytest

from trimtab.compiler.formula import IDENTITY
from trimtab.compiler.layout import Layout, packed
from trimtab.compiler.loops import Loop, Store, walk
from trimtab.compiler.spaces.contraction import Contraction, Point, kernel
from trimtab.compiler.spaces.contraction_model import knobs, nests, points


def _work(channels=32, out=40, size=14, k=3, stride=1, batch=1, groups=1):
    after = (size + 2 * (k // 2) - k) // stride + 1
    return Contraction(
        input=packed((batch, channels, size, size), block=8, halo=(k // 2,) * 4),
        output=packed((batch, out, after, after), block=8),
        kernel=(k, k),
        stride=(stride, stride),
        padding=(k // 2, k // 2),
        groups=groups,
        formula=IDENTITY,
    )


WORKS = [_work(), _work(k=1), _work(stride=2), _work(batch=3), _work(groups=2, out=48)]


@pytest.mark.parametrize("work", WORKS)
def test_products_are_counted_exactly(work):
    some = points(work, lanes=8, threads=1)[::301]
    batch, out, height, width = work.output.shape
    expected = batch * (out // 8) * height * width * work.depth
    seen = 0
    for places, nest in nests(work, some, lanes=8, threads=1):
        total = sum(np.asarray(part.steps * part.body.fmas) for part in nest.parts)
        np.testing.assert_allclose(total, expected)
        seen += len(places)
    assert seen == len(some)


def test_the_nest_is_the_one_that_is_written():
    work = _work(size=12)
    point = Point(1, 4, 2, 4, "nghw")
    ((_, nest),) = nests(work, [point], lanes=8, threads=1)
    trips = {name: float(np.max(each)) for name, each in nest.loops}
    written = kernel(work, point, lanes=8, threads=1, name="k")
    text = str(written)
    # Forty channels: two groups of two vectors, and one vector that is left.
    assert trips["g"] == 3
    assert trips["h"] == 12
    assert trips["w"] == 12 / 4
    assert "for g0 in 2:" in text
    stores = [
        each
        for each in walk(written.body)
        if isinstance(each, Store) and each.buffer.name == "y"
    ]
    assert len(stores) == 2, "the groups, and what is left"
    assert any(isinstance(each, Loop) for each in walk(written.body))


def test_the_space_is_large_and_legal():
    work = _work(channels=64, out=64, size=28)
    found = points(work, lanes=8, threads=1)
    assert len(found) == len(set(found)) >= 1000
    space = knobs(work, lanes=8, threads=1)
    assert all(space.legal(each) for each in found)
    assert not any(each.prefetch and each.order.endswith("g") for each in found)
    more = points(work, lanes=8, threads=2)
    assert {each.fused for each in more} == {1, 2}


def test_weights_that_wait_behind_others_are_exposed():
    work = _work(channels=512, out=512, size=7)
    asked, not_asked = Point(1, 4, 3, 8, "nghw", True), Point(1, 4, 3, 8, "nghw")
    ((_, nest),) = nests(work, [asked, not_asked], lanes=8, threads=1)
    first = np.broadcast_to(nest.first_pass, (2,))
    # Asked for ahead, they come during all of the work; else during the first tile.
    assert first[0] == 1
    assert first[1] == pytest.approx(1 / (7 * 2))


def test_computed_weights_are_not_cold():
    layout = Layout(shape=(1, 8, 1, 4), strides=(0, 1, 0, 8), size=32)
    work = Contraction(
        input=layout,
        output=layout,
        formula=IDENTITY,
        weight=Layout(shape=(1, 8, 8), strides=(0, 8, 1), size=64),
    )
    some = points(work, lanes=8, threads=1)
    assert not any(each.prefetch for each in some)
    for _, nest in nests(work, some, lanes=8, threads=1):
        assert nest.weight_bytes() == 0
