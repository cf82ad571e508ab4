"""Adjustment of the whole map after loops, in slices: neighbour search and bundle adjustment, twice."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

import numpy as np

from ros_matching.atlas.slam_map import SlamMap
from ros_matching.backend.global_adjustment import GlobalAdjustment
from ros_matching.backend.neighbour_search import NeighbourLandmarks
from ros_matching.matching.pipeline import MatchingPipeline

_SEARCHED = 20  # keyframes whose neighbours are searched in one slice
# Slices of the bundle adjustment of each round, at most. The poses of the first one show more landmarks.
_SLICES = 4, 12


class MapAdjustment:
    """What is left to do after the last loop.

    ``lock`` guards the map while it changes. ``on_fused`` receives the landmarks that were fused: ids kept (F,) and
    replaced (F,).
    """

    def __init__(
        self,
        matcher: MatchingPipeline,
        max_keyframes: int,
        lock: threading.RLock,
        on_fused: Callable[[np.ndarray, np.ndarray], None],
    ) -> None:
        self._matcher = matcher
        self._max_keyframes = max_keyframes
        self._lock = lock
        self._on_fused = on_fused
        self._rounds = 0  # left
        self._searched: set[int] = set()
        self._adjustment: GlobalAdjustment | None = None
        self._slices = 0

    @property
    def is_due(self) -> bool:
        """True if loops were closed since the last bundle adjustment of the whole map."""
        return self._rounds > 0

    def restart(self, around: Iterable[int]) -> None:
        """Adjust the map after a loop, with another search in the keyframes around it, by id."""
        self._rounds = len(_SLICES) if self._max_keyframes else 0
        self._searched -= set(around)
        self._adjustment = None

    def step(self, slam_map: SlamMap) -> GlobalAdjustment | None:
        """Work for one slice; returns the bundle adjustment when it is finished, to be applied."""
        if self._adjustment is None:
            ids = sorted(slam_map.connected(min(slam_map.ids)))
            if len(ids) > self._max_keyframes:
                self._rounds = 0
                return None
            left = [id for id in ids if id not in self._searched]
            if left:
                self._search(slam_map, left[:_SEARCHED])
                return None
            self._adjustment, self._slices = GlobalAdjustment.of(slam_map, ids), 0
            if self._adjustment is None:
                self._rounds = 0
                return None
        self._adjustment, self._slices = self._adjustment.continued(), self._slices + 1
        if not self._adjustment.converged and self._slices < _SLICES[-self._rounds]:
            return None
        finished, self._adjustment = self._adjustment, None
        self._rounds -= 1
        if self._rounds:
            self._searched.clear()
        return finished

    def _search(self, slam_map: SlamMap, ids: Iterable[int]) -> None:
        """Search for the landmarks of neighbours in keyframes."""
        for id in ids:
            found = NeighbourLandmarks.find(slam_map, self._matcher, id)
            with self._lock:
                found.apply(slam_map)
            if len(found.kept):
                self._on_fused(found.kept, found.replaced)
            self._searched.add(id)
