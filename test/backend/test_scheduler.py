"""Schedulers of the back end: inline and in a thread."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from ros_matching.backend.scheduler import InlineScheduler, ThreadScheduler

TIMEOUT_S = 10


def test_an_inline_job_is_finished_after_submit():
    scheduler = InlineScheduler()
    scheduler.submit(lambda emit: threading.get_ident())
    assert not scheduler.is_idle
    assert scheduler.take() == threading.get_ident()
    assert scheduler.is_idle
    assert scheduler.take() is None


@pytest.fixture
def scheduler():
    scheduler = ThreadScheduler()
    yield scheduler
    scheduler.close()


def test_a_threaded_job_does_not_block_its_caller(scheduler):
    gate = threading.Event()
    scheduler.submit(lambda emit: (gate.wait(TIMEOUT_S), threading.get_ident()))
    assert scheduler.take() is None
    assert not scheduler.is_idle
    gate.set()
    passed, ident = scheduler.take(wait=True)
    assert passed
    assert ident != threading.get_ident()
    assert scheduler.is_idle


def test_take_raises_the_exception_of_the_job(scheduler):
    scheduler.submit(lambda emit: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        scheduler.take(wait=True)
    scheduler.submit(lambda emit: 7)
    assert scheduler.take(wait=True) == 7


def test_the_result_of_a_cancelled_job_is_never_returned(scheduler):
    gate = threading.Event()
    scheduler.submit(lambda emit: gate.wait(TIMEOUT_S) and "old")
    scheduler.cancel()
    assert scheduler.is_idle
    scheduler.submit(lambda emit: "new")
    gate.set()
    assert scheduler.take(wait=True) == "new"
    assert scheduler.take() is None


def test_close_ends_the_thread(scheduler):
    before = threading.active_count()
    scheduler.submit(lambda emit: 1)
    scheduler.close()
    assert threading.active_count() == before
    scheduler.submit(lambda emit: 2)  # a reset tracker continues
    assert scheduler.take(wait=True) == 2


def test_an_inline_job_makes_no_early_results():
    scheduler = InlineScheduler()
    scheduler.submit(lambda emit: (emit(lambda: pytest.fail("nobody could take it")), 7)[1])
    assert scheduler.take() == 7


def test_early_results_come_in_order_before_the_end(scheduler):
    gate = threading.Event()

    def job(emit):
        emit(lambda: "early")
        gate.wait(TIMEOUT_S)
        return "last"

    scheduler.submit(job)
    assert scheduler.take(wait=True) == "early"
    assert not scheduler.is_idle
    assert scheduler.take() is None
    gate.set()
    assert scheduler.take(wait=True) == "last"
    assert scheduler.is_idle


def test_early_results_of_a_cancelled_job_are_never_returned(scheduler):
    scheduler.submit(lambda emit: (emit(lambda: "early"), "last")[1])
    scheduler.cancel()
    scheduler.submit(lambda emit: "new")
    assert scheduler.take(wait=True) == "new"
    assert scheduler.take() is None


NICE = """
import os, threading
from ros_matching.backend.scheduler import ThreadScheduler
os.nice(3)
scheduler = ThreadScheduler(niceness=4)
scheduler.submit(lambda emit: os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
print(scheduler.take(wait=True) - os.getpriority(os.PRIO_PROCESS, 0))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux")
def test_a_job_has_a_lower_priority_than_its_process():
    run = subprocess.run([sys.executable, "-c", NICE], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["4"]
