"""The order of the back end's work: landmarks that the next frames need come first."""

from __future__ import annotations

import numpy as np
import pytest
from point_world import CAMERA, PointWorld, cloud

from ros_matching.atlas.config import TrackingConfig
from ros_matching.atlas.keyframes import NO_LANDMARK
from ros_matching.atlas.local_map import LocalMap
from ros_matching.atlas.map_update import MapUpdate, NewKeyframe
from ros_matching.backend.back_end import BackEnd
from ros_matching.backend.local_mapping import LocalMapper
from ros_matching.geometry.se3 import invert, pose_from
from ros_matching.stages import StageTimer

KEYFRAMES = 7


class KeepingScheduler:
    """Runs a job at once and keeps all of its results."""

    runs_in_frame = False

    def submit(self, job) -> None:
        self.results: list[MapUpdate] = []
        self.results.append(job(lambda make: self.results.append(make())))


@pytest.fixture
def connected(monkeypatch) -> list[tuple[int, bool]]:
    """The keyframes that are connected, by id, and whether their matches are pruned."""
    calls, connect = [], LocalMapper.connect

    def recorded(self, local_map, neighbour, keyframe, matches=None, *, filters, prunes):
        calls.append((keyframe.id, prunes))
        connect(self, local_map, neighbour, keyframe, matches, filters=filters, prunes=prunes)

    monkeypatch.setattr(LocalMapper, "connect", recorded)
    return calls


def mapped(new: int) -> tuple[list[int], list[MapUpdate]]:
    """Map the last ``new`` of a row of keyframes, the others of which are mapped.

    Returns the numbers of landmarks that the keyframes observe before, and all updates.
    """
    poses = pose_from(np.stack([np.eye(3)] * KEYFRAMES), np.linspace([0, 0, 0], [1.5, 0, 0], KEYFRAMES))
    world = PointWorld(cloud(), poses, noise_px=0.3)
    local_map, mapper = LocalMap(CAMERA, 40), LocalMapper(world, TrackingConfig(), StageTimer())
    for number, (frame, pose) in enumerate(zip(world.frames(), poses, strict=True)):
        features = world.extract(frame.image)
        landmark_ids = np.full(len(features), NO_LANDMARK)
        if number >= KEYFRAMES - new:  # the tracker has localised it in the map
            similarity = features.descriptors @ local_map.descriptors.T
            landmark_ids = np.where(similarity.max(axis=1) > 0.9, local_map.ids[similarity.argmax(axis=1)], NO_LANDMARK)
        keyframe = local_map.add_keyframe(frame, features, invert(pose), landmark_ids)
        if number < KEYFRAMES - new:
            mapper.extend(local_map, keyframe)
    scheduler = KeepingScheduler()
    back_end = BackEnd(mapper, lambda *_: None, StageTimer(), scheduler)
    before = [len(k.observed) for k in local_map.keyframes]
    ids = [k.id for k in local_map.keyframes[KEYFRAMES - new :]]
    back_end.submit(1, local_map, tuple(NewKeyframe(id, {}) for id in ids), None)
    return before, scheduler.results


def test_one_keyframe_is_connected_with_all_neighbours(connected):
    _, updates = mapped(1)
    newest = KEYFRAMES - 1
    neighbours = TrackingConfig().neighbour_keyframes
    assert connected[-neighbours:] == [(newest, True)] + [(newest, False)] * (neighbours - 1)
    assert [update.is_last for update in updates] == [False, False, True]


def test_the_newest_of_several_keyframes_gets_landmarks_first(connected):
    before, updates = mapped(3)
    newest = KEYFRAMES - 1
    observed = [[len(k.observed) for k in update.local_map.keyframes] for update in updates]
    assert observed[0][newest] > before[newest] + 20
    assert [id for id, _ in connected[-5:]] == [newest, newest - 1, newest - 2, newest, newest]
    assert observed[-1][newest - 2] > before[newest - 2] + 20
    assert updates[-1].keyframe_ids == (newest - 2, newest - 1, newest)


def test_a_late_back_end_connects_earlier_keyframes_with_one_neighbour(connected):
    mapped(3)
    newest = KEYFRAMES - 1
    for earlier in (newest - 2, newest - 1):
        assert [prunes for id, prunes in connected if id == earlier] == [True]
