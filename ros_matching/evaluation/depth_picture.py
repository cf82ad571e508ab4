"""Pictures of depth maps."""

from __future__ import annotations

import cv2
import numpy as np

from ros_matching.datatypes import DepthMap

_QUANTILE = 0.02
_UNKNOWN = (40, 40, 40)


def draw_depth(depth_map: DepthMap, image: np.ndarray) -> np.ndarray:
    """The image (H, W, 3) and the depth map at its size side by side, (H, 2 W, 3) uint8 RGB: near is red, far blue.

    Colours are even in 1 / depth; grey is unknown.
    """
    height, width = image.shape[:2]
    size = (width, height)
    with np.errstate(divide="ignore"):
        inverse = 1 / depth_map.depth
    known = np.isfinite(inverse)
    if not known.any():
        return np.hstack([image, np.full_like(image, _UNKNOWN)])
    low, high = np.quantile(inverse[known], [_QUANTILE, 1 - _QUANTILE])
    level = np.clip((inverse - low) / max(high - low, 1e-12), 0, 1)
    colors = cv2.applyColorMap(np.rint(255 * np.where(known, level, 0)).astype(np.uint8), cv2.COLORMAP_TURBO)
    colors = np.where(known[..., None], cv2.cvtColor(colors, cv2.COLOR_BGR2RGB), np.uint8(_UNKNOWN))
    return np.hstack([image, cv2.resize(colors, size, interpolation=cv2.INTER_NEAREST)])
