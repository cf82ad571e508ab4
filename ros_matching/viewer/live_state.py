"""What the live view shows of a frame, and the history that its plots are made of."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from ros_matching.datatypes import Camera, Frame
from ros_matching.odometry.result import TrackingResult
from ros_matching.viewer.tracks import draw_tracks

_HISTORY = 600  # frames in the plots


@dataclass(frozen=True)
class LiveFrame:
    """A frame for the view; unknown is ``None`` or NaN.

    ``image`` (H, W, 3) uint8 RGB has the tracked points drawn into it. ``world_from_camera`` (4, 4) is the pose.
    ``status_line`` states the status with its reason. ``scale_std`` is relative, ``position_std`` in the unit of the
    map.
    """

    stamp_ns: int
    status: str
    status_line: str
    image: np.ndarray | None = None
    camera: Camera | None = None
    world_from_camera: np.ndarray | None = None
    scale: str = ""
    scale_std: float = float("nan")
    position_std: float = float("nan")
    stage_ms: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, frame: Frame, result: TrackingResult) -> LiveFrame:
        """Return the view of a result of the tracker."""
        covariance = result.with_scale_uncertainty(0.0).covariance
        counts = result.counts
        line = f"{result.status.value}, {counts.inliers} inliers, {counts.landmarks} landmarks"
        return cls(
            stamp_ns=result.stamp_ns,
            status=result.status.value,
            status_line=f"{line}; {result.reason}" if result.reason else line,
            image=draw_tracks(frame.image, result),
            camera=frame.camera,
            world_from_camera=result.world_from_camera,
            scale=result.scale.value,
            scale_std=result.scale_sigma,
            position_std=float("nan") if covariance is None else position_std(covariance),
            stage_ms=dict(result.stage_ms),
        )


def position_std(covariance: np.ndarray) -> float:
    """Return the standard deviation of a position along its most uncertain direction, of a covariance (6, 6)."""
    return float(np.sqrt(max(np.linalg.eigvalsh(covariance[:3, :3])[-1], 0.0)))


class History:
    """The last frames as columns: time in seconds since the first, and values by name."""

    def __init__(self, length: int = _HISTORY) -> None:
        self._first_ns: int | None = None
        self._seconds: deque[float] = deque(maxlen=length)
        self._rows: deque[dict[str, float]] = deque(maxlen=length)

    def add(self, frame: LiveFrame) -> None:
        """Add a frame."""
        if self._first_ns is None:
            self._first_ns = frame.stamp_ns
        self._seconds.append(1e-9 * (frame.stamp_ns - self._first_ns))
        values = {"scale": 100 * frame.scale_std, "position": frame.position_std}
        self._rows.append(values | {f"{stage} ms": value for stage, value in frame.stage_ms.items()})

    @property
    def seconds(self) -> np.ndarray:
        """Times (N,) of the frames."""
        return np.array(self._seconds)

    @property
    def stages(self) -> list[str]:
        """Names of the stages of the tracker, in the order in which they appeared."""
        names = dict.fromkeys(name for row in self._rows for name in row)
        return [name for name in names if name.endswith(" ms")]

    def column(self, name: str) -> np.ndarray:
        """Return the values (N,) of a name, NaN where they are unknown."""
        values = np.array([row.get(name, np.nan) for row in self._rows])
        return np.where(np.isfinite(values), values, np.nan)
