"""The nouns of ros_matching, which cross every folder boundary.

Conventions, valid in the whole package:

* Pixels: ``(u, v)``, u to the right, v down; the centre of the top-left pixel is ``(0, 0)``.
* Camera axes: x right, y down, z forward (REP-103 optical frame).
* ``a_from_b`` is the 4x4 rigid transform that maps coordinates of frame b into frame a; it is also the pose of b in a.
* SI units: metres, seconds, radians; names carry other units (``_px``, ``_deg``, ``_ns``, ``_ms``). Monocular lengths
  are in the unit of the map unless ``ScaleState`` is ``METRIC``.
* Unknown is NaN (in arrays) or ``None``, never 0 and never an identity pose.
* Covariance of ``a_from_b`` is (6, 6) over ``(dt, dr)``: ``t = t_hat + dt`` and ``R = Exp(dr) @ R_hat``, both along the
  axes of frame a; translation first, as in ROS.

Frozen dataclasses; shapes are checked on construction and arrays are taken as they are, without a copy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ros_matching.datatypes.arrays import concatenated
from ros_matching.datatypes.camera import Camera, DistortionModel
from ros_matching.datatypes.features import Features, ImageTransform, Matches, RelativePose, ScaleState
from ros_matching.datatypes.frame import Frame, RightImage
from ros_matching.datatypes.grid import OccupancyGrid
from ros_matching.datatypes.imu import ImuNoise, ImuRecording, ImuSamples
from ros_matching.datatypes.keyframe import DepthMap, Keyframe, PointCloud
from ros_matching.datatypes.mesh import Mesh

if TYPE_CHECKING:
    from ros_matching.datatypes.arrays import Array as Array

__all__ = [
    "Camera",
    "DepthMap",
    "DistortionModel",
    "Features",
    "Frame",
    "ImageTransform",
    "ImuNoise",
    "ImuRecording",
    "ImuSamples",
    "Keyframe",
    "Matches",
    "Mesh",
    "OccupancyGrid",
    "PointCloud",
    "RelativePose",
    "RightImage",
    "ScaleState",
    "concatenated",
]
