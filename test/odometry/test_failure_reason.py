"""Reasons for images that cannot start a map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from ros_matching.datatypes import Frame
from ros_matching.io import open_source
from ros_matching.matching import load_matcher
from ros_matching.odometry.result import TrackingStatus
from ros_matching.visual_odometry import VisualOdometry

BAD = 4  # images before those of the room


@pytest.fixture(scope="module")
def room() -> list[Frame]:
    return list(open_source("scene:room?frames=12&fps=10&width=320&height=240"))


def noise_around(level: float) -> Callable[[np.ndarray], np.ndarray]:
    rng = np.random.default_rng(0)
    return lambda image: np.clip(rng.normal(level, 2, image.shape), 0, 255).astype(np.uint8)


IMAGES = {
    "black": (np.zeros_like, "dark"),
    "dark": (noise_around(3), "dark"),
    "dim": (lambda image: (image * 0.06).astype(np.uint8), "dark"),
    "uniform": (noise_around(128), "shows nothing"),
    "white": (lambda image: np.full_like(image, 255), "overexposed"),
}


@pytest.mark.parametrize("matcher", ["default", "sift"])
@pytest.mark.parametrize("kind", IMAGES)
def test_the_reason_of_an_unusable_first_image_is_reported(kind: str, matcher: str, room: list[Frame]) -> None:
    edit, reason = IMAGES[kind]
    odometry = VisualOdometry(load_matcher(matcher))
    for frame in room[:BAD]:
        result = odometry.track(replace(frame, image=edit(frame.image)))
        assert result.status is TrackingStatus.INITIALIZING
        assert reason in result.reason
    results = [odometry.track(frame) for frame in room[BAD:]]
    assert all(reason not in result.reason for result in results)
    assert results[-1].status is TrackingStatus.TRACKING
