"""Report of an odometry run over a sequence: counts, times, trajectory, and errors against ground truth.

``RunRecorder`` takes one ``FrameRecord`` per frame and returns a ``RunReport``. ``ros-matching track`` and the ROS demo
both report through it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ros_matching.datatypes import ScaleState
from ros_matching.errors import DataTypeError, EvaluationError, MissingDependencyError
from ros_matching.evaluation.trajectory.trajectory_errors import TrajectoryReport, check_alignment, evaluate_trajectory
from ros_matching.io.calibration import UsedCalibration
from ros_matching.io.faults import FrameFault
from ros_matching.io.trajectory import Trajectory

INITIALIZING, TRACKING, LOST, BRIDGED = STATUSES = ("initializing", "tracking", "lost", "bridged")


@dataclass(frozen=True)
class ScaleRecord:
    """State of a frame's map scale: the value of a ``ScaleState``, the scale source and the uncertainty.

    ``sigma`` is the relative standard deviation, infinite when unknown; ``reason`` explains a scale that is not metric
    although a source is set.
    """

    state: str = ScaleState.UP_TO_SCALE.value
    source: str = ""
    sigma: float = math.inf
    reason: str = ""


@dataclass(frozen=True)
class FrameRecord:
    """Result of one frame: ``world_from_camera`` (4, 4) if and only if ``status`` is ``tracking``.

    ``index`` is the frame's number in its source; ``reason`` explains a frame without a pose; ``latency_ms`` is its
    total time, NaN when unknown; ``maps`` is the number of maps so far, ``map_id`` that of the pose, 0 without one;
    ``scale`` is the state of the map scale. ``covariance`` (6, 6) is that of the pose; ``previous_from_current`` (4,
    4) with ``relative_covariance`` (6, 6) is the motion since the previous frame; ``None`` when unknown. The
    covariances include the known uncertainty of the scale. ``calibration_doubt`` is why the images contradict the
    calibration, empty if they do not.
    """

    index: int
    stamp_ns: int
    status: str
    world_from_camera: np.ndarray | None = None
    reason: str = ""
    latency_ms: float = float("nan")
    stage_ms: Mapping[str, float] = field(default_factory=dict)
    maps: int = 0
    map_id: int = 0
    scale: ScaleRecord = field(default_factory=ScaleRecord)
    covariance: np.ndarray | None = None
    previous_from_current: np.ndarray | None = None
    relative_covariance: np.ndarray | None = None
    calibration_doubt: str = ""

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise DataTypeError(f"FrameRecord.status must be one of {', '.join(STATUSES)}, got {self.status!r}")
        if (self.world_from_camera is not None) != (self.status == TRACKING):
            raise DataTypeError(
                f"FrameRecord {self.index}: a pose comes with status {TRACKING!r} and no other, got {self.status!r}"
            )


@dataclass(frozen=True)
class RunReport:
    """A run and its figures, written and printed by ``report_files``.

    ``records`` are in order of time. ``trajectory`` contains the poses of tracked frames (``None`` without any),
    ``truth`` all ground-truth poses (``None`` without any); ``evaluation`` compares the two, or ``evaluation_note``
    has the reason why not.
    """

    source: str
    matcher: str
    records: tuple[FrameRecord, ...]
    trajectory: Trajectory | None
    truth: Trajectory | None
    evaluation: TrajectoryReport | None
    evaluation_note: str
    dropped: int
    interrupted: bool
    faults: tuple[FrameFault, ...] = ()  # of the source
    calibration: UsedCalibration | None = None  # of the source, if known

    def count(self, status: str) -> int:
        """Return the number of frames with this status."""
        return sum(record.status == status for record in self.records)

    @property
    def maps(self) -> int:
        """Number of maps: one, and one more after every loss that ended in a new map."""
        return max((record.maps for record in self.records), default=0)

    @property
    def calibration_doubt(self) -> str:
        """Why the images contradict the calibration, by the end of the run; empty if they do not."""
        return self.records[-1].calibration_doubt if self.records else ""

    @property
    def latencies_ms(self) -> np.ndarray:
        """Known times of the frames (N,)."""
        times = np.array([record.latency_ms for record in self.records], dtype=np.float64)
        return times[np.isfinite(times)]

    @property
    def scale(self) -> ScaleRecord:
        """State of the map scale at the end of the run."""
        return self.records[-1].scale if self.records else ScaleRecord()

    def count_scale(self, state: ScaleState) -> int:
        """Return the number of tracked frames with the scale in this state."""
        return sum(record.status == TRACKING and record.scale.state == state.value for record in self.records)

    @property
    def ms_per_frame(self) -> float:
        """Mean time per frame; NaN when unknown."""
        times = self.latencies_ms
        return float(times.mean()) if times.size else float("nan")

    def ms_percentile(self, percent: float) -> float:
        """The time within which so many percent of the frames were tracked; NaN when unknown."""
        times = self.latencies_ms
        return float(np.percentile(times, percent)) if times.size else float("nan")

    @property
    def stage_ms(self) -> dict[str, float]:
        """Mean time of each stage over all frames, also those that skipped it: the stages add up to a frame."""
        totals: dict[str, float] = {}
        for record in self.records:
            for stage, milliseconds in record.stage_ms.items():
                totals[stage] = totals.get(stage, 0.0) + milliseconds
        return {stage: total / len(self.records) for stage, total in totals.items()}

    @property
    def segments(self) -> int:
        """Number of uninterrupted tracking segments."""
        return len(_segment_starts(self.records))

    def index_ranges(self, status: str) -> list[tuple[int, int]]:
        """Return first and last frame index (inclusive) of every uninterrupted segment with this status."""
        ranges: list[tuple[int, int]] = []
        previous = None
        for record in self.records:
            if record.status == status:
                first = ranges.pop()[0] if previous == status else record.index
                ranges.append((first, record.index))
            previous = record.status
        return ranges


class RunRecorder:
    """Collects the frames of a run, in any order, and reports on them."""

    def __init__(self, source: str, matcher: str, *, alignment: str = "sim3", max_difference_s: float = 0.01) -> None:
        """``source`` and ``matcher`` are names for the report; the rest is as in ``evaluate_trajectory``."""
        check_alignment(alignment)
        self.source = source
        self.matcher = matcher
        self._alignment = alignment
        self._max_difference_s = max_difference_s
        self._records: list[FrameRecord] = []
        self._ground_truth: list[tuple[int, np.ndarray]] = []
        self._faults: list[FrameFault] = []
        self._calibration: UsedCalibration | None = None

    def __len__(self) -> int:
        return len(self._records)

    def add(self, record: FrameRecord) -> None:
        """Add the result of one frame."""
        self._records.append(record)

    def add_ground_truth(self, stamp_ns: int, world_from_camera: np.ndarray) -> None:
        """Add one ground-truth pose (4, 4), of a frame or between frames."""
        self._ground_truth.append((stamp_ns, world_from_camera))

    def add_faults(self, faults: Sequence[FrameFault]) -> None:
        """Add faulty frames of the source, which were not delivered or not completely."""
        self._faults += faults

    def set_calibration(self, calibration: UsedCalibration) -> None:
        """Set the calibration that the images of the source were undistorted with."""
        self._calibration = calibration

    def place_in_map(self, trajectory: Sequence[tuple[int, np.ndarray]]) -> None:
        """Give the frames so far their poses in the map of a SLAM, see ``corrected_records``."""
        self._records = corrected_records(self._records, trajectory)

    def report(self, *, dropped: int = 0, interrupted: bool = False) -> RunReport:
        """Return the report. ``dropped`` is the number of frames that did not reach the odometry.

        A run that cannot be evaluated (no ground truth, too few poses, no evo) is reported without errors and with the
        reason.
        """
        records = tuple(sorted(self._records, key=lambda record: record.stamp_ns))
        trajectory = _trajectory(
            [(r.stamp_ns, r.world_from_camera) for r in records if r.world_from_camera is not None]
        )
        truth = _trajectory(sorted(self._ground_truth, key=lambda pose: pose[0]))
        evaluation, note = self._evaluate(records, trajectory, truth)
        return RunReport(
            self.source,
            self.matcher,
            records,
            trajectory,
            truth,
            evaluation,
            note,
            dropped,
            interrupted,
            tuple(self._faults),
            self._calibration,
        )

    def _evaluate(
        self, records: tuple[FrameRecord, ...], trajectory: Trajectory | None, truth: Trajectory | None
    ) -> tuple[TrajectoryReport | None, str]:
        if truth is None:
            return None, "no ground truth"
        if trajectory is None:
            return None, "no frame was tracked"
        try:
            evaluation = evaluate_trajectory(
                trajectory,
                truth,
                alignment=self._alignment,
                max_difference_s=self._max_difference_s,
                segment_starts=_segment_starts(records),
            )
        except (EvaluationError, MissingDependencyError) as error:
            return None, str(error)
        return evaluation, ""


def corrected_records(
    records: Sequence[FrameRecord], trajectory: Sequence[tuple[int, np.ndarray]]
) -> list[FrameRecord]:
    """Return the records with the poses in the map (stamp, (4, 4)); frames without one there count as lost."""
    poses = dict(trajectory)
    corrected = []
    for record in records:
        pose = poses.get(record.stamp_ns)
        # the covariances are those of the odometry
        unknown = {"covariance": None, "previous_from_current": None, "relative_covariance": None}
        if pose is not None:  # also before the odometry has one: the image was localised in a saved map
            corrected.append(replace(record, status=TRACKING, world_from_camera=pose, map_id=0, reason="", **unknown))
        elif record.status == TRACKING:
            reason = "tracked, but its place in the map is unknown"
            corrected.append(replace(record, status=LOST, world_from_camera=None, reason=reason, **unknown))
        else:
            corrected.append(record)
    return corrected


def _trajectory(poses: list[tuple[int, np.ndarray]]) -> Trajectory | None:
    if not poses:
        return None
    stamps_ns, world_from_camera = zip(*poses, strict=True)
    return Trajectory(np.array(stamps_ns, dtype=np.int64), np.array(world_from_camera, dtype=np.float64))


def _segment_starts(records: tuple[FrameRecord, ...]) -> list[int]:
    """Return the rows, among tracked frames, of the first frame of each tracking segment."""
    starts, row, previous = [], 0, ""
    for record in records:
        if record.status == TRACKING:
            if previous != TRACKING:
                starts.append(row)
            row += 1
        previous = record.status
    return starts


def peak_memory_mb(pid: int | None = None) -> float:
    """Return the peak memory of a process (default: this one) in MB; NaN when unknown.

    Available on Linux only, where it does not include the memory of the parent, unlike ``getrusage``.
    """
    status = Path(f"/proc/{os.getpid() if pid is None else pid}/status")
    for line in status.read_text().splitlines() if status.exists() else ():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    return float("nan")
