"""Messages of the back end to the tracker: an adjusted window, and an updated map."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from ros_matching.atlas.keyframes import MapKeyframe, Observations
from ros_matching.atlas.local_map import LocalMap
from ros_matching.datatypes import Matches
from ros_matching.geometry.bundle_adjustment import BundleConfig, BundleProblem
from ros_matching.geometry.bundle_covariance import BundleCovariance
from ros_matching.geometry.se3 import invert, orthonormalized, scaled
from ros_matching.geometry.self_calibration import IntrinsicsEvidence

UNKNOWN_TURN_DEG = 180.0


@dataclass(frozen=True)
class AdjustmentWindow:
    """A bundle adjustment ``problem``, whose cameras are ``keyframes`` and whose points ``landmarks`` (P,), by id.

    Its observations are the ``rows`` (O,) of ``observations``, those of all these keyframes.
    """

    keyframes: list[MapKeyframe]
    landmarks: np.ndarray
    observations: Observations
    rows: np.ndarray
    problem: BundleProblem
    config: BundleConfig


@dataclass(frozen=True)
class AdjustedWindow:
    """A window after its adjustment, with the covariance of the result, and what some say of the calibration."""

    window: AdjustmentWindow
    covariance: BundleCovariance
    evidence: IntrinsicsEvidence | None = None


class MapAdjuster(Protocol):
    """Interface of bundle adjustment for a new map."""

    def adjust(self, local_map: LocalMap, keyframe: MapKeyframe) -> None:
        """Adjust the window around a keyframe of the map."""

    def adjusted_window(self, local_map: LocalMap, keyframe: MapKeyframe) -> AdjustedWindow | None:
        """Return the current window with its covariance."""


@dataclass(frozen=True)
class NewKeyframe:
    """A keyframe to map, by id, with its matches (neighbour, keyframe) so far, by id of the neighbour."""

    id: int
    known_matches: dict[int, Matches]


@dataclass(frozen=True, eq=False)
class InactiveMap:
    """An inactive map with the ``drift`` (7, 7) of its keyframes by id, and the ``scale_variance`` of its scale.

    ``turn_deg`` is the largest rotation between its world and that of the active map: an IMU may have carried the
    rotation from one to the other.
    """

    number: int
    local_map: LocalMap
    drift: dict[int, np.ndarray]
    scale_variance: float
    turn_deg: float = UNKNOWN_TURN_DEG


@dataclass(frozen=True, eq=False)
class MapUpdate:
    """A map that the back end updated from a snapshot.

    A partial update (not ``is_last``) is followed by others of the same snapshot; the first has new landmarks that are
    not adjusted yet (not ``is_adjusted``). ``keyframe_ids`` are the new ones that were mapped, ``snapshot_ids`` all
    keyframes of the snapshot. If the map was merged into an inactive one, ``merged`` is that one, ``place`` its
    recognised keyframe, and ``scale_change`` the factor on all lengths.
    """

    map_number: int
    local_map: LocalMap
    snapshot_ids: frozenset[int]
    keyframe_ids: tuple[int, ...]
    adjusted: AdjustedWindow | None
    merged: InactiveMap | None = None
    place: MapKeyframe | None = None
    scale_change: float = 1.0
    stage_ms: dict[str, float] = field(default_factory=dict)
    is_last: bool = True
    is_adjusted: bool = True


class MapBackEnd(Protocol):
    """Interface of the back end for the tracker; see ``backend.back_end.BackEnd``."""

    runs_in_frame: bool

    @property
    def is_idle(self) -> bool:
        """True if keyframes can be submitted."""

    def submit(
        self, map_number: int, snapshot: LocalMap, new: tuple[NewKeyframe, ...], inactive: InactiveMap | None
    ) -> None:
        """Start to map new keyframes of a snapshot."""

    def take(self, *, wait: bool = False) -> MapUpdate | None:
        """Return the next update if there is one, else ``None``; ``wait`` waits for it."""

    def cancel(self) -> None:
        """Discard the running job."""


@dataclass(frozen=True)
class MapCorrection:
    """Correction by an update of the newest keyframe in its snapshot, from ``old`` to ``new`` camera_from_world.

    ``scale_change`` is the factor on all lengths of the active map, ``since_snapshot`` that on those of the update.
    """

    old: np.ndarray
    new: np.ndarray
    scale_change: float = 1.0
    since_snapshot: float = 1.0

    def applied_to(self, camera_from_world: np.ndarray) -> np.ndarray:
        """Return a pose (4, 4) in the updated map with its relative pose to that keyframe preserved."""
        relative = camera_from_world @ invert(self.old)
        if self.scale_change != 1.0:
            relative = scaled(relative, self.scale_change)
        return orthonormalized(relative @ self.new)
