"""Sets of keyframes of a sequence with poses and sensor depth, to evaluate depth estimators.

A set is a reference and its sources, all with true poses. The depth range given to an estimator is that of sparse
points, as of a tracker: the sensor depth at the reference's corners.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from ros_matching.config import Config, parameter
from ros_matching.datatypes import Frame, Keyframe, ScaleState
from ros_matching.errors import ConfigError, EvaluationError
from ros_matching.geometry.se3 import invert

_CORNERS = 1000
_CORNER_QUALITY = 0.01
_CORNER_DISTANCE_PX = 5
_MIN_CORNERS = 20


@dataclass(frozen=True)
class DepthViewsConfig(Config):
    """Settings of the sets of views. Baselines are in the unit of the poses."""

    width: int = parameter(512, "pixels across that are cut from the middle of the images", minimum=32)
    height: int = parameter(320, "pixels down that are cut from the middle of the images", minimum=32)
    sources: int = parameter(4, "source views of a set", minimum=1, maximum=32)
    step: int = parameter(2, "frames from one reference to the next", minimum=1)
    min_baseline: float = parameter(0.05, "least distance of a source from the reference", minimum=0.0)
    max_baseline: float = parameter(0.25, "greatest distance of a source from the reference", minimum=0.0)
    max_angle_deg: float = parameter(30.0, "greatest rotation between a source and the reference", minimum=0.0)
    range_quantile: float = parameter(
        0.02, "fraction of sparse depths below and above the range", minimum=0, maximum=0.4
    )
    range_margin: float = parameter(0.1, "relative margin of the range at both ends", minimum=0, maximum=0.9)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_baseline <= self.min_baseline:
            raise ConfigError(
                f"DepthViewsConfig.max_baseline must exceed min_baseline {self.min_baseline}, got {self.max_baseline}"
            )


@dataclass(frozen=True)
class DepthViews:
    """A set: ``reference``, whose frame has sensor depth, its ``sources``, and the range of sparse depths."""

    reference: Keyframe
    sources: tuple[Keyframe, ...]
    depth_range: tuple[float, float]


def depth_views(frames: Sequence[Frame], config: DepthViewsConfig = DepthViewsConfig()) -> list[DepthViews]:
    """Return the sets of a sequence; frames without pose, and references without depth, are skipped.

    Sources are those in range whose baseline is nearest to its middle, by ratio, with the least rotation. Raises
    ``EvaluationError`` without any set.
    """
    frames = [cropped(frame, config.width, config.height) for frame in frames if _has_pose(frame)]
    found = []
    for reference in frames[:: config.step]:
        sources = _sources(reference, frames, config)
        depths = sparse_depths(reference) if reference.depth is not None else np.empty(0)
        if len(sources) == config.sources and len(depths) >= _MIN_CORNERS:
            views = [_keyframe(frame) for frame in (reference, *sources)]
            found.append(DepthViews(views[0], tuple(views[1:]), depth_range(depths, config)))
    if not found:
        raise EvaluationError(
            f"none of {len(frames)} frames with a pose has depth and {config.sources} others within "
            f"{config.min_baseline} to {config.max_baseline} of it; is this a sequence with poses.txt and depth/?"
        )
    return found


def cropped(frame: Frame, width: int, height: int) -> Frame:
    """Return the middle of a frame; the offset is even, for sensors with depth at every second pixel."""
    camera = frame.camera
    if camera.width < width or camera.height < height:
        raise EvaluationError(
            f"cannot cut {width}x{height} pixels from images of {camera.width}x{camera.height}; give a smaller size"
        )
    left, top = (camera.width - width) // 4 * 2, (camera.height - height) // 4 * 2
    window = np.s_[top : top + height, left : left + width]
    camera = replace(camera, width=width, height=height, cx=camera.cx - left, cy=camera.cy - top)
    depth = None if frame.depth is None else frame.depth[window]
    return replace(frame, image=np.ascontiguousarray(frame.image[window]), camera=camera, depth=depth)


def sparse_depths(frame: Frame) -> np.ndarray:
    """Return known depths (S,) at or next to corners of the frame (Shi and Tomasi)."""
    grey = cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY)
    corners = cv2.goodFeaturesToTrack(grey, _CORNERS, _CORNER_QUALITY, _CORNER_DISTANCE_PX)
    if corners is None:
        return np.empty(0)
    u, v = np.rint(corners.reshape(-1, 2)).astype(int).T
    # A sensor may have depth at every second pixel only.
    candidates = np.stack(
        [
            frame.depth[np.minimum(v + dv, frame.camera.height - 1), np.minimum(u + du, frame.camera.width - 1)]
            for dv in (0, 1)
            for du in (0, 1)
        ]
    )
    first = np.argmax(np.isfinite(candidates), axis=0)
    depths = candidates[first, np.arange(len(first))]
    return depths[np.isfinite(depths)]


def depth_range(depths: np.ndarray, config: DepthViewsConfig = DepthViewsConfig()) -> tuple[float, float]:
    """Return the nearest and farthest depth to search, from sparse ones (S,): robust quantiles with a margin."""
    near, far = np.quantile(depths, [config.range_quantile, 1 - config.range_quantile])
    return float(near / (1 + config.range_margin)), float(far * (1 + config.range_margin))


def _has_pose(frame: Frame) -> bool:
    return frame.true_world_from_camera is not None


def _keyframe(frame: Frame) -> Keyframe:
    empty = np.empty((0, 2)), np.empty(0)
    return Keyframe(frame.index, frame, frame.true_world_from_camera, *empty, ScaleState.METRIC)


def _sources(reference: Frame, frames: Sequence[Frame], config: DepthViewsConfig) -> list[Frame]:
    middle = np.sqrt(max(config.min_baseline, 1e-9) * config.max_baseline)
    ranked = []
    for frame in frames:
        motion = invert(reference.true_world_from_camera) @ frame.true_world_from_camera
        baseline = float(np.linalg.norm(motion[:3, 3]))
        angle_deg = np.degrees(np.arccos(np.clip((np.trace(motion[:3, :3]) - 1) / 2, -1, 1)))
        if config.min_baseline <= baseline <= config.max_baseline and angle_deg <= config.max_angle_deg:
            cost = abs(np.log(baseline / middle)) + angle_deg / max(config.max_angle_deg, 1e-9)
            ranked.append((cost, frame.index, frame))
    return [frame for *_, frame in sorted(ranked, key=lambda entry: entry[:2])[: config.sources]]
