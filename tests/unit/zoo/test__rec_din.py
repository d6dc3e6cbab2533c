from __future__ import annotations

import torch
from torch import Tensor

from trimtab.zoo._rec_din import Din
from trimtab.zoo.preset import DinSizes, TableGroup

SIZES = DinSizes(
    items=30, profile=(TableGroup(count=1, rows=6),), dim=4, history=7,
    attention=(5,), top=(6, 2),
)  # fmt: skip


def inputs(items: int) -> tuple[Tensor, Tensor]:
    item = torch.randint(1, 30, (items, 1, 1))
    user = torch.randint(0, 6, (items, 1, 1))
    return torch.cat((item, user), 1), torch.randint(1, 30, (items, 7))


def network() -> Din:
    """With rows of usual size, so that all that is there can be seen."""
    torch.manual_seed(0)
    net = Din(SIZES)
    torch.nn.init.normal_(net.tables.weight)
    return net


def test_it_computes_the_equation() -> None:
    net = network()
    ids, history = inputs(1)
    items, users = net.tables.weight.split((30, 6))
    item, user = items[ids[0, 0, 0]], users[ids[0, 1, 0]]
    interest = torch.zeros(4)
    for past in items[history[0]]:
        weight: Tensor = net.attention(
            torch.cat((past, item, past - item, past * item))
        )
        interest = interest + weight * past
    expected: Tensor = net.top(torch.cat((interest, item, user)))
    found: Tensor = net(ids, history)
    torch.testing.assert_close(found[0], expected.softmax(0))


def test_every_place_of_the_history_counts() -> None:
    """The authors' code has one place when it reads its own configuration file."""
    net = network()
    ids, history = inputs(1)
    before: Tensor = net(ids, history)
    for place in range(7):
        other = history.clone()
        other[0, place] = history[0, place] % 29 + 1
        after: Tensor = net(ids, other)
        assert not torch.equal(after, before), place


def test_weights_depend_on_the_item_in_question() -> None:
    net = network()
    seen: list[Tensor] = []
    net.attention.register_forward_hook(lambda module, args, out: seen.append(out))
    ids, history = inputs(1)
    net(ids, history)
    ids[0, 0, 0] = ids[0, 0, 0] % 29 + 1
    net(ids, history)
    assert not torch.allclose(seen[0], seen[1])


def test_padding_adds_nothing() -> None:
    net = network()
    ids, history = inputs(3)
    history[:, 4:] = 0
    before: Tensor = net(ids, history)
    with torch.no_grad():
        net.tables.weight[0] += 5.0
    after: Tensor = net(ids, history)
    assert torch.equal(before, after)
    nothing: Tensor = net(ids, torch.zeros_like(history))
    assert nothing.isfinite().all()


def test_the_output_is_a_distribution() -> None:
    """The authors' code ends in a ReLU."""
    out: Tensor = network()(*inputs(9))
    assert out.shape == (9, 2)
    assert (out > 0).all()
    torch.testing.assert_close(out.sum(1), torch.ones(9))
