"""Scenes with a route: it is free, revisits are where they are said to be, and the floor plan hides nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ros_matching.datatypes import Camera
from ros_matching.scenes import ROUTE_SCENES, PathConfig, ProceduralTextures, Renderer, Scene, build_scene, camera_path

CAMERA = Camera(96, 72, 75.0, 75.0, 47.5, 35.5)
FPS = 5.0
FRAMES = {"house": 500, "corridor": 500, "block": 440, "cells": 900, "terrace": 230}


@pytest.fixture(scope="module", params=ROUTE_SCENES)
def name(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def scene(name) -> Scene:
    return build_scene(name, ProceduralTextures(32, variants=2), seed=2)


@pytest.fixture(scope="module")
def poses(name, scene) -> np.ndarray:
    return camera_path(scene, PathConfig(frames=FRAMES[name], fps=FPS, seed=2))


def revisits(poses: np.ndarray, reach_m: float, turn_deg: float = 40.0, apart_s: float = 20.0) -> np.ndarray:
    """Frames (N,) that see the same place as one long before."""
    at, forward = poses[:, :3, 3], poses[:, :3, 2]
    near = np.linalg.norm(at[:, None] - at, axis=2) < reach_m
    alike = forward @ forward.T > np.cos(np.radians(turn_deg))
    earlier = np.arange(len(at))[:, None] - np.arange(len(at)) > apart_s * FPS
    return (near & alike & earlier).any(1)


def test_route_is_free(scene, poses):
    assert scene.distance(poses[:, :3, 3]).min() >= scene.free_space.clearance_m


@pytest.mark.parametrize("seed", range(3, 9))
def test_routes_of_all_seeds_are_free(name, seed):
    scene = build_scene(name, ProceduralTextures(32, variants=1), seed)
    assert camera_path(scene, PathConfig(frames=FRAMES[name], fps=FPS, seed=seed)).shape == (FRAMES[name], 4, 4)


def test_route_revisits_or_not(name, scene, poses):
    again = revisits(poses, reach_m=2.5 if name == "block" else 0.7)
    if name in ("cells", "terrace"):
        assert not again.any()
    else:
        assert again[-20:].mean() > 0.8  # once round and a bit further
        assert 0.04 < again.mean() < 0.6
        span = np.ptp(poses[:, :2, 3], axis=0)
        assert span.min() > {"house": 4, "corridor": 12, "block": 60}[name]


def test_floor_plan_hides_nothing_that_is_seen(scene, poses):
    views = poses[:: len(poses) // 25]
    some = Renderer(scene, CAMERA, antialias=False).render(views)
    whole = Renderer(replace(scene, plan=None), CAMERA, antialias=False).render(views)
    assert torch.equal(some.primitives, whole.primitives)
    assert torch.equal(some.rgb, whole.rgb)


def test_floor_plan_leaves_much_out(name, scene, poses):
    if scene.plan is None:
        pytest.skip("a straight street is all in view")
    corner = np.array([[-0.64, -0.48, 1], [0.64, -0.48, 1], [-0.64, 0.48, 1], [0.64, 0.48, 1]])
    views = poses[::20]
    seen = scene.plan.visible(views, corner @ views[:, :3, :3].transpose(0, 2, 1))
    assert seen.mean() < 0.65
    outside = views[:1].copy()
    outside[0, :2, 3] = -500.0
    assert scene.plan.visible(outside, corner[None] @ outside[:, :3, :3].transpose(0, 2, 1)).all()


def test_floor_plan_sees_all_when_looking_down(scene, poses):
    if scene.plan is None:
        pytest.skip("has none")
    down = np.array([[-0.6, -0.5, -1], [0.6, -0.5, -1], [-0.6, 0.5, -1], [0.6, 0.5, -1]])
    assert scene.plan.visible(poses[:1], down[None]).all()


def test_interiors_are_closed(name, scene, poses):
    depth = Renderer(scene, CAMERA, antialias=False).render(poses[:: len(poses) // 20]).depth
    if name in ("house", "corridor", "cells"):
        assert torch.isfinite(depth).all()
    else:
        assert torch.isfinite(depth[:, CAMERA.height // 2 + 12 :]).all()  # only the sky is open


def test_cells_are_equal(name):
    if name != "cells":
        pytest.skip("only cells are equal")
    scene = build_scene(name, ProceduralTextures(32, variants=2), seed=1)
    first = scene.plan.lower[0, 0], scene.plan.lower[2, 0]
    pose = camera_path(scene, PathConfig(path="still", frames=1, seed=1))[0]
    pose[:3, :3] = [[1, 0, 0], [0, 0, 1], [0, -1, 0]]  # at a wall without a doorway
    shifted = pose.copy()
    shifted[0, 3] += first[1] - first[0]
    pair = Renderer(scene, CAMERA, antialias=False).render(np.stack([pose, shifted])).rgb.int()
    assert pair[0].float().std() > 10
    assert ((pair[0] - pair[1]).abs().amax(2) < 8).float().mean() > 0.97
