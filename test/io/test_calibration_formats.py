"""Calibration files as tools write them give the camera that they describe, or an error that names the defect."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from recordings import write

from ros_matching.datatypes import Camera, DistortionModel
from ros_matching.errors import CalibrationError
from ros_matching.geometry.distortion import distort_points
from ros_matching.io.calibration import Calibration, CalibrationChoice, read_calibration

NONE, PLUMB_BOB, RATIONAL = DistortionModel.NONE, DistortionModel.PLUMB_BOB, DistortionModel.RATIONAL_POLYNOMIAL
EQUIDISTANT, FOV = DistortionModel.EQUIDISTANT, DistortionModel.FOV
BARREL = (-0.28, 0.07, 0.0002, -0.0003, 0.0)
FISHEYE = (0.003, 0.0007, -0.002, 0.0002)
SIZE = (640, 480)


def lens(model: DistortionModel = NONE, distortion: tuple[float, ...] = (), **changes: float) -> Camera:
    intrinsics = {"fx": 400.0, "fy": 410.0, "cx": 318.0, "cy": 242.0} | changes
    return Camera(*SIZE, **intrinsics, distortion_model=model, distortion=distortion)


def read(path: Path, text: str, cam: str | None = None) -> Calibration:
    write(path, text)
    return read_calibration(CalibrationChoice(path, cam))


KALIBR = """\
cam0:
  T_cam_imu:
  - [0.01, -0.99, 0.02, -0.02]
  - [0.99, 0.01, 0.01, -0.06]
  - [0.0, 0.0, 1.0, 0.01]
  - [0.0, 0.0, 0.0, 1.0]
  cam_overlaps: [1]
  camera_model: pinhole
  distortion_coeffs: [-0.28, 0.07, 0.0002, -0.0003]
  distortion_model: radtan
  intrinsics: [400.0, 410.0, 318.0, 242.0]
  resolution: [640, 480]
  rostopic: /cam0/image_raw
  timeshift_cam_imu: 0.0056
"""
KALIBR_TWO = KALIBR + KALIBR.replace("cam0:", "cam1:").replace("radtan", "equidistant").replace(
    "[-0.28, 0.07, 0.0002, -0.0003]", "[0.003, 7.0e-4, -2e-3, 0.0002]"
)
ORB = """\
%YAML:1.0
#--- Camera Parameters. Adjust them!
Camera.type: "PinHole"
Camera.fx: 400.0
Camera.fy: 410.0
Camera.cx: 318.0
Camera.cy: 242.0
Camera.k1: -0.28
Camera.k2: 0.07
Camera.p1: 0.0002
Camera.p2: -0.0003
Camera.fps: 20.0
Camera.RGB: 1
ThDepth: 40.0
DepthMapFactor: 5208.0
ORBextractor.nFeatures: 1000
ORBextractor.scaleFactor: 1.2
Viewer.PointSize:2
Viewer.ViewpointF: 500
"""
ORB3 = """\
%YAML:1.0
File.version: "1.0"
Camera.type: "KannalaBrandt8"
Camera1.fx: 400.0
Camera1.fy: 410.0
Camera1.cx: 318.0
Camera1.cy: 242.0
Camera1.k1: 0.003
Camera1.k2: 0.0007
Camera1.k3: -0.002
Camera1.k4: 0.0002
Camera2.fx: 390.0
Camera2.fy: 390.0
Camera2.cx: 320.0
Camera2.cy: 240.0
Camera2.k1: 0.001
Camera.width: 640
Camera.height: 480
Camera.newWidth: 600
Camera.newHeight: 350
Stereo.T_c1_c2: !!opencv-matrix
   rows: 4
   cols: 4
   dt: f
   data: [1.0, 0.0, 0.0, 0.1, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0]
"""
STELLA = """\
Camera:
  name: "a camera"
  setup: "monocular"
  model: "fisheye"
  fx: 400.0
  fy: 410.0
  cx: 318.0
  cy: 242.0
  k1: 0.003
  k2: 0.0007
  k3: -0.002
  k4: 0.0002
  fps: 20.0
  cols: 640
  rows: 480
  color_order: "RGB"
Preprocessing:
  min_size: 800
Feature:
  scale_factor: 1.2
"""
OPENCV = """\
%YAML:1.0
---
calibration_time: "Mon 30 Nov 2026"
nr_of_frames: 12
image_width: 640
image_height: 480
board_width: 9
board_height: 6
square_size: 2.5e-02
flags: 0
fisheye_model: 0
camera_matrix: !!opencv-matrix
   rows: 3
   cols: 3
   dt: d
   data:[ 400., 0., 318., 0., 410., 242., 0., 0., 1. ]
distortion_coefficients: !!opencv-matrix
   rows: 5
   cols: 1
   dt: d
   data: [ -0.28, 0.07, 0.0002, -0.0003, 0. ]
avg_reprojection_error: 3.1e-01
"""
OPENCV_XML = """\
<?xml version="1.0"?>
<opencv_storage>
<image_Width>640</image_Width>
<image_Height>480</image_Height>
<Camera_Matrix type_id="opencv-matrix">
  <rows>3</rows>
  <cols>3</cols>
  <dt>d</dt>
  <data>
    400. 0. 318. 0. 410. 242. 0. 0. 1.</data></Camera_Matrix>
<Distortion_Coefficients type_id="opencv-matrix">
  <rows>5</rows>
  <cols>1</cols>
  <dt>d</dt>
  <data>
    -0.28 0.07 2.0e-04 -3.0e-04 0.</data></Distortion_Coefficients>
<Avg_Reprojection_Error>3.1e-01</Avg_Reprojection_Error>
</opencv_storage>
"""
VINS = """\
%YAML:1.0
imu_topic: "/imu0"
max_cnt: 150
min_dist: 30
fisheye: 0
model_type: {model}
camera_name: camera
image_width: 640
image_height: 480
{parameters}
acc_n: 0.08
extrinsicRotation: !!opencv-matrix
   rows: 3
   cols: 3
   dt: d
   data: [0, -1, 0, 1, 0, 0, 0, 0, 1]
"""
VINS_PINHOLE = VINS.format(
    model="PINHOLE",
    parameters="distortion_parameters:\n   k1: -0.28\n   k2: 0.07\n   p1: 2.0e-04\n   p2: -3.0e-04\n"
    "projection_parameters:\n   fx: 400.\n   fy: 410.\n   cx: 318.\n   cy: 242.",
)
VINS_KB = VINS.format(
    model="KANNALA_BRANDT",
    parameters="projection_parameters:\n   k2: 0.003\n   k3: 0.0007\n   k4: -0.002\n   k5: 0.0002\n"
    "   mu: 400\n   mv: 410\n   u0: 318\n   v0: 242",
)
VINS_MEI = VINS.format(
    model="MEI",
    parameters="mirror_parameters:\n   xi: 2.1\ndistortion_parameters:\n   k1: 0.1\n   k2: 0.9\n   p1: 0\n   p2: 0\n"
    "projection_parameters:\n   gamma1: 1200\n   gamma2: 1210\n   u0: 318\n   v0: 242",
)
CAMERA_INFO = """\
header:
  stamp:
    sec: 12
    nanosec: 5
  frame_id: camera
height: 480
width: 640
distortion_model: plumb_bob
d:
- -0.28
- 0.07
- 0.0002
- -0.0003
- 0.0
k:
- 400.0
- 0.0
- 318.0
- 0.0
- 410.0
- 242.0
- 0.0
- 0.0
- 1.0
r: [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
p: [380.0, 0.0, 318.0, 0.0, 0.0, 390.0, 242.0, 0.0, 0.0, 0.0, 1.0, 0.0]
binning_x: 0
binning_y: 0
roi:
  x_offset: 0
  y_offset: 0
  height: 0
  width: 0
  do_rectify: false
---
"""
METASHAPE = """\
<?xml version="1.0" encoding="UTF-8"?>
<calibration>
  <projection>frame</projection>
  <width>640</width>
  <height>480</height>
  <f>410</f>
  <cx>-1.5</cx>
  <cy>2.5</cy>
  <b1>-10</b1>
  <b2>2</b2>
  <k1>-0.28</k1>
  <k2>0.07</k2>
  <p1>-0.0003</p1>
  <p2>0.0002</p2>
  <date>2026-11-30T02:00:00Z</date>
</calibration>
"""
ZED = """\
[LEFT_CAM_FHD]
fx=1000.0
fy=1000.0
cx=960.0
cy=540.0

[LEFT_CAM_VGA]
fx=400.0
fy=410.0
cx=318.0
cy=190.0
k1=-0.28
k2=0.07
p1=0.0002
p2=-0.0003
k3=0.0

[STEREO]
Baseline=62.9
CV_VGA=0.004
"""
TRANSFORMS = {
    "camera_angle_x": 1.35,
    "fl_x": 400.0,
    "fl_y": 410.0,
    "k1": -0.28,
    "k2": 0.07,
    "p1": 0.0002,
    "p2": -0.0003,
    "cx": 318.5,
    "cy": 242.5,
    "w": 640.0,
    "h": 480.0,
    "aabb_scale": 16,
    "scale": 0.5,
    "applied_transform": [[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, -1.0, 0.0, 0.0]],
    "frames": [{"file_path": "images/0001.jpg", "sharpness": 12.5, "transform_matrix": np.eye(4).tolist()}],
}
NERFSTUDIO_FISHEYE = (
    {key: value for key, value in TRANSFORMS.items() if key not in ("k1", "k2", "p1", "p2", "camera_angle_x")}
    | {"camera_model": "OPENCV_FISHEYE"}
    | dict(zip(("k1", "k2", "k3", "k4"), FISHEYE, strict=True))
)
PER_FRAME = {
    "camera_model": "OPENCV",
    "frames": [
        {key: TRANSFORMS[key] for key in ("fl_x", "fl_y", "cx", "cy", "w", "h", "k1", "k2", "p1", "p2")}
        | {"file_path": f"{index}.png", "transform_matrix": []}
        for index in range(3)
    ],
}
BASALT = {
    "value0": {
        "T_imu_cam": [{"px": 0.1, "qx": 0.0}],
        "intrinsics": [
            {
                "camera_type": "kb4",
                "intrinsics": {"fx": 400.0, "fy": 410.0, "cx": 318.0, "cy": 242.0}
                | dict(zip(("k1", "k2", "k3", "k4"), FISHEYE, strict=True)),
            },
            {"camera_type": "ds", "intrinsics": {"fx": 300, "fy": 300, "cx": 1, "cy": 1, "xi": -0.2, "alpha": 0.6}},
        ],
        "resolution": [[640, 480], [640, 480]],
    }
}
DEPTHAI = {
    "boardName": "OAK",
    "cameraData": [
        [
            0,
            {
                "cameraType": 0,
                "distortionCoeff": [0.1, -0.2, 0.001, 0.002, 0.05, 0.01, 0.02, 0.03, 0, 0, 0, 0, 0.01, -0.02],
                "height": 480,
                "intrinsicMatrix": [[400.0, 0.0, 318.0], [0.0, 410.0, 242.0], [0.0, 0.0, 1.0]],
                "specHfovDeg": 68.0,
                "width": 640,
            },
        ]
    ],
}
OPEN3D = {"width": 640, "height": 480, "intrinsic_matrix": [400.0, 0, 0, 0, 410.0, 0, 318.0, 242.0, 1.0]}
REALSENSE = {"width": 640, "height": 480, "ppx": 318.0, "ppy": 242.0, "fx": 400.0, "fy": 410.0}
DEPTHAI_TILT = (0.1, -0.2, 0.001, 0.002, 0.05, 0.01, 0.02, 0.03, 0.0, 0.0, 0.0, 0.0, 0.01, -0.02)
COLMAP = "# Camera list with one line of data per camera:\n#   CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]\n"
barrel, fisheye = lens(PLUMB_BOB, BARREL), lens(EQUIDISTANT, FISHEYE)

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


EUROC = "resolution: [640, 480]\nintrinsics: [400.0, 410.0, 318.0, 242.0]\n"
ROS = "image_width: 640\nimage_height: 480\ncamera_matrix: [[400, 0, 318], [0, 410, 242], [0, 0, 1]]\n"
FLAT = "fx: 400\nfy: 410\ncx: 318\ncy: 242\n"

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
