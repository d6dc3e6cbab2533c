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
