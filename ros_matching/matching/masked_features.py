"""Features of a frame outside of its mask."""

from __future__ import annotations

from typing import Protocol

import cv2
import numpy as np

from ros_matching.datatypes import Features, Frame

_MARGIN_PX = 2  # to the mask: an outline is sharper in the mask than in the image


class Extractor(Protocol):
    """Extracts features of an image, as ``MatchingPipeline``."""

    def extract(self, image: np.ndarray) -> Features:
        """Return the features of an image (H, W, 3) uint8 RGB."""


def extract_features(extractor: Extractor, frame: Frame) -> Features:
    """Return the features of a frame, without keypoints that its mask excludes."""
    features = extractor.extract(frame.image)
    if frame.mask is None or not len(features):
        return features
    size = 2 * _MARGIN_PX + 1
    usable = cv2.erode(frame.mask.astype(np.uint8), np.ones((size, size), np.uint8)) > 0
    height, width = usable.shape
    u, v = np.rint(features.keypoints_px).astype(np.intp).T
    rows = np.flatnonzero(usable[np.clip(v, 0, height - 1), np.clip(u, 0, width - 1)])
    return features.select(rows)
