"""Small recordings of known content for the tests of the frame sources."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from ros_matching.geometry.se3 import exp_so3, pose_from

WIDTH, HEIGHT = 48, 36
K = np.array([[40.0, 0, 23.5], [0, 41.0, 17.5], [0, 0, 1]])


def colour(index: int) -> np.ndarray:
    """The colour that the whole image of a frame has, RGB."""
    return np.array([10 + 7 * index % 240, 100, 200 - 5 * index % 200], np.uint8)


def image(index: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    return np.broadcast_to(colour(index), (height, width, 3)).copy()


def pose(index: int) -> np.ndarray:
    """The true pose of a frame's camera."""
    return pose_from(exp_so3(np.array([0.1, -0.2, 0.3]) * index), np.array([1.0, 0.5, -0.2]) * index)


def write_image(path: Path, rgb: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), rgb[..., ::-1] if rgb.ndim == 3 else rgb)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def line(values: np.ndarray) -> str:
    return " ".join(repr(float(value)) for value in np.ravel(values))


def matrix_text(matrix: np.ndarray) -> str:
    return "".join(line(row) + "\n" for row in matrix)


def folder(path: Path, count: int = 4) -> Path:
    """A folder of images in the project's own layout, with poses."""
    for index in range(count):
        write_image(path / "images" / f"{index:05d}.png", image(index))
    write(path / "K.txt", matrix_text(K))
    write(path / "poses.txt", "".join(line(pose(index)) + "\n" for index in range(count)))
    return path
