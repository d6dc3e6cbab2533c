"""What the tests of the zoo share: torchvision's networks as the reference."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType

import pytest
import torch
from torch import nn


@pytest.fixture(scope="session")
def torchvision_models(torchvision: ModuleType) -> ModuleType:
    """torchvision.models, where torchvision is installed."""
    models: ModuleType = torchvision.models
    return models


@pytest.fixture
def same_as_torchvision(
    torchvision_models: ModuleType,
) -> Callable[[str, nn.Module, int], None]:
    """Assert that a network (built on meta) equals torchvision's of that name.

    The state dicts have the same keys in the same order, and with the same random
    weights and statistics the outputs are equal bit for bit.
    """

    def check(name: str, network: nn.Module, size: int) -> None:
        with torch.device("meta"):
            reference = getattr(torchvision_models, name)()
        reference.to_empty(device="cpu").eval()
        torch.manual_seed(0)
        for key, value in reference.state_dict().items():
            if key.endswith("running_var"):
                value.uniform_(0.5, 1.5)
            elif value.is_floating_point():
                bound = 1.0 if value.ndim < 2 else (3 / value[0].numel()) ** 0.5
                value.uniform_(-bound, bound)
            else:
                value.zero_()
        assert list(network.state_dict()) == list(reference.state_dict())
        network.load_state_dict(reference.state_dict(), assign=True)
        x = torch.randn(2, 3, size, size)
        with torch.inference_mode():
            expected: torch.Tensor = reference(x)
            actual: torch.Tensor = network.eval()(x)
        assert expected.std() > 0
        assert torch.equal(actual, expected)

    return check


@pytest.fixture
def on_meta() -> Iterator[None]:
    """Build everything on the meta device."""
    with torch.device("meta"):
        yield
