"""Live view in the browser by viser: no installation there, and no RViz.

viser is pure Python, has a 3D scene, images and plots in one page, and needs no other program; Rerun brings 100 MB and
its own viewer, Foxglove an application or an account.
"""

from __future__ import annotations

import contextlib
import io
import logging
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ros_matching.datatypes import Camera
from ros_matching.errors import MissingDependencyError, NodeError
from ros_matching.geometry.frustum import frustum_lines
from ros_matching.geometry.se3 import quaternion_from_rotation, transform
from ros_matching.viewer.live_state import History, LiveFrame
from ros_matching.viewer.tracks import COLORS

if TYPE_CHECKING:
    import viser

_IMAGE_PERIOD_S, _PLOT_PERIOD_S, _SCENE_PERIOD_S = 0.1, 0.5, 0.5
_MOST_SEGMENTS, _MOST_POINTS, _MOST_FRUSTA = 5000, 200_000, 2000
_CLOUD_POINTS = 20_000  # of a keyframe
_IMAGE_WIDTH = 480
_KEYFRAME, _PATH, _LOOP, _LANDMARK, _CAMERA = (
    (70, 160, 255),
    (255, 140, 40),
    (235, 40, 60),
    (120, 120, 120),
    (0, 170, 80),
)
_STATUS_COLORS = {status.value: color for status, color in COLORS.items()}
_LINE_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7f7f7f")


@dataclass
class _Cloud:
    """Dense points of a keyframe in its camera, and its pose (4, 4)."""

    handle: Any
    count: int


class BrowserViewer:
    """A page at ``url``: image, status line, plots, and the map in 3D. Methods may be called from one thread.

    Updates are limited to a few a second each, so that a slow browser does not slow the tracker down.
    """

    def __init__(self, title: str, host: str = "127.0.0.1", port: int = 8080, up: str = "-y") -> None:
        """``up`` is the upward axis of the world: -y of a camera's, +z of odom. Raises ``MissingDependencyError``."""
        try:
            import viser
            from viser import uplot
        except ImportError as error:
            raise MissingDependencyError(
                "the live view needs viser: pip install viser (extra view of ros_matching)"
            ) from error
        self._uplot = uplot
        _check_address(host)
        # A browser opens connections in advance and closes them unused, which websockets reports as errors
        logging.getLogger("websockets").setLevel(logging.CRITICAL)
        with contextlib.redirect_stdout(io.StringIO()):  # viser prints its addresses
            self._server: viser.ViserServer = viser.ViserServer(host=host, port=port, label=title, verbose=False)
        self.url = f"http://{'localhost' if host in ('0.0.0.0', '127.0.0.1') else host}:{self._server.get_port()}"
        self._server.scene.set_up_direction(up)
        self._server.gui.configure_theme(control_width="large", show_logo=False)
        self._server.gui.main_panel.dock_right()
        self._status = self._server.gui.add_markdown(f"**{title}**: waiting for the first image")
        self._image: Any = None
        self._plots: dict[str, Any] = {}
        self._plot_names: tuple[str, ...] = ()
        self._frustum: Any = None
        self._history = History()
        self._due_s: dict[str, float] = {}
        self._path: list[np.ndarray] = []
        self._size = 0.1  # of a frustum, in the unit of the map
        self._clouds: dict[int, _Cloud] = {}
        self._has_view = False
        self._pose: np.ndarray | None = None  # the last known one

    def close(self) -> None:
        """End the page."""
        self._server.stop()

    def show_frame(self, frame: LiveFrame) -> None:
        """Show a frame: its image, status, pose, and the plots."""
        self._history.add(frame)
        if frame.world_from_camera is not None:
            self._pose = frame.world_from_camera
            self._path.append(self._pose[:3, 3].copy())
            if len(self._path) > 2 * _MOST_SEGMENTS:
                del self._path[1::2]  # the older half of the detail
        is_new_status = frame.status != getattr(self, "_last_status", None)
        self._last_status = frame.status
        if self._is_due("image", _IMAGE_PERIOD_S) or is_new_status:
            self._show_image(frame)
        if self._is_due("path", _SCENE_PERIOD_S):
            self._show_path()
        if self._is_due("plots", _PLOT_PERIOD_S):
            self._show_plots()

    def finish(self, text: str) -> None:
        """Show the final state with a text."""
        self._show_path()
        self._show_plots()
        self._status.content = f"{self._status.content}\n\n{text}"

    def show_keyframes(self, poses: Mapping[int, np.ndarray], camera: Camera) -> None:
        """Show the cameras of keyframes, by poses ``world_from_camera`` (4, 4); clouds of keyframes move with them."""
        for id in self._clouds.keys() & poses.keys():
            self._place(self._clouds[id].handle, poses[id])
        if not poses or not self._is_due("keyframes", _SCENE_PERIOD_S):
            return
        all_poses = np.array(list(poses.values()))
        self._size = _frustum_size(all_poses[:, :3, 3])
        all_poses = all_poses[:: -(-len(all_poses) // _MOST_FRUSTA)]
        self._server.scene.add_line_segments(
            "/keyframes", frustum_lines(all_poses, camera, 0.6 * self._size), _KEYFRAME, thickness=0.04 * self._size
        )

    def show_landmarks(self, points: np.ndarray) -> None:
        """Show the landmarks (N, 3); the first ones direct the view."""
        if len(points) and self._pose is not None and not self._has_view:
            self._has_view = True
            self._look_at(points)
        if self._is_due("landmarks", _SCENE_PERIOD_S) and len(points):
            points = points[:: -(-len(points) // _MOST_POINTS)]
            self._server.scene.add_point_cloud(
                "/landmarks", points.astype(np.float32), _LANDMARK, point_size=0.1 * self._size, precision="float32"
            )

    def show_loops(self, lines: np.ndarray) -> None:
        """Show closed loops as lines (L, 2, 3) between keyframes."""
        if len(lines):
            self._server.scene.add_line_segments("/loops", lines.astype(np.float32), _LOOP, thickness=0.1 * self._size)

    def show_keyframe_cloud(
        self, id: int, points: np.ndarray, colors: np.ndarray, world_from_camera: np.ndarray
    ) -> None:
        """Show dense points (N, 3) of a keyframe, in its camera, with colours (N, 3) uint8."""
        step = -(-len(points) // _CLOUD_POINTS) or 1
        points, colors = points[::step], colors[::step]
        if not len(points):
            return
        handle = self._server.scene.add_point_cloud(
            f"/dense/{id}", points.astype(np.float32), colors, point_size=0.12 * self._size, precision="float32"
        )
        self._place(handle, world_from_camera)
        self._clouds[id] = _Cloud(handle, len(points))
        while sum(cloud.count for cloud in self._clouds.values()) > 10 * _MOST_POINTS:
            self._clouds.pop(next(iter(self._clouds))).handle.remove()

    def show_map_cloud(self, points: np.ndarray, colors: np.ndarray) -> None:
        """Show the whole dense map (N, 3) in the world with colours (N, 3) uint8, in place of an earlier one."""
        step = -(-len(points) // _MOST_POINTS) or 1
        if len(points):
            self._server.scene.add_point_cloud(
                "/dense", points[::step].astype(np.float32), colors[::step], point_size=0.12 * self._size,
                precision="float32",
            )  # fmt: skip

    def clear(self) -> None:
        """Remove the map and the trajectory, of a tracker that was reset or has another unit."""
        for cloud in self._clouds.values():
            cloud.handle.remove()
        self._clouds, self._path, self._has_view = {}, [], False
        for name in ("/keyframes", "/landmarks", "/loops", "/path", "/dense"):
            self._server.scene.remove_by_name(name)

    def _show_image(self, frame: LiveFrame) -> None:
        red, green, blue = _STATUS_COLORS.get(frame.status, (128, 128, 128))
        self._status.content = (
            f'<span style="color:rgb({red},{green},{blue})">&#9679;</span> **{_escaped(frame.status_line)}**\n\n'
            f"scale: {_scale_text(frame)}"
        )
        if frame.image is not None:
            image = frame.image[:: max(1, frame.image.shape[1] // _IMAGE_WIDTH)]
            image = image[:, :: max(1, frame.image.shape[1] // _IMAGE_WIDTH)]
            if self._image is None:
                self._image = self._server.gui.add_image(image, label="tracked points", format="jpeg")
            else:
                self._image.image = image
        if frame.world_from_camera is not None and frame.camera is not None:
            self._show_camera(frame)

    def _show_camera(self, frame: LiveFrame) -> None:
        camera = frame.camera
        if self._frustum is None or self._frustum.scale != (self._size,) * 3:
            self._frustum = self._server.scene.add_camera_frustum(
                "/camera",
                fov=2 * np.arctan(camera.height / 2 / camera.fy),
                aspect=camera.width / camera.height,
                scale=self._size,
                thickness=0.05 * self._size,
                color=_CAMERA,
            )
        self._place(self._frustum, frame.world_from_camera)

    def _look_at(self, points: np.ndarray) -> None:
        """Look over the shoulder of the camera at points (N, 3), in a distance that shows them in any unit."""
        depth = float(np.median(np.linalg.norm(points - self._pose[:3, 3], axis=1)))
        behind = transform(self._pose, depth * np.array([[0.3, -0.5, -0.9], [0.0, 0.0, 1.0]]))
        initial = self._server.initial_camera
        initial.position, initial.look_at = tuple(behind[0]), tuple(behind[1])
        for client in self._server.get_clients().values():
            client.camera.position, client.camera.look_at = behind

    def _show_path(self) -> None:
        if len(self._path) > 1:
            path = np.array(self._path[:: -(-len(self._path) // _MOST_SEGMENTS)])
            lines = np.stack([path[:-1], path[1:]], axis=1).astype(np.float32)
            self._server.scene.add_line_segments("/path", lines, _PATH, thickness=0.06 * self._size)

    def _show_plots(self) -> None:
        history = self._history
        names = ("scale", "position", *history.stages)
        seconds = history.seconds
        groups = {
            "time of the stages [ms]": list(names[2:]),
            "position, standard deviation [unit of the map]": ["position"],
            "scale, standard deviation [%]": ["scale"],
        }
        for title, columns in groups.items():
            # Without NaN, for which uPlot has no axis: a stage that did not run took no time
            values = np.array([history.column(name) for name in columns])
            values = np.nan_to_num(values) if columns == groups["time of the stages [ms]"] else values
            known = np.isfinite(values).all(axis=0)
            if known.sum() < 2:
                continue
            data = (seconds[known], *values[:, known])
            if title in self._plots and (names == self._plot_names or title[:4] != "time"):
                self._plots[title].data = data
                continue
            if title in self._plots:
                self._plots.pop(title).remove()
            series = [self._uplot.Series(label="s")]
            for row, name in enumerate(columns):
                color = _LINE_COLORS[row % len(_LINE_COLORS)]
                series.append(self._uplot.Series(label=name.removesuffix(" ms"), stroke=color, width=2))
            self._plots[title] = self._server.gui.add_uplot(
                data, tuple(series), title=title, scales={"x": self._uplot.Scale(time=False, auto=True)}, aspect=2.2
            )
        self._plot_names = names

    def _place(self, handle: Any, pose: np.ndarray) -> None:
        x, y, z, w = quaternion_from_rotation(pose[:3, :3])
        handle.wxyz, handle.position = (w, x, y, z), tuple(pose[:3, 3])

    def _is_due(self, what: str, period_s: float) -> bool:
        now_s = time.monotonic()
        if now_s < self._due_s.get(what, 0.0):
            return False
        self._due_s[what] = now_s + period_s
        return True


def _check_address(host: str) -> None:
    """Raise ``NodeError`` unless this machine has the address; viser would wait for it without end."""
    try:
        with socket.create_server((host, 0)):
            pass
    except OSError as error:
        raise NodeError(f"no page can be served at {host}: {error}; choose another --host, such as 0.0.0.0") from error


def _frustum_size(centers: np.ndarray) -> float:
    """Return a size that can be seen in a map of any unit: by the distance of successive keyframes."""
    steps = np.linalg.norm(np.diff(centers, axis=0), axis=1)
    return float(np.median(steps)) if len(steps) and np.median(steps) > 0 else 0.1


def _scale_text(frame: LiveFrame) -> str:
    text = frame.scale.replace("_", " ") or "unknown"
    return f"{text}, {100 * frame.scale_std:.1f} %" if np.isfinite(frame.scale_std) else text


def _escaped(text: str) -> str:
    """Return a text without Markdown and HTML: reasons contain names of topics and files."""
    return "".join(f"&#{ord(letter)};" if letter in "<>&*_`[]|#" else letter for letter in text)
