"""Workers that are alike: which is free, and when a query would be done."""

import pytest

from trimtab.serve.live.board import Board
from trimtab.serve.live.pool import Batch, Pool, Worker


def pool_of(*alive):
    board = Board(len(alive))
    workers = [
        Worker(number, box, bell=-1, alive=each)
        for number, (box, each) in enumerate(zip(board.boxes, alive, strict=True))
    ]
    return Pool(workers, lambda rows: 1e-3 * rows, joins=True)


def busy(predicted_s, since_ns=0):
    return Batch(rows=1, parts=[], since_ns=since_ns, predicted_s=predicted_s)


def test_who_is_free_is_ready_and_has_nothing():
    pool = pool_of(False, True, True)
    assert pool.alive == 2
    assert pool.free() is pool.workers[1]
    pool.workers[1].batches[1] = busy(1.0)
    assert pool.free() is pool.workers[2]
    pool.workers[2].alive = False
    assert pool.free() is None


def test_an_idle_pool_answers_as_soon_as_the_longest_chunk():
    assert pool_of(True, True).finish_s([4, 6], 0) == pytest.approx(6e-3)


def test_work_that_is_under_way_is_waited_for_less_what_ran():
    pool = pool_of(True)
    pool.ahead_s = 0.010
    pool.workers[0].batches[1] = busy(0.010)
    assert pool.finish_s([5], 0) == pytest.approx(0.015)
    assert pool.finish_s([5], 4_000_000) == pytest.approx(0.011)
    # What runs longer than predicted is done any moment.
    assert pool.finish_s([5], 10**9) == pytest.approx(0.005)
