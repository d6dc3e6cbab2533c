"""What every stage that trains asks of a plan."""

from __future__ import annotations

from trimtab.bundle.stage import Context, Data
from trimtab.errors import PlanError
from trimtab.graph.module import GraphModule

__all__ = ["data_of"]


def data_of(context: Context, stage: str) -> Data:
    """Return the data of a plan, once it is sure that its network can learn them.

    Args:
        context: of the stage.
        stage: its name.

    Raises:
        PlanError: there are no data, they have another shape than the network takes, or
            it is a bundle, which has no gradients.
    """
    if context.data is None:
        raise PlanError(
            f"stage [{stage}]",
            rule="it needs data, and the run file names none",
            where="key `data`",
            remedy='add data = "digits", an .npz file or an image folder',
        )
    if isinstance(context.network, GraphModule):
        raise PlanError(
            f"stage [{stage}] of bundle {context.name!r}",
            rule="a bundle is a graph for one shape, without gradients",
            where="key `network`",
            remedy=f"give the network it came from, or leave [{stage}] out",
        )
    wanted = tuple(context.inputs[0].shape[1:]) if context.inputs else ()
    have = tuple(context.data.train[0].shape[1:])
    if len(context.inputs) != 1 or context.keywords or wanted != have:
        raise PlanError(
            f"data {context.data.name!r} with examples of shape {have}",
            rule=f"network {context.name!r} takes {len(context.inputs)} input(s) of "
            f"shape {wanted}",
            where=f"stage [{stage}]",
            remedy="give the shape of the data with input = "
            f'["1,{",".join(map(str, have))}"], or take another network',
        )
    return context.data
