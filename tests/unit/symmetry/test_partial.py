"""Invariance that holds in part."""

import pytest
import torch
from tests.unit.symmetry.nets import small_cnn

from trimtab.symmetry.backbone import tied_mlp
from trimtab.symmetry.collapse import collapse
from trimtab.symmetry.evidence.derivatives import rows_of
from trimtab.symmetry.network import retie, settled, tied
from trimtab.symmetry.partial import Loosened, degree, fit_partial, loosened
from trimtab.symmetry.schemes import flips, permutations
from trimtab.symmetry.train import Recipe
from trimtab.training.data import Dataset

SWAPS = permutations({"first": [1, 0, 2, 3], "second": [0, 1, 3, 2]})


def pairs(count=120):
    """The order of the first pair matters, that of the second does not."""
    x = torch.randn(count, 4, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > x[:, 1]).long()
    return Dataset(name="pairs", train=(x, y), test=(x, y), classes=2)


def test_degrees_say_what_holds_and_evidence_whether_freedom_pays():
    data = pairs()
    net = tied_mlp(SWAPS, (4,), 2, channels=2)
    recipe = Recipe(steps=400, rounds=4, batch_size=20)
    told: list[float] = []
    found = {
        name: fit_partial(net, data, SWAPS[name], recipe=recipe, progress=told.append)
        for name in ("first", "second")
    }
    assert found["second"].degree > 0.98
    assert found["first"].degree < 0.7
    assert found["first"].log_evidence > -100  # tied for good it would be at chance
    assert told[-1] == 1.0
    again = fit_partial(net, data, SWAPS["first"], recipe=recipe)
    assert again.degree == found["first"].degree
    x = data.test[0]
    plain = collapse(found["first"].network, x)
    assert torch.allclose(plain(x), found["first"].network(x), atol=1e-5)


def test_the_degree_is_one_where_a_scheme_holds_exactly():
    family = flips()
    x = torch.randn(30, 1, 8, 8)
    net = retie(small_cnn(family), family["V4"], seed=0)
    assert degree(net, family["V4"], x) == pytest.approx(1.0, abs=1e-6)
    free = retie(small_cnn(family), family["none"], seed=0)
    assert degree(free, family["V4"], x) < 0.95


def test_free_parts_lie_beside_tied_ones():
    family = flips()
    x = torch.randn(10, 1, 8, 8)
    net = loosened(retie(small_cnn(family), family["hflip"], seed=0), seed=1)
    paths = [path for path, _ in tied(net)]
    assert "body.0.weight.shared" in paths
    assert "body.0.weight.free" in paths
    assert "body.1.weight" in paths
    settled(net, x)
    assert float(net(x).std(0).mean().detach()) == pytest.approx(1.0, abs=1e-4)
    rows = rows_of(net.eval(), x)
    sizes = [each.values.numel() for _, each in tied(net)]
    assert rows.shape == (10 * 2, sum(sizes))
    (weight,) = [each for each in net.modules() if isinstance(each, Loosened)][:1]
    shared = rows[:, : sizes[0]]
    free = rows[:, sizes[0] : sizes[0] + sizes[1]]
    summed = torch.zeros_like(shared).index_add_(1, weight.shared.orbit, free)
    assert torch.allclose(shared, summed, atol=1e-5)
