from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from trimtab.errors import NetworkNotFoundError, UsageError
from trimtab.zoo.registry import network
from trimtab.zoo.resolve import resolve
from trimtab.zoo.vision import lenet5

_NET = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, features: int = 4) -> None:
        super().__init__()
        self.fc = nn.Linear(features, 2)

    def forward(self, x):
        return self.fc(x)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A current directory of its own; what is imported from it is forgotten."""
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


# zoo:NAME


def test_zoo_network_comes_in_evaluation_mode_with_its_inputs() -> None:
    found = resolve("zoo:lenet5")
    assert (found.name, found.device) == ("lenet5", "cpu")
    assert not any(module.training for module in found.module.modules())
    assert found.example_inputs is not None
    (x,) = found.example_inputs
    assert torch.equal(x, network("lenet5").example_inputs()[0])
    out: torch.Tensor = found.module(x)
    assert out.shape == (1, 10)


def test_zoo_arguments_become_numbers_and_change_the_inputs() -> None:
    spec = "zoo:resnet50?num_classes=10&width=0.5&in_channels=1"
    found = resolve(spec, device="meta")
    assert found.device == "meta"
    assert found.name == spec.removeprefix("zoo:")
    assert found.example_inputs is not None
    (x,) = found.example_inputs
    assert x.is_meta
    assert x.shape == (1, 1, 224, 224)
    out: torch.Tensor = found.module(x)
    assert out.shape == (1, 10)
    assert found.module.get_parameter("fc.weight").shape == (10, 2048 // 2)


@pytest.mark.parametrize(
    ("query", "asked", "rule"),
    [
        ("classes=3", "classes=3", "the network lenet5 has no such argument"),
        ("num_classes", "num_classes", "an argument is written name=value"),
        ("", "", "an argument is written name=value"),
        ("num_classes=3&", "", "an argument is written name=value"),
        ("num_classes=3&num_classes=4", "num_classes=4", "an argument stands once"),
    ],
)
def test_zoo_arguments_of_wrong_form(query: str, asked: str, rule: str) -> None:
    spec = f"zoo:lenet5?{query}"
    with pytest.raises(UsageError) as caught:
        resolve(spec)
    assert str(caught.value) == (
        f"argument {asked!r}: {rule} ({spec}). "
        "Use num_classes, in_channels, joined by &."
    )


@pytest.mark.parametrize(
    ("argument", "type_name"),
    [
        ("num_classes=ten", "int"),
        ("num_classes=1.5", "int"),
        ("num_classes=1e3", "int"),
        ("num_classes=", "int"),
        ("num_classes=" + "9" * 5000, "int"),
        ("width=nan", "float"),
        ("width=inf", "float"),
        ("width=True", "float"),
    ],
)
def test_zoo_arguments_of_wrong_type(argument: str, type_name: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(f"zoo:resnet18?{argument}")
    name = argument.partition("=")[0]
    assert caught.value.asked == f"argument {argument}"
    assert caught.value.rule == f"{name} is of type {type_name}"
    assert caught.value.where == f"zoo:resnet18?{argument}"


def test_zoo_argument_of_wrong_size_keeps_the_factorys_error() -> None:
    with pytest.raises(UsageError, match=r"^num_classes=0: it must be at least 1"):
        resolve("zoo:lenet5?num_classes=0", device="meta")


def test_zoo_network_too_large_for_torch() -> None:
    with pytest.raises(UsageError, match="torch cannot build it") as caught:
        resolve(f"zoo:lenet5?num_classes={10**17}")
    assert caught.value.remedy == "give smaller arguments"


def test_zoo_unknown_name() -> None:
    with pytest.raises(NetworkNotFoundError, match="Did you mean resnet50"):
        resolve("zoo:resnet5")


# package.module:factory


def test_module_from_the_current_directory(folder: Path) -> None:
    (folder / "zoopkg").mkdir()
    (folder / "zoopkg" / "nets.py").write_text(
        _NET + "class Space:\n    make = staticmethod(lambda: Net(3))\nready = Net(5)\n"
    )
    path = list(sys.path)
    function = resolve("zoopkg.nets:Space.make")
    assert function.module.get_parameter("fc.weight").shape == (2, 3)
    assert function.name == "zoopkg.nets:Space.make"
    assert function.example_inputs is None
    assert resolve("zoopkg.nets:Net").module.get_parameter("fc.weight").shape == (2, 4)
    ready = resolve("zoopkg.nets:ready").module
    assert ready is sys.modules["zoopkg.nets"].ready
    assert not ready.training
    assert sys.path == path


def test_module_that_is_installed() -> None:
    assert isinstance(resolve("torch.nn:ReLU").module, nn.ReLU)
    found = resolve("trimtab.zoo.vision:lenet5", device="meta")
    assert found.device == "meta"


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("no_such_package:f", r"there is no module no_such_package \(installed"),
        ("torch.nn:Relu", r"there is no 'Relu' .*Did you mean ReLU"),
        ("torch.nn:Linear", r"the factory needs arguments: in_features, out_features"),
        ("math:pi", "it is neither a factory nor an nn.Module but a value of type flo"),
        ("builtins:dict", "the factory returned no nn.Module but a value of type dict"),
    ],
)
def test_module_that_gives_no_network(spec: str, text: str) -> None:
    with pytest.raises(NetworkNotFoundError, match=text) as caught:
        resolve(spec)
    assert caught.value.asked == f"network {spec!r}"
    assert caught.value.remedy


# Files


def test_file_with_and_without_factory(folder: Path) -> None:
    file = folder / "net.py"
    file.write_text(_NET + "def narrow():\n    return Net(1)\n")
    named = resolve(f"{file}:narrow")
    assert named.module.get_parameter("fc.weight").shape == (2, 1)
    assert named.name == "net:narrow"
    clear = resolve("net.py")
    assert clear.module.get_parameter("fc.weight").shape == (2, 4)
    assert clear.name == "net:Net"
    assert "net" not in sys.modules


def test_file_finds_its_neighbours(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "helper_of_zoo_test.py").write_text("SIZE = 7\n")
    (folder / "sub" / "net.py").write_text(
        _NET + "def build():\n    from helper_of_zoo_test import SIZE\n"
        "    return Net(SIZE)\n"
    )
    module = resolve(os.path.join("sub", "net.py")).module  # noqa: PTH118
    assert module.get_parameter("fc.weight").shape == (2, 7)


def test_file_that_is_absent(folder: Path) -> None:
    with pytest.raises(NetworkNotFoundError) as caught:
        resolve("absent.py:f")
    assert str(caught.value) == (
        "network 'absent.py:f': there is no such file (absent.py). Check the path."
    )


def test_file_that_fails_tells_its_line(folder: Path) -> None:
    (folder / "bad.py").write_text("x = 1\nraise ValueError('not today')\n")
    with pytest.raises(NetworkNotFoundError) as caught:
        resolve("bad.py:f")
    assert str(caught.value) == (
        "network 'bad.py:f': running the file raised ValueError: not today "
        "(bad.py:2). Correct the code at that line."
    )
    (folder / "late.py").write_text("def build():\n    return {}['key']\n")
    with pytest.raises(NetworkNotFoundError, match=r"KeyError: 'key' \(late.py:2\)"):
        resolve("late.py", device="meta")
    (folder / "typo.py").write_text("def build()\n    return 1\n")
    with pytest.raises(NetworkNotFoundError, match=r"SyntaxError.*\(typo.py:1\)"):
        resolve("typo.py")


# Meta


def test_meta_builds_shapes_only(folder: Path) -> None:
    (folder / "net.py").write_text(_NET)
    found = resolve("net.py", device="meta")
    assert found.device == "meta"
    assert found.module.get_parameter("fc.weight").is_meta


@pytest.mark.parametrize(
    "body",
    [
        "n = Net(); n.fc.weight.sum().item(); return n",  # fails on meta
        "n = Net(); n.fc.bias.tolist(); return n",
        "n = Net(); n.b = nn.Buffer(torch.zeros(1, device='cpu')); return n",  # mixed
    ],
)
def test_meta_falls_back_to_the_cpu_and_says_so(folder: Path, body: str) -> None:
    (folder / "net.py").write_text(
        _NET + f"def build():\n    {body}\n"
        "def example_inputs():\n    return torch.ones(3, 4)\n"
    )
    found = resolve("net.py", device="meta")
    assert found.device == "cpu"
    assert not any(p.is_meta for p in found.module.parameters())
    assert found.example_inputs is not None
    assert found.example_inputs[0].device.type == "cpu"


# Inputs


@pytest.mark.parametrize(
    "code",
    [
        "def example_inputs():\n    return (torch.ones(3, 4),)\n",
        "def example_inputs():\n    return torch.ones(3, 4)\n",
        "def example_inputs():\n    return [torch.ones(3, 4)]\n",
        "def build():\n    return Net()\n"
        "build.example_inputs = lambda: torch.ones(3, 4)\n"
        "def example_inputs():\n    return torch.ones(9, 9)\n",
        "Net.example_inputs = lambda self: torch.ones(3, 4)\n"
        "def example_inputs():\n    return torch.ones(9, 9)\n",
    ],
)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_inputs_come_from_factory_network_or_module(
    folder: Path, code: str, device: str
) -> None:
    (folder / "net.py").write_text(_NET + code)
    found = resolve("net.py", device=device)  # type: ignore[arg-type]
    assert found.example_inputs is not None
    (x,) = found.example_inputs
    assert x.shape == (3, 4)
    assert x.device.type == device


def test_inputs_may_be_nested(folder: Path) -> None:
    (folder / "net.py").write_text(
        _NET
        + "def example_inputs():\n    return {'a': torch.ones(1)}, [torch.ones(2)]\n"
    )
    found = resolve("net.py", device="meta")
    assert found.example_inputs is not None
    first, second = found.example_inputs
    assert first["a"].is_meta
    assert second[0].is_meta


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("example_inputs = 3\n", "no tensor and no tuple but a value of type int"),
        ("def example_inputs(): pass\n", "no tuple but a value of type NoneType"),
        ("def example_inputs(): 1 / 0\n", "example_inputs raised ZeroDivisionError"),
    ],
)
def test_inputs_that_are_none(folder: Path, code: str, text: str) -> None:
    (folder / "net.py").write_text(_NET + code)
    with pytest.raises((UsageError, NetworkNotFoundError), match=text) as caught:
        resolve("net.py")
    assert caught.value.where.startswith("net.py")


# Weights, devices, other forms


def test_weights_are_loaded(folder: Path) -> None:
    source = lenet5()
    save_file(source.state_dict(), "lenet.safetensors")
    found = resolve("zoo:lenet5", weights=Path("lenet.safetensors"))
    x = torch.randn(2, 1, 32, 32)
    expected: torch.Tensor = source.eval()(x)
    actual: torch.Tensor = found.module(x)
    assert torch.equal(actual, expected)
    with pytest.raises(UsageError, match=r"wrong shapes \(2\): classifier\.4\.weight"):
        resolve("zoo:lenet5?num_classes=3", weights=Path("lenet.safetensors"))


def test_weights_need_memory() -> None:
    with pytest.raises(UsageError) as caught:
        resolve("zoo:lenet5", weights=Path("lenet.safetensors"), device="meta")
    assert str(caught.value) == (
        "weights lenet.safetensors on the meta device: meta has no memory for weights "
        "(zoo:lenet5). Use the device cpu, or leave the weights out."
    )


def test_other_devices_are_refused() -> None:
    with pytest.raises(UsageError, match="resolved on cpu or meta"):
        resolve("zoo:lenet5", device="cuda")  # type: ignore[arg-type]


@pytest.mark.parametrize("spec", ["", "runs/one", "a b:c", "x:", ":x", "torch.nn"])
def test_other_forms_are_refused(spec: str) -> None:
    with pytest.raises(NetworkNotFoundError) as caught:
        resolve(spec)
    assert str(caught.value) == (
        f"network {spec!r}: it has none of the five forms. Give zoo:NAME, "
        "package.module:factory, path/to/net.py:factory, path/to/net.onnx or the "
        "folder of a bundle."
    )


def test_a_bare_name_is_led_to_the_zoo() -> None:
    with pytest.raises(NetworkNotFoundError, match="Did you mean zoo:resnet50"):
        resolve("resnet50")
