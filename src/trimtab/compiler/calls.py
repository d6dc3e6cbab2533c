"""Which kernels a call of a function takes, or that PyTorch does it.

A `Calls` stands in the place of a function of Dynamo. Kernels are made at the first
call with inputs of some shape, and packed weights are kept for each set of weights:
Dynamo calls one function for all layers that look alike.
"""

from __future__ import annotations

import functools
import itertools
import logging
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.autograd import forward_ad

from trimtab.compiler.outputs import Outputs
from trimtab.compiler.rewrite import records_gradients, rewrite
from trimtab.compiler.snapshot import Snapshot
from trimtab.errors import TrimtabError
from trimtab.hardware.machine import Machine
from trimtab.runtime.executor import ProgramExecutor

__all__ = ["Calls", "Settings", "forget_reasons"]

_log = logging.getLogger(__name__)

_EARNED = 2
# Calls that packed weights must have served before changed ones are packed at once.

_GRADIENTS = (
    "it records gradients, which compiled kernels do not; call it under "
    "torch.inference_mode() or torch.no_grad()"
)
_FORWARD = "it is differentiated in forward mode, which compiled kernels do not follow"
_EMPTY = "a tensor has no elements"
_CHANGING = (
    "its weights change with almost every call; they are packed when they come "
    "unchanged for the second time"
)
_SCALARS = (bool, int, float, torch.SymInt, torch.SymFloat, torch.SymBool)
_Key = tuple[Any, ...]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How kernels are made.

    Attributes:
        machine: to decide for.
        threads: of a call.
        fewer: whether one thread may do what is too small for several.
        seed: of the search.
        cache: whether schedules and machine code of earlier calls are used.
        shapes: for how many input shapes kernels are kept.
        winograd: whether a convolution may be one of Winograd's.
    """

    machine: Machine
    threads: int
    fewer: bool
    seed: int
    cache: bool
    shapes: int
    winograd: bool = True


@final
class _Packed:
    """Kernels with weights, ready to run."""

    __slots__ = ("calls", "deferred", "executor", "finish", "snapshot", "used")

    def __init__(
        self, outputs: Outputs, executor: ProgramExecutor, snapshot: Snapshot
    ) -> None:
        self.finish = None if outputs.plain else outputs.assemble
        self.executor = executor
        self.snapshot = snapshot
        self.calls = 0
        self.used = 0
        self.deferred: Snapshot | None = None


@final
class Calls:
    """A function of Dynamo, callable. Many threads may call at once; one compiles.

    Args:
        module: the function.
        settings: for its kernels.
        name: for people.
    """

    def __init__(self, module: fx.GraphModule, settings: Settings, name: str) -> None:
        self.name = name
        self._module = module
        self._eager: Callable[..., Any] = module.forward
        self._settings = settings
        self._records = records_gradients(module)
        self._lock = threading.RLock()
        self._clock = itertools.count(1)
        # Kernels (a Specialised; TVM stands behind it, so it is imported late), or why
        # there are none.
        self._whole: dict[_Key, Any] = {}
        self._packed: dict[tuple[_Key, tuple[int, ...]], _Packed] = {}
        self._seen: OrderedDict[_Key, None] = OrderedDict()
        self._hopeless = False
        _alive.add(self)
        self._inputs: list[int] = []
        self._scalars: list[int] = []
        self._numbers: list[int] = []
        self._weights: dict[int, str] = {}
        self._tensors: tuple[int, ...] = ()

    def sort(self, examples: Sequence[Any]) -> bool:
        """Tell weights from inputs; return whether there can be kernels at all.

        Args:
            examples: of the arguments, tensors without values among them.
        """
        nodes = self._module.graph.find_nodes(op="placeholder")
        reason = ""
        for index, (node, example) in enumerate(zip(nodes, examples, strict=True)):
            if not isinstance(example, Tensor):
                self._scalars.append(index)
                if not isinstance(example, _SCALARS):
                    reason = f"{node.name} is of type {type(example).__name__}"
            elif (node.meta.get("tensor_dict") or {}).get("_dynamo_static_input_type"):
                self._weights[index] = node.name
            elif _is_number(node, example):
                self._numbers.append(index)
            else:
                self._inputs.append(index)
            if isinstance(example, Tensor) and not reason:
                why_not = _why_not(example, (FakeTensor, Tensor, nn.Parameter))
                reason = why_not and f"{node.name} {why_not}"
        if not self._inputs and not reason:
            reason = "no tensor comes in"
        if reason:
            self._say(reason)
        self._tensors = (*self._inputs, *self._weights)
        return not reason

    def __call__(self, *arguments: Any) -> Any:
        """Return what the function returns."""
        if self._hopeless:
            return self._eager(*arguments)
        recording = torch.is_grad_enabled()
        if recording and self._records:
            for index in self._tensors:
                if arguments[index].requires_grad:
                    return self._fall_back(_GRADIENTS, arguments)
        if forward_ad._current_level >= 0:
            return self._fall_back(_FORWARD, arguments)
        key = self._key(arguments)
        weights = [arguments[index] for index in self._weights]
        found = self._packed.get((key, tuple(map(id, weights))))
        if found is None or not found.snapshot.holds(weights):
            found = self._prepare(key, arguments, weights)
            if found is None:
                return self._eager(*arguments)
        found.calls += 1
        found.used = next(self._clock)
        inputs = [arguments[index] for index in self._inputs]
        if not recording or self._records:
            results = found.executor.run(inputs)
            return tuple(found.finish(results, arguments) if found.finish else results)
        with torch.no_grad():  # as the function itself says, further in
            results = found.executor.run(inputs)
            return tuple(found.finish(results, arguments) if found.finish else results)

    def _key(self, arguments: Sequence[Any]) -> _Key:
        """Return all that kernels depend on: types and strides, and numbers."""
        found: list[Any] = []
        for index in self._inputs:
            tensor = arguments[index]
            found += (tensor.shape, tensor.stride(), tensor.dtype)
        for index in self._scalars:
            value = arguments[index]
            # By type and text: True is not 1, and 0.0 is not -0.0.
            found.append(value if type(value) is int else repr(value))
        found += [repr(arguments[index].item()) for index in self._numbers]
        return tuple(found)

    def _fall_back(self, reason: str, arguments: Sequence[Any]) -> Any:
        self._say(reason)
        return self._eager(*arguments)

    def _prepare(
        self, key: _Key, arguments: Sequence[Any], weights: Sequence[Tensor]
    ) -> _Packed | None:
        """Return kernels for a call, made if need be; None if PyTorch is to do it."""
        if isinstance(self._whole.get(key), str):
            return None
        if not all(arguments[index].numel() for index in self._tensors):
            self._say(_EMPTY)
            return None
        with self._lock:
            place = (key, tuple(map(id, weights)))
            old = self._packed.get(place)
            if old is not None and old.snapshot.holds(weights):
                return old  # made while we waited
            whole: Any = self._whole.get(key)
            if isinstance(whole, str) or (whole is None and not self._admitted(key)):
                return None
            reason = self._objection(arguments, weights)
            if reason:
                self._refuse(key, reason)
                return None
            forget = functools.partial(self._packed.pop, place, None)
            # Before the weights are read: what is written meanwhile counts as changed.
            snapshot = Snapshot(weights, forget)
            if old is not None and old.calls < _EARNED:
                waited = old.deferred
                old.deferred = snapshot
                if waited is None or not waited.holds(weights):
                    self._say(_CHANGING)
                    return None
            try:
                executor = whole.pack(weights) if whole else None
                if not executor:
                    whole, executor = self._compile(arguments)
            except TrimtabError as error:
                self._refuse(key, str(error))
                return None
            except Exception as error:  # a network is to run, whatever we did wrong
                _log.debug("%s", self.name, exc_info=True)
                text = f"{type(error).__name__}: {error}".splitlines()[0]
                self._refuse(key, f"it cannot be compiled ({text[:300]})")
                return None
            self._whole[key] = whole
            found = _Packed(whole.outputs, executor, snapshot)
            found.used = next(self._clock)
            self._packed[place] = found
            return found

    def _objection(self, arguments: Sequence[Any], weights: Sequence[Tensor]) -> str:
        """Return why there are no kernels for a call; empty if there may be."""
        if torch.is_autocast_enabled("cpu"):
            return "autocast chooses other types than the kernels know"
        if torch.get_default_device().type != "cpu":
            return f"new tensors go to {torch.get_default_device()} by default"
        for index in self._tensors:
            reason = _why_not(arguments[index], (Tensor, nn.Parameter))
            if reason:
                return f"argument {index} {reason}"
        if any(each.is_inference() for each in weights):
            return "writes to a weight that was made in inference mode go unnoticed"
        return ""

    def _refuse(self, key: _Key, reason: str) -> None:
        """Leave a shape to PyTorch, and all if none was compiled so far."""
        self._hopeless = not self._whole
        self._whole[key] = reason
        self._say(reason)

    def _admitted(self, key: _Key) -> bool:
        """Whether a new shape is compiled; makes room for it."""
        if len(self._whole) < self._settings.shapes:
            return True
        if key not in self._seen:
            self._seen[key] = None
            while len(self._seen) > 4 * self._settings.shapes:
                self._seen.popitem(last=False)
            self._say(
                f"it has kernels for {len(self._whole)} input shapes; a further one is "
                "compiled when it comes again, and replaces the one not used for "
                'longest (the option "shapes" keeps more)'
            )
            return False
        del self._seen[key]
        last = dict.fromkeys(self._whole, 0)
        for (shape, _), packed in list(self._packed.items()):
            last[shape] = max(last[shape], packed.used)
        oldest = min(last, key=lambda shape: last[shape])
        del self._whole[oldest]
        for place in [each for each in list(self._packed) if each[0] == oldest]:
            self._packed.pop(place, None)
        return True

    def _compile(self, arguments: Sequence[Any]) -> tuple[Any, ProgramExecutor]:
        from trimtab.compiler.specialise import specialise

        given = list(arguments)
        for index in self._numbers:
            given[index] = _Number(arguments[index].item())
        return specialise(
            rewrite(self._module).forward,
            given,
            self._weights,
            machine=self._settings.machine,
            threads=self._settings.threads,
            fewer=self._settings.fewer,
            name=self.name,
            seed=self._settings.seed,
            cache=self._settings.cache,
            winograd=self._settings.winograd,
        )

    def _say(self, reason: str) -> None:
        """Log why PyTorch does it: once as a warning, again for those who debug."""
        level = logging.DEBUG if reason in _said else logging.WARNING
        _said.add(reason)
        _log.log(level, "%s runs through PyTorch: %s", self.name, reason)


@final
class _Number:
    """What Dynamo reads a changing number from, with the number fixed."""

    def __init__(self, value: float) -> None:
        self._value = value

    def item(self) -> float:
        return self._value


def _is_number(node: fx.Node, example: Tensor) -> bool:
    """Whether a tensor only carries a number, as Dynamo passes changing floats."""
    return (
        not example.dim()
        and bool(node.users)
        and all(
            user.op == "call_method" and user.target == "item" for user in node.users
        )
    )


def _why_not(tensor: Tensor, classes: tuple[type, ...]) -> str:
    """Return why kernels cannot read a tensor, as what follows its name."""
    if type(tensor) not in classes:
        return f"is of type {type(tensor).__name__}"
    if tensor.device.type != "cpu":
        return f"is on {tensor.device}, and kernels are for the CPU"
    if tensor.layout is not torch.strided:
        return f"has the layout {str(tensor.layout).removeprefix('torch.')}"
    return ""


_said: set[str] = set()
_alive: weakref.WeakSet[Calls] = weakref.WeakSet()


def _unlock() -> None:
    """In a forked process: the thread that compiled is not there."""
    for each in list(_alive):
        each._lock = threading.RLock()


os.register_at_fork(after_in_child=_unlock)


def forget_reasons() -> None:
    """Let reasons that were logged be logged again."""
    _said.clear()
