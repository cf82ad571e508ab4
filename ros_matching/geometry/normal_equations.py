"""The linear algebra of bundle adjustment: Jacobians, normal equations, and the points' elimination from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ros_matching.datatypes import Camera

if TYPE_CHECKING:
    from ros_matching.geometry.bundle_adjustment import BundleProblem

_MIN_DEPTH = 1e-9  # nearer than this, in the world's unit, counts as behind the camera
_DENSE_CAMERAS = 60  # above it most points are observed by few of the cameras
_FLOOR = 1e-12  # fraction of the largest diagonal that keeps points without observations regular


@dataclass(frozen=True)
class Residuals:
    """Reprojection residuals, in the order of ``BundleObservations``.

    ``xy`` (2, O) normalised coordinates, ``inverse_depth`` (O,), zero behind the camera; ``residual`` (2, O) pixels,
    zero behind the camera; ``error_px`` (O,) their lengths, the image's diagonal behind the camera.
    """

    xy: np.ndarray
    inverse_depth: np.ndarray
    residual: np.ndarray
    error_px: np.ndarray


@dataclass(frozen=True)
class BundleObservations:
    """The observations of a bundle, sorted by camera: ``starts[c]:starts[c + 1]`` are those of camera c."""

    order: np.ndarray
    starts: np.ndarray
    camera_index: np.ndarray
    point_index: np.ndarray
    points_px: np.ndarray
    weights: np.ndarray
    free_cameras: np.ndarray
    point_count: int
    camera: Camera

    @staticmethod
    def of(problem: BundleProblem) -> BundleObservations:
        """Sort the observations of a problem."""
        order = np.lexsort((problem.point_index, problem.camera_index))
        camera_index = problem.camera_index[order]
        return BundleObservations(
            order=order,
            starts=np.searchsorted(camera_index, np.arange(len(problem.camera_from_world) + 1)),
            camera_index=camera_index,
            point_index=problem.point_index[order],
            points_px=np.ascontiguousarray(problem.points_px[order].T, dtype=np.float64),
            weights=np.asarray(problem.weights, dtype=np.float64)[order],
            free_cameras=np.flatnonzero(~problem.fixed_cameras),
            point_count=len(problem.points),
            camera=problem.camera,
        )

    def residuals(self, poses: np.ndarray, points: np.ndarray) -> Residuals:
        """Project points (P, 3) by poses (C, 4, 4) and compare with the observations."""
        camera = self.camera
        local = np.empty((3, len(self.point_index)))
        observed = points[self.point_index].T
        for pose, start, end in zip(poses, self.starts[:-1], self.starts[1:], strict=True):
            np.matmul(pose[:3, :3], observed[:, start:end], out=local[:, start:end])
            local[:, start:end] += pose[:3, 3:]
        behind = local[2] <= _MIN_DEPTH
        inverse_depth = np.divide(1.0, local[2], out=np.zeros(len(behind)), where=~behind)
        xy = local[:2] * inverse_depth
        focal, centre = np.array([[camera.fx], [camera.fy]]), np.array([[camera.cx], [camera.cy]])
        residual = np.where(behind, 0.0, focal * xy + centre - self.points_px)
        error_px = np.where(behind, np.hypot(camera.width, camera.height), np.hypot(*residual))
        return Residuals(xy, inverse_depth, residual, error_px)

    def errors_px(self, residuals: Residuals) -> np.ndarray:
        """The errors (O,) in the problem's order, infinite behind a camera."""
        errors = np.empty(len(self.order))
        errors[self.order] = np.where(residuals.inverse_depth > 0, residuals.error_px, np.inf)
        return errors


@dataclass(frozen=True)
class Linearisation:
    """The weighted normal equations of a bundle at one state.

    ``camera_blocks`` (F, 6, 6) and ``camera_gradient`` (F, 6) of the free cameras, ``point_blocks`` (P, 3, 3) and
    ``point_gradient`` (P, 3), ``cross`` one (6, 3, n) for the n observations of each free camera.
    """

    observations: BundleObservations
    camera_blocks: np.ndarray
    camera_gradient: np.ndarray
    point_blocks: np.ndarray
    point_gradient: np.ndarray
    cross: list[np.ndarray]

    @staticmethod
    def of(
        observations: BundleObservations, residuals: Residuals, poses: np.ndarray, weight: np.ndarray
    ) -> Linearisation:
        """Linearise around poses (C, 4, 4), with weights (O,) of the squared residuals."""
        by_camera, by_point = jacobians(observations, residuals, poses)
        weighted = by_point * weight
        gradient = np.sum(weighted * residuals.residual, axis=1)
        count, rows = observations.point_count, observations.point_index
        point_gradient = np.stack([np.bincount(rows, row, count) for row in gradient], axis=1)
        point_blocks = np.empty((count, 3, 3))
        for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)):
            products = weighted[i, 0] * by_point[j, 0] + weighted[i, 1] * by_point[j, 1]
            point_blocks[:, i, j] = point_blocks[:, j, i] = np.bincount(rows, products, count)
        camera_blocks, camera_gradient, cross = [], [], []
        for camera in observations.free_cameras:
            part = slice(observations.starts[camera], observations.starts[camera + 1])
            jacobian = by_camera[:, :, part]
            flat = (jacobian * weight[part]).reshape(6, -1)
            camera_blocks.append(flat @ jacobian.reshape(6, -1).T)
            camera_gradient.append(flat @ residuals.residual[:, part].ravel())
            of_points = weighted[:, :, part]
            cross.append(jacobian[:, None, 0] * of_points[:, 0] + jacobian[:, None, 1] * of_points[:, 1])
        shape = (len(cross), 6, 6)
        return Linearisation(
            observations,
            np.array(camera_blocks).reshape(shape),
            np.array(camera_gradient).reshape(shape[:2]),
            point_blocks,
            point_gradient,
            cross,
        )

    def solve(self, damping: float) -> tuple[np.ndarray, np.ndarray]:
        """Steps (C, 6) of all cameras, zero for fixed ones, and (P, 3) of the points, under a relative damping.

        With the points' blocks V = L L^T and G = W L^-T, the cameras solve (U - G G^T) dc = -(g_c - G L^-1 g_p).
        """
        observations = self.observations
        lower_inverse = _lower_inverse(np.linalg.cholesky(_damped(self.point_blocks, damping)))
        half_gradient = np.einsum("ijn,nj->in", lower_inverse, self.point_gradient)
        free, count = observations.free_cameras, observations.point_count
        if len(free) > _DENSE_CAMERAS:
            return self._solve_sparse(damping, lower_inverse, half_gradient)
        camera_steps = np.zeros((len(observations.starts) - 1, 6))
        half_steps = -half_gradient.ravel()
        if len(free):
            eliminated = np.zeros((len(free), 6, 3, count))
            system = np.zeros((len(free), 6, len(free), 6))
            for slot, camera in enumerate(free):
                rows = observations.point_index[observations.starts[camera] : observations.starts[camera + 1]]
                eliminated[slot][:, :, rows] = _times_transposed(self.cross[slot], lower_inverse[:, :, rows])
            eliminated = eliminated.reshape(6 * len(free), 3 * count)
            system[np.arange(len(free)), :, np.arange(len(free))] = _damped(self.camera_blocks, damping)
            system = system.reshape(len(eliminated), -1) - eliminated @ eliminated.T
            gradient = self.camera_gradient.ravel() - eliminated @ half_gradient.ravel()
            steps = -np.linalg.solve(system, gradient)
            camera_steps[free] = steps.reshape(-1, 6)
            half_steps -= steps @ eliminated
        return camera_steps, np.einsum("jin,jn->ni", lower_inverse, half_steps.reshape(3, count))

    def _solve_sparse(
        self, damping: float, lower_inverse: np.ndarray, half_gradient: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """As ``solve``, for many cameras, each of which observes few of the points: G is a sparse matrix."""
        from scipy.sparse import block_diag, csr_matrix
        from scipy.sparse.linalg import spsolve

        observations = self.observations
        free, count = observations.free_cameras, observations.point_count
        values, rows, columns = [], [], []
        for slot, camera in enumerate(free):
            seen = observations.point_index[observations.starts[camera] : observations.starts[camera + 1]]
            values.append(_times_transposed(self.cross[slot], lower_inverse[:, :, seen]).ravel())
            row, axis = 6 * slot + np.arange(6)[:, None, None], np.arange(3)[:, None] * count
            rows.append(np.broadcast_to(row, (6, 3, len(seen))).ravel())
            columns.append(np.broadcast_to(axis + seen, (6, 3, len(seen))).ravel())
        size = 6 * len(free)
        indices = np.concatenate(rows), np.concatenate(columns)
        eliminated = csr_matrix((np.concatenate(values), indices), shape=(size, 3 * count))
        system = block_diag(_damped(self.camera_blocks, damping)) - eliminated @ eliminated.T
        gradient = self.camera_gradient.ravel() - eliminated @ half_gradient.ravel()
        steps = -spsolve(system.tocsc(), gradient)
        camera_steps = np.zeros((len(observations.starts) - 1, 6))
        camera_steps[free] = steps.reshape(-1, 6)
        half_steps = -half_gradient.ravel() - eliminated.T @ steps
        return camera_steps, np.einsum("jin,jn->ni", lower_inverse, half_steps.reshape(3, count))


def jacobians(
    observations: BundleObservations, residuals: Residuals, poses: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives of the residuals by camera steps (6, 2, O) and by points in the world (3, 2, O).

    A camera step is ``(v, w)`` of ``X -> Exp(w) X + v`` in camera coordinates.
    """
    fx, fy = observations.camera.fx, observations.camera.fy
    (x, y), inverse = residuals.xy, residuals.inverse_depth
    in_front = inverse > 0
    by_camera = np.zeros((6, 2, len(inverse)))
    by_camera[0, 0], by_camera[1, 1] = fx * inverse, fy * inverse
    by_camera[2, 0], by_camera[2, 1] = -by_camera[0, 0] * x, -by_camera[1, 1] * y
    by_camera[3, 0], by_camera[3, 1] = -fx * x * y, -fy * (in_front + y * y)
    by_camera[4, 0], by_camera[4, 1] = fx * (in_front + x * x), fy * x * y
    by_camera[5, 0], by_camera[5, 1] = -fx * y, fy * x
    by_point = np.empty((3, 2, len(inverse)))
    for pose, start, end in zip(poses, observations.starts[:-1], observations.starts[1:], strict=True):
        part = by_camera[:3, :, start:end].reshape(3, -1)
        by_point[:, :, start:end] = (pose[:3, :3].T @ part).reshape(3, 2, -1)
    return by_camera, by_point


def _damped(blocks: np.ndarray, damping: float) -> np.ndarray:
    """Blocks (N, K, K) with their diagonals raised by a fraction of themselves and of the largest."""
    damped = blocks.copy()
    diagonal = np.einsum("nii->ni", damped)
    diagonal += damping * diagonal + _FLOOR * max(diagonal.max(initial=0.0), 1e-300)
    return damped


def _lower_inverse(lower: np.ndarray) -> np.ndarray:
    """The inverses (3, 3, N) of regular lower triangular matrices (N, 3, 3), by substitution in all of them at once."""
    l00, l10, l11, l20, l21, l22 = (lower[:, i, j] for i in range(3) for j in range(i + 1))
    inverse = np.zeros((3, 3, len(lower)))
    inverse[0, 0], inverse[1, 1], inverse[2, 2] = 1.0 / l00, 1.0 / l11, 1.0 / l22
    inverse[1, 0] = -l10 * inverse[0, 0] * inverse[1, 1]
    inverse[2, 1] = -l21 * inverse[1, 1] * inverse[2, 2]
    inverse[2, 0] = -(l20 * inverse[0, 0] + l21 * inverse[1, 0]) * inverse[2, 2]
    return inverse


def _times_transposed(left: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """``left[..., n] @ lower[..., n].T`` (6, 3, N) of ``left`` (6, 3, N) and lower triangular ``lower`` (3, 3, N)."""
    first, second, third = left[:, 0], left[:, 1], left[:, 2]
    product = np.empty(left.shape)
    product[:, 0] = first * lower[0, 0]
    product[:, 1] = first * lower[1, 0] + second * lower[1, 1]
    product[:, 2] = first * lower[2, 0] + second * lower[2, 1] + third * lower[2, 2]
    return product
