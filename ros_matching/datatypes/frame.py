"""Camera frames: images with camera, stamp and optional measurements."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ros_matching.datatypes.arrays import check_image, check_pose, check_shape
from ros_matching.datatypes.camera import Camera
from ros_matching.errors import DataTypeError


@dataclass(frozen=True)
class RightImage:
    """The image of the second camera of a stereo pair, at the time of a ``Frame``: (h, w, 3) uint8 RGB, undistorted.

    ``right_from_camera`` (4, 4), in metres, takes points of the frame's camera into this one.
    """

    image: np.ndarray
    camera: Camera
    right_from_camera: np.ndarray

    def __post_init__(self) -> None:
        check_image("RightImage", self.image, self.camera)
        check_pose("RightImage.right_from_camera", self.right_from_camera)
        if not np.linalg.norm(self.right_from_camera[:3, 3]) > 0:
            raise DataTypeError("RightImage.right_from_camera has no baseline: its translation is zero")


@dataclass(frozen=True)
class Frame:
    """One camera image with its measurements.

    ``image`` (H, W, 3) uint8 RGB. ``true_world_from_camera`` (4, 4), ``depth`` (H, W) float32 metres, NaN unknown and
    registered to the image, and the ``right`` image of a stereo camera are present if the source has them; the tracker
    never reads the first, and the others for the scale alone (``tracking.scale``). ``mask`` (H, W) bool is False where
    the image must not be used: no keypoints and no depth there.
    """

    index: int
    stamp_ns: int
    image: np.ndarray
    camera: Camera
    true_world_from_camera: np.ndarray | None = None
    depth: np.ndarray | None = None
    right: RightImage | None = None
    mask: np.ndarray | None = None

    def __post_init__(self) -> None:
        check_image(f"Frame {self.index}", self.image, self.camera)
        if self.true_world_from_camera is not None:
            check_pose("Frame.true_world_from_camera", self.true_world_from_camera)
        if self.depth is not None:
            check_shape("Frame.depth", self.depth, self.image.shape[:2])
        if self.mask is not None:
            check_shape("Frame.mask", self.mask, self.image.shape[:2])
            if self.mask.dtype != bool:
                raise DataTypeError(f"Frame.mask must be bool, got {self.mask.dtype}")
