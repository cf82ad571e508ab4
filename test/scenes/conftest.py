"""Small scenes with closed-form ground truth."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ros_matching.datatypes import Camera
from ros_matching.scenes import ProceduralTextures, Scene, build_scene


@pytest.fixture(scope="session")
def camera() -> Camera:
    return Camera(160, 120, 130.0, 128.0, 79.0, 60.5)


@pytest.fixture(scope="session")
def speckle() -> np.ndarray:
    """A texture of soft blobs, so that colours vary smoothly."""
    rng = np.random.default_rng(0)
    return cv2.resize(rng.integers(0, 256, (32, 32, 3), np.uint8), (256, 256), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="session")
def room_scene() -> Scene:
    return build_scene("room", ProceduralTextures(256, variants=4), seed=3)


@pytest.fixture(scope="session")
def outdoor_scene() -> Scene:
    return build_scene("outdoor", ProceduralTextures(256, variants=4), seed=3)
