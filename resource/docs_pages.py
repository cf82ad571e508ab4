"""Hook of MkDocs: pages that are made of the code, so that they cannot be out of date.

Nodes come from their settings and tables of topics, messages and services from their files, commands from their
parsers, the Python reference from docstrings.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

if TYPE_CHECKING:
    from ros_matching.config import Config
    from ros_matching.nodes.interfaces import Endpoint

ROOT = Path(__file__).resolve().parent.parent

_CHARACTERS = str.maketrans({"|": "\\|", "<": "&lt;", ">": "&gt;", "*": "\\*", "_": "\\_"})


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages to those of the folder docs."""
    sys.path[:0] = [str(ROOT), str(ROOT / "resource")]
    for name, make in (("nodes", nodes), ("messages", messages), ("commands", commands), ("python", python)):
        files.append(File.generated(config, f"reference/{name}.md", content=make()))
    return files


def nodes() -> str:
    """Return topics, services and parameters of every node as tables."""
    from ros_matching.nodes.interfaces import INTERFACES

    parts = [
        "# Nodes",
        "Topics, services and parameters of every node, as in the code. Names are relative, `~/name` is below the "
        "node, `/name` is global. `ros2 param describe` shows the same parameters; offline they are "
        "`--set SECTION.KEY=VALUE`. Their use and quality of service: [ROS interface](../ros.md).",
    ]
    for node in INTERFACES:
        parts += [f"## {node.name}", node.title]
        for title, endpoints in (
            ("Publications", node.publishes),
            ("Subscriptions", node.subscribes),
            ("Services", node.services),
        ):
            if endpoints:
                parts += [f"### {title} of {node.name}", _endpoints(endpoints)]
        for prefix, config in node.configs:
            parts.append(f"### Parameters {prefix}* of {node.name}" if prefix else f"### Parameters of {node.name}")
            parts.append(_parameters(prefix, config))
    return "\n\n".join(parts) + "\n"


def _endpoints(endpoints: Sequence[Endpoint]) -> str:
    rows = ["| name | type | | with |", "|---|---|---|---|"]
    rows += [f"| `{e.name}` | {_text(e.type)} | {_text(e.description)} | {_text(e.when)} |" for e in endpoints]
    return "\n".join(rows)


def _parameters(prefix: str, config: type[Config]) -> str:
    from ros_matching.config import fields_of

    rows = ["| parameter | type | default | range | |", "|---|---|---|---|---|"]
    for info in fields_of(config):
        limits = ", ".join(info.choices or ()) or " to ".join(
            "" if limit is None else f"{limit:g}" for limit in (info.minimum, info.maximum)
        )
        limits = "" if limits == " to " else limits
        default = f"`{info.default}`" if str(info.default) else "empty"
        cells = (f"`{prefix}{info.name}`", info.type.__name__, default, _text(limits), _text(info.description))
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


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


def python() -> str:
    """Return the reference of the public classes and functions."""
    from python_reference import reference

    return reference()


def _text(text: str) -> str:
    return text.translate(_CHARACTERS)
