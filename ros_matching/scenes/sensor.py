"""What a sensor makes of light: the exposure of a moving camera, and few photons."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

_GAMMA = 2.2
_LINEAR = (np.arange(256) / 255) ** _GAMMA


def to_linear(image: np.ndarray) -> np.ndarray:
    """The light in [0, 1], float64, of an image (..., 3) uint8 of a display's tone curve."""
    return _LINEAR[image]


def to_image(light: np.ndarray) -> np.ndarray:
    """The image (..., 3) uint8 of light; what is above 1 is clipped."""
    return np.rint(255 * np.clip(light, 0, 1) ** (1 / _GAMMA)).astype(np.uint8)


def averaged(exposures: Iterable[np.ndarray]) -> np.ndarray:
    """The image of a long exposure: the mean light of short ones, images (H, W, 3) uint8."""
    total, count = 0.0, 0
    for exposure in exposures:
        total, count = total + to_linear(exposure), count + 1
    return to_image(total / count)


def low_light(image: np.ndarray, photons: float, gain: float, rng: np.random.Generator) -> np.ndarray:
    """The image (H, W, 3) uint8 taken with at most ``photons`` at a pixel, amplified to ``gain`` times its brightness.

    Photons have Poisson noise, and reading them out adds a normal one of ``READ_NOISE`` photons.
    """
    counted = rng.poisson(photons * to_linear(image)) + rng.normal(0, READ_NOISE, image.shape)
    return to_image(gain * counted / photons)


READ_NOISE = 1.5
"""The standard deviation of the read-out, in photons."""
