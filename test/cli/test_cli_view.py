"""``ros-matching view``: what is handed to the viewer, of a rendered room."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from wall_estimator import WallMapper

from ros_matching import load_matcher
from ros_matching.cli.main import main
from ros_matching.cli.view import RunView
from ros_matching.io import open_source
from ros_matching.slam import Slam
from ros_matching.visual_odometry import VisualOdometry

SOURCE = "scene:room?frames=14&fps=5&width=200&height=150&antialias=false&seed=3"


class RecordingViewer:
    """Keeps the arguments of every call, by the name of the method."""

    def __init__(self) -> None:
        self.calls: dict[str, list[tuple]] = defaultdict(list)

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self.calls[name].append(arguments)


@pytest.mark.parametrize("kind", [VisualOdometry, Slam])
def test_frames_keyframes_and_landmarks_are_shown(kind: type) -> None:
    viewer, mapper = RecordingViewer(), WallMapper()
    view = RunView(viewer, kind(load_matcher("sift")), mapper)
    for frame in open_source(SOURCE):
        view._next_map_s = 0.0
        view.track(frame)
    view.finish()
    frames = [live for (live,) in viewer.calls["show_frame"]]
    assert len(frames) == 14
    assert sum(live.status == "tracking" for live in frames) > 8
    poses, camera = viewer.calls["show_keyframes"][-1]
    assert len(poses) >= 2
    assert camera == frame.camera
    [landmarks] = viewer.calls["show_landmarks"][-1]
    first = poses[min(poses)]
    depths = (landmarks - first[:3, 3]) @ first[:3, 2]
    assert len(landmarks) > 30
    assert (depths > 0).mean() > 0.9
    dense = viewer.calls["show_keyframe_cloud"]
    assert len(dense) == len(mapper.added)
    np.testing.assert_allclose(dense[0][1], [[0, 0, 2.0]], atol=1e-9)  # in its camera


def test_a_source_or_live_is_required(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["view"]) == 2
    assert main(["view", "scene:room", "--live"]) == 2
    assert main(["view", "scene:room", "--rate=-1"]) == 2
    assert "--live" in capsys.readouterr().err


def test_the_command_ends_with_the_recording(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("viser", reason="needs the extra view")
    small = SOURCE.replace("frames=14", "frames=3")
    assert main(["view", small, "--matcher", "orb", "--port", "0", "--exit"]) == 0
    assert "in a browser" in capsys.readouterr().out
