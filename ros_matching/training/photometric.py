"""Photometric augmentation of a view: effects of light, lens and sensor in image space.

The order is that of a camera: shadow and specular light, focus and motion blur, vignetting, exposure, white balance
and tone curve, sensor noise, JPEG. Everything multiplicative is done in the encoded image: for a curve
``v = L ** (1 / gamma)`` a gain g on the light L is the gain ``g ** (1 / gamma)`` on v, which saves the way to linear
light and back. No step moves the image: all kernels are symmetric, so that the ground truth of pixels remains valid.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from ros_matching.config import Config, parameter
from ros_matching.errors import DataTypeError

_GAMMA = 2.2  # of the images that come in
_COARSE = 8  # light fields are smooth: they are made at an eighth of the size


@dataclass(frozen=True)
class PhotometricConfig(Config):
    """Strengths of the effects: probabilities per view, standard deviations of normal and limits of uniform draws."""

    exposure_stops: float = parameter(0.5, "standard deviation of the exposure, in stops", minimum=0.0, maximum=4.0)
    white_balance: float = parameter(
        0.06, "standard deviation of the log gain of red and of blue", minimum=0.0, maximum=1.0
    )
    gamma: float = parameter(
        0.15, "standard deviation of the log of the tone curve's exponent", minimum=0.0, maximum=1.0
    )
    saturation: float = parameter(
        0.25, "standard deviation of the log of the colour saturation", minimum=0.0, maximum=2.0
    )
    vignetting: float = parameter(0.5, "highest fraction of light lost in the corners", minimum=0.0, maximum=0.95)
    shadow: float = parameter(0.25, "probability of a cast shadow", minimum=0.0, maximum=1.0)
    specular: float = parameter(0.15, "probability of a glare", minimum=0.0, maximum=1.0)
    focus: float = parameter(0.3, "probability of focus blur", minimum=0.0, maximum=1.0)
    focus_px: float = parameter(
        1.6, "highest standard deviation of focus blur for images 640 wide", minimum=0.0, maximum=10.0
    )
    motion: float = parameter(0.3, "probability of motion blur", minimum=0.0, maximum=1.0)
    motion_px: float = parameter(12.0, "longest motion blur for images 640 wide", minimum=0.0, maximum=60.0)
    noise: float = parameter(
        0.02, "highest standard deviation of sensor noise at mid grey, of full range", minimum=0.0, maximum=0.3
    )
    jpeg: float = parameter(0.5, "probability of JPEG compression", minimum=0.0, maximum=1.0)
    jpeg_quality: int = parameter(35, "lowest JPEG quality", minimum=5, maximum=95)


def distort(image: np.ndarray, rng: np.random.Generator, config: PhotometricConfig = PhotometricConfig()) -> np.ndarray:
    """The RGB image (H, W, 3) uint8 as another camera would have taken it: same shape and type, nothing moved."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise DataTypeError(f"distort expects an image (H, W, 3) uint8, got {image.shape} {image.dtype}")
    image = _blurred(image, rng, config)
    light = cv2.LUT(image, _tone(rng, config))
    if config.saturation:
        light = cv2.transform(light, _saturation_matrix(float(np.exp(rng.normal(0.0, config.saturation)))))
    _illuminate(light, rng, config)
    std = rng.uniform(0.0, config.noise) * 255.0
    if std > 0:
        _add_noise(light, image, std, rng)
    # saturating, rounding conversion
    return _compressed(cv2.convertScaleAbs(np.maximum(light, 0.0, out=light)), rng, config)


def _blurred(image: np.ndarray, rng: np.random.Generator, config: PhotometricConfig) -> np.ndarray:
    per_px = image.shape[1] / 640
    if rng.random() < config.focus:
        std = rng.uniform(0.0, config.focus_px) * per_px
        if std > 0.2:
            image = cv2.GaussianBlur(image, (0, 0), std, borderType=cv2.BORDER_REFLECT_101)
    if rng.random() < config.motion:
        length, angle = rng.uniform(0.0, config.motion_px) * per_px, rng.uniform(0.0, np.pi)
        if length > 0.5:
            kernel = _motion_kernel(length, angle)
            image = cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT_101)
    return image


def _motion_kernel(length_px: float, angle: float) -> np.ndarray:
    """A line of light through the centre, bilinear, of unit sum; point symmetric, so it moves nothing."""
    reach = int(np.ceil(length_px / 2)) + 1
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
    along = np.linspace(-length_px / 2, length_px / 2, 4 * reach + 1)
    x, y = reach + along * np.cos(angle), reach + along * np.sin(angle)
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    right, bottom = x - left, y - top
    np.add.at(kernel, (top, left), (1 - right) * (1 - bottom))
    np.add.at(kernel, (top, left + 1), right * (1 - bottom))
    np.add.at(kernel, (top + 1, left), (1 - right) * bottom)
    np.add.at(kernel, (top + 1, left + 1), right * bottom)
    return kernel / kernel.sum()


def _tone(rng: np.random.Generator, config: PhotometricConfig) -> np.ndarray:
    """The table (256, 1, 3) float32 of exposure, white balance and tone curve; not clipped yet."""
    gain = np.exp2(np.clip(rng.normal(0.0, config.exposure_stops), -2.5 * config.exposure_stops, None))
    balance = np.exp(rng.normal(0.0, config.white_balance, 3) * [1.0, 0.0, 1.0])
    exponent = np.exp(rng.normal(0.0, config.gamma))
    encoded = np.linspace(0.0, 1.0, 256)[:, None] * (gain * balance) ** (1 / _GAMMA)
    return (255.0 * encoded**exponent)[:, None].astype(np.float32)


def _saturation_matrix(factor: float) -> np.ndarray:
    luma = np.array([0.299, 0.587, 0.114])
    return (factor * np.eye(3) + (1 - factor) * luma).astype(np.float32)


def _illuminate(light: np.ndarray, rng: np.random.Generator, config: PhotometricConfig) -> None:
    """Vignetting and shadow multiply, glare adds; in place, from fields of an eighth of the size."""
    height, width = light.shape[:2]
    size = max(width // _COARSE, 2), max(height // _COARSE, 2)
    x, y = np.meshgrid(np.linspace(-1, 1, size[0], dtype=np.float32), np.linspace(-1, 1, size[1], dtype=np.float32))
    y *= height / width
    corner = 1 + (height / width) ** 2
    gain = 1 - rng.uniform(0.0, config.vignetting) * ((x * x + y * y) / corner) ** 2
    if rng.random() < config.shadow:
        gain *= 1 - rng.uniform(0.2, 0.7) * _shadow(size, rng)
    gain **= 1 / _GAMMA
    light *= cv2.resize(gain, (width, height), interpolation=cv2.INTER_LINEAR)[..., None]
    if rng.random() < config.specular:
        glare = rng.uniform(40.0, 255.0) * _spot(x, y, rng)
        light += cv2.resize(glare, (width, height), interpolation=cv2.INTER_LINEAR)[..., None]


def _shadow(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Fraction of light (H, W) float32 that a polygon in front of the lamp blocks, with a penumbra."""
    mask = np.zeros(size[::-1], np.uint8)
    angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 8)))
    radii = rng.uniform(0.2, 0.9, len(angles)) * size[0]
    center = rng.uniform(0.0, 1.0, 2) * size
    corners = center + np.column_stack([np.cos(angles), np.sin(angles)]) * radii[:, None]
    cv2.fillPoly(mask, [np.rint(corners * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    softness = rng.uniform(0.3, 2.5)
    return cv2.GaussianBlur(mask, (0, 0), softness).astype(np.float32) * np.float32(1 / 255)


def _spot(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An elongated spot of light (H, W) of height 1 at a random position; ``x`` runs from -1 to 1."""
    angle, axes = rng.uniform(0, np.pi), rng.uniform(0.05, 0.3, 2)
    u, v = x - np.float32(rng.uniform(-1, 1)), y - np.float32(rng.uniform(-1, 1) * y.max())
    along, across = u * np.cos(angle) + v * np.sin(angle), v * np.cos(angle) - u * np.sin(angle)
    return np.exp(-((along / axes[0]) ** 2 + (across / axes[1]) ** 2)).astype(np.float32)


def _add_noise(light: np.ndarray, image: np.ndarray, std: float, rng: np.random.Generator) -> None:
    """Add shot and read noise of standard deviation ``std`` at mid grey, in place.

    Shot noise is about constant after the tone curve; read noise is lifted in the dark, where the curve is steep.
    """
    level = np.arange(256, dtype=np.float32) / 255
    table = std * (0.7 + 0.3 * (0.5 / np.maximum(level, 0.12)))
    samples = _noise_samples()
    start = int(rng.integers(len(samples) - light.size)) if light.size < len(samples) else None
    noise = rng.standard_normal(light.size, np.float32) if start is None else samples[start : start + light.size]
    strength = cv2.LUT(image, table.astype(np.float32))
    light += np.multiply(strength, noise.reshape(light.shape), out=strength)


@lru_cache(maxsize=1)
def _noise_samples() -> np.ndarray:
    """Unit normal samples to cut from: drawing new ones for every view would cost more than all the rest."""
    return np.random.default_rng(0).standard_normal(2**21, np.float32)


def _compressed(image: np.ndarray, rng: np.random.Generator, config: PhotometricConfig) -> np.ndarray:
    if rng.random() >= config.jpeg:
        return image
    quality = int(rng.integers(config.jpeg_quality, 96))
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
