"""Schedulers of the back end: inline and in a thread."""

from __future__ import annotations

import threading

import pytest

from ros_matching.backend.scheduler import InlineScheduler, ThreadScheduler

TIMEOUT_S = 10


def test_an_inline_job_is_finished_after_submit():
    scheduler = InlineScheduler()
    scheduler.submit(threading.get_ident)
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
    scheduler.submit(lambda: (gate.wait(TIMEOUT_S), threading.get_ident()))
    assert scheduler.take() is None
    assert not scheduler.is_idle
    gate.set()
    passed, ident = scheduler.take(wait=True)
    assert passed
    assert ident != threading.get_ident()
    assert scheduler.is_idle


def test_take_raises_the_exception_of_the_job(scheduler):
    scheduler.submit(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        scheduler.take(wait=True)
    scheduler.submit(lambda: 7)
    assert scheduler.take(wait=True) == 7


def test_the_result_of_a_cancelled_job_is_never_returned(scheduler):
    gate = threading.Event()
    scheduler.submit(lambda: gate.wait(TIMEOUT_S) and "old")
    scheduler.cancel()
    assert scheduler.is_idle
    scheduler.submit(lambda: "new")
    gate.set()
    assert scheduler.take(wait=True) == "new"
    assert scheduler.take() is None


def test_close_ends_the_thread(scheduler):
    before = threading.active_count()
    scheduler.submit(lambda: 1)
    scheduler.close()
    assert threading.active_count() == before
    scheduler.submit(lambda: 2)  # a reset tracker continues
    assert scheduler.take(wait=True) == 2
