"""The tracker's local map: recent keyframes and the landmarks they see, bounded in size.

Landmarks are rows of arrays, so that projection, matching and bundle adjustment are array operations; a keyframe
remembers which of its keypoints see which landmark (``landmark_ids``, -1 for none). A landmark lives while at least two
keyframes see it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ros_matching.datatypes import Camera, Features, Frame, Keyframe, Matches, ScaleState, concatenated
from ros_matching.geometry.se3 import invert, pose_from, transform

if TYPE_CHECKING:
    from ros_matching.datatypes import Array

NO_LANDMARK = -1


@dataclass(eq=False)
class MapKeyframe:
    """A keyframe as the tracker works on it: its pose and its landmarks change as the map is refined."""

    id: int
    frame: Frame
    features: Features
    camera_from_world: np.ndarray
    landmark_ids: np.ndarray  # (K,) for each keypoint
    weights: np.ndarray  # (K,) relative inverse variances of the keypoints as sightings of their landmarks

    @property
    def center(self) -> np.ndarray:
        """The camera centre (3,) in the world."""
        return -self.camera_from_world[:3, :3].T @ self.camera_from_world[:3, 3]

    @property
    def seen(self) -> np.ndarray:
        """The landmarks that the keyframe sees, by id."""
        return self.landmark_ids[self.landmark_ids != NO_LANDMARK]

    def see(self, keypoints: np.ndarray, landmark_ids: np.ndarray, points_px: np.ndarray, weights: np.ndarray) -> None:
        """Let keypoints (N,) see landmarks (N,), at pixels (N, 2) that are more exact than the detector's."""
        moved = self.features.keypoints_px.copy()
        moved[keypoints] = points_px
        self.features = self.features.moved(moved)
        self.landmark_ids[keypoints] = landmark_ids
        self.weights[keypoints] = weights


@dataclass(frozen=True)
class Observations:
    """Who sees what: keyframe number (row of the asked list), landmark id, keypoint row, pixel, weight; O of each."""

    keyframe: np.ndarray
    landmark: np.ndarray
    keypoint: np.ndarray
    points_px: np.ndarray
    weights: np.ndarray


class LocalMap:
    """Keyframes in order of time and their landmarks: ``positions`` (N, 3) and ``descriptors`` (N, D) by id.

    Ids are rows and change when landmarks go; ``serials`` (N,) say which landmark it is for good, in all maps whose
    first keyframes have different ids.
    """

    def __init__(self, camera: Camera, max_keyframes: int, first_keyframe_id: int = 0) -> None:
        self.camera = camera
        self.keyframes: list[MapKeyframe] = []
        self.positions = np.zeros((0, 3))
        self.serials = np.zeros(0, np.intp)
        self.next_serial = first_keyframe_id << 32
        self.descriptors: Array | None = None  # of the kind and on the device of the features
        self._max_keyframes = max_keyframes
        self.next_keyframe_id = first_keyframe_id
        self._typical_depth = float("nan")

    def add_keyframe(
        self,
        frame: Frame,
        features: Features,
        camera_from_world: np.ndarray,
        landmark_ids: np.ndarray,
        weights: np.ndarray | None = None,
    ) -> MapKeyframe:
        """Append a keyframe, and drop the oldest beyond the limit. Unless given, ``weights`` (K,) are all one."""
        weights = np.ones(len(features)) if weights is None else weights
        keyframe = MapKeyframe(self.next_keyframe_id, frame, features, camera_from_world, landmark_ids, weights)
        self.next_keyframe_id += 1
        self.keyframes.append(keyframe)
        if len(self.keyframes) > self._max_keyframes:
            self.keyframes = self.keyframes[-self._max_keyframes :]
            self.remove_unsupported()
        seen = keyframe.landmark_ids != NO_LANDMARK
        if seen.any():
            # The newest view of a landmark looks most like the next one.
            self.descriptors[keyframe.landmark_ids[seen]] = features.descriptors[seen]
        return keyframe

    def add_landmarks(
        self,
        positions: np.ndarray,
        keyframe0: MapKeyframe,
        keyframe1: MapKeyframe,
        matches: Matches,
    ) -> None:
        """Add landmarks (N, 3), each seen by both sides of one of the matches (N) of two keyframes."""
        ids = len(self.positions) + np.arange(len(positions))
        descriptors = keyframe1.features.descriptors[matches.indices1]
        self.positions = np.concatenate([self.positions, positions])
        self.serials = np.concatenate([self.serials, self.next_serial + np.arange(len(positions))])
        self.next_serial += len(positions)
        self.descriptors = descriptors if self.descriptors is None else concatenated(self.descriptors, descriptors)
        weights = observation_weights(matches)
        keyframe0.see(matches.indices0, ids, matches.points0, weights)
        keyframe1.see(matches.indices1, ids, matches.points1, weights)

    def merge(self, kept: np.ndarray, dropped: np.ndarray) -> None:
        """Let landmarks ``kept`` (N,) take over what ``dropped`` (N,) were seen by."""
        replacement = np.arange(len(self.positions))
        replacement[dropped] = kept
        for keyframe in self.keyframes:
            mine = keyframe.landmark_ids != NO_LANDMARK
            keyframe.landmark_ids[mine] = replacement[keyframe.landmark_ids[mine]]

    def visible(self, camera_from_world: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Ids (V,) and predicted pixels (V, 2) of the landmarks inside the image of a camera."""
        pixels = self.camera.project(transform(camera_from_world, self.positions))
        with np.errstate(invalid="ignore"):
            inside = ((pixels >= 0) & (pixels <= (self.camera.width - 1, self.camera.height - 1))).all(axis=1)
        ids = np.flatnonzero(inside)
        return ids, pixels[ids]

    def shared_counts(self, landmark_ids: np.ndarray) -> np.ndarray:
        """How many of the given landmarks each keyframe sees."""
        wanted = np.zeros(len(self.positions), dtype=bool)
        wanted[landmark_ids] = True
        return np.array([np.count_nonzero(wanted[keyframe.seen]) for keyframe in self.keyframes])

    def covisible(self, keyframe: MapKeyframe, count: int) -> list[MapKeyframe]:
        """Up to ``count`` other keyframes that share the most landmarks with this one, most first."""
        shared = self.shared_counts(keyframe.seen)
        order = np.argsort(-shared, kind="stable")
        return [self.keyframes[row] for row in order if shared[row] > 0 and self.keyframes[row] is not keyframe][:count]

    def sightings(
        self, landmark_ids: np.ndarray, first: MapKeyframe
    ) -> list[tuple[MapKeyframe, np.ndarray, np.ndarray]]:
        """Where landmarks (N,) were last seen: keyframes, each with rows of ``landmark_ids`` and of its keypoints.

        Each landmark comes once: in ``first``, if that sees it, else in the newest keyframe that does.
        """
        wanted = np.full(len(self.positions), NO_LANDMARK)
        wanted[landmark_ids] = np.arange(len(landmark_ids))
        found = []
        for keyframe in [first, *reversed(self.keyframes)]:
            keypoints = np.flatnonzero(keyframe.landmark_ids != NO_LANDMARK)
            ids = keyframe.landmark_ids[keypoints]
            mine = wanted[ids] != NO_LANDMARK
            if mine.any():
                found.append((keyframe, wanted[ids[mine]], keypoints[mine]))
                wanted[ids[mine]] = NO_LANDMARK
        return found

    def observations(self, keyframes: list[MapKeyframe]) -> Observations:
        """All sightings of landmarks in the given keyframes."""
        rows = [np.flatnonzero(k.landmark_ids != NO_LANDMARK) for k in keyframes]
        return Observations(
            keyframe=np.repeat(np.arange(len(keyframes)), [len(r) for r in rows]),
            landmark=np.concatenate([k.landmark_ids[r] for k, r in zip(keyframes, rows, strict=True)]),
            keypoint=np.concatenate(rows),
            points_px=np.concatenate([k.features.keypoints_px[r] for k, r in zip(keyframes, rows, strict=True)]),
            weights=np.concatenate([k.weights[r] for k, r in zip(keyframes, rows, strict=True)]),
        )

    def remove_unsupported(self) -> None:
        """Drop landmarks that fewer than two keyframes see, and number the rest anew.

        A landmark seen by two keypoints of one keyframe is a false merge: only its first sighting stays.
        """
        support = np.zeros(len(self.positions), dtype=np.intp)
        for keyframe in self.keyframes:
            rows = np.flatnonzero(keyframe.landmark_ids != NO_LANDMARK)
            unique, first = np.unique(keyframe.landmark_ids[rows], return_index=True)
            keyframe.landmark_ids[np.delete(rows, first)] = NO_LANDMARK
            support[unique] += 1
        alive = support >= 2
        new_ids = np.where(alive, np.cumsum(alive) - 1, NO_LANDMARK)
        for keyframe in self.keyframes:
            mine = keyframe.landmark_ids != NO_LANDMARK
            keyframe.landmark_ids[mine] = new_ids[keyframe.landmark_ids[mine]]
        self.positions, self.serials = self.positions[alive], self.serials[alive]
        if self.descriptors is not None:
            self.descriptors = self.descriptors[alive]
        self._note_depth()

    def scale_to_depth(self, depth: float) -> None:
        """Scale the map about its first keyframe so that the median depth of that keyframe's landmarks is ``depth``."""
        first = self.keyframes[0]
        self.rescale(depth / _median_depth(first, self.positions), first.center)

    def rescale(self, factor: float, about: np.ndarray) -> None:
        """Multiply all lengths by ``factor``; the point ``about`` (3,) of the world stays where it is."""
        if factor == 1.0:
            return
        self.positions = about + factor * (self.positions - about)
        for keyframe in self.keyframes:
            center = about + factor * (keyframe.center - about)
            rotation = keyframe.camera_from_world[:3, :3]
            keyframe.camera_from_world = pose_from(rotation, -rotation @ center)
        self._note_depth()

    def move(self, new_from_old: np.ndarray) -> None:
        """Carry the whole map by a rigid transform (4, 4) of the world."""
        self.positions = transform(new_from_old, self.positions)
        old_from_new = invert(new_from_old)
        for keyframe in self.keyframes:
            keyframe.camera_from_world = keyframe.camera_from_world @ old_from_new

    def take_in(self, other: LocalMap, keyframe: MapKeyframe, place: MapKeyframe, landmark_ids: np.ndarray) -> None:
        """Make another map of the same world part of this one, where a keyframe of this map is at home in both.

        The keypoints of ``keyframe`` see the other's landmarks ``landmark_ids`` (K,), -1 for none. Of the other's
        keyframes those that see most of what ``place`` sees come along, up to half of the limit; they count as older
        than this map's last ones.
        """
        room = max(self._max_keyframes // 2, self._max_keyframes - len(self.keyframes))
        taken = [place, *other.covisible(place, room - 1)]
        taken.sort(key=lambda k: k.id)
        offset = len(self.positions)
        for k in taken:
            k.landmark_ids = np.where(k.landmark_ids == NO_LANDMARK, NO_LANDMARK, k.landmark_ids + offset)
        self.positions = np.concatenate([self.positions, other.positions])
        self.serials = np.concatenate([self.serials, self.next_serial + np.arange(len(other.positions))])
        self.next_serial += len(other.positions)
        self.descriptors = concatenated(self.descriptors, other.descriptors)
        self.keyframes = [*taken, *self.keyframes[len(taken) - self._max_keyframes :]]
        self.next_keyframe_id = max(self.next_keyframe_id, other.next_keyframe_id)
        theirs = landmark_ids != NO_LANDMARK
        mine = keyframe.landmark_ids != NO_LANDMARK
        self.merge(landmark_ids[theirs & mine] + offset, keyframe.landmark_ids[theirs & mine])
        only_theirs = theirs & ~mine
        keyframe.landmark_ids[only_theirs] = landmark_ids[only_theirs] + offset
        self.remove_unsupported()

    @property
    def typical_depth(self) -> float:
        """Median depth of the landmarks of the newest keyframe that sees any, or of the last one that did.

        A camera that turns on the spot for long leaves all its landmarks behind.
        """
        return self._typical_depth

    def _note_depth(self) -> None:
        newest = next((k for k in reversed(self.keyframes) if len(k.seen)), None)
        if newest is not None:
            self._typical_depth = _median_depth(newest, self.positions)

    def export(self, keyframe: MapKeyframe, scale: ScaleState, map_id: int = 0) -> Keyframe:
        """The keyframe as the mapper takes it, with the landmarks it sees as sparse depths."""
        rows = np.flatnonzero(keyframe.landmark_ids != NO_LANDMARK)
        points = transform(keyframe.camera_from_world, self.positions[keyframe.landmark_ids[rows]])
        in_front = points[:, 2] > 0
        return Keyframe(
            id=keyframe.id,
            frame=keyframe.frame,
            world_from_camera=invert(keyframe.camera_from_world),
            sparse_points_px=keyframe.features.keypoints_px[rows[in_front]],
            sparse_depths=points[in_front, 2],
            scale=scale,
            features=keyframe.features,
            map_id=map_id,
            sparse_point_ids=self.serials[keyframe.landmark_ids[rows[in_front]]],
        )


def observation_weights(matches: Matches) -> np.ndarray:
    """Relative inverse variances (M,) of matches as sightings, one on the mean.

    They are the scores: on rendered sequences, a tenth of PoSFeat's matches with scores around 0.1 is off by more than
    0.5 px beside those that are plainly wrong, with scores above 0.5 by more than 0.1 px. Not ``matches.weights``: how
    exact a match is counts for less where its landmark's own error comes in, and gained nothing on real sequences.
    """
    mean = matches.scores.mean() if len(matches) else 0.0
    return matches.scores / mean if mean > 0 else np.ones(len(matches))


def _median_depth(keyframe: MapKeyframe, positions: np.ndarray) -> float:
    return float(np.median(transform(keyframe.camera_from_world, positions[keyframe.seen])[:, 2]))
