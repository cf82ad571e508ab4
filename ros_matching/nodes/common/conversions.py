"""Conversion between ROS messages and the package's data types: pure functions without a node.

``cv_bridge`` and ``tf_transformations`` are used where the ROS distribution has them, each behind one function
(``image_from_msg``, ``quaternion_from_pose``). PyPI has neither for ROS 2; there our equivalent gives the same result.
Clouds with colours are converted in ``nodes.mapping.clouds``.

Large fields are filled from ``array.array``: rclpy takes it without a conversion, unlike an ndarray.
"""

from __future__ import annotations

import sys
from array import array
from functools import cache
from types import ModuleType

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, Pose, Quaternion, Transform, Vector3
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2, PointField
from std_msgs.msg import Header

from ros_matching.datatypes import Camera, DistortionModel
from ros_matching.errors import NodeError, RosMatchingError
from ros_matching.geometry.se3 import pose_from, quaternion_from_rotation, rotation_from_quaternion
from ros_matching.io.calibration.matrices import calibration_from_info
from ros_matching.io.encodings import decode_compressed, decode_depth, decode_image, payload_size

UNKNOWN_VARIANCE = 1e6
"""Diagonal of a covariance that is not known: ROS has no other sign that every filter understands."""

_FARTHEST_M = 1e9  # largest position of a pose, beyond the moon
_MOST_PIXELS = 2**25  # of an image, larger than 8K
_MOST_COEFFICIENTS = 100
_POINT_FIELDS = [
    PointField(name=name, offset=4 * place, datatype=PointField.FLOAT32, count=1) for place, name in enumerate("xyz")
]

# Encodings that cv_bridge converts to rgb8, with the bytes per pixel.
_CV_BRIDGE_BYTES = {
    **dict.fromkeys(["mono8", "bayer_rggb8", "bayer_bggr8", "bayer_gbrg8", "bayer_grbg8"], 1),
    **dict.fromkeys(["mono16", "yuv422", "yuv422_yuy2"], 2),
    **dict.fromkeys(["rgb8", "bgr8"], 3),
    **dict.fromkeys(["rgba8", "bgra8"], 4),
    **dict.fromkeys(["rgb16", "bgr16"], 6),
    **dict.fromkeys(["rgba16", "bgra16"], 8),
}


def field_array(values: np.ndarray, typecode: str = "B") -> array:
    """Return the memory of ``values`` as a message field: ``B`` for ``uint8[]``, ``f`` for ``float32[]``."""
    field = array(typecode)
    field.frombytes(np.ascontiguousarray(values).reshape(-1).view(np.uint8))
    return field


def points_to_msg(points: np.ndarray, header: Header) -> PointCloud2:
    """Return points (N, 3) as a cloud of x y z in float32; ``nodes.mapping.clouds`` has those with colours."""
    points = points.astype("<f4")
    return PointCloud2(
        header=header,
        height=1,
        width=len(points),
        fields=_POINT_FIELDS,
        is_bigendian=False,
        point_step=12,
        row_step=12 * len(points),
        data=field_array(points),
        is_dense=True,
    )


def stamp_ns_from_msg(stamp: Time) -> int:
    """Nanoseconds since the epoch of the clock in use."""
    return stamp.sec * 1_000_000_000 + stamp.nanosec


def stamp_to_msg(stamp_ns: int) -> Time:
    """Return the whole stamp as ``Time``, which holds seconds in 32 bits."""
    sec, nanosec = divmod(int(stamp_ns), 1_000_000_000)
    return Time(sec=sec, nanosec=nanosec)


def header_to_msg(stamp_ns: int, frame_id: str) -> Header:
    """A header of a stamp and a frame."""
    return Header(stamp=stamp_to_msg(stamp_ns), frame_id=frame_id)


def image_size_from_msg(msg: Image | CompressedImage) -> tuple[int, int]:
    """Return width and height from the header of an image, without decoding it.

    Raises ``NodeError`` if the header has none, or if the data cannot hold that many pixels.
    """
    if isinstance(msg, CompressedImage):
        try:
            return payload_size(msg.data, _MOST_PIXELS)
        except RosMatchingError as error:
            raise NodeError(str(error)) from error
    pixels = msg.width * msg.height
    if pixels > _MOST_PIXELS or pixels > len(msg.data):
        raise NodeError(
            f"an image of {msg.width}x{msg.height} needs at least a byte for each pixel, and up to {_MOST_PIXELS} "
            f"pixels are taken, got {len(msg.data)} bytes"
        )
    return msg.width, msg.height


def image_from_msg(msg: Image | CompressedImage) -> np.ndarray:
    """Return the image as (H, W, 3) uint8 RGB; an unpadded ``rgb8`` message is viewed, not copied.

    Raises ``NodeError`` if the encoding is not supported or the data does not fit the stated size.
    """
    try:
        if isinstance(msg, CompressedImage):
            return decode_compressed(msg.data, msg.format)
        if _cv_bridge() is not None and _suits_cv_bridge(msg):
            return _image_by_cv_bridge(msg)
        return decode_image(msg.data, msg.encoding, msg.width, msg.height, msg.step, bool(msg.is_bigendian))
    except RosMatchingError as error:
        raise NodeError(str(error)) from error


def depth_from_msg(msg: Image) -> np.ndarray:
    """Return a depth image as (H, W) float32 metres, NaN unknown (REP-118: 16UC1 in mm, 32FC1 in m).

    Raises ``NodeError`` for another encoding, or if the data does not fit the stated size.
    """
    try:
        return decode_depth(msg.data, msg.encoding, msg.width, msg.height, msg.step, bool(msg.is_bigendian))
    except RosMatchingError as error:
        raise NodeError(str(error)) from error


def image_to_msg(image: np.ndarray, header: Header, encoding: str = "rgb8") -> Image:
    """Return a raw image message of ``image`` (H, W) or (H, W, C), whose bytes have the layout of ``encoding``."""
    return Image(
        header=header,
        height=image.shape[0],
        width=image.shape[1],
        encoding=encoding,
        is_bigendian=int(sys.byteorder == "big"),
        step=image.nbytes // image.shape[0],
        data=field_array(image),
    )


def image_to_compressed_msg(image: np.ndarray, header: Header, quality: int = 95) -> CompressedImage:
    """A JPEG message of ``image`` (H, W, 3) uint8 RGB, ``quality`` 1 to 100."""
    _, payload = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return CompressedImage(header=header, format="rgb8; jpeg compressed bgr8", data=field_array(payload))


def camera_from_msg(info: CameraInfo, rectified: bool = False) -> Camera:
    """Return the camera of the image that came with ``info``, with region of interest and binning applied (REP-104).

    ``rectified`` states that the image is ``image_rect``: then P is used and there is no distortion. Without it the
    image is raw: K and D are used. Raises ``NodeError`` if the calibration is all zero, not finite or of an unknown
    model.
    """
    if len(info.d) > _MOST_COEFFICIENTS:
        raise NodeError(f"CameraInfo has {len(info.d)} distortion coefficients in D; no model has more than 14")
    try:
        calibration = calibration_from_info(info, "CameraInfo", rectified=rectified)
        return calibration.camera(*calibration.image_size)
    except RosMatchingError as error:
        raise NodeError(
            f"{error} (ros2 run camera_calibration cameracalibrator, and load the result in the camera's driver; or "
            "rectify the image with image_proc and set the parameter `rectified`)"
        ) from error


def camera_to_msg(camera: Camera, header: Header) -> CameraInfo:
    """The CameraInfo of images of ``camera``, monocular: R is the identity and P = [K | 0]."""
    pinhole = camera.is_pinhole
    info = CameraInfo(header=header, width=camera.width, height=camera.height)
    info.distortion_model = DistortionModel.PLUMB_BOB.value if pinhole else camera.distortion_model.value
    info.d = [0.0] * 5 if pinhole else list(camera.distortion)
    info.k = [camera.fx, camera.skew, camera.cx, 0.0, camera.fy, camera.cy, 0.0, 0.0, 1.0]
    info.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    info.p = [camera.fx, 0.0, camera.cx, 0.0, 0.0, camera.fy, camera.cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    return info


def quaternion_from_pose(pose: np.ndarray) -> tuple[float, float, float, float]:
    """The unit quaternion (x, y, z, w), w >= 0, of a pose (4, 4)."""
    library = _tf_transformations()
    xyzw = quaternion_from_rotation(pose[:3, :3]) if library is None else library.quaternion_from_matrix(pose)
    x, y, z, w = (float(value) for value in (xyzw if xyzw[3] >= 0 else -np.asarray(xyzw)))
    return x, y, z, w


def pose_to_msg(pose: np.ndarray) -> Pose:
    """``a_from_b`` (4, 4) as the pose of b in a."""
    x, y, z, w = quaternion_from_pose(pose)
    tx, ty, tz = pose[:3, 3].tolist()
    return Pose(position=Point(x=tx, y=ty, z=tz), orientation=Quaternion(x=x, y=y, z=z, w=w))


def pose_from_msg(msg: Pose) -> np.ndarray:
    """``a_from_b`` (4, 4) of the pose of b in a; ``NodeError`` unless it is finite with a quaternion of length 1."""
    return _pose_from_parts(msg.position, msg.orientation)


def transform_to_msg(transform: np.ndarray) -> Transform:
    """``parent_from_child`` (4, 4) as the transform that TF stores for the child."""
    x, y, z, w = quaternion_from_pose(transform)
    tx, ty, tz = transform[:3, 3].tolist()
    return Transform(translation=Vector3(x=tx, y=ty, z=tz), rotation=Quaternion(x=x, y=y, z=z, w=w))


def transform_from_msg(msg: Transform) -> np.ndarray:
    """``parent_from_child`` (4, 4); ``NodeError`` unless it is finite with a quaternion of length 1."""
    return _pose_from_parts(msg.translation, msg.rotation)


def covariance_to_msg(covariance: np.ndarray | None) -> np.ndarray:
    """Return the 36 numbers of a ROS covariance, row by row, translation first, as in ``datatypes``.

    An unknown covariance (``None``, or NaN in it) becomes ``UNKNOWN_VARIANCE`` on the diagonal.
    """
    if covariance is None or not np.isfinite(covariance).all():
        covariance = np.eye(6) * UNKNOWN_VARIANCE
    return np.asarray(covariance, dtype=np.float64).reshape(36)


def _pose_from_parts(translation: Point | Vector3, rotation: Quaternion) -> np.ndarray:
    numbers = np.array([rotation.x, rotation.y, rotation.z, rotation.w, translation.x, translation.y, translation.z])
    is_bounded = np.isfinite(numbers).all() and np.abs(numbers[:4]).max() < 2 and np.abs(numbers).max() < _FARTHEST_M
    norm = np.linalg.norm(numbers[:4]) if is_bounded else np.inf
    if abs(norm - 1.0) > 0.1:
        raise NodeError(f"a pose needs finite numbers and a unit quaternion, got {translation} {rotation}")
    return pose_from(rotation_from_quaternion(numbers[:4] / norm), numbers[4:])


def _suits_cv_bridge(msg: Image) -> bool:
    """Return True if cv_bridge decodes ``msg`` correctly: not padded rows, nor big-endian words with NumPy 2."""
    row_bytes = msg.width * _CV_BRIDGE_BYTES.get(msg.encoding, 0)
    return row_bytes > 0 and msg.step == row_bytes and len(msg.data) == row_bytes * msg.height and not msg.is_bigendian


def _image_by_cv_bridge(msg: Image) -> np.ndarray:
    library = _cv_bridge()
    try:
        return library.CvBridge().imgmsg_to_cv2(msg, desired_encoding="rgb8")
    except (library.CvBridgeError, TypeError, ValueError) as error:
        raise NodeError(f"image {msg.width}x{msg.height} {msg.encoding!r} cannot be decoded: {error}") from error


@cache
def _cv_bridge() -> ModuleType | None:
    try:
        import cv_bridge
        from cv_bridge.boost import cv_bridge_boost  # noqa: F401  built for another NumPy, it fails only here
    except ImportError:
        return None
    return cv_bridge


@cache
def _tf_transformations() -> ModuleType | None:
    try:
        import tf_transformations
    except ImportError:
        return None
    return tf_transformations
