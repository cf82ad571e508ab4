"""One thread that works through a short queue, whose oldest items make room for new ones."""

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
    """Hands items to ``process`` in a thread of its own, in the order they came, through a queue of bounded length.

    An item that arrives when the queue is full drops the oldest in it, so the caller never waits; with a queue of one,
    the thread always gets the newest item. An exception out of ``process`` goes to ``on_error``, and the thread lives.
    ``prepare`` is called first of all in the thread, and ``chore`` every ``chore_period_s``, between the items.
    """

    def __init__(
        self,
        process: Callable[[Item], None],
        on_error: Callable[[Exception], None],
        name: str,
        *,
        queue_length: int = 1,
        prepare: Callable[[], None] = lambda: None,
        chore: Callable[[], object] = lambda: None,
        chore_period_s: float = float("inf"),
    ) -> None:
        self._process = process
        self._on_error = on_error
        self._prepare = prepare
        self._chore = chore
        self._chore_period_s = chore_period_s
        self._chore_due_s = time.monotonic() + chore_period_s
        self._changed = threading.Condition()
        self._waiting: deque[Item] = deque(maxlen=queue_length)
        self._errands: deque[tuple[Future, Callable[[], Any]]] = deque()
        self._is_working = False
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is at work and nothing waits."""
        with self._changed:
            return not (self._waiting or self._errands or self._is_working)

    @property
    def waiting(self) -> int:
        """How many items wait."""
        return len(self._waiting)

    def submit(self, item: Item) -> bool:
        """Queue an item, without waiting for the work; True when the oldest one was dropped for it."""
        with self._changed:
            is_full = len(self._waiting) == self._waiting.maxlen
            self._waiting.append(item)
            self._changed.notify_all()
        return is_full

    def run(self, errand: Callable[[], Any]) -> Future:
        """Let the thread call ``errand`` next, ahead of the items that wait: for what must not meet the work.

        The future has its result or its exception; ``NodeError`` when the worker has been stopped.
        """
        done: Future = Future()
        with self._changed:
            if self._stopping:
                done.set_exception(NodeError("the node is being taken down"))
            else:
                self._errands.append((done, errand))
                self._changed.notify_all()
        return done

    def drain(self, timeout_s: float | None = None) -> bool:
        """Block until all that waits is done, or the worker is stopped; False if that takes longer than the timeout."""
        with self._changed:
            return self._changed.wait_for(
                lambda: self._stopping or not (self._waiting or self._errands or self._is_working), timeout_s
            )

    def forget(self) -> int:
        """Drop what waits, and block until the item at work is done; how many were dropped."""
        with self._changed:
            dropped = len(self._waiting)
            self._waiting.clear()
        self.drain()
        return dropped

    def stop(self) -> None:
        """Finish the item at work, forget what waits, and end the thread. May be called twice."""
        with self._changed:
            self._stopping = True
            self._waiting.clear()
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        self._attempt(self._prepare)
        while (step := self._next_step()) is not None:
            step()

    def _next_step(self) -> Callable[[], None] | None:
        """What is to be done next, once there is something; ``None`` at the end."""
        with self._changed:
            self._is_working = False
            self._changed.notify_all()
            is_early = self._changed.wait_for(
                lambda: self._stopping or self._errands or self._waiting, self._time_to_chore()
            )
            if self._errands:
                step = partial(_settle, *self._errands.popleft())
            elif self._stopping:
                return None
            elif not is_early or self._time_to_chore() == 0:
                self._chore_due_s = time.monotonic() + self._chore_period_s
                step = partial(self._attempt, self._chore)
            else:
                step = partial(self._attempt, self._process, self._waiting.popleft())
            self._is_working = True
        return step

    def _time_to_chore(self) -> float | None:
        """How many seconds the thread may wait; ``None`` for ever."""
        left_s = self._chore_due_s - time.monotonic()
        return None if left_s == float("inf") else max(0.0, left_s)

    def _attempt(self, work: Callable[..., object], *arguments: Any) -> None:
        try:
            work(*arguments)
        except Exception as error:
            self._on_error(error)


def _settle(done: Future, errand: Callable[[], Any]) -> None:
    try:
        done.set_result(errand())
    except Exception as error:
        done.set_exception(error)
