"""``vo_node``: visual odometry as a ROS 2 lifecycle node, with its services.

configure loads the matcher; activate warms it up, subscribes and starts the worker; deactivate stops; cleanup frees.
The executor's callbacks only store messages. One worker thread does all work on images, newest first.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from rclpy.clock import JumpThreshold
from rclpy.duration import Duration
from rclpy.executors import MultiThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_srvs.srv import SetBool, Trigger

from ros_matching import load_matcher
from ros_matching.atlas.config import TrackingConfig
from ros_matching.atlas.slam_map import SlamMap
from ros_matching.errors import NodeError, RosMatchingError
from ros_matching.inertial.imu import Imu
from ros_matching.matching import CLASSICAL
from ros_matching.nodes.common.conversions import stamp_ns_from_msg
from ros_matching.nodes.common.diagnostics import NodeReport
from ros_matching.nodes.common.endpoints import create_service
from ros_matching.nodes.common.executable import run_node
from ros_matching.nodes.common.managed_node import ManagedNode
from ros_matching.nodes.common.parameters import prefixed, read_config
from ros_matching.nodes.common.worker import Worker
from ros_matching.nodes.vo.calibration_input import CalibrationInput
from ros_matching.nodes.vo.config import CONFIGS, LIVE_SETTINGS, NodeSlamConfig, VoConfig
from ros_matching.nodes.vo.extrinsics_input import ExtrinsicsInput
from ros_matching.nodes.vo.image_input import FrameInput, ImageInput
from ros_matching.nodes.vo.imu_input import Auxiliaries, ImuInput
from ros_matching.nodes.vo.initial_pose import InitialPoseInput
from ros_matching.nodes.vo.map_outputs import MapOutputs
from ros_matching.nodes.vo.map_services import MapServices, loaded_map, saved
from ros_matching.nodes.vo.mask_input import MaskInput
from ros_matching.nodes.vo.outputs import VoOutputs
from ros_matching.nodes.vo.pipeline import FrameTracker, PipelineParts, ReceivedImage, VoPipeline, warm_up
from ros_matching.nodes.vo.scale_input import ScaleInput
from ros_matching.nodes.vo.slam_tracker import SlamTracker
from ros_matching.nodes.vo.statistics import VoStatistics, vo_report
from ros_matching.nodes.vo.trajectory_record import TrajectoryRecord
from ros_matching.scale import ScaleConfig, make_scale_estimator
from ros_matching.scale.scale_estimator import ScaleEstimator
from ros_matching.slam import Slam
from ros_matching.threads import share_cores_with_mapping
from ros_matching.visual_odometry import VisualOdometry

_SILENCE_S = 3.0
_LEAP = Duration(seconds=1)  # of the clock, between two ticks
_NEVER_NS = -(2**63)
_BACK_FROM_LEAP_NS = 10_000_000_000  # a clock that returns from a single tick ahead continues near its last time


class VoServices:
    """Services of the node; ``pipeline`` raises ``NodeError`` while it is unconfigured, ``tracker`` is that of SLAM."""

    def __init__(
        self, node: Node, pipeline: Callable[[], VoPipeline], tracker: Callable[[], SlamTracker | None]
    ) -> None:
        self._node = node
        self._pipeline, self._tracker = pipeline, tracker
        create_service(node, Trigger, "~/reset", lambda _: self._reset())
        create_service(node, SetBool, "~/pause", lambda request: self._pause(request.data))
        create_service(node, Trigger, "~/save_trajectory", lambda _: self._save_trajectory())

    def _reset(self) -> str:
        tracker = self._tracker()
        if tracker is not None and read_config(self._node, VoConfig).mode == "slam":
            self._pipeline().reset("~/reset was called", lambda: tracker.replace_map(None))
            return "a new odometry and a new map start with the next image"
        self._pipeline().reset("~/reset was called")
        return "the odometry is reset before the next image"

    def _pause(self, is_paused: bool) -> str:
        self._pipeline().paused = is_paused
        return "paused" if is_paused else "running"

    def _save_trajectory(self) -> str:
        config = read_config(self._node, VoConfig)
        return self._pipeline().save_trajectory(config.trajectory_file, config.trajectory_format)


class VoNode(ManagedNode):
    """The node; tests replace matcher and tracker by ``load`` and ``make_tracker``."""

    NAME = "vo_node"
    TITLE = "visual odometry"
    CONFIGS = CONFIGS
    LIVE_SETTINGS = LIVE_SETTINGS
    LIBRARY = "ros_matching"

    def __init__(
        self,
        *,
        load: Callable[..., Any] = load_matcher,
        make_tracker: Callable[[Any, TrackingConfig, ScaleEstimator], FrameTracker] | None = None,
        make_slam: Callable[..., Any] = Slam,
        **node_options: Any,
    ) -> None:
        """Declare the parameters; raises ``NodeError`` or ``ConfigError`` for one of the wrong type or range."""
        super().__init__(**node_options)
        self._load = load
        self._make_tracker, self._make_slam = make_tracker or self._make_odometry, make_slam
        self._statistics = VoStatistics()
        self._imu_input: ImuInput | None = None
        self._matcher: Any = None
        self._pipeline: VoPipeline | None = None
        self._slam_tracker: SlamTracker | None = None
        self._map_failure = ""
        self._worker: Worker[ReceivedImage] | None = None
        self._vo_services = VoServices(self, self._configured_pipeline, lambda: self._slam_tracker)
        self._map_services = MapServices(self, self._slam_parts)

    def _configure(self) -> None:
        config, tracking, scale, slam, imu = (read_config(self, kind, prefix) for prefix, kind in self.CONFIGS)
        self._map_failure = ""
        self._config = prefixed(config, "map_frame", "odom_frame", "base_frame", "camera_frame")
        self._configured.callback(self._release)
        if self._config.mapping_thread and self._config.matcher not in CLASSICAL:
            share_cores_with_mapping()
        self._matcher = self._load(self._config.matcher, device=self._config.device, **self._config.options())
        self._statistics = VoStatistics()
        self._calibration = CalibrationInput(self._config, self._problems)
        uses_imu = config.use_imu or scale.source == "imu"
        extrinsics_input = ExtrinsicsInput(self, self._config, self._problems, always=uses_imu)
        self._configured.callback(extrinsics_input.destroy)
        self._scale_input = ScaleInput(self, self._config, scale.source, self._problems, extrinsics_input)
        self._mask_input = MaskInput(self, self._config, self._problems)
        self._imu_input = None
        if uses_imu:
            self._imu_input = ImuInput(self, self._config, imu, self._problems, extrinsics_input)
        outputs = VoOutputs(self, self._config)
        self._configured.callback(outputs.destroy)
        self._before_leap_ns = _NEVER_NS  # the time before the last leap of the clock
        clock_jumps = self.get_clock().create_jump_callback(
            JumpThreshold(min_forward=_LEAP, min_backward=Duration(nanoseconds=-1), on_clock_change=False),
            post_callback=self._on_clock_jump,
        )
        self._configured.callback(clock_jumps.unregister)
        if self._config.mode == "odometry":
            tracker = self._make_tracker(self._matcher, tracking, self._scale_estimator(scale))
        else:
            tracker = self._slam_tracker = self._slam(tracking, scale, slam)
        self._configured.callback(tracker.close)
        self._configured.callback(self._save_map_at_end)
        self._pipeline = VoPipeline(
            PipelineParts(
                tracker=tracker,
                frames=FrameInput(
                    self._calibration, self._problems, self._auxiliaries(), self._matcher.extractor.min_side_px
                ),
                outputs=outputs,
                trajectory=TrajectoryRecord(self._config.trajectory_length),
                statistics=self._statistics,
                problems=self._problems,
                extrinsics=extrinsics_input.extrinsics,
                log=self.get_logger().warning,
                camera_frame=self._config.camera_frame,
                map_outputs=self._map_outputs(),
                imu=self._imu,
                earlier_map=lambda: None if self._slam_tracker is None else self._slam_tracker.earlier_map,
            )
        )
        self.get_logger().info(f"configured with the matcher {self._matcher.name}")

    def _activate(self) -> None:
        warm_up(self._matcher)
        self._active_since_s = time.monotonic()
        self._statistics.count_pause()
        self._worker = Worker(self._pipeline.process, self._on_worker_error, "vo_worker")
        self._active.callback(self._stop_worker)
        self._input = ImageInput(self, self._config, self._problems, self._on_image, self._on_camera_info)
        self._active.callback(self._input.destroy)
        self._active.callback(self._scale_input.destroy)
        self._scale_input.subscribe()
        self._active.callback(self._mask_input.destroy)
        self._mask_input.subscribe()
        if self._imu_input is not None:
            self._active.callback(self._imu_input.destroy)
            self._imu_input.subscribe()
        self.get_logger().info(f"active, subscribed to {' and '.join(self._input.topics)}")

    def _slam(self, tracking: TrackingConfig, scale: ScaleConfig, slam: NodeSlamConfig) -> SlamTracker:
        config, matcher = self._config, self._matcher
        slam_map, folder = None, Path(config.map_file).expanduser()
        if config.mode == "localization" or (config.map_file and folder.exists()):
            slam_map = loaded_map(folder, matcher)
            self.get_logger().info(f"loaded a map of {len(slam_map)} keyframes from {folder}")

        def make(slam_map: SlamMap | None) -> Slam:
            return self._make_slam(
                matcher,
                tracking,
                slam,
                self._scale_estimator(scale),
                threaded=config.mapping_thread,
                slam_map=slam_map,
                mode=config.mode,
                imu=self._imu,
            )

        return SlamTracker(make, slam_map)

    def close(self) -> str:
        """Save the map if configured, and release everything; return the reason of a failure."""
        super().close()
        return self._map_failure

    def close_at_once(self) -> str:
        """Save the map if configured, from any thread; return the reason of a failure."""
        self._save_map_at_end()
        return self._map_failure

    def _save_map_at_end(self) -> None:
        tracker, config = self._slam_tracker, read_config(self, VoConfig)
        if tracker is None or config.mode != "slam" or not config.save_map_at_end:
            return
        try:
            self.get_logger().info(f"saved {saved(tracker.snapshot(), Path(config.map_file).expanduser())}")
        except RosMatchingError as error:
            self._map_failure = f"the map was not saved: {error}"
            self.get_logger().error(self._map_failure)

    def _map_outputs(self) -> MapOutputs | None:
        if self._slam_tracker is None:
            return None
        outputs = MapOutputs(self, self._config, self._slam_tracker, self._on_worker_error)
        self._configured.callback(outputs.destroy)
        initial_pose = InitialPoseInput(
            self, self._config.map_frame, self._slam_tracker, self._problems, lambda: outputs.extrinsics
        )
        self._configured.callback(initial_pose.destroy)
        return outputs

    def _slam_parts(self) -> tuple[VoPipeline, SlamTracker, Any]:
        pipeline = self._configured_pipeline()
        if self._slam_tracker is None:
            raise NodeError("the mode is odometry, which keeps no map; set the parameter mode to slam or localization")
        return pipeline, self._slam_tracker, self._matcher

    def _make_odometry(self, matcher: Any, tracking: TrackingConfig, scale: ScaleEstimator) -> VisualOdometry:
        return VisualOdometry(matcher, tracking, scale, threaded=self._config.mapping_thread, imu=self._imu)

    @property
    def _imu(self) -> Imu | None:
        return None if self._imu_input is None else self._imu_input.imu

    def _auxiliaries(self) -> Auxiliaries:
        imu = [] if self._imu_input is None else [self._imu_input.add_to]
        return Auxiliaries(self._scale_input.add_to, self._mask_input.add_to, *imu)

    def _scale_estimator(self, config: ScaleConfig) -> ScaleEstimator:
        return make_scale_estimator(
            config,
            self._matcher,
            wheel_odometry=self._scale_input.wheel_odometry,
            base_from_camera=self._scale_input.base_from_camera,
            imu=self._imu,
            threaded=self._config.mapping_thread,
        )

    def _configured_pipeline(self) -> VoPipeline:
        if self._pipeline is None:
            raise self._not_configured()
        return self._pipeline

    def _release(self) -> None:
        self._pipeline = self._matcher = self._slam_tracker = None

    def _stop_worker(self) -> None:
        self._worker.stop()
        self._worker = None
        self._pipeline.finish()

    def _on_image(self, msg: Image | CompressedImage) -> None:
        worker = self._worker
        if worker is not None:
            self._statistics.count_stamp(stamp_ns_from_msg(msg.header.stamp))
            self._statistics.count_arrival(worker.submit(ReceivedImage(msg, time.perf_counter())))

    def _on_camera_info(self, msg: CameraInfo) -> None:
        self._calibration.update(msg)
        self._scale_input.take_camera_info(msg)

    def _on_clock_jump(self, jump: Any) -> None:
        """Reset before the next image if the clock stays back: not for a single tick back, nor after one ahead."""
        clock, pipeline = self.get_clock(), self._pipeline
        now_ns = clock.now().nanoseconds
        before_ns = now_ns - jump.delta.nanoseconds
        if before_ns < now_ns:
            self._before_leap_ns = before_ns or _NEVER_NS  # the first tick leaps from zero
        elif pipeline is not None and not 0 <= now_ns - self._before_leap_ns <= _BACK_FROM_LEAP_NS:
            pipeline.reset_if(lambda: "the clock jumped back" if clock.now().nanoseconds < before_ns else "")

    def _report(self) -> tuple[str, NodeReport]:
        report = vo_report(self._statistics)
        if self._imu_input is not None:
            report = replace(report, values={**report.values, **self._imu_input.diagnostics()})
        return self.get_parameter("camera_frame").value or "camera", report

    def _watch(self) -> None:
        last_s = max(self._statistics.last_activity_s, self._active_since_s)
        is_silent = self._worker.is_idle and time.monotonic() - last_s > _SILENCE_S
        self._input.watch(is_silent, self._statistics.recent_loss)
        self._scale_input.match_publishers()
        self._mask_input.match_publishers()
        if self._imu_input is not None:
            self._imu_input.watch()


def main(args: list[str] | None = None) -> int:
    """Run the node in this process and return the exit code, see ``run_node``."""
    # the second thread serves the map's services, which may take seconds
    return run_node(VoNode, args, lambda: MultiThreadedExecutor(num_threads=2))


if __name__ == "__main__":
    sys.exit(main())
