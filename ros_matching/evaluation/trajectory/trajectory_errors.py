"""Errors of an estimated trajectory against ground truth: ATE and RPE, computed by evo.

ATE is the RMSE of the camera positions after one alignment of the whole estimate; RPE is the RMSE of the motion
between consecutive poses (Sturm et al., "A benchmark for the evaluation of RGB-D SLAM systems", IROS 2012). The
alignment is that of ``evaluation.trajectory.trajectory_alignment``.

If tracking was lost and recovered, all segments share one alignment and one scale: a change of scale counts as error,
as it would for a robot. RPE leaves out pairs across such a gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.transform import Rotation

from ros_matching.errors import EvaluationError, MissingDependencyError
from ros_matching.evaluation import ALIGNMENTS
from ros_matching.evaluation.trajectory.trajectory_alignment import NO_SCALE, Alignment, align
from ros_matching.io.trajectory import Trajectory

if TYPE_CHECKING:
    from evo.core.trajectory import PosePath3D

MIN_POSES = 3


@dataclass(frozen=True)
class TrajectoryReport:
    """Errors of an estimate; lengths in the unit of the ground truth.

    ``path_length`` is the length of the ground truth over the ``matched`` poses, where a gap counts as its chord, and
    ``ate_percent`` is ``ate_rmse`` relative to it. ``rpe_trans`` and ``rpe_rot_deg`` are over ``rpe_pairs`` pairs of
    consecutive poses, NaN without any. ``scale`` is the factor applied to the estimate, NaN if the estimate does not
    move. ``alignment_note`` names what else the positions did not determine. ``errors`` (M,) are the distances between
    the positions of ``aligned`` and ``truth``, both reduced to the matched poses.
    """

    alignment: str
    matched: int
    path_length: float
    ate_rmse: float
    ate_percent: float
    rpe_trans: float
    rpe_rot_deg: float
    rpe_pairs: int
    scale: float
    errors: np.ndarray
    aligned: Trajectory
    truth: Trajectory
    alignment_note: str = ""


def evaluate_trajectory(
    estimate: Trajectory,
    truth: Trajectory,
    *,
    alignment: str = "sim3",
    max_difference_s: float = 0.01,
    segment_starts: Sequence[int] = (),
) -> TrajectoryReport:
    """Compare an estimate with ground truth, pose by pose if their stamps agree within ``max_difference_s``.

    ``alignment``: ``sim3`` (rotation, translation, scale; monocular), ``se3`` (no scale; metric), ``scale`` (scale
    only, about the origin) or ``none``. ``segment_starts`` are rows of the estimate that follow a loss of tracking.

    Positions on a line or point are aligned as far as they determine it; ``alignment_note`` names the rest. Raises
    ``EvaluationError`` if fewer than three poses have a counterpart or no scale fits, and ``MissingDependencyError``
    if evo is not installed.
    """
    check_alignment(alignment)
    rows, truth_rows = _associate(estimate.stamps_ns, truth.stamps_ns, max_difference_s)
    truth = Trajectory(truth.stamps_ns[truth_rows], truth.world_from_camera[truth_rows])
    aligned = _align(estimate.world_from_camera[rows], truth.world_from_camera, alignment)
    poses = aligned.apply(estimate.world_from_camera[rows])
    true_path, path = _evo_path(truth.world_from_camera), _evo_path(poses)
    errors = _position_errors(path, true_path)
    rpe_trans, rpe_rot_deg, rpe_pairs = _relative_errors(path, true_path, _continues(rows, segment_starts))
    ate_rmse, path_length = _rms(errors), float(true_path.path_length)
    return TrajectoryReport(
        alignment=alignment,
        matched=len(rows),
        path_length=path_length,
        ate_rmse=ate_rmse,
        ate_percent=100.0 * ate_rmse / path_length if path_length > 0 else float("nan"),
        rpe_trans=rpe_trans,
        rpe_rot_deg=rpe_rot_deg,
        rpe_pairs=rpe_pairs,
        scale=aligned.scale,
        errors=errors,
        aligned=Trajectory(estimate.stamps_ns[rows], poses),
        truth=truth,
        alignment_note=aligned.note,
    )


def check_alignment(alignment: str) -> None:
    """Raise ``EvaluationError`` for an unknown alignment."""
    if alignment not in ALIGNMENTS:
        raise EvaluationError(f"alignment must be one of {', '.join(ALIGNMENTS)}, got {alignment!r}")


def _associate(
    stamps_ns: np.ndarray, true_stamps_ns: np.ndarray, max_difference_s: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return matching rows of both trajectories: each pose of the shorter one with the nearest of the other."""
    if min(len(stamps_ns), len(true_stamps_ns)) < MIN_POSES:
        raise EvaluationError(
            f"an evaluation needs at least {MIN_POSES} poses, got {len(stamps_ns)} estimated and "
            f"{len(true_stamps_ns)} true ones"
        )
    sync = _evo().sync
    # evo counts in float seconds: from a common start they keep their nanoseconds.
    start_ns = min(stamps_ns[0], true_stamps_ns[0])
    seconds, true_seconds = ((stamps - start_ns) * 1e-9 for stamps in (stamps_ns, true_stamps_ns))
    if len(seconds) <= len(true_seconds):
        rows, true_rows = sync.matching_time_indices(seconds, true_seconds, max_difference_s)
    else:
        true_rows, rows = sync.matching_time_indices(true_seconds, seconds, max_difference_s)
    if len(rows) < MIN_POSES:
        raise EvaluationError(
            f"only {len(rows)} of {len(stamps_ns)} estimated poses have a true one within {max_difference_s} s, and "
            f"{MIN_POSES} are needed; estimated stamps are {_span(stamps_ns)}, true ones {_span(true_stamps_ns)}: "
            "check that both use the same clock"
        )
    return np.array(rows), np.array(true_rows)


def _span(stamps_ns: np.ndarray) -> str:
    return f"{stamps_ns[0] * 1e-9:.3f} to {stamps_ns[-1] * 1e-9:.3f} s"


def _continues(rows: np.ndarray, segment_starts: Sequence[int]) -> np.ndarray:
    """Return (M-1,) bool: True if the next matched pose belongs to the same tracking segment."""
    segment = np.searchsorted(np.sort(np.asarray(segment_starts, dtype=int)), rows, side="right")
    return segment[1:] == segment[:-1]


def _align(estimate: np.ndarray, truth: np.ndarray, alignment: str) -> Alignment:
    """Return the alignment of poses (N, 4, 4) to the true ones."""
    if alignment == "none":
        return Alignment(np.eye(3), np.zeros(3), 1.0)
    found = align(estimate, truth, with_scale=alignment != "se3")
    if alignment != "scale":
        return found
    return Alignment(np.eye(3), np.zeros(3), found.scale, NO_SCALE if np.isnan(found.scale) else "")


def _position_errors(path: PosePath3D, true_path: PosePath3D) -> np.ndarray:
    metrics = _evo().metrics
    ape = metrics.APE(metrics.PoseRelation.translation_part)
    ape.process_data((true_path, path))
    return ape.error


def _relative_errors(path: PosePath3D, true_path: PosePath3D, pairs: np.ndarray) -> tuple[float, float, int]:
    """RMS translation and rotation (degrees) error over the consecutive pairs that ``pairs`` (M-1,) marks."""
    metrics = _evo().metrics
    rpe = metrics.RPE(metrics.PoseRelation.translation_part, delta=1, delta_unit=metrics.Unit.frames)
    rpe.process_data((true_path, path))
    # evo also computes angles, but one logarithm at a time: seconds for ten thousand poses.
    angles_deg = np.rad2deg(Rotation.from_matrix(np.array(rpe.E)[:, :3, :3]).magnitude())
    return _rms(rpe.error[pairs]), _rms(angles_deg[pairs]), int(pairs.sum())


def _rms(errors: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(errors)))) if len(errors) else float("nan")


def _evo_path(poses: np.ndarray) -> PosePath3D:
    return _evo().trajectory.PosePath3D(poses_se3=list(poses))


def _evo() -> ModuleType:
    """Return the package ``evo.core``; evo.tools, which open settings in the home folder, are never imported."""
    try:
        import evo.core
        import evo.core.metrics
        import evo.core.sync
        import evo.core.trajectory
    except ImportError as error:
        raise MissingDependencyError(
            "evaluation against ground truth needs evo; install it with: pip install evo (extra viz of ros_matching)"
        ) from error
    return evo.core
