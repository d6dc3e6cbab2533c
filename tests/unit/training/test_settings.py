import math

import pytest

from trimtab.errors import UsageError
from trimtab.training.settings import Settings, schedule_factor


def test_cosine_in_closed_form():
    settings = Settings(schedule="cosine")
    for step in range(40):
        expected = (1 + math.cos(math.pi * step / 40)) / 2
        assert schedule_factor(settings, step, 40) == pytest.approx(expected)


def test_warm_up_rises_linearly_and_meets_the_schedule_at_its_top():
    settings = Settings(schedule="cosine", warmup_frac=0.25)
    factors = [schedule_factor(settings, step, 8) for step in range(8)]
    assert factors[:2] == [1 / 2, 2 / 2]
    assert factors[2:] == pytest.approx(
        [(1 + math.cos(math.pi * step / 6)) / 2 for step in range(6)]
    )


def test_constant_is_exactly_one():
    settings = Settings(schedule="constant")
    assert {schedule_factor(settings, step, 7) for step in range(7)} == {1.0}


def test_warm_up_over_all_steps():
    settings = Settings(schedule="cosine", warmup_frac=1)
    assert [schedule_factor(settings, step, 4) for step in range(4)] == [
        1 / 4, 2 / 4, 3 / 4, 1,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("batch_size", 0),
        ("learning_rate", 0),
        ("learning_rate", math.nan),
        ("learning_rate", math.inf),
        ("momentum", -0.1),
        ("weight_decay", -1),
        ("warmup_frac", 1.1),
        ("label_smoothing", 2),
        ("seed", -1),
        ("threads", 0),
        ("optimizer", "adam"),
        ("schedule", "linear"),
    ],
)
def test_limits(name, value):
    with pytest.raises(UsageError, match=f"Settings\\({name}=") as caught:
        Settings(**{name: value})
    assert caught.value.rule
