"""Worker thread with a short queue that drops its oldest items."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, Generic, TypeVar

from ros_matching.errors import NodeError

Item = TypeVar("Item")


class Worker(Generic[Item]):
    """Passes items to ``process`` in a thread of its own, in order of arrival, through a queue of bounded length.

    An item that arrives at a full queue drops the oldest one, so the caller never waits. With a queue of one, the
    thread always gets the newest item. An exception in ``process`` goes to ``on_error``; the thread continues.
    ``on_start`` is called first in the thread, and ``periodic_task`` every ``task_period_s`` between the items.
    """

    def __init__(
        self,
        process: Callable[[Item], None],
        on_error: Callable[[Exception], None],
        name: str,
        *,
        queue_length: int = 1,
        on_start: Callable[[], None] = lambda: None,
        periodic_task: Callable[[], object] = lambda: None,
        task_period_s: float = float("inf"),
    ) -> None:
        self._process = process
        self._on_error = on_error
        self._on_start = on_start
        self._periodic_task = periodic_task
        self._task_period_s = task_period_s
        self._task_due_s = time.monotonic() + task_period_s
        self._changed = threading.Condition()
        self._waiting: deque[Item] = deque(maxlen=queue_length)
        self._calls: deque[tuple[Future, Callable[[], Any]]] = deque()
        self._is_working = False
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def is_idle(self) -> bool:
        """True if no item is in progress or waiting."""
        with self._changed:
            return not (self._waiting or self._calls or self._is_working)

    @property
    def waiting(self) -> int:
        """Number of waiting items."""
        return len(self._waiting)

    def submit(self, item: Item) -> bool:
        """Queue an item without waiting; returns True if the oldest one was dropped for it."""
        with self._changed:
            is_full = len(self._waiting) == self._waiting.maxlen
            self._waiting.append(item)
            self._changed.notify_all()
        return is_full

    def call(self, function: Callable[[], Any]) -> Future:
        """Call a function in the thread, ahead of the waiting items: for access that must not overlap with ``process``.

        The future holds the result or the exception; ``NodeError`` if the worker was stopped.
        """
        done: Future = Future()
        with self._changed:
            if self._stopping:
                done.set_exception(NodeError("the node is being taken down"))
            else:
                self._calls.append((done, function))
                self._changed.notify_all()
        return done

    def drain(self, timeout_s: float | None = None) -> bool:
        """Block until the queue is empty or the worker is stopped; False after the timeout."""
        with self._changed:
            return self._changed.wait_for(
                lambda: self._stopping or not (self._waiting or self._calls or self._is_working), timeout_s
            )

    def cancel(self) -> int:
        """Drop the waiting items, block until the current one is done, and return the number of dropped items."""
        with self._changed:
            dropped = len(self._waiting)
            self._waiting.clear()
        self.drain()
        return dropped

    def stop(self) -> None:
        """Finish the current item, drop the waiting ones, and end the thread. May be called twice."""
        with self._changed:
            self._stopping = True
            self._waiting.clear()
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        self._attempt(self._on_start)
        while (step := self._next_step()) is not None:
            step()

    def _next_step(self) -> Callable[[], None] | None:
        """Block until there is work and return it; ``None`` at the end."""
        with self._changed:
            self._is_working = False
            self._changed.notify_all()
            is_early = self._changed.wait_for(
                lambda: self._stopping or self._calls or self._waiting, self._time_to_task()
            )
            if self._calls:
                step = partial(_settle, *self._calls.popleft())
            elif self._stopping:
                return None
            elif not is_early or self._time_to_task() == 0:
                self._task_due_s = time.monotonic() + self._task_period_s
                step = partial(self._attempt, self._periodic_task)
            else:
                step = partial(self._attempt, self._process, self._waiting.popleft())
            self._is_working = True
        return step

    def _time_to_task(self) -> float | None:
        """Return the seconds until the periodic task is due; ``None`` if it is never due."""
        left_s = self._task_due_s - time.monotonic()
        return None if left_s == float("inf") else max(0.0, left_s)

    def _attempt(self, work: Callable[..., object], *arguments: Any) -> None:
        try:
            work(*arguments)
        except Exception as error:
            self._on_error(error)


def _settle(done: Future, function: Callable[[], Any]) -> None:
    try:
        done.set_result(function())
    except Exception as error:
        done.set_exception(error)
