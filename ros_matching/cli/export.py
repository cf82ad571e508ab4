"""``--export``: keyframes of a run as a model for other tools of 3D reconstruction."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ros_matching.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

    from ros_matching.datatypes import Camera, Keyframe
    from ros_matching.io.keyframe_model import ExportedKeyframe
    from ros_matching.odometry.result import TrackingResult
    from ros_matching.visual_odometry import VisualOdometry

COLMAP, COLMAP_TEXT, NERFSTUDIO = KINDS = ("colmap", "colmap-text", "nerfstudio")
_LOGGER = logging.getLogger(__name__)


def add_export_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--export KIND=DIR``, which may be repeated."""
    parser.add_argument(
        "--export",
        dest="exports",
        action="append",
        default=[],
        metavar="KIND=DIR",
        help="write the keyframes' undistorted images, their poses and the sparse points into an empty folder: "
        f"{COLMAP} (images/, sparse/0/*.bin), {COLMAP_TEXT} (*.txt) or {NERFSTUDIO} (images/, transforms.json); "
        "may be repeated",
    )


class KeyframeExports:
    """Collects the keyframes of a run: writes their images as they come, and a model of them at the end."""

    def __init__(self, arguments: Sequence[str]) -> None:
        """``arguments`` are ``KIND=DIR``; raises ``ConfigError`` for an unknown kind or a folder that is not empty."""
        self._targets = [_target(argument) for argument in arguments]
        self._camera: Camera | None = None
        self._keyframes: dict[int, ExportedKeyframe] = {}

    def observe(self, result: TrackingResult, odometry: VisualOdometry) -> None:
        """Record the changes of a frame to the tracker's map."""
        if not self._targets:
            return
        if result.scale_change != 1.0:
            self.rescale(result.scale_change, result.world_from_camera[:3, 3], result.map_id)
        if result.new_keyframes or result.scale_change != 1.0:
            self.take(odometry.current_keyframes())

    def rescale(self, factor: float, center: np.ndarray, map_id: int) -> None:
        """Multiply all lengths of a map by ``factor`` about a ``center`` (3,)."""
        for id in self._ids(map_id):
            pose = self._keyframes[id].world_from_camera.copy()
            pose[:3, 3] = center + factor * (pose[:3, 3] - center)
            self._keyframes[id] = replace(self._keyframes[id], world_from_camera=pose)

    def take(self, keyframes: Iterable[Keyframe]) -> None:
        """Update keyframes. If they were merged into another map, the others of their map are moved too."""
        from ros_matching.io.images import write_image
        from ros_matching.io.keyframe_model import IMAGES, ExportedKeyframe

        keyframes = list(keyframes) if self._targets else []
        self._follow(keyframes)
        for keyframe in keyframes:
            exported = ExportedKeyframe.of(keyframe)
            if keyframe.id not in self._keyframes:
                self._camera = keyframe.frame.camera
                for _, folder in self._targets:
                    write_image(folder / IMAGES / exported.name, keyframe.frame.image)
            self._keyframes[keyframe.id] = exported

    def finish(self) -> list[Path]:
        """Write the models and return the paths.

        Maps without a known relation become models of their own for COLMAP; nerfstudio gets the largest map.
        """
        if not self._targets:
            return []
        maps = {map_id: self._ids(map_id) for map_id in {keyframe.map_id for keyframe in self._keyframes.values()}}
        models = [ids for ids in sorted(maps.values(), key=len, reverse=True) if len(ids) > 1]
        if not models:
            _LOGGER.warning("nothing is exported: there are fewer than two keyframes in one map")
            return []
        return [path for kind, folder in self._targets for path in self._write(kind, folder, models)]

    def _write(self, kind: str, folder: Path, models: list[list[int]]) -> list[Path]:
        from ros_matching.io.colmap_model import write_model
        from ros_matching.io.keyframe_model import colmap_model, write_transforms

        models = [{id: self._keyframes[id] for id in ids} for ids in models]
        if kind == NERFSTUDIO:
            if len(models) > 1:
                count = sum(map(len, models[1:]))
                _LOGGER.warning("%s holds the largest map; %d keyframes of other maps are left out", folder, count)
            return write_transforms(folder, models[0], self._camera)
        return [
            path
            for number, keyframes in enumerate(models)
            for path in write_model(
                folder / "sparse" / str(number), colmap_model(keyframes, self._camera), as_text=kind == COLMAP_TEXT
            )
        ]

    def _ids(self, map_id: int) -> list[int]:
        return sorted(id for id, keyframe in self._keyframes.items() if keyframe.map_id == map_id)

    def _follow(self, keyframes: list[Keyframe]) -> None:
        """Move the other keyframes of a merged map like the given ones."""
        import numpy as np

        from ros_matching.evaluation.trajectory.trajectory_alignment import align

        given = {keyframe.id for keyframe in keyframes}
        known = [(self._keyframes[k.id], k) for k in keyframes if k.id in self._keyframes]
        for old in {before.map_id for before, now in known if before.map_id != now.map_id}:
            pairs = [(before, now) for before, now in known if before.map_id == old and now.map_id != old]
            alignment = align(
                np.array([before.world_from_camera for before, _ in pairs]),
                np.array([now.world_from_camera for _, now in pairs]),
                with_scale=True,
            )
            for id in set(self._ids(old)) - given:
                pose = alignment.apply(self._keyframes[id].world_from_camera[None])[0]
                self._keyframes[id] = replace(self._keyframes[id], world_from_camera=pose, map_id=pairs[0][1].map_id)


def _target(argument: str) -> tuple[str, Path]:
    kind, mark, folder = argument.partition("=")
    if kind not in KINDS or not mark or not folder:
        raise ConfigError(f"--export: expected KIND=DIR with KIND one of {', '.join(KINDS)}, got {argument!r}")
    path = Path(folder).expanduser()
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ConfigError(f"--export: {path} is not an empty folder; choose another, or empty it")
    return kind, path
