"""Optimisation of pose graphs with drift, closed by loops."""

from __future__ import annotations

import builtins
from dataclasses import replace

import numpy as np
import pytest

from ros_matching.atlas.stored_keyframes import Edge, EdgeKind
from ros_matching.errors import MissingDependencyError
from ros_matching.geometry.se3 import exp_so3, pose_from
from ros_matching.geometry.sim3 import invert_similarity, retract_similarity, scale_of, similarity_from

gtsam = pytest.importorskip("gtsam")

from ros_matching.backend.pose_graph import PoseGraph, optimize  # noqa: E402

STDS = np.repeat([0.01, 0.002, 0.01], [3, 3, 1])
COUNT = 120


def ring(count: int = COUNT, radius: float = 10.0) -> list[np.ndarray]:
    """Similarities of cameras on a ring, which look ahead."""
    angles = 2 * np.pi * np.arange(count) / count
    return [
        pose_from(exp_so3(np.array([0.0, -a, 0.0])), radius * np.array([np.cos(a) - 1, 0.1 * np.sin(3 * a), np.sin(a)]))
        for a in angles
    ]


def edge(poses, first: int, second: int, kind=EdgeKind.ODOMETRY, stds=STDS, rng=None, bias=0.0) -> Edge:
    measured = invert_similarity(poses[first]) @ poses[second]
    noise = bias + (np.zeros(7) if rng is None else rng.normal(0, stds))
    return Edge(kind, first, second, retract_similarity(measured, noise), np.diag(np.square(stds)))


def chained(edges: list[Edge], count: int = COUNT) -> dict[int, np.ndarray]:
    """Dead reckoning along the odometry edges."""
    poses = {0: np.eye(4)}
    for each in edges[: count - 1]:
        poses[each.second] = poses[each.first] @ each.first_from_second
    return poses


def drifting(seed: int = 0) -> tuple[list[np.ndarray], list[Edge]]:
    """The ring and its odometry: noise, and a scale that shrinks by 0.4 % at each keyframe."""
    rng = np.random.default_rng(seed)
    true = ring()
    true = [invert_similarity(true[0]) @ pose for pose in true]
    bias = np.array([0, 0, 0, 0, 0, 0, -0.004])
    return true, [edge(true, i, i + 1, rng=rng, bias=bias) for i in range(COUNT - 1)]


def position_rmse(poses, true) -> float:
    return float(np.sqrt(np.mean([np.sum((poses[i][:3, 3] - true[i][:3, 3]) ** 2) for i in range(len(true))])))


LOOP_STDS = np.repeat([0.01, 0.002, 0.01], [3, 3, 1])


def test_a_loop_removes_the_drift_of_position_and_scale():
    true, edges = drifting()
    start = chained(edges)
    loop = edge(true, 0, COUNT - 1, EdgeKind.LOOP, LOOP_STDS)
    found = optimize(PoseGraph(start, [*edges, loop], frozenset(), frozenset({0}), {}))
    assert position_rmse(start, true) > 0.5
    assert position_rmse(found.poses, true) < 0.3 * position_rmse(start, true)
    assert scale_of(start[COUNT - 1]) < 0.7
    assert scale_of(found.poses[COUNT - 1]) == pytest.approx(1.0, abs=0.05)
    np.testing.assert_allclose(found.poses[0], np.eye(4), atol=1e-5)
    assert found.edge_errors.sum() < found.initial_errors.sum()


def tilts_deg(poses, true, down: np.ndarray) -> np.ndarray:
    """Angles (N,) in degrees between gravity by the poses and the true direction, in the map."""
    turned = [(poses[i][:3, :3] / scale_of(poses[i])) @ true[i][:3, :3].T @ down for i in range(len(true))]
    return np.degrees(np.arccos(np.clip(np.stack(turned) @ down, -1, 1)))


def test_gravity_keeps_roll_and_pitch_and_the_loop_corrects_the_heading():
    true, _ = drifting()
    edges = [edge(true, i, i + 1, rng=np.random.default_rng(i), bias=[0, 0, 0, 0.002, 0, 0.002, 0]) for i in range(119)]
    start, down = chained(edges), np.array([0.0, 1.0, 0.0])
    loop = edge(true, 0, COUNT - 1, EdgeKind.LOOP, LOOP_STDS)
    rng, std = np.random.default_rng(0), 0.005
    gravity = {}
    for id in range(0, COUNT, 3):
        seen = exp_so3(std * rng.standard_normal(3)) @ true[id][:3, :3].T @ down
        gravity[id] = seen, std
    graph = PoseGraph(start, [*edges, loop], frozenset(), frozenset({0}), {})
    without, found = optimize(graph), optimize(replace(graph, gravity=gravity, down=down))
    rms = [np.sqrt(np.mean(tilts_deg(poses, true, down) ** 2)) for poses in (start, without.poses, found.poses)]
    assert rms[0] > 3
    assert rms[2] < 0.5 * rms[1]
    assert rms[2] < 0.4
    assert position_rmse(found.poses, true) < position_rmse(without.poses, true)


def test_a_consistent_graph_stays():
    true, _ = drifting()
    edges = [edge(true, i, i + 1) for i in range(COUNT - 1)] + [edge(true, 0, COUNT - 1, EdgeKind.LOOP)]
    found = optimize(PoseGraph(dict(enumerate(true)), edges, frozenset(), frozenset({0}), {}))
    for id, pose in enumerate(true):
        np.testing.assert_allclose(found.poses[id], pose, atol=1e-6)
    assert found.edge_errors.max() < 1e-6


def test_one_false_loop_among_true_ones_has_little_effect():
    true, edges = drifting()
    loops = [edge(true, i, COUNT - 1 - i, EdgeKind.LOOP, LOOP_STDS) for i in range(4)]
    wrong = replace(edge(true, 0, 60, EdgeKind.LOOP, LOOP_STDS), first_from_second=np.eye(4))
    robust = frozenset(range(COUNT - 1, COUNT + 4))
    found = optimize(PoseGraph(chained(edges), [*edges, *loops, wrong], robust, frozenset({0}), {}))
    assert position_rmse(found.poses, true) < 0.3 * position_rmse(chained(edges), true)
    assert found.edge_errors[-1] > 100 * np.median(found.edge_errors[-5:-1])


def test_measured_scales_hold_a_metric_map():
    true, edges = drifting()
    scales = dict.fromkeys(range(COUNT), (1.0, 0.01))
    start = chained(edges)
    found = optimize(PoseGraph(start, edges, frozenset(), frozenset({0}), scales))
    assert max(abs(np.log(scale_of(pose))) for pose in found.poses.values()) < 0.05
    assert position_rmse(found.poses, true) < 0.6 * position_rmse(start, true)


def test_units_of_two_maps_are_reconciled_by_a_loop():
    true, _ = drifting()
    unit = {i: 1.0 if i < 60 else 2.5 for i in range(COUNT)}
    placed = {i: similarity_from(true[i], unit[i]) for i in range(COUNT)}
    edges = [edge(placed, i, i + 1) for i in range(COUNT - 1) if i != 59]
    loops = [edge(placed, 0, COUNT - 1, EdgeKind.LOOP), edge(placed, 1, COUNT - 2, EdgeKind.LOOP)]
    # The second map starts somewhere, in its own unit
    moved = similarity_from(pose_from(exp_so3(np.array([0.1, 0.3, 0.0])), np.array([2.0, 0.0, 1.0])), 0.4)
    start = {i: pose if i < 60 else moved @ pose for i, pose in placed.items()}
    found = optimize(PoseGraph(start, edges + loops, frozenset(), frozenset({0}), {}))
    for id in range(COUNT):
        np.testing.assert_allclose(found.poses[id], placed[id], atol=1e-3)


def test_a_cancelled_optimisation_returns_nothing():
    _, edges = drifting()
    graph = PoseGraph(chained(edges), edges, frozenset(), frozenset({0}), {})
    assert optimize(graph, lambda: True) is None


def test_without_gtsam_the_error_names_the_extra(monkeypatch):
    real_import = builtins.__import__

    def refusing(name, *args, **kwargs):
        if name == "gtsam":
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refusing)
    with pytest.raises(MissingDependencyError, match="slam"):
        optimize(PoseGraph({0: np.eye(4)}, [], frozenset(), frozenset({0}), {}))
