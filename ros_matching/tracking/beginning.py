"""How a map begins: from two views, after poses by turns alone or after a loss."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ros_matching.datatypes import Features, Frame
from ros_matching.matching.two_view import TwoViewMatcher
from ros_matching.stages import StageTimer
from ros_matching.tracking.config import TrackingConfig
from ros_matching.tracking.initialisation import InitialReconstruction, TwoViewInitializer, Waiting
from ros_matching.tracking.local_map import LocalMap, MapKeyframe
from ros_matching.tracking.local_mapping import LocalMapper
from ros_matching.tracking.turning import TurnedPose, TurningStart, small_motion_from


@dataclass(frozen=True, eq=False)
class Place:
    """Where a map's first camera stands, its pose (4, 4) with the covariance (7, 7), and the depth typical of it."""

    world_from_camera: np.ndarray
    depth: float
    drift: np.ndarray


@dataclass(frozen=True, eq=False)
class BegunMap:
    """A new map with its newer ``keyframe``, made of two views; ``continues`` poses that were known before it."""

    local_map: LocalMap
    keyframe: MapKeyframe
    views: InitialReconstruction
    drift: np.ndarray
    continues: bool


class Beginning:
    """Tries to begin a map with each image it is given; in the meantime tells the pose of a camera that only turns."""

    def __init__(
        self, matcher: TwoViewMatcher, mapper: LocalMapper, config: TrackingConfig, stages: StageTimer
    ) -> None:
        self._config = config
        self._mapper = mapper
        self._initializer = TwoViewInitializer(matcher, config, stages)
        self._start = TurningStart()

    def reset(self) -> None:
        """The next image begins a new world."""
        self._initializer.reset()
        self._start.reset()

    def forget_reference(self) -> None:
        """The next image is the first view of a map, if ever one is begun."""
        self._initializer.reset()

    @property
    def has_posed(self) -> bool:
        """Whether there are poses by turns alone that a first map would continue."""
        return self._start.has_posed

    def add(self, frame: Frame, features: Features, after: Place | None, first_keyframe_id: int) -> BegunMap | Waiting:
        """Try with this frame as the second view; ``after`` a loss the first one stands where the camera was lost."""
        views = self._initializer.add(frame, features)
        if isinstance(views, Waiting):
            return views
        # Poses before the map are in the typical depth of all that is seen, not of what becomes a landmark.
        place = after or Place(self._start.world_from_reference, views.landmark_depth, self._start.drift)
        local_map = LocalMap(views.frame1.camera, self._config.max_keyframes, first_keyframe_id)
        keyframe = self._mapper.begin(local_map, views, place.world_from_camera, place.depth)
        if keyframe is None:
            turn = small_motion_from(views.geometry)
            return Waiting("the first map did not survive its adjustment", len(views.matches), turn=turn)
        self._initializer.reset()
        return BegunMap(local_map, keyframe, views, place.drift, after is None and self.has_posed)

    def turned(self, waiting: Waiting) -> TurnedPose | None:
        """The pose of the image just added, before there is any map, if the camera has only turned."""
        return self._start.follow(waiting.turn, becomes_reference=waiting.new_reference)
