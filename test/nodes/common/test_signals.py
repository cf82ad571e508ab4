"""Signals that ask a process to stop are counted, and interrupt nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from ros_matching.nodes.common.process import StopSignals

TIMEOUT_S = 30.0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_each_signal_is_counted_and_handlers_return(number):
    at_start = signal.getsignal(number)
    before = signal.default_int_handler  # whoever runs the tests may have had the signal ignored, as nohup does
    signal.signal(number, before)
    try:
        with StopSignals() as signals:
            assert (signals.count, signals.wait(0.0)) == (0, False)
            os.kill(os.getpid(), number)
            assert signals.wait(TIMEOUT_S)
        assert signals.count == 1
        assert signal.getsignal(number) is before
    finally:
        signal.signal(number, at_start)


def test_calls_come_at_the_signal_of_their_number():
    called, second = [], threading.Event()
    with StopSignals() as signals:
        signals.on(2, lambda: (called.append(2), second.set()))
        signals.on(1, lambda: called.append(1))
        os.kill(os.getpid(), signal.SIGINT)
        assert signals.wait(TIMEOUT_S)
        os.kill(os.getpid(), signal.SIGTERM)
        assert second.wait(TIMEOUT_S)
        signals.on(1, lambda: called.append("late"))
    assert called == [1, 2, "late"]


def test_a_process_without_terminal_keeps_ignoring_the_hangup():
    code = """
import os, signal
from ros_matching.nodes.common.process import StopSignals
signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
with StopSignals() as signals:
    os.kill(os.getpid(), signal.SIGHUP)
    os.kill(os.getpid(), signal.SIGTERM)
    signals.wait()
print(signals.count)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=TIMEOUT_S)
    assert ran.stdout == "1\n", ran.stderr
