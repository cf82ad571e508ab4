"""Calibration files of all kinds give the same camera, or a clear error."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from recordings import write

from ros_matching.datatypes import Camera, DistortionModel
from ros_matching.errors import CalibrationError
from ros_matching.geometry.distortion import distort_points
from ros_matching.io.calibration import Calibration, read_calibration
from ros_matching.io.calibration.matrices import calibration_from_info

PLUMB_BOB = (-0.28, 0.07, 0.0002, 1.8e-05)

ROS_YAML = """\
image_width: 752
image_height: 480
camera_name: left
camera_matrix:
  rows: 3
  cols: 3
  data: [458.654, 0.0, 367.215, 0.0, 457.296, 248.375, 0.0, 0.0, 1.0]
distortion_model: {model}
distortion_coefficients:
  rows: 1
  cols: {count}
  data: {data}
rectification_matrix: {{rows: 3, cols: 3, data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}}
"""

EUROC_YAML = """\
# General sensor definitions.
sensor_type: camera
T_BS:
  cols: 4
  rows: 4
  data: [0.0, -1.0, 0.0, 0.5,
         1.0, 0.0, 0.0, 0.25,
         0.0, 0.0, 1.0, 0.125,
         0.0, 0.0, 0.0, 1.0]
rate_hz: 20
resolution: [752, 480]
camera_model: pinhole
intrinsics: [458.654, 457.296, 367.215, 248.375] #fu, fv, cu, cv
distortion_model: {model}
distortion_coefficients: {data}
"""


def expected(model: DistortionModel, distortion: tuple[float, ...]) -> Camera:
    return Camera(752, 480, 458.654, 457.296, 367.215, 248.375, model, distortion)


@pytest.mark.parametrize(
    ("text", "model", "data", "camera"),
    [
        (ROS_YAML, "plumb_bob", [*PLUMB_BOB, 0.1], expected(DistortionModel.PLUMB_BOB, (*PLUMB_BOB, 0.1))),
        (ROS_YAML, "plumb_bob", [*PLUMB_BOB], expected(DistortionModel.PLUMB_BOB, (*PLUMB_BOB, 0.0))),
        (ROS_YAML, "plumb_bob", [0.0] * 5, expected(DistortionModel.NONE, ())),
        (ROS_YAML, "rational_polynomial", [0.1] * 8, expected(DistortionModel.RATIONAL_POLYNOMIAL, (0.1,) * 8)),
        (ROS_YAML, "rational_polynomial", [0.1] * 12, expected(DistortionModel.RATIONAL_POLYNOMIAL, (0.1,) * 12)),
        (ROS_YAML, "rational_polynomial", [0.1] * 14, expected(DistortionModel.RATIONAL_POLYNOMIAL, (0.1,) * 14)),
        (
            ROS_YAML,
            "rational_polynomial",
            [0.1] * 8 + [0.0] * 6,
            expected(DistortionModel.RATIONAL_POLYNOMIAL, (0.1,) * 8),
        ),
        (ROS_YAML, "equidistant", [0.0] * 4, expected(DistortionModel.EQUIDISTANT, (0.0,) * 4)),
        (ROS_YAML, "equidistant", [0.1] * 4, expected(DistortionModel.EQUIDISTANT, (0.1,) * 4)),
        (EUROC_YAML, "radial-tangential", [*PLUMB_BOB], expected(DistortionModel.PLUMB_BOB, (*PLUMB_BOB, 0.0))),
        (EUROC_YAML, "equidistant", [0.1] * 4, expected(DistortionModel.EQUIDISTANT, (0.1,) * 4)),
    ],
)
def test_yaml_files(text: str, model: str, data: list, camera: Camera, tmp_path: Path) -> None:
    write(tmp_path / "c.yaml", text.format(model=model, data=data, count=len(data)))
    assert read_calibration(tmp_path / "c.yaml").camera(752, 480) == camera


def test_the_mounting_of_euroc(tmp_path: Path) -> None:
    write(tmp_path / "sensor.yaml", EUROC_YAML.format(model="radial-tangential", data=[0, 0, 0, 0]))
    calibration = read_calibration(tmp_path / "sensor.yaml")
    np.testing.assert_array_equal(calibration.body_from_camera[:3, 3], [0.5, 0.25, 0.125])
    np.testing.assert_array_equal(calibration.body_from_camera[0, :2], [0, -1])


def test_a_matrix_file_fits_any_size_that_holds_its_centre(tmp_path: Path) -> None:
    write(tmp_path / "K.txt", "# by hand\n500 5e-14 320\n0 501 240\n0 0 1\n")
    calibration = read_calibration(tmp_path / "K.txt")
    assert calibration.camera(640, 480) == Camera(640, 480, 500, 501, 320, 240)
    assert calibration.camera(700, 500).cx == 320
    with pytest.raises(CalibrationError, match=r"principal point at \(320, 240\), outside of the images of 320x240"):
        calibration.camera(320, 240)


def test_a_calibration_of_another_resolution_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "c.yaml", ROS_YAML.format(model="plumb_bob", data=[0.0] * 5, count=5))
    with pytest.raises(CalibrationError, match="is for images of 752x480, but they are 376x240"):
        read_calibration(tmp_path / "c.yaml").camera(376, 240)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.yaml", ROS_YAML.format(model="thin_prism", data=[0.1], count=1), "'thin_prism' is not known; known are"),
        ("c.yaml", ROS_YAML.format(model="equidistant", data=[0.1] * 5, count=5), "takes up to 4 coefficients"),
        ("c.yaml", ROS_YAML.format(model="plumb_bob", data=[".nan"] * 5, count=5).replace("'", ""), "finite"),
        (
            "c.yaml",
            ROS_YAML.replace("752", "wide").format(model="none", data=[], count=0),
            "numbers for the image width",
        ),
        (
            "c.yaml",
            ROS_YAML.replace("458.654", "left").format(model="none", data=[], count=0),
            "numbers for K",
        ),
        ("c.yaml", EUROC_YAML.replace("458.654, ", "").format(model="none", data=[]), "fu, fv, cu, cv"),
        ("c.yaml", EUROC_YAML.replace("[752, 480]", "752").format(model="none", data=[]), "width, height"),
        ("c.yaml", EUROC_YAML.replace("0.5,", "").format(model="none", data=[]), "16 numbers for T_BS, got 15"),
        ("c.yaml", "focal: 500\n", "expected a calibration of ROS .* got the keys focal"),
        ("c.yaml", "a: [1,", "cannot be read as YAML"),
        ("c.yaml", "just words", "expected a YAML mapping"),
        ("K.txt", "500 0 320\n0 500 240\n", "expected a 3x3 calibration matrix"),
        ("K.txt", "500 0\n", "4, 8 or 9 numbers"),
        ("K.txt", "500 90 320\n0 500 240\n0 0 1\n", "expected K = fx skew cx"),
        ("K.txt", "-500 0 320\n0 500 240\n0 0 1\n", "expected K = fx skew cx"),
        ("K.txt", "500 0 nan\n0 500 240\n0 0 1\n", "finite numbers"),
        ("K.txt", "0 0 0\n0 0 0\n0 0 0\n", "K is all zero, the camera is not calibrated"),
    ],
)
def test_errors_name_the_defect(name: str, text: str, message: str, tmp_path: Path) -> None:
    write(tmp_path / name, text)
    with pytest.raises(CalibrationError, match=rf"{name}.*{message}"):
        read_calibration(tmp_path / name).camera(752, 480)


def info(**changes: object) -> SimpleNamespace:
    roi = SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0, do_rectify=False)
    values = {
        "width": 640,
        "height": 480,
        "distortion_model": "plumb_bob",
        "d": np.array([-0.2, 0.1, 0.0, 0.0, 0.0]),
        "k": np.array([500.0, 0, 320, 0, 510, 240, 0, 0, 1]),
        "p": np.array([450.0, 0, 300, 0, 0, 450, 200, 0, 0, 0, 1, 0]),
        "binning_x": 0,
        "binning_y": 0,
        "roi": roi,
    }
    return SimpleNamespace(**(values | changes))


def test_camera_info() -> None:
    camera = calibration_from_info(info(), "info").camera(640, 480)
    assert camera == Camera(640, 480, 500, 510, 320, 240, DistortionModel.PLUMB_BOB, (-0.2, 0.1, 0.0, 0.0, 0.0))
    rectified = calibration_from_info(info(), "info", rectified=True).camera(640, 480)
    assert rectified == Camera(640, 480, 450, 450, 300, 200)
    with pytest.raises(CalibrationError, match="info: K is all zero"):
        calibration_from_info(info(k=np.zeros(9)), "info")
    with pytest.raises(CalibrationError, match="positive fy"):
        calibration_from_info(info(k=np.array([500.0, 0, 320, 0, -510, 240, 0, 0, 1])), "info")
    with pytest.raises(CalibrationError, match="info is for images of 640x480, but they are 320x240"):
        calibration_from_info(info(), "info").camera(320, 240)


def test_camera_info_of_a_binned_region_of_interest() -> None:
    """A point of the full sensor at (u, v) is at ((u - x0 + 0.5) / 2 - 0.5, ...) of the delivered image."""
    roi = SimpleNamespace(x_offset=100, y_offset=40, width=400, height=300, do_rectify=False)
    plain = {"d": [], "distortion_model": ""}
    full = calibration_from_info(info(**plain), "info").camera(640, 480)
    part = calibration_from_info(info(**plain, roi=roi, binning_x=2, binning_y=2), "info").camera(200, 150)
    points = np.array([[0.1, -0.05, 1.0], [0.0, 0.2, 2.0]])
    np.testing.assert_allclose(part.project(points), (full.project(points) - (100, 40) + 0.5) / 2 - 0.5)


def test_skew_and_tilt_of_camera_info() -> None:
    """The binned image of a camera with skew and 14 coefficients is the full image, averaged."""
    d = [0.1, -0.05, 0.001, 0.002, 0.01, 0.0, 0.0, 0.0, 0.001, 0.0, 0.002, 0.0, 0.01, -0.02]
    k = np.array([500.0, 5.0, 320, 0, 510, 240, 0, 0, 1])
    changes = {"d": np.array(d), "k": k, "distortion_model": "rational_polynomial"}
    full = calibration_from_info(info(**changes), "info").camera(640, 480)
    assert full == Camera(640, 480, 500, 510, 320, 240, DistortionModel.RATIONAL_POLYNOMIAL, tuple(d), 5.0)
    half = calibration_from_info(info(**changes, binning_x=2, binning_y=2), "info").camera(320, 240)
    rays = np.array([[0.3, -0.2], [-0.1, 0.25]])
    on_full, on_half = (distort_points(rays * (c.fx, c.fy) + (c.cx, c.cy), c) for c in (full, half))
    np.testing.assert_allclose(on_half, (on_full + 0.5) / 2 - 0.5, atol=1e-9)


ABSURD = {
    "fx": [1e-300, 1e-3, 1e300, 1e6],
    "fy": [1e-300, 1e-3, 1e300, 1e6],
    "cx": [1e7, -1e7, 1e300],
    "cy": [1e7, -1e7, 1e300],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in ABSURD.items() for value in values])
def test_intrinsics_of_no_camera_are_refused(name, value):
    intrinsics = {"fx": 300.0, "fy": 300.0, "cx": 160.0, "cy": 120.0, name: value}
    calibration = Calibration("K.txt", **intrinsics, image_size=(320, 240))
    with pytest.raises(CalibrationError, match=r"K\.txt.*320x240"):
        calibration.camera(320, 240)


@pytest.mark.parametrize(
    ("intrinsics", "size"),
    [
        ((160.0, 160.0, 640.0, 480.0), (1280, 960)),  # a fisheye of 220 degrees and more
        ((9000.0, 9000.0, -3900.0, -2900.0), (64, 48)),  # a crop from the corner of a large sensor
        ((30000.0, 30000.0, 320.0, 240.0), (640, 480)),  # a telescope
        ((600.0, 150.0, 320.0, 60.0), (640, 120)),  # rows binned by four
    ],
)
def test_intrinsics_of_unusual_cameras_are_taken(intrinsics, size):
    assert Calibration("K.txt", *intrinsics, image_size=size).camera(*size).fx == intrinsics[0]
