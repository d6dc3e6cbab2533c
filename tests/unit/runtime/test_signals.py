"""Waiting for the signal to end."""

import os
import signal
import threading

import pytest

from trimtab.runtime.signals import until_told


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_waits_until_it_is_told_and_puts_handlers_back(number):
    before = signal.getsignal(number)
    teller = threading.Timer(0.05, os.kill, (os.getpid(), number))
    teller.start()
    until_told()
    teller.join()
    assert signal.getsignal(number) is before
