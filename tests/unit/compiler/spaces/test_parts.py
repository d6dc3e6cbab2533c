"""Parts of loop nests."""

from trimtab.compiler.formula import Formula, slot
from trimtab.compiler.loops import Buffer, Call, Kernel, Number, Store, Var, expr
from trimtab.compiler.spaces.parts import (
    Strip,
    counter,
    fused_loops,
    lanes_loop,
    larger,
    nest,
    operations,
    repeat,
    smaller,
    storage,
    strips,
)

Y = Buffer("y", (64,))
BODY = (Store(Y, (Var("i") + Var("j"),), expr(1.0)),)


def _text(body) -> list[str]:
    return str(Kernel(name="k", parameters=(Y,), body=body)).splitlines()[1:]


def test_strips_cover_an_extent_once() -> None:
    for extent in range(40):
        for widths in ((8,), (16, 8), (32, 8, 4), (5,)):
            covered = [
                strip.start + step * strip.width + inner
                for strip in strips(extent, *widths)
                for step in range(strip.times)
                for inner in range(strip.width)
            ]
            assert covered == list(range(extent))


def test_strips_take_the_widest_first() -> None:
    assert strips(32 + 8 + 3, 32, 8) == [
        Strip(1, 0, 32),
        Strip(1, 32, 8),
        Strip(1, 32 + 8, 3),
    ]


def test_what_runs_once_has_no_loop() -> None:
    assert counter("i", 1) == Number(0)
    assert counter("i", 2) == Var("i")
    assert repeat(counter("i", 1), 1, BODY) == BODY
    assert _text(repeat(counter("i", 2), 2, BODY)) == [
        "  for i in 2:",
        "    y[i + j] = 1.0",
    ]


def test_lanes() -> None:
    def body(lane):
        return (Store(Y, (lane,), expr(2.0)),)

    assert _text(lanes_loop("v", 4, body)) == [
        "  for v in 4 (vector):",
        "    y[v] = 2.0",
    ]
    assert _text(lanes_loop("v", 1, body)) == ["  y[0] = 2.0"]


def test_leading_loops_run_in_parallel_together() -> None:
    loops = [(counter("i", 3), 3), (counter("n", 1), 1), (counter("j", 5), 5)]
    assert _text(nest(loops, BODY)) == [
        "  for i in 3:",
        "    for j in 5:",
        "      y[i + j] = 1.0",
    ]
    assert _text(nest(loops, BODY, fused=2)) == [
        "  for i in 3 (parallel):",
        "    for j in 5:",
        "      y[i + j] = 1.0",
    ]
    assert _text(nest(loops, BODY, fused=3)) == [
        "  for task in 15 (parallel):",
        "    i = task // 5",
        "    j = task % 5",
        "    y[i + j] = 1.0",
    ]


def test_how_many_loops_run_in_parallel() -> None:
    assert fused_loops((64, 56), 1) == 0
    assert fused_loops((8, 56), 2) == 1
    assert fused_loops((1, 7, 56), 2) == 3
    assert fused_loops((1, 2), 2) == 2
    assert fused_loops((), 2) == 0


def test_a_truth_value_is_a_byte() -> None:
    assert storage("bool") == "uint8"
    assert storage("float32") == "float32"


def test_operations_of_a_function_are_those_it_is_written_with() -> None:
    plain = Formula(slots=1, steps=(), result=slot(0))
    assert operations(plain.step(Call("sqrt", (slot(0) + 1.0,)))) == 2
    both = plain.step(Call("tanh", (slot(0),)))
    # Bounds 2, square 1, two polynomials of degree 4, product, quotient, bounds 2.
    assert operations(both) == 2 + 1 + 2 * 2 * 4 + 2 + 2


def test_not_a_number_wins() -> None:
    # In the code of max(a, b), a > b ? a : b, NaN in a loses: it is chosen by hand.
    assert str(larger(Var("x"), Var("m"))) == "select(inf >= x, max(x, m), x)"
    assert str(smaller(Var("x"), Var("m"))) == "select(inf >= x, min(x, m), x)"
