"""What mapping a keyframe came to."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from ros_matching.datatypes import DepthMap, Keyframe, PointCloud


class MappingStatus(enum.Enum):
    """Whether there is depth."""

    MAPPED = "mapped"
    WAITING = "waiting"  # for later keyframes
    REFUSED = "refused"  # the keyframe cannot be mapped; ``reason`` says why


@dataclass(frozen=True)
class MappingCounts:
    """``sources``: views beside the keyframe's own; ``depths``: known ones of the depth map before filtering, of which
    ``confident`` and ``consistent`` (both) stayed; ``points``: points that are new in the map; ``map_points``: all.
    """

    sources: int = 0
    depths: int = 0
    confident: int = 0
    consistent: int = 0
    points: int = 0
    map_points: int = 0


@dataclass(frozen=True)
class MappingResult:
    """The outcome of one keyframe, which may be an earlier one than that just added.

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
