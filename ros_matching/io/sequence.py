"""A sequence of image files: the source of all formats with one file per image."""

from __future__ import annotations

import copy
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TypeVar

import numpy as np

from ros_matching.datatypes import Camera, Frame, ImuRecording, RightImage
from ros_matching.errors import CalibrationError, SourceError
from ros_matching.geometry.distortion import Undistorter
from ros_matching.io.calibration import Calibration, UsedCalibration
from ros_matching.io.depth_images import doubt_depth_units, register_depth
from ros_matching.io.faults import FrameFault, Loaded, deliver
from ros_matching.io.images import ArchivedFile, read_depth, read_image
from ros_matching.io.source import read_ahead

_Part = TypeVar("_Part")
_LOGGER = logging.getLogger(__name__)
# Of poses in a camera frame with its y axis up: the frame and the world are mirrored together.
_MIRRORED_Y = np.diag([1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class ImageRecord:
    """The files and data of a frame, before its image is read."""

    index: int
    stamp_ns: int
    image: Path | ArchivedFile
    true_world_from_camera: np.ndarray | None = None
    depth: Path | None = None
    right: Path | ArchivedFile | None = None  # the image of the stereo right camera
    calibration: Calibration | None = None  # of this image, where it is not that of the sequence


@dataclass(frozen=True)
class RightCamera:
    """The second camera of a stereo pair; ``right_from_camera`` (4, 4) takes points of the first into it."""

    calibration: Calibration
    right_from_camera: np.ndarray


class ImageSequence:
    """The ``FrameSource`` of image files; images are read ahead, undistorted once.

    The size of the images is that of most of the first, the middle and the last one; images of another size, and those
    that cannot be read, are skipped (``faults``). Raises ``SourceError`` when there are no records or no image can be
    read, and ``CalibrationError`` when the calibration does not fit.
    """

    def __init__(
        self,
        name: str,
        records: Sequence[ImageRecord],
        calibration: Calibration,
        *,
        depth_units_per_metre: float = 1000.0,
        depth_calibration: Calibration | None = None,
        right: RightCamera | None = None,
        faults: Sequence[FrameFault] = (),
        imu: Callable[[], ImuRecording | None] | None = None,
    ) -> None:
        """``depth_calibration`` is that of depth images that are not registered to the images yet; see ``folder``.

        They have the size that it states, or else that of the images. ``faults`` are those of frames that have no
        record, known before any image is read. A calibration that states the depth units goes before
        ``depth_units_per_metre``; one with its y axis up mirrors the true poses. ``imu`` reads the IMU of the
        recording, if there is one.
        """
        self._imu = imu
        if not records:
            raise SourceError(f"{name} holds no images")
        self._name = name
        self._records = [_with_y_down(record) for record in records] if calibration.is_y_up else records
        self._depth_units_per_metre = calibration.depth_units_per_metre or depth_units_per_metre
        self._calibration_origin = calibration.origin
        self._depth_doubt = doubt_depth_units(self._depth_files, self._depth_units_per_metre)
        width, height = _usual_size(records)
        self._undistorter = Undistorter(calibration.camera(width, height))
        self._depth_camera = (
            None
            if depth_calibration is None
            else depth_calibration.camera(*(depth_calibration.image_size or (width, height)))
        )
        self._right = right
        self._right_undistorter: Undistorter | None = None  # made of the first image, by the thread that loads
        self._newest_undistorter: tuple[Calibration, Undistorter] | None = None  # of a record's own calibration
        self._known_faults = list(faults)
        self._faults: list[FrameFault] = []

    @property
    def name(self) -> str:
        """The name of the sequence."""
        return self._name

    @property
    def camera(self) -> Camera:
        """The pinhole camera of the delivered images."""
        return self._undistorter.camera

    @property
    def calibration(self) -> UsedCalibration:
        """The calibration of the images as they are stored, and the unit of the depth images."""
        units = self._depth_units_per_metre if self._depth_files else None
        return UsedCalibration(self._calibration_origin, self._undistorter.source, units, self._depth_doubt)

    @property
    def imu(self) -> ImuRecording | None:
        """The IMU of the recording, read now; ``None`` without one."""
        return None if self._imu is None else self._imu()

    def with_depth_scale(self, units_per_metre: float) -> ImageSequence:
        """The same sequence with another unit of its depth images; raises ``SourceError`` if it has none."""
        if not self._depth_files:
            raise SourceError(f"{self._name} has no depth images, which depth_scale is for")
        if not 1 <= units_per_metre <= 1e6:
            raise SourceError(
                f"expected depth_scale to be the units of a metre in the depth images, 1 to 1e6 (1000 for "
                f"millimetres), got {units_per_metre:g}"
            )
        scaled = copy.copy(self)
        scaled._depth_units_per_metre, scaled._depth_doubt = units_per_metre, ""
        return scaled

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Frame]:
        self._faults = []
        if self._depth_doubt:
            _LOGGER.warning("%s: %s", self._name, self._depth_doubt)
        known = [Loaded(None, (fault,)) for fault in self._known_faults]
        return deliver(chain(known, read_ahead(self._try_to_load, self._records)), self._faults, self._name)

    @property
    def faults(self) -> Sequence[FrameFault]:
        """The faulty frames of the newest iteration so far."""
        return self._faults

    @property
    def records(self) -> Sequence[ImageRecord]:
        """The records of the frames."""
        return self._records

    def frame(self, row: int) -> Frame:
        """Load one frame by its row in the sequence; ``SourceError`` if it is faulty."""
        loaded = self._try_to_load(self._records[row])
        if loaded.frame is None:
            raise SourceError(loaded.faults[0].reason)
        return loaded.frame

    def select(self, rows: range) -> ImageSequence:
        """The same sequence, reduced to some of its frames, which keep their index."""
        selected = copy.copy(self)
        selected._records = [self._records[row] for row in rows]
        first, last = selected._records[0].index, selected._records[-1].index
        selected._known_faults = [fault for fault in self._known_faults if first <= fault.index <= last]
        selected._faults = []
        return selected

    @property
    def _depth_files(self) -> list[Path]:
        return [record.depth for record in self._records if record.depth is not None]

    def _try_to_load(self, record: ImageRecord) -> Loaded:
        """The frame of a record; without its image it is skipped, without its depth or right image it is not.

        Raises ``CalibrationError``, which is not a matter of one frame.
        """
        faults: list[FrameFault] = []

        def attempt(load: Callable[[ImageRecord], _Part], skipped: bool = False) -> _Part | None:
            try:
                return load(record)
            except CalibrationError:
                raise
            except SourceError as error:
                faults.append(FrameFault(record.index, str(error), skipped))
                return None

        image = attempt(self._load_image, skipped=True)
        if image is None:
            return Loaded(None, tuple(faults))
        frame = Frame(
            index=record.index,
            stamp_ns=record.stamp_ns,
            image=image,
            camera=self.camera,
            true_world_from_camera=record.true_world_from_camera,
            depth=attempt(self._load_depth),
            right=attempt(self._load_right),
        )
        return Loaded(frame, tuple(faults))

    def _load_image(self, record: ImageRecord) -> np.ndarray:
        image = read_image(record.image)
        width, height = self.camera.width, self.camera.height
        if image.shape[:2] != (height, width):
            raise SourceError(
                f"{record.image} is {image.shape[1]}x{image.shape[0]}, but the sequence is of {width}x{height}; "
                "all images must be of one size"
            )
        return self._undistorter_of(record).undistort(image)

    def _undistorter_of(self, record: ImageRecord) -> Undistorter:
        """For an image with a calibration of its own, an undistorter to the camera of the sequence."""
        if record.calibration is None:
            return self._undistorter
        calibration, undistorter = self._newest_undistorter or (None, None)
        if calibration is not record.calibration:
            source = record.calibration.camera(self.camera.width, self.camera.height)
            undistorter = Undistorter(source, self.camera)
            self._newest_undistorter = record.calibration, undistorter
        return undistorter

    def _load_depth(self, record: ImageRecord) -> np.ndarray | None:
        if record.depth is None:
            return None
        depth_camera = self._depth_camera or self.camera
        depth = read_depth(record.depth, self._depth_units_per_metre, depth_camera.width, depth_camera.height)
        if self._depth_camera is not None:
            return register_depth(depth, self._depth_camera, self.camera)
        return self._undistorter_of(record).undistort_depth(depth)

    def _load_right(self, record: ImageRecord) -> RightImage | None:
        if record.right is None or self._right is None:
            return None
        path = record.right
        image = read_image(path)
        if self._right_undistorter is None:
            height, width = image.shape[:2]
            self._right_undistorter = Undistorter(self._right.calibration.camera(width, height))
        undistorter, source = self._right_undistorter, self._right_undistorter.source
        if image.shape[:2] != (source.height, source.width):
            raise SourceError(
                f"{path} is {image.shape[1]}x{image.shape[0]}, but its camera began with "
                f"{source.width}x{source.height}; all images must be of one size"
            )
        return RightImage(undistorter.undistort(image), undistorter.camera, self._right.right_from_camera)


def _with_y_down(record: ImageRecord) -> ImageRecord:
    """The record of a camera frame with y up in one with y down, as the images are: both worlds mirror each other."""
    pose = record.true_world_from_camera
    return record if pose is None else replace(record, true_world_from_camera=_MIRRORED_Y @ pose @ _MIRRORED_Y)


def _usual_size(records: Sequence[ImageRecord]) -> tuple[int, int]:
    """The width and height of most of three images, or of the first one that can be read if these cannot.

    An odd image at the beginning must not make all others odd.
    """
    sizes: Counter[tuple[int, int]] = Counter()
    for row in dict.fromkeys([0, len(records) // 2, len(records) - 1]):
        with suppress(SourceError):
            sizes[_size(records[row])] += 1
    if sizes:
        return sizes.most_common(1)[0][0]
    for record in records:
        with suppress(SourceError):
            return _size(record)
    return _size(records[0])  # raises the reason


def _size(record: ImageRecord) -> tuple[int, int]:
    height, width = read_image(record.image).shape[:2]
    return width, height
