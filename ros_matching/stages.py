"""Timing of the stages of tracking and mapping."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class StageTimer:
    """Adds up milliseconds by stage: ``with stages("match"): ...``; ``take`` returns the sums and starts again.

    The time of a nested stage is not counted to the outer one, so that the sum of all stages is the total time.
    """

    def __init__(self) -> None:
        self._ms: dict[str, float] = {}
        self._within_ms = [0.0]  # of the stages inside the running ones, innermost last

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Count the time of the block to a stage."""
        start = time.perf_counter()
        self._within_ms.append(0.0)
        try:
            yield
        finally:
            all_ms = 1e3 * (time.perf_counter() - start)
            self._ms[stage] = self._ms.get(stage, 0.0) + all_ms - self._within_ms.pop()
            self._within_ms[-1] += all_ms

    def add(self, ms: dict[str, float]) -> None:
        """Add times by stage that another timer measured inside the running stage."""
        for stage, duration_ms in ms.items():
            self._ms[stage] = self._ms.get(stage, 0.0) + duration_ms
            self._within_ms[-1] += duration_ms

    def take(self) -> dict[str, float]:
        """The milliseconds by stage since the last call."""
        taken, self._ms = self._ms, {}
        self._within_ms = [0.0]
        return taken
