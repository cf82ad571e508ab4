"""The way of one keyframe through ``mapping_node``: message, keyframe, mapper, messages."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from ros_matching.datatypes import Keyframe, PointCloud
from ros_matching.errors import NodeError
from ros_matching.mapping import MappingResult, MappingStatus
from ros_matching.msg import Keyframe as KeyframeMsg
from ros_matching.nodes.mapping_messages import keyframe_from_msg
from ros_matching.nodes.mapping_outputs import FrameNames, MappingOutputs
from ros_matching.nodes.mapping_statistics import MappingStatistics
from ros_matching.nodes.pose_corrections import PoseCorrections
from ros_matching.nodes.problems import Problem, ProblemLog

_MOST_CORRECTED = 1000


class Mapper(Protocol):
    """What the pipeline needs of ``ros_matching.mapping.DenseMapper``."""

    def add(self, keyframe: Keyframe) -> MappingResult:
        """Take the next keyframe."""

    def move(self, poses: Mapping[int, np.ndarray]) -> None:
        """Correct poses."""

    def finish(self) -> list[MappingResult]:
        """Map what still waits."""

    def cloud(self) -> PointCloud:
        """The whole map."""

    def clear(self) -> None:
        """Start anew."""


@dataclass(frozen=True)
class ReceivedKeyframe:
    """A keyframe message and when it came, by ``time.perf_counter``."""

    msg: KeyframeMsg
    received_s: float


@dataclass(frozen=True)
class MappingParts:
    """What the pipeline works with."""

    mapper: Mapper
    outputs: MappingOutputs
    statistics: MappingStatistics
    problems: ProblemLog
    corrections: PoseCorrections
    say: Callable[[str], object]  # for events, such as a new beginning


class MappingPipeline:
    """Maps keyframes one by one, all in the thread of the worker: no two of its methods may run at once."""

    def __init__(self, parts: MappingParts) -> None:
        self._parts = parts
        self._last: Keyframe | None = None
        self._frames: FrameNames | None = None
        self._ids: dict[int, int] = {}  # of the keyframes that may still be corrected, by stamp

    def process(self, received: ReceivedKeyframe) -> None:
        """Map one keyframe, or the one whose turn it is, and publish what came out."""
        parts = self._parts
        try:
            keyframe = keyframe_from_msg(received.msg)
        except NodeError as error:
            parts.statistics.count_refused()
            parts.problems.report(Problem.KEYFRAME, f"keyframe {received.msg.id} cannot be used: {error}")
            return
        self._follow(keyframe, FrameNames(received.msg.header.frame_id, received.msg.image.header.frame_id))
        for result in self._survive(lambda: self._add(keyframe)):
            self._take(result)
            parts.statistics.count_latency((time.perf_counter() - received.received_s) * 1e3, dict(result.stage_ms))

    def finish(self) -> None:
        """Map the keyframes that waited for later ones, of which there will be none."""
        for result in self._survive(self._parts.mapper.finish):
            self._take(result)

    def publish_map(self) -> None:
        """Publish the whole map, where there is something new to tell."""
        if self._last is not None:
            self._parts.outputs.publish_map(self._parts.mapper.cloud, self._last.frame.stamp_ns, self._frames)

    def cloud(self) -> PointCloud:
        """The whole map."""
        return self._parts.mapper.cloud()

    def clear(self, why: str) -> None:
        """Begin anew."""
        self._parts.mapper.clear()
        self._parts.corrections.forget()
        self._ids = {}
        self._parts.outputs.renew_map()
        self._parts.statistics.count_restart()
        self._parts.problems.clear(Problem.KEYFRAME)
        self._parts.say(f"{why}: the map begins anew")

    def _follow(self, keyframe: Keyframe, frames: FrameNames) -> None:
        """Begin anew where the keyframe cannot belong to the same map as the last, and count those that are missing."""
        why = "" if self._last is None else self._break_before(keyframe, frames)
        if why:
            self.clear(why)
        elif self._last is not None:
            self._parts.statistics.count_missed(keyframe.id - self._last.id - 1)
        self._last, self._frames = keyframe, frames

    def _break_before(self, keyframe: Keyframe, frames: FrameNames) -> str:
        """Why the map ends before this keyframe; empty when it goes on."""
        last = self._last
        if keyframe.id <= last.id:
            return f"keyframe {keyframe.id} came after {last.id}, so the odometry has started anew"
        if keyframe.frame.stamp_ns <= last.frame.stamp_ns:
            back_s = (last.frame.stamp_ns - keyframe.frame.stamp_ns) * 1e-9
            return f"the stamps of the keyframes jumped back by {back_s:.3f} s"
        if not last.scale.shares_unit(keyframe.scale):
            return f"the scale of the odometry changed from {last.scale.value} to {keyframe.scale.value}"
        if frames != self._frames:
            return f"the frames of the keyframes changed from {self._frames} to {frames}"
        return ""

    def _add(self, keyframe: Keyframe) -> list[MappingResult]:
        """Map a keyframe where it is by now, and move those before to where they are."""
        stamp_ns = keyframe.frame.stamp_ns
        self._ids[stamp_ns] = keyframe.id
        if len(self._ids) > _MOST_CORRECTED:
            del self._ids[next(iter(self._ids))]
        poses = self._parts.corrections.take(self._ids, self._frames.fixed)
        keyframe = replace(keyframe, world_from_camera=poses.pop(stamp_ns, keyframe.world_from_camera))
        if poses:
            self._parts.mapper.move({self._ids[stamp_ns]: pose for stamp_ns, pose in poses.items()})
            self._parts.outputs.renew_map()
        return [self._parts.mapper.add(keyframe)]

    def _survive(self, work: Callable[[], list[MappingResult]]) -> list[MappingResult]:
        """Map, and survive a failure of the mapper: its state cannot be trusted then, so it starts anew."""
        try:
            results = work()
        except Exception as error:
            text = f"the mapper failed ({type(error).__name__}: {error}); please report this"
            self._parts.problems.report(Problem.MAPPER, text, traceback.format_exc())
            self.clear("the mapper failed")
            return []
        self._parts.problems.clear(Problem.MAPPER)
        return results

    def _take(self, result: MappingResult) -> None:
        """Count and publish what became of a keyframe."""
        self._parts.statistics.count_result(result)
        if result.status is MappingStatus.REFUSED:
            text = f"keyframe {result.keyframe_id} is not mapped: {result.reason}"
            self._parts.problems.report(Problem.KEYFRAME, text)
        elif result.status is MappingStatus.MAPPED:
            self._parts.problems.clear(Problem.KEYFRAME)
            self._parts.outputs.publish(result, self._frames)
