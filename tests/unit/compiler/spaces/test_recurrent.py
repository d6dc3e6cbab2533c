"""Recurrent layers against PyTorch's, in float64."""

from typing import Any

import pytest
import torch
from torch import nn

from trimtab.compiler.layout import Layout, row_major
from trimtab.compiler.loops import Kind, Loop, walk
from trimtab.compiler.spaces.recurrent import (
    Point,
    Recurrent,
    kernel,
    pack_order,
    points,
)

LANES = 8
GATES = {"lstm": 4, "gru": 3, "tanh": 1, "relu": 1}


def _module(cell, inputs, hidden, **more) -> Any:
    if cell in ("tanh", "relu"):
        return nn.RNN(inputs, hidden, nonlinearity=cell, **more)
    return (nn.LSTM if cell == "lstm" else nn.GRU)(inputs, hidden, **more)


def _packed(work, weight, vectors):
    """Return ``weight_hh`` as the kernel reads it."""
    blocks = weight.view(work.count, work.hidden, work.hidden)
    return torch.cat(
        [
            blocks[:, first : first + units].permute(2, 0, 1).reshape(-1)
            for first, units in pack_order(work, vectors, LANES)
        ]
    )


def _layer(work, module, suffix, x, state, point, threads, check):
    """Run one direction of one layer; return output and last states."""
    weight, hidden, bias, extra = (
        getattr(module, f"{stem}_{suffix}").detach()
        for stem in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    gates = x @ weight.T + bias
    inputs = [
        check.scatter(gates, work.gates),
        _packed(work, hidden, point.vectors),
        extra,
    ]
    if work.initial is not None:
        inputs += [check.scatter(each, work.initial) for each in state]
    last = [torch.full((work.final.size,), 9.0) for _ in state]
    written = kernel(work, point, lanes=LANES, threads=threads, name="k")
    y = check.run(written, [*inputs, *last], work.output)
    return y, [check.gather(each, work.final) for each in last]


def _work(cell, steps, samples, hidden, **more) -> Recurrent:
    settings: dict[str, Any] = {
        "gates": row_major((steps, samples, GATES[cell] * hidden)),
        "output": row_major((steps, samples, hidden)),
        "initial": row_major((samples, hidden)),
        "final": row_major((samples, hidden)),
    }
    return Recurrent(cell=cell, **(settings | more))


def _states(cell, samples, hidden):
    count = 2 if cell == "lstm" else 1
    return [torch.randn(samples, hidden) for _ in range(count)]


@pytest.mark.parametrize("cell", sorted(GATES))
@pytest.mark.parametrize(
    ("steps", "samples", "hidden"), [(5, 1, 16), (4, 3, 21), (1, 2, 5), (3, 7, 24)]
)
def test_against_pytorch(cell, steps, samples, hidden, check) -> None:
    module = _module(cell, 6, hidden)
    x, state = torch.randn(steps, samples, 6), _states(cell, samples, hidden)
    work = _work(cell, steps, samples, hidden)
    double = _module(cell, 6, hidden).double()
    double.load_state_dict({k: v.double() for k, v in module.state_dict().items()})
    begin = [each.double()[None] for each in state]
    expected, end = double(x.double(), tuple(begin) if cell == "lstm" else begin[0])
    found = points(work, lanes=LANES, threads=1)
    for point in dict.fromkeys((found[0], found[-1])):
        y, last = _layer(work, module, "l0", x, state, point, 1, check)
        check.close(y, expected.detach())
        for each, other in zip(last, end if cell == "lstm" else (end,), strict=True):
            check.close(each, other[0].detach())


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_layers_and_directions(cell, check) -> None:
    steps, samples, hidden = 6, 4, 12
    module = _module(cell, 5, hidden, num_layers=2, bidirectional=True)
    x = torch.randn(steps, samples, 5)
    expected, end = module.double()(x.double())
    module.float()
    value, states = x, []
    for layer in (0, 1):
        # Each direction writes its half of the next layer's input.
        whole = row_major((steps, samples, 2 * hidden))
        halves = []
        for backward in (False, True):
            work = _work(
                cell, steps, samples, hidden, initial=None, backward=backward,
                output=whole.slice_of(2, hidden * backward, hidden),
            )  # fmt: skip
            suffix = f"l{layer}{'_reverse' if backward else ''}"
            point = points(work, lanes=LANES, threads=2)[0]
            zeros = _states(cell, samples, hidden)
            half, last = _layer(work, module, suffix, value, zeros, point, 2, check)
            halves.append(half)
            states.append(last)
        value = torch.cat(halves, 2)
    check.close(value, expected.detach())
    for index, other in enumerate(end if cell == "lstm" else (end,)):
        check.close(torch.stack([each[index] for each in states]), other.detach())


def test_samples_first_and_no_bias(check) -> None:
    steps, samples, hidden = 5, 3, 16
    module: Any = nn.GRU(4, hidden, batch_first=True)
    nn.init.zeros_(module.bias_hh_l0)
    x = torch.randn(samples, steps, 4)
    expected, _ = module(x)

    def turned(width) -> Layout:
        return Layout(
            shape=(steps, samples, width),
            strides=(width, steps * width, 1),
            size=steps * samples * width,
        )

    work = _work(
        "gru", steps, samples, hidden, gates=turned(3 * hidden), output=turned(hidden),
        initial=None, bias=False,
    )  # fmt: skip
    gates = (x @ module.weight_ih_l0.T + module.bias_ih_l0).detach()
    weight = module.weight_hh_l0.detach()
    point = points(work, lanes=LANES, threads=1)[0]
    written = kernel(work, point, lanes=LANES, threads=1, name="k")
    inputs = [gates.reshape(-1), _packed(work, weight, point.vectors)]
    y = check.run(written, [*inputs, torch.zeros(samples * hidden)], work.output)
    check.close(y.transpose(0, 1), expected.detach().double())


def test_order_of_the_weights() -> None:
    work = _work("gru", 1, 1, 21)
    assert list(pack_order(work, 2, LANES)) == [(0, 16), (16, 5)]
    assert list(pack_order(work, 1, LANES)) == [(0, 8), (8, 8), (16, 5)]


def test_what_it_asks_for() -> None:
    work = _work("lstm", 3, 2, 16)
    units = 3 * 2 * 16
    assert work.flops == units * (2 * 4 * 16 + 5 * 20)
    assert work.read_bytes == 4 * (units * 4 + 4 * 16 * (16 + 1) + 2 * 2 * 16)
    assert work.write_bytes == 4 * (units + 2 * 2 * 16)
    zero = _work("tanh", 3, 2, 16, initial=None, bias=False)
    assert zero.read_bytes == 4 * (units + 16 * 16)


def test_points() -> None:
    work = _work("lstm", 3, 4, 64)
    found = points(work, lanes=LANES, threads=2)
    assert len(found) == len(set(found))
    # Twelve sums at most; four gates of two samples are eight, two products a cycle.
    assert all(4 * point.rows * point.vectors <= 12 for point in found)
    assert found[0] == Point(2, 1, 4, True)
    for threads in (1, 2):
        written = kernel(work, found[0], lanes=LANES, threads=threads, name="k")
        kinds = {each.kind for each in walk(written.body) if isinstance(each, Loop)}
        assert (Kind.PARALLEL in kinds) == (threads == 2)
