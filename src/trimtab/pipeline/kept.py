"""Results of stages on disk, by what they follow from: a killed run goes on from them.

The key is a digest of all that a stage may see: its settings and the files they name,
the network with its weights, the parts of the plan that it says it reads, the versions
and source of what computes, and the host. An entry is sealed with this user's key
(`trimtab.runtime.cache`), and has no pickle in it: a state in safetensors, the rest in
JSON. What was damaged, or is of somebody else, is not looked at: the stage is done
again, and the run says so.

A network is not stored. It is built again, from the one before: a copy where a stage
changed values only, by the stage itself where it rewrote it. Then its digest is
compared with the one that was stored, so that nothing rests on the way it was built.
"""

from __future__ import annotations

import copy
import datetime
import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Final, final

import torch
from pydantic import ConfigDict, TypeAdapter
from torch import Tensor, nn

from trimtab._version import __version__
from trimtab.bundle.section import Section
from trimtab.bundle.stage import Context, Rebuilds, Stage, StageResult
from trimtab.cost.latency import Roofline
from trimtab.cost.verdict import Verdict
from trimtab.errors import TrimtabError
from trimtab.hardware.detect import fingerprint
from trimtab.hardware.load import to_toml
from trimtab.pipeline.identity import Seen, digest_of, load_state, state_of
from trimtab.pipeline.network import beside
from trimtab.runtime.cache import Cache
from trimtab.runtime.trust import cache_folder

__all__ = ["Done", "Kept", "key_of", "now"]

MOST_BYTES: Final = 4 << 30
"""That all results take together; then those go whose last use is longest ago."""

MOST_ENTRY_BYTES: Final = 1 << 30
"""Of one result; a larger one is not kept."""

_FILE: Final = "file/"
_STATE: Final = "state/"
_ROOT: Final = Path(__file__).parents[1]
_MOST_FILE_BYTES: Final = 1 << 28  # of a file that a setting names


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A stage that is through.

    Attributes:
        name: of the stage.
        result: what it led to.
        date: of its observations, ISO 8601, UTC.
        host: fingerprint of the machine they were made on.
        kept: whether it was taken from an earlier run.
    """

    name: str
    result: StageResult
    date: str
    host: str
    kept: bool


@functools.cache
def _sources() -> str:
    """Return the SHA-256 of all of trimtab: another version may decide otherwise."""
    whole = hashlib.sha256()
    for path in sorted([*_ROOT.glob("**/*.py"), *_ROOT.glob("**/*.toml")]):
        content = path.read_bytes()
        whole.update(f"{path.relative_to(_ROOT)} {len(content)}\n".encode())
        whole.update(content)
    return whole.hexdigest()


def key_of(
    name: str, stage: Stage[Any], settings: Any, context: Context, seen: Seen
) -> str | None:
    """Return the key of the result of a stage; None where nothing says what it is.

    Args:
        name: of the stage.
        stage: itself; what it reads is in the key.
        settings: of its table.
        context: that it will get.
        seen: the network before it.
    """
    parts: dict[str, Any] = {
        "versions": [__version__, _sources(), str(torch.__version__)],
        "host": [fingerprint(), torch.get_num_threads()],
        "stage": name,
        "settings": asdict(settings),
        "named": _named(asdict(settings), context.folder),
        "network": [context.name, seen.digest],
        "inputs": digest_of(
            (f"{number}", each)
            for number, each in enumerate(
                torch.utils._pytree.tree_leaves([context.inputs, context.keywords])
            )
        ),
    }
    for part in stage.reads:
        value = _words(part, getattr(context, part))
        if value is None:
            return None
        parts[part] = value
    text = json.dumps(parts, sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()


def _words(part: str, value: Any) -> Any:
    """Return a part of the context as JSON that says all about it, or None."""
    if part == "data":
        return "none" if value is None else [value.name, value.digest]
    if part == "machine":
        return to_toml(value)
    if part == "files":
        return {name: hashlib.sha256(each).hexdigest() for name, each in value.items()}
    if part == "latency":
        if isinstance(value, Roofline):
            return "roofline"
        said = getattr(value, "identity", None)
        return said if isinstance(said, str) else None
    return asdict(value) if is_dataclass(value) else value  # type: ignore[arg-type]


def _named(value: Any, folder: Path) -> dict[str, str]:
    """Return the digests of files that settings name, by that name."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        found: dict[str, str] = {}
        for each in value:
            found.update(_named(each, folder))
        return found
    if not isinstance(value, str) or not value or len(value) > 1000:
        return {}
    path = Path(beside(value, folder))
    try:
        if not path.is_file():
            return {}
        about = path.stat()
        if about.st_size > _MOST_FILE_BYTES:
            return {value: f"{about.st_size} {about.st_mtime_ns}"}
        return {value: hashlib.sha256(path.read_bytes()).hexdigest()}
    except (OSError, ValueError):
        return {}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    """What JSON holds of a result; the state and the files stand beside it."""

    way: str
    digest: str
    date: str
    host: str
    summary: str
    observed_summary: str
    sections: tuple[Section, ...]
    values: dict[str, float]
    observed: dict[str, dict[str, float]]
    observed_sections: tuple[Section, ...]
    observed_verdicts: tuple[Verdict, ...]


_RECORD: Final = TypeAdapter(
    tuple[_Record],
    config=ConfigDict(ser_json_inf_nan="constants"),  # an empty cell is NaN
)
_SHARED: Final = [
    each.name
    for each in fields(_Record)
    if each.name in {field.name for field in fields(StageResult)}
]


@final
class Kept:
    """Results of stages in the cache folder; many runs may use it at a time.

    Args:
        say: told what could not be kept or used, for people.
        folder: where they stand; ``stages`` in trimtab's cache folder by default.
    """

    def __init__(
        self,
        say: Callable[[str], None] = lambda text: None,
        folder: Path | None = None,
    ) -> None:
        self._say = say
        self._cache = Cache(folder or cache_folder() / "stages", MOST_BYTES)

    def get(
        self,
        key: str,
        name: str,
        stage: Stage[Any],
        settings: Any,
        context: Context,
        before: Seen,
        look: Callable[[nn.Module], Seen],
    ) -> tuple[Done, Seen] | None:
        """Return a result and the network it hands on; None where it must be done.

        Args:
            key: of the result.
            name: of the stage.
            stage: builds the network again where it rewrites it.
            settings: of its table.
            context: that the stage would get.
            before: the network before it.
            look: at a network.
        """
        content = self._cache.get_blob(key)
        if content is None:
            if self._cache.holds(key):
                self._say(
                    f"the kept result of [{name}] is damaged or not from here: the "
                    "stage is done again"
                )
            return None
        record, state, files = _loads(content)
        if record.way == "same":
            seen = before
        else:
            try:
                if record.way == "state":
                    network = copy.deepcopy(before.network)
                else:
                    assert isinstance(stage, Rebuilds)
                    network = stage.rebuild(context, settings, files)
                load_state(network, state)
                seen = look(network.eval())
            except (TrimtabError, RuntimeError, LookupError, ValueError) as error:
                self._say(f"the network after [{name}] cannot be built again: {error}")
                return None
        if seen.digest != record.digest:
            self._say(
                f"the network after [{name}] was built again and is another one: the "
                "stage is done again"
            )
            return None
        result = StageResult(
            network=seen.network,
            files=files,
            **{each: getattr(record, each) for each in _SHARED},
        )
        done = Done(
            name=name, result=result, date=record.date, host=record.host, kept=True
        )
        return done, seen

    def put(
        self, key: str, done: Done, stage: Stage[Any], before: Seen, after: Seen
    ) -> None:
        """Keep a result; where that is impossible, it is said.

        Args:
            key: of the result.
            done: the stage.
            stage: whether it can build its network again.
            before: the network before it.
            after: the network after it.
        """
        state: dict[str, Tensor] = {}
        if after.digest == before.digest:
            way = "same"
        else:
            way = "state" if after.structure == before.structure else "built"
            state = state_of(after.network)
            if way == "built" and not isinstance(stage, Rebuilds):
                self._say(
                    f"the result of [{done.name}] is not kept: it rewrote the network, "
                    "and cannot do so again without its work"
                )
                return
        size = sum(each.numel() * each.element_size() for each in state.values())
        size += sum(map(len, done.result.files.values()))
        if size > MOST_ENTRY_BYTES:
            self._say(
                f"the result of [{done.name}] is not kept: it has {size} bytes, at "
                f"most {MOST_ENTRY_BYTES} are"
            )
            return
        record = _Record(
            way=way,
            digest=after.digest,
            date=done.date,
            host=done.host,
            **{each: getattr(done.result, each) for each in _SHARED},
        )
        self._cache.put_blob(key, _dumps(record, state, done.result.files))

    def number(self, key: str, find: Callable[[], float | None]) -> float | None:
        """Return a number that is kept, or find it and keep it."""
        known = self._cache.get(key)
        if known is not None:
            return known.get("value")
        value = find()
        self._cache.put(key, {"value": value})
        return value


def now() -> str:
    """Return the date of an observation, ISO 8601, UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _dumps(
    record: _Record, state: Mapping[str, Tensor], files: Mapping[str, bytes]
) -> bytes:
    from safetensors.torch import save

    head = _RECORD.dump_json((record,))
    tensors = {f"{_STATE}{name}": each.clone() for name, each in state.items()}
    for name, content in files.items():
        tensors[f"{_FILE}{name}"] = torch.frombuffer(
            bytearray(content or b" "), dtype=torch.uint8
        )[: len(content)]
    # Values of strided tensors are written in the order of their places.
    plain = {name: each.contiguous() for name, each in tensors.items()}
    return len(head).to_bytes(8, "little") + head + save(plain)


def _loads(content: bytes) -> tuple[_Record, dict[str, Tensor], dict[str, bytes]]:
    """Return what `_dumps` wrote: the seal says that it did."""
    from safetensors.torch import load

    length = int.from_bytes(content[:8], "little")
    (record,) = _RECORD.validate_json(content[8 : 8 + length])
    tensors = load(content[8 + length :])
    state = {
        name.removeprefix(_STATE): each
        for name, each in tensors.items()
        if name.startswith(_STATE)
    }
    files = {
        name.removeprefix(_FILE): each.numpy().tobytes()
        for name, each in tensors.items()
        if name.startswith(_FILE)
    }
    return record, state, files
