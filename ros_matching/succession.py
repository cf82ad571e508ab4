"""Series of items of which single ones may be wrong: odd ones are left out, several in a row are a new start."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")

_STEADY = 30  # items in a row without an odd one, after which the next one needs no more proof than the first


class Step(enum.Enum):
    """The place of an item in its series."""

    NEXT = "follows on the last"
    ODD = "does not follow, and may be wrong"
    NEW_START = "the last of several in a row that follow on each other"


class Succession(Generic[Item]):
    """Sorts the items of a series by ``follows(last, item)``; constant memory.

    An item that does not follow on the last is ODD, until ``needed`` of them in a row follow on each other: then the
    series starts again from these. Two series that are mixed would start again and again; so the number that is needed
    doubles with each new start, up to ``most_needed``, and falls back after a steady while.
    """

    def __init__(self, follows: Callable[[Item, Item], bool], needed: int = 3, most_needed: int | None = None) -> None:
        self._follows = follows
        self._first_needed = needed
        self._most_needed = most_needed or needed
        self.reset()

    def reset(self) -> None:
        """Forget the series: any item may come next."""
        self.last: Item | None = None
        self._odd: list[Item] = []
        self._needed = self._first_needed
        self._steady = 0

    @property
    def odd(self) -> tuple[Item, ...]:
        """The items since the last that follow on each other and not on the last."""
        return tuple(self._odd)

    def offer(self, item: Item) -> Step:
        """Take the next item."""
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
        """Make ``item`` the last, whatever came before."""
        self._continue_with(item)
        self._needed = min(2 * self._needed, self._most_needed)
        self._steady = 0

    def _continue_with(self, item: Item) -> None:
        self.last, self._odd = item, []
