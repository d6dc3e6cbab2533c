"""Requests at a pace; the cloud until a signal is in the tests of the command."""

import itertools
import os
import signal
import threading
import time

import pytest
import torch
from tests.unit.partition.live.nets import controller, made

from trimtab.partition.live.edge import Edge
from trimtab.partition.live.run import ask, until_told


def test_requests_keep_their_distance():
    _, halves = made()
    told: list[int] = []
    with Edge(halves, controller(halves)) as edge:
        begun = time.monotonic()
        some = itertools.repeat(torch.zeros(1, 3, 16, 16), 6)
        found = ask(edge, some, every_s=0.05, told=told.append)
        assert time.monotonic() - begun >= 0.25
    assert len(found) == 6
    assert told == [1, 2, 3, 4, 5, 6]
    assert all(each > 0 for each in found)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_waits_until_it_is_told_and_puts_handlers_back(number):
    before = signal.getsignal(number)
    teller = threading.Timer(0.05, os.kill, (os.getpid(), number))
    teller.start()
    until_told()
    teller.join()
    assert signal.getsignal(number) is before
