"""Calibration files as tools write them give the camera that they describe."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from calibration_texts import (
    BARREL,
    BASALT,
    CAMERA_INFO,
    COLMAP,
    DEPTHAI,
    DEPTHAI_TILT,
    FOV,
    KALIBR,
    KALIBR_TWO,
    METASHAPE,
    NERFSTUDIO_FISHEYE,
    OPEN3D,
    OPENCV,
    OPENCV_XML,
    ORB,
    ORB3,
    PER_FRAME,
    PLUMB_BOB,
    RATIONAL,
    REALSENSE,
    SIZE,
    STELLA,
    TRANSFORMS,
    VINS_KB,
    VINS_PINHOLE,
    ZED,
    barrel,
    fisheye,
    lens,
    read,
)

from ros_matching.datatypes import Camera
from ros_matching.errors import CalibrationError
from ros_matching.geometry.distortion import distort_points
from ros_matching.io.calibration import read_calibration

CASES = {
    "kalibr": ("chain.yaml", KALIBR, barrel),
    "kalibr, radtan without coefficients": (
        "chain.yaml",
        KALIBR.replace("distortion_coeffs: [-0.28, 0.07, 0.0002, -0.0003]", "distortion_coeffs: []").replace(
            "radtan", "none"
        ),
        lens(),
    ),
    "kalibr, fov": (
        "chain.yaml",
        KALIBR.replace("[-0.28, 0.07, 0.0002, -0.0003]", "[0.9]").replace("radtan", "fov"),
        lens(FOV, (0.9,)),
    ),
    "kalibr with opencv's header": ("chain.yaml", "%YAML:1.0\n" + KALIBR, barrel),
    "kalibr with bom and crlf": ("chain.yaml", "\ufeff" + KALIBR.replace("\n", "\r\n"), barrel),
    "orb-slam": ("EuRoC.yaml", ORB, barrel),
    "stella": ("fisheye.yaml", STELLA, fisheye),
    "openvslam": ("perspective.yaml", ORB.replace('type: "PinHole"', 'model: "perspective"'), barrel),
    "opencv": ("out_camera_data.yml", OPENCV, barrel),
    "opencv, fisheye": (
        "out.yml",
        OPENCV.replace("fisheye_model: 0", "fisheye_model: 1")
        .replace("-0.28, 0.07, 0.0002, -0.0003, 0.", "0.003, 0.0007, -0.002, 0.0002")
        .replace("rows: 5", "rows: 4"),
        fisheye,
    ),
    "opencv xml": ("out_camera_data.xml", OPENCV_XML, barrel),
    "vins pinhole": ("euroc_config.yaml", VINS_PINHOLE, barrel),
    "vins kannala-brandt": ("tum_config.yaml", VINS_KB, fisheye),
    "camera_info": ("info.yaml", CAMERA_INFO, barrel),
    "camera_info, several": ("info.txt", CAMERA_INFO + CAMERA_INFO.replace("sec: 12", "sec: 13"), barrel),
    "camera_info of ROS 1": (
        "info.yaml",
        re.sub(r"^([dkrp]):", lambda match: match[0].upper(), CAMERA_INFO, flags=re.MULTILINE),
        barrel,
    ),
    "camera_info, binned": (
        "info.yaml",
        CAMERA_INFO.replace("height: 480\nwidth: 640", "height: 960\nwidth: 1280")
        .replace("400.0\n- 0.0\n- 318.0\n- 0.0\n- 410.0\n- 242.0", "800.0\n- 0\n- 636.5\n- 0\n- 820.0\n- 484.5")
        .replace("binning_x: 0\nbinning_y: 0", "binning_x: 2\nbinning_y: 2"),
        barrel,
    ),
    "metashape": ("cal.xml", METASHAPE, lens(PLUMB_BOB, BARREL, skew=2.0)),
    "instant-ngp": ("transforms.json", json.dumps(TRANSFORMS), barrel),
    "nerfstudio, fisheye": ("transforms.json", json.dumps(NERFSTUDIO_FISHEYE), fisheye),
    "nerfstudio, per frame": ("transforms.json", json.dumps(PER_FRAME), barrel),
    "instant-ngp, fisheye": (
        "transforms.json",
        json.dumps(
            {key: value for key, value in NERFSTUDIO_FISHEYE.items() if key != "camera_model"} | {"is_fisheye": True}
        ),
        fisheye,
    ),
    "depthai": ("oak.json", json.dumps(DEPTHAI), lens(RATIONAL, DEPTHAI_TILT)),
    "open3d": ("intrinsic.json", json.dumps(OPEN3D), lens()),
    "realsense": (
        "intrinsics.json",
        json.dumps(REALSENSE | {"model": "distortion.brown_conrady", "coeffs": list(BARREL)}),
        barrel,
    ),
    "colmap pinhole": ("cameras.txt", COLMAP + "1 PINHOLE 640 480 400 410 318.5 242.5\n", lens()),
    "colmap simple": ("cameras.txt", COLMAP + "1 SIMPLE_RADIAL 640 480 400 318.5 242.5 -0.28", None),
    "colmap opencv": ("cameras.txt", "1 OPENCV 640 480 400 410 318.5 242.5 -0.28 0.07 0.0002 -0.0003\n", barrel),
    "colmap fisheye": ("cameras.txt", "1 OPENCV_FISHEYE 640 480 400 410 318.5 242.5 .003 .0007 -.002 .0002", fisheye),
    "colmap full": (
        "cameras.txt",
        "1 FULL_OPENCV 640 480 400 410 318.5 242.5 .1 .2 .003 .004 .05 .06 .07 .08",
        lens(RATIONAL, (0.1, 0.2, 0.003, 0.004, 0.05, 0.06, 0.07, 0.08)),
    ),
    "colmap fov": ("cameras.txt", "3 FOV 640 480 400 410 318.5 242.5 0.9", lens(FOV, (0.9,))),
    "colmap, cameras alike": ("cameras.txt", COLMAP + "1 PINHOLE 640 480 400 410 318.5 242.5\n" * 3, lens()),
    "dso": ("camera.txt", "FOV 0.625 0.85416667 0.49765625 0.505208333 0.9\n640 480\ncrop\n640 480\n", None),
    "lsd-slam": ("calib.cfg", "400 410 318 242 0.9\n640 480\ncrop\n640 480\n", lens(FOV, (0.9,))),
    "dso radtan": ("camera.txt", "RadTan 400 410 318 242 -0.28 0.07 0.0002 -0.0003\n640 480\nfull\n640 480", barrel),
    "dso kb": ("camera.txt", "KannalaBrandt 400 410 318 242 .003 .0007 -.002 .0002\n640 480\ncrop\n640 480", fisheye),
    "dso pinhole": ("camera.txt", "400 410 318 242 0\n640 480\nnone\n640 480", lens()),
    "a line of four": ("calib.txt", "400 410 318 242\n", lens()),
    "a line of eight": ("euroc.txt", "400.0 410.0 318.0 242.0 -0.28 0.07 0.0002 -0.0003\n", barrel),
    "a line of nine": ("tum.txt", "400 410 318 242 -0.28 0.07 0.0002 -0.0003 0.0", barrel),
    "a matrix in csv": ("K.csv", "400,0,318\n0,410,242\n0,0,1\n", lens()),
    "a matrix of numpy": ("K.txt", "[[400.  0. 318.]\n [  0. 410. 242.]\n [  0.   0.   1.]]\n", lens()),
    "a matrix in a line": ("K.txt", "400, 0, 318, 0, 410, 242, 0, 0, 1", lens()),
    "a matrix of scannet": ("intrinsic_color.txt", "400 0 318 0\n0 410 242 0\n0 0 1 0\n0 0 0 1\n", lens()),
    "a matrix column by column": ("K.txt", "400 0 0\n0 410 0\n318 242 1\n", lens()),
    "a matrix with skew": ("K.txt", "400 2 318\n0 410 242\n0 0 1\n", lens(skew=2.0)),
    "ost.txt": (
        "ost.txt",
        "# oST version 5.0 parameters\n\n[image]\n\nwidth\n640\n\nheight\n480\n\n[narrow_stereo]\n\ncamera matrix\n"
        "400.0 0.0 318.0\n0.0 410.0 242.0\n0.0 0.0 1.0\n\ndistortion\n-0.28 0.07 0.0002 -0.0003 0.0\n\n"
        "rectification\n1.0 0.0 0.0\n0.0 1.0 0.0\n0.0 0.0 1.0\n\nprojection\n380.0 0.0 318.0 0.0\n",
        barrel,
    ),
    "opencv's older names": (
        "camera.yml",
        "%YAML:1.0\nintrinsic: !!opencv-matrix\n   data: [400., 0., 318., 0., 410., 242., 0., 0., 1.]\n"
        "distortion: !!opencv-matrix\n   data: [-0.28, 0.07, 0.0002, -0.0003]\nWidth: 640\nHeight: 480\n",
        barrel,
    ),
    "kalibr with tabs before comments": ("chain.yaml", KALIBR.replace("0.0056", "0.0056\t\t# s"), barrel),
    "plumb_bob of 14 coefficients": (
        "info.yaml",
        CAMERA_INFO.replace("- -0.28\n- 0.07\n- 0.0002\n- -0.0003\n- 0.0\n", f"{list(DEPTHAI_TILT)}\n").replace(
            "d:\n", "d: "
        ),
        lens(RATIONAL, DEPTHAI_TILT),
    ),
    "realsense, inverse, zero": (
        "intrinsics.json",
        json.dumps(REALSENSE | {"model": "distortion.inverse_brown_conrady", "coeffs": [0.0] * 5}),
        lens(),
    ),
    "flat yaml": (
        "camera.yaml",
        "fx: 4e2\nfy: 410\ncx: 318\ncy: 242\nk1: -0.28\nk2: 0.07\np1: 2e-4\np2: -3e-4\n",
        barrel,
    ),
    "assignments": ("camera.ini", "fx = 400\nfy = 410\ncx = 318\ncy = 242\n", lens()),
    "replica": (
        "cam_params.json",
        json.dumps(
            {"camera": {"w": 640, "h": 480, "fx": 400.0, "fy": 410.0, "cx": 318.0, "cy": 242.0, "scale": 6553.5}}
        ),
        lens(),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_files_as_tools_write_them(name: str, tmp_path: Path) -> None:
    file, text, camera = CASES[name]
    calibration = read(tmp_path / file, text)
    assert calibration.image_size in (SIZE, None)
    if name == "dso":
        camera = lens(FOV, (0.9,))
        found = calibration.camera(*SIZE)
        np.testing.assert_allclose([found.fx, found.fy, found.cx, found.cy], [400, 410, 318, 242], atol=1e-5)
        assert found.distortion == camera.distortion
    elif name == "colmap simple":
        assert calibration.camera(*SIZE) == lens(PLUMB_BOB, (-0.28, 0, 0, 0, 0), fy=400.0)
    else:
        assert calibration.camera(*SIZE) == camera


@pytest.mark.parametrize(
    ("file", "text", "cam", "camera"),
    [
        ("chain.yaml", KALIBR_TWO, "cam0", barrel),
        ("chain.yaml", KALIBR_TWO, "1", fisheye),
        ("orb3.yaml", ORB3, "Camera1", fisheye),
        ("orb3.yaml", ORB3, "1", fisheye),
        ("basalt.json", json.dumps(BASALT), "cam0", fisheye),
        ("SN1.conf", ZED, "LEFT_CAM_VGA", Camera(672, 376, 400, 410, 318, 190, PLUMB_BOB, BARREL)),
        ("cameras.txt", "1 PINHOLE 640 480 9 9 9 9\n7 PINHOLE 640 480 400 410 318.5 242.5\n", "7", lens()),
        (
            "intrinsics.yml",
            OPENCV.replace("camera_matrix", "M1").replace("distortion_coefficients", "D1")
            + "M2: [[300, 0, 320], [0, 300, 240], [0, 0, 1]]\nD2: [0, 0, 0, 0, 0]\n",
            "1",
            barrel,
        ),
    ],
)
def test_one_of_several_cameras(file: str, text: str, cam: str, camera: Camera, tmp_path: Path) -> None:
    assert read(tmp_path / file, text, cam).camera(camera.width, camera.height) == camera
    with pytest.raises(CalibrationError, match=r"several cameras.*choose one, for example cam="):
        read(tmp_path / file, text)
    with pytest.raises(CalibrationError, match="has no camera nine"):
        read(tmp_path / file, text, "nine")


def test_units_of_depth_in_settings(tmp_path: Path) -> None:
    assert read(tmp_path / "TUM2.yaml", ORB).depth_units_per_metre == 5208
    assert read(tmp_path / "TUM2.yaml", ORB.replace("5208.0", "1.0")).depth_units_per_metre is None
    assert read(tmp_path / "cam_params.json", CASES["replica"][1]).depth_units_per_metre == 6553.5


def test_files_of_opencv_are_read(tmp_path: Path) -> None:
    """All three kinds of FileStorage, by OpenCV itself."""
    matrix, coefficients = lens().matrix, np.array([BARREL])
    for suffix in ("yml", "xml", "json"):
        path = tmp_path / f"camera.{suffix}"
        storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
        storage.write("image_width", 640)
        storage.write("image_height", 480)
        storage.write("camera_matrix", matrix)
        storage.write("distortion_coefficients", coefficients)
        storage.release()
        assert read_calibration(path).camera(*SIZE) == barrel


def test_metashape_projects_as_in_its_manual(tmp_path: Path) -> None:
    """u = w / 2 + cx + x' f + x' b1 + y' b2 with the first pixel's centre at 0.5, p1 and p2 by its own order."""
    camera = read(tmp_path / "cal.xml", METASHAPE).camera(*SIZE)
    x, y = 0.3, -0.2
    r2 = x * x + y * y
    radial = 1 - 0.28 * r2 + 0.07 * r2 * r2
    x1 = x * radial + -0.0003 * (r2 + 2 * x * x) + 2 * 0.0002 * x * y
    y1 = y * radial + 0.0002 * (r2 + 2 * y * y) + 2 * -0.0003 * x * y
    expected = (320 - 1.5 + x1 * 410 + x1 * -10 + y1 * 2 - 0.5, 240 + 2.5 + y1 * 410 - 0.5)
    pinhole = np.array([[x * camera.fx + camera.cx, y * camera.fy + camera.cy]])
    np.testing.assert_allclose(distort_points(pinhole, camera), [expected], atol=1e-9)


def test_a_negative_fy_is_a_camera_frame_with_y_up(tmp_path: Path) -> None:
    calibration = read(tmp_path / "K.txt", "481.2 0 319.5\n0 -480 239.5\n0 0 1\n")
    assert calibration.is_y_up
    assert calibration.camera(*SIZE) == Camera(*SIZE, 481.2, 480, 319.5, 239.5)
    with pytest.raises(CalibrationError, match="expected K"):
        read(tmp_path / "K.txt", "-481.2 0 319.5\n0 -480 239.5\n0 0 1\n")
