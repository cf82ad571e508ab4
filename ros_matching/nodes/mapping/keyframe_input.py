"""Keyframe subscription of ``mapping_node`` and the order of the keyframes.

A single keyframe out of order is dropped. Two consecutive ones that fit each other restart the map.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nav_msgs.msg import Path
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription

from ros_matching.datatypes import Keyframe
from ros_matching.msg import Keyframe as KeyframeMsg
from ros_matching.msg import KeyframeCorrections
from ros_matching.nodes.common.endpoints import incompatibility_events
from ros_matching.nodes.common.problems import Problem, ProblemLog
from ros_matching.nodes.mapping.outputs import FrameNames

_TOPIC = "keyframe"
_PATH_TOPIC = "keyframe_path"
_CORRECTIONS_TOPIC = "keyframe_corrections"  # with SLAM
_MOST_MISSING = 10_000  # largest gap of ids; a larger one is an odd message


class KeyframeInput:
    """Subscriptions to keyframes and their corrected poses: reliable; ``qos_overrides`` parameters apply."""

    def __init__(
        self,
        node: Node,
        queue_length: int,
        problems: ProblemLog,
        on_keyframe: Callable[[KeyframeMsg], None],
        on_corrections: Callable[[Path | KeyframeCorrections], None],
    ) -> None:
        self._node = node
        self._problems = problems
        self._queue_length = queue_length
        self._path = self._subscribe(Path, _PATH_TOPIC, on_corrections)
        self._corrections = self._subscribe(KeyframeCorrections, _CORRECTIONS_TOPIC, on_corrections)
        self._keyframes = self._subscribe(KeyframeMsg, _TOPIC, on_keyframe)

    @property
    def topic(self) -> str:
        """Topic of the keyframes, after remapping."""
        return self._keyframes.topic_name

    def destroy(self) -> None:
        """Remove the subscriptions from the node."""
        for subscription in (self._keyframes, self._path, self._corrections):
            self._node.destroy_subscription(subscription)

    def watch(self) -> None:
        """Report a topic with no publisher or several. A robot at rest sends no keyframes, which is no problem."""
        count = self._node.count_publishers(self.topic)
        if count > 1:
            self._problems.report(
                Problem.PUBLISHERS,
                f"{count} publishers send keyframes on {self.topic}, and the map is built from one camera; stop "
                "or remap all but one (ros2 topic info -v names them)",
            )
        else:
            self._problems.clear(Problem.PUBLISHERS)
        if count:
            self._problems.clear(Problem.INPUT)
        else:
            self._problems.report(
                Problem.INPUT,
                f"{self.topic} has no publisher; start vo_node (vo.launch.py, ros-matching run), or remap `{_TOPIC}`",
            )

    def _subscribe(self, message_type: type, topic: str, callback: Callable) -> Subscription:
        return self._node.create_subscription(
            message_type,
            topic,
            callback,
            QoSProfile(depth=self._queue_length),
            event_callbacks=incompatibility_events(self._node, topic, self._problems),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )


@dataclass(frozen=True)
class OrderedKeyframe:
    """A keyframe with the names of its frames, and the scale of its lengths in the map of SLAM; 0 without."""

    keyframe: Keyframe
    frames: FrameNames
    map_scale: float = 0.0


@dataclass(frozen=True)
class OrderResult:
    """Result of ``KeyframeOrder.take``: keyframes to map now, after a restart if ``restart`` has a reason.

    ``refused`` is a dropped keyframe, ``refusal`` the reason.
    """

    to_map: tuple[OrderedKeyframe, ...] = ()
    restart: str = ""
    refused: OrderedKeyframe | None = None
    refusal: str = ""


class KeyframeOrder:
    """Checks the order of keyframes: rising ids and stamps, in one frame and one scale.

    A keyframe that does not continue the last one waits for the next one. If the next one continues it, both are
    mapped: after a restart, or without one if they continue the keyframe before the last, which then was the odd one.
    If the next one continues the last instead, the waiting one is refused.
    """

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Accept any keyframe next."""
        self._before: OrderedKeyframe | None = None
        self._last: OrderedKeyframe | None = None
        self._waiting: OrderedKeyframe | None = None

    @property
    def last(self) -> OrderedKeyframe | None:
        """Last keyframe in order."""
        return self._last

    def take(self, new: OrderedKeyframe) -> OrderResult:
        """Add the next keyframe."""
        waited, self._waiting = self._waiting, None
        why = "" if self._last is None else discontinuity(self._last, new)
        if not why:
            refusal = "" if waited is None else discontinuity(self._last, waited)
            self._before, self._last = self._last, new
            return OrderResult((new,), refused=waited, refusal=refusal)
        if waited is None or discontinuity(waited, new):
            self._waiting = new
            return OrderResult(refused=waited, refusal="" if waited is None else discontinuity(self._last, waited))
        goes_on = self._before is not None and not discontinuity(self._before, waited)
        why = "" if goes_on else discontinuity(self._last, waited)
        self._before, self._last = waited, new
        return OrderResult((waited, new), restart=why)


def discontinuity(last: OrderedKeyframe, new: OrderedKeyframe) -> str:
    """Return the reason why a keyframe does not continue another; empty if it does."""
    before, after = last.keyframe, new.keyframe
    if after.id <= before.id:
        return f"keyframe {after.id} came after {before.id}, so the odometry has started again"
    if after.id > before.id + _MOST_MISSING:
        return f"keyframe {after.id} came after {before.id}, and none of those between"
    if after.frame.stamp_ns <= before.frame.stamp_ns:
        back_s = (before.frame.stamp_ns - after.frame.stamp_ns) * 1e-9
        return f"the stamps of the keyframes jumped back by {back_s:.3f} s"
    if not before.scale.shares_unit(after.scale):
        return f"the scale of the odometry changed from {before.scale.value} to {after.scale.value}"
    if new.frames != last.frames:
        return f"the frames of the keyframes changed from {last.frames} to {new.frames}"
    return ""
