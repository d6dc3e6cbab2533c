"""Rings of numbers: in order, whole, seen by the other side."""

import os

import pytest

from trimtab.serve.live.board import ENTRIES, Board


def test_entries_come_in_order_on_the_other_side():
    mine = Board(3)
    other = Board(3, descriptor=os.dup(mine.descriptor))
    for turn in range(3):
        for number in range(ENTRIES):
            mine.boxes[1].orders.put((number, turn, 7, 0))
        found = list(other.boxes[1].orders.take())
        assert found == [(number, turn, 7, 0) for number in range(ENTRIES)]
    assert list(other.boxes[0].orders.take()) == []
    other.boxes[2].answers.put((1, 2, 3, 4, 2**63))
    assert list(mine.boxes[2].answers.take()) == [(1, 2, 3, 4, 2**63)]


def test_what_is_cleared_is_not_taken():
    board = Board(1)
    board.boxes[0].answers.put((1, 2, 3, 4, 5))
    board.boxes[0].answers.clear()
    assert list(board.boxes[0].answers.take()) == []
    board.boxes[0].answers.put((6, 2, 3, 4, 5))
    assert [each[0] for each in board.boxes[0].answers.take()] == [6]


def test_a_text_is_cut_to_its_place():
    board = Board(2)
    board.boxes[0].text = "x" * 5000
    board.boxes[1].text = "short"
    assert 100 < len(board.boxes[0].text) < 1000
    assert board.boxes[1].text == "short"


def test_its_memory_is_let_go():
    board = Board(1)
    board.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(board.descriptor)
