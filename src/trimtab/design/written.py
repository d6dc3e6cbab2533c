"""A rewritten network on disk: Python that can be imported, edits, weights.

The folder holds ``network.py`` with a factory ``build``, ``edits.json`` with what was
done to which network, and ``weights.safetensors``. Whoever imports it gets the original
network, the edits replayed and the weights loaded: ordinary modules, to be trained,
captured or compiled.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from trimtab.design.edits import edits_from_json, edits_to_json
from trimtab.design.search import Round, replay
from trimtab.errors import UsageError
from trimtab.zoo.resolve import resolve

__all__ = ["Written", "read", "rebuild", "rebuilt", "require_free", "write"]

_FORMAT = 1
_MAX_BYTES = 1 << 24  # of edits.json
_SOURCE = '''"""{title}

Made by `trimtab design optimize`. Importing it builds the network that it came from,
replays the edits beside it and loads the weights.
"""

from pathlib import Path

from trimtab.design.written import rebuilt


def build():
    """Return the network in evaluation mode."""
    return rebuilt(Path(__file__).parent)


def example_inputs():
    """Return inputs of the types and shapes that it was designed for."""
    import torch

    return tuple(
        torch.zeros(shape, dtype=getattr(torch, dtype)) for dtype, shape in {inputs!r}
    )
'''


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A rewritten network, and how it came to be.

    Attributes:
        network: the specification of the network that was edited.
        rounds: of edits.
        seed: of the weights that were drawn anew.
        inputs: types and shapes of the positional inputs that it was designed for.
    """

    network: str
    rounds: tuple[Round, ...]
    seed: int
    inputs: tuple[tuple[str, tuple[int, ...]], ...]


def write(
    folder: Path, model: nn.Module, written: Written, *, overwrite: bool = False
) -> Path:
    """Write a rewritten network and return its folder; whole or not at all.

    Args:
        folder: to make.
        model: rewritten.
        written: how it came to be.
        overwrite: whether a design that stands there may be replaced.

    Raises:
        UsageError: something stands there.
    """
    require_free(folder, overwrite=overwrite, network=written.network)
    draft = folder.with_name(f".{folder.name}.{os.getpid()}")
    draft.mkdir(parents=True)
    try:
        record = {
            "format": _FORMAT,
            "network": _from(folder, written.network),
            "seed": written.seed,
            "inputs": [
                {"dtype": dtype, "shape": list(shape)}
                for dtype, shape in written.inputs
            ],
            "rounds": [edits_to_json(each) for each in written.rounds],
        }
        (draft / "edits.json").write_text(json.dumps(record, indent=1) + "\n", "utf-8")
        count = sum(map(len, written.rounds))
        title = f"{written.network}, rewritten by {count} edits."
        source = _SOURCE.format(title=title.replace('"', "'"), inputs=written.inputs)
        (draft / "network.py").write_text(source, "utf-8")
        save_file(_state(model), draft / "weights.safetensors")
        if folder.exists():
            shutil.rmtree(folder)
        draft.replace(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def require_free(folder: Path, *, overwrite: bool, network: str = "") -> None:
    """Refuse a folder that cannot be made, or where something stands that must stay.

    Args:
        folder: to make.
        overwrite: whether a design that stands there may be replaced.
        network: specification of what is to be rewritten.

    Raises:
        UsageError: it cannot be written there, something stands there, or it is no
            design, or it is what is to be rewritten.
    """
    if not folder.exists():
        parent = next(each for each in folder.absolute().parents if each.exists())
        if not parent.is_dir() or not os.access(parent, os.W_OK):
            raise _taken(folder, f"nothing can be written in {str(parent)!r}")
        return
    if not overwrite:
        raise _taken(folder, "something stands there")
    if not folder.is_dir() or not (folder / "edits.json").is_file():
        raise _taken(folder, "what stands there is no design")
    read(folder)
    other = {each.name for each in folder.iterdir()} - _FILES
    if other:
        raise _taken(folder, f"{sorted(other)[0]!r} in it is no part of a design")
    source = Path(network.partition(".py")[0] + ".py")
    if source.exists() and folder.resolve() in source.resolve().parents:
        raise _taken(folder, "it holds the network that is to be rewritten")


_FILES = {"network.py", "edits.json", "weights.safetensors", "__pycache__"}


def _taken(folder: Path, rule: str) -> UsageError:
    return UsageError(
        f"folder {str(folder)!r} for a design",
        rule=rule,
        where="--output",
        remedy="name another, or give --overwrite for a design",
    )


def _state(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return the state, each tensor with memory of its own."""
    return {
        name: tensor.detach().clone().contiguous()
        for name, tensor in model.state_dict().items()
    }


def rebuilt(folder: Path) -> nn.Module:
    """Return the network of a folder that `write` made, in evaluation mode.

    Raises:
        UsageError: its edits or its weights are damaged, or of another network.
    """
    made = rebuild(read(folder))
    path = folder / "weights.safetensors"
    try:
        made.load_state_dict(load_file(path))
    except Exception as error:
        raise _damaged(path, " ".join(str(error).split("\n")[:2])) from error
    return made.eval()


def rebuild(written: Written, *, seed: int | None = None) -> nn.Module:
    """Return the network with its edits replayed, without its weights.

    Args:
        written: how it came to be.
        seed: to draw all weights from; those of what edits made from its own if None.
    """
    with torch.random.fork_rng(devices=[]):
        if seed is not None:
            torch.default_generator.manual_seed(seed)
        model = resolve(written.network).module
    return replay(model, written.rounds, seed=written.seed if seed is None else seed)


def _from(folder: Path, network: str) -> str:
    """Return a specification as it is written: of a file, from the folder on."""
    name, dot, rest = network.partition(".py")
    if not dot or not Path(name + dot).is_file():
        return network
    return os.path.relpath(Path(name + dot).resolve(), folder.resolve()) + rest


def _found(folder: Path, network: str) -> str:
    """Return a specification that was written so, from here on."""
    name, dot, rest = network.partition(".py")
    path = folder / (name + dot)
    return str(path.resolve()) + rest if dot and path.is_file() else network


def read(folder: Path) -> Written:
    """Return how the network of a folder came to be.

    Raises:
        UsageError: the file is not there or damaged.
    """
    path = folder / "edits.json"
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError(f"it has more than {_MAX_BYTES} bytes")
        record: Any = json.loads(path.read_text("utf-8"))
        if record["format"] != _FORMAT:
            raise ValueError(f"its format is {record['format']}, not {_FORMAT}")
        network, seed = record["network"], record["seed"]
        if not isinstance(network, str) or type(seed) is not int:
            raise ValueError("its network or its seed is none")
        if not 0 <= seed < 2**63:
            raise ValueError(f"its seed is {seed}")
        return Written(
            network=_found(folder, network),
            seed=seed,
            inputs=_inputs(record["inputs"]),
            rounds=tuple(edits_from_json(each) for each in record["rounds"]),
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(path, str(error)) from error


def _inputs(
    record: Sequence[Mapping[str, Any]],
) -> tuple[tuple[str, tuple[int, ...]], ...]:
    found = tuple((each["dtype"], tuple(each["shape"])) for each in record)
    for dtype, shape in found:
        if type(getattr(torch, str(dtype), None)) is not torch.dtype:
            raise ValueError(f"an input is of {dtype!r}")
        if not all(type(size) is int and size > 0 for size in shape):
            raise ValueError("a shape is none")
    return found


def _damaged(path: Path, reason: str) -> UsageError:
    return UsageError(
        f"design {str(path)!r}",
        rule=f"it cannot be read: {reason}",
        where="trimtab.design.written",
        remedy="write it again with `trimtab design optimize`",
    )
