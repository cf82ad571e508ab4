"""The result of mapping a keyframe."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from ros_matching.datatypes import DepthMap, Keyframe, PointCloud


class MappingStatus(enum.Enum):
    """The outcome for a keyframe."""

    MAPPED = "mapped"
    WAITING = "waiting"  # for later keyframes
    REFUSED = "refused"  # the keyframe cannot be mapped; see ``reason``


@dataclass(frozen=True)
class MappingCounts:
    """Numbers of a mapped keyframe.

    ``sources``: other views that its depth is estimated from; ``depths``: known depths before filtering, of these
    ``confident`` and ``consistent`` (both); ``filled``: depths of holes in planes; ``points``: new points in the map;
    ``map_points``: all points.
    """

    sources: int = 0
    depths: int = 0
    confident: int = 0
    consistent: int = 0
    filled: int = 0
    points: int = 0
    map_points: int = 0


@dataclass(frozen=True)
class MappingResult:
    """The outcome of one keyframe, possibly an earlier one than the last added.

    With ``MAPPED``: ``depth_map``, filtered, of a quarter of the image's size with a camera of its own, and ``cloud``,
    its points that are new to the map, in the world. ``stage_ms`` is the time spent since the last result.
    """

    keyframe: Keyframe
    status: MappingStatus
    reason: str = ""
    depth_map: DepthMap | None = None
    cloud: PointCloud | None = None
    depth_range: tuple[float, float] | None = None
    counts: MappingCounts = MappingCounts()
    stage_ms: Mapping[str, float] = field(default_factory=dict)

    @property
    def keyframe_id(self) -> int:
        """The keyframe's number."""
        return self.keyframe.id
