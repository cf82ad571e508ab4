"""The tracker: poses of frames, and keyframes for the back end."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np

from ros_matching.atlas.atlas import Atlas
from ros_matching.atlas.config import TrackingConfig
from ros_matching.atlas.keyframes import MapKeyframe
from ros_matching.atlas.known_place import KnownStart, OfferedPlace
from ros_matching.atlas.local_map import LocalMapState
from ros_matching.atlas.map_update import MapAdjuster, MapBackEnd
from ros_matching.datatypes import Features, Frame, Keyframe
from ros_matching.inertial.imu import Imu
from ros_matching.matching.masked_features import extract_features
from ros_matching.matching.pipeline import MatchingPipeline
from ros_matching.odometry.active_map import ActiveMap
from ros_matching.odometry.camera_motion import CameraMotion
from ros_matching.odometry.frame_localization import FrameLocalization, FrameLocalizer
from ros_matching.odometry.input_checks import InputChecks
from ros_matching.odometry.keyframe_insertion import KeyframeInserter
from ros_matching.odometry.keyframe_policy import median_parallax_deg
from ros_matching.odometry.length_check import LengthCheck
from ros_matching.odometry.localization import Localizer
from ros_matching.odometry.lost_camera import LostCamera
from ros_matching.odometry.map_exchange import MapExchange
from ros_matching.odometry.map_initializer import InitialMap, MapInitializer
from ros_matching.odometry.map_starter import MapStarter
from ros_matching.odometry.pose_estimator import PoseEstimator
from ros_matching.odometry.relocalization import Relocalizer
from ros_matching.odometry.result import TrackingResult, TrackingStatus
from ros_matching.odometry.tracking_report import TrackingReporter
from ros_matching.scale.scale_estimator import ScaleEstimator
from ros_matching.scale.scale_measurement import LocalizedView
from ros_matching.stages import StageTimer
from ros_matching.uncertainty.pose_uncertainty import PoseUncertainty

_LOG = logging.getLogger(__name__)

# With no more keyframes than this in the map, a frame waits for any update: else track or scale could be lost.
_YOUNG_KEYFRAMES = 4


class Tracker:
    """Tracks the frames of one camera; keyframes go to the back end, whose updates are applied between frames.

    ``track`` has the order of a frame, the parts have its steps: ``FrameLocalizer`` and ``LostCamera`` localise,
    ``MapStarter`` starts maps, ``KeyframeInserter`` extends them, ``CameraMotion`` keeps the last pose.
    """

    def __init__(
        self,
        matcher: MatchingPipeline,
        config: TrackingConfig,
        scale: ScaleEstimator,
        back_end: MapBackEnd,
        adjuster: MapAdjuster,
        stages: StageTimer,
        imu: Imu | None = None,
        first_keyframe_id: int = 0,
    ) -> None:
        self._matcher = matcher
        self._config = config
        self._scale = scale
        self._stages = stages
        self._input_checks = InputChecks()
        self._uncertainty = PoseUncertainty()
        self._poses = PoseEstimator(config, self._uncertainty, adjuster)
        self._motion = CameraMotion(imu, self._uncertainty, scale)
        self._lengths = LengthCheck()
        # Maps
        self._atlas = atlas = Atlas()
        self._report = TrackingReporter(atlas)
        self._exchange = MapExchange(atlas, self._uncertainty, scale, back_end, stages, self._motion.correct)
        self._active = ActiveMap(atlas, self._exchange, scale, self._uncertainty, self._poses)
        self._keyframes = KeyframeInserter(matcher, self._active, self._exchange, config, stages)
        # Localisation and start of maps
        localizer = Localizer(matcher, config, stages)
        relocalizer = Relocalizer(matcher, localizer, config, stages)
        self._localizer = FrameLocalizer(self._active, self._motion, self._exchange, localizer, relocalizer, config)
        self._lost = LostCamera(atlas, self._active, self._motion, self._localizer, localizer, relocalizer, config)
        self._starter = MapStarter(
            atlas,
            self._active,
            self._motion,
            self._uncertainty,
            MapInitializer(matcher, adjuster, config, stages),
            relocalizer,
            config,
        )
        self.reset(first_keyframe_id)

    def reset(self, first_keyframe_id: int = 0, world_from_camera: np.ndarray | None = None) -> None:
        """Start a new odometry with the next frame: at the origin, or at a pose (4, 4).

        Keyframe ids start at the given one.
        """
        self.features: Features | None = None  # of the last frame
        self._is_weak = False  # few landmarks determine the last pose
        self._lost.frames = 0
        self._exchange.reset()
        self._atlas.reset(first_keyframe_id)
        self._input_checks.reset()
        self._starter.reset(world_from_camera)
        self._scale.reset()
        self._motion.reset()
        self._lengths.reset()

    def track(self, frame: Frame) -> TrackingResult:
        """Track the next frame; see ``VisualOdometry.track``."""
        self._input_checks.require(frame)
        # Extract features
        with self._stages("extract"):
            self.features = features = extract_features(self._matcher, frame)
        self._motion.wait_for(frame.stamp_ns)  # the samples have come while the features were extracted
        # Apply what the back end finished since the last frame
        self._catch_up_with_back_end()
        # Localise in the map: at an offered place, near the prediction, or as a lost camera
        found = self._localize(frame, features)
        # Extend the map, or start one
        if found is not None:
            result = self._follow(frame, features, found)
        else:
            result = self._start(frame, features) if self._atlas.active is None else self._lose(frame, features)
            result = replace(result, new_keyframes=self._exchange.take_mapped()).with_scale(self._scale.report)
        # Report
        return replace(
            result,
            calibration_doubt=self._uncertainty.calibration_doubt,
            stage_ms=self._stages.take(),
            mapping_ms=self._exchange.take_mapping_ms(),
        )

    def offer(self, offered: OfferedPlace) -> None:
        """Continue at a known place if the next frame is localised there; ``known_start`` is then that start."""
        self._starter.offer(offered)

    @property
    def known_start(self) -> KnownStart | None:
        """The last start of a map at a known place."""
        return self._starter.known_start

    def finish(self) -> tuple[Keyframe, ...]:
        """Wait for the back end; returns the keyframes that were mapped since the last result."""
        self._exchange.finish()
        return tuple(replace(k, scale=self._scale.report.state) for k in self._exchange.take_mapped())

    # The active map, for reading

    def keyframe_poses(self) -> dict[int, np.ndarray]:
        """Return the adjusted ``world_from_camera`` of the keyframes in the active map, by id."""
        return self._atlas.keyframe_poses()

    def current_keyframes(self) -> tuple[Keyframe, ...]:
        """Return the current state of the keyframes in the active map: it changes after they were delivered."""
        return self._exchange.exported(*self._own_keyframes())

    def map_state(self) -> LocalMapState | None:
        """Return a copy of the active map for reading; ``None`` before the first."""
        return None if self._atlas.active is None else self._atlas.active.state()

    def keyframe_ids(self) -> list[int]:
        """Return the ids of the keyframes in the active map, in the order of time, without restored ones."""
        return [keyframe.id for keyframe in self._own_keyframes()]

    def newest_keyframe(self) -> MapKeyframe | None:
        """Return the newest keyframe of the active map, which the caller must not change; ``None`` before the first."""
        return None if self._atlas.active is None else self._atlas.active.keyframes[-1]

    def _own_keyframes(self) -> list[MapKeyframe]:
        keyframes = () if self._atlas.active is None else self._atlas.active.keyframes
        return [keyframe for keyframe in keyframes if not keyframe.is_restored]

    # Steps of a frame

    def _catch_up_with_back_end(self) -> None:
        """Apply what the back end finished since the last frame, and wait where the next pose depends on it."""
        active = self._atlas.active
        self._exchange.update(wait=active is not None and len(active.keyframes) <= _YOUNG_KEYFRAMES)
        if self._is_weak:
            self._exchange.wait_for_adjustment()

    def _localize(self, frame: Frame, features: Features) -> FrameLocalization | None:
        """Localise at a place that was offered, else in the active map, else in an inactive one."""
        found = self._starter.at_offered_place(features)
        if found is not None or self._atlas.active is None:
            return found
        if self._lost.frames:
            return self._lost.return_to_map(frame, features)
        return self._localizer.localize(frame, features)

    def _follow(self, frame: Frame, features: Features, found: FrameLocalization) -> TrackingResult:
        """Return the result of a localised frame; extends the map if the frame becomes a keyframe."""
        localization = found.localization
        # Estimate and motion in the current map
        parallax = median_parallax_deg(self._atlas.active, localization)
        reason = self._remark(found)
        if found.is_relocalized:
            self._starter.reset_reference()
        estimate = self._poses.of_image(self._atlas.active, localization)
        motion = None if found.is_relocalized else self._motion.motion_to(estimate)
        observed_ids = localization.landmark_ids
        self._is_weak = self._localizer.is_weak(localization)
        # Decide on a keyframe
        is_keyframe = self._keyframes.needs_keyframe(localization, features)
        if is_keyframe:
            with self._stages("map"):
                keyframe_id = self._keyframes.insert(frame, features, localization)
                if self._is_weak:  # the next pose, and its scale, depend on the landmarks of this keyframe
                    self._exchange.wait_for_adjustment()
                mapped = self._exchange.newly_mapped(keyframe_id)
                if mapped is not None:
                    observed_ids = mapped.landmark_ids
                    before = None if self._exchange.merge_reason else localization
                    estimate = self._poses.of_keyframe(self._atlas.active, mapped, before)
                    motion = None if self._exchange.merge_reason else motion
        elif not localization.rotation_only:
            self._keyframes.choose_reference(localization)
        # Report
        pose = self._motion.add(frame.stamp_ns, estimate, motion)
        doubt = self._lengths.add(
            pose.previous_from_current,
            pose.relative_covariance,
            self._atlas.active.typical_depth,
            self._uncertainty.scale_variance,
        )
        reason = self._exchange.take_merge_reason() or reason or doubt
        self._lost.frames = 0
        result = replace(
            self._report.tracked(frame, features, localization, pose, reason),
            parallax_deg=parallax,
            new_keyframes=self._exchange.take_mapped(),
        )
        view = LocalizedView(frame, features, estimate.camera_from_world, observed_ids)
        return self._measure_scale(view, result, is_keyframe=is_keyframe)

    def _remark(self, found: FrameLocalization) -> str:
        """Return a remark on the pose of a localised frame; may be empty."""
        if found.is_relocalized:
            number = self._atlas.number
            if self._starter.is_at_known_place:
                return f"map {number} began at a known place"
            if not self._lost.frames:
                return f"relocalised in map {number}, far from the pose that the motion model predicts"
            return f"relocalised in map {number} after {self._lost.frames} frame(s) without a pose"
        if found.localization.rival is not None:
            return "two motions in the view: a large body moves by itself, or a part moves with the camera"
        return ""

    def _measure_scale(self, view: LocalizedView, result: TrackingResult, *, is_keyframe: bool) -> TrackingResult:
        """Measure the scale and rescale the map for the next frames; the result remains in the old scale."""
        before = self._scale.report
        with self._stages("scale"):
            change = self._scale.observe(self._atlas.active, view, is_keyframe)
        after = self._scale.report
        if change != 1.0:
            self._atlas.active.rescale(change, about=result.world_from_camera[:3, 3])
            self._uncertainty.rescale(change, self._atlas.active)
            self._motion.rescale(change)
        # A new measurement applies to the next results, unless it increases the uncertainty
        return result.with_scale(before if after.std < before.std else after, change)

    def _start(self, frame: Frame, features: Features) -> TrackingResult:
        """Try to start a map with this frame as the second view; before the first map, follow a pure rotation."""
        is_first = self._atlas.active is None
        with self._stages("initialize"):
            outcome = self._starter.from_views(frame, features)
            if isinstance(outcome, InitialMap):
                return self._enter(outcome)
        few_matches = outcome.matches < self._config.init_min_matches
        result = self._report.initializing(frame, features, outcome, few_matches=few_matches)
        rotated = self._starter.pose_by_rotation(outcome) if is_first else None
        return result if rotated is None else self._report.rotated(result, rotated)

    def _enter(self, initial: InitialMap) -> TrackingResult:
        """Return the result of the second view of a new map."""
        frame = initial.keyframe.frame
        estimate = self._poses.of_keyframe(initial.local_map, initial.keyframe)
        pose = self._motion.add(frame.stamp_ns, estimate)
        self._lost.frames = 0
        result = self._report.started(initial, pose, self._scale.report.state)
        if result.reason:
            _LOG.warning("frame %d: %s", frame.index, result.reason)
        return result

    def _lose(self, frame: Frame, features: Features) -> TrackingResult:
        """Return the result of a frame without a pose; after a number of lost frames, try to start a new map."""
        reason = self._lost.add(frame, features)
        if self._lost.frames >= self._config.reinitialize_after:
            started = self._start(frame, features)
            if started.status is TrackingStatus.TRACKING:
                return started
        return self._report.lost(frame, features, reason, self._lost.bridged(frame.stamp_ns))
