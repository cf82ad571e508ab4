"""Features of one image, and relations of two images: matches, a relative pose, an image transform."""

from __future__ import annotations

import enum
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ros_matching.datatypes.arrays import check_pose, check_shape
from ros_matching.errors import DataTypeError

if TYPE_CHECKING:
    from ros_matching.datatypes.arrays import Array

_TYPICAL_STD_PX = 0.4  # of refined points on real video


@dataclass(frozen=True)
class Features:
    """Keypoints of one image with their descriptors, on the device of their extractor.

    ``keypoints`` (N, 2) pixels, ``scores`` (N,), ``descriptors`` (N, D): NumPy arrays or torch tensors. ``extractor``
    is its name; matchers accept no features of others. Optional, for the stages of a matcher that need them: the
    ``dense_map`` (D, h, w), the ``grey`` image (H, W) uint8, and the ``cells`` (D, 15, 15), averages of the map.
    Features of a map that was kept are ``is_restored``: they never have these, and such stages leave them out.
    """

    keypoints: Array
    scores: Array
    descriptors: Array
    extractor: str
    dense_map: Any | None = None
    grey: Any | None = None
    cells: Any | None = None
    is_restored: bool = False

    def __post_init__(self) -> None:
        count = len(self.keypoints)
        check_shape("Features.keypoints", self.keypoints, (count, 2))
        check_shape("Features.scores", self.scores, (count,))
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

    def with_keypoints(self, points_px: np.ndarray) -> Features:
        """Return the same features with keypoints at other pixels (N, 2)."""
        if isinstance(self.keypoints, np.ndarray):
            return replace(self, keypoints=points_px)
        import torch

        return replace(self, keypoints=torch.from_numpy(points_px).to(self.keypoints))

    def select(self, rows: np.ndarray) -> Features:
        """Return the features of row numbers (K,), with the maps of the whole image."""
        if isinstance(self.keypoints, np.ndarray):
            index: Any = rows
        else:
            import torch

            index = torch.from_numpy(rows).to(self.keypoints.device)
        return replace(
            self,
            keypoints=self.keypoints[index],
            scores=self.scores[index],
            descriptors=self.descriptors[index if not isinstance(self.descriptors, np.ndarray) else rows],
        )


@dataclass(frozen=True)
class Matches:
    """Corresponding points of two images.

    ``points0`` and ``points1`` (M, 2) float64 pixels, ``scores`` (M,) in [0, 1]. ``indices0`` and ``indices1`` (M,) are
    the rows of the keypoints in the two ``Features`` (a matcher may refine a point away from its keypoint). ``std_px``
    (M,) are the standard deviations of ``points1`` relative to ``points0`` along each axis; NaN, the default, if
    unknown.
    """

    points0: np.ndarray
    points1: np.ndarray
    scores: np.ndarray
    indices0: np.ndarray
    indices1: np.ndarray
    std_px: np.ndarray | None = None

    def __post_init__(self) -> None:
        count = len(self.points0)
        if self.std_px is None:
            object.__setattr__(self, "std_px", np.full(count, np.nan))
        check_shape("Matches.points0", self.points0, (count, 2))
        check_shape("Matches.points1", self.points1, (count, 2))
        for name in ("scores", "indices0", "indices1", "std_px"):
            check_shape(f"Matches.{name}", getattr(self, name), (count,))

    def __len__(self) -> int:
        return len(self.points0)

    @property
    def weights(self) -> np.ndarray:
        """Relative inverse variances (M,), from the scores and, if known, the standard deviations."""
        return self.scores * np.where(np.isnan(self.std_px), 1.0, (_TYPICAL_STD_PX / self.std_px) ** 2)

    def select(self, rows: np.ndarray) -> Matches:
        """Return the matches of a boolean mask or of row numbers."""
        return Matches(*(getattr(self, field.name)[rows] for field in fields(Matches)))


class ScaleState(enum.Enum):
    """The unit of the lengths of a map; see ``scale.scale_estimator``."""

    UP_TO_SCALE = "up_to_scale"  # arbitrary and drifting
    ANCHORED = "anchored"  # set by a scale source, but too uncertain to be called metres
    METRIC = "metric"  # metres

    def shares_unit(self, later: ScaleState) -> bool:
        """Return True if lengths in this state have the same unit as later ones of the same run."""
        return self is later or ScaleState.UP_TO_SCALE not in (self, later)


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
        check_pose("RelativePose.camera1_from_camera0", self.camera1_from_camera0)
        check_shape("RelativePose.inliers", self.inliers, (len(self.inliers),))
        check_shape("RelativePose.covariance", self.covariance, (6, 6))


_CONTROL_POINTS = np.array([(x, y) for y in (-1.0, 0.0, 1.0) for x in (-1.0, 0.0, 1.0)])


@dataclass(frozen=True)
class ImageTransform:
    """One mapping of the whole image 0 to image 1.

    ``image1_from_image0`` (3, 3) is an affine transformation or homography of pixels. Where there is a ``spline``
    (3, 3, 2), a thin-plate spline moves the points before: where the nine points of a regular grid (rows, columns) go,
    in pixels of image 0. The grid spans ``region0``, the first and last pixel (u, v, u, v) of what the transform was
    estimated on. The spline bends in coordinates from -1 to 1 along its sides.
    """

    image1_from_image0: np.ndarray
    region0: tuple[float, float, float, float]
    spline: np.ndarray | None = None

    def __post_init__(self) -> None:
        check_shape("ImageTransform.image1_from_image0", self.image1_from_image0, (3, 3))
        spline = np.zeros((3, 3, 2)) if self.spline is None else self.spline
        check_shape("ImageTransform.spline", spline, (3, 3, 2))
        if not (np.isfinite(self.image1_from_image0).all() and np.isfinite(spline).all()):
            raise DataTypeError("ImageTransform must be finite; an unknown transform is None")
        if not (self.region0[0] < self.region0[2] < np.inf and self.region0[1] < self.region0[3] < np.inf):
            raise DataTypeError(f"ImageTransform.region0 must run from (u, v) to a larger (u, v), got {self.region0}")

    def map_points(self, points_px: np.ndarray) -> np.ndarray:
        """Pixels (N, 2) of image 0 in image 1; NaN beyond a homography's horizon, by the centre of the region."""
        matrix, middle = self.image1_from_image0, np.reshape(self.region0, (2, 2)).mean(axis=0)
        if self.spline is not None:
            points_px = _spline_basis((points_px - middle) / (self.region0[2:] - middle)) @ self._spline_coefficients
        mapped = points_px @ matrix[:, :2].T + matrix[:, 2]
        visible = mapped[:, 2:] * (matrix[2, :2] @ middle + matrix[2, 2]) > 0
        return mapped[:, :2] / np.where(visible, mapped[:, 2:], np.nan)

    @cached_property
    def _spline_coefficients(self) -> np.ndarray:
        """The weights (12, 2) of the basis functions; those of the kernel have no net force or moment."""
        control = _spline_basis(_CONTROL_POINTS)
        system = np.block([[control], [control[:, 9:].T, np.zeros((3, 3))]])
        return np.linalg.solve(system, np.concatenate([self.spline.reshape(9, 2), np.zeros((3, 2))]))


def _spline_basis(points: np.ndarray) -> np.ndarray:
    """r^2 log r^2 of the distances from points (N, 2) to the control points, then 1, x and y: (N, 12)."""
    squared = np.square(points[:, None] - _CONTROL_POINTS).sum(axis=2)
    kernel = squared * np.log(np.where(squared == 0, 1, squared))
    return np.column_stack([kernel, np.ones(len(points)), points])
