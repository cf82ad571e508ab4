"""One thread and its queue."""

from __future__ import annotations

import threading

import pytest

from ros_matching.errors import NodeError
from ros_matching.nodes.common.worker import Worker


class Gate:
    """Work that lasts until it is let go, and notes what it worked on."""

    def __init__(self) -> None:
        self.done: list[int] = []
        self.began = threading.Semaphore(0)
        self.may_end = threading.Semaphore(0)

    def __call__(self, item: int) -> None:
        self.began.release()
        assert self.may_end.acquire(timeout=10)
        self.done.append(item)


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def errors() -> list[Exception]:
    return []


@pytest.fixture
def worker(gate, errors):
    worker = Worker(gate, errors.append, "test")
    yield worker
    gate.may_end.release()
    worker.stop()


def test_the_newest_item_wins_and_the_drops_are_reported(worker, gate):
    assert worker.submit(0) is False
    assert gate.began.acquire(timeout=10)
    assert [worker.submit(item) for item in (1, 2, 3)] == [False, True, True]
    gate.may_end.release(2)
    assert gate.began.acquire(timeout=10)
    worker.stop()
    assert gate.done == [0, 3]


def test_submitting_does_not_wait_for_the_work(worker, gate):
    worker.submit(0)
    assert gate.began.acquire(timeout=10)
    worker.submit(1)
    assert gate.done == []


def test_stop_finishes_the_current_item_and_drops_the_next(worker, gate):
    worker.submit(0)
    assert gate.began.acquire(timeout=10)
    worker.submit(1)
    stopper = threading.Thread(target=worker.stop)
    stopper.start()
    gate.may_end.release()
    stopper.join(timeout=10)
    assert not stopper.is_alive()
    assert gate.done == [0]
    worker.stop()


def test_an_exception_is_reported_and_the_thread_continues():
    seen, finished = [], threading.Event()

    def work(item: str) -> None:
        if item == "bad":
            raise ValueError("no good")
        finished.set()

    worker = Worker(work, lambda error: (seen.append(str(error)), finished.set()), "test")
    worker.submit("bad")
    assert finished.wait(10)
    finished.clear()
    worker.submit("good")
    assert finished.wait(10)
    worker.stop()
    assert seen == ["no good"]


def test_a_longer_queue_keeps_the_order_and_drops_the_oldest(gate, errors):
    worker = Worker(gate, errors.append, "test", queue_length=2)
    worker.submit(0)
    assert gate.began.acquire(timeout=10)
    assert [worker.submit(item) for item in (1, 2, 3, 4)] == [False, False, True, True]
    assert worker.waiting == 2
    gate.may_end.release(3)
    assert [gate.began.acquire(timeout=10) for _ in range(2)] == [True, True]
    worker.stop()
    assert gate.done == [0, 3, 4]


def test_a_call_precedes_waiting_items_and_never_overlaps_with_the_work(worker, gate):
    worker.submit(0)
    assert gate.began.acquire(timeout=10)
    worker.submit(1)
    done = worker.call(lambda: list(gate.done))
    failed = worker.call(lambda: 1 / 0)
    assert not done.done()
    gate.may_end.release()
    assert done.result(timeout=10) == [0]
    assert isinstance(failed.exception(timeout=10), ZeroDivisionError)
    gate.may_end.release()


def test_a_call_after_the_end_is_refused(worker):
    worker.stop()
    with pytest.raises(NodeError, match="taken down"):
        worker.call(lambda: None).result(timeout=10)


def test_cancel_waits_only_for_the_current_item(worker, gate):
    worker.submit(0)
    assert gate.began.acquire(timeout=10)
    worker.submit(1)
    threading.Timer(0.05, gate.may_end.release).start()
    assert worker.cancel() == 1
    assert (gate.done, worker.is_idle) == ([0], True)


def test_on_start_is_called_first_in_the_thread():
    seen = []
    worker = Worker(
        seen.append, lambda error: None, "test", on_start=lambda: seen.append(threading.current_thread().name)
    )
    worker.call(lambda: None).result(timeout=10)
    worker.stop()
    assert seen == ["test"]


def test_draining_waits_for_all(worker, gate):
    worker.submit(0)
    assert gate.began.acquire(timeout=10)
    worker.submit(1)
    threading.Timer(0.05, gate.may_end.release, [2]).start()
    worker.drain()
    assert gate.done == [0, 1]


def test_a_periodic_task_runs_between_items_and_may_fail(errors):
    done = []

    def periodic_task() -> None:
        done.append("periodic_task")
        raise ValueError("no broom")

    worker = Worker(done.append, errors.append, "test", periodic_task=periodic_task, task_period_s=0.02)
    while len(errors) < 3:
        threading.Event().wait(0.01)
    worker.submit("item")
    worker.drain()
    worker.stop()
    assert done.count("item") == 1
    assert {str(error) for error in errors} == {"no broom"}


def test_a_periodic_task_runs_with_a_full_queue():
    done = []
    worker = Worker(
        lambda item: threading.Event().wait(0.02), None, "test", queue_length=100,
        periodic_task=lambda: done.append(worker.waiting), task_period_s=0.1,
    )  # fmt: skip
    for item in range(50):
        worker.submit(item)
    worker.drain()
    worker.stop()
    assert len(done) >= 3
    assert done[0] > 10
