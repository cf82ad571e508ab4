"""Arrays in host memory or on a device, and the checks of shapes and types in constructors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ros_matching.errors import DataTypeError

if TYPE_CHECKING:
    import torch

    Array = np.ndarray | torch.Tensor
    from ros_matching.datatypes.camera import Camera


def concatenated(first: Array, second: Array) -> Array:
    """Concatenate the rows of two NumPy arrays or two torch tensors, on their device."""
    if isinstance(first, np.ndarray):
        return np.concatenate([first, second])
    import torch

    return torch.cat([first, second])


def check_image(owner: str, image: np.ndarray, camera: Camera) -> None:
    """Raise ``DataTypeError`` unless the image is RGB, of the size of its camera's."""
    shape = (camera.height, camera.width, 3)
    if image.shape != shape or image.dtype != np.uint8:
        raise DataTypeError(
            f"{owner}: image must be {shape} uint8 RGB to fit its camera, got {image.shape} {image.dtype}"
        )


def check_shape(name: str, array: Array, shape: tuple[int, ...]) -> None:
    """Raise ``DataTypeError`` unless the array has that shape."""
    if tuple(array.shape) != shape:
        raise DataTypeError(f"{name} must have shape {shape}, got {tuple(array.shape)}")


def check_pose(name: str, pose: np.ndarray) -> None:
    """Raise ``DataTypeError`` unless the array is a rigid transform (4, 4)."""
    check_shape(name, pose, (4, 4))
    if not np.isfinite(pose).all():
        raise DataTypeError(f"{name} must be finite, got {pose.tolist()}; an unknown pose is None")
    rotation = pose[:3, :3]
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > 1e-3 or np.linalg.det(rotation) < 0:
        raise DataTypeError(f"{name} must be a rigid transform, got {pose.tolist()}")
