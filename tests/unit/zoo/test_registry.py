from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from trimtab.errors import NetworkNotFoundError, UsageError
from trimtab.zoo.registry import Network, network, networks


def test_names_are_unique_and_sorted() -> None:
    names = [entry.name for entry in networks()]
    assert names == sorted(set(names))


def test_reading_the_registry_does_not_import_torch() -> None:
    code = (
        "import sys; from trimtab.zoo.registry import networks; networks();"
        "sys.exit('torch' in sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code]
    subprocess.run(command, check=True, timeout=60, env=environment)


def test_published_numbers_are_ours_or_explained() -> None:
    statistics = {"mobilenet_v1": 21_888, "resnet50_v2": 45_440}
    biases = {"resnet50_v2": 19_008}
    for entry in networks():
        extra = statistics.get(entry.name, 0) + biases.get(entry.name, 0)
        assert entry.published_parameters == entry.parameters + extra, entry.name
        assert (entry.counting == "trainable parameters") == (extra == 0)
        for number in (statistics, biases):
            if entry.name in number:
                assert f"{number[entry.name]:,}" in entry.counting
        assert entry.title
        assert entry.published_source


def test_unknown_name_has_a_suggestion_and_the_list() -> None:
    with pytest.raises(NetworkNotFoundError) as caught:
        network("resnet50v2")
    text = str(caught.value)
    assert text.startswith(
        "network 'resnet50v2': the zoo has none of that name (trimtab.zoo.registry). "
        "Did you mean resnet50_v2? Otherwise use one of alexnet, densenet121,"
    )
    assert all(entry.name in text for entry in networks())


def test_unknown_name_without_a_neighbour_has_the_list_only() -> None:
    with pytest.raises(NetworkNotFoundError, match="Use one of alexnet, densenet121"):
        network("qqqq")


def test_unknown_argument_names_the_allowed_ones() -> None:
    with pytest.raises(UsageError) as caught:
        network("lenet5").build(classes=3)
    assert str(caught.value) == (
        "classes for the network lenet5: the factory has no such argument "
        "(zoo:lenet5). Use num_classes, in_channels."
    )


def test_every_argument_has_a_type_that_a_specification_can_write() -> None:
    for entry in networks():
        for name, parameter in entry.keywords().items():
            assert parameter.annotation in (int, float, bool, str), (entry.name, name)
            assert parameter.default is not parameter.empty


def test_example_inputs_are_the_same_every_time_and_leave_the_generator_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = network("resnet20_cifar").example_inputs()
    second = network("resnet20_cifar").example_inputs()
    assert torch.equal(torch.get_rng_state(), before)
    assert len(first) == 1
    assert torch.equal(first[0], second[0])
    assert first[0].dtype is torch.float32


def test_example_inputs_stay_on_the_cpu_under_meta() -> None:
    with torch.device("meta"):
        (x,) = network("lenet5").example_inputs()
    assert x.device.type == "cpu"


def test_example_inputs_take_batch_and_channels() -> None:
    (x,) = network("resnet18").example_inputs(batch=3, in_channels=1)
    assert x.shape == (3, 1, 224, 224)
    with pytest.raises(UsageError, match=r"^batch 0: it must be at least 1"):
        network("resnet18").example_inputs(batch=0)


def test_a_factory_may_be_a_callable() -> None:
    def factory(*, size: int = 2) -> nn.Module:
        return nn.Linear(size, 1)

    entry = Network(
        name="line",
        title="Line",
        factory=factory,
        input_shapes=((2,),),
        parameters=3,
        published_parameters=3,
        published_source="here",
    )
    out: torch.Tensor = entry.build()(*entry.example_inputs(batch=4))
    assert out.shape == (4, 1)
    assert list(entry.keywords()) == ["size"]
