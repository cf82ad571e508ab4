"""The active map of the tracker: what else changes when another map becomes active."""

from __future__ import annotations

import numpy as np

from ros_matching.atlas.atlas import Atlas
from ros_matching.atlas.keyframes import MapKeyframe
from ros_matching.atlas.local_map import LocalMap
from ros_matching.atlas.map_update import InactiveMap
from ros_matching.odometry.map_exchange import MapExchange
from ros_matching.odometry.map_initializer import InitialMap
from ros_matching.odometry.pose_estimator import PoseEstimator
from ros_matching.scale.scale_estimator import ScaleEstimator
from ros_matching.uncertainty.pose_uncertainty import PoseUncertainty


class ActiveMap:
    """Switches between maps; covariances, scale, and the exchange with the back end follow.

    ``reference`` is the keyframe that frames are matched with.
    """

    def __init__(
        self,
        atlas: Atlas,
        exchange: MapExchange,
        scale: ScaleEstimator,
        uncertainty: PoseUncertainty,
        poses: PoseEstimator,
    ) -> None:
        self._atlas = atlas
        self._exchange = exchange
        self._scale = scale
        self._uncertainty = uncertainty
        self._poses = poses
        self._reference_id = -1

    @property
    def local_map(self) -> LocalMap | None:
        """The map as it is now; ``None`` before the first."""
        return self._atlas.active

    @property
    def number(self) -> int:
        """Number of the map."""
        return self._atlas.number

    @property
    def reference(self) -> MapKeyframe:
        """The keyframe that frames are matched with; the newest if it is no longer in the map."""
        return self.local_map.keyframe(self._reference_id) or self.local_map.keyframes[-1]

    def refer_to(self, keyframe_id: int) -> None:
        """Match the next frames with another keyframe."""
        self._reference_id = keyframe_id

    def start_without_landmarks(self, *, continues: bool) -> None:
        """Count a first map that has poses by pure rotation, and no landmarks yet; see ``Atlas.start_map``."""
        self._atlas.start_map(None, {}, self._scale.variance, continues=continues)

    def start(self, initial: InitialMap) -> None:
        """Continue in a new map from two views."""
        self._atlas.start_map(
            initial.local_map,
            self._uncertainty.drift,
            self._scale.variance,
            continues=initial.continues,
            turn_deg=initial.turn_deg,
        )
        carried = initial.carried
        self._scale.start_map(initial.local_map, initial.scale_std, None if carried is None else carried.state)
        self._enter(initial.local_map, initial.keyframe, initial.drift)
        self._exchange.add_mapped(*initial.local_map.keyframes)

    def start_at_place(self, local_map: LocalMap, scale_variance: float) -> None:
        """Continue in a new map of restored keyframes, and the image that was localised there as the newest."""
        keyframe = local_map.keyframes[-1]
        drift = np.zeros((7, 7)) if self.local_map is None else self._uncertainty.drift_at(keyframe.center)
        self._atlas.start_map(local_map, self._uncertainty.drift, self._scale.variance, continues=False)
        self._scale.resume(scale_variance)
        self._enter(local_map, keyframe, drift)
        self._exchange.add_mapped(keyframe)

    def _enter(self, local_map: LocalMap, keyframe: MapKeyframe, drift: np.ndarray) -> None:
        self._exchange.forget_pending()
        self._reference_id = keyframe.id
        self._poses.start_map(local_map, keyframe, drift)

    def resume(self, inactive: InactiveMap, anchor: MapKeyframe) -> None:
        """Continue in an inactive map, where a frame was localised by its keyframe ``anchor``."""
        self._atlas.activate(inactive, self._uncertainty.drift, self._scale.variance)
        self._exchange.forget_pending()
        self._uncertainty.resume_map(self.local_map, anchor, inactive.drift)
        self._scale.resume(inactive.scale_variance)
