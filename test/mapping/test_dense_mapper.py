"""The mapper around an estimator whose depth is exact, so that everything else has to be."""

from dataclasses import replace

import numpy as np
import pytest
from wall_world import CAMERA, WALL, KnownDepth, pose, view, walk

from ros_matching.datatypes import DistortionModel, ScaleState
from ros_matching.errors import ConfigError, GeometryError
from ros_matching.mapping import DenseMapper, MappingConfig, MappingStatus

MAPPED, WAITING, REFUSED = MappingStatus.MAPPED, MappingStatus.WAITING, MappingStatus.REFUSED
CONFIG = MappingConfig(min_consistent=2, views=4, max_depth_error=0.01)


def run(keyframes, estimator=None, config=CONFIG):
    mapper = DenseMapper(estimator or KnownDepth(), config)
    results = [mapper.add(keyframe) for keyframe in keyframes]
    return mapper, results, mapper.finish()


def test_every_keyframe_comes_out_once_with_its_depth():
    mapper, results, last = run(walk(10))
    assert [result.status for result in results[:2]] == [WAITING, WAITING]
    done = [result for result in results + last if result.status is not WAITING]
    assert [result.keyframe_id for result in done] == list(range(10))
    mapped = [result for result in done if result.status is MAPPED]
    assert len(mapped) >= 8
    for result in mapped:
        depth = result.depth_map.depth
        assert depth.shape == (30, 40)
        known = np.isfinite(depth)
        assert known.mean() > 0.5
        np.testing.assert_allclose(depth[known], WALL, rtol=1e-5)
        assert result.counts.consistent + result.counts.filled == known.sum()
        np.testing.assert_allclose(result.cloud.points[:, 2], WALL, rtol=1e-5)
        near, far = result.depth_range
        assert near < WALL < far
    assert mapper.finish() == []


def test_the_map_is_the_wall_one_point_a_voxel():
    mapper, results, last = run(walk(10), config=replace(CONFIG, voxel_size=0.1))
    cloud = mapper.cloud()
    np.testing.assert_allclose(cloud.points[:, 2], WALL, atol=1e-5)
    voxels = np.unique(np.floor(cloud.points[:, :2] / 0.1).astype(int), axis=0)
    assert len(voxels) == len(cloud)
    assert len(cloud) == sum(result.counts.points for result in results + last)
    assert np.ptp(cloud.points[:, 0]) > 5


@pytest.mark.parametrize(("delay", "latency"), [(0, 0), (1, 2), (3, 6)])
def test_a_keyframe_is_mapped_after_twice_the_delay(delay, latency):
    estimator = KnownDepth()
    _, results, last = run(walk(12), estimator, replace(CONFIG, delay=delay))
    for row, result in enumerate(results):
        if row >= latency:
            assert result.keyframe_id == row - latency
        else:
            assert result.status is WAITING
    assert len(last) == latency
    assert [id for id, *_ in estimator.calls] == list(range(1 if delay == 0 else 0, 12))
    for id, sources, _ in estimator.calls:
        assert max(sources) <= id + delay


def test_a_depth_that_others_contradict_is_dropped():
    estimator = KnownDepth(lambda id: 1.05 if id == 5 else 1.0)
    _, results, last = run(walk(10), estimator)
    by_id = {result.keyframe_id: result for result in results + last}
    assert by_id[5].counts.consistent == 0
    assert by_id[4].counts.consistent > 100


def test_small_differences_are_averaged():
    estimator = KnownDepth(lambda id: 1.004 if id % 2 else 1.0)
    _, results, _ = run(walk(10), estimator)
    depth = results[6].depth_map.depth
    known = depth[np.isfinite(depth)]
    assert 1.001 * WALL < np.median(known) < 1.003 * WALL


def test_unconfident_depth_is_dropped():
    mapper, results, _ = run(walk(8), KnownDepth(confidence=0.4))
    mapped = [result for result in results if result.status is MAPPED]
    assert mapped
    assert all(result.counts.confident == 0 and len(result.cloud) == 0 for result in mapped)
    assert len(mapper.cloud()) == 0


def test_points_move_with_their_keyframe():
    keyframes = walk(10)
    mapper, *_ = run(keyframes)
    before = mapper.cloud()
    up = np.array([0.0, -3.0, 0.5])
    moved = {}
    for keyframe in keyframes:
        corrected = keyframe.world_from_camera.copy()
        corrected[:3, 3] += up
        moved[keyframe.id] = corrected
    mapper.move({**moved, 777: np.eye(4)})
    after = mapper.cloud()
    np.testing.assert_allclose(np.sort(after.points[:, 0]), np.sort(before.points[:, 0]), atol=1e-5)
    np.testing.assert_allclose(after.points[:, 2], WALL + 0.5, atol=1e-5)
    with pytest.raises(GeometryError, match="keyframe 3"):
        mapper.move({3: np.full((4, 4), np.nan)})


def test_later_keyframes_are_compared_with_the_corrected_pose():
    keyframes = walk(10)
    mapper = DenseMapper(KnownDepth(), CONFIG)
    for keyframe in keyframes[:6]:
        mapper.add(keyframe)
    shift = np.array([0.0, 0.0, -1.0])
    moved = [
        replace(k, world_from_camera=k.world_from_camera + np.pad(shift[:, None], ((0, 1), (3, 0)))) for k in keyframes
    ]
    mapper.move({k.id: k.world_from_camera for k in moved[:6]})
    results = [mapper.add(keyframe) for keyframe in moved[6:]]
    assert all(result.counts.sources == 3 for result in results)


def doubled(keyframe):
    """The keyframe in a world of twice the size."""
    pose = keyframe.world_from_camera.copy()
    pose[:3, 3] *= 2
    return replace(keyframe, world_from_camera=pose, sparse_depths=2 * keyframe.sparse_depths)


@pytest.mark.parametrize("at", [2, 6, 10])
def test_points_are_rescaled_with_their_keyframe(at):
    """Wherever the correction comes: for mapped keyframes, and for those whose depth is estimated or still is to be."""
    keyframes, factor = walk(10), [1.0]
    mapper = DenseMapper(KnownDepth(lambda id: factor[0]), replace(CONFIG, voxel_size=0.01))
    for keyframe in keyframes[:at]:
        mapper.add(keyframe)
    factor[0] = 2.0
    poses = {k.id: doubled(k).world_from_camera for k in keyframes[:at]}
    mapper.move(poses, dict.fromkeys(poses, 2.0))
    mapper.move(poses, dict.fromkeys(poses, 2.0))  # since they were added: not once more
    results = [mapper.add(doubled(keyframe)) for keyframe in keyframes[at:]] + mapper.finish()
    assert sum(result.status is REFUSED for result in results) <= 2  # of ten, the first and the last
    whole = DenseMapper(KnownDepth(lambda id: 2.0), replace(CONFIG, voxel_size=0.01))
    for keyframe in keyframes:
        whole.add(doubled(keyframe))
    whole.finish()
    np.testing.assert_allclose(mapper.cloud().points[:, 2], 2 * WALL, rtol=1e-5)
    assert np.ptp(mapper.cloud().points[:, 0]) == pytest.approx(np.ptp(whole.cloud().points[:, 0]), rel=1e-3)
    with pytest.raises(GeometryError, match="the scale of keyframe 3 must be a positive number, got 0"):
        mapper.move({3: np.eye(4)}, {3: 0.0})


def test_min_observations_filters_the_cloud():
    keyframes = walk(10)
    all_points, *_ = run(keyframes)
    seen_twice, *_ = run(keyframes, config=replace(CONFIG, min_observations=2))
    assert 0 < len(seen_twice.cloud()) < len(all_points.cloud())


def test_restarted_ids_clear_the_map():
    mapper, *_ = run(walk(6))
    far = [replace(k, world_from_camera=pose(0, 20.0) @ k.world_from_camera) for k in walk(6)]
    assert mapper.add(far[0]).status is WAITING
    assert len(mapper.cloud()) == 0
    for keyframe in far[1:]:
        mapper.add(keyframe)
    assert mapper.cloud().points[:, 1].min() > 15


def test_keyframes_of_different_maps_are_not_mixed():
    """The camera continues its motion, but in the second map all is twice as large, and nearer."""
    first, guess = walk(16), np.diag([2.0, 2.0, 2.0, 1.0])
    second = []
    for keyframe in first[8:]:
        larger = keyframe.world_from_camera.copy()
        larger[:3, 3] = (guess @ larger)[:3, 3] + (-1.7, 0, 0)
        second.append(replace(keyframe, map_id=2, world_from_camera=larger, sparse_depths=2 * keyframe.sparse_depths))
    estimator = KnownDepth(lambda id: 2.0 if id >= 8 else 1.0)
    mapper, results, last = run([*first[:8], *second], estimator, replace(CONFIG, voxel_size=0.1))
    assert all((id < 8) == (source < 8) for id, sources, _ in estimator.calls for source in sources)
    done = {result.keyframe_id: result for result in results + last if result.status is not WAITING}
    assert sorted(done) == list(range(16))
    assert sum(result.status is MAPPED for result in done.values()) >= 14
    depths = mapper.cloud().points[:, 2]
    assert set(np.round(depths, 3)) == {WALL, 2 * WALL}


def test_a_camera_that_comes_home_is_compared_with_the_keyframes_of_the_map_it_left():
    estimator, keyframes = KnownDepth(), walk(12)
    for number in (4, 5, 6, 7):
        keyframes[number] = replace(keyframes[number], map_id=2)
    run(keyframes, estimator)
    sources = {id: ids for id, ids, _ in estimator.calls}
    assert set(sources[8]) & {1, 2, 3}
    assert not set(sources[8]) & {4, 5, 6, 7}


def test_another_unit_of_length_forgets_the_map():
    keyframes = walk(12)
    mapper, *_ = run([replace(k, scale=ScaleState.UP_TO_SCALE) for k in keyframes[:6]])
    assert len(mapper.cloud()) > 0
    assert mapper.add(keyframes[6]).status is WAITING
    assert len(mapper.cloud()) == 0
    assert [mapper.add(keyframe).status for keyframe in keyframes[7:]][-1] is MAPPED


def test_clear_forgets_everything():
    mapper, *_ = run(walk(8))
    mapper.clear()
    assert len(mapper.cloud()) == 0
    assert mapper.finish() == []
    assert mapper.add(walk(1)[0]).status is WAITING


def nan_pose(keyframe):
    keyframe.world_from_camera[0, 3] = np.nan
    return keyframe


def distorted(keyframe):
    bent = replace(CAMERA, distortion_model=DistortionModel.PLUMB_BOB, distortion=(0.1, 0.0, 0.0, 0.0))
    return replace(keyframe, frame=replace(keyframe.frame, camera=bent))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (nan_pose, "pose is not finite"),
        (lambda k: replace(k, sparse_points_px=np.zeros((0, 2)), sparse_depths=np.zeros(0)), "0 sparse points"),
        (lambda k: replace(k, sparse_depths=np.full(100, np.nan)), "0 sparse points"),
        (lambda k: replace(k, sparse_depths=-k.sparse_depths), "0 sparse points"),
        (distorted, "plumb_bob distortion"),
    ],
)
def test_a_useless_keyframe_is_refused_and_the_others_are_mapped(spoil, reason):
    keyframes = walk(12)
    keyframes[6] = spoil(keyframes[6])
    _, results, last = run(keyframes)
    assert results[6].status is REFUSED
    assert results[6].keyframe_id == 6
    assert reason in results[6].reason
    mapped = {result.keyframe_id for result in results + last if result.status is MAPPED}
    assert mapped >= set(range(2, 12)) - {6}


def test_a_depth_range_of_zero_is_refused():
    flat = [replace(k, sparse_depths=np.full(100, WALL)) for k in walk(8)]
    _, results, last = run(flat, config=replace(CONFIG, range_margin=0.0))
    assert all(result.status is not MAPPED for result in results + last)
    assert any("one depth" in result.reason for result in results)


def test_a_standing_camera_is_refused():
    _, results, last = run([view(number, pose(0.001 * number)) for number in range(8)])
    refused = [result for result in results + last if result.status is REFUSED]
    assert len(refused) == 8
    assert any("baseline is too small" in result.reason for result in refused)


def test_keyframes_without_overlap_are_refused():
    _, results, last = run([view(number, pose(20.0 * number)) for number in range(8)])
    assert all(result.status is not MAPPED for result in results + last)
    assert any("overlap" in result.reason for result in results + last)


def test_the_points_are_bounded():
    mapper, *_ = run(walk(60, step=0.5), config=replace(CONFIG, voxel_size=0.02, max_points=3000))
    assert len(mapper.cloud()) <= 3000
    assert mapper.cloud().points[:, 0].min() > 5  # the least recently observed were removed


def test_points_beyond_the_radius_are_forgotten():
    mapper, *_ = run(walk(40, step=0.5), config=replace(CONFIG, radius=6.0))
    assert mapper.cloud().points[:, 0].min() > 17 - 6


def test_settings_that_contradict_each_other():
    with pytest.raises(ConfigError, match="window"):
        MappingConfig(views=8, window=4)
    with pytest.raises(ConfigError, match="delay"):
        MappingConfig(views=4, window=8, delay=4)
