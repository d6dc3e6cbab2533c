import torch
from torch import nn

from trimtab.compiler.build import known_values
from trimtab.compiler.groups import group
from trimtab.compiler.lowerings.constants import folded, key_of
from trimtab.graph.capture import capture, weights_of


def _groups(module, x):
    module.eval()
    graph = capture(module, (x,))
    return group(graph, known_values(graph, weights_of(module, graph))).groups


def test_a_normalisation_goes_into_weights():
    conv, norm = nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3)
    norm.running_mean = torch.tensor([1.0, 2.0, 3.0])
    norm.running_var = torch.tensor([4.0, 9.0, 16.0]) - norm.eps
    first, *_ = _groups(nn.Sequential(conv, norm), torch.zeros(1, 2, 4, 4))
    assert conv.bias is not None
    weight, bias = folded(first, conv.weight, conv.bias)
    scale = 1 / torch.tensor([2.0, 3.0, 4.0], dtype=torch.float64)
    mean = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    expected = (conv.weight.double() * scale.view(3, 1, 1, 1)).float()
    # Within two roundings: the variance itself was rounded.
    torch.testing.assert_close(weight, expected, rtol=2**-22, atol=0)
    torch.testing.assert_close(bias, (conv.bias.double() - mean) * scale)


def test_keys_say_what_is_folded():
    x = torch.zeros(1, 2, 4, 4)
    plain, *_ = _groups(nn.Sequential(nn.Conv2d(2, 3, 1)), x)
    normed, *_ = _groups(nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3)), x)
    one, other = torch.arange(3.0), torch.arange(3.0) + 1
    keys = {
        key_of(plain, "weight", one),
        key_of(plain, "bias", one),
        key_of(plain, "weight", other),
    }
    assert len(keys) == 3
    assert key_of(normed, "weight", one) == key_of(plain, "weight", one.clone())
