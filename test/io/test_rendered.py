"""Synthetic sequences as frame sources."""

from __future__ import annotations

import numpy as np
import pytest

from ros_matching.errors import ConfigError, SceneError, SourceError
from ros_matching.io.rendered import open_scene
from ros_matching.io.source import FrameSource, select_frames

SMALL = "width=64&height=48&antialias=false"


def test_frames_carry_image_pose_depth_and_stamp():
    source = open_scene(f"scene:room?frames=6&fps=20&seed=2&fov_deg=90&{SMALL}")
    assert isinstance(source, FrameSource)
    assert source.name == "room_handheld_2"
    assert len(source) == 6
    assert source.camera.fx == pytest.approx(32.0)
    frames = list(source)
    assert [frame.index for frame in frames] == list(range(6))
    assert np.diff([frame.stamp_ns for frame in frames]).tolist() == [50_000_000] * 5
    for frame, pose in zip(frames, source.poses, strict=True):
        assert frame.depth.shape == (48, 64)
        assert frame.depth.dtype == np.float32
        assert np.isfinite(frame.depth).all()
        assert frame.image.std() > 10
        np.testing.assert_array_equal(frame.true_world_from_camera, pose)


def test_every_iteration_yields_the_same_frames():
    source = open_scene(f"scene:room?frames=2&path=forward&{SMALL}")
    for first, second in zip(source, source, strict=True):
        np.testing.assert_array_equal(first.image, second.image)
        np.testing.assert_array_equal(first.depth, second.depth)


def test_noise_is_of_its_strength_and_repeats():
    clean, noisy = (open_scene(f"scene:room?frames=2&baseline_m=0.1&noise={noise}&{SMALL}") for noise in (0, 6))
    differences = []
    for frame, other, again in zip(clean, noisy, noisy, strict=True):
        np.testing.assert_array_equal(other.image, again.image)
        np.testing.assert_array_equal(frame.depth, other.depth)
        inside = (frame.image > 30) & (frame.image < 225)
        differences.append(other.image.astype(float) - frame.image)
        assert differences[-1][inside].std() == pytest.approx(6, rel=0.05)
        right = other.right.image.astype(float) - frame.right.image
        assert np.abs(np.corrcoef(right.ravel(), differences[-1].ravel())[0, 1]) < 0.05
    assert np.abs(np.corrcoef(differences[0].ravel(), differences[1].ravel())[0, 1]) < 0.05


def test_selected_frames_are_those_of_the_whole():
    source = open_scene(f"scene:room?frames=7&{SMALL}")
    selected = select_frames(source, 1, None, 3)
    assert len(selected) == 2
    whole = list(source)
    for frame in selected:
        np.testing.assert_array_equal(frame.image, whole[frame.index].image)
        assert frame.stamp_ns == whole[frame.index].stamp_ns
    assert [frame.index for frame in selected] == [1, 4]


def test_outdoor_has_sky():
    frame = next(iter(open_scene(f"scene:outdoor?frames=1&path=still&{SMALL}")))
    assert 0.02 < np.isnan(frame.depth).mean() < 0.7


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("scene:moon", SourceError, "room, outdoor"),
        ("room", SourceError, "scene:NAME"),
        ("scene:room?colour=red", ConfigError, "path, frames, fps"),
        ("scene:room?frames=many", ConfigError, "frames must be int"),
        ("scene:room?frames=0", ConfigError, "at least 1"),
        ("scene:room?antialias=perhaps", ConfigError, "antialias must be bool"),
        ("scene:room?textures=/no/such/folder", SceneError, "no JPEG or PNG under /no/such/folder"),
        ("scene:room?path=sideways", ConfigError, "handheld"),
    ],
)
def test_wrong_specs_list_the_known_ones(spec, error, message):
    with pytest.raises(error, match=message):
        open_scene(spec)
