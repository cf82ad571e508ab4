"""Pipeline of one keyframe through ``mapping_node``: message, keyframe, mapper, messages."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from nav_msgs.msg import Path

from ros_matching.datatypes import Keyframe, PointCloud
from ros_matching.errors import NodeError
from ros_matching.mapping import MappingResult, MappingStatus
from ros_matching.msg import Keyframe as KeyframeMsg
from ros_matching.nodes.common.conversions import pose_from_msg, stamp_ns_from_msg
from ros_matching.nodes.common.problems import Problem, ProblemLog
from ros_matching.nodes.mapping.keyframe_input import KeyframeOrder, OrderedKeyframe
from ros_matching.nodes.mapping.messages import keyframe_from_msg
from ros_matching.nodes.mapping.outputs import FrameNames, MappingOutputs
from ros_matching.nodes.mapping.statistics import MappingStatistics

_MOST_WAITING = 1000
_MOST_CORRECTED = 1000


class PoseCorrections:
    """The newest correction of every keyframe until it is taken, by stamp: filled by the executor, for the worker."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fixed_frame = ""
        self._waiting: dict[int, np.ndarray] = {}

    def receive(self, path: Path) -> None:
        """Store the newest poses of a ``keyframe_path`` message; ``NodeError`` for an invalid pose."""
        newest = path.poses[-_MOST_WAITING:]
        poses = {stamp_ns_from_msg(pose.header.stamp): pose_from_msg(pose.pose) for pose in newest}
        with self._lock:
            if path.header.frame_id != self._fixed_frame:
                self._fixed_frame, self._waiting = path.header.frame_id, {}
            self._waiting |= poses
            for stamp_ns in list(self._waiting)[:-_MOST_WAITING]:  # of keyframes that never came
                del self._waiting[stamp_ns]

    def take(self, stamps_ns: Iterable[int], fixed_frame: str) -> dict[int, np.ndarray]:
        """The corrected poses ``world_from_camera`` (4, 4) of those keyframes that have one."""
        with self._lock:
            if fixed_frame != self._fixed_frame:
                return {}
            return {stamp_ns: self._waiting.pop(stamp_ns) for stamp_ns in stamps_ns if stamp_ns in self._waiting}

    def clear(self) -> None:
        """Remove all poses: another run may repeat the stamps."""
        with self._lock:
            self._waiting = {}


class Mapper(Protocol):
    """Interface of ``ros_matching.mapping.DenseMapper`` that the pipeline uses."""

    def add(self, keyframe: Keyframe) -> MappingResult:
        """Add the next keyframe."""

    def move(self, poses: Mapping[int, np.ndarray]) -> None:
        """Correct poses of keyframes."""

    def finish(self) -> list[MappingResult]:
        """Map the waiting keyframes."""

    def cloud(self) -> PointCloud:
        """Return the whole map."""

    def clear(self) -> None:
        """Empty the map."""


@dataclass(frozen=True)
class ReceivedKeyframe:
    """A keyframe message and its arrival time, by ``time.perf_counter``."""

    msg: KeyframeMsg
    received_s: float


@dataclass(frozen=True)
class MappingParts:
    """Parts that the pipeline connects."""

    mapper: Mapper
    outputs: MappingOutputs
    statistics: MappingStatistics
    problems: ProblemLog
    corrections: PoseCorrections
    log: Callable[[str], object]  # for events, such as a restart
    save_before_restart: Callable[[PointCloud], object] = lambda cloud: None


class MappingPipeline:
    """Maps keyframes one by one in the worker's thread; only ``cloud`` may be called from other threads."""

    def __init__(self, parts: MappingParts) -> None:
        self._parts = parts
        self._last: Keyframe | None = None
        self._frames: FrameNames | None = None
        self._order = KeyframeOrder()
        self._ids: dict[int, int] = {}  # ids of keyframes that may still be corrected, by stamp

    def process(self, received: ReceivedKeyframe) -> None:
        """Map one keyframe, or those that are in order now, and publish the results."""
        parts = self._parts
        # Convert
        try:
            keyframe = keyframe_from_msg(received.msg)
        except NodeError as error:
            parts.statistics.count_refused()
            parts.problems.report(Problem.KEYFRAME, f"keyframe {received.msg.id} cannot be used: {error}")
            return
        frames = FrameNames(received.msg.header.frame_id, received.msg.image.header.frame_id)
        # Check the order
        ordered = self._order.take(OrderedKeyframe(keyframe, frames))
        if ordered.refused is not None:
            parts.statistics.count_refused()
            parts.problems.report(
                Problem.KEYFRAME, f"keyframe {ordered.refused.keyframe.id} is left out: {ordered.refusal}"
            )
        if ordered.restart:
            self.restart(ordered.restart)
        # Map and publish
        for item in ordered.to_map:
            self._map(item, received.received_s)

    def finish(self) -> None:
        """Map the keyframes that wait for later ones."""
        for result in self._run_mapper(self._parts.mapper.finish):
            self._take(result)

    def publish_map(self) -> None:
        """Publish the whole map if it has changed."""
        if self._last is not None:
            self._parts.outputs.publish_map(self._parts.mapper.cloud, self._last.frame.stamp_ns, self._frames)

    def cloud(self) -> PointCloud:
        """Return the whole map; from any thread."""
        return self._parts.mapper.cloud()

    def clear(self, why: str) -> None:
        """Empty the map, and accept any keyframe next."""
        self._order.restart()
        self._clear_map(why)

    def restart(self, why: str) -> None:
        """Empty the map, after it was saved if it is to be saved at the end."""
        try:
            self._parts.save_before_restart(self._parts.mapper.cloud())
        except Exception as error:
            text = f"the map before a restart was not saved ({type(error).__name__}: {error})"
            self._parts.problems.report(Problem.OUTPUT, text, traceback.format_exc())
        self._clear_map(why)

    def _clear_map(self, why: str) -> None:
        self._parts.mapper.clear()
        self._parts.corrections.clear()
        self._ids = {}
        self._last = None
        self._parts.outputs.mark_map_changed()
        self._parts.statistics.count_restart()
        self._parts.problems.clear(Problem.KEYFRAME)
        self._parts.log(f"{why}: the map was restarted")

    def _map(self, item: OrderedKeyframe, received_s: float) -> None:
        parts = self._parts
        if self._last is not None:
            parts.statistics.count_missed(max(0, item.keyframe.id - self._last.id - 1))
        self._last, self._frames = item.keyframe, item.frames
        for result in self._run_mapper(lambda: self._add(item.keyframe)):
            self._take(result)
            parts.statistics.count_latency((time.perf_counter() - received_s) * 1e3, dict(result.stage_ms))

    def _add(self, keyframe: Keyframe) -> list[MappingResult]:
        """Map a keyframe at its corrected pose, and move earlier keyframes to theirs."""
        stamp_ns = keyframe.frame.stamp_ns
        self._ids[stamp_ns] = keyframe.id
        if len(self._ids) > _MOST_CORRECTED:
            del self._ids[next(iter(self._ids))]
        poses = self._parts.corrections.take(self._ids, self._frames.fixed)
        keyframe = replace(keyframe, world_from_camera=poses.pop(stamp_ns, keyframe.world_from_camera))
        if poses:
            self._parts.mapper.move({self._ids[stamp_ns]: pose for stamp_ns, pose in poses.items()})
            self._parts.outputs.mark_map_changed()
        return [self._parts.mapper.add(keyframe)]

    def _run_mapper(self, work: Callable[[], list[MappingResult]]) -> list[MappingResult]:
        """Run the mapper. After a failure its state is undefined, so it is restarted."""
        try:
            results = work()
        except Exception as error:
            text = f"the mapper failed ({type(error).__name__}: {error}); please report this"
            self._parts.problems.report(Problem.MAPPER, text, traceback.format_exc())
            self.restart("the mapper failed")
            return []
        self._parts.problems.clear(Problem.MAPPER)
        return results

    def _take(self, result: MappingResult) -> None:
        """Count and publish the result of a keyframe."""
        self._parts.statistics.count_result(result)
        if result.status is MappingStatus.REFUSED:
            text = f"keyframe {result.keyframe_id} is not mapped: {result.reason}"
            self._parts.problems.report(Problem.KEYFRAME, text)
        elif result.status is MappingStatus.MAPPED:
            self._parts.problems.clear(Problem.KEYFRAME)
            self._parts.outputs.publish(result, self._frames)
