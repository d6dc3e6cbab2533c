"""What a Winograd schedule costs, counted."""

from __future__ import annotations

from trimtab.compiler.formula import IDENTITY
from trimtab.compiler.layout import packed
from trimtab.compiler.spaces.contraction import Contraction
from trimtab.compiler.spaces.winograd_cost import Stage, cost, operations
from trimtab.compiler.spaces.winograd_plan import LINE, Point
from trimtab.compiler.spaces.winograd_transforms import input_code, output_code


def work(size: int = 8, outputs: int = 32, bias: bool = False) -> Contraction:
    return Contraction(
        input=packed((1, 16, size, size), block=8, halo=(1, 3, 1, 3)),
        output=packed((1, outputs, size, size), block=8),
        kernel=(3, 3),
        padding=(1, 1),
        formula=IDENTITY,
        bias=bias,
    )


def test_instructions_of_a_transform() -> None:
    # F(4): ends of two multiply-adds; a pair has two, a product, a sum, a difference.
    assert operations(input_code, 4) == 2 + 2 * (2 + 1 + 2) + 2
    assert operations(input_code, 4, fused=False) == 4 + 2 * (4 + 1 + 2) + 4
    # Four sums and differences; then two, a product and a multiply-add, twice, two.
    assert operations(output_code, 4) == 4 + 2 + 2 + 2 + 2
    assert operations(output_code, 4, fused=False) == 4 + 2 + 3 + 3 + 4
    assert operations(input_code, 2) == operations(input_code, 2, fused=False) == 4


def test_stages_of_a_small_convolution() -> None:
    point = Point(tile=4, block=4, rows=2, vectors=2, chunk=1)
    found = cost(work(bias=True), point, lanes=8, threads=1)
    tiles, positions, inputs, outputs = 2 * 2, 6 * 6, 16, 32
    assert found.input == Stage(
        operations=tiles * (inputs // 8) * 12 * operations(input_code, 4),
        loads=tiles * (inputs // 8) * 2 * positions,
        stores=tiles * (inputs // 8) * 2 * positions,
    )
    runs = positions * (tiles // 2) * (outputs // 16)
    assert found.product == Stage(
        operations=runs * inputs * 2 * 2, loads=runs * inputs * (2 + 2), stores=runs * 4
    )
    assert found.output == Stage(
        operations=tiles * (outputs // 8) * (10 * operations(output_code, 4) + 16),
        loads=tiles * (outputs // 8) * (positions + 4 * 6),
        stores=tiles * (outputs // 8) * (4 * 6 + 16),
    )
    assert found.weight_bytes == 4 * positions * inputs * outputs
    assert found.v_bytes == 4 * positions * (4 * inputs // LINE + 1) * LINE
    assert found.m_bytes == 4 * positions * (4 * 16 // LINE + 1) * LINE
    assert found.panel_bytes == 4 * inputs * 16
    assert found.rows_bytes == 4 * inputs * 2
    assert found.busiest_frac == 1.0


def test_flops_are_those_of_the_three_stages() -> None:
    point = Point(tile=2, block=16, rows=4, vectors=2)
    tiles, inputs, outputs = 4 * 4, 16, 32
    transforms = tiles * (2 * 4 * inputs * 4 + (4 + 2) * outputs * 4)
    products = tiles * 2 * 16 * inputs * outputs
    found = cost(work(), point, lanes=8, threads=1)
    assert found.flops == transforms + products
    assert products * 9 == work().flops * 4  # 2.25 times fewer than direct
    with_bias = cost(work(bias=True), point, lanes=8, threads=1)
    assert with_bias.flops == found.flops + 8 * 8 * outputs


def test_absent_tiles_of_the_last_register_tile_are_computed() -> None:
    # Nine tiles in blocks of six: the last has three, in register tiles of two and one.
    point = Point(tile=4, block=6, rows=2, vectors=1)
    found = cost(work(size=12), point, lanes=8, threads=1)
    assert found.product.operations == 36 * 16 * 4 * (6 + 4)
    one = cost(work(size=12), point._replace(rows=4), lanes=8, threads=1)
    # Six as four and two; the three left as four.
    assert one.product.operations == 36 * 16 * 4 * (6 + 4)


def test_without_multiply_add_both_count() -> None:
    point = Point(tile=4, block=4, rows=2, vectors=2)
    fused = cost(work(), point, lanes=8, threads=1)
    apart = cost(work(), point, lanes=8, threads=1, fused=False)
    assert apart.product.operations == 2 * fused.product.operations
    assert apart.flops == fused.flops


def test_the_busiest_thread() -> None:
    point = Point(tile=4, block=2, rows=2, vectors=1, chunk=1)
    # Nine tiles in five blocks: two threads take three and two.
    found = cost(work(size=12), point, lanes=8, threads=2)
    assert found.busiest_frac == 6 / 9
    # Five vectors, two a chunk: two chunks for one thread and one, and the rest.
    shared = point._replace(split="channels", chunk=2)
    found = cost(work(outputs=40), shared, lanes=8, threads=2)
    assert found.busiest_frac == (16 + 8) / 40
