"""TUM-VI (Schubert et al., IROS 2018) in its EuRoC export: ``mav0/cam0``, ``mav0/mocap0`` and ``dso/camchain.yaml``.

Images are 16-bit fisheye images of 512x512 or 1024x1024. There is no ``sensor.yaml``: intrinsics and ``T_cam_imu``, the
pose of the IMU in the camera, are in Kalibr's ``camchain.yaml``. The ground truth is of the IMU, and known at the start
and end of most sequences only.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ros_matching.errors import CalibrationError
from ros_matching.geometry.se3 import invert
from ros_matching.io.calibration import Calibration, calibration_from_values, read_calibration
from ros_matching.io.euroc import CAMERAS, PARTNERS, read_images, right_images
from ros_matching.io.format import SourceFormat
from ros_matching.io.poses import pose_or_none, rigid_transforms
from ros_matching.io.sequence import ImageRecord, ImageSequence, PartnerCamera
from ros_matching.io.trajectory import read_euroc
