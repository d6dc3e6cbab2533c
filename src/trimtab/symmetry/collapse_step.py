"""Stage `collapse`: the tied network as plain layers, once it is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from torch import nn

from trimtab.bundle.stage import Context, StageResult
from trimtab.errors import PlanError
from trimtab.symmetry.collapse import collapse
from trimtab.symmetry.network import Symmetric

__all__ = ["STAGE", "Settings"]

_COMPARED = 500  # examples on which both are compared


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The table has no keys."""


@final
class _Collapse:
    settings = Settings
    gives: tuple[str, ...] = ()
    reads: tuple[str, ...] = ("data",)

    def run(self, context: Context, settings: Settings) -> StageResult:
        """Write the weights out, and check that both networks give the same scores.

        Raises:
            PlanError: the network is not tied.
            UsageError: it is not invariant to its own scheme, or the plain one differs.
        """
        del settings
        network = _tied(context)
        plain = _plain(network, context)
        tied, loose = (
            sum(each.numel() for each in some.parameters()) for some in (network, plain)
        )
        kinds = sorted({
            type(each).__name__ for each in plain.modules() if not list(each.children())
        })  # fmt: skip
        return StageResult(
            network=plain,
            summary=f"{tied} values that share by {network.scheme.name} written out as "
            f"{loose} weights, the same scores: {', '.join(kinds)}",
        )

    def rebuild(
        self, context: Context, settings: Settings, files: Mapping[str, bytes]
    ) -> nn.Module:
        """Return the plain layers again: that takes no training."""
        del settings, files
        return _plain(_tied(context), context)


def _tied(context: Context) -> Symmetric:
    if isinstance(context.network, Symmetric):
        return context.network
    raise PlanError(
        f"stage [collapse] of network {context.name!r}",
        rule="it makes a tied network plain, and this one is plain",
        where="table [symmetry]",
        remedy="write tied = true there, or leave [collapse] out",
    )


def _plain(network: Symmetric, context: Context) -> nn.Module:
    x = None if context.data is None else context.data.test[0][:_COMPARED]
    return collapse(network, x).eval()


STAGE = _Collapse()
