"""A COLMAP project: ``images/`` with a model in ``sparse/0``, ``sparse`` or the folder itself, binary or text.

The model's poses are the true poses of the images (in a unit of its own, unless it was scaled), and its cameras their
calibration. Images that the model does not hold come without a pose. Images of cameras that differ a little, as where
each image has its own, are brought to the intrinsics of the first one's camera; of cameras that differ more, one must
be chosen: ``cam=2``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from ros_matching.errors import CalibrationError, SourceError
from ros_matching.geometry.se3 import invert
from ros_matching.io.calibration import Calibration, CalibrationChoice, read_calibration
from ros_matching.io.calibration.tables import calibration_from_colmap
from ros_matching.io.colmap_model import ColmapModel, ModelImage, is_model, read_model
from ros_matching.io.folder import DEFAULT_FPS
from ros_matching.io.images import in_natural_order, list_images
from ros_matching.io.listing import stamps_of_names
from ros_matching.io.sequence import ImageRecord, ImageSequence
from ros_matching.io.source_format import SourceFormat, stamps_at_rate

_MODELS = ("sparse/0", "sparse", ".", "colmap/sparse/0", "dense/sparse")
_IMAGE_FOLDERS = ("images", "../images", "../../images", "../../../images", ".")
_SIMILAR = 0.1  # of the focal length and of the image: intrinsics that one camera had at different times


def matches(path: Path) -> bool:
    """Return True for a folder with a model."""
    return path.is_dir() and _model_folder(path) is not None


def open_colmap(
    path: Path, *, calibration: Path | CalibrationChoice | None = None, fps: float | None = None
) -> ImageSequence:
    """Open the images of a model; without stamps as names, they come at ``fps`` in the order of their names."""
    path = path.resolve()
    folder = _model_folder(path)
    if folder is None:
        raise SourceError(f"{path} holds no model of COLMAP: cameras and images, both .bin or both .txt")
    model = read_model(folder)
    if not model.images:
        raise SourceError(f"{folder} has no image with a pose")
    choice = calibration if isinstance(calibration, CalibrationChoice) else CalibrationChoice(calibration)
    registered = _of_one_camera(folder, model, choice.cam if choice.path is None else None)
    root = _image_root(path, [image.name for image in registered])
    files, is_whole = _files(root, registered, model), len({image.camera_id for image in model.images}) == 1
    by_name = {image.name: image for image in registered}
    names = in_natural_order(files if is_whole else by_name.keys())
    calibrations = _calibrations(folder, model)
    first = next(by_name[name] for name in names if name in by_name)
    known = calibrations[first.camera_id] if choice.path is None else read_calibration(choice)
    records = []
    for index, (name, stamp_ns) in enumerate(_with_stamps(root, names, fps)):
        image = by_name.get(name)
        pose = None if image is None else invert(image.camera_from_world)
        own = None if image is None or choice.path is not None else calibrations[image.camera_id]
        own = None if own is known else own
        records.append(ImageRecord(index, stamp_ns, root / name, pose, calibration=own))
    return ImageSequence(path.name, records, known)


def _model_folder(path: Path) -> Path | None:
    return next((path / name for name in _MODELS if is_model(path / name)), None)


def _of_one_camera(folder: Path, model: ColmapModel, cam: str | None) -> list[ModelImage]:
    """The images of the camera ``cam``, or all where their cameras are similar; raises ``CalibrationError`` else."""
    counts = Counter(image.camera_id for image in model.images)
    if cam is not None:
        images = [image for image in model.images if str(image.camera_id) == cam]
        if not images:
            raise CalibrationError(f"{folder} has no images of a camera {cam}; it has {_listed(counts)}")
        return images
    calibrations = _calibrations(folder, model)
    usual = calibrations[counts.most_common(1)[0][0]]
    if not all(_is_similar(calibrations[id], usual) for id in counts):
        raise CalibrationError(
            f"{folder} is of several cameras: {_listed(counts)}; choose one, such as cam={counts.most_common(1)[0][0]}"
        )
    return list(model.images)


def _listed(counts: Counter[int]) -> str:
    listed = ", ".join(f"camera {id} with {count} images" for id, count in counts.most_common(8))
    return listed + (f" and {len(counts) - 8} more" if len(counts) > 8 else "")


def _calibrations(folder: Path, model: ColmapModel) -> Mapping[int, Calibration]:
    """The calibrations of the cameras that have images."""
    used = {image.camera_id for image in model.images}
    return {
        id: calibration_from_colmap(
            f"{folder}, camera {id}", camera.model, camera.width, camera.height, camera.parameters
        )
        for id, camera in model.cameras.items()
        if id in used
    }


def _is_similar(one: Calibration, other: Calibration) -> bool:
    width, height = other.image_size
    return (
        one.image_size == other.image_size
        and abs(one.fx - other.fx) <= _SIMILAR * other.fx
        and abs(one.fy - other.fy) <= _SIMILAR * other.fy
        and abs(one.cx - other.cx) <= _SIMILAR * width
        and abs(one.cy - other.cy) <= _SIMILAR * height
    )


def _image_root(path: Path, names: Sequence[str]) -> Path:
    """The folder that the names of the model's images are relative to."""
    folders = [path / name for name in _IMAGE_FOLDERS]
    best = max(folders, key=lambda folder: sum((folder / name).is_file() for name in names[:20]))
    if not (best / names[0]).is_file() and not any((best / name).is_file() for name in names):
        looked = ", ".join(str(folder) for folder in folders[:2])
        raise SourceError(f"none of the model's images ({names[0]}, ...) is in {looked} or in the folder itself")
    return best


def _files(root: Path, registered: Sequence[ModelImage], model: ColmapModel) -> set[str]:
    """The names of the registered images, and of all others in their folders."""
    folders = {Path(image.name).parent for image in registered}
    others = {(folder / file.name).as_posix() for folder in folders for file in list_images(root / folder)}
    return others | {image.name for image in registered}


def _with_stamps(root: Path, names: Sequence[str], fps: float | None) -> list[tuple[str, int]]:
    """The names with their stamps (ns), in order of time."""
    of_names = stamps_of_names([root / name for name in names]) if fps is None else None
    if of_names is not None:
        return sorted(zip(names, of_names, strict=True), key=lambda pair: pair[1])
    rate_hz = DEFAULT_FPS if fps is None else fps
    return list(zip(names, stamps_at_rate(len(names), rate_hz, str(root)), strict=True))


FORMAT = SourceFormat(
    name="COLMAP",
    looks_for="images/ with a model in sparse/0 (cameras.bin and images.bin, or .txt)",
    matches=matches,
    open=open_colmap,
    options=("calibration", "fps"),
    has_own_calibration_file=True,
)
