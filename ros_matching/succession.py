"""Outlier rejection in a series: single outliers are rejected, several consecutive consistent ones restart it."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")

_STEADY = 30  # consecutive items without an outlier after which the number needed for a restart is reset


class Step(enum.Enum):
    """Classification of an item."""

    NEXT = "consistent with the last one"
    ODD = "inconsistent, possibly an outlier"
    NEW_START = "the last of several consecutive ones that are consistent with each other"


class Succession(Generic[Item]):
    """Classifies the items of a series by ``follows(last, item)``; constant memory.

    An item that does not follow the last one is ODD, until ``needed`` consecutive ones follow each other: then the
    series restarts with these. Two mixed series would cause repeated restarts. Therefore the number needed doubles with
    each restart, up to ``most_needed``, and is reset after a number of items without an outlier.
    """

    def __init__(self, follows: Callable[[Item, Item], bool], needed: int = 3, most_needed: int | None = None) -> None:
        self._follows = follows
        self._first_needed = needed
        self._most_needed = most_needed or needed
        self.reset()

    def reset(self) -> None:
        """Start a new series: any item may come next."""
        self.last: Item | None = None
        self._odd: list[Item] = []
        self._needed = self._first_needed
        self._steady = 0

    @property
    def odd(self) -> tuple[Item, ...]:
        """Items after the last one that follow each other, but not the last one."""
        return tuple(self._odd)

    def offer(self, item: Item) -> Step:
        """Classify the next item."""
        if self.last is None or self._follows(self.last, item):
            self._continue_with(item)
            self._steady += 1
            if self._steady >= _STEADY:
                self._needed = self._first_needed
            return Step.NEXT
        if self._odd and not self._follows(self._odd[-1], item):
            self._odd = []
        self._odd.append(item)
        self._steady = 0
        if len(self._odd) < self._needed:
            return Step.ODD
        self.start_from(item)
        return Step.NEW_START

    def start_from(self, item: Item) -> None:
        """Restart the series with ``item``."""
        self._continue_with(item)
        self._needed = min(2 * self._needed, self._most_needed)
        self._steady = 0

    def _continue_with(self, item: Item) -> None:
        self.last, self._odd = item, []
