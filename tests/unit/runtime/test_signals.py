"""Waiting for the signal to end."""

import os
import signal
import threading

import pytest

from trimtab.runtime.signals import told


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_waits_until_it_is_told_and_puts_handlers_back(number):
    before = signal.getsignal(number)
    teller = threading.Timer(0.05, os.kill, (os.getpid(), number))
    with told() as wait:
        teller.start()
        wait()
        assert signal.getsignal(number) is before
    teller.join()
    assert signal.getsignal(number) is before


def test_what_is_told_before_anybody_waits_is_not_lost():
    before = signal.getsignal(signal.SIGINT)
    with told() as wait:
        os.kill(os.getpid(), signal.SIGTERM)
        assert signal.getsignal(signal.SIGINT) is before  # a second one ends at once
        wait()


def test_handlers_are_put_back_where_nobody_waits():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ValueError, match="else"), told():
        raise ValueError("something else")
    assert signal.getsignal(signal.SIGTERM) is before
