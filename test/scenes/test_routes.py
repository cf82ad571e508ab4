"""Routes: smooth, within their limits, and the same place again after each time round."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ros_matching.errors import SceneError
from ros_matching.scenes import PathConfig, ProceduralTextures, Route, build_scene, camera_path

SQUARE = np.array([[0.0, 0.0, 1.5], [12.0, 0.0, 1.5], [12.0, 8.0, 1.5], [0.0, 8.0, 1.5]])


def times(count: int, fps: float = 10.0) -> np.ndarray:
    return np.arange(count) / fps


def distance_to_line(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    ends = np.roll(corners, -1, 0)
    along = np.clip(((points[:, None] - corners) * (ends - corners)).sum(2) / ((ends - corners) ** 2).sum(1), 0, 1)
    return np.linalg.norm(points[:, None] - (corners + along[..., None] * (ends - corners)), axis=2).min(1)


def test_route_follows_its_line_and_comes_round_again():
    route = Route(SQUARE, closed=True, key_m=0.5, sway_m=0.2)
    states = route.states(times(1200), 1.0, np.radians(30), seed=1)
    assert route.length_m == pytest.approx(40.0)
    assert distance_to_line(states[:, :3], SQUARE).max() < 0.7  # sway, and cut corners
    travelled = np.linalg.norm(np.diff(states[:, :3], axis=0), axis=1).sum()
    assert travelled > 1.5 * route.length_m
    assert states[-1, 3] - states[0, 3] > 2.5 * np.pi  # headings are continuous over the rounds
    # each point of the second round is near one of the first, though not the same
    first, second = states[:440, :2], states[560:900, :2]
    nearest = np.linalg.norm(second[:, None] - first, axis=2).min(1)
    assert nearest.max() < 0.5
    assert nearest.max() > 0.05


def test_route_keeps_speed_and_rate_of_rotation():
    route = Route(SQUARE, closed=True, key_m=0.5, sway_m=0.2)
    states = route.states(times(1500, 30.0), 1.0, np.radians(30), seed=2)
    assert np.linalg.norm(np.diff(states[:, :3], axis=0), axis=1).max() * 30 < 1.01
    rotations = Rotation.from_euler("ZYX", states[:, 3:] * [1, -1, 1])
    turns = (rotations[:-1].inv() * rotations[1:]).magnitude() * 30
    assert np.degrees(turns.max()) < 30.3
    acceleration = np.diff(states[:, :3], 2, axis=0) * 30**2
    assert np.linalg.norm(acceleration, axis=1).max() < 3.0


def test_longer_route_begins_like_the_shorter_and_seeds_differ():
    route = Route(SQUARE, closed=True, key_m=0.5, sway_m=0.2)
    short, long = (route.states(times(count), 1.0, 0.5, seed=3) for count in (300, 2000))
    np.testing.assert_allclose(long[:300], short, atol=1e-9)
    assert np.abs(route.states(times(300), 1.0, 0.5, seed=4) - short).max() > 0.05


def test_open_route_ends():
    route = Route(SQUARE, closed=False, key_m=0.5, sway_m=0.0)
    states = route.states(times(320), 1.0, np.radians(45), seed=0)
    assert np.linalg.norm(states[0, :3] - SQUARE[0]) < 0.6
    assert distance_to_line(states[:, :3], SQUARE[:, :]).max() < 0.5
    with pytest.raises(SceneError, match=r"ends after 32 m.*fewer frames"):
        route.states(times(600), 1.0, np.radians(45), seed=0)


@pytest.mark.parametrize("corners", [np.zeros((1, 3)), np.zeros((3, 2)), np.full((3, 3), np.nan)])
def test_useless_corners_are_refused(corners):
    with pytest.raises(SceneError, match="corners"):
        Route(corners, closed=True, key_m=0.5, sway_m=0.1)


def test_a_scene_without_route_has_no_path_along_it():
    scene = build_scene("room", ProceduralTextures(32, variants=1))
    with pytest.raises(SceneError, match="house"):
        camera_path(scene, PathConfig(path="route"))
    np.testing.assert_array_equal(
        camera_path(scene, PathConfig(frames=20)), camera_path(scene, PathConfig(path="handheld", frames=20))
    )
