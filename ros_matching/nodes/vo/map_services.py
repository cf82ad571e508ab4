"""Services of ``vo_node`` that save, load and merge the map of SLAM."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node

from ros_matching.atlas.map_storage import load_map, save_map
from ros_matching.atlas.slam_map import SlamMap
from ros_matching.backend.saved_map_merging import merge_saved_map
from ros_matching.backend.slam_back_end import require_same_extractor
from ros_matching.errors import NodeError
from ros_matching.nodes.common.endpoints import create_service
from ros_matching.nodes.common.parameters import read_config
from ros_matching.nodes.vo.config import NodeSlamConfig, VoConfig
from ros_matching.nodes.vo.pipeline import VoPipeline
from ros_matching.nodes.vo.slam_tracker import SlamTracker
from ros_matching.srv import LoadMap, MergeMap, SaveMap


class MapServices:
    """Services of the map; ``parts`` returns pipeline, tracker and matcher, and raises ``NodeError`` without SLAM.

    They have a callback group of their own: a large map takes seconds, in which images must arrive.
    """

    def __init__(self, node: Node, parts: Callable[[], tuple[VoPipeline, SlamTracker, Any]]) -> None:
        self._node = node
        self._parts = parts
        group = MutuallyExclusiveCallbackGroup()
        create_service(node, SaveMap, "~/save_map", self._save, group)
        create_service(node, LoadMap, "~/load_map", self._load, group)
        create_service(node, MergeMap, "~/merge_map", self._merge, group)

    def _save(self, request: SaveMap.Request) -> dict[str, Any]:
        _, tracker, _ = self._parts()
        slam_map = tracker.snapshot()
        return {"message": saved(slam_map, self._folder(request.folder)), "keyframes": len(slam_map)}

    def _load(self, request: LoadMap.Request) -> dict[str, Any]:
        pipeline, tracker, matcher = self._parts()
        folder = self._folder(request.folder)
        slam_map = loaded_map(folder, matcher)
        pipeline.reset("~/load_map was called", lambda: tracker.replace_map(slam_map, continues=True))
        words = f"{len(slam_map)} keyframes from {folder}; the camera is localised when it recognises a place"
        return {"message": words, "keyframes": len(slam_map)}

    def _merge(self, request: MergeMap.Request) -> dict[str, Any]:
        pipeline, tracker, matcher = self._parts()
        if not request.folder:
            raise NodeError("no folder is named; give one in the request")
        folder = Path(request.folder).expanduser()
        saved = loaded_map(folder, matcher)
        both = merge_saved_map(tracker.snapshot(), saved, matcher, read_config(self._node, NodeSlamConfig, "slam."))
        if both is None:
            raise NodeError(
                f"no place of {folder} is recognised in the map, so nothing was merged; go on until the camera has "
                "seen a place of it"
            )
        pipeline.reset("~/merge_map was called", lambda: tracker.replace_map(both, continues=True))
        words = f"{len(saved)} keyframes from {folder}, {len(both)} in all"
        return {"message": words, "keyframes": len(both)}

    def _folder(self, given: str) -> Path:
        folder = given or read_config(self._node, VoConfig).map_file
        if not folder:
            raise NodeError("no folder is named; give one in the request, or set the parameter map_file")
        return Path(folder).expanduser()


def saved(slam_map: SlamMap, folder: Path) -> str:
    """Save a map; return a summary. Raises ``MapError`` or ``NodeError`` with the remedy."""
    try:
        save_map(folder, slam_map)
    except OSError as error:
        raise NodeError(f"cannot save the map in {folder}: {error}; choose another folder") from error
    return f"{len(slam_map)} keyframes and {len(slam_map.landmarks)} landmarks: {folder}"


def loaded_map(folder: Path, matcher: Any) -> SlamMap:
    """Load a map that fits the matcher. Raises ``MapError`` or ``TrackingError`` with the remedy."""
    slam_map = load_map(folder)
    require_same_extractor(slam_map, matcher)
    return slam_map
