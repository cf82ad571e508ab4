"""``vo_node``: visual odometry as a ROS 2 lifecycle node. It converts, calls and publishes; the parts are beside it.

configure loads the front end; activate warms it up, subscribes and starts the worker; deactivate stops; cleanup frees.
The executor's callbacks only take messages in: all work on pictures is done by one worker thread, newest first.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType, JumpThreshold
from rclpy.duration import Duration
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from sensor_msgs.msg import CompressedImage, Image

from ros_matching import load_matcher
from ros_matching.errors import RosMatchingError
from ros_matching.nodes.calibration import CalibrationInput
from ros_matching.nodes.diagnostics import diagnostic_status
from ros_matching.nodes.frame_input import FrameInput
from ros_matching.nodes.image_input import ImageInput
from ros_matching.nodes.lifecycle_guard import refuse_wrong_transitions
from ros_matching.nodes.mounting_input import MountingInput
from ros_matching.nodes.outputs import VoOutputs
from ros_matching.nodes.parameters import declare_config, read_config, reason_to_refuse
from ros_matching.nodes.pipeline import PipelineParts, ReceivedImage, Tracker, VoPipeline, warm_up
from ros_matching.nodes.problems import Problem, ProblemLog
from ros_matching.nodes.ros_logging import RosLogHandler
from ros_matching.nodes.statistics import VoStatistics
from ros_matching.nodes.trajectory_record import TrajectoryRecord
from ros_matching.nodes.vo_config import LIVE_SETTINGS, VoConfig
from ros_matching.nodes.vo_services import VoServices
from ros_matching.nodes.worker import Worker
from ros_matching.tracking import TrackingConfig, VisualOdometry

_CONFIGS = (("", VoConfig), ("tracking.", TrackingConfig))
_DIAGNOSTICS_PERIOD_S = 1.0
_SILENCE_S = 3.0
_TRACKING_LOG = logging.getLogger("ros_matching.tracking")


class VoNode(LifecycleNode):
    """The node; ``load`` and ``make_tracker`` take the place of the real front end and tracker in tests."""

    def __init__(
        self,
        *,
        load: Callable[..., Any] = load_matcher,
        make_tracker: Callable[[Any, TrackingConfig], Tracker] = VisualOdometry,
        **node_options: Any,
    ) -> None:
        """Declare the parameters; raises ``NodeError`` or ``ConfigError`` for one of the wrong type or range."""
        super().__init__("vo_node", **node_options)
        self._load = load
        self._make_tracker = make_tracker
        for prefix, config_class in _CONFIGS:
            declare_config(self, config_class, prefix)
            read_config(self, config_class, prefix)
        refuse_wrong_transitions(self)
        logger = self.get_logger()
        self._log_handler = RosLogHandler(logger)
        _TRACKING_LOG.addHandler(self._log_handler)
        self._problems = ProblemLog(lambda text: logger.error(text), lambda text: logger.warning(text))
        self._statistics = VoStatistics()
        self._matcher: Any = None
        self._pipeline: VoPipeline | None = None
        self._worker: Worker[ReceivedImage] | None = None
        # What is to be taken down on cleanup and on deactivation. The lock: a transition may come from another thread
        # than the executor's.
        self._configured, self._active = ExitStack(), ExitStack()
        self._lifecycle_lock = threading.RLock()
        self.add_on_set_parameters_callback(self._on_parameters)
        self._vo_services = VoServices(self, lambda: self._pipeline)
        # Neither a lifecycle publisher nor the ROS clock: what is wrong is told while inactive or without /clock, too.
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.create_timer(_DIAGNOSTICS_PERIOD_S, self._on_timer, clock=Clock(clock_type=ClockType.STEADY_TIME))

    @property
    def state(self) -> str:
        """The lifecycle state: unconfigured, inactive or active."""
        if self._pipeline is None:
            return "unconfigured"
        return "inactive" if self._worker is None else "active"

    def bring_up(self) -> bool:
        """Configure and activate, without a lifecycle manager; False when that failed, and the log says why."""
        success = TransitionCallbackReturn.SUCCESS
        return self.trigger_configure() == success and self.trigger_activate() == success

    def destroy_node(self) -> None:
        """Stop the worker, then take the node down."""
        self._stop()
        _TRACKING_LOG.removeHandler(self._log_handler)
        super().destroy_node()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the front end and set up all that does not depend on pictures coming."""
        return self._transition("configure", self._configure, undo=self._clean_up)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Warm up, subscribe, and start the worker."""
        super().on_activate(state)  # opens the publishers, before the first picture can come
        return self._transition("activate", self._activate, undo=lambda: self.on_deactivate(state))

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Finish the picture at work and take no more."""
        self._stop()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the front end and all memory of the run."""
        self._clean_up()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """As deactivate and cleanup."""
        self._clean_up()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Back to unconfigured; the log has said why."""
        self._clean_up()
        return TransitionCallbackReturn.SUCCESS

    def _configure(self) -> None:
        self._config, tracking = (read_config(self, config_class, prefix) for prefix, config_class in _CONFIGS)
        self._matcher = self._load(self._config.backend, device=self._config.device)
        tracker = self._make_tracker(self._matcher, tracking)
        self._problems.forget()
        self._statistics = VoStatistics()
        self._calibration = CalibrationInput(self._config, self._problems)
        mounting = MountingInput(self, self._config, self._problems)
        self._configured.callback(mounting.destroy)
        outputs = VoOutputs(self, self._config)
        self._configured.callback(outputs.destroy)
        clock_jumps = self.get_clock().create_jump_callback(
            JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=False),
            post_callback=self._on_clock_jump,
        )
        self._configured.callback(clock_jumps.unregister)
        self._pipeline = VoPipeline(
            PipelineParts(
                tracker=tracker,
                frames=FrameInput(self._calibration, self._problems),
                outputs=outputs,
                trajectory=TrajectoryRecord(self._config.trajectory_length),
                statistics=self._statistics,
                problems=self._problems,
                mounting=mounting.mounting,
                say=self.get_logger().warning,
                camera_frame=self._config.camera_frame,
            )
        )
        self.get_logger().info(f"configured with the front end {self._matcher.name}")

    def _activate(self) -> None:
        warm_up(self._matcher)
        self._active_since_s = time.monotonic()
        self._worker = Worker(self._pipeline.process, self._on_worker_error, "vo_worker")
        self._active.callback(self._worker.stop)
        self._input = ImageInput(self, self._config, self._problems, self._on_image, self._calibration.update)
        self._active.callback(self._input.destroy)
        self.get_logger().info(f"active, listening to {' and '.join(self._input.topics)}")

    def _stop(self) -> None:
        with self._lifecycle_lock:
            self._active.close()
            self._worker = None

    def _clean_up(self) -> None:
        with self._lifecycle_lock:
            self._stop()
            self._configured.close()
            self._pipeline = self._matcher = None
        torch = sys.modules.get("torch")  # only where a front end has loaded it
        if torch is not None and torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _transition(self, name: str, work: Callable[[], None], undo: Callable[[], Any]) -> TransitionCallbackReturn:
        """Run a transition, or log why it failed and undo it; rclpy would swallow an exception without a word."""
        try:
            with self._lifecycle_lock:
                work()
            return TransitionCallbackReturn.SUCCESS
        except RosMatchingError as error:
            self.get_logger().error(f"cannot {name}: {error}")
            result = TransitionCallbackReturn.FAILURE
        except Exception:
            self.get_logger().error(f"cannot {name}:\n{traceback.format_exc()}")
            result = TransitionCallbackReturn.ERROR
        undo()
        return result

    def _on_image(self, msg: Image | CompressedImage) -> None:
        worker = self._worker
        if worker is not None:
            self._statistics.count_arrival(worker.submit(ReceivedImage(msg, time.perf_counter())))

    def _on_worker_error(self, error: Exception) -> None:
        if self.context.ok():  # at the end of the process the context may go before the worker
            text = f"publishing a result failed ({type(error).__name__}: {error}); please report this"
            self._problems.report(Problem.OUTPUT, text, "".join(traceback.format_exception(error)))

    def _on_clock_jump(self, jump: Any) -> None:
        if self._pipeline is not None:
            self._pipeline.reset("the clock jumped back")

    def _on_timer(self) -> None:
        with self._lifecycle_lock:
            if self.state == "active":
                self._check_input()
        status = diagnostic_status(
            name=f"{self.get_fully_qualified_name().lstrip('/')}: visual odometry",
            hardware_id=self.get_parameter("camera_frame").value or "camera",
            lifecycle_state=self.state,
            statistics=self._statistics,
            problems=self._problems.present(),
        )
        array = DiagnosticArray(status=[status])
        array.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(array)

    def _check_input(self) -> None:
        if not self._calibration.is_known:
            self._input.follow_latched_camera_info()
        last_s = max(self._statistics.last_activity_s, self._active_since_s)
        if self._worker.is_idle and time.monotonic() - last_s > _SILENCE_S:
            self._input.report_silence()
        else:
            self._problems.clear(Problem.INPUT)

    def _on_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        is_fixed = self.state != "unconfigured"
        reason = reason_to_refuse(self, _CONFIGS, changes, LIVE_SETTINGS if is_fixed else None)
        return SetParametersResult(successful=not reason, reason=reason)


def main(args: list[str] | None = None) -> int:
    """Run the node in a process of its own; the exit status is 1 when it could not start."""
    rclpy.init(args=args)
    try:
        node = VoNode()
    except RosMatchingError as error:
        print(f"vo_node: {error}", file=sys.stderr)
        rclpy.shutdown()
        return 1
    try:
        if node.get_parameter("autostart").value:
            node.bring_up()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        node.destroy_node()
        if rclpy.ok():  # a signal may have shut it down; Humble has no try_shutdown
            rclpy.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
