"""A sequence of image files: what all formats that keep one file per image come down to."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ros_matching.datatypes import Camera, Frame, StereoPartner
from ros_matching.errors import SourceError
from ros_matching.geometry.camera import Undistorter
from ros_matching.io.calibration import Calibration
from ros_matching.io.images import read_depth, read_image
from ros_matching.io.read_ahead import read_ahead
from ros_matching.io.registration import register_depth


@dataclass(frozen=True)
class ImageRecord:
    """What is known of a frame before its image is read."""

    index: int
    stamp_ns: int
    image: Path
    true_world_from_camera: np.ndarray | None = None
    depth: Path | None = None
    partner: Path | None = None  # the image of the stereo partner camera


@dataclass(frozen=True)
class PartnerCamera:
    """The second camera of a stereo pair; ``partner_from_camera`` (4, 4) takes points of the first into it."""

    calibration: Calibration
    partner_from_camera: np.ndarray


class ImageSequence:
    """The ``FrameSource`` of image files; images are read ahead, undistorted once.

    Raises ``SourceError`` when there are no records or an image is unreadable or of another size than the first, and
    ``CalibrationError`` when the calibration does not fit.
    """

    def __init__(
        self,
        name: str,
        records: Sequence[ImageRecord],
        calibration: Calibration,
        *,
        depth_units_per_metre: float = 1000.0,
        depth_calibration: Calibration | None = None,
        partner: PartnerCamera | None = None,
    ) -> None:
        """``depth_calibration`` is that of depth images that are not registered to the images yet; see ``folder``."""
        if not records:
            raise SourceError(f"{name} holds no images")
        self._name = name
        self._records = records
        self._depth_units_per_metre = depth_units_per_metre
        height, width = read_image(records[0].image).shape[:2]
        self._undistorter = Undistorter(calibration.camera(width, height))
        self._depth_camera = None if depth_calibration is None else depth_calibration.camera(width, height)
        self._partner = partner
        self._partner_undistorter: Undistorter | None = None  # made of the first image, by the thread that loads

    @property
    def name(self) -> str:
        """The name of the sequence."""
        return self._name

    @property
    def camera(self) -> Camera:
        """The pinhole camera of the delivered images."""
        return self._undistorter.camera

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Frame]:
        return read_ahead(self._load, self._records)

    @property
    def records(self) -> Sequence[ImageRecord]:
        """What is known of the frames without reading them."""
        return self._records

    def frame(self, row: int) -> Frame:
        """One frame by its place in the sequence, for who needs them in another order."""
        return self._load(self._records[row])

    def select(self, rows: range) -> ImageSequence:
        """The same sequence, reduced to some of its frames, which keep their index."""
        selected = copy.copy(self)
        selected._records = [self._records[row] for row in rows]
        return selected

    def _load(self, record: ImageRecord) -> Frame:
        image = read_image(record.image)
        width, height = self.camera.width, self.camera.height
        if image.shape[:2] != (height, width):
            raise SourceError(
                f"{record.image} is {image.shape[1]}x{image.shape[0]}, but the sequence began with {width}x{height}; "
                "all images must be of one size"
            )
        depth = None
        if record.depth is not None:
            depth = read_depth(record.depth, self._depth_units_per_metre, width, height)
            if self._depth_camera is not None:
                depth = register_depth(depth, self._depth_camera, self.camera)
            else:
                depth = self._undistorter.undistort_depth(depth)
        return Frame(
            index=record.index,
            stamp_ns=record.stamp_ns,
            image=self._undistorter.undistort(image),
            camera=self.camera,
            true_world_from_camera=record.true_world_from_camera,
            depth=depth,
            partner=None if record.partner is None or self._partner is None else self._load_partner(record.partner),
        )

    def _load_partner(self, path: Path) -> StereoPartner:
        image = read_image(path)
        if self._partner_undistorter is None:
            height, width = image.shape[:2]
            self._partner_undistorter = Undistorter(self._partner.calibration.camera(width, height))
        undistorter, source = self._partner_undistorter, self._partner_undistorter.source
        if image.shape[:2] != (source.height, source.width):
            raise SourceError(
                f"{path} is {image.shape[1]}x{image.shape[0]}, but its camera began with "
                f"{source.width}x{source.height}; all images must be of one size"
            )
        return StereoPartner(undistorter.undistort(image), undistorter.camera, self._partner.partner_from_camera)
