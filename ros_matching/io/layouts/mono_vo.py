"""TUM monoVO (Engel et al., 2016) and other input of DSO: ``images.zip`` or ``images/``, ``times.txt``, ``camera.txt``.

``times.txt`` holds an id, a stamp in seconds and perhaps the exposure of each image; ``camera.txt`` DSO's calibration.
``groundtruthSync.txt`` is ``stamp tx ty tz qx qy qz qw`` with NaN where the motion capture did not see the camera: at
the start and the end alone, which is what this data set measures drift with. The photometric calibration
(``pcalib.txt``, ``vignette.png``) is not applied.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ros_matching.errors import SourceError
from ros_matching.io.archive import ArchivedFile
from ros_matching.io.calibration import CalibrationChoice, read_calibration
from ros_matching.io.format import SourceFormat
from ros_matching.io.images import list_archived_images, list_images
from ros_matching.io.poses import pose_or_none, poses_from_quaternions
from ros_matching.io.sequence import ImageRecord, ImageSequence
from ros_matching.io.text import TextTable, read_table
from ros_matching.io.trajectory import Trajectory

TRUTHS = ("groundtruthSync.txt", "groundtruth.txt")


def matches(path: Path) -> bool:
    """Return True for a folder with ``camera.txt``, ``times.txt`` and images."""
    has_images = (path / "images.zip").is_file() or (path / "images").is_dir()
    return has_images and (path / "camera.txt").is_file() and (path / "times.txt").is_file()


def open_mono_vo(path: Path, *, calibration: Path | CalibrationChoice | None = None) -> ImageSequence:
    """Open a sequence; images in ``images/`` go before those in ``images.zip``, which is not unpacked."""
    path = path.resolve()
    images: list[Path] | list[ArchivedFile] = list_images(path / "images")
    if not images and (path / "images.zip").is_file():
        images = list_archived_images(path / "images.zip") or list_archived_images(path / "images.zip", "images")
    if not images:
        raise SourceError(f"{path} holds no images, neither in images/ nor in images.zip")
    times = read_table(path / "times.txt", 2, "an id, a stamp in seconds and the exposure", is_ragged=True)
    stamps_ns = times.stamps_ns(column=1)
    rows = _rows(times, [image.stem for image in images])
    poses = _poses(path, stamps_ns)
    records = [
        ImageRecord(index, int(stamps_ns[row]), image, pose_or_none(poses[row]))
        for index, (image, row) in enumerate(zip(images, rows, strict=True))
    ]
    choice = CalibrationChoice() if calibration is None else calibration
    if isinstance(choice, CalibrationChoice) and choice.path is None:
        choice = CalibrationChoice(path / "camera.txt", choice.cam, choice.off_center)
    return ImageSequence(path.name, records, read_calibration(choice))


def _rows(times: TextTable, stems: list[str]) -> list[int]:
    """The line of ``times.txt`` of each image: that of its name, or in order where names and ids differ."""
    by_id = {cells[0]: row for row, cells in enumerate(times.rows)}
    if all(stem in by_id for stem in stems):
        return [by_id[stem] for stem in stems]
    if len(times) == len(stems):
        return list(range(len(stems)))
    raise SourceError(
        f"{times.path} holds {len(times)} lines for {len(stems)} images, and their names ({stems[0]}, ...) are not its "
        f"ids ({times.rows[0][0]}, ...)"
    )


def _poses(folder: Path, stamps_ns: np.ndarray) -> np.ndarray:
    """The true poses (N, 4, 4) at stamps, NaN where unknown."""
    path = next((folder / name for name in TRUTHS if (folder / name).is_file()), None)
    if path is None:
        return np.full((len(stamps_ns), 4, 4), np.nan)
    table = read_table(path, 8, "a pose: stamp tx ty tz qx qy qz qw")
    values = table.numbers(first=1)
    known = np.flatnonzero(np.isfinite(values).all(axis=1))
    poses = poses_from_quaternions(values[known], lambda row: table.where(int(known[row])))
    return Trajectory(table.stamps_ns()[known], poses).in_order_of(path).at(stamps_ns)


FORMAT = SourceFormat(
    name="TUM monoVO",
    looks_for="images.zip or images/ with times.txt and DSO's camera.txt",
    matches=matches,
    open=open_mono_vo,
    has_own_calibration_file=True,
)
