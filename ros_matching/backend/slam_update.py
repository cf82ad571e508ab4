"""Messages of the back end of SLAM: what it found, and how the map was corrected."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ros_matching.atlas.known_place import KnownPlace
from ros_matching.atlas.slam_map import SlamMap
from ros_matching.errors import MatchingError, TrackingError
from ros_matching.matching.pipeline import MatchingPipeline


class EventKind(enum.Enum):
    """What the back end of SLAM found."""

    LOOP_CLOSED = "loop closed"
    RELOCALIZED = "relocalised"
    MAPS_MERGED = "maps merged"


@dataclass(frozen=True)
class SlamEvent:
    """A recognised place: ``keyframe`` was matched with keyframe ``place``, both by id.

    ``moved`` is the distance by which ``keyframe`` was corrected, in the unit of the map.
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
    """Result of a job: ``corrections`` are similarities (4, 4) of the map, new from old, by odometry map.

    ``placed`` are the odometry maps whose place in the map is known from now on. ``found`` is where a single image is,
    in the map.
    """

    corrections: Mapping[int, np.ndarray] = field(default_factory=dict)
    events: tuple[SlamEvent, ...] = ()
    placed: frozenset[int] = frozenset()
    found: KnownPlace | None = None


def require_same_extractor(slam_map: SlamMap, matcher: MatchingPipeline) -> None:
    """Raise ``TrackingError`` unless the map was made with the features of the matcher."""
    extractor = matcher.extractor
    if (slam_map.extractor, slam_map.fingerprint) != (extractor.name, extractor.fingerprint):
        raise TrackingError(
            f"the map has features of {slam_map.extractor!r} (weights {slam_map.fingerprint[:12]}), the matcher "
            f"{extractor.name!r} (weights {extractor.fingerprint[:12]}); use the matcher and weights of the map"
        )


def require_place_descriptor(matcher: MatchingPipeline) -> None:
    """Raise ``MatchingError`` unless the matcher can describe places."""
    if not matcher.place_describer.is_available:
        raise MatchingError(
            f"matcher {matcher.name!r} has no place descriptor, which SLAM needs to recognise places; use the matcher "
            "default or sift, or switch close_loops off"
        )
