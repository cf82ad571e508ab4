"""A measure of work that is the same on every machine, in place of time."""

from __future__ import annotations

import cProfile
from collections.abc import Callable
from typing import Any


def count_calls(function: Callable, *arguments: Any) -> tuple[Any, int]:
    """The result of a function, and the number of calls in this thread that it takes, of Python and of C."""
    profile = cProfile.Profile()
    result = profile.runcall(function, *arguments)
    return result, sum(entry.callcount for entry in profile.getstats())
