"""The nouns of ros_matching, which cross every folder boundary.

Conventions, valid in the whole package:

* Pixels: ``(u, v)``, u to the right, v down; the centre of the top-left pixel is ``(0, 0)``.
* Camera axes: x right, y down, z forward (REP-103 optical frame).
* ``a_from_b`` is the 4x4 rigid transform that maps coordinates of frame b into frame a; it is also the pose of b in a.
* SI units: metres, seconds, radians; names carry other units (``_px``, ``_deg``, ``_ns``, ``_ms``). Monocular lengths
  are in the map's own unit unless ``ScaleState`` says otherwise.
* Unknown is NaN (in arrays) or ``None``, never 0 and never an identity pose.
* Covariance of ``a_from_b`` is (6, 6) over ``(dt, dr)``: ``t = t_hat + dt`` and ``R = Exp(dr) @ R_hat``, both along the
  axes of frame a; translation first, as in ROS.

Frozen dataclasses; shapes are checked on construction and arrays are taken as they are, without a copy.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ros_matching.errors import DataTypeError

if TYPE_CHECKING:
    import torch

    Array = np.ndarray | torch.Tensor


class DistortionModel(enum.Enum):
    """Lens models, by their ROS names (``sensor_msgs/distortion_models.hpp``)."""

    NONE = "none"
    PLUMB_BOB = "plumb_bob"  # k1 k2 p1 p2 k3
    RATIONAL_POLYNOMIAL = "rational_polynomial"  # k1 k2 p1 p2 k3 k4 k5 k6
    EQUIDISTANT = "equidistant"  # k1 k2 k3 k4 (Kannala-Brandt fisheye)


class ScaleState(enum.Enum):
    """What the unit of a length is; ``tracking.scale`` says when which holds."""

    UP_TO_SCALE = "up_to_scale"  # arbitrary and drifting
    ANCHORED = "anchored"  # set by an anchor and held since, but too uncertain to be called metres
    METRIC = "metric"  # metres

    def shares_unit(self, later: ScaleState) -> bool:
        """Whether lengths in this state can be compared with later ones of the same run."""
        return self is later or ScaleState.UP_TO_SCALE not in (self, later)


@dataclass(frozen=True)
class Camera:
    """A camera's intrinsics for images of ``width`` x ``height`` pixels; lengths in pixels.

    ``project`` and ``unproject`` are the pinhole part: images are undistorted once, where they enter
    (``geometry.camera.Undistorter``), and a camera whose distortion is still there refuses them.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion_model: DistortionModel = DistortionModel.NONE
    distortion: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise DataTypeError(f"Camera needs a positive image size, got {self.width}x{self.height}")
        values = (self.fx, self.fy, self.cx, self.cy, *self.distortion)
        if not all(np.isfinite(values)) or self.fx <= 0 or self.fy <= 0:
            raise DataTypeError(
                f"Camera needs finite intrinsics with positive focal lengths, got fx={self.fx} fy={self.fy} "
                f"cx={self.cx} cy={self.cy} distortion={self.distortion}; is the camera calibrated?"
            )

    @property
    def matrix(self) -> np.ndarray:
        """The calibration matrix K, (3, 3)."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])

    @property
    def is_pinhole(self) -> bool:
        """Whether the image follows the pinhole model (no distortion left)."""
        return self.distortion_model is DistortionModel.NONE or not any(self.distortion)

    def project(self, points: np.ndarray) -> np.ndarray:
        """Pixels (N, 2) of points (N, 3) in camera coordinates; NaN for points not in front of the camera."""
        self._require_pinhole()
        z = np.where(points[:, 2] > 0, points[:, 2], np.nan)
        return points[:, :2] / z[:, None] * (self.fx, self.fy) + (self.cx, self.cy)

    def unproject(self, points_px: np.ndarray) -> np.ndarray:
        """Viewing rays (N, 3) with z = 1 of pixels (N, 2)."""
        self._require_pinhole()
        xy = (points_px - (self.cx, self.cy)) / (self.fx, self.fy)
        return np.column_stack([xy, np.ones(len(xy))])

    def scaled(self, width: int, height: int) -> Camera:
        """The same camera for the image resized to ``width`` x ``height`` (pixel centres at integers)."""
        sx, sy = width / self.width, height / self.height
        return replace(
            self,
            width=width,
            height=height,
            fx=self.fx * sx,
            fy=self.fy * sy,
            cx=(self.cx + 0.5) * sx - 0.5,
            cy=(self.cy + 0.5) * sy - 0.5,
        )

    def _require_pinhole(self) -> None:
        if not self.is_pinhole:
            raise DataTypeError(
                f"Camera with {self.distortion_model.value} distortion cannot project as a pinhole; "
                "undistort its images first (ros_matching.geometry.camera.Undistorter)"
            )


@dataclass(frozen=True)
class StereoPartner:
    """What a second camera saw at the time of a ``Frame``: ``image`` (h, w, 3) uint8 RGB, undistorted.

    ``partner_from_camera`` (4, 4), in metres, takes points of the frame's camera into this one.
    """

    image: np.ndarray
    camera: Camera
    partner_from_camera: np.ndarray

    def __post_init__(self) -> None:
        _check_image("StereoPartner", self.image, self.camera)
        _check_pose("StereoPartner.partner_from_camera", self.partner_from_camera)
        if not np.linalg.norm(self.partner_from_camera[:3, 3]) > 0:
            raise DataTypeError("StereoPartner.partner_from_camera has no baseline: its translation is zero")


@dataclass(frozen=True)
class Frame:
    """One camera image, with what is known of it.

    ``image`` (H, W, 3) uint8 RGB. ``true_world_from_camera`` (4, 4), ``depth`` (H, W) float32 metres, NaN unknown and
    registered to the image, and the ``partner`` of a stereo camera come along where the source has them; the tracker
    never reads the first, and the others for the scale alone (``tracking.scale``).
    """

    index: int
    stamp_ns: int
    image: np.ndarray
    camera: Camera
    true_world_from_camera: np.ndarray | None = None
    depth: np.ndarray | None = None
    partner: StereoPartner | None = None

    def __post_init__(self) -> None:
        _check_image(f"Frame {self.index}", self.image, self.camera)
        if self.true_world_from_camera is not None:
            _check_pose("Frame.true_world_from_camera", self.true_world_from_camera)
        if self.depth is not None:
            _check_shape("Frame.depth", self.depth, self.image.shape[:2])


@dataclass(frozen=True)
class Features:
    """Keypoints of one image with their descriptors, on the device of the backend that made them.

    ``keypoints`` (N, 2) pixels, ``scores`` (N,), ``descriptors`` (N, D): NumPy arrays or torch tensors. ``dense_map``
    (D, h, w) and the ``grey`` image (H, W) uint8 only where the backend's matcher needs them. ``backend`` names the
    extractor; matchers refuse others'.
    """

    keypoints: Array
    scores: Array
    descriptors: Array
    backend: str
    dense_map: Any | None = None
    grey: Any | None = None

    def __post_init__(self) -> None:
        count = len(self.keypoints)
        _check_shape("Features.keypoints", self.keypoints, (count, 2))
        _check_shape("Features.scores", self.scores, (count,))
        if len(self.descriptors) != count:
            raise DataTypeError(f"Features: {count} keypoints but {len(self.descriptors)} descriptors")

    def __len__(self) -> int:
        return len(self.keypoints)

    @cached_property
    def keypoints_px(self) -> np.ndarray:
        """The keypoints in host memory, (N, 2) float64; copied from the device once."""
        keypoints = self.keypoints
        if not isinstance(keypoints, np.ndarray):
            keypoints = keypoints.detach().cpu().numpy()
        return keypoints.astype(np.float64)

    def moved(self, points_px: np.ndarray) -> Features:
        """The same features with their keypoints at other pixels (N, 2)."""
        if isinstance(self.keypoints, np.ndarray):
            return replace(self, keypoints=points_px)
        import torch

        return replace(self, keypoints=torch.from_numpy(points_px).to(self.keypoints))


@dataclass(frozen=True)
class Matches:
    """Corresponding points of two images.

    ``points0`` and ``points1`` (M, 2) float64 pixels, ``scores`` (M,) in [0, 1]. ``indices0`` and ``indices1`` (M,) are
    the rows of the keypoints in the two ``Features`` (a matcher may refine a point away from its keypoint).
    """

    points0: np.ndarray
    points1: np.ndarray
    scores: np.ndarray
    indices0: np.ndarray
    indices1: np.ndarray

    def __post_init__(self) -> None:
        count = len(self.points0)
        _check_shape("Matches.points0", self.points0, (count, 2))
        _check_shape("Matches.points1", self.points1, (count, 2))
        for name in ("scores", "indices0", "indices1"):
            _check_shape(f"Matches.{name}", getattr(self, name), (count,))

    def __len__(self) -> int:
        return len(self.points0)

    def select(self, rows: np.ndarray) -> Matches:
        """The matches of a boolean mask or of row numbers."""
        return Matches(
            self.points0[rows], self.points1[rows], self.scores[rows], self.indices0[rows], self.indices1[rows]
        )


@dataclass(frozen=True)
class RelativePose:
    """The motion between two cameras, estimated from ``Matches``.

    ``camera1_from_camera0`` (4, 4); ``inliers`` (M,) bool over the matches; ``covariance`` (6, 6). With
    ``UP_TO_SCALE`` the translation has unit length and its covariance is of the direction alone.
    """

    camera1_from_camera0: np.ndarray
    inliers: np.ndarray
    covariance: np.ndarray
    scale: ScaleState

    def __post_init__(self) -> None:
        _check_pose("RelativePose.camera1_from_camera0", self.camera1_from_camera0)
        _check_shape("RelativePose.inliers", self.inliers, (len(self.inliers),))
        _check_shape("RelativePose.covariance", self.covariance, (6, 6))


@dataclass(frozen=True)
class Keyframe:
    """A frame kept for mapping, with the tracker's triangulated points seen in it.

    ``world_from_camera`` (4, 4) in the tracker's world and unit; ``sparse_points_px`` (S, 2) with ``sparse_depths``
    (S,) along z. ``features`` is ``None`` where only the image travels (over ROS). Between keyframes of different
    ``map_id`` place and unit are guesses; ``id`` counts through all maps.
    """

    id: int
    frame: Frame
    world_from_camera: np.ndarray
    sparse_points_px: np.ndarray
    sparse_depths: np.ndarray
    scale: ScaleState
    features: Features | None = None
    map_id: int = 0

    def __post_init__(self) -> None:
        _check_pose("Keyframe.world_from_camera", self.world_from_camera)
        count = len(self.sparse_depths)
        _check_shape("Keyframe.sparse_points_px", self.sparse_points_px, (count, 2))
        _check_shape("Keyframe.sparse_depths", self.sparse_depths, (count,))


@dataclass(frozen=True)
class PointCloud:
    """Coloured points: ``points`` (N, 3) float, ``colors`` (N, 3) uint8 RGB, ``confidence`` (N,) in [0, 1]."""

    points: np.ndarray
    colors: np.ndarray
    confidence: np.ndarray

    def __post_init__(self) -> None:
        count = len(self.points)
        _check_shape("PointCloud.points", self.points, (count, 3))
        _check_shape("PointCloud.colors", self.colors, (count, 3))
        if self.colors.dtype != np.uint8:
            raise DataTypeError(f"PointCloud.colors must be uint8 RGB, got {self.colors.dtype}")
        _check_shape("PointCloud.confidence", self.confidence, (count,))

    def __len__(self) -> int:
        return len(self.points)


@dataclass(frozen=True)
class DepthMap:
    """Dense depth of one camera image: ``depth`` (H, W) along z, NaN unknown, and ``confidence`` (H, W) in [0, 1]."""

    depth: np.ndarray
    confidence: np.ndarray
    camera: Camera

    def __post_init__(self) -> None:
        shape = (self.camera.height, self.camera.width)
        _check_shape("DepthMap.depth", self.depth, shape)
        _check_shape("DepthMap.confidence", self.confidence, shape)


@dataclass(frozen=True)
class ImageTransform:
    """Where the pixels of image 0 lie in image 1, as one mapping of the whole image.

    ``image1_from_image0`` (3, 3) is an affine transformation or homography of pixels. Where there is a ``spline``
    (3, 3, 2), a thin-plate spline moves the points before: where the nine points of a regular grid (rows, columns) go,
    in pixels of image 0. The grid spans ``region0``, the first and last pixel (u, v, u, v) of what the transform was
    estimated on. The spline bends in coordinates from -1 to 1 along its sides.
    """

    image1_from_image0: np.ndarray
    region0: tuple[float, float, float, float]
    spline: np.ndarray | None = None

    def __post_init__(self) -> None:
        _check_shape("ImageTransform.image1_from_image0", self.image1_from_image0, (3, 3))
        spline = np.zeros((3, 3, 2)) if self.spline is None else self.spline
        _check_shape("ImageTransform.spline", spline, (3, 3, 2))
        if not (np.isfinite(self.image1_from_image0).all() and np.isfinite(spline).all()):
            raise DataTypeError("ImageTransform must be finite; an unknown transform is None")
        if not (self.region0[0] < self.region0[2] < np.inf and self.region0[1] < self.region0[3] < np.inf):
            raise DataTypeError(f"ImageTransform.region0 must run from (u, v) to a larger (u, v), got {self.region0}")

    def map_points(self, points_px: np.ndarray) -> np.ndarray:
        """Pixels (N, 2) of image 0 in image 1; NaN beyond a homography's horizon, as seen from the region's middle."""
        matrix, middle = self.image1_from_image0, np.reshape(self.region0, (2, 2)).mean(axis=0)
        if self.spline is not None:
            points_px = _spline_basis((points_px - middle) / (self.region0[2:] - middle)) @ self._spline_coefficients
        mapped = points_px @ matrix[:, :2].T + matrix[:, 2]
        visible = mapped[:, 2:] * (matrix[2, :2] @ middle + matrix[2, 2]) > 0
        return mapped[:, :2] / np.where(visible, mapped[:, 2:], np.nan)

    @cached_property
    def _spline_coefficients(self) -> np.ndarray:
        """What the basis functions are weighted with, (12, 2); the kernel's weights bend without force or moment."""
        control = _spline_basis(_CONTROL_POINTS)
        system = np.block([[control], [control[:, 9:].T, np.zeros((3, 3))]])
        return np.linalg.solve(system, np.concatenate([self.spline.reshape(9, 2), np.zeros((3, 2))]))


_CONTROL_POINTS = np.array([(x, y) for y in (-1.0, 0.0, 1.0) for x in (-1.0, 0.0, 1.0)])


def concatenated(first: Array, second: Array) -> Array:
    """The rows of both, NumPy arrays or torch tensors alike, on the device they are on."""
    if isinstance(first, np.ndarray):
        return np.concatenate([first, second])
    import torch

    return torch.cat([first, second])


def _spline_basis(points: np.ndarray) -> np.ndarray:
    """r^2 log r^2 of the distances from points (N, 2) to the control points, then 1, x and y: (N, 12)."""
    squared = np.square(points[:, None] - _CONTROL_POINTS).sum(axis=2)
    kernel = squared * np.log(np.where(squared == 0, 1, squared))
    return np.column_stack([kernel, np.ones(len(points)), points])


def _check_image(owner: str, image: np.ndarray, camera: Camera) -> None:
    shape = (camera.height, camera.width, 3)
    if image.shape != shape or image.dtype != np.uint8:
        raise DataTypeError(
            f"{owner}: image must be {shape} uint8 RGB to fit its camera, got {image.shape} {image.dtype}"
        )


def _check_shape(name: str, array: Array, shape: tuple[int, ...]) -> None:
    if tuple(array.shape) != shape:
        raise DataTypeError(f"{name} must have shape {shape}, got {tuple(array.shape)}")


def _check_pose(name: str, pose: np.ndarray) -> None:
    _check_shape(name, pose, (4, 4))
    if not np.isfinite(pose).all():
        raise DataTypeError(f"{name} must be finite, got {pose.tolist()}; an unknown pose is None")
    rotation = pose[:3, :3]
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > 1e-3 or np.linalg.det(rotation) < 0:
        raise DataTypeError(f"{name} must be a rigid transform, got {pose.tolist()}")
