"""Statistics of batch norms at weights that no batch was normalised with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from trimtab.errors import UsageError

__all__ = ["reestimate"]


@torch.no_grad()
def reestimate(
    module: nn.Module,
    batches: Iterable[Tensor | Sequence[Tensor]],
    *,
    most: int | None = None,
) -> int:
    """Take running means and variances anew, at the weights as they are.

    Those of a training belong to the points that gradients were taken at, and not to
    the iterate or a mean of replicas: call it within `Relaxed.at_iterate`. Everything
    but the norms is in evaluation mode, so that dropout does nothing; modes are the
    same afterwards, and so is everything if a batch fails.

    Args:
        module: whose batch norms are meant; without any nothing is done.
        batches: inputs, or sequences whose first entry they are.
        most: batches that are used.

    Returns:
        Batches that were used.

    Raises:
        UsageError: there are norms, and no batch.

    Example:
        >>> norm = nn.BatchNorm1d(1)
        >>> reestimate(norm, [torch.tensor([[1.0], [3.0]])])
        1
        >>> norm.running_mean.item(), norm.running_var.item()
        (2.0, 2.0)
    """
    norms = [
        each
        for each in module.modules()
        if isinstance(each, _BatchNorm) and each.running_mean is not None
    ]
    if not norms:
        return 0
    modes = [(each, each.training) for each in module.modules()]
    before = [
        (each, each.momentum, {k: v.clone() for k, v in each.state_dict().items()})
        for each in norms
    ]
    done = 0
    try:
        module.eval()
        for each in norms:
            each.reset_running_stats()
            each.train()
            each.momentum = None  # the mean of all batches
        for batch in batches:
            if done == most:
                break
            module(batch if isinstance(batch, Tensor) else batch[0])
            done += 1
        if not done:
            raise UsageError(
                f"{len(norms)} batch norms estimated anew",
                rule="there is no batch",
                where="trimtab.relax.reestimate",
                remedy="give batches of training examples",
            )
    except BaseException:
        for each, _, state in before:
            each.load_state_dict(state)
        raise
    finally:
        for each, momentum, _ in before:
            each.momentum = momentum
        for part, mode in modes:
            part.training = mode
    return done
