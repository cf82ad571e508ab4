"""The paths of an image and of a keyframe in docs/architecture.md lead through files and functions that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "ros_matching"
MOST_FILES = 8


def rows(heading: str) -> list[tuple[Path, list[str]]]:
    """The files and their functions in the table below a heading."""
    text = (ROOT / "docs" / "architecture.md").read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    cells = re.findall(r"^\|[^|]+\| `(\S+\.py)` \| (.+) \|$", text, re.MULTILINE)
    return [(PACKAGE / file, re.findall(r"`(\w+)`", functions)) for file, functions in cells]


def functions_of(file: Path) -> set[str]:
    nodes = ast.walk(ast.parse(file.read_text()))
    return {node.name for node in nodes if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}


@pytest.mark.parametrize("heading", ["One image, from callback to pose", "One keyframe, from message to cloud"])
def test_a_traced_path_is_short_and_exists(heading: str) -> None:
    steps = rows(heading)
    assert 4 < len(steps) <= MOST_FILES
    for file, functions in steps:
        assert file.is_file(), f"{file} is not there"
        missing = set(functions) - functions_of(file)
        assert not missing, f"{file} has no {', '.join(missing)}"


@pytest.mark.parametrize("heading", ["One image, from callback to pose", "One keyframe, from message to cloud"])
def test_each_step_of_a_path_is_called_from_the_package(heading: str) -> None:
    source = "\n".join(file.read_text() for file in PACKAGE.rglob("*.py"))
    for _, functions in rows(heading):
        for name in functions:
            assert len(re.findall(rf"\b{name}\b", source)) > 1, f"nothing calls {name}"
