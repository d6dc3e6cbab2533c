"""The backend of PyTorch's compiler: ``torch.compile(model, backend="trimtab")``.

Dynamo hands over a function of tensors. It is captured and compiled at the first call
with inputs of some shape, when all sizes are numbers, and kept for the next. Parameters
and buffers, which Dynamo passes as arguments, become constants of the kernels. Whatever
cannot be compiled runs as PyTorch runs it, and the log says once why: operators that
capture refuses, effects of training, writes to arguments, other devices, and every call
that must record gradients.

Options are those of `trimtab.compile`, for example
``torch.compile(model, backend="trimtab", options={"threads": 2})``:

* ``machine`` to decide for, ``"this"`` by default;
* ``threads`` of a call, by default those of PyTorch, at most one a core, and one alone
  for graphs too small for more; with more than one, calls of several threads wait for
  each other;
* ``seed`` of the search, and whether the ``cache`` of earlier kernels is used;
* ``winograd``, whether a convolution may be one of Winograd's, True by default;
* ``shapes``, of how many input shapes a graph keeps kernels, 8 by default. Beyond it
  a shape is compiled when it comes for the second time, and replaces the one whose last
  call is longest ago.

Weights are packed for the kernels, and packed again when they change. That is told
from PyTorch's counters, from the steps of optimisers, and from one word in the middle
of each weight, which finds most writes through ``.data`` or NumPy; after one that
spares that word call ``torch._dynamo.reset()``.

Dynamo leaves recurrent layers to PyTorch unless ``torch._dynamo.config.allow_rnn`` is
set. Naming the backend for the first time sets it, unless it was set before. Dynamo's
settings belong to a thread, and all of its backends see them: a thread that makes the
first call of a recurrent network itself sets it too, and whoever does not want it for
another backend sets it to False after the first ``torch.compile``.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch._dynamo
from torch import fx

from trimtab.compiler.calls import Calls, Settings, forget_reasons
from trimtab.compiler.snapshot import watch_optimizers
from trimtab.compiler.target import target_for
from trimtab.errors import MissingExtraError, UsageError
from trimtab.hardware.load import machine as find_machine
from trimtab.hardware.machine import Machine
from trimtab.runtime.target import why_not_here

__all__ = ["backend"]

_log = logging.getLogger(__name__)

_SHAPES = 8
_OPTIONS: Mapping[str, tuple[type, ...]] = {
    "cache": (bool,),
    "machine": (str, Machine),
    "seed": (int,),
    "shapes": (int,),
    "threads": (int,),
    "winograd": (bool,),
}
_PLACE = 'torch.compile(backend="trimtab")'


def backend(
    module: fx.GraphModule,
    example_inputs: Sequence[Any],
    *,
    mode: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Callable[..., Any]:
    """Return a function of Dynamo as kernels; Dynamo calls this.

    Args:
        module: the function.
        example_inputs: of one call, without values.
        mode: has no meaning here, and is ignored with a message.
        options: see above.

    Raises:
        UsageError: an option is unknown or of the wrong kind.
        MachineError: the machine is unknown, no CPU, or has no kernels.
        MissingExtraError: TVM is not installed: the extra ``compile``.
    """
    settings = _settings(options or {})
    _require_tvm()
    watch_optimizers()
    if mode is not None:
        _log.warning("mode %r is not trimtab's, it is ignored", mode)
    place = torch._guards.CompileContext.current_compile_id()
    calls = Calls(module, settings, f"torch.compile {place or ''}".rstrip())
    # Dynamo calls its own function faster than one that always calls it.
    return calls if calls.sort(example_inputs) else module.forward


# Dynamo's own reset calls this: what was said before may be said again.
backend.reset = forget_reasons  # type: ignore[attr-defined]


def _allow_recurrent() -> None:
    """Let Dynamo of this thread hand over recurrent layers, unless that was decided."""
    config: Any = torch._dynamo.config
    if config._is_default("allow_rnn"):
        config.allow_rnn = True


_allow_recurrent()


def _settings(options: Mapping[str, Any]) -> Settings:
    for name, value in options.items():
        _require_option(name, value)
    wanted = options.get("machine", "this")
    machine = wanted if isinstance(wanted, Machine) else find_machine(wanted)
    reason = why_not_here(target_for(machine))
    if reason:
        raise UsageError(
            f"machine {machine.name!r}",
            rule=reason,
            where=_PLACE,
            remedy="name a machine whose code runs here, or use trimtab.compile",
        )
    return Settings(
        machine=machine,
        threads=options.get("threads") or min(torch.get_num_threads(), machine.cores),
        fewer="threads" not in options,
        seed=options.get("seed", 0),
        cache=options.get("cache", True),
        shapes=options.get("shapes", _SHAPES),
        winograd=options.get("winograd", True),
    )


def _require_option(name: str, value: object) -> None:
    kinds = _OPTIONS.get(name)
    least = 0 if name == "seed" else 1
    if kinds is None:
        rule = f"the backend trimtab takes {', '.join(_OPTIONS)}"
    elif type(value) not in kinds:  # to isinstance, True is an int
        rule = f"it is of type {' or '.join(each.__name__ for each in kinds)}"
    elif type(value) is int and value < least:
        rule = f"it is at least {least}"
    else:
        return
    raise UsageError(
        f"option {name!r} = {value!r}",
        rule=rule,
        where=_PLACE,
        remedy="correct options={...}",
    )


def _require_tvm() -> None:
    if importlib.util.find_spec("tvm") is None:
        raise MissingExtraError(
            "compiled kernels",
            rule="they need the package apache-tvm, which is not installed",
            where=_PLACE,
            remedy="install the extra: pip install 'trimtab[compile]'",
        )
