"""Every exception of trimtab.

    TrimtabError
    ├── UsageError (ValueError)                 a wrong argument, option, name or shape
    ├── NetworkNotFoundError (LookupError)      no network under that specification
    ├── CaptureError (RuntimeError)             a module that cannot become a graph
    ├── OnnxError (ValueError)                  an ONNX file that cannot be read or made
    ├── GraphError (ValueError)                 a graph that breaks its own rules
    ├── ExecutionError (RuntimeError)           a graph that could not be run
    ├── UnknownWorkError (LookupError)          an operator without a work rule
    ├── MachineError (ValueError)               a machine description that is wrong
    │   └── UnknownMachineError (LookupError)   no machine of that name
    ├── PlanError (ValueError)                  a run file that is wrong
    ├── DataError (ValueError)                  a data set that is wrong or absent
    ├── BundleError (ValueError)                a bundle that is damaged or absent
    ├── BudgetInfeasibleError (RuntimeError)    no plan fits; carries the best one found
    ├── ReplicaError (RuntimeError)             replicas of a training lost each other
    ├── LinkError (ConnectionError)             the other half of a network is away
    │   └── OverloadedError                     it is there, and has no room now
    └── MissingExtraError (ImportError)         an optional dependency is not installed

Every message has four parts: what was asked, which rule or limit it meets, where, and
what to do next. They are kept apart so that ``--json`` can print them as fields.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "BudgetInfeasibleError",
    "BundleError",
    "CaptureError",
    "DataError",
    "ExecutionError",
    "GraphError",
    "LinkError",
    "MachineError",
    "MissingExtraError",
    "NetworkNotFoundError",
    "OnnxError",
    "OverloadedError",
    "PlanError",
    "ReplicaError",
    "TrimtabError",
    "UnknownMachineError",
    "UnknownWorkError",
    "UsageError",
]


class TrimtabError(Exception):
    """The root of all errors that trimtab raises on purpose.

    Args:
        asked: what was asked for, with value and unit.
        rule: the rule or limit that it meets.
        where: node, module path, file or option.
        remedy: what to do next.

    Example:
        >>> print(TrimtabError("batch size 0", rule="it must be at least 1",
        ...                    where="--batch", remedy="give 1 or more"))
        batch size 0: it must be at least 1 (--batch). Give 1 or more.
    """

    def __init__(
        self, asked: str, *, rule: str = "", where: str = "", remedy: str
    ) -> None:
        self.asked = asked
        self.rule = rule
        self.where = where
        self.remedy = remedy
        text = asked
        if rule:
            text += f": {rule}"
        if where:
            text += f" ({where})"
        super().__init__(f"{text}. {remedy[:1].upper()}{remedy[1:].rstrip('.')}.")

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep the parts where an error passes between processes."""
        return _rebuilt, (type(self), dict(vars(self)), self.args)

    def to_dict(self) -> dict[str, str]:
        """Return the parts for JSON output.

        Example:
            >>> UsageError("x", remedy="y").to_dict()["error"]
            'UsageError'
        """
        return {
            "error": type(self).__name__,
            "asked": self.asked,
            "rule": self.rule,
            "where": self.where,
            "remedy": self.remedy,
        }


def _rebuilt(
    kind: type[TrimtabError], parts: dict[str, Any], args: tuple[Any, ...]
) -> TrimtabError:
    error = kind.__new__(kind, *args)
    error.args = args
    vars(error).update(parts)
    return error


class UsageError(TrimtabError, ValueError):
    """A wrong argument, option, name or shape."""


class NetworkNotFoundError(TrimtabError, LookupError):
    """No network stands under that specification."""


class CaptureError(TrimtabError, RuntimeError):
    """A module that cannot become a graph."""


class OnnxError(TrimtabError, ValueError):
    """An ONNX file that is wrong or beyond what is read; a network it cannot say."""


class GraphError(TrimtabError, ValueError):
    """A graph that breaks its own rules, built by hand or read from a file."""


class ExecutionError(TrimtabError, RuntimeError):
    """A graph that could not be run on the given values."""


class UnknownWorkError(TrimtabError, LookupError):
    """An operator without a work rule: a total without it would be too low."""


class MachineError(TrimtabError, ValueError):
    """A machine description that is incomplete or implausible."""


class UnknownMachineError(MachineError, LookupError):
    """No machine of that name is in the catalogue."""


class PlanError(TrimtabError, ValueError):
    """A run file with an unknown key, a wrong value or a missing table."""


class DataError(TrimtabError, ValueError):
    """A data set that is absent, damaged or of the wrong shape."""


class BundleError(TrimtabError, ValueError):
    """A bundle that is absent, damaged, or would be overwritten."""


class BudgetInfeasibleError(TrimtabError, RuntimeError):
    """No plan fits the budget.

    Attributes:
        best: the best plan found, or None; its type is the capability's own.
        binding: the name of the limit that could not be met.
    """

    def __init__(
        self,
        asked: str,
        *,
        rule: str = "",
        where: str = "",
        remedy: str,
        best: object = None,
        binding: str = "",
    ) -> None:
        super().__init__(asked, rule=rule, where=where, remedy=remedy)
        self.best = best
        self.binding = binding


class LinkError(TrimtabError, ConnectionError):
    """The other half of a divided network that cannot be reached."""


class OverloadedError(LinkError):
    """The other half of a network is there, and has no room for a request now.

    Attributes:
        retry_after_s: when it may have.
    """

    def __init__(
        self,
        asked: str,
        *,
        rule: str = "",
        where: str = "",
        remedy: str,
        retry_after_s: float = 0.0,
    ) -> None:
        super().__init__(asked, rule=rule, where=where, remedy=remedy)
        self.retry_after_s = retry_after_s


class ReplicaError(TrimtabError, RuntimeError):
    """Replicas of a training that lost each other."""


class MissingExtraError(TrimtabError, ImportError):
    """An optional dependency is not installed."""
