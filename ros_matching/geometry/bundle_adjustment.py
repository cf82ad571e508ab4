"""Bundle adjustment of a window: camera poses and points that fit all their observations best, together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ros_matching.config import Config, parameter
from ros_matching.datatypes import Camera
from ros_matching.errors import GeometryError
from ros_matching.geometry.checks import as_points, as_weights, require_length
from ros_matching.geometry.gravity_prior import GravityPrior
from ros_matching.geometry.normal_equations import BundleObservations, Linearisation
from ros_matching.geometry.robust import cauchy_cost, cauchy_weight, huber_cost, huber_weight
from ros_matching.geometry.se3 import exp_so3, pose_from

_LOSSES = {"huber": (huber_cost, huber_weight), "cauchy": (cauchy_cost, cauchy_weight)}
_MIN_DAMPING, _MAX_DAMPING = 1e-7, 1e8
_DAMPING_DOWN, _DAMPING_UP = 0.1, 10.0
_NEGLIGIBLE_COST = 1e-12  # of one observation, square pixels: rounding


@dataclass(frozen=True)
class BundleConfig(Config):
    """Settings of a bundle adjustment."""

    iterations: int = parameter(10, "limit of steps that are tried", minimum=1, maximum=1000)
    loss: str = parameter("huber", "robust loss of the reprojection errors", choices=("huber", "cauchy"))
    loss_scale_px: float = parameter(1.5, "error from which the loss is robust, px", minimum=1e-3, maximum=1e3)
    initial_damping: float = parameter(1e-4, "Levenberg-Marquardt damping at the start", minimum=1e-7, maximum=1e3)
    convergence: float = parameter(
        1e-4, "fraction of the cost; a step that saves less ends the adjustment", minimum=0.0, maximum=1.0
    )


@dataclass(frozen=True)
class BundleProblem:
    """Cameras, points, and the observations of points by cameras.

    ``camera_from_world`` (C, 4, 4); ``points`` (P, 3) in the world; observation o is of point ``point_index[o]`` in
    camera ``camera_index[o]`` at ``points_px[o]``, with ``weights[o]`` its relative inverse variance; a camera observes
    a point once. ``fixed_cameras`` (C,) bool stay where they are: one of them holds the world's pose, two its scale as
    well. All cameras share ``camera``. ``gravity`` holds their roll and pitch, if it is known.
    """

    camera_from_world: np.ndarray
    points: np.ndarray
    camera_index: np.ndarray
    point_index: np.ndarray
    points_px: np.ndarray
    weights: np.ndarray
    fixed_cameras: np.ndarray
    camera: Camera
    gravity: GravityPrior | None = None

    def __post_init__(self) -> None:
        cameras, count = len(self.camera_from_world), len(self.points_px)
        if self.camera_from_world.shape != (cameras, 4, 4) or not np.isfinite(self.camera_from_world).all():
            raise GeometryError(f"camera_from_world must be finite (C, 4, 4), got {self.camera_from_world.shape}")
        as_points("points", self.points, 3)
        as_points("points_px", self.points_px, 2)
        as_weights(self.weights, count)
        for name, index, limit in (
            ("camera_index", self.camera_index, cameras),
            ("point_index", self.point_index, len(self.points)),
        ):
            require_length(name, index, count)
            if count and not (index.min() >= 0 and index.max() < limit):
                raise GeometryError(f"{name} must be from 0 to {limit - 1}, got {index.min()} to {index.max()}")
        if self.fixed_cameras.shape != (cameras,) or self.fixed_cameras.dtype != bool or not self.fixed_cameras.any():
            raise GeometryError("fixed_cameras must be (C,) bool with one camera fixed at least, to hold the world")
        if self.gravity is not None:
            require_length("gravity.weights", self.gravity.weights, cameras)
        pairs = self.camera_index.astype(np.int64) * len(self.points) + self.point_index
        if len(np.unique(pairs)) != count:
            raise GeometryError("a camera may see a point once only; merge or drop the repeated observations")


@dataclass(frozen=True)
class BundleResult:
    """The adjusted ``camera_from_world`` (C, 4, 4) and ``points`` (P, 3).

    ``errors_px`` (O,) are the reprojection errors at the end, infinite behind a camera; costs are robust, in square
    pixels; ``iterations`` counts the steps tried; ``converged`` is True if further steps would not reduce the cost.
    """

    camera_from_world: np.ndarray
    points: np.ndarray
    errors_px: np.ndarray
    initial_cost: float
    final_cost: float
    iterations: int
    converged: bool


def bundle_adjust(problem: BundleProblem, config: BundleConfig | None = None) -> BundleResult:
    """Minimise the robust reprojection error over all cameras that are not fixed and all points.

    Levenberg-Marquardt with the points eliminated (Schur complement; Triggs et al., "Bundle Adjustment - A Modern
    Synthesis", 1999). An observation behind its camera costs as much as an error of the image's diagonal and pulls
    nothing, so it neither breaks the adjustment nor is it a way out.
    """
    config = config or BundleConfig()
    cost_of, weight_of = _LOSSES[config.loss]
    observations = BundleObservations.of(problem)
    poses, points = problem.camera_from_world.astype(np.float64), problem.points.astype(np.float64)
    residuals = observations.residuals(poses, points)
    initial = observations.weights @ cost_of(residuals.error_px, config.loss_scale_px)
    initial += _prior_cost(problem, poses)
    cost = initial
    damping, converged, linear = config.initial_damping, False, None
    negligible = _NEGLIGIBLE_COST * len(observations.weights)
    iteration = 0
    while iteration < config.iterations and not converged:
        iteration += 1
        if linear is None:
            weight = observations.weights * weight_of(residuals.error_px, config.loss_scale_px)
            linear = Linearisation.of(observations, residuals, poses, weight)
            if problem.gravity is not None:
                linear = problem.gravity.added_to(linear, poses)
        camera_steps, point_steps = linear.solve(damping)
        new_poses, new_points = _moved(poses, points, camera_steps, point_steps)
        new_residuals = observations.residuals(new_poses, new_points)
        new_cost = observations.weights @ cost_of(new_residuals.error_px, config.loss_scale_px)
        new_cost += _prior_cost(problem, new_poses)
        converged = abs(cost - new_cost) <= config.convergence * cost + negligible
        if new_cost <= cost:
            poses, points, residuals, cost, linear = new_poses, new_points, new_residuals, new_cost, None
            damping = max(damping * _DAMPING_DOWN, _MIN_DAMPING)
        else:
            damping *= _DAMPING_UP
            converged |= damping > _MAX_DAMPING
    return BundleResult(
        poses, points, observations.errors_px(residuals), float(initial), float(cost), iteration, bool(converged)
    )


def _prior_cost(problem: BundleProblem, poses: np.ndarray) -> float:
    return 0.0 if problem.gravity is None else problem.gravity.cost(poses)


def _moved(
    poses: np.ndarray, points: np.ndarray, camera_steps: np.ndarray, point_steps: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Poses after ``X -> Exp(w) X + v`` in each camera, steps (C, 6) as ``(v, w)``, and points after (P, 3)."""
    return pose_from(exp_so3(camera_steps[:, 3:]), camera_steps[:, :3]) @ poses, points + point_steps
