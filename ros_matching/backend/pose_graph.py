"""Optimisation of a graph of keyframes over Sim(3), with GTSAM (https://gtsam.org), the optional extra ``slam``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from ros_matching.atlas.stored_keyframes import Edge
from ros_matching.errors import MissingDependencyError
from ros_matching.geometry.se3 import exp_so3, pose_from
from ros_matching.geometry.sim3 import invert_similarity, local_similarity, scale_of

if TYPE_CHECKING:
    import gtsam

_ITERATIONS = 50
_CONVERGED = 1e-5  # relative decrease of the error below which the optimisation ends
_GAUGE_STD = 1e-6  # of a fixed keyframe
_FREE_STD = 1e4  # of what a measurement of the scale alone leaves free
_FREE_TURN_STD = 1e2  # rad, of a heading that is free
_MIN_STD = 1e-7  # of an edge, for a covariance without full rank
# Standard deviations from which the error of a robust edge counts less (Cauchy)
_CAUCHY = 3.0


@dataclass(frozen=True, eq=False)
class PoseGraph:
    """Keyframes and the constraints between them.

    ``poses`` are the similarities ``map_from_local`` (4, 4) by id, those with which the optimisation starts. ``fixed``
    stay; each connected part needs one. The error of the edges in ``robust``, by position, has a robust loss.
    ``scales`` are measured scales of keyframes with their relative standard
    deviations, by id. ``gravity`` are measured directions of gravity in keyframes (3,) with the standard deviations of
    their two angles in radians, by id, and ``down`` (3,) is that direction in the map.
    """

    poses: Mapping[int, np.ndarray]
    edges: list[Edge]
    robust: frozenset[int]
    fixed: frozenset[int]
    scales: Mapping[int, tuple[float, float]]
    gravity: Mapping[int, tuple[np.ndarray, float]] = field(default_factory=dict)
    down: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class OptimizedGraph:
    """Optimised ``map_from_local`` (4, 4) by id.

    ``initial_errors`` and ``edge_errors`` (E,) are the squared Mahalanobis errors of the edges before and after.
    """

    poses: dict[int, np.ndarray]
    initial_errors: np.ndarray
    edge_errors: np.ndarray
    iterations: int


def optimize(graph: PoseGraph, is_cancelled: Callable[[], bool] = lambda: False) -> OptimizedGraph | None:
    """Minimise the weighted squared errors of all edges by Levenberg-Marquardt; ``None`` if cancelled.

    Raises ``MissingDependencyError`` without GTSAM.
    """
    gtsam = require_gtsam()
    factors, values = gtsam.NonlinearFactorGraph(), gtsam.Values()
    starts = _similarities3(gtsam, np.stack(list(graph.poses.values())))
    for id, start in zip(graph.poses, starts, strict=True):
        values.insert(id, start)
    for factor in _edge_factors(gtsam, graph.edges, graph.robust):
        factors.add(factor)
    for id in graph.fixed:
        factors.add(_prior(gtsam, id, graph.poses[id], np.full(7, _GAUGE_STD)))
    for id, (scale, std) in graph.scales.items():
        scaled = _with_scale(graph.poses[id], scale)
        factors.add(_prior(gtsam, id, scaled, np.append(np.full(6, _FREE_STD), max(std, _MIN_STD))))
    if graph.down is not None:
        for id, (down, std) in graph.gravity.items():
            factors.add(_gravity_factor(gtsam, id, graph.poses[id], (down, std), graph.down))
    optimizer = gtsam.LevenbergMarquardtOptimizer(factors, values, gtsam.LevenbergMarquardtParams())
    error = optimizer.error()
    iterations = 0
    while iterations < _ITERATIONS:
        if is_cancelled():
            return None
        optimizer.iterate()
        iterations += 1
        before, error = error, optimizer.error()
        if before - error <= _CONVERGED * before:
            break
    found = optimizer.values()
    poses = {id: _matrix(found.atSimilarity3(id)) for id in graph.poses}
    return OptimizedGraph(
        poses,
        edge_errors(graph.edges, graph.poses),
        edge_errors(graph.edges, poses),
        iterations,
    )


def require_gtsam() -> ModuleType:
    """Return the module of GTSAM; raises ``MissingDependencyError`` if it is not installed."""
    try:
        import gtsam
    except ImportError as error:
        raise MissingDependencyError(
            "closing loops needs GTSAM, which is not installed: pip install 'ros_matching[slam]' "
            "(or gtsam; it has wheels for Python 3.11 or newer on Linux and macOS, none for Windows)"
        ) from error
    return gtsam


def _edge_factors(
    gtsam: ModuleType, edges: Sequence[Edge], robust: frozenset[int]
) -> Iterator[gtsam.BetweenFactorSimilarity3]:
    """Make the factors of the edges; the arithmetic is that of all at once."""
    if not edges:
        return
    covariances = _tangent_covariances(edges)
    measured = _similarities3(gtsam, np.stack([edge.first_from_second for edge in edges]))
    loss = gtsam.noiseModel.mEstimator.Cauchy.Create(_CAUCHY)
    for number, (edge, covariance, similarity) in enumerate(zip(edges, covariances, measured, strict=True)):
        noise = gtsam.noiseModel.Gaussian.Covariance(covariance)
        if number in robust:
            noise = gtsam.noiseModel.Robust.Create(loss, noise)
        yield gtsam.BetweenFactorSimilarity3(edge.first, edge.second, similarity, noise)


def _prior(gtsam: ModuleType, id: int, pose: np.ndarray, stds: np.ndarray) -> gtsam.PriorFactorSimilarity3:
    """Constrain a keyframe with standard deviations (7,) of its rotation, translation and scale."""
    return gtsam.PriorFactorSimilarity3(
        id, _similarities3(gtsam, pose[None])[0], gtsam.noiseModel.Diagonal.Sigmas(stds)
    )


def _gravity_factor(
    gtsam: ModuleType, id: int, pose: np.ndarray, measured: tuple[np.ndarray, float], down: np.ndarray
) -> gtsam.PriorFactorSimilarity3:
    """Constrain roll and pitch of a keyframe by the direction of gravity (3,) in its camera.

    The prior is the nearest rotation at which that direction is ``down`` (3,) in the map. Heading, the rotation about
    it, position and scale are free.
    """
    in_camera, std = measured
    rotation = pose[:3, :3] / scale_of(pose)
    seen = rotation @ in_camera
    axis = np.cross(seen, down)
    sine, cosine = float(np.linalg.norm(axis)), float(seen @ down)
    if sine > 0:
        rotation = exp_so3(np.arctan2(sine, cosine) * axis / sine) @ rotation
    target = pose_from(scale_of(pose) * rotation, pose[:3, 3])
    covariance = _FREE_STD**2 * np.eye(7)
    about = np.outer(in_camera, in_camera)
    covariance[:3, :3] = std**2 * (np.eye(3) - about) + _FREE_TURN_STD**2 * about
    noise = gtsam.noiseModel.Gaussian.Covariance(covariance)
    return gtsam.PriorFactorSimilarity3(id, _similarities3(gtsam, target[None])[0], noise)


def _tangent_covariances(edges: Sequence[Edge]) -> np.ndarray:
    """Covariances (E, 7, 7) of edges in the tangent space of GTSAM, to first order: rotation, translation, scale.

    There T = T_hat Exp(w, u, l): t = t_hat + s R u, R = R_hat Exp(w), s = s_hat exp(l).
    """
    measured = np.stack([edge.first_from_second for edge in edges])
    scale = scale_of(measured)[:, None, None]
    back = np.swapaxes(measured[:, :3, :3], 1, 2) / scale
    jacobian = np.zeros((len(edges), 7, 7))
    jacobian[:, :3, 3:6] = back
    jacobian[:, 3:6, :3] = back / scale
    jacobian[:, 6, 6] = 1.0
    covariance = np.stack([edge.covariance for edge in edges])
    return jacobian @ covariance @ np.swapaxes(jacobian, 1, 2) + _MIN_STD**2 * np.eye(7)


def edge_errors(edges: Sequence[Edge], poses: Mapping[int, np.ndarray]) -> np.ndarray:
    """Squared Mahalanobis errors (E,) of edges at poses ``map_from_local`` (4, 4) by id."""
    if not edges:
        return np.zeros(0)
    first, second = (
        np.stack([poses[id] for id in ids]) for ids in zip(*((e.first, e.second) for e in edges), strict=True)
    )
    measured = np.stack([edge.first_from_second for edge in edges])
    covariance = np.stack([edge.covariance for edge in edges]) + _MIN_STD**2 * np.eye(7)
    error = local_similarity(measured, invert_similarity(first) @ second)
    return np.einsum("ei,ei->e", error, np.linalg.solve(covariance, error[..., None])[..., 0])


def _similarities3(gtsam: ModuleType, similarities: np.ndarray) -> list[gtsam.Similarity3]:
    """Similarities (N, 4, 4) for GTSAM, which applies the scale last: x -> s (R x + t)."""
    scales = scale_of(similarities)
    rotations = similarities[:, :3, :3] / scales[:, None, None]
    translations = similarities[:, :3, 3] / scales[:, None]
    return [
        gtsam.Similarity3(gtsam.Rot3(rotation), translation, scale)
        for rotation, translation, scale in zip(rotations, translations, scales.tolist(), strict=True)
    ]


def _matrix(similarity: gtsam.Similarity3) -> np.ndarray:
    scale = similarity.scale()
    return pose_from(scale * similarity.rotation().matrix(), scale * similarity.translation())


def _with_scale(similarity: np.ndarray, scale: float) -> np.ndarray:
    return pose_from(similarity[:3, :3] * (scale / scale_of(similarity)), similarity[:3, 3])
