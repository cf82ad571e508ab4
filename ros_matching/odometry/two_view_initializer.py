"""Two-view initialisation: wait for parallax, then reconstruct motion and structure from two images.

A rotation model detects standing still and pure rotation: while it explains the matches, nothing can be triangulated
and the initialisation waits.

``motion_selection`` selects among the motions that explain the matches. While the selection is ambiguous, for example
for a plane observed with little parallax, the initialisation waits. A distortion of one image, for example by a rolling
shutter, can look like a motion; therefore a further image must confirm the structure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ros_matching.atlas.config import TrackingConfig
from ros_matching.datatypes import Camera, Features, Frame, Matches
from ros_matching.geometry.homography import estimate_rotation
from ros_matching.geometry.two_view import TwoViewGeometry
from ros_matching.matching.pipeline import MatchingPipeline
from ros_matching.odometry.motion_selection import CompetingMotions, competing_motions
from ros_matching.odometry.pure_rotation import (
    PureRotation,
    pure_rotation_from,
    small_motion_from,
    typical_depth,
    with_rival,
)
from ros_matching.stages import StageTimer

# The parallax that an initial map needs, in standard deviations of its noise: depths within 10 %.
_PARALLAX_STDS = 10.0
# Parallax below this is noise.
_NO_PARALLAX_STDS = 3.0
# Two reconstructions agree if so many points are in both, and the median difference of their depths is below this.
_MIN_COMMON = 20
_SAME_DEPTH = 0.1
# A camera that only rotates gets a new reference image after this rotation, long before the first is out of view.
_NEW_REFERENCE_DEG = 12.0


@dataclass(frozen=True)
class InitialReconstruction:
    """Two frames with a relative geometry good enough for a map; ``points`` (M,) bool are its landmarks."""

    frame0: Frame
    features0: Features
    frame1: Frame
    features1: Features
    matches: Matches
    geometry: TwoViewGeometry
    points: np.ndarray

    def agrees_with(self, other: InitialReconstruction) -> bool:
        """Return True if another one from the same first image has the same structure, up to scale."""
        _, mine, theirs = np.intersect1d(
            self.matches.indices0[self.points], other.matches.indices0[other.points], return_indices=True
        )
        if len(mine) < _MIN_COMMON:
            return False
        ratio = np.log(self._depths[mine] / other._depths[theirs])
        return bool(np.median(np.abs(ratio - np.median(ratio))) < _SAME_DEPTH)

    @property
    def landmark_depth(self) -> float:
        """Median depth of the landmarks in typical depths: far points have too little parallax for the map."""
        return float(np.median(self._depths) / typical_depth(self.geometry))

    @property
    def _depths(self) -> np.ndarray:
        return self.geometry.points[self.points, 2]


@dataclass(frozen=True)
class InitializationPending:
    """The reason why there is no reconstruction yet, and the number of matches with the reference image.

    ``rotation`` from the reference image to this one, if the camera only rotated or hardly moved; ``new_reference`` if
    later images are compared with this one.
    """

    reason: str
    matches: int = 0
    parallax_deg: float = float("nan")
    rotation: PureRotation | None = None
    new_reference: bool = False


class TwoViewInitializer:
    """Keeps a reference image and tries to reconstruct with each later one, until it is reset."""

    def __init__(self, matcher: MatchingPipeline, config: TrackingConfig, stages: StageTimer) -> None:
        self._matcher = matcher
        self._config = config
        self._stages = stages
        self._reference: tuple[Frame, Features] | None = None
        self._unconfirmed: InitialReconstruction | None = None  # the last one from that reference
        self._rival_rad = 0.0  # parallax of a second motion since that reference, if there was one

    def reset(self) -> None:
        """Take the next image as the reference."""
        self._reference = self._unconfirmed = None
        self._rival_rad = 0.0

    def _refer_to(self, frame: Frame, features: Features) -> None:
        self._reference, self._unconfirmed, self._rival_rad = (frame, features), None, 0.0

    def add(self, frame: Frame, features: Features) -> InitialReconstruction | InitializationPending:
        """Try with this frame as the second view; it becomes the reference where the old one is out of view."""
        if self._reference is None:
            self._refer_to(frame, features)
            return InitializationPending("took the first image as the reference", new_reference=True)
        frame0, features0 = self._reference
        camera = frame.camera
        # Not pruned: matches selected with one motion would bias the selection towards it
        with self._stages(self._matcher.consensus.stage):
            matches = self._matcher.feature_matcher.match(features0, features)
            matches = self._matcher.consensus.filter(matches, features0, features)
        with self._stages("refine"):
            matches = self._matcher.refiner.refine(matches, features0, features)
        if len(matches) < self._config.init_min_matches:
            self._refer_to(frame, features)
            return InitializationPending(
                f"only {len(matches)} matches with the reference image ({self._config.init_min_matches} needed); "
                "took the current image as the new reference",
                len(matches),
                new_reference=True,
            )
        outcome = self._reconstruct(matches, camera)
        if isinstance(outcome, InitializationPending):
            rotation = outcome.rotation
            if rotation is None or not rotation.rotation_only or rotation.angle_deg < _NEW_REFERENCE_DEG:
                return outcome
            self._refer_to(frame, features)
            return replace(outcome, new_reference=True)
        found = InitialReconstruction(frame0, features0, frame, features, matches, *outcome)
        previous, self._unconfirmed = self._unconfirmed, found
        if previous is None or not found.agrees_with(previous):
            return InitializationPending("found a motion that the next image has to confirm", len(matches))
        return found

    def _reconstruct(
        self, matches: Matches, camera: Camera
    ) -> tuple[TwoViewGeometry, np.ndarray] | InitializationPending:
        """Return the motion and the triangulated matches (M,) bool, or the reason why there is none."""
        config, count = self._config, len(matches)
        threshold_px = config.threshold_px(camera)
        rotation = self._pure_rotation(matches, camera, threshold_px)
        motions = competing_motions(matches, camera, threshold_px)
        if motions is None and rotation is None:
            return InitializationPending("no motion explains the matches", count)
        if motions is None or not motions.beats_rotation or _is_noise(motions):
            reason = "no parallax: the camera stands still, only rotates, or the scene is far"
            if rotation is not None and rotation.has_rival:
                reason = "two motions in the view: a large body moves by itself, or a part moves with the camera"
            return InitializationPending(reason, count, rotation=rotation)
        best, parallax = motions.best, motions.best.parallax_deg
        if not motions.beats_rivals:
            reason = "two motions explain the matches equally well, as with a plane: move on"
            return InitializationPending(reason, count, parallax, rotation)
        needed = max(config.init_parallax_deg, _PARALLAX_STDS * motions.noise_deg)
        if not parallax >= needed:
            reason = f"parallax {parallax:.1f} deg of {needed:.1f} deg needed"
            return InitializationPending(reason, count, parallax, small_motion_from(best.view))
        points = _well_triangulated(best.view, 0.5 * needed)
        if np.count_nonzero(points) < config.init_min_points:
            reason = f"only {np.count_nonzero(points)} points of {config.init_min_points} triangulated"
            return InitializationPending(reason, count, parallax, rotation)
        return best.view, points

    def _pure_rotation(self, matches: Matches, camera: Camera, threshold_px: float) -> PureRotation | None:
        rotation = estimate_rotation(matches.points0, matches.points1, camera, camera, threshold_px)
        if rotation is None or np.count_nonzero(rotation[1]) < self._config.init_min_matches / 2:
            return None
        found = pure_rotation_from(rotation[0], matches.select(rotation[1]), camera, threshold_px)
        if found is None:
            return None
        found = with_rival(found, matches.select(~rotation[1]), len(matches), camera, threshold_px)
        if found.has_rival:
            self._rival_rad = max(self._rival_rad, found.parallax_rad)
        if self._rival_rad > found.parallax_rad:  # the rest of the view may have left it since
            found = replace(found, parallax_rad=self._rival_rad, has_rival=True)
        return found


def _is_noise(motions: CompetingMotions) -> bool:
    """Return True if the parallax of the best motion could be noise."""
    return not motions.best.parallax_deg > _NO_PARALLAX_STDS * motions.noise_deg


def _well_triangulated(geometry: TwoViewGeometry, min_parallax_deg: float) -> np.ndarray:
    """Return the inliers (M,) bool with enough parallax for a depth."""
    with np.errstate(invalid="ignore"):
        return geometry.inliers & (geometry.parallax_deg > min_parallax_deg)
