"""Detection of loops: places that the camera has seen before, verified by geometry and by neighbouring keyframes."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ros_matching.atlas.keyframes import NO_LANDMARK
from ros_matching.atlas.slam_map import SlamMap
from ros_matching.atlas.stored_keyframes import Edge, EdgeKind
from ros_matching.backend.loop_plausibility import LoopJudge, correction_by, typical_depth, view_difference
from ros_matching.backend.loop_verification import PlaceVerifier, VerifiedPlace
from ros_matching.backend.place_recognition import PlaceIndex
from ros_matching.backend.slam_config import SlamConfig
from ros_matching.geometry.se3 import rotation_angle_deg
from ros_matching.geometry.sim3 import rigid_part, scale_of, similarity_from

_LOG = logging.getLogger(__name__)

_CANDIDATES = 3  # places verified for a keyframe
_SEARCHED = 100  # places of the index, of which the best different ones are candidates
_PAUSE = 2  # keyframes after a loop that are not searched for another: they would repeat it
_REMEMBERED = 8  # keyframes for which a verified place waits for another that agrees
# Largest disagreement of two keyframes about the correction, at the position of the newer: distance in typical depths,
# rotation, and relative scale.
_AGREE_DISTANCE = 0.15
_AGREE_DEG = 4.0
_AGREE_SCALE = 0.12
_MIN_COVERAGE = 0.04
# A place is a return if the way there, by distance in typical depths plus rotation in radians, is longer than the
# direct one by this factor and length. Others are neighbours on the way: there the odometry is more accurate.
_RETURN_FACTOR = 3.0
_RETURN_LENGTH = 1.0
# The landmarks of two verified views do not average out all errors: smallest standard deviations of a loop, translation
# in typical depths, rotation in radians, and scale.
_LOOP_STDS = 0.02, 0.008, 0.03


@dataclass(frozen=True, eq=False)
class Loop:
    """Places of several keyframes that agree about one correction; the newest keyframe last."""

    places: tuple[VerifiedPlace, ...]

    @property
    def newest(self) -> VerifiedPlace:
        """The place of the newest keyframe."""
        return self.places[-1]


class LoopDetector:
    """Recognises places, verifies them, and waits until neighbouring keyframes agree."""

    def __init__(self, index: PlaceIndex, verifier: PlaceVerifier, config: SlamConfig) -> None:
        self._index = index
        self._verifier = verifier
        self._config = config
        self._waiting: deque[VerifiedPlace] = deque(maxlen=_REMEMBERED)
        self._travelled: dict[int, float] = {}  # way to each keyframe in its odometry map
        self._judge = LoopJudge(self._strong_places)
        self._pause = 0

    def detect(self, slam_map: SlamMap, id: int, local_ids: frozenset[int]) -> Loop | None:
        """Return the loop that a new keyframe closes; ``None`` if there is none yet.

        ``local_ids`` are keyframes of the local map, which the tracker connects itself.
        """
        self._travel(slam_map, id)
        if self._pause:
            self._pause -= 1
            return None
        self._waiting = deque(
            (w for w in self._waiting if w.keyframe in slam_map and w.place in slam_map), maxlen=_REMEMBERED
        )
        for found in self._verified(slam_map, id, self._candidates(slam_map, id, local_ids)):
            agreeing = [other for other in self._waiting if agree(slam_map, other, found)]
            agreeing += self._confirmed_by_neighbours(slam_map, found, local_ids, agreeing)
            self._waiting.append(found)
            if len(agreeing) + 1 < self._config.loop_keyframes:
                return None
            refusal = self._judge.refusal(slam_map, found)
            if not refusal:
                self._waiting.clear()
                self._pause = _PAUSE
                return Loop((*agreeing, found))
            _LOG.info("keyframe %d is not at keyframe %d: %s", id, found.place, refusal)
        return None

    def recognize(
        self, slam_map: SlamMap, id: int, local_ids: frozenset[int], predicted: Sequence[int]
    ) -> VerifiedPlace | None:
        """Return the place of a keyframe, ``predicted`` or else by similar images; ``None`` if it is unknown."""
        self._travel(slam_map, id)
        places = [*predicted, *self._candidates(slam_map, id, local_ids)]
        return next(self._verified(slam_map, id, places), None)

    def _verified(self, slam_map: SlamMap, id: int, places: Iterable[int]) -> Iterator[VerifiedPlace]:
        """Verify the places of a keyframe, by id, in their order."""
        for place in places:
            found = self._verifier.verify(slam_map, id, place)
            if found is not None and self._is_strong(found):
                yield found

    def _candidates(self, slam_map: SlamMap, id: int, local_ids: frozenset[int]) -> list[int]:
        """Return the most similar keyframes that the camera came back to, not neighbours of this one or each other."""
        similar = self._similar(slam_map, id, set(local_ids))
        return _apart(slam_map, [similar[row] for row in np.flatnonzero(self._are_returns(slam_map, id, similar))])

    def _strong_places(self, slam_map: SlamMap, id: int, near: Iterable[int]) -> Iterator[VerifiedPlace]:
        """Verify the keyframes most similar to one that are not around others, ``near``."""
        excluded = {other for center in near for other, _ in slam_map.covisible(center)} | set(near)
        yield from self._verified(slam_map, id, _apart(slam_map, self._similar(slam_map, id, excluded)))

    def _similar(self, slam_map: SlamMap, id: int, excluded: set[int]) -> list[int]:
        """Return the most similar keyframes that are not excluded or neighbours of this one."""
        excluded = excluded | {other for other, _ in slam_map.covisible(id)} | {id}
        found = self._index.search(slam_map.keyframe(id).place_descriptor, _SEARCHED, excluded)
        return [other for other, _ in found if other in slam_map]

    def _travel(self, slam_map: SlamMap, id: int) -> None:
        """Add up the way to a new keyframe."""
        keyframe = slam_map.keyframe(id)
        before = max((other for other in self._travelled if other < id and other in slam_map), default=None)
        if before is None or slam_map.keyframe(before).map_number != keyframe.map_number:
            self._travelled[id] = 0.0
            return
        self._travelled[id] = self._travelled[before] + _way(slam_map, before, id)

    def _are_returns(self, slam_map: SlamMap, id: int, places: list[int]) -> np.ndarray:
        """Return where (N,) the camera went a longer way from a place to a keyframe than the direct one."""
        number = slam_map.keyframe(id).map_number
        comparable = [place in self._travelled and slam_map.keyframe(place).map_number == number for place in places]
        returns = np.ones(len(places), dtype=bool)
        rows = np.flatnonzero(comparable)
        if len(rows):
            poses = np.stack([slam_map.keyframe(places[row]).map_from_camera for row in rows])
            direct = view_difference(poses, slam_map.keyframe(id).map_from_camera, typical_depth(slam_map, id))
            travelled = self._travelled[id] - np.array([self._travelled[places[row]] for row in rows])
            returns[rows] = travelled > _RETURN_FACTOR * direct + _RETURN_LENGTH
        return returns

    def _is_strong(self, found: VerifiedPlace) -> bool:
        return found.inliers >= self._config.loop_inliers and found.coverage >= _MIN_COVERAGE

    def _confirmed_by_neighbours(
        self, slam_map: SlamMap, found: VerifiedPlace, local_ids: frozenset[int], known: list[VerifiedPlace]
    ) -> list[VerifiedPlace]:
        """Verify the predicted places of earlier keyframes in the local map that see the same place."""
        missing = self._config.loop_keyframes - 1 - len(known)
        taken = {place.keyframe for place in known} | {found.keyframe}
        correction = correction_by(slam_map, found)
        confirmed: list[VerifiedPlace] = []
        for other, _ in slam_map.covisible(found.keyframe, 6):
            if len(confirmed) >= missing:
                break
            if other in taken or other not in local_ids:
                continue
            place = _nearest_view(slam_map, found.place, correction @ slam_map.keyframe(other).map_from_camera)
            verified = self._verifier.verify(slam_map, other, place)
            if verified is not None and self._is_strong(verified) and agree(slam_map, verified, found):
                confirmed.append(verified)
        return confirmed


def _apart(slam_map: SlamMap, places: Iterable[int]) -> list[int]:
    """Return the first places that are no neighbours of each other."""
    found: list[int] = []
    for place in places:
        if not {near for near, _ in slam_map.covisible(place)}.intersection(found):
            found.append(place)
        if len(found) == _CANDIDATES:
            break
    return found


def agree(slam_map: SlamMap, first: VerifiedPlace, second: VerifiedPlace) -> bool:
    """Return True if two verified places imply the same correction of the second's keyframe."""
    if first.keyframe == second.keyframe:
        return False
    pose = slam_map.keyframe(second.keyframe).map_from_camera
    by_first, by_second = (correction_by(slam_map, found) @ pose for found in (first, second))
    ratio = float(scale_of(by_first) / scale_of(by_second))
    depth = typical_depth(slam_map, second.keyframe) * float(scale_of(by_second))
    distance = float(np.linalg.norm(by_first[:3, 3] - by_second[:3, 3]))
    rotation = rigid_part(by_first)[:3, :3].T @ rigid_part(by_second)[:3, :3]
    return (
        distance < _AGREE_DISTANCE * depth
        and float(rotation_angle_deg(rotation)) < _AGREE_DEG
        and abs(np.log(ratio)) < _AGREE_SCALE
    )


def loop_edge(slam_map: SlamMap, found: VerifiedPlace) -> Edge:
    """The constraint of a verified place, in the units of the keyframes' odometry maps."""
    place, keyframe = slam_map.keyframe(found.place), slam_map.keyframe(found.keyframe)
    # From the unit of the map to those of the keyframes: lengths are divided by their scales
    to_place = similarity_from(np.eye(4), 1.0 / place.scale)
    first_from_second = to_place @ found.place_from_keyframe @ similarity_from(np.eye(4), keyframe.scale)
    covariance = found.covariance.copy()
    covariance[:3] /= place.scale
    covariance[:, :3] /= place.scale
    return Edge(
        EdgeKind.LOOP, place.id, keyframe.id, first_from_second, covariance + least_covariance(slam_map, place.id)
    )


def least_covariance(slam_map: SlamMap, id: int) -> np.ndarray:
    """Return the covariance (7, 7) that a loop to a keyframe has at least, in the unit of its odometry map."""
    depth = typical_depth(slam_map, id) / slam_map.keyframe(id).scale
    return np.diag(np.repeat([_LOOP_STDS[0] * depth, *_LOOP_STDS[1:]], [3, 3, 1]) ** 2)


def _nearest_view(slam_map: SlamMap, place: int, map_from_camera: np.ndarray) -> int:
    """Return the keyframe around a place whose view is nearest to a pose: least distance plus rotation."""
    depth = typical_depth(slam_map, place)
    pose = rigid_part(map_from_camera)

    def difference(id: int) -> float:
        return float(view_difference(slam_map.keyframe(id).map_from_camera, pose, depth))

    return min([place, *(id for id, _ in slam_map.covisible(place, 10))], key=difference)


def fused_landmarks(slam_map: SlamMap, found: VerifiedPlace) -> tuple[np.ndarray, np.ndarray]:
    """Landmarks of the place, kept, and of the keyframe, replaced, (M,) each, that are in the map and differ."""
    kept, replaced = found.place_landmarks, found.keyframe_landmarks
    usable = slam_map.landmarks.known(kept) & slam_map.landmarks.known(replaced) & (kept != NO_LANDMARK)
    return kept[usable], replaced[usable]


def _way(slam_map: SlamMap, first: int, second: int) -> float:
    """Distance between two keyframes in typical depths of the second, plus their rotation in radians."""
    poses = slam_map.keyframe(first).map_from_camera, slam_map.keyframe(second).map_from_camera
    return float(view_difference(*poses, typical_depth(slam_map, second)))
