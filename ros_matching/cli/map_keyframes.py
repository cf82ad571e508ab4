"""Where ``ros-matching map`` takes keyframes from: true poses, a trajectory file, or the tracker."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ros_matching.cli.export import KeyframeExports
from ros_matching.cli.scale_options import make_odometry
from ros_matching.errors import SourceError

if TYPE_CHECKING:
    import numpy as np

    from ros_matching.config import Config
    from ros_matching.datatypes import Frame, Keyframe
    from ros_matching.io import FrameSource
    from ros_matching.matching.two_view import TwoViewMatcher
    from ros_matching.tracking import VisualOdometry

TRUTH, TRACKER = "truth", "tracker"


@dataclass(frozen=True)
class Delivery:
    """A frame is done: perhaps keyframes came of it, with which earlier ones were moved to ``corrected`` poses."""

    keyframes: tuple[Keyframe, ...] = ()
    corrected: Mapping[int, np.ndarray] = field(default_factory=dict)


def deliveries(
    frames: Iterable[Frame],
    source: FrameSource,
    poses: str,
    matcher: TwoViewMatcher,
    configs: Mapping[str, Config],
    wheel_file: Path | None = None,
    exports: KeyframeExports | None = None,
) -> Iterator[Delivery]:
    """One for each frame, and one at the end; raises ``SourceError`` where no frame has a pose.

    ``configs`` are by section, ``tracking`` and ``scale``, which only the tracker's own poses need. ``exports`` take
    the keyframes, too.
    """
    exports = exports or KeyframeExports([])
    if poses == TRACKER:
        return _tracked(frames, make_odometry(configs, matcher, wheel_file), exports)
    return _posed(frames, source, None if poses == TRUTH else Path(poses), matcher, configs["tracking"], exports)


def _tracked(frames: Iterable[Frame], odometry: VisualOdometry, exports: KeyframeExports) -> Iterator[Delivery]:
    for frame in frames:
        result = odometry.track(frame)
        exports.observe(result, odometry)
        keyframes = result.new_keyframes
        yield Delivery(keyframes, odometry.keyframe_poses()) if keyframes else Delivery()


def _posed(
    frames: Iterable[Frame],
    source: FrameSource,
    file: Path | None,
    matcher: TwoViewMatcher,
    config: Config,
    exports: KeyframeExports,
) -> Iterator[Delivery]:
    from ros_matching.datatypes import ScaleState
    from ros_matching.io.trajectory import pose_lookup
    from ros_matching.tracking.posed import PosedKeyframes

    lookup = None if file is None else pose_lookup(file)
    keyframes, posed = PosedKeyframes(matcher, config, ScaleState.ANCHORED), 0
    for frame in frames:
        pose = frame.true_world_from_camera
        if lookup is not None:
            pose = lookup(frame.index, frame.stamp_ns)
        posed += pose is not None
        keyframe = None if pose is None else keyframes.add(frame, pose)
        if keyframe is not None:
            exports.take(keyframes.current_keyframes())
        yield _delivery(keyframe)
    if not posed:
        where = "the source has no true poses" if file is None else f"no pose of {file} is of the time of a frame"
        raise SourceError(f"no frame of {source.name} has a pose: {where}; use '--poses {TRACKER}' or another file")
    yield _delivery(keyframes.finish())


def _delivery(keyframe: Keyframe | None) -> Delivery:
    return Delivery() if keyframe is None else Delivery((keyframe,))
