"""One thread that works on the newest item only."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Worker(Generic[Item]):
    """Hands items to ``process`` in a thread of its own, through a mailbox of a single slot.

    An item that arrives before the last one was taken out replaces it: the thread always gets the newest, and the
    caller never waits. An exception out of ``process`` goes to ``on_error``, and the thread lives on.
    """

    def __init__(self, process: Callable[[Item], None], on_error: Callable[[Exception], None], name: str) -> None:
        self._process = process
        self._on_error = on_error
        self._filled = threading.Condition()
        self._slot: Item | None = None
        self._is_working = False
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is at work and nothing waits."""
        with self._filled:
            return self._slot is None and not self._is_working

    def submit(self, item: Item) -> bool:
        """Put an item into the mailbox, without waiting for the work; True when it replaced one, which is dropped."""
        with self._filled:
            replaced = self._slot is not None
            self._slot = item
            self._filled.notify()
        return replaced

    def stop(self) -> None:
        """Finish the item at work, forget the one in the mailbox, and end the thread. May be called twice."""
        with self._filled:
            self._stopping = True
            self._slot = None
            self._filled.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._filled:
                self._is_working = False
                self._filled.wait_for(lambda: self._stopping or self._slot is not None)
                if self._stopping:
                    return
                item, self._slot, self._is_working = self._slot, None, True
            try:
                self._process(item)
            except Exception as error:
                self._on_error(error)
