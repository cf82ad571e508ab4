"""``ros-matching map-info``: the contents of a saved map."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ros_matching.atlas.map_folder import Manifest


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "map-info",
        help="show what a saved map contains",
        description="Show the camera, features and size of a saved map, from its manifest.",
    )
    parser.add_argument("map_dir", metavar="DIR", type=Path, help="folder of the map")
    parser.add_argument("--verify", action="store_true", help="also load the map, which compares all checksums")
    return parser


def run(args: argparse.Namespace) -> int:
    """Print the description of a map. A damaged map is an error."""
    from ros_matching.atlas.map_storage import load_map, map_description

    print(_table(map_description(args.map_dir)))
    if args.verify:
        slam_map = load_map(args.map_dir)
        print(f"verified       {len(slam_map)} keyframes in {len(slam_map.components())} connected parts")
    return 0


def _table(manifest: Manifest) -> str:
    values, megabytes = manifest.values, manifest.nbytes / 1e6
    camera, keyframes = values["camera"], values["keyframes"]
    edges = ", ".join(f"{count} {kind}" for kind, count in values["edges"].items())
    rows = {
        "version": values["version"],
        "keyframes": keyframes,
        "landmarks": values["landmarks"],
        "constraints": edges,
        "unit": values["unit"].replace("_", " "),
        "camera": f"{camera['width']}x{camera['height']}, fx {camera['fx']:.2f} fy {camera['fy']:.2f} "
        f"cx {camera['cx']:.2f} cy {camera['cy']:.2f}",
        "features": f"{values['extractor']}, weights {values['fingerprint'][:12]}",
        "size": f"{megabytes:.1f} MB" + (f", {megabytes / keyframes:.3f} MB a keyframe" if keyframes else ""),
    }
    return "\n".join(f"{name:<14} {value}" for name, value in rows.items())
