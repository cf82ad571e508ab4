"""The live view as a browser shows it: text, image and scene, by a screenshot."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

pytest.importorskip("viser", reason="needs the extra view")
import browser_page

from ros_matching.datatypes import Camera
from ros_matching.errors import NodeError
from ros_matching.geometry.se3 import pose_from
from ros_matching.viewer.browser_viewer import BrowserViewer
from ros_matching.viewer.live_state import LiveFrame

CAMERA = Camera(320, 240, 250.0, 250.0, 159.5, 119.5)
PANEL = 890  # column of the screenshot where the panel begins
needs_browser = pytest.mark.skipif(browser_page.browser() is None, reason="needs Chromium (apt-get install chromium)")


@pytest.fixture
def viewer():
    viewer = BrowserViewer("kitchen", port=0)
    yield viewer
    viewer.close()


def show(viewer: BrowserViewer) -> None:
    """A camera that moves along x, with a wall of magenta points ahead, and an image of two colours."""
    image = np.zeros((240, 320, 3), np.uint8)
    image[:120], image[120:] = (250, 200, 0), (0, 60, 250)
    poses = {number: pose_from(np.eye(3), np.array([0.3 * number, 0.0, 0.0])) for number in range(6)}
    rng = np.random.default_rng(0)
    wall = np.column_stack([rng.uniform(-1.5, 3, 20_000), rng.uniform(-1, 1, 20_000), np.full(20_000, 3.0)])
    for number, pose in poses.items():
        status, reason = ("lost", "the image is <dark> & *blurred*") if number == 5 else ("tracking", "")
        viewer._due_s.clear()
        viewer.show_frame(
            LiveFrame(
                stamp_ns=10**8 * number,
                status=status,
                status_line=f"{status}; {reason}",
                image=image,
                camera=CAMERA,
                world_from_camera=pose,
                scale="metric",
                scale_std=0.021,
                position_std=0.01 * number,
                stage_ms={"extract": 10.0 + number},
            )
        )
        viewer.show_landmarks(wall[:100])
    viewer._due_s.clear()
    viewer.show_keyframes(poses, CAMERA)
    viewer.show_keyframe_cloud(0, wall, np.full((len(wall), 3), (230, 0, 230), np.uint8), poses[0])
    viewer.show_loops(np.array([[poses[0][:3, 3], [0.0, -1.0, 2.0]]]))
    viewer.finish("end of kitchen")


def fraction(image: np.ndarray, color: tuple[int, int, int], tolerance: int = 60) -> float:
    return float((np.abs(image.astype(int) - color).max(axis=2) < tolerance).mean())


@needs_browser
def test_the_page_shows_image_status_plots_and_the_map(viewer: BrowserViewer) -> None:
    show(viewer)
    with browser_page.opened(viewer.url) as page:
        text = page.wait_for("end of kitchen")
        text = page.wait_for("scale, standard deviation")
        assert "lost; the image is <dark> & *blurred*" in text
        assert "metric, 2.1 %" in text
        assert "time of the stages [ms]" in text
        assert "extract" in text
        seen = np.zeros((1, 1, 3), np.uint8)
        for _ in range(40):  # a software renderer needs some frames
            seen = cv2.cvtColor(cv2.imdecode(np.frombuffer(page.screenshot(), np.uint8), 1), cv2.COLOR_BGR2RGB)
            if fraction(seen[:, :PANEL], (230, 0, 230)) > 0.02:
                break
    scene, panel = seen[:, :PANEL], seen[:, PANEL:]
    assert fraction(scene, (230, 0, 230)) > 0.02  # dense points
    assert fraction(scene, (70, 160, 255)) > 0.0005  # keyframes
    assert fraction(scene, (255, 140, 40)) > 0.0002  # trajectory
    assert fraction(panel, (250, 200, 0)) > 0.05  # the image
    assert fraction(panel, (0, 60, 250)) > 0.05
    assert fraction(panel, (230, 40, 40)) > 0.0001  # the colour of a lost camera
    assert fraction(panel[400:], (0, 114, 178), 40) > 0.0005  # a line in a plot


def test_a_cleared_map_and_a_second_page(viewer: BrowserViewer) -> None:
    show(viewer)
    viewer.clear()
    show(viewer)
    other = BrowserViewer("hall", port=0)
    assert other.url != viewer.url
    other.close()


def test_an_impossible_address_is_refused_with_the_remedy() -> None:
    with pytest.raises(NodeError, match="--host"):
        BrowserViewer("kitchen", host="203.0.113.1", port=8080)
