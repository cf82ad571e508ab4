"""The back end of SLAM: keeps keyframes, and corrects the map."""

from __future__ import annotations

import enum
import threading
from dataclasses import dataclass, field, replace

import numpy as np

from ros_matching.atlas.slam_map import SlamMap
from ros_matching.backend.keyframe_storage import KeyframeStorage, OdometryState
from ros_matching.backend.slam_config import SlamConfig
from ros_matching.datatypes import ScaleState
from ros_matching.errors import TrackingError
from ros_matching.geometry.sim3 import scale_of
from ros_matching.matching.pipeline import MatchingPipeline


class EventKind(enum.Enum):
    """What the back end of SLAM found."""

    LOOP_CLOSED = "loop closed"
    RELOCALIZED = "relocalised"
    MAPS_MERGED = "maps merged"


@dataclass(frozen=True)
class SlamEvent:
    """A recognised place: ``keyframe`` was matched with keyframe ``place``, both by id.

    ``moved`` is the distance by which the newest keyframe was corrected, in the unit of the map.
    """

    kind: EventKind
    stamp_ns: int
    keyframe: int
    place: int
    inliers: int
    moved: float

    def __str__(self) -> str:
        return (
            f"{self.kind.value}: keyframe {self.keyframe} at keyframe {self.place}, {self.inliers} inliers, "
            f"moved by {self.moved:.3g}"
        )


@dataclass(frozen=True, eq=False)
class SlamUpdate:
    """Result of a job: ``corrections`` are similarities (4, 4) of the map, new from old, by odometry map."""

    corrections: dict[int, np.ndarray] = field(default_factory=dict)
    events: tuple[SlamEvent, ...] = ()


class SlamBackEnd:
    """Keeps the keyframes of the odometry in a ``SlamMap``, which changes under a lock."""

    def __init__(self, matcher: MatchingPipeline, config: SlamConfig, slam_map: SlamMap | None = None) -> None:
        if slam_map is not None:
            require_same_extractor(slam_map, matcher)
        self._matcher = matcher
        self._storage = KeyframeStorage(config)
        self._lock = threading.RLock()
        self._slam_map = slam_map

    def reset(self) -> None:
        """Start with an empty map."""
        with self._lock:
            self._slam_map = None

    @property
    def slam_map(self) -> SlamMap | None:
        """The map; ``None`` before the first keyframe."""
        return self._slam_map

    @property
    def keyframes(self) -> int:
        """Number of keyframes in the map."""
        return 0 if self._slam_map is None else len(self._slam_map)

    @property
    def next_ids(self) -> tuple[int, int]:
        """What to add to the tracker's keyframe ids and map numbers, so that they are unique in the map."""
        if self._slam_map is None or not len(self._slam_map):
            return 0, 0
        return self._slam_map.next_keyframe_id, self._slam_map.next_map_number - 1

    def snapshot(self) -> SlamMap | None:
        """Return a copy of the map, from any thread."""
        with self._lock:
            return None if self._slam_map is None else self._slam_map.snapshot()

    def process(self, state: OdometryState) -> SlamUpdate:
        """Store the new keyframes of the odometry."""
        with self._lock:
            if self._slam_map is None:
                camera = state.local_map.keyframes[0].frame.camera
                extractor = self._matcher.extractor
                self._slam_map = SlamMap(camera, extractor.name, extractor.fingerprint, state.scale)
            corrections = self._adopt_unit(state)
            for number, new_from_old in corrections.items():
                if number == state.map_number:
                    state = replace(state, map_from_odom=new_from_old @ state.map_from_odom)
            self._storage.store(self._slam_map, state)
        return SlamUpdate(corrections)

    def _adopt_unit(self, state: OdometryState) -> dict[int, np.ndarray]:
        """Rescale the map to the unit of the odometry once that is known; returns the similarity by odometry map."""
        slam_map = self._slam_map
        if slam_map.unit is not ScaleState.UP_TO_SCALE or state.scale is ScaleState.UP_TO_SCALE:
            return {}
        slam_map.unit = state.scale
        new_from_old = np.diag(np.append(np.full(3, 1.0 / scale_of(state.map_from_odom)), 1.0))
        slam_map.transform(new_from_old)
        numbers = {keyframe.map_number for keyframe in slam_map.keyframes}
        return dict.fromkeys(numbers | {state.map_number}, new_from_old)


def require_same_extractor(slam_map: SlamMap, matcher: MatchingPipeline) -> None:
    """Raise ``TrackingError`` unless the map was made with the features of the matcher."""
    extractor = matcher.extractor
    if (slam_map.extractor, slam_map.fingerprint) != (extractor.name, extractor.fingerprint):
        raise TrackingError(
            f"the map has features of {slam_map.extractor!r} (weights {slam_map.fingerprint[:12]}), the matcher "
            f"{extractor.name!r} (weights {extractor.fingerprint[:12]}); use the matcher and weights of the map"
        )
