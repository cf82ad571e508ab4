"""Features of one image, and the matches between two."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ros_matching.datatypes.checks import check_shape
from ros_matching.errors import DataTypeError

if TYPE_CHECKING:
    from ros_matching.datatypes.array import Array


_USUAL_SIGMA_PX = 0.4  # of a point that nothing is known of: the middle of what refined ones have on real video


@dataclass(frozen=True)
class Features:
    """Keypoints of one image with their descriptors, on the device of the backend that made them.

    ``keypoints`` (N, 2) pixels, ``scores`` (N,), ``descriptors`` (N, D): NumPy arrays or torch tensors. ``dense_map``
    (D, h, w), the ``grey`` image (H, W) uint8 and the ``cells`` (D, 15, 15) in which the map is averaged only where the
    backend's matcher needs them. ``backend`` names the extractor; matchers refuse others'.
    """

    keypoints: Array
    scores: Array
    descriptors: Array
    backend: str
    dense_map: Any | None = None
    grey: Any | None = None
    cells: Any | None = None

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
    ``sigmas_px`` (M,) are the standard deviations of ``points1`` against ``points0`` along each axis, NaN where not
    known, as all are unless given.
    """

    points0: np.ndarray
    points1: np.ndarray
    scores: np.ndarray
    indices0: np.ndarray
    indices1: np.ndarray
    sigmas_px: np.ndarray | None = None

    def __post_init__(self) -> None:
        count = len(self.points0)
        if self.sigmas_px is None:
            object.__setattr__(self, "sigmas_px", np.full(count, np.nan))
        check_shape("Matches.points0", self.points0, (count, 2))
        check_shape("Matches.points1", self.points1, (count, 2))
        for name in ("scores", "indices0", "indices1", "sigmas_px"):
            check_shape(f"Matches.{name}", getattr(self, name), (count,))

    def __len__(self) -> int:
        return len(self.points0)

    @property
    def weights(self) -> np.ndarray:
        """Relative inverse variances (M,), by the scores and, where it is known, by how exact the points are."""
        return self.scores * np.where(np.isnan(self.sigmas_px), 1.0, (_USUAL_SIGMA_PX / self.sigmas_px) ** 2)

    def select(self, rows: np.ndarray) -> Matches:
        """The matches of a boolean mask or of row numbers."""
        return Matches(*(getattr(self, field.name)[rows] for field in fields(Matches)))

    def joined(self, others: Matches) -> Matches:
        """These matches and others of the same two images, in the order of the keypoints of the first."""
        names = [field.name for field in fields(Matches)]
        columns = [np.concatenate([getattr(self, name), getattr(others, name)]) for name in names]
        return Matches(*columns).select(np.argsort(np.concatenate([self.indices0, others.indices0]), kind="stable"))
