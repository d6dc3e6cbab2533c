"""Fields of operators that move and join elements."""

import torch
from tests.unit.design.test_field import field


def test_channels_that_are_joined_keep_their_own():
    found = field(lambda x: torch.cat([x[:, :1], x[:, 2:]], 1), 1, 4, 4, 4)
    assert found.shape == (1, 3, 4, 4)
    assert found.channel_count == 1


def test_rolled_rows_see_rows_beyond_the_end():
    found = field(lambda x: torch.roll(x, 1, 2), 1, 1, 4, 4)
    assert int(found.axis(0).first[0]) in (0, 3)
    assert found.axis(0).last.max() == 3


def test_turning_the_image_turns_its_fields():
    found = field(lambda x: x.transpose(2, 3), 1, 1, 4, 6)
    assert found.shape == (1, 1, 6, 4)
    assert (found.axis(0).pixels, found.axis(1).pixels) == (4, 6)
