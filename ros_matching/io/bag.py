"""ROS 2 bags (sqlite3 and MCAP), read without ROS: ``Image`` or ``CompressedImage`` with ``CameraInfo``.

The calibration is the first ``CameraInfo`` in the namespace of the images, or on the bag's only such topic. Of images
on a topic ``image_rect*`` it is the projection matrix P, as they are rectified. A frame has the stamp of its header, or
the time of recording where that is 0; frames come in the order of recording.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ros_matching.datatypes import Camera, Frame
from ros_matching.errors import CalibrationError, SourceError
from ros_matching.geometry.camera import Undistorter
from ros_matching.io.bag_reader import STORAGE_SUFFIXES, BagReader, open_bag, stamp_of
from ros_matching.io.bag_truth import read_truth
from ros_matching.io.calibration import Calibration, UsedCalibration, read_calibration
from ros_matching.io.camera_info import calibration_from_info, is_rectified
from ros_matching.io.encodings import decode_compressed, decode_image
from ros_matching.io.faults import FrameFault
from ros_matching.io.format import SourceFormat
from ros_matching.io.poses import pose_or_none
from ros_matching.io.read_ahead import read_ahead
from ros_matching.io.trajectory import Trajectory

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"


def matches(path: Path) -> bool:
    """Whether the path is a bag's folder or one of its storage files."""
    if path.is_file():
        return path.suffix in STORAGE_SUFFIXES
    return any(next(path.glob(f"*{suffix}*"), None) for suffix in STORAGE_SUFFIXES)  # also .db3.zstd


def open_bag_source(
    path: Path, *, calibration: Path | None = None, topic: str | None = None, truth_topic: str | None = None
) -> BagSource:
    """Open the images of a bag: those of ``topic``, or of the only image topic; else ``SourceError`` lists the topics.

    ``truth_topic`` names the topic of the true poses (``bag_truth.read_truth``).
    """
    with open_bag(path) as bag:
        topic = _image_topic(path, bag, topic)
        _, first = bag.first(topic)
        height, width = _image(f"{path}, first image of {topic}", first).shape[:2]
        known = _calibration(path, bag, topic) if calibration is None else read_calibration(calibration)
        truth = None if truth_topic is None else read_truth(bag, truth_topic, first.header.frame_id)
        return BagSource(path, topic, bag.count(topic), Undistorter(known.camera(width, height)), known.origin, truth)


@dataclass(frozen=True)
class _RawImage:
    index: int
    recorded_ns: int
    message_type: str
    data: bytes


class BagSource:
    """The ``FrameSource`` of one image topic of a bag."""

    def __init__(
        self,
        path: Path,
        topic: str,
        count: int,
        undistorter: Undistorter,
        calibration_origin: str,
        truth: Trajectory | None = None,
    ) -> None:
        self._path = path
        self._topic = topic
        self._undistorter = undistorter
        self._calibration_origin = calibration_origin
        self._truth = truth
        self._rows = range(count)

    @property
    def name(self) -> str:
        """The name of the bag."""
        return self._path.resolve().stem

    @property
    def camera(self) -> Camera:
        """The pinhole camera of the delivered images."""
        return self._undistorter.camera

    @property
    def faults(self) -> Sequence[FrameFault]:
        """None so far: a faulty frame ends the iteration with an error."""
        return ()

    @property
    def calibration(self) -> UsedCalibration:
        """The calibration of the images as they were recorded."""
        return UsedCalibration(self._calibration_origin, self._undistorter.source)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Frame]:
        with open_bag(self._path) as bag:
            yield from read_ahead(lambda raw: self._load(bag, raw), self._raw(bag))

    def select(self, rows: range) -> BagSource:
        """The same images, reduced to some of them, which keep their index."""
        selected = copy.copy(self)
        selected._rows = self._rows[rows.start : rows.stop : rows.step]
        return selected

    def _raw(self, bag: BagReader) -> Iterator[_RawImage]:
        rows = self._rows
        selected = islice(bag.raw(self._topic), rows.start, rows.stop, rows.step)
        index = rows.start - rows.step
        for index, raw in zip(rows, selected, strict=False):
            yield _RawImage(index, *raw)
        if index != rows[-1]:
            raise SourceError(
                f"{self._path} ends before image {index + rows.step} of {self._topic}, but states {rows[-1] + 1} or "
                "more; the bag is cut off"
            )

    def _load(self, bag: BagReader, raw: _RawImage) -> Frame:
        message = bag.decode(raw.message_type, raw.data)
        origin = f"{self._path}, image {raw.index} of {self._topic}"
        image = _image(origin, message)
        if image.shape[:2] != (self.camera.height, self.camera.width):
            raise SourceError(
                f"{origin} is {image.shape[1]}x{image.shape[0]}, but the bag began with "
                f"{self.camera.width}x{self.camera.height}; all images must be of one size"
            )
        stamp_ns = stamp_of(message, raw.recorded_ns)
        pose = None if self._truth is None else pose_or_none(self._truth.at(np.array([stamp_ns]))[0])
        return Frame(raw.index, stamp_ns, self._undistorter.undistort(image), self.camera, pose)


def _image_topic(path: Path, bag: BagReader, given: str | None) -> str:
    images = bag.topics(IMAGE, COMPRESSED)
    if given is not None:
        found = [
            topic for topic in (given, f"/{given}", f"{given}/compressed", f"/{given}/compressed") if topic in images
        ]
        if not found:
            raise SourceError(f"{path} has no images on {given}; it has {bag.listing()}")
        return found[0]
    colour = [topic for topic in images if "depth" not in topic.lower()]
    distinct = [topic for topic in colour if topic.removesuffix("/compressed") not in colour or topic == _base(topic)]
    if len(distinct) != 1:
        problem = "several image topics" if distinct else "no image topic"
        raise SourceError(f"{path} has {problem}: choose one by topic=NAME; it has {bag.listing()}")
    return distinct[0]


def _base(topic: str) -> str:
    """The image topic that a transport's topic belongs to."""
    return topic.removesuffix("/compressed")


def _calibration(path: Path, bag: BagReader, topic: str) -> Calibration:
    infos = bag.topics(CAMERA_INFO)
    beside = f"{_base(topic).rpartition('/')[0]}/camera_info"
    chosen = beside if beside in infos else infos[0] if len(infos) == 1 else None
    if chosen is None:
        raise CalibrationError(
            f"{path} has no CameraInfo on {beside} for {topic}; it has {bag.listing()}. Give calibration=PATH"
        )
    _, info = bag.first(chosen)
    return calibration_from_info(info, f"{path}, CameraInfo on {chosen}", rectified=is_rectified(topic))


def _image(origin: str, message: Any) -> np.ndarray:
    try:
        if hasattr(message, "encoding"):
            return decode_image(
                message.data, message.encoding, message.width, message.height, message.step, message.is_bigendian
            )
        return decode_compressed(message.data, message.format)
    except SourceError as error:
        raise SourceError(f"{origin}: {error}") from error


FORMAT = SourceFormat(
    name="ROS 2 bag",
    looks_for="a .mcap or .db3 file, or a folder with one and metadata.yaml",
    matches=matches,
    open=open_bag_source,
    options=("calibration", "topic", "truth_topic"),
)
