"""``ManagedNode``, the base class of the lifecycle nodes of this package."""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from contextlib import ExitStack
from typing import Any, ClassVar

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter

from ros_matching.config import Config
from ros_matching.errors import NodeError, RosMatchingError
from ros_matching.nodes.common.diagnostics import NodeReport, diagnostic_status
from ros_matching.nodes.common.endpoints import check_overrides
from ros_matching.nodes.common.lifecycle import refuse_wrong_transitions
from ros_matching.nodes.common.parameters import (
    declare_config,
    deprecated_parameters,
    read_config,
    reason_to_refuse,
    unknown_parameters,
)
from ros_matching.nodes.common.problems import Problem, ProblemLog

DIAGNOSTICS_PERIOD_S = 1.0


class ManagedNode(LifecycleNode, ABC):
    """Lifecycle node with parameters from configurations and with diagnostics; a failed transition is undone.

    No exception leaves a callback, a service or a transition: it is logged and reported in the diagnostics. A subclass
    sets the class variables and implements the abstract methods. ``_configure`` and ``_activate`` push what must be
    released onto the stacks ``_configured`` and ``_active``; both run under the lock.
    """

    NAME: ClassVar[str]
    TITLE: ClassVar[str]  # in the diagnostics
    CONFIGS: ClassVar[tuple[tuple[str, type[Config]], ...]]  # prefix and class
    LIVE_SETTINGS: ClassVar[Collection[str]] = frozenset()  # may be set while configured
    LIBRARY: ClassVar[str]  # name of its Python logger

    def __init__(self, **node_options: Any) -> None:
        """Declare the parameters; raises ``NodeError`` or ``ConfigError`` for one of the wrong type or range."""
        super().__init__(self.NAME, **node_options)
        self._state = "unconfigured"
        self.failure = ""
        check_overrides(self)
        for prefix, config_class in self.CONFIGS:
            declare_config(self, config_class, prefix)
            read_config(self, config_class, prefix)
        refuse_wrong_transitions(self)
        logger = self.get_logger()
        self._log_handler = RosLogHandler(logger)
        logging.getLogger(self.LIBRARY).addHandler(self._log_handler)
        self._problems = ProblemLog(
            lambda text: logger.error(text),
            lambda text: logger.warning(text),  # a separate line: rclpy binds a severity to a line of code
        )
        self._warn_of_parameters(with_quality_of_service=False)
        self._configured, self._active = ExitStack(), ExitStack()
        # Transitions may run in a thread other than the executor.
        self._lifecycle_lock = threading.RLock()
        self.add_on_set_parameters_callback(self._on_parameters)
        # Neither a lifecycle publisher nor the ROS clock: problems are also published while inactive or without /clock.
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._guarded_watch = self._guarded(self._watch, "the check for problems")
        on_timer = self._guarded(self._on_timer, "the diagnostics")
        self.create_timer(DIAGNOSTICS_PERIOD_S, on_timer, clock=Clock(clock_type=ClockType.STEADY_TIME))

    @property
    def state(self) -> str:
        """The lifecycle state: unconfigured, inactive, active or finalized."""
        return self._state

    def create_subscription(self, msg_type: type, topic: str, callback: Callable, *args: Any, **options: Any) -> Any:
        """As ``Node.create_subscription``; an exception in the callback is reported and does not end the process."""
        guarded = self._guarded(callback, f"handling a message on {topic}")
        return super().create_subscription(msg_type, topic, lambda msg: guarded(msg), *args, **options)

    def create_guard_condition(self, callback: Callable, *args: Any) -> Any:
        """As ``Node.create_guard_condition``; an exception in the callback is reported."""
        return super().create_guard_condition(self._guarded(callback, "matching the publishers"), *args)

    def bring_up(self, stopped: Callable[[], bool] = lambda: False) -> bool:
        """Configure and activate without a lifecycle manager; False if that failed (``failure``) or was stopped."""
        success = TransitionCallbackReturn.SUCCESS
        return self.trigger_configure() == success and not stopped() and self.trigger_activate() == success

    def close(self) -> str:
        """Finish the work and release everything; return the reason of a failure, or an empty text."""
        self._clean_up()
        return ""

    def close_at_once(self) -> str:
        """Save results from any thread, without waiting for the work; return the reason of a failure."""
        return ""

    def destroy_node(self) -> None:
        """Stop the work, then destroy the node."""
        self._clean_up()
        logging.getLogger(self.LIBRARY).removeHandler(self._log_handler)
        super().destroy_node()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the networks and set up everything that does not depend on incoming messages."""
        self._problems.clear_all()
        self._warn_of_parameters(with_quality_of_service=False)
        return self._transition("configure", self._configure, "inactive", undo=self._clean_up)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and start the work."""
        open_publishers = super().on_activate

        def work() -> None:
            open_publishers(state)  # before the first message can come
            self._activate()
            self._warn_of_parameters(with_quality_of_service=True)

        return self._transition("activate", work, "active", undo=lambda: self.on_deactivate(state))

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Finish the message in progress and accept no more."""
        return self._take_down("deactivate", self._stop, super().on_deactivate, state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the networks and all memory of the run."""
        return self._take_down("clean up", self._clean_up, super().on_cleanup, state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Deactivate and clean up."""
        result = self._take_down("shut down", self._clean_up, super().on_shutdown, state)
        self._state = "finalized"
        return result

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Return to unconfigured; the log contains the reason."""
        return self._take_down("clean up", self._clean_up, lambda _: TransitionCallbackReturn.SUCCESS, state)

    @abstractmethod
    def _configure(self) -> None:
        """Set up the parts that live from configure to cleanup."""

    @abstractmethod
    def _activate(self) -> None:
        """Set up the parts that live from activate to deactivate."""

    @abstractmethod
    def _watch(self) -> None:
        """Check for problems; called every ``DIAGNOSTICS_PERIOD_S`` while active."""

    @abstractmethod
    def _report(self) -> tuple[str, NodeReport]:
        """Return the hardware id and the report for the diagnostics."""

    def _stop(self) -> None:
        with self._lifecycle_lock:
            self._close(self._active)
            if self._state == "active":
                self._state = "inactive"

    def _clean_up(self) -> None:
        with self._lifecycle_lock:
            self._stop()
            self._close(self._configured)
            self._state = "unconfigured"
        torch = sys.modules.get("torch")  # only if a network has imported it
        if torch is not None and torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _warn_of_parameters(self, with_quality_of_service: bool) -> None:
        warnings = unknown_parameters(self, with_quality_of_service) + deprecated_parameters(self, self.CONFIGS)
        if warnings:
            self._problems.report(Problem.PARAMETERS, "; ".join(warnings))

    def _close(self, stack: ExitStack) -> None:
        """Release everything on a stack, even if a part fails."""
        self._guarded(stack.close, "taking the node down")()

    def _take_down(
        self, name: str, work: Callable[[], None], finish: Callable, state: LifecycleState
    ) -> TransitionCallbackReturn:
        try:
            work()
            return finish(state)
        except Exception:
            self.get_logger().error(f"cannot {name}:\n{traceback.format_exc()}")
            return TransitionCallbackReturn.ERROR

    def _guarded(self, call: Callable, what: str) -> Callable:
        """Wrap a call: an exception, which would end the executor and the process, is reported."""

        has_failed = False

        def guarded(*args: Any) -> None:
            nonlocal has_failed
            try:
                call(*args)
                if has_failed:
                    self._problems.clear(Problem.CALLBACK)
                has_failed = False
            except Exception as error:
                has_failed = True
                self._problems.report(Problem.CALLBACK, _fault(what, error), traceback.format_exc())

        return guarded

    def _transition(
        self, name: str, work: Callable[[], None], state: str, undo: Callable[[], Any]
    ) -> TransitionCallbackReturn:
        """Run a transition, or log its failure and undo it; rclpy would drop the exception silently."""
        try:
            with self._lifecycle_lock:
                work()
                self._state = state
            return TransitionCallbackReturn.SUCCESS
        except RosMatchingError as error:
            self.failure = f"cannot {name}: {error}"
            self.get_logger().error(self.failure)
            result = TransitionCallbackReturn.FAILURE
        except Exception as error:
            self.failure = f"cannot {name}: {type(error).__name__}: {error}"
            self.get_logger().error(f"cannot {name}:\n{traceback.format_exc()}")
            result = TransitionCallbackReturn.ERROR
        undo()
        return result

    def _not_configured(self) -> NodeError:
        advice = (
            "start its process again"
            if self.state == "finalized"
            else "configure and activate it first (ros2 lifecycle set)"
        )
        return NodeError(f"the node is {self.state}; {advice}")

    def _on_worker_error(self, error: Exception) -> None:
        if self.context.ok():  # at the end of the process the context may be destroyed before the worker
            text = f"publishing a result failed ({type(error).__name__}: {error}); please report this"
            self._problems.report(Problem.OUTPUT, text, "".join(traceback.format_exception(error)))

    def _on_timer(self) -> None:
        with self._lifecycle_lock:
            if self.state == "active":
                self._guarded_watch()
            hardware_id, report = self._own_report()
        status = diagnostic_status(
            name=f"{self.get_fully_qualified_name().lstrip('/')}: {self.TITLE}",
            hardware_id=hardware_id,
            lifecycle_state=self.state,
            report=report,
            problems=self._problems.present(),
        )
        array = DiagnosticArray(status=[status])
        array.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(array)

    def _own_report(self) -> tuple[str, NodeReport]:
        try:
            return self._report()
        except Exception as error:
            self.get_logger().error(traceback.format_exc(), throttle_duration_sec=60.0)
            return "", NodeReport(DiagnosticStatus.ERROR, _fault("the report of the node", error), {})

    def _on_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        is_fixed = self.state != "unconfigured"
        try:
            reason = reason_to_refuse(self, self.CONFIGS, changes, self.LIVE_SETTINGS if is_fixed else None)
        except Exception as error:
            self.get_logger().error(f"cannot check parameters:\n{traceback.format_exc()}")
            reason = f"the parameters cannot be checked ({type(error).__name__}: {error}); please report this"
        return SetParametersResult(successful=not reason, reason=reason)


def _fault(what: str, error: Exception) -> str:
    return f"{what} failed ({type(error).__name__}: {error}); please report this"


class RosLogHandler(logging.Handler):
    """Forwards Python log records to an rclpy logger. rclpy binds a severity to a line of code, hence one line each."""

    def __init__(self, ros_logger: Any) -> None:
        super().__init__()
        self._ros_logger = ros_logger

    def emit(self, record: logging.LogRecord) -> None:
        """Log one record with the nearest severity."""
        text = self.format(record)
        if record.levelno >= logging.ERROR:
            self._ros_logger.error(text)
        elif record.levelno >= logging.WARNING:
            self._ros_logger.warning(text)
        elif record.levelno >= logging.INFO:
            self._ros_logger.info(text)
        else:
            self._ros_logger.debug(text)
