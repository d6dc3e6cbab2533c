from __future__ import annotations

import inspect

import pytest
import torch
from torch import nn

from trimtab.errors import UsageError
from trimtab.zoo import vision
from trimtab.zoo.registry import Network, network, networks

_VISION = [n for n in networks() if n.load().__name__ in vision.__all__]
_SCALABLE = [n for n in _VISION if "width" in n.keywords()]
_EACH = pytest.mark.parametrize("entry", _VISION, ids=lambda entry: entry.name)


def test_every_factory_is_registered_under_its_own_name() -> None:
    assert [entry.name for entry in _VISION] == vision.__all__
    assert all(entry.load() is getattr(vision, entry.name) for entry in _VISION)


@_EACH
def test_building_on_meta_gives_the_stated_parameters_and_shape(entry: Network) -> None:
    with torch.device("meta"):
        module = entry.build()
    assert module.training
    assert all(p.is_meta for p in module.parameters())
    assert all(b.is_meta for b in module.buffers())
    assert sum(p.numel() for p in module.parameters()) == entry.parameters
    inputs = [x.to("meta") for x in entry.example_inputs(batch=2)]
    out: torch.Tensor = module.eval()(*inputs)
    assert out.shape == (2, 1000 if entry.input_shapes[0][-1] == 224 else 10)


@_EACH
def test_factories_take_keywords_and_refuse_nonsense(entry: Network) -> None:
    parameters = inspect.signature(entry.load()).parameters.values()
    assert all(p.kind is p.KEYWORD_ONLY for p in parameters)
    with pytest.raises(UsageError, match=r"^num_classes=0: it must be at least 1"):
        entry.build(num_classes=0)
    with pytest.raises(UsageError, match=r"^in_channels=-1: it must be at least 1"):
        entry.build(in_channels=-1)


@pytest.mark.parametrize("entry", _SCALABLE, ids=lambda entry: entry.name)
def test_narrow_networks_compute_finite_numbers(entry: Network) -> None:
    module = entry.build(num_classes=4, in_channels=2, width=0.125)
    x = torch.randn(2, 2, *(min(side, 32) for side in entry.input_shapes[0][1:]))
    out: torch.Tensor = module(x)
    assert out.shape == (2, 4)
    assert out.isfinite().all()
    module.eval()
    with torch.inference_mode():
        one: torch.Tensor = module(x)
        two: torch.Tensor = module(x)
    assert torch.equal(one, two)


@pytest.mark.parametrize("name", ["digits_cnn", "mobilenet_v2_cifar", "resnet20_cifar"])
def test_the_seed_decides_the_weights(name: str) -> None:
    def build(seed: int) -> list[nn.Parameter]:
        torch.manual_seed(seed)
        return list(network(name).build().parameters())

    first, same, other = (build(seed) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, same, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))
