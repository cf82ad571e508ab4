"""Calibration files that cannot be right, or whose model is unknown, give an error that names the defect."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from calibration_texts import (
    BASALT,
    CAMERA_INFO,
    EQUIDISTANT,
    EUROC,
    FISHEYE,
    FLAT,
    KALIBR,
    METASHAPE,
    ORB,
    PER_FRAME,
    PLUMB_BOB,
    REALSENSE,
    ROS,
    SIZE,
    STELLA,
    TRANSFORMS,
    VINS_MEI,
    lens,
    read,
)

from ros_matching.datatypes import DistortionModel
from ros_matching.errors import CalibrationError

SUSPICIOUS = [
    (EUROC + "distortion_coeffs: [-0.28, 0.07, 0.0002, 1.8e-05]\n", "distortion_coeffs"),
    (EUROC + "dist_coeff: [-0.28, 0.07, 0.0002, 1.8e-05]\n", "dist_coeff"),
    (EUROC + "distance_coefficients: [-0.28, 0.07, 0.0002, 1.8e-05]\n", "distance_coefficients"),
    (EUROC + "D: [-0.28, 0.07, 0.0002, 1.8e-05]\n", "key D"),
    (EUROC + "k1: -0.28\nk2: 0.07\np1: 0\np2: 0\n", "k1"),
    (EUROC + "xi: 2.1\n", "xi"),
    (EUROC + "lens: fisheye\n", "lens"),
    (EUROC + "optics: {lens_type: wide angle}\n", "optics.lens_type"),
    (EUROC + "lens_model: X9\n", "lens_model"),
    (EUROC + "warp: [-0.28, 0.07]\n", "warp"),
    (EUROC + "calibration: {params: [-0.28, 0.07]}\n", "calibration.params"),
    (EUROC + "image_scale: 0.5\n", "image_scale"),
    (ROS + "distance_coefficients: {rows: 1, cols: 5, data: [-0.28, 0.07, 0, 0, 0]}\n", "distance_coefficients"),
    (ROS + "distortion_parameters: [-0.28, 0.07, 0, 0, 0]\n", "distortion_parameters"),
    (ROS + "kc: [-0.28, 0.07, 0, 0, 0]\n", "kc"),
    (ROS + "k1: -0.28\n", "k1"),
    (ROS + "radial: [-0.28, 0.07]\n", "radial"),
    (ROS + "original_width: 1280\n", "original_width"),
    (ROS + "roi: {x_offset: 100}\n", "x_offset"),
    (ROS + "binning_x: 2\n", "binning_x"),
    (ROS + "dist_coeffs: [0.1, 0, 0, 0]\nD: [0.1, 0, 0, 0]\n", "both dist_coeffs and D"),
    (ROS + "dist_coeffs: [0.1, 0, 0, 0]\ncamera_model: fisheye\ndistortion_model: plumb_bob\n", "contradict"),
    (FLAT + "dist: [-0.28, 0.07, 0, 0]\n", "dist"),
    (FLAT + "kappa: 1e-8\n", "kappa"),
    (FLAT + "k1: 0.1\nk2: 0.1\nk3: 0.1\nk4: 0.1\n", "k4"),
    (FLAT + "k1: 0.1\nk4: 0.1\nmodel: OPENCV\n", "k4"),
    (FLAT + "k1: 0.1\nmodel: rectified\n", "rectified takes up to 0"),
    (FLAT + "k1: 0.1\ndistortion_model: none\n", "none takes up to 0"),
    (FLAT + "k1: 0.1\nmodel: fisheye\ndistortion_model: none\n", "none and equidistant contradict"),
    (ROS + "dist_coeffs: [0.1, 0.2, 0.3, -0.4]\n", "state distortion_model: equidistant"),
    (ROS + "dist_coeffs: [0.1, 0, 0, 0]\ndistortion_model: none\n", "none takes up to 0"),
    (ROS.replace("camera_matrix", "K") + "D: [[0.1], [0.02], [0.01], [0.001]]\n", "four coefficients D"),
    (FLAT + "distortion_scale: 0.5\n", "distortion_scale"),
    (ORB + "Camera.xi: 0.3\n", "xi"),
    (ORB + "LEFT.D: !!opencv-matrix\n   rows: 1\n   cols: 5\n   dt: d\n   data:[-0.28, 0.07, 0, 0, 0]\n", "LEFT.D"),
    (STELLA + "StereoRectifier:\n  D_left: [-0.28, 0.07, 0, 0, 0]\n", "StereoRectifier.D_left"),
    (KALIBR.replace("rostopic", "distortion_scale: 2.0\n  rostopic"), "distortion_scale"),
]


@pytest.mark.parametrize(("text", "key"), SUSPICIOUS, ids=[key for _, key in SUSPICIOUS])
def test_keys_that_may_be_distortion_are_refused_by_name(text: str, key: str, tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=rf"camera\.yaml.*{re.escape(key)}"):
        read(tmp_path / "camera.yaml", text)


@pytest.mark.parametrize(
    "text",
    [
        EUROC + "distortion_coeffs: [0, 0, 0, 0]\nD: []\nk1: 0.0\nlens: none\nscale: 1.0\nxi:\n",
        EUROC + "device_model: a phone, model 12\nlens_maker: Someone\ncamera_type: global shutter\n",
        EUROC
        + "exposure_ms: 4.5\nbaseline: 0.11\ncomment: a lens, a scale\nT_cam_imu: [1.5, 0.5, 0.5]\nrate_hz: 20.5\n",
        ROS + "rectification_matrix: [[0.99, 0.01, 0], [0, 1, 0], [0, 0, 1]]\nboard_width: 9\nrms: 0.25\n",
        ROS + "per_view_errors: [0.25, 0.5, 0.75]\nserial_number: 12.5\nT_base_cam: [0.5, 0.5, 0.5, 0.1, 0.2, 0.3]\n",
    ],
)
def test_other_keys_are_harmless(text: str, tmp_path: Path) -> None:
    assert read(tmp_path / "camera.yaml", text).camera(*SIZE) == lens()


@pytest.mark.parametrize(
    ("text", "model"),
    [
        (EUROC + "camera_model: fisheye\ndistortion_coefficients: [0.003, 0.0007, -0.002, 0.0002]\n", EQUIDISTANT),
        (ROS + "camera_model: fisheye\nD: [0.003, 0.0007, -0.002, 0.0002]\n", EQUIDISTANT),
        (ROS + "fisheye: true\ndist_coeff: [0.003, 0.0007, -0.002, 0.0002]\n", EQUIDISTANT),
        (ROS + "camera_model: pinhole\ndist_coeff: [0.003, 0.0007, -0.002, 0.0002]\n", PLUMB_BOB),
        (FLAT + "model: KANNALA_BRANDT\nk1: 0.003\nk2: 0.0007\nk3: -0.002\nk4: 0.0002\n", EQUIDISTANT),
    ],
)
def test_a_camera_model_decides_without_a_distortion_model(text: str, model: DistortionModel, tmp_path: Path) -> None:
    calibration = read(tmp_path / "camera.yaml", text)
    assert (calibration.distortion_model, calibration.distortion[:4]) == (model, FISHEYE)


@pytest.mark.parametrize(
    ("file", "text", "named"),
    [
        ("chain.yaml", KALIBR.replace("pinhole", "omni").replace("[400.0", "[1.5, 400.0"), "omnidirectional"),
        ("chain.yaml", KALIBR.replace("pinhole", "ds").replace("[400.0", "[-0.2, 0.6, 400.0"), "double sphere"),
        ("chain.yaml", KALIBR.replace("pinhole", "eucm").replace("[400.0", "[0.6, 1.1, 400.0"), "extended unified"),
        ("mei.yaml", VINS_MEI, "omnidirectional"),
        ("mei.yaml", VINS_MEI.replace("MEI", "SCARAMUZZA"), "omnidirectional"),
        ("e.yaml", "Camera:\n  name: x\n  model: equirectangular\n  cols: 1920\n  rows: 960\n", "equirectangular"),
        ("d.yaml", STELLA.replace('"fisheye"', '"radial_division"'), "division"),
        ("cameras.txt", "1 THIN_PRISM_FISHEYE 640 480 4 4 3 2 0 0 0 0 0 0 0 0", "thin prism"),
        ("t.json", json.dumps(TRANSFORMS | {"ftheta_p0": 0.1}), "ftheta"),
        ("t.json", json.dumps(TRANSFORMS | {"camera_model": "EQUIRECTANGULAR"}), "equirectangular"),
        (
            "b.json",
            json.dumps({"value0": BASALT["value0"] | {"intrinsics": BASALT["value0"]["intrinsics"][1:]}}),
            "double",
        ),
        ("i.json", json.dumps(REALSENSE | {"model": "inverse_brown_conrady", "coeffs": [0.1] * 5}), "inverse_brown"),
        ("cal.xml", METASHAPE.replace("<date>", "<k4>0.1</k4><date>"), "k4"),
        ("cal.xml", METASHAPE.replace("frame", "spherical"), "equirectangular"),
    ],
)
def test_other_models_are_refused_by_name(file: str, text: str, named: str, tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=named):
        read(tmp_path / file, text)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        (
            "vins.yaml",
            "%YAML:1.0\ncam0_calib: cam0_pinhole.yaml\nimage_width: 640\n",
            "give one of these.*cam0_pinhole",
        ),
        ("camera.txt", "FOV 0.5 0.6 0.5 0.5 0.9\n640 480\nnone\n640 480", "none, contradicts"),
        ("t.json", json.dumps({"camera_angle_x": 0.7, "frames": []}), "image size w and h"),
        ("t.json", json.dumps({"frames": [PER_FRAME["frames"][0], {"fl_x": 1, "file_path": "b"}]}), "several cameras"),
        ("K.txt", "400 0 318 -40\n0 410 242 0\n0 0 1 0\n", "fourth column"),
        ("K.txt", "400 410 318 242 0.1\n", "4, 8 or 9 numbers"),
        ("K.txt", "hello\n", "expected a 3x3 matrix"),
        ("K.txt", "400 410 318 242 0.1 0.2 -0.3 0.4\n", "state distortion_model: equidistant"),
        ("t.json", json.dumps(TRANSFORMS | {"k4": 0.01}), "k4 without k5"),
        ("camera.yaml", ROS.replace("image_height: 480\n", ""), "image_width alone"),
        ("results-cam.txt", "Calibration results\nCamera-system parameters:\n  cam0 (/cam0):\n", "give its camchain"),
        ("calib.txt", "P0: 700 0 600 0 0 700 180 0 0 0 1 0\n", "sequence's folder"),
        ("calib_cam_to_cam.txt", "calib_time: x\nK_00: 1 2\nP_rect_00: 700 0 600 0 0 700\n", "drive's folder"),
        ("K.txt", "# nothing\n", "is empty"),
        ("cameras.txt", "1 PINHOLE 640 480 400 318 242\n", "4 numbers for the parameters fx fy cx cy"),
        ("info.yaml", CAMERA_INFO + CAMERA_INFO.replace("318.0", "300.0"), "several different"),
        ("camera.yaml", "fx: 400\nfy: 410\ncx: 318\ncy: 242\nfx: 500\n", "twice"),
        ("camera.yaml", FLAT.replace("400", "true"), "numbers for fx"),
        ("camera.yaml", FLAT.replace("400", "4_00"), "numbers for fx"),
        ("camera.yaml", FLAT.replace("fx", "focal_length"), "got the keys focal_length"),
        ("camera.yaml", KALIBR.replace("[640, 480]", "[640]"), "width, height"),
        ("camera.yaml", EUROC + "distortion_model: radtan\ndistortion_coefficients: [0.1, nan, 0, 0]\n", "finite"),
    ],
)
def test_unreadable_files_have_a_clear_error(file: str, text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=rf"{re.escape(file)}.*{message}"):
        read(tmp_path / file, text)
