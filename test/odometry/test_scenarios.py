"""Disturbances of the images: status and reason, no wrong pose, and relocalisation.

Every scenario continues from one tracker after the first frames, with ground truth.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache

import cv2
import numpy as np
import pytest
from box_world import BoxWorld, Panel, film, furnished
from point_world import walk

from ros_matching.datatypes import Frame
from ros_matching.geometry.se3 import invert, rotation_angle_deg
from ros_matching.matching.classical import SiftConfig, sift_matcher
from ros_matching.odometry.result import TrackingResult, TrackingStatus
from ros_matching.visual_odometry import VisualOdometry

TRACKING, LOST = TrackingStatus.TRACKING, TrackingStatus.LOST
BEFORE = 30  # frames before anything happens
PATH = walk(75, speed=0.05)
MATCHER = sift_matcher(SiftConfig(max_keypoints=400))


@cache
def room() -> BoxWorld:
    return furnished(seed=1)


@cache
def view(index: int) -> Frame:
    return next(iter(film(room(), PATH, [index])))


@pytest.fixture(scope="module")
def before() -> tuple[VisualOdometry, list[TrackingResult]]:
    """A tracker after the first frames, and its results."""
    odometry = VisualOdometry(MATCHER)
    results = [odometry.track(view(index)) for index in range(BEFORE)]
    assert sum(r.status is TRACKING and not r.rotation_only for r in results) > BEFORE - 12
    return odometry, results


class Continuation:
    """Continues with the tracker, and compares with ground truth in the world and scale of the map."""

    def __init__(self, odometry: VisualOdometry, results: list[TrackingResult]) -> None:
        self._odometry = copy.deepcopy(odometry, {id(MATCHER): MATCHER})
        posed = [r for r in results if r.counts.landmarks and r.status is TRACKING]
        true = PATH[[r.frame_index for r in posed]]
        estimated = np.stack([r.world_from_camera for r in posed])
        spread = [np.linalg.norm(p[:, :3, 3] - p[0, :3, 3]) for p in (estimated, true)]
        self._scale = spread[0] / spread[1]
        self._world, self._first = estimated[0], true[0]

    def __call__(self, frames: Iterable[Frame], within_deg: float = 0.5) -> list[TrackingResult]:
        results = [self._odometry.track(frame) for frame in frames]
        for result in results:
            if result.status is TRACKING and result.map_id == 1:
                distance, angle_deg = self.errors(result)
                assert distance < 0.02, f"frame {result.frame_index} is {distance:.3f} off"
                assert angle_deg < within_deg, f"frame {result.frame_index} is rotated by {angle_deg:.2f} deg"
            elif result.status is LOST:
                assert result.world_from_camera is None
                assert result.previous_from_current is None
        return results

    def errors(self, result: TrackingResult) -> tuple[float, float]:
        motion = invert(self._first) @ PATH[result.frame_index]
        motion[:3, 3] *= self._scale
        off = invert(self._world @ motion) @ result.world_from_camera
        return float(np.linalg.norm(off[:3, 3])), float(rotation_angle_deg(off))


@pytest.fixture
def shoot(before: tuple[VisualOdometry, list[TrackingResult]]) -> Continuation:
    return Continuation(*before)


def disturbed(frames: Iterable[int], edit: Callable[[np.ndarray], np.ndarray]) -> list[Frame]:
    return [replace(view(index), image=edit(view(index).image)) for index in frames]


def noisy(level: float) -> Callable[[np.ndarray], np.ndarray]:
    """An image of grey level noise."""
    rng = np.random.default_rng(3)
    return lambda image: np.clip(rng.normal(level, 2, image.shape), 0, 255).astype(np.uint8)


def test_undisturbed_frames_are_tracked(shoot):
    assert {r.status for r in shoot(map(view, range(BEFORE, BEFORE + 8)))} == {TRACKING}


@pytest.mark.parametrize(("level", "reason"), [(1, "dark"), (128, "shows nothing"), (254, "overexposed")])
def test_a_covered_lens(shoot, level, reason):
    hidden = shoot(disturbed(range(BEFORE, BEFORE + 6), noisy(level)))
    assert {r.status for r in hidden} == {LOST}
    assert all(reason in r.reason for r in hidden)
    restored = shoot(map(view, range(BEFORE + 6, BEFORE + 10)))
    assert {r.status for r in restored} == {TRACKING}
    assert "relocalised" in restored[0].reason
    assert restored[0].previous_from_current is None
    assert restored[1].previous_from_current is not None
    assert restored[1].reason == ""


def test_blur(shoot):
    blurred = shoot(disturbed(range(BEFORE, BEFORE + 6), lambda image: cv2.GaussianBlur(image, (0, 0), 7)))
    assert all(r.status is TRACKING or "blurred" in r.reason for r in blurred)
    assert any(r.status is LOST for r in blurred)
    assert {r.status for r in shoot(map(view, range(BEFORE + 6, BEFORE + 10)))} == {TRACKING}


@pytest.mark.parametrize("gain", [0.35, 1.8])
def test_exposure_jumps(shoot, gain):
    def edit(image: np.ndarray) -> np.ndarray:
        return np.clip(image * gain, 0, 255).astype(np.uint8)

    frames = [
        frame
        for index in range(BEFORE, BEFORE + 8)
        for frame in (disturbed([index], edit) if index // 2 % 2 else [view(index)])
    ]
    assert {r.status for r in shoot(frames)} == {TRACKING}


def test_half_a_second_of_missing_frames(shoot):
    results = shoot(map(view, range(BEFORE + 15, BEFORE + 19)))
    assert {r.status for r in results} == {TRACKING}


@pytest.mark.parametrize("reach", [(0.25, 0.0), (0.0, 0.3)])
def test_a_moving_object_in_half_of_the_image(shoot, reach):
    x, y, z = PATH[BEFORE][:3, 3]

    def passing(index: int) -> list[Panel]:
        """A near wall that moves with the camera and oscillates, sideways or vertically."""
        since = index - BEFORE
        across, down = reach[0] * np.sin(0.5 * since) + 0.03 * since, reach[1] * np.sin(0.5 * since)
        lower, upper = (x + 0.2 + across, y - 3 + down), (x + 4.2 + across, y + 3 + down)
        return [Panel(axis=2, at=z + 1.8, lower=lower, upper=upper, texture=4, shift=(across, down))]

    results = shoot(film(room(), PATH, range(BEFORE, BEFORE + 12), panels=passing), within_deg=1.0)
    assert {r.status for r in results} == {TRACKING}


def test_another_place_is_not_recognised(shoot):
    elsewhere = furnished(seed=99)
    results = shoot(film(elsewhere, PATH, range(BEFORE, BEFORE + 8)))
    assert {r.status for r in results} == {LOST}
    assert all("fits" in r.reason for r in results)


def test_standing_still_does_not_move_the_camera(shoot):
    """After 60 s the mean position is within a millimetre of the first one, with the scene at 3 m."""
    rng = np.random.default_rng(4)
    still = view(BEFORE)
    frames = []
    for number in range(40):
        grain = rng.normal(0, 2, still.image.shape[:2])[..., None]
        image = np.clip(still.image + grain, 0, 255).astype(np.uint8)
        frames.append(replace(still, image=image, stamp_ns=still.stamp_ns + number * 1_500_000_000))
    results = shoot(frames)
    assert {r.status for r in results} == {TRACKING}
    assert sum(bool(r.new_keyframes) for r in results) <= 1
    centers = np.stack([r.world_from_camera[:3, 3] for r in results])
    assert np.linalg.norm(centers[-10:].mean(axis=0) - centers[2:12].mean(axis=0)) < 0.001 / 3
