"""Reasons why an image cannot be tracked: exposure, blur, texture."""

from __future__ import annotations

import cv2
import numpy as np

from ros_matching.datatypes import Features, Frame

_DARK, _BRIGHT = 12.0, 243.0  # mean grey levels of 255
_FLAT = 6.0  # standard deviation of grey levels below which the image is uniform
_BLURRED = 0.3  # fraction of the sharpness of the last localised image
_FEW_KEYPOINTS = 50


def failure_reason(frame: Frame, features: Features, localized: Frame) -> str:
    """The likely reason why an image was not localised, compared with ``localized``, the last one that was."""
    grey, localized_grey = (cv2.cvtColor(f.image, cv2.COLOR_RGB2GRAY) for f in (frame, localized))
    fault = _exposure_fault(grey)
    if fault:
        return fault
    if sharpness(grey) < _BLURRED * sharpness(localized_grey):
        return "the image is blurred"
    return _texture_fault(features) or "nothing in the image fits the map"


def unusable_image(frame: Frame, features: Features) -> str:
    """The reason why an image cannot start a map: dark, overexposed, uniform, without texture; empty if none."""
    return _exposure_fault(cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY)) or _texture_fault(features)


def _exposure_fault(grey: np.ndarray) -> str:
    mean, contrast = float(grey.mean()), float(grey.std())
    if mean < _DARK:
        return f"the image is dark (mean grey level {mean:.0f} of 255): is the lens covered?"
    if mean > _BRIGHT:
        return f"the image is overexposed (mean grey level {mean:.0f} of 255)"
    if contrast < _FLAT:
        return f"the image shows nothing (standard deviation of the grey levels {contrast:.1f}): is the lens covered?"
    return ""


def _texture_fault(features: Features) -> str:
    return f"the image has too little texture ({len(features)} keypoints)" if len(features) < _FEW_KEYPOINTS else ""


def sharpness(grey: np.ndarray) -> float:
    """Return the contrast between neighbouring pixels of an image (H, W) uint8, relative to its total contrast."""
    smooth = cv2.GaussianBlur(grey, (0, 0), 1.0).astype(np.float32)  # noise is not sharpness
    return float(cv2.Laplacian(smooth, cv2.CV_32F).std() / max(smooth.std(), 1e-3))
