from __future__ import annotations

import torch
from torch import Tensor, nn

from trimtab.graph.capture import capture
from trimtab.zoo._rec_dien import Augru, Dien
from trimtab.zoo.preset import DienSizes, TableGroup

SIZES = DienSizes(
    items=30, profile=(TableGroup(count=1, rows=6),), dim=4, history=7, hidden=5,
    top=(6, 2),
)  # fmt: skip


def inputs(items: int) -> tuple[Tensor, Tensor]:
    item = torch.randint(1, 30, (items, 1, 1))
    user = torch.randint(0, 6, (items, 1, 1))
    return torch.cat((item, user), 1), torch.randint(1, 30, (items, 7))


def network() -> Dien:
    """With rows of usual size, so that all that is there can be seen."""
    torch.manual_seed(0)
    net = Dien(SIZES)
    nn.init.normal_(net.tables.weight)
    return net


def by_the_paper(cell: nn.GRUCell, steps: Tensor, attention: Tensor) -> Tensor:
    """Return the last state of one sequence, gate by gate as the paper writes them."""
    state = torch.zeros(cell.hidden_size)
    of_input = cell.weight_ih.chunk(3), cell.bias_ih.chunk(3)
    of_state = cell.weight_hh.chunk(3), cell.bias_hh.chunk(3)
    for i, a in zip(steps, attention, strict=True):
        x = [w @ i + b for w, b in zip(*of_input, strict=True)]
        h = [u @ state + b for u, b in zip(*of_state, strict=True)]
        reset = (x[0] + h[0]).sigmoid()
        update = 1 - (x[1] + h[1]).sigmoid()  # torch's gate is how much stays
        new = (x[2] + reset * h[2]).tanh()
        scaled = a * update
        state = (1 - scaled) * state + scaled * new
    return state


def test_augru_computes_the_equations() -> None:
    torch.manual_seed(0)
    augru = Augru(4, 5)
    steps, attention = torch.randn(3, 6, 4), torch.rand(3, 6)
    expected = torch.stack(
        [by_the_paper(augru.cell, s, a) for s, a in zip(steps, attention, strict=True)]
    )
    torch.testing.assert_close(augru(steps, attention), expected)


def test_augru_with_full_attention_is_a_gru() -> None:
    augru, gru = Augru(4, 5), nn.GRU(4, 5, batch_first=True)
    gru.load_state_dict(
        {f"{name}_l0": value for name, value in augru.cell.state_dict().items()}
    )
    steps = torch.randn(3, 6, 4)
    _, last = gru(steps)
    torch.testing.assert_close(augru(steps, torch.ones(3, 6)), last[0])


def test_it_computes_the_equations() -> None:
    net = network()
    ids, history = inputs(1)
    items, users = net.tables.weight.split((30, 6))
    item, user = items[ids[0, 0, 0]], users[ids[0, 1, 0]]
    states = net.extractor(items[history])[0][0]
    attention = (states @ net.match.weight @ item).softmax(0)
    interest = by_the_paper(net.evolution.cell, states, attention)
    expected: Tensor = net.top(torch.cat((interest, item, user)))
    found: Tensor = net(ids, history)
    torch.testing.assert_close(found[0], expected.softmax(0))


def test_there_is_a_gru_and_a_second_recurrence_over_every_step() -> None:
    """The authors' code has two plain tanh layers instead."""
    graph = capture(network().eval(), inputs(2))
    ops = [node.op for node in graph.nodes]
    assert ops.count("aten.gru.input") == 1
    assert ops.count("aten.gru_cell.default") == 7
    assert not any("rnn" in op for op in ops)


def test_the_order_of_the_history_counts() -> None:
    net = network()
    ids, _ = inputs(1)
    history = torch.arange(1, 8)[None]
    one: Tensor = net(ids, history)
    other: Tensor = net(ids, history.flip(1))
    assert not torch.allclose(one, other)


def test_padding_behind_the_history_adds_nothing() -> None:
    net = network()
    ids, history = inputs(3)
    history[:, 4:] = 0
    before: Tensor = net(ids, history)
    with torch.no_grad():
        net.tables.weight[0] += 5.0
    after: Tensor = net(ids, history)
    torch.testing.assert_close(before, after)
    short = Dien(
        DienSizes(
            items=30, profile=SIZES.profile, dim=4, history=4, hidden=5, top=(6, 2)
        )
    )
    short.load_state_dict(net.state_dict())
    torch.testing.assert_close(short(ids, history[:, :4]), after)


def test_a_user_without_history_has_scores() -> None:
    ids, history = inputs(3)
    out: Tensor = network()(ids, torch.zeros_like(history))
    assert out.isfinite().all()


def test_the_output_is_a_distribution() -> None:
    """The authors' code ends in a ReLU."""
    out: Tensor = network()(*inputs(9))
    assert out.shape == (9, 2)
    assert (out > 0).all()
    torch.testing.assert_close(out.sum(1), torch.ones(9))
