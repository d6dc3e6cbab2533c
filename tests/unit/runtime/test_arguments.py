"""Arguments come by place or by name, whatever they came by at capture."""

from __future__ import annotations

from typing import Any

import pytest
from torch import Tensor, nn

from trimtab.errors import UsageError
from trimtab.graph.tree import Tree
from trimtab.runtime.arguments import as_captured, parameters_of


class Several(nn.Module):
    def forward(self, x: Tensor, y: Tensor, scale: float = 1.0, *, z: Any) -> Any:
        return x, y, scale, z


class Only(nn.Module):
    def forward(self, x: Tensor, /, y: Tensor) -> Any:
        return x, y


class Anything(nn.Module):
    def forward(self, *tensors: Tensor, **more: Tensor) -> Any:
        return tensors, more


@pytest.mark.parametrize(
    ("module", "names"),
    [
        (nn.Linear(1, 1), ("input",)),
        (nn.Sequential(), ("input",)),
        (Several(), ("x", "y", "scale")),
        (Only(), ()),
        (Anything(), ()),
    ],
)
def test_what_goes_by_place_and_by_name(
    module: nn.Module, names: tuple[str, ...]
) -> None:
    assert parameters_of(module) == names


def test_a_forward_without_a_signature_has_none() -> None:
    module = nn.Identity()
    module.forward = print  # type: ignore[assignment]
    assert parameters_of(module) == ()
    module.forward = 3  # type: ignore[assignment]
    assert parameters_of(module) == ()


def tree(places: int, *names: str) -> Tree:
    """Return how arguments nested at capture."""
    leaf = Tree(kind="leaf")
    args = Tree(kind="tuple", children=(leaf,) * places)
    keywords = Tree(kind="dict", keys=names, children=(leaf,) * len(names))
    return Tree(kind="tuple", children=(args, keywords))


@pytest.mark.parametrize("captured", [(2,), (1, "y"), (0, "x", "y"), (0, "y", "x")])
@pytest.mark.parametrize(
    ("args", "keywords"),
    [((1, 2), {}), ((1,), {"y": 2}), ((), {"x": 1, "y": 2}), ((), {"y": 2, "x": 1})],
)
def test_every_form_becomes_that_of_the_capture(
    captured: Any, args: Any, keywords: Any
) -> None:
    places, *names = captured
    found = as_captured(args, keywords, ("x", "y"), tree(places, *names))
    assert found == ((1, 2)[:places], {name: {"x": 1, "y": 2}[name] for name in names})


def test_names_only_stay_names() -> None:
    found = as_captured((), {"z": 3, "x": 1}, ("x",), tree(1, "z"))
    assert found == ((1,), {"z": 3})


@pytest.mark.parametrize(
    ("args", "keywords", "parameters"),
    [
        ((), {"input": 1}, ()),
        ((), {"other": 1}, ("input",)),
        ((1, 2, 3), {}, ("x", "y")),
        ((), {}, ("x",)),
    ],
)
def test_what_does_not_fit_is_left_to_the_message(
    args: Any, keywords: Any, parameters: Any
) -> None:
    assert as_captured(args, keywords, parameters, tree(1)) == (args, keywords)
    assert as_captured(args, keywords, parameters, Tree(kind="leaf")) == (
        args,
        keywords,
    )


def test_an_argument_given_twice_is_refused() -> None:
    with pytest.raises(UsageError) as error:
        as_captured((1,), {"x": 2}, ("x", "y"), tree(2))
    assert str(error.value) == (
        "argument 'x' twice: it is given by place and by name (compiled network). Give "
        "it once."
    )
