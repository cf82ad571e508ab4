"""Pipeline of one image through ``vo_node``: message, frame, tracker, messages."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import Protocol

import numpy as np
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from ros_matching.atlas.slam_map import SlamMap
from ros_matching.datatypes import Camera, Frame, Keyframe
from ros_matching.inertial.imu import Imu
from ros_matching.matching.pipeline import MatchingPipeline
from ros_matching.nodes.common.conversions import stamp_ns_from_msg
from ros_matching.nodes.common.extrinsics import Extrinsics
from ros_matching.nodes.common.problems import Problem, ProblemLog, RefusedImageError, shortened
from ros_matching.nodes.vo.image_input import FrameInput
from ros_matching.nodes.vo.map_outputs import MapOutputs
from ros_matching.nodes.vo.messages import status_to_msg
from ros_matching.nodes.vo.outputs import VoOutputs
from ros_matching.nodes.vo.statistics import VoStatistics
from ros_matching.nodes.vo.trajectory_record import TrajectoryRecord
from ros_matching.odometry.result import TrackingResult, TrackingStatus

_WARM_UP_SIZE = (240, 320, 3)


class FrameTracker(Protocol):
    """Interface of ``VisualOdometry`` and ``SlamTracker`` that the pipeline uses."""

    def track(self, frame: Frame) -> TrackingResult:
        """Track the next frame."""

    def keyframe_poses(self) -> dict[int, np.ndarray]:
        """Return the current poses of recent keyframes by id."""

    def finish(self) -> tuple[Keyframe, ...]:
        """Wait for the keyframes that are being mapped, and return them."""

    def reset(self) -> None:
        """Drop the map."""

    def close(self) -> None:
        """End its thread."""


def warm_up(matcher: MatchingPipeline) -> None:
    """Run the matcher once, so that it allocates and compiles before the first image arrives."""
    noise = np.random.default_rng(0).integers(0, 256, _WARM_UP_SIZE, dtype=np.uint8)
    matcher.match_images(noise, noise)


@dataclass(frozen=True)
class ReceivedImage:
    """An image message and its arrival time, by ``time.perf_counter``."""

    msg: Image | CompressedImage
    received_s: float


@dataclass(frozen=True)
class PipelineParts:
    """Parts that the pipeline connects; ``extrinsics`` returns those of a camera frame, or ``None`` until known."""

    tracker: FrameTracker
    frames: FrameInput
    outputs: VoOutputs
    trajectory: TrajectoryRecord
    statistics: VoStatistics
    problems: ProblemLog
    extrinsics: Callable[[str], Extrinsics | None]
    log: Callable[[str], object]  # for events, such as a reset
    camera_frame: str = ""
    map_outputs: MapOutputs | None = None  # with SLAM
    imu: Imu | None = None  # levels odom, and with SLAM the map
    earlier_map: Callable[[], SlamMap | None] = lambda: None  # in which the odometry starts


class VoPipeline:
    """Tracks images one by one. Every image gets a status message, also refused and paused ones.

    ``process`` runs in the worker. The other methods may be called from any thread and do not block.
    """

    def __init__(self, parts: PipelineParts) -> None:
        self._parts = parts
        self._camera: Camera | None = None
        self._frame_id = ""
        self._last_header: Header | None = None
        self._has_tracked = False
        self._up_in_world: np.ndarray | bool | None = None  # False if it was not known at the first pose
        self._reset_requests: SimpleQueue[tuple[Callable[[], str], Callable[[], object] | None]] = SimpleQueue()
        self.paused = False

    def process(self, image: ReceivedImage) -> None:
        """Track one image and publish the results."""
        parts, msg = self._parts, image.msg
        # Convert and track
        frame, result = self._result(image)
        # Publish pose, odometry, TF and keyframes
        header = Header(stamp=msg.header.stamp, frame_id=parts.camera_frame or msg.header.frame_id)
        self._last_header = header
        parts.statistics.count_result(result, was_tried=frame is not None)
        poses = parts.tracker.keyframe_poses() if result.new_keyframes else {}
        extrinsics = self._leveled(parts.extrinsics(header.frame_id), result)
        parts.outputs.publish(result, frame, header, extrinsics, poses)
        if parts.map_outputs is not None and frame is not None:
            parts.map_outputs.publish(result.new_keyframes, header, extrinsics)
        # Publish the status, last
        latency_ms = (time.perf_counter() - image.received_s) * 1e3
        parts.statistics.count_latency(latency_ms, result.stage_ms)
        status = status_to_msg(result, header)
        status.latency_ms = latency_ms
        parts.statistics.fill(status)
        if parts.map_outputs is not None and frame is not None:
            parts.map_outputs.fill(status)
        parts.outputs.publish_status(status)

    def finish(self) -> None:
        """Publish the keyframes that were still being mapped, after the last image."""
        parts, header = self._parts, self._last_header
        if header is None:
            return
        try:
            keyframes = parts.tracker.finish()
        except Exception as error:
            text = shortened(f"the last keyframes are lost ({type(error).__name__}: {error}); please report this")
            parts.problems.report(Problem.TRACKER, text, traceback.format_exc())
            return
        extrinsics = self._leveled(parts.extrinsics(header.frame_id))
        if not keyframes or extrinsics is None:
            return
        parts.outputs.publish_keyframes(keyframes, parts.tracker.keyframe_poses(), header, extrinsics)
        if parts.map_outputs is not None:
            parts.map_outputs.publish(keyframes, header, extrinsics)

    def reset(self, why: str, restart: Callable[[], object] | None = None) -> None:
        """Reset tracker and time before the next image; does not wait for the image in progress.

        ``restart`` is called in the worker in place of the tracker's ``reset``.
        """
        self._reset_requests.put((lambda: why, restart))

    def reset_if(self, why: Callable[[], str]) -> None:
        """As ``reset``, unless ``why`` returns an empty text when the next image has arrived."""
        self._reset_requests.put((why, None))

    def save_trajectory(self, file: str, file_format: str) -> str:
        """Write the camera trajectory; returns a summary, raises ``NodeError``."""
        return self._parts.trajectory.save(file, file_format)

    def _result(self, image: ReceivedImage) -> tuple[Frame | None, TrackingResult]:
        """Return the frame, or ``None`` if the image did not reach the tracker, and the result."""
        msg, start_s = image.msg, time.perf_counter()
        try:
            self._check_time(image)
            if self.paused:
                return None, self._no_pose(msg, "paused; call ~/pause with data: false to continue")
            frame = self._parts.frames.frame(msg)
        except RefusedImageError as error:
            self._parts.problems.report(error.problem, str(error))
            self._parts.statistics.count_refusal(error.problem)
            return None, self._no_pose(msg, str(error))
        except Exception as error:
            text = shortened(f"an image cannot be converted ({type(error).__name__}: {error}); please report this")
            self._parts.problems.report(Problem.IMAGE, text, traceback.format_exc())
            self._parts.statistics.count_refusal(Problem.IMAGE)
            return None, self._no_pose(msg, text)
        input_ms = (time.perf_counter() - start_s) * 1e3
        self._check_camera_change(frame.camera, msg.header.frame_id)
        result = self._track(frame)
        return frame, replace(result, stage_ms={"input": input_ms, **result.stage_ms})

    def _leveled(self, extrinsics: Extrinsics | None, result: TrackingResult | None = None) -> Extrinsics | None:
        """Return the extrinsics with odom leveled by gravity, as measured at the first pose of the run.

        In a map made before, the frame of the map is leveled, by the gravity that it contains.
        """
        imu = self._parts.imu
        if imu is None or extrinsics is None:
            return extrinsics
        if self._up_in_world is None and result is not None and result.world_from_camera is not None:
            self._up_in_world = self._first_up(imu, result)
        return extrinsics.leveled(self._up_in_world) if isinstance(self._up_in_world, np.ndarray) else extrinsics

    def _first_up(self, imu: Imu, result: TrackingResult) -> np.ndarray | bool:
        """Return the direction (3,) that is up in the world, at the first pose; ``False`` if it is not known."""
        earlier = self._parts.earlier_map()
        if earlier is not None:
            return False if earlier.down is None else -earlier.down
        up = imu.up_in_camera(result.stamp_ns)
        return False if up is None else result.world_from_camera[:3, :3] @ up

    def _check_time(self, image: ReceivedImage) -> None:
        """Reset if requested, or if time jumped back; ``RefusedImageError`` for a single odd stamp."""
        why, restart = "", None
        while not self._reset_requests.empty():
            reason, given = self._reset_requests.get()
            why, restart = reason() or why, given or restart
        if why:
            self._reset(why, restart)
            self._parts.frames.restart()
        back_s = self._parts.frames.check_stamp(image.msg, image.received_s)
        if back_s > 0:
            self._reset(f"the stamps of the images jumped back by {back_s:.3f} s")
            self._parts.frames.restart(any_stamp=False)

    def _track(self, frame: Frame) -> TrackingResult:
        """Track. After a failure the state of the tracker is undefined, so it is reset."""
        try:
            result = self._parts.tracker.track(frame)
        except Exception as error:
            text = shortened(f"the tracker failed ({type(error).__name__}: {error}) and was reset; please report this")
            self._parts.problems.report(Problem.TRACKER, text, traceback.format_exc())
            self._reset("the tracker failed")
            return TrackingResult(frame.index, frame.stamp_ns, TrackingStatus.INITIALIZING, text)
        self._parts.problems.clear(Problem.TRACKER)
        if result.status is TrackingStatus.TRACKING:
            self._has_tracked = True
            self._parts.trajectory.add(result.stamp_ns, result.world_from_camera)
        return result

    def _check_camera_change(self, camera: Camera, frame_id: str) -> None:
        if self._camera is not None and (camera, frame_id) != (self._camera, self._frame_id):
            old = self._camera
            self._reset(
                f"the camera changed from {old.width}x{old.height} (fx {old.fx:.1f}, {self._frame_id!r}) to "
                f"{camera.width}x{camera.height} (fx {camera.fx:.1f}, {frame_id!r})"
            )
        self._camera, self._frame_id = camera, frame_id

    def _no_pose(self, msg: Image | CompressedImage, reason: str) -> TrackingResult:
        status = TrackingStatus.LOST if self._has_tracked else TrackingStatus.INITIALIZING
        return TrackingResult(-1, stamp_ns_from_msg(msg.header.stamp), status, reason)

    def _reset(self, why: str, restart: Callable[[], object] | None = None) -> None:
        (restart or self._parts.tracker.reset)()
        self._parts.trajectory.begin_part()
        self._parts.outputs.restart()
        self._has_tracked = False
        if self._parts.map_outputs is None or restart is not None:  # else the map stays, and its frame with it
            self._up_in_world = None
        self._parts.log(f"{why}: the odometry was reset")
