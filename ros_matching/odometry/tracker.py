"""The tracker: poses of frames, and keyframes for the back end."""

from __future__ import annotations

import enum
import logging
from dataclasses import dataclass, replace

import numpy as np

from ros_matching.atlas.atlas import Atlas
from ros_matching.atlas.config import TrackingConfig
from ros_matching.atlas.keyframes import Localization, MapKeyframe
from ros_matching.atlas.known_place import KnownPlace, KnownStart
from ros_matching.atlas.local_map import LocalMap, LocalMapState
from ros_matching.atlas.map_update import MapAdjuster, MapBackEnd, MapCorrection, NewKeyframe
from ros_matching.datatypes import Features, Frame, Keyframe, ScaleState
from ros_matching.geometry.se3 import invert
from ros_matching.geometry.sim3 import rigid_part
from ros_matching.inertial.bridging import BridgedPose
from ros_matching.inertial.imu import Imu
from ros_matching.matching.masked_features import extract_features
from ros_matching.matching.pipeline import MatchingPipeline
from ros_matching.odometry.failure_reason import failure_reason, unusable_image
from ros_matching.odometry.inertial_bridge import InertialBridge
from ros_matching.odometry.input_checks import InputChecks
from ros_matching.odometry.keyframe_policy import median_parallax_deg, needs_keyframe
from ros_matching.odometry.localization import LocalizationQuery, Localizer
from ros_matching.odometry.map_exchange import MapExchange
from ros_matching.odometry.map_initializer import InitialMap, InitialPose, MapInitializer
from ros_matching.odometry.motion_model import ConstantVelocityModel, Prediction, is_jump
from ros_matching.odometry.pose_estimator import PoseEstimator
from ros_matching.odometry.relocalization import Relocalizer
from ros_matching.odometry.result import TrackingCounts, TrackingResult, TrackingStatus
from ros_matching.odometry.two_view_initializer import InitializationPending
from ros_matching.scale.scale_estimator import ScaleEstimator
from ros_matching.scale.scale_measurement import LocalizedView
from ros_matching.stages import StageTimer
from ros_matching.uncertainty.pose_estimate import PoseEstimate
from ros_matching.uncertainty.pose_uncertainty import PoseUncertainty, jump_covariance

_LOG = logging.getLogger(__name__)

_TRIED_INACTIVE = 2  # keyframes of an inactive map that a lost frame is matched with
# A frame waits for the back end to finish if the last pose had fewer inliers than this multiple of the minimum, and for
# its first new landmarks if the map has no more keyframes than this: else the track or the scale could be lost.
_WEAK_INLIERS = 4
_YOUNG_KEYFRAMES = 4
_BRIDGED_JUMP_DEG = 5.0  # a pose farther from the one that the IMU has continued is a jump


class TrackerState(enum.Enum):
    """State of the tracker: without images, with a reference image, with a pose in a map, or with a map but no pose."""

    NOT_INITIALIZED = "not initialized"
    INITIALIZING = "initializing"
    TRACKING = "tracking"
    LOST = "lost"


@dataclass(frozen=True)
class TrackedFrame:
    """The last frame with a pose: the reported pose, and its estimate in the current map."""

    stamp_ns: int
    world_from_camera: np.ndarray
    estimate: PoseEstimate

    def corrected(self, correction: MapCorrection) -> TrackedFrame:
        """Return the frame after an update of the map."""
        pose = correction.applied_to(self.estimate.camera_from_world)
        return replace(self, estimate=replace(self.estimate, camera_from_world=pose))


@dataclass(frozen=True)
class _Found:
    """Outcome of the localisation: ``localization`` and whether the motion since the last pose is unknown."""

    localization: Localization
    relocalized: bool = False


class Tracker:
    """Tracks the frames of one camera; keyframes go to the back end, whose updates are applied between frames."""

    def __init__(
        self,
        matcher: MatchingPipeline,
        config: TrackingConfig,
        scale: ScaleEstimator,
        back_end: MapBackEnd,
        adjuster: MapAdjuster,
        stages: StageTimer,
        imu: Imu | None = None,
    ) -> None:
        self._imu = imu
        self._bridge = InertialBridge(imu)
        self._matcher = matcher
        self._config = config
        self._scale = scale
        self._stages = stages
        self._atlas = Atlas()
        self._input_checks = InputChecks()
        self._localizer = Localizer(matcher, config, stages)
        self._relocalizer = Relocalizer(matcher, self._localizer, config, stages)
        self._initializer = MapInitializer(matcher, adjuster, config, stages)
        self._uncertainty = PoseUncertainty()
        self._poses = PoseEstimator(config, self._uncertainty, adjuster)
        self._exchange = MapExchange(self._atlas, self._uncertainty, scale, back_end, stages, self._correct)
        self.reset()

    def reset(self, first_keyframe_id: int = 0, world_from_camera: np.ndarray | None = None) -> None:
        """Start anew with the next frame: at the origin, or at a pose (4, 4); keyframe ids start at the given one."""
        self.state = TrackerState.NOT_INITIALIZED
        self.features: Features | None = None  # of the last frame
        self._frames_lost = 0  # without a pose, while LOST
        self._previous: TrackedFrame | None = None
        self._motion_model: ConstantVelocityModel | None = None
        self._reference_id = -1
        self._is_weak = False  # the last pose has few landmarks
        self._offered: tuple[KnownPlace, np.ndarray | None, np.ndarray] | None = None
        self.known_start: KnownStart | None = None  # the last one
        self._exchange.reset()
        self._atlas.reset(first_keyframe_id)
        self._input_checks.reset()
        self._initializer.reset(world_from_camera)
        self._scale.reset()
        self._bridge.reset()
        if self._imu is not None:
            self._imu.reset()

    def track(self, frame: Frame) -> TrackingResult:
        """Track the next frame; see ``VisualOdometry.track``."""
        self._input_checks.require(frame)
        # Extract features
        with self._stages("extract"):
            self.features = features = extract_features(self._matcher, frame)
        self._bridge.wait_for(frame.stamp_ns)  # the samples have come while the features were extracted
        # Apply what the back end finished since the last frame
        self._catch_up_with_back_end()
        # Localise in the map: motion model and reference keyframe, else relocalisation
        found = self._continue_at_known_place(features)
        if found is None and self._map is not None:
            found = self._localize(frame, features)
        # Extend the map, or initialise one
        if found is not None:
            result = self._follow(frame, features, found)
        else:
            result = self._initialize(frame, features) if self._map is None else self._lose(frame, features)
            result = replace(result, new_keyframes=self._exchange.take_mapped()).with_scale(self._scale.report)
        # Report
        return replace(result, stage_ms=self._stages.take(), mapping_ms=self._exchange.take_mapping_ms())

    def offer(self, place: KnownPlace, world_from_map: np.ndarray | None, pose: np.ndarray) -> None:
        """Continue at a known place if the next frame is localised there: then ``known_start`` tells of it.

        ``world_from_map`` (4, 4) is a similarity; if it is unknown, that frame gets the given ``pose`` (4, 4), and the
        map keeps its unit.
        """
        self._offered = place, world_from_map, pose

    def finish(self) -> tuple[Keyframe, ...]:
        """Wait for the back end; returns the keyframes that were mapped since the last result."""
        self._exchange.finish()
        return tuple(replace(k, scale=self._scale.report.state) for k in self._exchange.take_mapped())

    def keyframe_poses(self) -> dict[int, np.ndarray]:
        """Return the adjusted ``world_from_camera`` of the keyframes in the active map, by id."""
        return self._atlas.keyframe_poses()

    def current_keyframes(self) -> tuple[Keyframe, ...]:
        """Return the current state of the keyframes in the active map: it changes after they were delivered."""
        return (
            () if self._map is None else self._exchange.exported(*(k for k in self._map.keyframes if not k.is_restored))
        )

    def map_state(self) -> LocalMapState | None:
        """Return a copy of the active map for reading; ``None`` before the first."""
        return None if self._map is None else self._map.state()

    def keyframe_ids(self) -> list[int]:
        """Return the ids of the keyframes in the active map, in the order of time, without restored ones."""
        return [] if self._map is None else [k.id for k in self._map.keyframes if not k.is_restored]

    def newest_keyframe(self) -> MapKeyframe | None:
        """Return the newest keyframe of the active map, which the caller must not change; ``None`` before the first."""
        return None if self._map is None else self._map.keyframes[-1]

    @property
    def _map(self) -> LocalMap | None:
        return self._atlas.active

    @property
    def _reference(self) -> MapKeyframe:
        """The keyframe that frames are matched with; the newest if it is no longer in the map."""
        return self._map.keyframe(self._reference_id) or self._map.keyframes[-1]

    # Localisation

    def _localize(self, frame: Frame, features: Features) -> _Found | None:
        """Localise in the active map, by the motion model or by relocalisation; else in an inactive map."""
        if self.state is TrackerState.LOST:
            found = self._localize_by_bridge(frame, features) or self._relocalize(frame, features)
            found = found or self._return_to_inactive(frame, features)
            return None if found is None else _Found(found, relocalized=True)
        found, prediction = self._localize_by_prediction(frame, features)
        while found is None and not self._exchange.is_idle:
            # Wait for new landmarks before the track is lost
            self._exchange.update(wait=True)
            found, prediction = self._localize_by_prediction(frame, features)
        if found is not None:
            return _Found(found)
        found = self._relocalize(frame, features)
        # A jump from the prediction means that the motion since the last pose is unknown
        return None if found is None else _Found(found, relocalized=not self._is_plausible(found, prediction))

    def _relocalize(self, frame: Frame, features: Features) -> Localization | None:
        """Localise in the active map without a prediction; with an IMU not against its rotation since the last pose."""
        found = self._relocalizer.relocalize(self._map, features)
        return found if found is None or self._agrees_with_imu(found, frame.stamp_ns) else None

    def _agrees_with_imu(self, found: Localization, stamp_ns: int, turn_deg: float = 0.0) -> bool:
        """Return False if a pose contradicts the gyroscope; see ``InertialBridge.agrees``."""
        return self._bridge.agrees(self._motion_model, found.camera_from_world, stamp_ns, turn_deg)

    def _localize_by_prediction(self, frame: Frame, features: Features) -> tuple[Localization | None, Prediction]:
        """Localise near the prediction of the motion model; returns the pose or ``None``, and the prediction."""
        rotation = self._bridge.rotation_since(self._motion_model, frame.stamp_ns)
        prediction = self._motion_model.predict_with_rotation(frame.stamp_ns, rotation)
        query = LocalizationQuery(
            self._map,
            features,
            self._reference,
            prediction.camera_from_world,
            self._config.min_inliers,
            is_rotation_measured=rotation is not None,
        )
        found = self._localizer.localize(query)
        return found if self._is_plausible(found, prediction) else None, prediction

    def _localize_by_bridge(self, frame: Frame, features: Features) -> Localization | None:
        """Localise near the pose that the IMU has continued since the last image with a pose."""
        bridged = self._bridged(frame.stamp_ns)
        if bridged is None:
            return None
        predicted = invert(bridged.world_from_camera)
        visible, _ = self._map.visible(predicted)
        if len(visible) < self._config.recovery_min_inliers:
            return None
        reference = self._map.keyframes[int(np.argmax(self._map.shared_counts(visible)))]
        query = LocalizationQuery(
            self._map, features, reference, predicted, self._config.recovery_min_inliers, is_rotation_measured=True
        )
        found = self._localizer.localize(query)
        jump_deg = _BRIDGED_JUMP_DEG + np.degrees(3 * np.sqrt(bridged.covariance[3:, 3:].diagonal().max()))
        return found if self._is_plausible(found, Prediction(predicted, jump_deg)) else None

    def _bridged(self, stamp_ns: int) -> BridgedPose | None:
        """Return the pose at a stamp by the IMU since the last pose by images; ``None`` if it cannot be known."""
        if self._map is None or self._motion_model is None:
            return None
        return self._bridge.pose_at(self._motion_model, stamp_ns, self._map.typical_depth, is_metric=self._is_metric)

    @property
    def _is_metric(self) -> bool:
        return self._scale.report.state is ScaleState.METRIC

    def _is_plausible(self, found: Localization | None, prediction: Prediction) -> bool:
        return found is not None and not is_jump(prediction, found.camera_from_world, self._map.typical_depth)

    def _return_to_inactive(self, frame: Frame, features: Features) -> Localization | None:
        """Continue in an inactive map if the image is localised there."""
        inactive = self._atlas.next_inactive()
        found = inactive and self._relocalizer.relocalize(inactive.local_map, features, tried=_TRIED_INACTIVE)
        if not found or not self._agrees_with_imu(found, frame.stamp_ns, inactive.turn_deg):
            return None
        self._atlas.activate(inactive, self._uncertainty.drift, self._scale.variance)
        self._exchange.forget_pending()
        self._uncertainty.resume_map(self._map, found.reference, inactive.drift)
        self._scale.resume(inactive.scale_variance)
        return found

    def _continue_at_known_place(self, features: Features) -> _Found | None:
        """Continue at the place that was offered if the image is localised there."""
        offered, self._offered = self._offered, None
        if offered is None:
            return None
        place, world_from_map, pose = offered
        local_map = place.local_map(self._config.max_keyframes, self._atlas.next_keyframe_id)
        found = self._relocalizer.relocalize(local_map, features)
        if found is None:
            return None
        if world_from_map is None:
            world_from_map = pose @ found.camera_from_world
        local_map.transform(world_from_map)
        world_from_camera = rigid_part(world_from_map @ invert(found.camera_from_world))
        found = replace(found, camera_from_world=invert(world_from_camera))
        keyframe = local_map.keyframes[-1]
        keyframe.unit = 1.0  # its measurements are in the unit of the world
        drift = np.zeros((7, 7)) if self._map is None else self._uncertainty.drift_at(keyframe.center)
        self._atlas.start_map(local_map, self._uncertainty.drift, self._scale.variance, continues=False)
        self.known_start = KnownStart(place, self._atlas.number, world_from_map)
        self._scale.resume(place.scale_variance)
        self._exchange.forget_pending()
        self._initializer.reset()
        self._reference_id, self._previous = keyframe.id, None
        self._poses.start_map(local_map, keyframe, drift)
        self._exchange.add_mapped(keyframe)
        return _Found(found, relocalized=True)

    def _follow(self, frame: Frame, features: Features, found: _Found) -> TrackingResult:
        """Return the result of a localised frame; extends the map if the frame becomes a keyframe."""
        localization = found.localization
        # Estimate and motion in the current map
        counts = self._counts(features, localization)
        parallax = median_parallax_deg(self._map, localization)
        reason = self._relocalization_reason() if found.relocalized else ""
        if localization.rival is not None:
            reason = reason or "two motions in the view: a large body moves by itself, or a part moves with the camera"
        if found.relocalized:
            self._initializer.reset_reference()
        estimate = self._poses.of_image(self._map, localization)
        motion = None if found.relocalized else self._motion_to(estimate)
        observed_ids, keyframe_id = localization.landmark_ids, None
        self._is_weak = localization.inliers < _WEAK_INLIERS * self._config.min_inliers
        # Decide on a keyframe
        if self._needs_keyframe(localization, features):
            with self._stages("map"):
                keyframe_id = self._insert_keyframe(frame, features, localization)
                mapped = self._exchange.newly_mapped(keyframe_id)
                if mapped is not None:
                    observed_ids = mapped.landmark_ids
                    before = None if self._exchange.merge_reason else localization
                    estimate = self._poses.of_keyframe(self._map, mapped, before)
                    motion = None if self._exchange.merge_reason else motion
            self._reference_id = keyframe_id
        elif not localization.rotation_only:
            self._reference_id = self._best_reference(localization).id
        # Report
        reason = self._exchange.take_merge_reason() or reason
        result = replace(
            self._result_with_pose(frame, estimate, motion),
            reason=reason,
            counts=replace(counts, landmarks=len(self._map), keyframes=len(self._map.keyframes)),
            parallax_deg=parallax,
            rotation_only=localization.rotation_only,
            new_keyframes=self._exchange.take_mapped(),
            reference_points_px=localization.matches.points0,
            tracked_points_px=localization.matches.points1,
        )
        view = LocalizedView(frame, features, estimate.camera_from_world, observed_ids)
        return self._measure_scale(view, result, is_keyframe=keyframe_id is not None)

    def _relocalization_reason(self) -> str:
        started = self.known_start
        if started is not None and self._atlas.number == started.number and self._previous is None:
            return f"map {self._atlas.number} began at a known place"
        if self.state is not TrackerState.LOST:
            return f"relocalised in map {self._atlas.number}, far from the pose that the motion model predicts"
        return f"relocalised in map {self._atlas.number} after {self._frames_lost} frame(s) without a pose"

    def _measure_scale(self, view: LocalizedView, result: TrackingResult, *, is_keyframe: bool) -> TrackingResult:
        """Measure the scale and rescale the map for the next frames; the result remains in the old scale."""
        before = self._scale.report
        with self._stages("scale"):
            change = self._scale.observe(self._map, view, is_keyframe)
        after = self._scale.report
        if change != 1.0:
            self._map.rescale(change, about=result.world_from_camera[:3, 3])
            self._uncertainty.rescale(change)
            self._previous = replace(self._previous, estimate=self._previous.estimate.rescaled(change))
            self._motion_model = self._motion_model.rescaled(change)
            self._bridge.rescale(change)
        # A new measurement applies to the next results, unless it increases the uncertainty
        return result.with_scale(before if after.std < before.std else after, change)

    # Keyframes and the back end

    def _needs_keyframe(self, localization: Localization, features: Features) -> bool:
        if self._exchange.is_full:
            return False
        return needs_keyframe(self._map, localization, self._config, lambda: self._overlap(localization, features))

    def _overlap(self, localization: Localization, features: Features) -> float | None:
        """The visible fraction of the reference's image; ``None`` where the matcher cannot estimate it."""
        with self._stages("match"):
            overlaps = self._matcher.overlap_estimator.estimate(localization.reference.features, [features])
        return None if overlaps is None else float(overlaps[0])

    def _best_reference(self, localization: Localization) -> MapKeyframe:
        """The keyframe that shares most landmarks with this frame; the newer one of equals."""
        shared = self._map.shared_counts(localization.observed)
        return self._map.keyframes[len(shared) - 1 - int(np.argmax(shared[::-1]))]

    def _insert_keyframe(self, frame: Frame, features: Features, localization: Localization) -> int:
        """Add a keyframe to the map and submit it to the back end; returns its id."""
        keyframe = self._map.add_keyframe(
            frame,
            features.with_keypoints(localization.points_px),
            localization.camera_from_world,
            localization.landmark_ids.copy(),
            localization.weights.copy(),
        )
        self._exchange.submit(NewKeyframe(keyframe.id, {localization.reference.id: localization.matches}))
        return keyframe.id

    def _catch_up_with_back_end(self) -> None:
        """Apply what the back end finished since the last frame, and wait where the next pose depends on it."""
        is_young = self._map is not None and len(self._map.keyframes) <= _YOUNG_KEYFRAMES
        self._exchange.update(wait=is_young)
        while self._is_weak and not self._exchange.is_idle:
            self._exchange.update(wait=True)

    def _correct(self, correction: MapCorrection, is_merged: bool) -> None:
        """Move the last pose with the map; after a merge the motion from there is unknown."""
        if self._previous is not None:
            self._previous = None if is_merged else self._previous.corrected(correction)
        if self._motion_model is not None:
            moved = invert(correction.applied_to(invert(self._motion_model.world_from_camera)))
            self._motion_model = self._motion_model.moved_to(moved, correction.scale_change)

    # Initialisation and loss

    def _lose(self, frame: Frame, features: Features) -> TrackingResult:
        """Return the result of a frame without a pose; after a number of lost frames, try to start a new map."""
        self.state = TrackerState.LOST
        self._frames_lost += 1
        reason = (
            f"{failure_reason(frame, features, self._reference.frame)}; lost for {self._frames_lost} frame(s): "
            "return to a mapped place, or move the camera sideways slowly to start a new map"
        )
        if self._frames_lost >= self._config.reinitialize_after:
            started = self._initialize(frame, features)
            if started.status is TrackingStatus.TRACKING:
                return started
        result = TrackingResult(
            frame.index,
            frame.stamp_ns,
            TrackingStatus.LOST,
            reason,
            counts=self._counts(features),
        )
        bridged = self._bridged(frame.stamp_ns)
        if bridged is None:
            return result
        return replace(
            result,
            status=TrackingStatus.BRIDGED,
            reason=f"continued by the IMU for {bridged.seconds:.2f} s: {reason}",
            world_from_camera=bridged.world_from_camera,
            covariance=bridged.covariance,
            map_id=self._atlas.number,
        )

    def _initialize(self, frame: Frame, features: Features) -> TrackingResult:
        """Try to start a map with this frame as the second view."""
        if self.state is TrackerState.NOT_INITIALIZED:
            self.state = TrackerState.INITIALIZING
        with self._stages("initialize"):
            outcome = self._initializer.add(
                frame, features, self._initial_pose_after_loss, self._atlas.next_keyframe_id
            )
            if isinstance(outcome, InitialMap):
                return self._start_map(outcome)
        fault = unusable_image(frame, features) if outcome.matches < self._config.init_min_matches else ""
        result = TrackingResult(
            frame.index,
            frame.stamp_ns,
            TrackingStatus.INITIALIZING,
            fault or outcome.reason,
            counts=replace(self._counts(features), matches=outcome.matches),
            parallax_deg=outcome.parallax_deg,
        )
        return result if self._map is not None else self._with_pose_by_rotation(result, outcome)

    def _with_pose_by_rotation(self, result: TrackingResult, pending: InitializationPending) -> TrackingResult:
        """Add the pose of a pure rotation since the first image, if there is one."""
        continues = self._initializer.has_poses
        rotated = self._initializer.pose_by_rotation(pending)
        if rotated is None:
            return result
        self._atlas.start_map(None, {}, self._scale.variance, continues=continues)
        previous_from_current, relative_covariance = rotated.motion or (None, None)
        return replace(
            result,
            status=TrackingStatus.TRACKING,
            world_from_camera=rotated.world_from_camera,
            covariance=rotated.covariance,
            previous_from_current=previous_from_current,
            relative_covariance=relative_covariance,
            counts=replace(result.counts, inliers=rotated.inliers, maps=self._atlas.maps_started),
            map_id=self._atlas.maps_started,
            rotation_only=rotated.rotation_only,
        )

    def _initial_pose_after_loss(self, first: Frame, second: Frame) -> InitialPose | None:
        """Return the pose of the first view of a new map after a loss; ``None`` for the first map."""
        if self._map is None:
            return None
        model, depth = self._motion_model, self._map.typical_depth
        carried = self._bridge.start_of_map(model, first.stamp_ns, second.stamp_ns, depth, is_metric=self._is_metric)
        if carried is None:
            drift = self._uncertainty.drift_after_loss(model.world_from_camera[:3, 3], depth)
            return InitialPose(model.world_from_camera, depth, drift)
        pose = carried.pose.world_from_camera
        drift = self._uncertainty.drift_after_loss(pose[:3, 3], depth, carried.pose.covariance)
        return InitialPose(pose, depth, drift, carried.turn_deg, carried)

    def _start_map(self, initial: InitialMap) -> TrackingResult:
        """Continue in a new map."""
        local_map, keyframe, views = initial.local_map, initial.keyframe, initial.views
        self._atlas.start_map(
            local_map,
            self._uncertainty.drift,
            self._scale.variance,
            continues=initial.continues,
            turn_deg=initial.turn_deg,
        )
        carried = initial.carried
        self._scale.start_map(local_map, initial.scale_std, None if carried is None else carried.state)
        self._exchange.forget_pending()
        self._reference_id, self._previous, self._motion_model = keyframe.id, None, None
        reason = ""
        if self._atlas.number > 1:
            reason = f"started map {self._atlas.number} after a loss: {self._start_reason(initial)}"
            _LOG.warning("frame %d: %s", keyframe.frame.index, reason)
        self._poses.start_map(local_map, keyframe, initial.drift)
        self._exchange.add_mapped(*local_map.keyframes)
        return replace(
            self._result_with_pose(keyframe.frame, self._poses.of_keyframe(local_map, keyframe)),
            reason=reason,
            counts=replace(self._counts(views.features1), matches=len(views.matches), inliers=len(keyframe.observed)),
            parallax_deg=float(np.nanmedian(views.geometry.parallax_deg)),
            reference_points_px=views.matches.points0[views.geometry.inliers],
            tracked_points_px=views.matches.points1[views.geometry.inliers],
        )

    def _start_reason(self, initial: InitialMap) -> str:
        """Return what is known of a new map after a loss."""
        if initial.carried is None:
            return "its pose and its scale are guesses"
        if self._scale.report.state is ScaleState.UP_TO_SCALE:
            return "its pose is by the IMU, its scale is a guess"
        return "its pose and its scale are by the IMU"

    # Poses and covariances

    def _motion_to(self, estimate: PoseEstimate) -> tuple[np.ndarray, np.ndarray] | None:
        """Return previous_from_current and its covariance in the map; ``None`` without a previous pose in it."""
        if self._previous is None:
            return None
        motion = self._previous.estimate.camera_from_world @ invert(estimate.camera_from_world)
        return motion, self._uncertainty.relative_covariance(self._previous.estimate, estimate)

    def _result_with_pose(
        self, frame: Frame, estimate: PoseEstimate, motion: tuple[np.ndarray, np.ndarray] | None = None
    ) -> TrackingResult:
        """Make a TRACKING result; ``motion`` is that since the previous frame, before an update moved this one."""
        previous, relative, relative_cov, elapsed_ns = self._previous, None, None, 0
        world_from_camera = invert(estimate.camera_from_world)
        if motion is not None:
            relative = invert(previous.world_from_camera) @ world_from_camera
            relative_cov = motion[1] + jump_covariance(motion[0], relative)
            elapsed_ns = frame.stamp_ns - previous.stamp_ns
            self._bridge.add_motion(previous.stamp_ns, frame.stamp_ns, motion[0][:3, :3])
        covariance = self._uncertainty.world_covariance(estimate)
        self._bridge.add_pose(frame.stamp_ns, world_from_camera, covariance, relative_cov)
        current_from_previous = None if relative is None else invert(relative)
        self._previous = TrackedFrame(frame.stamp_ns, world_from_camera, estimate)
        self._motion_model = ConstantVelocityModel(frame.stamp_ns, world_from_camera, current_from_previous, elapsed_ns)
        self.state, self._frames_lost = TrackerState.TRACKING, 0
        return TrackingResult(
            frame.index,
            frame.stamp_ns,
            TrackingStatus.TRACKING,
            "",
            map_id=self._atlas.number,
            world_from_camera=world_from_camera,
            covariance=covariance,
            previous_from_current=relative,
            relative_covariance=relative_cov,
        )

    def _counts(self, features: Features, localization: Localization | None = None) -> TrackingCounts:
        return TrackingCounts(
            keypoints=len(features),
            matches=0 if localization is None else len(localization.matches),
            inliers=0 if localization is None else localization.inliers,
            landmarks=0 if self._map is None else len(self._map),
            keyframes=0 if self._map is None else len(self._map.keyframes),
            maps=self._atlas.maps_started,
        )
