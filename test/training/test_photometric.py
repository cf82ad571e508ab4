"""The photometric model: its effects and invariants."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ros_matching.errors import DataTypeError
from ros_matching.training.photometric import PhotometricConfig, distort

NOTHING = PhotometricConfig(
    exposure_stops=0.0,
    white_balance=0.0,
    gamma=0.0,
    saturation=0.0,
    vignetting=0.0,
    shadow=0.0,
    specular=0.0,
    focus=0.0,
    motion=0.0,
    noise=0.0,
    jpeg=0.0,
)


def only(**settings: float) -> PhotometricConfig:
    return PhotometricConfig(**{name: getattr(NOTHING, name) for name in vars(NOTHING)} | settings)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    coarse = np.random.default_rng(0).integers(40, 200, (24, 32, 3), np.uint8)
    return cv2.resize(coarse, (160, 120), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize("size", [(120, 160), (33, 47), (481, 321)])
def test_shape_and_type_are_kept_and_the_generator_decides(size):
    image = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    before = image.copy()
    for seed in range(12):
        result = distort(image, np.random.default_rng(seed))
        assert result.shape == image.shape
        assert result.dtype == np.uint8
        np.testing.assert_array_equal(result, distort(image, np.random.default_rng(seed)))
        assert not np.array_equal(result, distort(image, np.random.default_rng(seed + 100)))
    np.testing.assert_array_equal(image, before)


def test_without_effects_the_image_stays(picture):
    np.testing.assert_array_equal(distort(picture, np.random.default_rng(0), NOTHING), picture)


def test_exposure_is_a_gain_on_light(picture):
    config = only(exposure_stops=0.5)
    for seed in range(5):
        result = distort(picture, np.random.default_rng(seed), config).astype(float)
        unclipped = (result < 255) & (picture > 80)
        gains = (result[unclipped] / picture[unclipped]) ** 2.2
        assert np.ptp(gains) < 0.04 * gains.mean()


def test_vignetting_darkens_corners_alone():
    grey = np.full((120, 160, 3), 180, np.uint8)
    result = distort(grey, np.random.default_rng(3), only(vignetting=0.9))
    assert abs(int(result[60, 80, 0]) - 180) <= 1
    corners = result[[0, 0, -1, -1], [0, -1, 0, -1], 0].astype(int)
    assert corners.max() < 175
    assert np.ptp(corners) <= 1


@pytest.mark.parametrize("effect", [{"focus": 1.0, "focus_px": 6.0}, {"motion": 1.0, "motion_px": 40.0}])
def test_blur_moves_nothing(effect):
    dot = np.zeros((121, 161, 3), np.uint8)
    dot[50:55, 70:75] = 255
    for seed in range(8):
        blurred = distort(dot, np.random.default_rng(seed), only(**effect)).astype(float).sum(2)
        v, u = np.mgrid[:121, :161]
        center = np.array([(u * blurred).sum(), (v * blurred).sum()]) / blurred.sum()
        np.testing.assert_allclose(center, (72, 52), atol=0.15)


def test_noise_has_the_configured_strength():
    grey = np.full((240, 320, 3), 128, np.uint8)
    sigmas = [distort(grey, np.random.default_rng(seed), only(noise=0.04)).std() / 255 for seed in range(40)]
    assert max(sigmas) < 0.042
    assert 0.015 < np.mean(sigmas) < 0.025


def test_other_arrays_are_refused():
    for image in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)):
        with pytest.raises(DataTypeError, match="uint8"):
            distort(image, np.random.default_rng(0))
