"""Sets of channels as sets."""

import numpy as np

from trimtab.design.channels import Entries, Rows


def test_sets_unite_pair_by_pair_and_group_by_group():
    one, other = Rows((0b001, 0b010, 0b100)), Rows((0b010, 0b110))
    both = one.union(np.array([0, 2]), other, np.array([0, 1]))
    assert both.bits == (0b011, 0b110)
    assert one.together(np.array([0, 1, 0]), 2).bits == (0b101, 0b010)
    assert one.all_of([0, 1]) == 0b011
    assert other.counts().tolist() == [1, 2]


def test_entries_of_different_tensors_are_different():
    entries = Entries()
    first, second = entries.add(3), entries.add(2)
    assert first.bits == (1, 2, 4)
    assert second.bits == (8, 16)


def test_entries_of_tensors_that_are_added_count_once():
    entries = Entries()
    branch, shortcut = entries.add(4), entries.add(4)
    dense = Rows((branch.all_of(range(4)),))
    merged = entries.merge([dense, shortcut])
    assert merged[0].bits == (0b1111,)
    assert merged[1].bits == (1, 2, 4, 8)


def test_a_narrower_branch_is_counted_among_the_wider_one():
    entries = Entries()
    narrow, wide = entries.add(2), entries.add(4)
    assert entries.merge([narrow, wide])[1].bits == (1, 2, 4, 8)


def test_joined_branches_keep_their_entries_apart():
    entries = Entries()
    one, two, three = entries.add(2), entries.add(2), entries.add(2)
    joined = Rows((one.bits[0] | two.bits[0],))
    assert entries.merge([joined, three]) == [joined, three]
