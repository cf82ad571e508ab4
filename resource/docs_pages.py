"""Hook of MkDocs: pages that are made of the code, so that they cannot be out of date.

Parameters come from the settings of the nodes, messages and services from their files, commands from their parsers.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

_CHARACTERS = str.maketrans({"|": "\\|", "<": "&lt;", ">": "&gt;", "*": "\\*", "_": "\\_"})


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages to those of the folder docs."""
    for name, make in (("parameters", parameters), ("messages", messages), ("commands", commands)):
        files.append(File.generated(config, f"reference/{name}.md", content=make()))
    return files


def parameters() -> str:
    """Return the parameters of all nodes as tables, by node and prefix."""
    from ros_matching.atlas.config import TrackingConfig
    from ros_matching.config import fields_of
    from ros_matching.mapping.config import GridConfig, MappingConfig
    from ros_matching.nodes.mapping.config import MappingNodeConfig
    from ros_matching.nodes.vo.config import NodeSlamConfig, VoConfig
    from ros_matching.scale import ScaleConfig

    nodes = {
        "vo_node": {"": VoConfig, "tracking.": TrackingConfig, "scale.": ScaleConfig, "slam.": NodeSlamConfig},
        "mapping_node": {"": MappingNodeConfig, "mapping.": MappingConfig, "grid.": GridConfig},
    }
    parts = [
        "# Parameters",
        "As the nodes declare them. `ros2 param describe` shows the same; offline they are `--set SECTION.KEY=VALUE`.",
    ]
    for node, sections in nodes.items():
        parts.append(f"## {node}")
        for prefix, config in sections.items():
            parts.append(f"### {prefix}* of {node}" if prefix else f"### {node}, without a prefix")
            rows = ["| parameter | type | default | range | |", "|---|---|---|---|---|"]
            for info in fields_of(config):
                limits = ", ".join(info.choices or ()) or " to ".join(
                    "" if limit is None else f"{limit:g}" for limit in (info.minimum, info.maximum)
                )
                limits = "" if limits == " to " else limits
                default = f"`{info.default}`" if str(info.default) else "empty"
                cells = (f"`{prefix}{info.name}`", info.type.__name__, default, _text(limits), _text(info.description))
                rows.append("| " + " | ".join(cells) + " |")
            parts.append("\n".join(rows))
    return "\n\n".join(parts) + "\n"


def messages() -> str:
    """Return the message and service files as they are."""
    parts = ["# Messages and services", "Of the package `ros_matching`; the comments are part of the files."]
    for kind in ("msg", "srv"):
        for file in sorted((ROOT / kind).glob(f"*.{kind}")):
            parts += [f"## {file.name}", f"```text\n{file.read_text().rstrip()}\n```"]
    return "\n\n".join(parts) + "\n"


def commands() -> str:
    """Return the help of every subcommand."""
    from ros_matching.cli.main import make_parser

    parser = make_parser()
    subparsers = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    parts = ["# Command line", f"```text\n{parser.format_help().rstrip()}\n```"]
    for name, subparser in subparsers.choices.items():
        parts += [f"## ros-matching {name}", f"```text\n{subparser.format_help().rstrip()}\n```"]
    return "\n\n".join(parts) + "\n"


def _text(text: str) -> str:
    return text.translate(_CHARACTERS)
