import pytest
import torch
from torch import nn


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_stacked_and_in_both_directions(network, kind):
    module = kind(5, 9, 2, batch_first=True, bidirectional=True)
    made = network(module, torch.randn(3, 4, 5))
    names = [type(task.work).__name__ for task in made.tasks]
    assert names[:8] == ["Contraction", "Recurrent"] * 4


def test_a_first_state_and_no_bias(network):
    network(nn.GRU(4, 8, bias=False), torch.randn(6, 2, 4), torch.randn(1, 2, 8))


_CELLS = [
    nn.LSTMCell(12, 20),
    nn.GRUCell(12, 20),
    nn.RNNCell(12, 20),
    nn.RNNCell(12, 20, nonlinearity="relu", bias=False),
    nn.LSTMCell(12, 20, bias=False),
]


@pytest.mark.parametrize("cell", _CELLS, ids=str)
def test_a_cell_is_a_layer_of_one_step(network, cell):
    """Its first state is zero, where none is given."""
    network(cell, torch.randn(5, 12), tasks=["Contraction", "Recurrent"])


@pytest.mark.parametrize("cell", _CELLS, ids=str)
@pytest.mark.parametrize("batch", [(), (5,)], ids=["unbatched", "batched"])
def test_a_cell_goes_on_from_a_state(network, cell, batch):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = cell

        def forward(self, x, h, c):
            return self.cell(x, (h, c) if isinstance(self.cell, nn.LSTMCell) else h)

    made = network(Net(), *(torch.randn(*batch, size) for size in (12, 20, 20)))
    names = [type(task.work).__name__ for task in made.tasks]
    assert names == ["Contraction", "Recurrent"]


def test_cells_one_after_another(network):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.LSTMCell(12, 16)
            self.second = nn.GRUCell(16, 8)
            self.register_buffer("h", torch.randn(3, 16))

        def forward(self, xs, c, h):
            state = self.h, c
            for x in xs.unbind(1):
                state = self.first(x, state)
                h = self.second(torch.relu(state[0]), h)
            return h, state[1] * 2

    inputs = torch.randn(3, 4, 12), torch.randn(3, 16), torch.randn(3, 8)
    made = network(Net(), *inputs)
    names = [type(task.work).__name__ for task in made.tasks]
    assert names.count("Recurrent") == 8


def test_weights_that_are_computed_are_left_to_others(network):
    class Net(nn.Module):
        def forward(self, x, h, w, u):
            return torch.rnn_tanh_cell(x, h, w, u)

    made = network(Net(), *(torch.randn(4, 4) for _ in range(4)))
    assert len(made.tasks) == 1
