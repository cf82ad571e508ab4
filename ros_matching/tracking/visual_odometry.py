"""Monocular visual odometry: ``VisualOdometry(matcher).track(frame)`` for one frame after the other."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np

from ros_matching.datatypes import Features, Frame, Keyframe
from ros_matching.geometry.se3 import invert
from ros_matching.matching.two_view import TwoViewMatcher
from ros_matching.stages import StageTimer
from ros_matching.tracking.beginning import Beginning, BegunMap, Place
from ros_matching.tracking.config import TrackingConfig
from ros_matching.tracking.continuity import Continuity
from ros_matching.tracking.diagnosis import unusable_image, what_is_wrong
from ros_matching.tracking.initialisation import Waiting
from ros_matching.tracking.keyframes import median_parallax_deg, needs_keyframe
from ros_matching.tracking.local_map import NO_LANDMARK, LocalMap, MapKeyframe
from ros_matching.tracking.local_mapping import LocalMapper
from ros_matching.tracking.localization import Localization, Localizer
from ros_matching.tracking.maps import Maps
from ros_matching.tracking.pose_belief import PoseBelief
from ros_matching.tracking.posed_frame import PosedFrame, is_jump
from ros_matching.tracking.recovery import Recovery
from ros_matching.tracking.result import TrackingCounts, TrackingResult, TrackingStatus
from ros_matching.tracking.scale import ScaleEstimator
from ros_matching.tracking.scale_measurement import PosedView
from ros_matching.tracking.uncertainty import PoseUncertainty, jump_covariance

_LOG = logging.getLogger(__name__)


class VisualOdometry:
    """Tracks one camera through its images, in metres or up to scale.

    The world is the first image's camera frame. The unit of length is the metre once ``scale`` has found it (see
    ``tracking.scale_anchors``); until then, or without it, the median depth of the first landmarks. A frame without a
    trustworthy pose has status INITIALIZING or LOST and no pose. Constant memory: the local map is bounded. Not
    thread-safe: one frame at a time.
    """

    def __init__(
        self, matcher: TwoViewMatcher, config: TrackingConfig | None = None, scale: ScaleEstimator | None = None
    ) -> None:
        self._matcher = matcher
        self._scale = scale or ScaleEstimator()
        self._config = config or TrackingConfig()
        self._stages = StageTimer()
        self._localizer = Localizer(matcher, self._config, self._stages)
        self._mapper = LocalMapper(matcher, self._config, self._stages)
        self._beginning = Beginning(matcher, self._mapper, self._config, self._stages)
        self._continuity = Continuity()
        self._recovery = Recovery(matcher, self._localizer, self._config, self._stages)
        self._uncertainty = PoseUncertainty()
        self._maps = Maps(self._recovery, self._uncertainty, self._scale)
        self.reset()

    def reset(self) -> None:
        """Forget everything; the next frame begins a new world."""
        self._continuity.reset()
        self._reference: MapKeyframe | None = None
        self._last: PosedFrame | None = None
        self._lost_frames = 0
        self._maps.reset()
        self._beginning.reset()
        self._scale.reset()

    def track(self, frame: Frame) -> TrackingResult:
        """Process the next frame; frames come in order of time, from one camera.

        Raises ``TrackingError`` where the camera or the order of time changed without a ``reset``.
        """
        self._continuity.require(frame)
        with self._stages("extract"):
            features = self._matcher.extract(frame.image)
        localization = None if self._map is None else self._localize(frame, features)
        if localization is not None:
            result = self._follow(frame, features, localization)
        else:
            result = self._initialize(frame, features) if self._map is None else self._lose(frame, features)
            result = self._scale.report.told_in(result)
        return replace(result, stage_ms=self._stages.take())

    @property
    def _map(self) -> LocalMap | None:
        return self._maps.current

    def keyframe_poses(self) -> dict[int, np.ndarray]:
        """``world_from_camera`` of the keyframes in the local map, by id: adjusted since they were delivered."""
        return self._maps.keyframe_poses()

    def current_keyframes(self) -> tuple[Keyframe, ...]:
        """The keyframes in the local map as they are now: poses and landmarks change after they were delivered."""
        return () if self._map is None else self._delivered(*self._map.keyframes)

    def _measure_scale(self, view: PosedView, result: TrackingResult) -> TrackingResult:
        """Measure the unit, after the result was made in the old one, and scale the map for the frames that follow."""
        before = self._scale.report
        with self._stages("scale"):
            change = self._scale.observe(self._map, view, bool(result.new_keyframes))
        after = self._scale.report
        if change != 1.0:
            self._map.rescale(change, about=result.world_from_camera[:3, 3])
            self._uncertainty.rescale(change)
            self._last = self._last.rescaled(change)
        # What was just found out is true of the results to come, except that it was worse than thought.
        return (before if after.sigma < before.sigma else after).told_in(result, change)

    def _localize(self, frame: Frame, features: Features) -> Localization | None:
        """The pose in the map, from the reference keyframe or, failing that, from any; else in a map left before."""
        if self._lost_frames:
            self._lost_frames += 1
            return self._recovery.search(self._map, features) or self._maps.return_to_left(features)
        prediction = self._last.predicted(frame.stamp_ns)
        found = self._localizer.localize(self._map, features, self._reference, prediction, self._config.min_inliers)
        if not self._is_plausible(found, prediction):
            found = self._recovery.search(self._map, features)
            if not self._is_plausible(found, prediction):
                self._lost_frames = 1  # even if found: the motion up to here is not known
        return found

    def _is_plausible(self, found: Localization | None, prediction: np.ndarray) -> bool:
        return found is not None and not is_jump(prediction, found.camera_from_world, self._map.typical_depth)

    def _follow(self, frame: Frame, features: Features, localization: Localization) -> TrackingResult:
        """A frame with a pose: extend the map if it is time, and report."""
        counts = self._counts(features, localization)
        parallax = median_parallax_deg(self._map, localization)
        keyframe, told = None, self._told_of_recovery()
        if self._lost_frames:
            self._beginning.forget_reference()
        belief = self._believe(localization)
        motion = self._motion_to(belief)
        if needs_keyframe(self._map, localization, self._config, lambda: self._overlap(localization, features)):
            with self._stages("map"):
                keyframe = self._add_keyframe(frame, features, localization)
                joined = self._maps.join_left(keyframe)
                if joined:
                    self._adjust(keyframe)
                belief = self._believe_keyframe(keyframe, None if joined else localization)
            if joined:
                motion, told = None, joined
            self._reference = keyframe
        elif not localization.rotation_only:
            self._reference = self._best_reference(localization)
        result = replace(
            self._posed_result(frame, belief, motion),
            reason=told,
            counts=replace(counts, landmarks=len(self._map.positions), keyframes=len(self._map.keyframes)),
            parallax_deg=parallax,
            rotation_only=localization.rotation_only,
            new_keyframes=() if keyframe is None else self._delivered(keyframe),
            reference_points_px=localization.matches.points0,
            tracked_points_px=localization.matches.points1,
        )
        seen = localization.landmark_ids if keyframe is None else keyframe.landmark_ids
        return self._measure_scale(PosedView(frame, features, belief.camera_from_world, seen), result)

    def _told_of_recovery(self) -> str:
        if not self._lost_frames:
            return ""
        if self._lost_frames == 1:
            return f"found in map {self._maps.number} far from where the motion before leads to"
        return f"found again in map {self._maps.number} after {self._lost_frames - 1} frame(s) without a pose"

    def _add_keyframe(self, frame: Frame, features: Features, localization: Localization) -> MapKeyframe:
        keyframe = self._map.add_keyframe(
            frame,
            features.moved(localization.points_px),
            localization.camera_from_world,
            localization.landmark_ids.copy(),
            localization.weights.copy(),
        )
        self._mapper.extend(self._map, keyframe, {localization.reference.id: localization.matches})
        self._adjust(keyframe)
        return keyframe

    def _adjust(self, keyframe: MapKeyframe) -> None:
        self._mapper.adjust(self._map, keyframe)
        self._note_adjustment(keyframe)

    def _note_adjustment(self, keyframe: MapKeyframe) -> None:
        window = self._mapper.window(self._map, keyframe)
        if window is not None:
            self._uncertainty.adjusted(self._map, window)

    def _believe(self, localization: Localization) -> PoseBelief:
        """What the tracker knows of the error of a pose in the map as it is."""
        pose = localization.camera_from_world
        if localization.covariance is not None:
            return self._uncertainty.independent(pose, localization.covariance)
        rows = np.flatnonzero(localization.landmark_ids != NO_LANDMARK)
        threshold_px = self._config.threshold_px(self._map.camera)
        return self._uncertainty.localized(
            self._map,
            pose,
            localization.landmark_ids[rows],
            localization.points_px[rows],
            threshold_px,
            localization.weights[rows],
        )

    def _believe_keyframe(self, keyframe: MapKeyframe, localization: Localization | None = None) -> PoseBelief:
        """The same of a keyframe, after the adjustment."""
        covariance = None if localization is None else localization.covariance
        points_px = keyframe.features.keypoints_px
        adjusted = Localization(
            keyframe.camera_from_world, covariance, keyframe.landmark_ids, points_px, keyframe.weights, keyframe, None
        )
        return self._believe(adjusted)

    def _overlap(self, localization: Localization, features: Features) -> float | None:
        """The share of the reference's image that this one shows, where the front end can tell."""
        with self._stages("match"):
            overlaps = self._matcher.overlaps(localization.reference.features, [features])
        return None if overlaps is None else float(overlaps[0])

    def _best_reference(self, localization: Localization) -> MapKeyframe:
        """The keyframe that sees the most of what this frame sees; the newer one of equals."""
        shared = self._map.shared_counts(localization.seen)
        return self._map.keyframes[len(shared) - 1 - int(np.argmax(shared[::-1]))]

    def _lose(self, frame: Frame, features: Features) -> TrackingResult:
        """A frame without a pose: say so, and after a while begin a new map where the old one was left."""
        reason = (
            f"{what_is_wrong(frame, features, self._reference.frame)}; lost for {self._lost_frames} frame(s): "
            "show the camera a place it has seen, or move it sideways slowly to begin a new map"
        )
        if self._lost_frames >= self._config.reinitialize_after:
            begun = self._initialize(frame, features)
            if begun.status is TrackingStatus.TRACKING:
                return begun
        return TrackingResult(
            frame.index,
            frame.stamp_ns,
            TrackingStatus.LOST,
            reason,
            counts=self._counts(features),
        )

    def _initialize(self, frame: Frame, features: Features) -> TrackingResult:
        """Try to begin a map with this frame as the second view."""
        with self._stages("initialize"):
            begun = self._beginning.add(frame, features, self._place_of_loss(), self._maps.next_keyframe_id)
            begun = begun if isinstance(begun, Waiting) else self._begin_map(begun)
        if not isinstance(begun, Waiting):
            return begun
        fault = unusable_image(frame, features) if begun.matches < self._config.init_min_matches else ""
        result = TrackingResult(
            frame.index,
            frame.stamp_ns,
            TrackingStatus.INITIALIZING,
            fault or begun.reason,
            counts=replace(self._counts(features), matches=begun.matches),
            parallax_deg=begun.parallax_deg,
        )
        return result if self._map is not None else self._turned_result(result, begun)

    def _turned_result(self, result: TrackingResult, waiting: Waiting) -> TrackingResult:
        """Before the first map: the pose of a camera that has only turned since the first image."""
        continues = self._beginning.has_posed
        turned = self._beginning.turned(waiting)
        if turned is None:
            return result
        self._maps.begin(None, continues=continues)
        previous_from_current, relative_covariance = turned.motion or (None, None)
        return replace(
            result,
            status=TrackingStatus.TRACKING,
            world_from_camera=turned.world_from_camera,
            covariance=turned.covariance,
            previous_from_current=previous_from_current,
            relative_covariance=relative_covariance,
            counts=replace(result.counts, inliers=turned.inliers, maps=self._maps.begun),
            map_id=self._maps.begun,
            rotation_only=turned.rotation_only,
        )

    def _place_of_loss(self) -> Place | None:
        """Where a map stands that is begun now, if there was one before."""
        if self._map is None:
            return None
        world_from_camera, depth = self._last.world_from_camera, self._map.typical_depth
        return Place(world_from_camera, depth, self._uncertainty.drift_after_loss(world_from_camera[:3, 3], depth))

    def _begin_map(self, begun: BegunMap) -> TrackingResult:
        """Go on in a new map."""
        local_map, keyframe, first = begun.local_map, begun.keyframe, begun.views
        self._maps.begin(local_map, continues=begun.continues)
        self._reference, self._last = keyframe, None
        guess = ""
        if self._maps.number > 1:
            guess = f"began map {self._maps.number} after a loss: its place and its scale are guesses"
            _LOG.warning("frame %d: %s", keyframe.frame.index, guess)
        self._uncertainty.begin(local_map.keyframes[0], begun.drift)
        self._note_adjustment(keyframe)
        return replace(
            self._posed_result(keyframe.frame, self._believe_keyframe(keyframe)),
            reason=guess,
            counts=replace(self._counts(first.features1), matches=len(first.matches), inliers=len(keyframe.seen)),
            parallax_deg=float(np.nanmedian(first.geometry.parallax_deg)),
            new_keyframes=self._delivered(*local_map.keyframes),
            reference_points_px=first.matches.points0[first.geometry.inliers],
            tracked_points_px=first.matches.points1[first.geometry.inliers],
        )

    def _delivered(self, *keyframes: MapKeyframe) -> tuple[Keyframe, ...]:
        return tuple(self._map.export(k, self._scale.report.state, self._maps.number) for k in keyframes)

    def _motion_to(self, belief: PoseBelief) -> tuple[np.ndarray, np.ndarray] | None:
        """previous_from_current and its covariance, in the map as it is; ``None`` where the previous frame was lost."""
        if self._last is None or self._lost_frames:
            return None
        motion = self._last.belief.camera_from_world @ invert(belief.camera_from_world)
        return motion, self._uncertainty.relative_covariance(self._last.belief, belief)

    def _posed_result(
        self, frame: Frame, belief: PoseBelief, motion: tuple[np.ndarray, np.ndarray] | None = None
    ) -> TrackingResult:
        """A TRACKING result; ``motion`` is that since the previous frame, before an adjustment moved this one."""
        previous, relative, relative_cov, elapsed_ns = self._last, None, None, 0
        world_from_camera = invert(belief.camera_from_world)
        if motion is not None:
            relative = invert(previous.world_from_camera) @ world_from_camera
            relative_cov = motion[1] + jump_covariance(motion[0], relative)
            elapsed_ns = frame.stamp_ns - previous.stamp_ns
        covariance = self._uncertainty.world_covariance(belief)
        current_from_previous = None if relative is None else invert(relative)
        self._last = PosedFrame(frame.stamp_ns, world_from_camera, belief, current_from_previous, elapsed_ns)
        self._lost_frames = 0
        return TrackingResult(
            frame.index,
            frame.stamp_ns,
            TrackingStatus.TRACKING,
            "",
            map_id=self._maps.number,
            world_from_camera=world_from_camera,
            covariance=covariance,
            previous_from_current=relative,
            relative_covariance=relative_cov,
        )

    def _counts(self, features: Features, localization: Localization | None = None) -> TrackingCounts:
        has_map = self._map is not None
        return TrackingCounts(
            keypoints=len(features),
            matches=0 if localization is None else len(localization.matches),
            inliers=0 if localization is None else localization.inliers,
            landmarks=len(self._map.positions) if has_map else 0,
            keyframes=len(self._map.keyframes) if has_map else 0,
            maps=self._maps.begun,
        )
