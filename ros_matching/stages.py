"""How long each stage of the tracker takes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class StageTimer:
    """Adds up milliseconds by stage: ``with stages("match"): ...``; ``take`` returns the sums and starts again."""

    def __init__(self) -> None:
        self._ms: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Count the time of the block to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._ms[stage] = self._ms.get(stage, 0.0) + 1e3 * (time.perf_counter() - start)

    def take(self) -> dict[str, float]:
        """The milliseconds by stage since the last call."""
        taken, self._ms = self._ms, {}
        return taken
