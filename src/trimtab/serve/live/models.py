"""A network as a worker runs it: named rows in, named rows out, weights held once.

What a worker runs is a module of PyTorch with a batch axis, or a bundle with compiled
code. The weights of a module stand in memory that all workers of a host share: its
tables may be larger than what two copies would leave room for.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import torch
from torch import Tensor, nn

from trimtab.errors import DataError, UsageError
from trimtab.serve.live.arena import Field

__all__ = ["Model", "attach", "described", "share"]

_ALIGNED: Final = 64


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Model:
    """A network and what it takes and gives.

    Attributes:
        name: for people.
        call: takes tensors in the order of `inputs`, returns those of `outputs`.
        inputs: of an item.
        outputs: of an item.
        module: whose weights can be shared; None for compiled code.
        example: an item of each input.
    """

    name: str
    call: Callable[[Sequence[Tensor]], tuple[Tensor, ...]]
    inputs: tuple[Field, ...]
    outputs: tuple[Field, ...]
    module: nn.Module | None
    example: tuple[Tensor, ...]

    def drawn(self, rows: int, *, seed: int = 0) -> list[Tensor]:
        """Return inputs of so many items: random numbers, and ids within bounds."""
        drawn = torch.Generator().manual_seed(seed)
        found = []
        for each, one in zip(self.inputs, self.example, strict=True):
            shape = (rows, *each.shape)
            if one.is_floating_point():
                found.append(torch.randn(shape, generator=drawn).to(one.dtype))
            elif each.bounds is None or one.dtype == torch.bool:
                found.append(one.expand(shape).contiguous())
            else:
                most = torch.tensor(each.bounds).view(-1, *[1] * (len(each.shape) - 1))
                part = torch.rand(shape, generator=drawn, dtype=torch.float64)
                ids = (part * most).long() if each.shape else (part * most[0]).long()
                found.append(ids.to(one.dtype))
        return found


def described(
    name: str,
    network: Callable[..., Any],
    names: Sequence[str],
    example: Sequence[Tensor],
    module: nn.Module | None,
    bounds: Mapping[str, Sequence[int]] | None = None,
) -> Model:
    """Return a network with what it takes and gives, looked up with two items.

    Args:
        name: for people.
        network: takes tensors with a batch axis.
        names: of its inputs.
        example: an item of each, or more.
        module: whose weights can be shared; None for compiled code.
        bounds: that ids are below, by input; what the method `bounds` of the module
            says, where it has one and none are given.

    Raises:
        UsageError: its first axis is no batch axis.
    """
    one = tuple(each[:1] for each in example)
    two = [each.repeat(2, *[1] * (each.dim() - 1)) for each in one]
    labels: list[str] = []

    def call(inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        with torch.inference_mode():
            return _flat(network(*inputs), labels)

    try:
        single, double = call(one), call(two)
    except (RuntimeError, ValueError, IndexError) as error:
        raise _no_axis(name, str(error).splitlines()[0]) from error
    for before, after in zip(single, double, strict=True):
        if before.dim() < 1 or after.shape != (2 * len(before), *before.shape[1:]):
            raise _no_axis(
                name, f"two items give {list(after.shape)}, one {list(before.shape)}"
            )
    told = getattr(module, "bounds", None)
    below = bounds or (told() if callable(told) else {})
    return Model(
        name=name,
        call=call,
        inputs=tuple(
            _field(label, each, below.get(label))
            for label, each in zip(names, one, strict=True)
        ),
        outputs=tuple(
            _field(label, each, None)
            for label, each in zip(labels, single, strict=True)
        ),
        module=module,
        example=one,
    )


def _no_axis(name: str, rule: str) -> UsageError:
    return UsageError(
        f"serving {name!r}",
        rule=f"its first axis is no batch axis: {rule}",
        where="trimtab serve",
        remedy="serve a network whose rows are independent items",
    )


def _field(name: str, value: Tensor, bounds: Sequence[int] | None) -> Field:
    return Field(
        name=name,
        dtype=str(value.dtype).removeprefix("torch."),
        shape=tuple(value.shape[1:]),
        bounds=tuple(map(int, bounds)) if bounds else None,
    )


def _flat(output: Any, labels: list[str]) -> tuple[Tensor, ...]:
    """Return the tensors of an output; write down what they are called."""
    if isinstance(output, Tensor):
        found = {"output": output}
    elif isinstance(output, Mapping):
        found = {str(key): each for key, each in output.items()}
    else:
        found = {f"output_{number}": each for number, each in enumerate(output)}
    if not labels:
        labels.extend(found)
    return tuple(found.values())


# Weights that all processes of a host have once.


def share(module: nn.Module, descriptor: int) -> list[dict[str, Any]]:
    """Write weights to shared memory; return where each stands.

    Args:
        module: whose parameters and buffers are written, tied ones once.
        descriptor: of empty memory.
    """
    table: list[dict[str, Any]] = []
    place = 0
    owners: dict[tuple[int, int], int] = {}
    tensors = dict(_weights(module))
    for name, value in tensors.items():
        key = (value.data_ptr(), value.numel())
        known = owners.get(key) if value.numel() else None
        table.append({
            "name": name, "dtype": str(value.dtype).removeprefix("torch."),
            "shape": list(value.shape), "at": place if known is None else known,
        })  # fmt: skip
        if known is None:
            owners[key] = place
            place += -(-value.numel() * value.element_size() // _ALIGNED) * _ALIGNED
    os.ftruncate(descriptor, max(place, 1))
    memory = mmap.mmap(descriptor, max(place, 1))
    for each, value in zip(table, tensors.values(), strict=True):
        _view(memory, each).copy_(value.detach())
    return table


def attach(
    module: nn.Module, descriptor: int, table: Sequence[Mapping[str, Any]]
) -> None:
    """Put weights in shared memory in the place of a module's own.

    Raises:
        DataError: the module has other weights.
    """
    size = os.fstat(descriptor).st_size
    # Private: whoever writes to a weight gets a page of his own.
    memory = mmap.mmap(descriptor, size, access=mmap.ACCESS_COPY)
    found = {str(each["name"]): _view(memory, each) for each in table}
    mine = dict(_weights(module))
    if {name: each.shape for name, each in mine.items()} != {
        name: each.shape for name, each in found.items()
    }:
        raise DataError(
            f"{len(found)} weights for a module with {len(mine)}",
            rule="both have the same names and shapes",
            where="trimtab serve",
            remedy="start the server again: its source has changed",
        )
    for owner, name, key in _places(module):
        value = found[key]
        if name in owner._parameters:
            owner._parameters[name] = nn.Parameter(value, requires_grad=False)
        else:
            owner._buffers[name] = value


def _places(module: nn.Module) -> list[tuple[nn.Module, str, str]]:
    found = []
    for prefix, owner in module.named_modules():
        for name, value in (*owner._parameters.items(), *owner._buffers.items()):
            if value is not None:
                found.append((owner, name, f"{prefix}.{name}" if prefix else name))
    return found


def _weights(module: nn.Module) -> list[tuple[str, Tensor]]:
    return [(key, getattr(owner, name)) for owner, name, key in _places(module)]


def _view(memory: mmap.mmap, each: Mapping[str, Any]) -> Tensor:
    dtype = getattr(torch, each["dtype"])
    shape = tuple(each["shape"])
    count = 1
    for size in shape:
        count *= size
    if not count:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(
        memory, dtype=dtype, count=count, offset=each["at"]
    ).reshape(shape)
