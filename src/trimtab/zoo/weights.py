"""Weights from a safetensors file into a module, checked before any is changed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from trimtab.errors import UsageError

__all__ = ["load_weights"]

_NAMED: Final = 3  # how many keys a message names


def load_weights(module: nn.Module, path: Path) -> None:
    """Load the state dict of `module` from `path`, all of it or nothing.

    Keys and shapes must agree. Two keys may be missing: the second name of a tied
    weight, and the batch counter of a normalisation, which old files lack and inference
    does not use. Floating-point numbers are converted to the module's type.

    Args:
        module: changed in place.
        path: a ``.safetensors`` file. Other formats can run code and are refused.

    Raises:
        UsageError: the file is absent, damaged or of another format, the module has no
            memory (it was built on meta), or keys or shapes disagree.

    Example:
        >>> import tempfile
        >>> import torch
        >>> from safetensors.torch import save_file
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "layer.safetensors")
        ...     save_file({"weight": torch.ones(1, 2), "bias": torch.zeros(1)}, file)
        ...     layer = nn.Linear(2, 1)
        ...     load_weights(layer, file)
        >>> layer(torch.ones(1, 2)).item()
        2.0
    """
    state = _read(path)
    own = {
        name: value
        for name, value in module.state_dict(keep_vars=True).items()
        if isinstance(value, Tensor)
    }
    if any(value.is_meta for value in own.values()):
        raise UsageError(
            f"weights {path.name}",
            rule="the network was built on the meta device and has no memory for them",
            remedy="build it on the CPU",
        )
    problems = _problems(own, state)
    if problems:
        raise UsageError(
            f"weights {path.name}",
            rule="; ".join(problems),
            where=str(path),
            remedy="give the file of this network, or build the network with the "
            "arguments that the file was trained with",
        )
    module.load_state_dict(state, strict=False)


def _read(path: Path) -> dict[str, Tensor]:
    """Return the tensors of the file."""
    if path.suffix != ".safetensors":
        raise UsageError(
            f"weights {path.name}",
            rule="only .safetensors files are read: other formats can run code",
            where=str(path),
            remedy="convert the file with safetensors.torch.save_file",
        )
    if not path.is_file():
        raise UsageError(
            f"weights {path.name}",
            rule="there is no such file",
            where=str(path),
            remedy="check the path",
        )
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise UsageError(
            f"weights {path.name}",
            rule=f"the file is damaged or no safetensors file: {error}",
            where=str(path),
            remedy="fetch or write the file again",
        ) from error


def _problems(own: dict[str, Tensor], state: dict[str, Tensor]) -> list[str]:
    """Return one sentence for each kind of disagreement."""
    given = {id(own[name]) for name in state if name in own}
    missing = [
        name
        for name, value in own.items()
        if name not in state
        and id(value) not in given
        and not name.endswith("num_batches_tracked")
    ]
    unexpected = sorted(name for name in state if name not in own)
    both = [(name, own[name], state[name]) for name in own if name in state]
    shapes = [
        f"{name} {tuple(theirs.shape)} instead of {tuple(ours.shape)}"
        for name, ours, theirs in both
        if theirs.shape != ours.shape
    ]
    types = [
        f"{name} {theirs.dtype} instead of {ours.dtype}"
        for name, ours, theirs in both
        if theirs.is_floating_point() != ours.is_floating_point()
    ]
    kinds = {
        f"missing keys ({len(missing)} of {len(own)})": missing,
        f"unexpected keys ({len(unexpected)})": unexpected,
        f"wrong shapes ({len(shapes)})": shapes,
        f"wrong number types ({len(types)})": types,
    }
    return [f"{kind}: {_some(found)}" for kind, found in kinds.items() if found]


def _some(names: Sequence[str]) -> str:
    """Return the first names, and that there are more."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
