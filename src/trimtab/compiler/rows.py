"""Whether a network takes any batch: filled up with zeros and done in parts.

Both go unnoticed only if each row of the results follows from its own row of the
inputs. That is looked at, not proved: the network itself, by PyTorch, computes a few
drawn rows at once, and then in uneven parts, the last of them filled up, as
`trimtab.runtime.compiled` would. What differs is held against the same in double
precision, so that neither rounding nor a near tie refuses a network.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn
from torch._dynamo.convert_frame import compile_lock
from torch.utils import _pytree as pytree

from trimtab.errors import UsageError
from trimtab.graph.types import Graph, Ref
from trimtab.runtime.batches import batched_inputs
from trimtab.runtime.program import Program

__all__ = ["batch_of", "require_any_batch", "resized"]

_log = logging.getLogger(__name__)

_CUTS = (("first", "last"), ("first",), ("last",))
# How three draws of inputs are cut: behind the first row, before the last. Few, since
# every row that is computed takes its time.
_ROWS = (3, 4, 6, 8)
# Of the batch that is looked at, the first that the network takes; then the batch
# sizes themselves. Two rows are the fewest that can differ, three have uneven parts.
_TOLERANCE = 1e-4
_EPSILONS = 64  # roundings of the coarsest type, where that is more
_TOLERANCE_DOUBLE = 1e-5  # something may be computed in single precision all the same


def batch_of(inputs: Sequence[Any]) -> int:
    """Return the batch size of example inputs; 1 where they have none.

    Example:
        >>> batch_of((2.0, torch.zeros(5, 3)))
        5
    """
    for each in inputs:
        if isinstance(each, Tensor) and each.dim():
            return max(int(each.shape[0]), 1)
    return 1


def resized(value: Any, batch: int, size: int) -> Any:
    """Return example inputs for another batch size.

    Args:
        value: a tensor, or what holds some.
        batch: of the example inputs: a tensor with as many rows has the batch.
        size: wanted.

    Example:
        >>> resized([torch.zeros(2, 3), 7], 2, 5)[0].shape
        torch.Size([5, 3])
    """

    def one(leaf: Any) -> Any:
        if not _has_rows(leaf, batch):
            return leaf
        times = -(-size // batch)
        return leaf.repeat(times, *([1] * (leaf.dim() - 1)))[:size].contiguous()

    return pytree.tree_map(one, value)


def require_any_batch(
    model: nn.Module,
    args: Sequence[Any],
    keywords: Mapping[str, Any],
    graphs: Mapping[int, Graph],
) -> None:
    """Refuse a network whose rows depend on each other, or on where they stand.

    Args:
        model: the network.
        args: positional example inputs, of whatever batch size.
        keywords: example inputs by name.
        graphs: the network as captured, by batch size.

    Raises:
        UsageError: its rows are not apart, or none can be seen.
    """
    _require_rows(graphs)
    trial = _Trial(model, args, keywords, graphs)
    # Fast paths of attention cut what is padded in all rows off, in eager alone.
    fastpath = torch.backends.mha.get_fastpath_enabled()
    with compile_lock, torch.no_grad():
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            rows, integers = trial.form()
            for draw in range(len(_CUTS)):
                trial.require_apart(rows, integers, draw)
        finally:
            torch.backends.mha.set_fastpath_enabled(fastpath)


def _require_rows(graphs: Mapping[int, Graph]) -> None:
    """Refuse inputs and outputs without a row for each of the batch."""
    forms = {(each.input_tree, each.output_tree) for each in graphs.values()}
    if len(forms) > 1:
        return  # said where the buckets are put together
    batched_inputs(
        {
            size: Program(
                inputs=tuple(leaf.type for leaf in graph.inputs if leaf.type),
                outputs=tuple(
                    graph.type_of(each)
                    for each in graph.outputs
                    if isinstance(each, Ref)
                ),
                workspace_bytes=0,
                zeroed=(),
                steps=(),
            )
            for size, graph in graphs.items()
        }
    )


@final
class _Trial:
    """A network and its example inputs, called with rows that are drawn."""

    def __init__(
        self,
        model: nn.Module,
        args: Sequence[Any],
        keywords: Mapping[str, Any],
        graphs: Mapping[int, Graph],
    ) -> None:
        self.model = model
        self.sizes = sorted(graphs)
        self.name = graphs[self.sizes[0]].name
        self.batch = batch_of(args)
        self.leaves, self.spec = pytree.tree_flatten((tuple(args), dict(keywords)))

    def form(self) -> tuple[int, bool]:
        """Return how many rows the network takes, and whether integers may vary."""
        indices = any(
            isinstance(each, Tensor) and _is_index(each.dtype) for each in self.leaves
        )
        reason = ""
        for rows in dict.fromkeys((*_ROWS, *self.sizes)):
            for integers in (True, False) if indices else (True,):
                if rows < 2:
                    continue
                try:
                    self._call(self.model, self._drawn(rows, integers, 0))
                except Exception as error:  # forward() is not ours
                    text = str(error).strip() or type(error).__name__
                    reason = (
                        reason or f"on {rows} rows it fails: {text.splitlines()[0]}"
                    )
                    continue
                self._say_what_varies(integers)
                return rows, integers
        raise self._refused(
            "whether rows depend on each other cannot be seen, and batches are filled "
            f"up with zeros and done in parts; {reason[:300].rstrip('.')}"
        )

    def _say_what_varies(self, integers: bool) -> None:
        if integers or any(
            _has_rows(each, self.batch) and not _is_index(each.dtype)
            for each in self.leaves
        ):
            return
        _log.warning(
            "%s: whether rows of a batch depend on each other could not be seen, since "
            "it takes no other integers than zeros",
            self.name,
        )

    def require_apart(self, rows: int, integers: bool, draw: int) -> None:
        """Refuse the network if some rows give other results in parts."""
        values = self._drawn(rows, integers, draw)
        try:
            found = self._difference(self.model, values, draw, _TOLERANCE)
        except Exception as error:  # forward() is not ours
            if integers:
                self.require_apart(rows, False, draw)
                return
            text = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise self._refused(f"on drawn rows it fails: {text[:300]}") from error
        if not found:
            return
        try:
            model = copy.deepcopy(self.model).double()
            exact = [each.double() if _is_float(each) else each for each in values]
            found = self._difference(model, exact, draw, _TOLERANCE_DOUBLE)
        except Exception:  # it takes no other types: what was seen holds
            _log.debug("%s in double precision", self.name, exc_info=True)
        if found:
            raise self._refused(
                f"{found} with other rows of the batch, and batches are filled up with "
                "zeros and done in parts"
            )

    def _difference(
        self, model: nn.Module, values: list[Any], draw: int, tolerance: float
    ) -> str:
        """Return what differs between a batch at once and in parts; empty if none."""
        floats = [
            torch.finfo(each.dtype).eps
            for each in (*values, *model.parameters(), *model.buffers())
            if _is_float(each)
        ]
        tolerance = max([tolerance, *(_EPSILONS * each for each in floats)])
        whole = self._call(model, values)
        rows = self._count(values)
        for name in _CUTS[draw]:
            cut = 1 if name == "first" else rows - 1
            rest = rows - cut
            parts = [
                (cut, self._part(model, values, 0, cut, cut)),
                (rest, self._part(model, values, cut, rest, rest + 1)),
            ]
            for index, result in enumerate(whole):
                given = [(taken, results[index]) for taken, results in parts]
                if not _alike(result, given, rows, tolerance):
                    what = "rows of output" if isinstance(result, Tensor) else "output"
                    verb = "change" if isinstance(result, Tensor) else "changes"
                    return f"{what} {index} {verb}"
        return ""

    def _part(
        self, model: nn.Module, values: list[Any], start: int, taken: int, size: int
    ) -> list[Any]:
        """Return the results of some rows, filled up where it takes no fewer."""
        try:
            return self._call(model, self._rows(values, start, taken, size))
        except Exception:  # it does not take so few, as sizes will not either
            whole = self._count(values)
            if size == whole:
                raise
            return self._call(model, self._rows(values, start, taken, whole))

    def _count(self, values: list[Any]) -> int:
        return next(
            int(value.shape[0])
            for value, leaf in zip(values, self.leaves, strict=True)
            if _has_rows(leaf, self.batch)
        )

    def _rows(self, values: list[Any], start: int, taken: int, size: int) -> list[Any]:
        found = []
        for value, leaf in zip(values, self.leaves, strict=True):
            if _has_rows(leaf, self.batch):
                filled = value.new_zeros((size, *value.shape[1:]))
                filled[:taken] = value[start : start + taken]
                value = filled
            found.append(value)
        return found

    def _call(self, model: nn.Module, values: Iterable[Any]) -> list[Any]:
        own = [each.clone() if isinstance(each, Tensor) else each for each in values]
        args, keywords = pytree.tree_unflatten(own, self.spec)
        results: list[Any] = pytree.tree_leaves(model(*args, **keywords))
        return results

    def _drawn(self, rows: int, integers: bool, draw: int) -> list[Any]:
        """Return inputs of some rows; the last of integers is unlike the first."""
        random = torch.Generator().manual_seed(draw)
        found = []
        for leaf in self.leaves:
            if not isinstance(leaf, Tensor):
                found.append(leaf)
                continue
            by_rows = _has_rows(leaf, self.batch)
            shape = (rows, *leaf.shape[1:]) if by_rows else leaf.shape
            if leaf.dtype.is_floating_point:
                # Of both signs; positive, for roots and logarithms; large.
                value = torch.randn(shape, generator=random) * (1 + draw)
                if draw == 1:
                    value = value.abs() + 0.5
            elif integers or leaf.dtype is torch.bool:
                value = torch.randint(2, shape, generator=random)
                if by_rows:
                    value[-1] = 1 - value[0]
            else:
                value = torch.zeros(shape)
            found.append(value.to(leaf.dtype).to(leaf.device))
        return found

    def _refused(self, rule: str) -> UsageError:
        return UsageError(
            f"batch sizes {self.sizes}",
            rule=rule,
            where=f"network {self.name!r}",
            remedy="compile it for one batch size, without batch_sizes",
        )


def _has_rows(leaf: Any, batch: int) -> bool:
    return isinstance(leaf, Tensor) and leaf.dim() > 0 and leaf.shape[0] == batch


def _is_float(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _is_index(dtype: torch.dtype) -> bool:
    return not dtype.is_floating_point and dtype is not torch.bool


def _alike(
    whole: Any, parts: Sequence[tuple[int, Any]], rows: int, tolerance: float
) -> bool:
    """Whether a result of all rows is what their parts give, put together."""
    if not isinstance(whole, Tensor):
        return all((type(each), repr(each)) == (type(whole), repr(whole))
                   for _, each in parts)  # fmt: skip
    if not whole.dim() or whole.shape[0] != rows:
        return False
    row = whole.shape[1:]
    if any(
        not isinstance(each, Tensor)
        or each.shape[1:] != row
        or each.dtype != whole.dtype
        or len(each) < taken
        for taken, each in parts
    ):
        return False
    found = torch.cat([each[:taken] for taken, each in parts])
    if not whole.is_floating_point():
        return torch.equal(whole, found)
    one, other = whole.double(), found.double()
    finite = one[one.isfinite()].abs()
    largest = float(finite.max()) if len(finite) else 0.0
    return torch.allclose(
        other, one, rtol=tolerance, atol=tolerance * largest, equal_nan=True
    )
