import pytest

from trimtab.compiler.loops import (
    Buffer,
    If,
    Kernel,
    Kind,
    Let,
    Local,
    Loop,
    Number,
    Prefetch,
    Require,
    Select,
    Store,
    Var,
    block,
    expr,
    maximum,
    minimum,
    unroll,
    walk,
)

AT, J = Var("i"), Var("j")
X = Buffer("x", (4, 8))


def test_whole_numbers_fold():
    assert AT * 1 == AT
    assert AT + 0 == AT
    assert Number(0) == AT * 0
    assert expr(3) * 4 + 2 == Number(14)
    assert Number(0) == AT % 1
    assert AT // 1 == AT
    assert minimum(3, 5) == Number(3)
    assert 0.0 + AT != AT, "a float is not folded: minus zero and NaN are not neutral"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ((AT + 1) * 2, "(i + 1) * 2"),
        (AT + J * 2, "i + j * 2"),
        (AT - (J - 1), "i - (j - 1)"),
        (maximum(AT, 0) // 2, "max(i, 0) // 2"),
        (Select(AT.less(3), AT, J), "select(i < 3, i, j)"),
        (-X[AT, J], "0.0 - x[i, j]"),
    ],
)
def test_text_brackets_only_what_must_be(value, text):
    assert str(value) == text


def test_a_kernel_as_text():
    y = Buffer("y", (4,))
    kernel = Kernel(
        name="sum",
        parameters=(X, y),
        body=block(
            Local(Buffer("acc", (1,))),
            Loop(
                AT,
                4,
                (
                    Require(AT.less(4), "inside"),
                    Prefetch(X, (AT, 0)),
                    Let(Var("t"), X[AT, 0] + 1.0),
                    If(AT.at_least(1), (Store(y, (AT,), Var("t")),)),
                ),
                Kind.PARALLEL,
            ),
            unroll(J, 2, Store(y, (J,), expr(0.0))),
        ),
    )
    assert str(kernel) == (
        "sum(x: float32[4, 8], y: float32[4])\n"
        "  local acc: float32[1]\n"
        "  for i in 4 (parallel):\n"
        "    require i < 4: inside\n"
        "    prefetch x[i, 0]\n"
        "    t = x[i, 0] + 1.0\n"
        "    if i >= 1:\n"
        "      y[i] = t\n"
        "  for j in 2 (unrolled):\n"
        "    y[j] = 0.0"
    )
    kinds = [type(each).__name__ for each in walk(kernel.body)]
    assert kinds == [
        "Local", "Loop", "Require", "Prefetch", "Let", "If", "Store", "Loop", "Store",
    ]  # fmt: skip


def test_indices_must_fit_the_buffer():
    with pytest.raises(ValueError, match="1 indices for x"):
        X[AT]
