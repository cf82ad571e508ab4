"""Two-view initialisation: wait for parallax, then reconstruct motion and structure from two images.

Standing still and turning on the spot are told apart from motion by the pure-rotation model: as long as it explains the
matches, there is nothing to triangulate and the initialisation waits.

Which of the motions that matches allow is the right one is told by ``motion_selection``; while its verdict could be
chance, as with a plane seen from nearly the same place, the initialisation waits, too. What all matches of two images
have in common, as the shear of a rolling shutter, can look like a motion beyond doubt; so a further image has to find
the same structure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ros_matching.datatypes import Camera, Features, Frame, Matches
from ros_matching.geometry.homography import estimate_rotation
from ros_matching.geometry.two_view import TwoViewGeometry
from ros_matching.matching.two_view import TwoViewMatcher
from ros_matching.stages import StageTimer
from ros_matching.tracking.config import TrackingConfig
from ros_matching.tracking.motion_selection import CompetingMotions, competing_motions
from ros_matching.tracking.turning import Turn, small_motion_from, turn_from, typical_depth

# The parallax that an initial map needs, in standard deviations of the matches' noise: depths are known to a tenth.
_PARALLAX_NOISES = 10.0
# Less than so many of them is none.
_NO_PARALLAX_NOISES = 3.0
# Two reconstructions are of one scene if so many points are in both, and half of their depths agree this well.
_MIN_COMMON = 20
_SAME_DEPTH = 0.1
# A camera that only turns hands the reference on after so much, long before the first image is out of its sight.
_HAND_ON_DEG = 12.0


@dataclass(frozen=True)
class InitialReconstruction:
    """Two frames with their relative geometry, good enough to begin a map with; ``points`` (M,) bool are its points."""

    frame0: Frame
    features0: Features
    frame1: Frame
    features1: Features
    matches: Matches
    geometry: TwoViewGeometry
    points: np.ndarray

    def agrees_with(self, other: InitialReconstruction) -> bool:
        """Whether another one from the same first image has the same structure, up to scale."""
        _, mine, theirs = np.intersect1d(
            self.matches.indices0[self.points], other.matches.indices0[other.points], return_indices=True
        )
        if len(mine) < _MIN_COMMON:
            return False
        ratio = np.log(self._depths[mine] / other._depths[theirs])
        return bool(np.median(np.abs(ratio - np.median(ratio))) < _SAME_DEPTH)

    @property
    def landmark_depth(self) -> float:
        """The median depth of the points in typical ones of the view: far ones have too little parallax for the map."""
        return float(np.median(self._depths) / typical_depth(self.geometry))

    @property
    def _depths(self) -> np.ndarray:
        return self.geometry.points[self.points, 2]


@dataclass(frozen=True)
class Waiting:
    """Why there is no reconstruction yet, and how many matches there were with the reference image.

    ``turn`` from the reference image to this one, if the camera only turned or hardly moved; ``new_reference`` if later
    images are compared with this one.
    """

    reason: str
    matches: int = 0
    parallax_deg: float = float("nan")
    turn: Turn | None = None
    new_reference: bool = False


class TwoViewInitializer:
    """Holds a reference image and tries to reconstruct with each later one, until it is reset."""

    def __init__(self, matcher: TwoViewMatcher, config: TrackingConfig, stages: StageTimer) -> None:
        self._matcher = matcher
        self._config = config
        self._stages = stages
        self._reference: tuple[Frame, Features] | None = None
        self._unconfirmed: InitialReconstruction | None = None  # the last one from that reference

    def reset(self) -> None:
        """Forget the reference image."""
        self._reference = self._unconfirmed = None

    def _refer_to(self, frame: Frame, features: Features) -> None:
        self._reference, self._unconfirmed = (frame, features), None

    def add(self, frame: Frame, features: Features) -> InitialReconstruction | Waiting:
        """Try with this frame as the second view; it becomes the reference where the old one is out of sight."""
        if self._reference is None:
            self._refer_to(frame, features)
            return Waiting("took the first image as the reference", new_reference=True)
        frame0, features0 = self._reference
        camera = frame.camera
        # Not pruned: what fits one motion alone would make it look surer than it is.
        with self._stages(self._matcher.match_stage):
            matches = self._matcher.match_keypoints(features0, features, frame0.camera, camera)
        with self._stages("refine"):
            matches = self._matcher.refined(matches, features0, features)
        if len(matches) < self._config.init_min_matches:
            self._refer_to(frame, features)
            return Waiting(
                f"only {len(matches)} matches with the reference image ({self._config.init_min_matches} needed); "
                "took the current image as the new reference",
                len(matches),
                new_reference=True,
            )
        outcome = self._reconstruct(matches, camera)
        if isinstance(outcome, Waiting):
            turn = outcome.turn
            if turn is None or not turn.rotation_only or turn.angle_deg < _HAND_ON_DEG:
                return outcome
            self._refer_to(frame, features)
            return replace(outcome, new_reference=True)
        found = InitialReconstruction(frame0, features0, frame, features, matches, *outcome)
        before, self._unconfirmed = self._unconfirmed, found
        if before is None or not found.agrees_with(before):
            return Waiting("found a motion that the next image has to confirm", len(matches))
        return found

    def _reconstruct(self, matches: Matches, camera: Camera) -> tuple[TwoViewGeometry, np.ndarray] | Waiting:
        """The motion and the matches (M,) bool that it gives a depth; else why there is none."""
        config, count = self._config, len(matches)
        threshold_px = config.threshold_px(camera)
        turn = self._turn(matches, camera, threshold_px)
        motions = competing_motions(matches, camera, threshold_px)
        if motions is None and turn is None:
            return Waiting("no motion explains the matches", count)
        if motions is None or not motions.beats_rotation or _is_noise(motions):
            reason = "no parallax: the camera stands still, only turns, or sees only far things"
            return Waiting(reason, count, turn=turn)
        best, parallax = motions.best, motions.best.parallax_deg
        if not motions.beats_rivals:
            reason = "two motions explain the matches equally well, as with a plane: move on"
            return Waiting(reason, count, parallax, turn)
        needed = max(config.init_parallax_deg, _PARALLAX_NOISES * motions.noise_deg)
        if not parallax >= needed:
            reason = f"parallax {parallax:.1f} deg of {needed:.1f} deg needed"
            return Waiting(reason, count, parallax, small_motion_from(best.view))
        points = _well_triangulated(best.view, 0.5 * needed)
        if np.count_nonzero(points) < config.init_min_points:
            reason = f"only {np.count_nonzero(points)} points of {config.init_min_points} triangulated"
            return Waiting(reason, count, parallax, turn)
        return best.view, points

    def _turn(self, matches: Matches, camera: Camera, threshold_px: float) -> Turn | None:
        rotation = estimate_rotation(matches.points0, matches.points1, camera, camera, threshold_px)
        if rotation is None or np.count_nonzero(rotation[1]) < self._config.init_min_matches / 2:
            return None
        return turn_from(rotation[0], matches.select(rotation[1]), camera, threshold_px)


def _is_noise(motions: CompetingMotions) -> bool:
    """Whether the best motion's parallax is what the noise of the matches makes of none."""
    return not motions.best.parallax_deg > _NO_PARALLAX_NOISES * motions.noise_deg


def _well_triangulated(geometry: TwoViewGeometry, min_parallax_deg: float) -> np.ndarray:
    """The inliers (M,) bool with enough parallax to have a depth."""
    with np.errstate(invalid="ignore"):
        return geometry.inliers & (geometry.parallax_deg > min_parallax_deg)
