"""The variational bound is below the integral."""

from tests.unit.symmetry.evidence.test_laplace import data, integral, logistic

from trimtab.symmetry.evidence.elbo import elbo_fit
from trimtab.symmetry.train import Recipe


def test_the_bound_is_below_the_integral_at_the_precision_it_finds():
    found = data()
    net = logistic("by 1")
    recipe = Recipe(steps=500, rounds=1, batch_size=12, learning_rate=0.05)
    bound = elbo_fit(net, found, recipe, seed=0)
    values = net.body.weight.values.detach()
    variance = float((values**2 + bound.sigmas["body.weight"] ** 2).mean())
    exact = integral(found, "by 1", 1.0 / min(variance, 1.0), points=201)
    assert bound.value <= exact + 3 * bound.error
    assert bound.value > exact - 2.0
    assert bound.divergence > 0
    assert bound.value == bound.log_likelihood - bound.divergence


def test_equal_seeds_give_equal_bounds():
    recipe = Recipe(steps=40, rounds=1, batch_size=12)
    one, two = (elbo_fit(logistic("none"), data(), recipe, seed=1) for _ in range(2))
    assert one.value == two.value
    assert one.error > 0
