"""Bags of ROS 2 (sqlite3, MCAP), ROS 1 and Foxglove (MCAP), read without ROS.

The images are raw, compressed or packets of a video, with their calibration from a ``CameraInfo`` topic. Of images on
a topic ``image_rect*`` it is the projection matrix P, as they are rectified. A frame has the stamp of its header, or
the time of recording where that is 0; frames come in the order of recording. Images that cannot be used are skipped and
reported as faults, as is the end of a bag that was cut off.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ros_matching.datatypes import Frame, ImuRecording
from ros_matching.errors import CalibrationError, SourceError
from ros_matching.geometry.distortion import Undistorter
from ros_matching.io.bags.bag import Bag, Record, frame_of, stamp_of
from ros_matching.io.bags.files import is_bag
from ros_matching.io.bags.ground_truth import read_ground_truth
from ros_matching.io.bags.image_topics import choose_images, codec_of, read_camera_info, still_of
from ros_matching.io.bags.imu_topic import read_imu
from ros_matching.io.calibration import CalibrationChoice, read_calibration
from ros_matching.io.faults import FrameFault, Loaded
from ros_matching.io.poses import pose_or_none
from ros_matching.io.source import StreamedSource, read_ahead
from ros_matching.io.source_format import SourceFormat
from ros_matching.io.trajectory import Trajectory
from ros_matching.io.video_packets import PacketDecoder, import_av, make_context, rgb_of

if TYPE_CHECKING:
    import av

_MAX_TRIED = 300  # messages until the first image that can be decoded; a video begins at a keyframe
_log = logging.getLogger(__name__)


def open_bag_source(
    path: Path,
    *,
    calibration: Path | CalibrationChoice | None = None,
    topic: str | None = None,
    camera_info_topic: str | None = None,
    ground_truth_topic: str | None = None,
    imu_topic: str | None = None,
) -> BagSource:
    """Open the images of a bag: those of ``topic``, or of the only image topic; else ``SourceError`` lists the topics.

    ``camera_info_topic`` names the topic of the calibration, ``ground_truth_topic`` that of the true poses
    (``ground_truth.read_ground_truth``), ``imu_topic`` that of the IMU.
    """
    if calibration is not None and camera_info_topic is not None:
        raise SourceError(f"{path}: calibration and camera_info_topic exclude each other; give one of them")
    bag = Bag(path)
    for note in (*bag.damage, *bag.notes):
        _log.warning("%s", note)
    topic = choose_images(bag, topic)
    (height, width), camera_frame = _first_image(bag, topic)
    known = read_camera_info(bag, topic, camera_info_topic) if calibration is None else read_calibration(calibration)
    if known.is_y_up and ground_truth_topic is not None:
        raise CalibrationError(
            f"{known.origin}: a negative fy (y axis up) does not fit the poses of a bag; make it positive"
        )
    ground_truth = None if ground_truth_topic is None else read_ground_truth(bag, ground_truth_topic, camera_frame)
    return BagSource(
        bag, topic, Undistorter(known.camera(width, height)), known.origin, ground_truth, imu_topic, camera_frame
    )


class BagSource(StreamedSource):
    """The ``FrameSource`` of one image topic of a bag."""

    def __init__(
        self,
        bag: Bag,
        topic: str,
        undistorter: Undistorter,
        calibration_origin: str,
        ground_truth: Trajectory | None = None,
        imu_topic: str | None = None,
        camera_frame: str = "",
    ) -> None:
        name, description = bag.path.resolve().stem, f"{topic} in {bag.path}"
        super().__init__(name, description, undistorter, calibration_origin, bag.count(topic))
        self._bag = bag
        self._topic = topic
        self._ground_truth = ground_truth
        self._imu_topic, self._camera_frame = imu_topic, camera_frame

    @property
    def imu(self) -> ImuRecording | None:
        """The IMU of the bag, read now: of ``imu_topic``, or the only one; ``None`` without one."""
        return read_imu(self._bag, self._imu_topic, self._camera_frame)

    def _loaded(self) -> Iterator[Loaded]:
        images = _Images(self._bag, self._topic, self._rows)
        for batch in read_ahead(lambda record: self._load(images, record), images.records()):
            yield from batch
        if self._rows and self._rows[-1] + self._rows.step >= self._count:
            yield from (Loaded(None, (FrameFault(self._count, note),)) for note in self._bag.damage)

    def _load(self, images: _Images, record: Record | None) -> list[Loaded]:
        return [self._frame(*image) for image in images.take(record)]

    def _frame(self, index: int, stamp_ns: int, image: np.ndarray | None, problem: str) -> Loaded:
        source = self._undistorter.source
        if image is not None and image.shape[:2] != (source.height, source.width):
            problem = f"it is {image.shape[1]}x{image.shape[0]}, but the bag began with {source.width}x{source.height}"
        if image is None or problem:
            fault = FrameFault(index, f"image {index} of {self._topic} in {self._bag.path}: {problem}")
            return Loaded(None, (fault,))
        pose = None if self._ground_truth is None else pose_or_none(self._ground_truth.at(np.array([stamp_ns]))[0])
        return Loaded(Frame(index, stamp_ns, self._undistorter.undistort(image), self.camera, pose))


class _Images:
    """The images of some rows of a topic. Of a video, all messages are decoded, but only those rows are converted."""

    def __init__(self, bag: Bag, topic: str, rows: range) -> None:
        self._bag = bag
        self._topic = topic
        self._type = bag.type_of(topic)
        self._rows = rows
        self._video: _VideoTopic | None = None
        self._is_still = False

    def records(self) -> Iterator[Record | None]:
        """The messages to ``take``; ``None`` is the end."""
        self._is_still = self._codec_of_first() is None
        if self._is_still:
            yield from self._bag.records(self._topic, self._rows)
        else:
            yield from self._bag.records(self._topic, range(self._rows[-1] + 1 if self._rows else 0))
        yield None

    def take(self, record: Record | None) -> Iterator[tuple[int, int, np.ndarray | None, str]]:
        """Yield index, stamp (ns) and image, or the fault, of the images that a message completes."""
        if record is None:
            found = [] if self._video is None else self._video.finish()
        else:
            try:
                message = self._bag.decode(record)
                stamp_ns = stamp_of(message, record.time_ns)
                codec = codec_of(self._type, message)
                if codec is None:
                    yield record.index, stamp_ns, still_of(message), ""
                    return
                if self._video is None:
                    self._video = _VideoTopic(codec)
                found = self._video.take(record.index, stamp_ns, bytes(message.data))
            except (SourceError, AttributeError, TypeError, ValueError) as error:
                found = [(record.index, 0, None, str(error))]
        for index, stamp_ns, frame, problem in found:
            if index in self._rows:
                yield index, stamp_ns, None if problem else rgb_of(frame), problem

    def _codec_of_first(self) -> str | None:
        return codec_of(self._type, self._bag.first(self._topic))


class _VideoTopic:
    """Decoder of messages that are packets of one video; frames carry the row of their message as time."""

    def __init__(self, codec: str) -> None:
        self._decoder = PacketDecoder(make_context(codec))
        self._stamps_ns: dict[int, int] = {}  # of the messages whose frames have not come yet

    def take(self, index: int, stamp_ns: int, data: bytes) -> list[tuple[int, int, av.VideoFrame | None, str]]:
        """The frames that a message completes."""
        packet = import_av().Packet(data)
        packet.pts = packet.dts = index
        self._stamps_ns[index] = stamp_ns
        found = []
        for frame, problem in self._decoder.decode(packet):
            row = index if frame is None or frame.pts is None else frame.pts
            found.append((row, self._stamps_ns.pop(row, stamp_ns), frame, problem))
        return found

    def finish(self) -> list[tuple[int, int, av.VideoFrame | None, str]]:
        """The frames that are left, and the messages that gave none."""
        found = []
        for frame, problem in self._decoder.decode(None):
            if frame is not None and frame.pts in self._stamps_ns:
                found.append((frame.pts, self._stamps_ns.pop(frame.pts), frame, problem))
        return found + [(row, stamp, None, "it completes no frame") for row, stamp in self._stamps_ns.items()]


def _first_image(bag: Bag, topic: str) -> tuple[tuple[int, int], str]:
    """The size (height, width) and the camera's frame of the first image that can be decoded."""
    images = _Images(bag, topic, range(min(bag.count(topic), _MAX_TRIED)))
    failure = ""
    for record in images.records():
        for index, _, image, problem in images.take(record):
            if image is not None:
                frame = frame_of(bag.decode(next(bag.records(topic, range(index, index + 1)))))
                return image.shape[:2], frame
            failure = failure or problem
    raise SourceError(f"{bag.path}: no image on {topic} can be decoded; the first: {failure or 'it has none'}")


FORMAT = SourceFormat(
    name="bag",
    looks_for="a .mcap, .db3 (ROS 2) or .bag (ROS 1) file, or a folder with them and metadata.yaml",
    matches=is_bag,
    open=open_bag_source,
    options=("calibration", "topic", "camera_info_topic", "ground_truth_topic", "imu_topic"),
)
