"""What a Winograd schedule costs, counted exactly: instructions, weights, footprints.

For whoever explains a schedule, or weighs this family against a direct convolution. The
formula behind the sum is not counted: it costs the same in every family. What passes
between caches is in `trimtab.compiler.spaces.winograd_model`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

from trimtab.compiler.loops import Binary, Expr, Var
from trimtab.compiler.spaces.contraction import Contraction
from trimtab.compiler.spaces.winograd_plan import Plan, Point
from trimtab.compiler.spaces.winograd_transforms import input_code, output_code

__all__ = ["Cost", "Stage", "cost", "operations"]

FLOAT_BYTES = 4


class Stage(NamedTuple):
    """Vector instructions of a stage.

    Attributes:
        operations: of arithmetic, a multiply-add being one.
        loads: from memory of any level.
        stores: likewise.
    """

    operations: int
    loads: int
    stores: int


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a schedule costs, all threads together.

    Attributes:
        input: stage from the input to V.
        product: stage from V and U to M.
        output: stage from M to the output.
        flops: of all stages for pixels that are there, a multiply-add counting two.
        weight_bytes: of U; in a network they are cold, so read from memory once.
        v_bytes: of V of a block.
        m_bytes: of M of a chunk and block.
        panel_bytes: of U that a register tile runs through.
        rows_bytes: of V that a register tile runs through.
        position_bytes: of V of a block at one position.
        busiest_frac: of the product stage in the thread that has most of it.
    """

    input: Stage
    product: Stage
    output: Stage
    flops: int
    weight_bytes: int
    v_bytes: int
    m_bytes: int
    panel_bytes: int
    rows_bytes: int
    position_bytes: int
    busiest_frac: float


def operations(
    code: Callable[..., list[Expr]], tile: int, *, fused: bool = True
) -> int:
    """Return the instructions of a transform of one dimension.

    Args:
        code: `input_code` or `output_code`.
        tile: outputs in a row.
        fused: whether a product and a sum are one instruction.

    Example:
        >>> operations(input_code, 2), operations(output_code, 2)
        (4, 4)
    """
    values: list[Expr] = []

    def name(value: Expr) -> Expr:
        values.append(value)
        return Var(f"t{len(values)}")

    code(tile, [Var(f"d{index}") for index in range(tile + 2)], name)
    return sum(_count(value, fused) for value in values)


def cost(
    work: Contraction, point: Point, *, lanes: int, threads: int, fused: bool = True
) -> Cost:
    """Return what a schedule costs.

    Args:
        work: what to compute.
        point: the schedule.
        lanes: float32 elements of a vector.
        threads: that run it.
        fused: whether the machine multiplies and adds in one instruction.
    """
    plan = Plan.of(work, point, lanes=lanes, threads=threads)
    tile, edge = point.tile, point.tile + 2
    samples, outputs, height, width = work.output.shape
    inputs = work.input.shape[1]
    sources = sum(each.count for each in plan.inputs) * plan.tiles
    sinks = -(-outputs // lanes) * plan.tiles
    steps = {code: operations(code, tile, fused=fused) for code in _TRANSFORMS}
    pixels = tile * tile
    forward = operations(input_code, tile, fused=False)
    backward = operations(output_code, tile, fused=False)
    flops = plan.tiles * (
        2 * edge * inputs * forward
        + 2 * plan.positions * inputs * outputs
        + (edge + tile) * outputs * backward
    )
    if work.bias:
        flops += samples * outputs * height * width
    widest = max(
        group.step * group.lanes for chunk in plan.chunks for group in chunk.groups
    )
    return Cost(
        input=Stage(
            operations=sources * 2 * edge * steps[input_code],
            loads=sources * 2 * plan.positions,
            stores=sources * 2 * plan.positions,
        ),
        product=_product(plan, point, inputs, fused),
        output=Stage(
            operations=sinks
            * ((edge + tile) * steps[output_code] + (pixels if work.bias else 0)),
            loads=sinks * (plan.positions + tile * edge + len(work.operands) * pixels),
            stores=sinks * (tile * edge + pixels),
        ),
        flops=flops,
        weight_bytes=plan.weight_elements * FLOAT_BYTES,
        v_bytes=plan.v_elements * FLOAT_BYTES,
        m_bytes=plan.m_elements * FLOAT_BYTES,
        panel_bytes=inputs * widest * FLOAT_BYTES,
        rows_bytes=min(point.rows, plan.block) * inputs * FLOAT_BYTES,
        position_bytes=plan.v_stride * FLOAT_BYTES,
        busiest_frac=_busiest(plan, outputs, threads),
    )


_TRANSFORMS: Sequence[Callable[..., list[Expr]]] = (input_code, output_code)


def _product(plan: Plan, point: Point, inputs: int, fused: bool) -> Stage:
    """Register tiles run whole: absent tiles of the last one are computed too."""
    rows = min(point.rows, plan.block)
    last = plan.tiles - (plan.blocks - 1) * plan.block
    whole, rest = divmod(plan.block, rows)
    tiles = (plan.blocks - 1) * plan.block + min(-(-last // rows) * rows, plan.block)
    turns = (plan.blocks - 1) * (whole + bool(rest)) + -(-last // rows)
    found = [0, 0, 0]
    for chunk in plan.chunks:
        for group in chunk.groups:
            times = chunk.count * group.count * plan.positions
            sums = times * tiles * group.step
            found[0] += sums * inputs * (1 if fused else 2)
            found[1] += times * (tiles + turns * group.step) * inputs
            found[2] += sums
    return Stage(*found)


def _busiest(plan: Plan, outputs: int, threads: int) -> float:
    if not plan.shared:
        tiles = min(-(-plan.blocks // threads) * plan.block, plan.tiles)
        return tiles / plan.tiles
    loads = [0] * threads
    for turn, chunk in enumerate(plan.chunks):
        each = -(-chunk.count // threads)
        for thread in range(threads):
            mine = max(min(chunk.count - thread * each, each), 0) * chunk.channels
            loads[threads - 1 - thread if turn else thread] += mine
    return max(loads) / outputs


def _count(value: Expr, fused: bool) -> int:
    if not isinstance(value, Binary):
        return 0
    parts = (value.a, value.b)
    joined = value.op in "+-" and any(
        isinstance(part, Binary) and part.op == "*" for part in parts
    )
    saved = 1 if fused and joined else 0
    return 1 + sum(_count(part, fused) for part in parts) - saved
