"""What reports show of a relaxed training."""

import torch
from torch import nn

from trimtab.bundle.section import Series
from trimtab.relax.relaxed import Relaxed
from trimtab.relax.sections import Flatness, Round, flatness_of, relax_section
from trimtab.training.data import Dataset
from trimtab.training.loop import Epoch, History


def history(epochs=2):
    one = Epoch(
        train_loss=1.0, train_accuracy_frac=0.5, test_loss=2.0,
        test_accuracy_frac=0.25, learning_rate=0.1,
    )  # fmt: skip
    return History(epochs=(one,) * epochs, wall_s=(0.1,) * epochs)


def rounds():
    return [
        Round(evaluations=20 * (at + 1), steps=20, gamma=0.1, equilibration=0.8)
        for at in range(3)
    ]


def flat():
    return Flatness(
        examples=8, loss=0.1, top_eigenvalue=1.0, trace=3.0, trace_error=0.5,
        local_energy=0.2, local_entropy=0.11,
    )  # fmt: skip


def test_curves_are_over_gradients():
    made = relax_section(
        "local-entropy", history(), rounds(), flat(), evaluations=60, final=(1.5, 0.3)
    )
    titles = [each.title for each in made.figures]
    assert titles == [
        "Loss", "Error", "Equilibration of rounds",
        "Flatness, of 8 training examples",
    ]  # fmt: skip
    loss, error = made.figures[:2]
    assert isinstance(loss, Series)
    assert isinstance(error, Series)
    assert loss.lines[1].x == (30.0, 60.0)
    assert error.lines[1].y == (0.75, 0.75)
    assert "came 80 % of its way" in made.text


def test_what_has_no_tether_says_nothing_of_it():
    free = [Round(evaluations=4, steps=4, gamma=1.0, equilibration=None)]
    made = relax_section(
        "heat", history(), free, None, evaluations=60, final=(1.5, 0.3)
    )
    assert [each.title for each in made.figures] == ["Loss", "Error"]
    assert "tether" not in made.text


def test_flatness_of_a_network_leaves_it_as_it_was():
    torch.manual_seed(0)
    x, y = torch.randn(30, 4), torch.arange(30) % 3
    data = Dataset(name="noise", train=(x, y), test=(x, y), classes=3)
    net = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)).eval()
    before = [each.clone() for each in net.parameters()]
    found = flatness_of(net, data, seed=0)
    assert found == flatness_of(net, data, seed=0)
    assert all(map(torch.equal, before, net.parameters()))
    assert found.examples == 30
    assert found.top_eigenvalue > 0
    assert abs(found.local_entropy - found.loss) < 0.05  # moves of a hundredth


def test_a_round_is_the_one_that_ended():
    x = nn.Parameter(torch.ones(1))
    opt = Relaxed([x], steps=2, scope=1.0)
    for _ in range(2):
        x.grad = torch.ones(1)
        opt.step()
    made = Round.of(opt)
    assert (made.evaluations, made.steps, made.gamma) == (2, 2, 1.0)
    assert made.equilibration == opt.last_equilibration
