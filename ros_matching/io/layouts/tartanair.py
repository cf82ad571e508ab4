"""TartanAir (Wang et al., IROS 2020) and its second version: ``image_left/``, ``pose_left.txt``, ``depth_left/``.

The second version names the same things ``image_lcam_front/``, ``pose_lcam_front.txt`` and ``depth_lcam_front/``. All
cameras see 90 degrees horizontally: fx = fy = width / 2. A pose is ``tx ty tz qx qy qz qw`` of the camera in a
north-east-down world, with camera axes x forward, y right, z down. Depth is along the optical axis, in metres: float32
arrays (``.npy``), in the second version as the four bytes of a pixel of a PNG. The cameras are 0.25 m apart.

The monocular test set (CVPR 2020 SLAM challenge) has the images of ``ME000`` to ``MH007`` in folders of these names,
and the poses in ``mono_gt/ME000.txt`` next to them or one folder up.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from ros_matching.errors import SourceError
from ros_matching.geometry.se3 import pose_from
from ros_matching.io.calibration import Calibration, read_calibration
from ros_matching.io.folder import DEFAULT_FPS
from ros_matching.io.images import image_file_size, list_images
from ros_matching.io.poses import poses_from_quaternions
from ros_matching.io.sequence import ImageRecord, ImageSequence, RightCamera
from ros_matching.io.source_format import SourceFormat, stamps_at_rate
from ros_matching.io.text import COMMAS_OR_SPACES, read_table

_CAMERAS = {"left": "right", "lcam_front": "rcam_front", "right": "left", "rcam_front": "lcam_front"}
_LEFT = ("left", "lcam_front")
BASELINE_M = 0.25
# Camera axes x forward, y right, z down from x right, y down, z forward.
NED_FROM_CAMERA = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


def matches(path: Path) -> bool:
    """Return True for a trajectory folder (``P001``) or one of its image folders."""
    folder, camera = _folder_and_camera(path)
    return camera is not None and bool(list_images(folder / f"image_{camera}"))


def open_tartanair(
    path: Path, *, calibration: Path | None = None, fps: float | None = None, stereo: bool = False
) -> ImageSequence:
    """Open a trajectory (its left camera) or the image folder of one camera.

    ``stereo`` adds the other camera's images. There are no stamps: images come at ``fps``.
    """
    folder, camera = _folder_and_camera(path.resolve())
    if camera is None:
        raise SourceError(f"{path} has no image_left/ or image_lcam_front/")
    images = list_images(folder / f"image_{camera}")
    if not images:
        raise SourceError(f"{folder / f'image_{camera}'} holds no images")
    poses = _poses(folder / f"pose_{camera}.txt", len(images))
    stamps_ns = stamps_at_rate(len(images), DEFAULT_FPS if fps is None else fps, str(folder))
    depths = _depths(folder / f"depth_{camera}")
    records = [
        ImageRecord(index, stamp_ns, image, pose, depths.get(image.stem.split("_")[0]))
        for index, (stamp_ns, image, pose) in enumerate(zip(stamps_ns, images, poses, strict=True))
    ]
    fixed = _fixed_calibration(images[0])
    right = None
    if stereo:
        other = _CAMERAS[camera]
        names = {image.stem.split("_")[0]: image for image in list_images(folder / f"image_{other}")}
        if not names:
            raise SourceError(f"stereo needs the images of {folder / f'image_{other}'}, which are not there")
        records = [replace(record, right=names.get(record.image.stem.split("_")[0])) for record in records]
        side = -BASELINE_M if camera in _LEFT else BASELINE_M
        right = RightCamera(fixed, pose_from(np.eye(3), np.array([side, 0.0, 0.0])))
    known = fixed if calibration is None else read_calibration(calibration)
    return ImageSequence(f"{folder.parent.name}_{folder.name}", records, known, right=right)


def _fixed_calibration(image: Path) -> Calibration:
    width, height = image_file_size(image)
    return Calibration(
        "TartanAir's calibration", width / 2, width / 2, width / 2, height / 2, image_size=(width, height)
    )


def _folder_and_camera(path: Path) -> tuple[Path, str | None]:
    if path.name.startswith("image_") and path.name[6:] in _CAMERAS:
        return path.parent, path.name[6:]
    return path, next((name for name in _LEFT if (path / f"image_{name}").is_dir()), None)


def _poses(path: Path, count: int) -> list[np.ndarray] | list[None]:
    if not path.is_file():
        return [None] * count
    table = read_table(path, 7, "a pose: tx ty tz qx qy qz qw", separator=COMMAS_OR_SPACES)
    if len(table) != count:
        raise SourceError(f"{path} holds {len(table)} poses for {count} images; it needs a line for each")
    world_from_ned = poses_from_quaternions(table.numbers(), table.where)
    return list(world_from_ned @ pose_from(NED_FROM_CAMERA, np.zeros(3)))


def _depths(folder: Path) -> dict[str, Path]:
    """The depth files by the number of their image."""
    files = [*sorted(folder.glob("*_depth.npy")), *sorted(folder.glob("*_depth.png"))]
    return {file.stem.split("_")[0]: file for file in files}


FORMAT = SourceFormat(
    name="TartanAir",
    looks_for="image_left/ or image_lcam_front/ with pose_left.txt or pose_lcam_front.txt",
    matches=matches,
    open=open_tartanair,
    options=("calibration", "fps", "stereo"),
)


def _test_poses(folder: Path) -> Path:
    """The file with the poses of a folder of the test set, which need not exist."""
    paths = [parent / "mono_gt" / f"{folder.name}.txt" for parent in folder.parents[:2]]
    return next((path for path in paths if path.is_file()), paths[0])


def matches_test_set(path: Path) -> bool:
    """Return True for a folder of images with its poses in ``mono_gt/``."""
    path = path.resolve()
    return _test_poses(path).is_file() and bool(list_images(path))


def open_test_set(path: Path, *, calibration: Path | None = None, fps: float | None = None) -> ImageSequence:
    """Open a sequence of the monocular test set. There are no stamps: images come at ``fps``."""
    path = path.resolve()
    images = list_images(path)
    if not images:
        raise SourceError(f"{path} holds no images")
    stamps_ns = stamps_at_rate(len(images), DEFAULT_FPS if fps is None else fps, str(path))
    poses = _poses(_test_poses(path), len(images))
    records = [ImageRecord(index, *fields) for index, fields in enumerate(zip(stamps_ns, images, poses, strict=True))]
    known = _fixed_calibration(images[0]) if calibration is None else read_calibration(calibration)
    return ImageSequence(path.name, records, known)


TEST_SET = SourceFormat(
    name="TartanAir test set",
    looks_for="images (ME000 to MH007) with mono_gt/ME000.txt next to the folder",
    matches=matches_test_set,
    open=open_test_set,
    options=("calibration", "fps"),
)
