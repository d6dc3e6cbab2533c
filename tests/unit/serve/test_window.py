"""A window is told once and never changed."""

import dataclasses

import pytest

from trimtab.serve.window import Window


def test_a_window_is_frozen_and_quiet_by_default():
    window = Window(
        at_s=1.0, period_s=1.0, arrived_s=(0.5,), items=(10,), finished=(), batches=()
    )
    assert (window.oldest_s, window.shed) == (0.0, 0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        window.shed = 1  # type: ignore[misc]
