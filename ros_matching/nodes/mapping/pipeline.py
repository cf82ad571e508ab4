"""Pipeline of one keyframe through ``mapping_node``: message, keyframe, mapper, messages."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from nav_msgs.msg import Path

from ros_matching.datatypes import Keyframe, PointCloud, ScaleState
from ros_matching.errors import NodeError
from ros_matching.mapping import MappingResult, MappingStatus
from ros_matching.mapping.dense_map_file import StoredDenseMap
from ros_matching.mapping.voxel_map import VoxelArrays
from ros_matching.msg import Keyframe as KeyframeMsg
from ros_matching.msg import KeyframeCorrections
from ros_matching.nodes.common.conversions import pose_from_msg, stamp_ns_from_msg
from ros_matching.nodes.common.problems import Problem, ProblemLog
from ros_matching.nodes.mapping.grid_output import GridOutput
from ros_matching.nodes.mapping.keyframe_input import KeyframeOrder, OrderedKeyframe
from ros_matching.nodes.mapping.messages import keyframe_from_msg
from ros_matching.nodes.mapping.outputs import FrameNames, MappingOutputs
from ros_matching.nodes.mapping.statistics import MappingStatistics

_MOST_WAITING = 100_000
_MOST_CORRECTED = 100_000
_UNKNOWN_STAMP = -1  # of a keyframe that is no longer corrected


@dataclass(frozen=True)
class Correction:
    """A corrected pose ``world_from_camera`` (4, 4); ``scale`` is that of its lengths in the map of SLAM, or 0."""

    pose: np.ndarray
    scale: float = 0.0


class PoseCorrections:
    """The newest correction of every keyframe until it is taken, by stamp: filled by the executor, for the worker."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fixed_frame = ""
        self._waiting: dict[int, Correction] = {}

    def receive(self, msg: Path | KeyframeCorrections) -> None:
        """Store the newest poses of a message; ``NodeError`` for an invalid pose or scale."""
        scales = [0.0] * len(msg.poses) if isinstance(msg, Path) else list(msg.scales)
        if len(scales) != len(msg.poses):
            raise NodeError(f"{len(msg.poses)} poses need as many scales, got {len(scales)}")
        if not isinstance(msg, Path) and not all(0 < scale < np.inf for scale in scales):
            raise NodeError("the scales must be positive numbers")
        corrections = {
            stamp_ns_from_msg(pose.header.stamp): Correction(pose_from_msg(pose.pose), scale)
            for pose, scale in zip(msg.poses[-_MOST_WAITING:], scales[-_MOST_WAITING:], strict=True)
        }
        with self._lock:
            if msg.header.frame_id != self._fixed_frame:
                self._fixed_frame, self._waiting = msg.header.frame_id, {}
            self._waiting |= corrections
            for stamp_ns in list(self._waiting)[:-_MOST_WAITING]:  # of keyframes that never came
                del self._waiting[stamp_ns]

    def take(self, stamps_ns: Collection[int], fixed_frame: str) -> dict[int, Correction]:
        """The corrections of those keyframes that have one."""
        with self._lock:
            if fixed_frame != self._fixed_frame:
                return {}
            wanted = [stamp_ns for stamp_ns in self._waiting if stamp_ns in stamps_ns]
            return {stamp_ns: self._waiting.pop(stamp_ns) for stamp_ns in wanted}

    def clear(self) -> None:
        """Remove all poses: another run may repeat the stamps."""
        with self._lock:
            self._waiting = {}


class Mapper(Protocol):
    """Interface of ``ros_matching.mapping.DenseMapper`` that the pipeline uses."""

    def add(self, keyframe: Keyframe) -> MappingResult:
        """Add the next keyframe."""

    def move(self, poses: Mapping[int, np.ndarray], scales: Mapping[int, float]) -> None:
        """Correct poses of keyframes, and rescale their lengths."""

    def finish(self) -> list[MappingResult]:
        """Map the waiting keyframes."""

    def cloud(self) -> PointCloud:
        """Return the whole map."""

    def clear(self) -> None:
        """Empty the map."""

    def arrays(self) -> tuple[VoxelArrays, ScaleState] | None:
        """Return the contents of the map and its unit."""

    def restore(self, arrays: VoxelArrays, unit: ScaleState) -> None:
        """Continue a map."""


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
    grid: GridOutput
    statistics: MappingStatistics
    problems: ProblemLog
    corrections: PoseCorrections
    log: Callable[[str], object]  # for events, such as a restart
    save_before_restart: Callable[[], object] = lambda: None


class MappingPipeline:
    """Maps keyframes one by one in the worker's thread; only ``cloud`` may be called from other threads."""

    def __init__(self, parts: MappingParts) -> None:
        self._parts = parts
        self._last: Keyframe | None = None
        self._frames: FrameNames | None = None
        self._order = KeyframeOrder()
        # id and scale of the keyframes that may still be corrected, by stamp
        self._known: dict[int, tuple[int, float]] = {}

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
        ordered = self._order.take(OrderedKeyframe(keyframe, frames, received.msg.map_scale))
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
        """Apply the corrections that wait, and publish the whole map if it has changed."""
        if self._last is not None:
            self._run_mapper(self._correct)
        if self._last is not None:
            stamp_ns = self._last.frame.stamp_ns
            self._parts.outputs.publish_map(self._parts.mapper.cloud, stamp_ns, self._frames)
            self._parts.grid.publish(stamp_ns, self._frames.fixed)

    def cloud(self) -> PointCloud:
        """Return the whole map; from any thread."""
        return self._parts.mapper.cloud()

    def stored(self) -> StoredDenseMap | None:
        """Return the map with its keyframes, to go on later; ``None`` if it is empty. From any thread."""
        contents = self._parts.mapper.arrays()
        if contents is None:
            return None
        by_id = {id: (stamp_ns, scale) for stamp_ns, (id, scale) in list(self._known.items())}
        rows = [by_id.get(id, (_UNKNOWN_STAMP, 0.0)) for id in contents[0].ids.tolist()]
        stamps_ns, scales = np.array([row[0] for row in rows], np.int64), np.array([row[1] for row in rows], np.float64)
        return StoredDenseMap(*contents, stamps_ns, scales)

    def restore(self, stored: StoredDenseMap) -> None:
        """Continue a stored map; its keyframes follow corrections of their stamps."""
        self._parts.mapper.restore(stored.arrays, stored.unit)
        keyframes = zip(stored.arrays.ids.tolist(), stored.stamps_ns.tolist(), stored.scales.tolist(), strict=True)
        self._known = {stamp_ns: (id, scale) for id, stamp_ns, scale in keyframes if stamp_ns != _UNKNOWN_STAMP}
        self._parts.outputs.mark_map_changed()

    def clear(self, why: str) -> None:
        """Empty the map, and accept any keyframe next."""
        self._order.restart()
        self._clear_map(why)

    def restart(self, why: str) -> None:
        """Empty the map, after it was saved if it is to be saved at the end."""
        try:
            self._parts.save_before_restart()
        except Exception as error:
            text = f"the map before a restart was not saved ({type(error).__name__}: {error})"
            self._parts.problems.report(Problem.OUTPUT, text, traceback.format_exc())
        self._clear_map(why)

    def _clear_map(self, why: str) -> None:
        self._parts.mapper.clear()
        self._parts.grid.clear()
        self._parts.corrections.clear()
        self._known = {}
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
        for result in self._run_mapper(lambda: self._add(item)):
            self._take(result)
            parts.statistics.count_latency((time.perf_counter() - received_s) * 1e3, dict(result.stage_ms))

    def _add(self, item: OrderedKeyframe) -> list[MappingResult]:
        """Map a keyframe at its corrected pose, after earlier keyframes have moved to theirs."""
        stamp_ns = item.keyframe.frame.stamp_ns
        self._known[stamp_ns] = item.keyframe.id, item.map_scale
        if len(self._known) > _MOST_CORRECTED:
            del self._known[next(iter(self._known))]
        own = self._parts.corrections.take([stamp_ns], self._frames.fixed).get(stamp_ns)
        self._correct()
        keyframe = item.keyframe
        if own is not None:
            factor = _factor(own, item.map_scale)
            keyframe = replace(keyframe, world_from_camera=own.pose, sparse_depths=factor * keyframe.sparse_depths)
            self._known[stamp_ns] = keyframe.id, own.scale or item.map_scale
        return [self._parts.mapper.add(keyframe)]

    def _correct(self) -> list[MappingResult]:
        """Move and rescale the keyframes whose corrections wait."""
        corrections = self._parts.corrections.take(self._known, self._frames.fixed)
        if corrections:
            known = {stamp_ns: self._known[stamp_ns] for stamp_ns in corrections}
            poses = {id: corrections[stamp_ns].pose for stamp_ns, (id, _) in known.items()}
            scales = {id: _factor(corrections[stamp_ns], scale) for stamp_ns, (id, scale) in known.items()}
            self._parts.mapper.move(poses, scales)
            self._parts.grid.move(poses, scales)
            self._parts.outputs.mark_map_changed()
        return []

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
            self._parts.grid.take(result)


def _factor(correction: Correction, added_scale: float) -> float:
    """Factor on the lengths of a keyframe since it was added with a scale; 1 without SLAM."""
    return correction.scale / added_scale if correction.scale and added_scale else 1.0
