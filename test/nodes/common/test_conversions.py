"""Messages from nouns and back, against known arrays and numbers."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("sensor_msgs", reason="needs the ROS 2 message packages")

from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from ros_matching.datatypes import Camera, DistortionModel
from ros_matching.errors import NodeError
from ros_matching.geometry.se3 import exp_so3, pose_from
from ros_matching.io.encodings import decode_image
from ros_matching.nodes.common import conversions

pytestmark = pytest.mark.ros

HEADER = Header(frame_id="camera")
CAMERA = Camera(640, 480, 500.0, 510.0, 321.5, 238.25, DistortionModel.PLUMB_BOB, (-0.3, 0.1, 0.001, -0.002, 0.01))


def smooth_image(height: int = 24, width: int = 32) -> np.ndarray:
    """Slowly changing colours, which survive the halved chroma of YUV and the mosaic of Bayer."""
    v, u = np.mgrid[:height, :width].astype(np.float64)
    return np.stack([80 + 2 * u, 120 + v, 200 - u - v], axis=-1).round().astype(np.uint8)


def bayer_mosaic(rgb: np.ndarray, pattern: str) -> np.ndarray:
    """Return the raw image of a sensor with this pattern (top left 2x2 pixels, row by row)."""
    mosaic = np.empty(rgb.shape[:2], np.uint8)
    for place, letter in enumerate(pattern):
        row, column = divmod(place, 2)
        mosaic[row::2, column::2] = rgb[row::2, column::2, "rgb".index(letter)]
    return mosaic


def yuv422(rgb: np.ndarray, luma_first: bool) -> np.ndarray:
    """Full-resolution luma, chroma of every second pixel, by the BT.601 studio range that OpenCV decodes."""
    red, green, blue = np.moveaxis(rgb.astype(np.float64), -1, 0)
    luma = 16 + 0.257 * red + 0.504 * green + 0.098 * blue
    u = (128 - 0.148 * red - 0.291 * green + 0.439 * blue)[:, ::2]
    v = (128 + 0.439 * red - 0.368 * green - 0.071 * blue)[:, ::2]
    chroma = np.stack([u, v], axis=-1).reshape(luma.shape)
    pair = (luma, chroma) if luma_first else (chroma, luma)
    return np.stack(pair, axis=-1).round().astype(np.uint8)


GRAY = smooth_image()[..., 0]
RGB = smooth_image()
EXACT = {
    "mono8": (GRAY, np.dstack([GRAY] * 3)),
    "mono16": (GRAY.astype(np.uint16) * 257, np.dstack([GRAY] * 3)),
    "rgb8": (RGB, RGB),
    "bgr8": (RGB[..., ::-1], RGB),
    "rgba8": (np.dstack([RGB, GRAY]), RGB),
    "bgra8": (np.dstack([RGB[..., ::-1], GRAY]), RGB),
    "rgb16": (RGB.astype(np.uint16) * 257, RGB),
    "bgr16": (RGB[..., ::-1].astype(np.uint16) * 257, RGB),
    "8UC3": (RGB[..., ::-1], RGB),
}
NEAR = {
    **{f"bayer_{pattern}8": bayer_mosaic(RGB, pattern) for pattern in ("rggb", "bggr", "gbrg", "grbg")},
    "yuv422": yuv422(RGB, luma_first=False),
    "yuv422_yuy2": yuv422(RGB, luma_first=True),
}


@pytest.mark.parametrize("encoding", EXACT)
def test_an_encoding_is_read_exactly(encoding):
    stored, expected = EXACT[encoding]
    msg = conversions.image_to_msg(stored, HEADER, encoding)
    assert (msg.height, msg.width, msg.step) == (*stored.shape[:2], stored[0].nbytes)
    np.testing.assert_array_equal(conversions.image_from_msg(msg), expected)


@pytest.mark.parametrize("encoding", NEAR)
def test_a_subsampled_encoding_is_read_nearly(encoding):
    decoded = conversions.image_from_msg(conversions.image_to_msg(NEAR[encoding], HEADER, encoding)).astype(int)
    inside = np.s_[2:-2, 2:-2]  # a mosaic has no neighbours beyond the border
    assert np.abs(decoded - RGB)[inside].max() <= 4


@pytest.mark.parametrize("encoding", [*EXACT, *NEAR])
def test_cv_bridge_and_its_equivalent_agree(encoding):
    if conversions._cv_bridge() is None:
        pytest.skip("cv_bridge is not installed")
    stored = EXACT[encoding][0] if encoding in EXACT else NEAR[encoding]
    msg = conversions.image_to_msg(stored, HEADER, encoding)
    ours = decode_image(msg.data, msg.encoding, msg.width, msg.height, msg.step)
    assert np.abs(conversions.image_from_msg(msg).astype(int) - ours).max() <= 1


def test_rows_may_be_padded():
    padded = np.zeros((24, 32 * 3 + 5), np.uint8)
    padded[:, :-5] = RGB.reshape(24, -1)
    msg = Image(header=HEADER, height=24, width=32, encoding="rgb8", step=padded.shape[1], data=padded.tobytes())
    np.testing.assert_array_equal(conversions.image_from_msg(msg), RGB)


def test_an_image_is_viewed_and_not_copied_where_the_bytes_are_right():
    msg = conversions.image_to_msg(RGB, HEADER)
    assert np.shares_memory(conversions.image_from_msg(msg), np.frombuffer(msg.data, np.uint8))


def test_a_compressed_image_round_trip():
    msg = conversions.image_to_compressed_msg(RGB, HEADER, quality=100)
    assert np.abs(conversions.image_from_msg(msg).astype(int) - RGB).max() <= 6
    png = cv2.imencode(".png", RGB[..., ::-1])[1]
    msg.format, msg.data = "rgb8; png compressed bgr8", png.tobytes()
    np.testing.assert_array_equal(conversions.image_from_msg(msg), RGB)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"encoding": "jello8"}, "jello8.*supported"),
        ({"data": b"123"}, "bytes"),
        ({"width": 0}, "size"),
        ({"step": 7}, "rows"),
    ],
)
def test_a_broken_image_is_an_error(change, words):
    msg = conversions.image_to_msg(RGB, HEADER)
    for name, value in change.items():
        setattr(msg, name, value)
    with pytest.raises(NodeError, match=words):
        conversions.image_from_msg(msg)


@given(st.integers(0, 2**31 * 1_000_000_000 - 1))
@settings(deadline=None, max_examples=50)
def test_a_stamp_keeps_every_nanosecond(stamp_ns):
    assert conversions.stamp_ns_from_msg(conversions.stamp_to_msg(stamp_ns)) == stamp_ns


@given(st.lists(st.floats(-3, 3), min_size=6, max_size=6))
@settings(deadline=None, max_examples=50)
def test_a_pose_round_trip(numbers):
    pose = pose_from(exp_so3(numbers[:3]), numbers[3:])
    msg = conversions.pose_to_msg(pose)
    assert msg.orientation.w >= 0
    np.testing.assert_allclose(conversions.pose_from_msg(msg), pose, atol=1e-9)
    np.testing.assert_allclose(conversions.transform_from_msg(conversions.transform_to_msg(pose)), pose, atol=1e-9)


def test_a_quaternion_has_the_order_of_ros():
    quarter_turn_about_z = pose_from(np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]), np.zeros(3))
    expected = (0, 0, np.sqrt(0.5), np.sqrt(0.5))
    np.testing.assert_allclose(conversions.quaternion_from_pose(quarter_turn_about_z), expected, atol=1e-12)


@pytest.mark.parametrize(("w", "x"), [(0.0, 0.0), (1.0, float("nan"))])
def test_a_pose_that_is_none_is_refused(w, x):
    msg = conversions.pose_to_msg(np.eye(4))
    msg.orientation.w, msg.position.x = w, x
    with pytest.raises(NodeError, match="quaternion"):
        conversions.pose_from_msg(msg)


def test_tf_transformations_and_its_equivalent_agree():
    library = pytest.importorskip("tf_transformations", reason="tf_transformations is not installed")
    pose = pose_from(exp_so3([0.3, -1.2, 0.7]), np.zeros(3))
    theirs, ours = library.quaternion_from_matrix(pose), conversions.quaternion_from_rotation(pose[:3, :3])
    assert min(np.abs(theirs - ours).max(), np.abs(theirs + ours).max()) < 1e-9


def test_a_covariance_goes_out_row_by_row_and_unknown_is_large():
    covariance = np.arange(36.0).reshape(6, 6)
    np.testing.assert_array_equal(conversions.covariance_to_msg(covariance), np.arange(36.0))
    for unknown in (None, np.full((6, 6), np.nan)):
        sent = conversions.covariance_to_msg(unknown).reshape(6, 6)
        np.testing.assert_array_equal(sent, np.eye(6) * conversions.UNKNOWN_VARIANCE)


@pytest.mark.parametrize(
    "camera",
    [
        CAMERA,
        replace(CAMERA, distortion_model=DistortionModel.NONE, distortion=()),
        replace(CAMERA, distortion_model=DistortionModel.EQUIDISTANT, distortion=(0.1, 0.02, 0.0, 0.001)),
        replace(CAMERA, distortion_model=DistortionModel.EQUIDISTANT, distortion=(0.0,) * 4),
        replace(CAMERA, skew=2.5),
        replace(CAMERA, distortion_model=DistortionModel.NONE, distortion=(), skew=-1.5),
        replace(
            CAMERA,
            distortion_model=DistortionModel.RATIONAL_POLYNOMIAL,
            distortion=(0.1, -0.2, 0.001, 0.002, 0.05, 0.01, 0.02, 0.03, 0.004, 0.0, 0.005, 0.0, 0.01, -0.02),
        ),
    ],
)
def test_a_camera_round_trip(camera):
    msg = conversions.camera_to_msg(camera, HEADER)
    assert conversions.camera_from_msg(msg) == camera
    assert list(msg.p[[0, 2, 5, 6]]) == [camera.fx, camera.cx, camera.fy, camera.cy]


def test_a_region_of_interest_and_binning_see_the_same_rays():
    """A point of the scene falls on the pixel of the crop, binned 2x2, that covers its pixel of the full image."""
    full = conversions.camera_to_msg(CAMERA, HEADER)
    full.roi.x_offset, full.roi.y_offset, full.roi.width, full.roi.height = 100, 60, 400, 300
    full.binning_x = full.binning_y = 2
    camera = conversions.camera_from_msg(full)
    assert (camera.width, camera.height) == (200, 150)
    points = np.array([[0.1, -0.2], [-0.15, 0.05], [0.0, 0.0]])
    expected = (_pixels(points, CAMERA) - (100, 60) + 0.5) / 2 - 0.5  # pixel centres are at integers
    np.testing.assert_allclose(_pixels(points, camera), expected, atol=1e-9)


def test_a_crop_off_the_optical_axis_is_a_camera_too():
    crop = conversions.camera_to_msg(CAMERA, HEADER)
    crop.roi.x_offset, crop.roi.y_offset, crop.roi.width, crop.roi.height = 500, 300, 100, 100
    camera = conversions.camera_from_msg(crop)
    assert (camera.width, camera.height) == (100, 100)
    assert (camera.cx, camera.cy) == pytest.approx((CAMERA.cx - 500, CAMERA.cy - 300))


def _pixels(rays: np.ndarray, camera: Camera) -> np.ndarray:
    vectors = np.column_stack([rays, np.ones(len(rays))])
    return cv2.projectPoints(vectors, np.zeros(3), np.zeros(3), camera.matrix, np.array(camera.distortion))[0][:, 0]


def test_a_rectified_image_takes_the_projection_matrix():
    msg = conversions.camera_to_msg(CAMERA, HEADER)
    msg.p = [400.0, 0, 300, 0, 0, 410, 200, 0, 0, 0, 1, 0]
    camera = conversions.camera_from_msg(msg, rectified=True)
    assert camera == Camera(640, 480, 400.0, 410.0, 300.0, 200.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"k": [0.0] * 9}, "not calibrated.*camera_calibration"),
        ({"width": 0}, "not calibrated"),
        ({"k": [float("nan"), 0, 1, 0, 500, 1, 0, 0, 1]}, "finite"),
        ({"k": [-500.0, 0, 1, 0, 500, 1, 0, 0, 1]}, "expected K = fx"),
        ({"d": [float("nan")] * 5}, "finite"),
        ({"distortion_model": "funhouse"}, "funhouse.*rectified"),
    ],
)
def test_an_unusable_calibration_is_an_error_with_the_remedy(change, words):
    msg = conversions.camera_to_msg(CAMERA, HEADER)
    for name, value in change.items():
        setattr(msg, name, value)
    with pytest.raises(NodeError, match=words):
        conversions.camera_from_msg(msg)


def test_a_camera_info_out_of_the_box_is_not_calibrated():
    with pytest.raises(NodeError, match="not calibrated"):
        conversions.camera_from_msg(CameraInfo())
