"""The two-view interface: every front end, classical or learned, is a ``TwoViewMatcher``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

from ros_matching.datatypes import Camera, Features, Matches, RelativePose
from ros_matching.errors import MatchingError
from ros_matching.geometry.essential import pose_of_matches

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ros_matching.datatypes import Array


class TwoViewMatcher(ABC):
    """Extracts features of single images and matches them between two, for one backend.

    A tracker extracts once per image and calls ``match_features`` and ``match_guided`` on what it kept; ``match`` and
    ``relative_pose`` are the one-call forms for two images.
    """

    name: str  # of the backend, as given to load_matcher
    nearby_is_all = True  # match_nearby finds what match_keypoints and pruned leave
    match_stage = "match"  # as what the time of match_keypoints counts
    prune_stage = "match"  # as what the time of pruned counts
    guided_max_distance: float  # descriptor distance above which a guided match is refused
    min_side_px: int = 1  # of an image that can have features

    @property
    def features_backend(self) -> str:
        """Whose features are taken: those of this matcher, unless several share an extractor."""
        return self.name

    @abstractmethod
    def extract(self, image: np.ndarray) -> Features:
        """Keypoints and descriptors of an image (H, W, 3) uint8 RGB; possibly none."""

    @abstractmethod
    def match_features(
        self, features0: Features, features1: Features, camera0: Camera | None = None, camera1: Camera | None = None
    ) -> Matches:
        """Matches between two images' features, as good as the backend can; one that prunes needs the cameras."""

    @abstractmethod
    def descriptor_distance(self, descriptors0: Array, descriptors1: Array) -> np.ndarray:
        """Distance (P,) of P pairs of descriptors (P, D), row by row; smaller is more alike.

        Descriptors are what ``extract`` gives, NumPy arrays or torch tensors; the distances are in host memory.
        """

    def similarity(self, descriptors0: Array, descriptors1: Array) -> Array:
        """How alike each of descriptors (N, D) is to each of (M, D), (N, M); larger is more alike.

        For unit vectors their cosine.
        """
        return descriptors0 @ descriptors1.T

    def match_keypoints(
        self,
        features0: Features,
        features1: Features,
        camera0: Camera | None = None,
        camera1: Camera | None = None,
        nearby: Matches | None = None,
    ) -> Matches:
        """As ``match_features``, but neither ``pruned`` nor ``refined``: for who does that later, with some or none.

        ``nearby`` is the result of ``match_nearby`` where it is known; the search for it is not repeated.
        """
        return self.match_features(features0, features1, camera0, camera1) if nearby is None else nearby

    def match_nearby(self, features0: Features, features1: Features) -> Matches:
        """As ``match_keypoints``, in the shortest time: for an image near one of known pose, which known points locate.

        A wrong match costs little there. Matchers of several stages leave out all but the first.
        """
        return self.match_keypoints(features0, features1)

    def pruned(self, matches: Matches, camera0: Camera, camera1: Camera) -> Matches:
        """What ``match_keypoints`` found without those that fit no motion with the rest, and with scores that know it.

        Backends that do not prune keep all as they are.
        """
        return matches

    def refine_points(
        self, features0: Features, features1: Features, points0: np.ndarray, points1: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """``points1`` (M, 2) more exactly where the image 0 around ``points0`` (M, 2) appears in image 1, in pixels.

        With their standard deviations (M,) against ``points0``, along each axis. Backends that do not look at the
        images again leave the points as they are, and do not know the deviations: NaN.
        """
        return points1, np.full(len(points1), np.nan)

    def refined(self, matches: Matches, features0: Features, features1: Features) -> Matches:
        """Matches of keypoints with their second points more exact; see ``refine_points``."""
        points1, sigmas_px = self.refine_points(features0, features1, matches.points0, matches.points1)
        return replace(matches, points1=points1, sigmas_px=sigmas_px)

    def overlaps(self, features: Features, others: Sequence[Features]) -> np.ndarray | None:
        """What share of an image each of some others shows, (K,) from 0 to 1, before any keypoint is matched.

        ``None`` from backends that cannot tell.
        """
        return None

    def match(
        self, rgb0: np.ndarray, rgb1: np.ndarray, camera0: Camera | None = None, camera1: Camera | None = None
    ) -> Matches:
        """Matches between two images (H, W, 3) uint8 RGB."""
        return self.match_features(self.extract(rgb0), self.extract(rgb1), camera0, camera1)

    def relative_pose(
        self, rgb0: np.ndarray, rgb1: np.ndarray, camera0: Camera, camera1: Camera
    ) -> RelativePose | None:
        """The motion between two images with known cameras, up to scale; ``None`` where it is not observable."""
        return pose_of_matches(self.match(rgb0, rgb1, camera0, camera1), camera0, camera1)

    def match_guided(
        self, descriptors: Array, predictions_px: np.ndarray, features: Features, radius_px: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Find known points near where they are predicted to appear in an image.

        ``descriptors`` (L, D) and ``predictions_px`` (L, 2) of the points; candidates are the keypoints of ``features``
        within ``radius_px``. Returns rows of the points and rows of the keypoints, (M,) each; one-to-one, each the
        other's nearest in descriptor distance among the candidates.
        """
        self._check_own(features)
        nothing = np.zeros(0, dtype=np.intp)
        if len(features) == 0 or len(predictions_px) == 0:
            return nothing, nothing
        # As one array: lists of neighbours, one for each point, take three times as long.
        near = cKDTree(predictions_px).sparse_distance_matrix(
            cKDTree(features.keypoints_px), radius_px, output_type="ndarray"
        )
        if len(near) == 0:
            return nothing, nothing
        near = near[np.lexsort((near["j"], near["i"]))]  # equals in descriptor distance: the first
        points, keypoints = near["i"], near["j"]
        distances = self.descriptor_distance(descriptors[points], features.descriptors[keypoints])
        return _mutual_nearest(points, keypoints, distances, self.guided_max_distance)

    def _check_own(self, features: Features) -> None:
        if features.backend != self.features_backend:
            raise MatchingError(
                f"matcher {self.name!r} was given features of {features.backend!r}; extract them with this matcher"
            )


def _mutual_nearest(
    rows: np.ndarray, columns: np.ndarray, distances: np.ndarray, max_distance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Of candidate pairs (P,), those where each is the other's nearest and nearer than ``max_distance``."""
    order = np.argsort(distances, kind="stable")
    order = order[distances[order] < max_distance]
    rows, columns = rows[order], columns[order]
    first_of_row = np.zeros(len(rows), dtype=bool)
    first_of_column = np.zeros(len(rows), dtype=bool)
    first_of_row[np.unique(rows, return_index=True)[1]] = True
    first_of_column[np.unique(columns, return_index=True)[1]] = True
    keep = first_of_row & first_of_column
    return rows[keep], columns[keep]
