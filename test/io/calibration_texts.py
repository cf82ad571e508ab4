"""Calibration files as tools write them, and the cameras they describe."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from recordings import write

from ros_matching.datatypes import Camera, DistortionModel
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
EUROC = "resolution: [640, 480]\nintrinsics: [400.0, 410.0, 318.0, 242.0]\n"
ROS = "image_width: 640\nimage_height: 480\ncamera_matrix: [[400, 0, 318], [0, 410, 242], [0, 0, 1]]\n"
FLAT = "fx: 400\nfy: 410\ncx: 318\ncy: 242\n"
