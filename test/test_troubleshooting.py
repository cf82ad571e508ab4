"""Every sentence that docs/troubleshooting.md quotes is printed by the code, word for word."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
ANY = "…"


def quoted() -> list[str]:
    """The first cells of the tables: code, which may contain single backquotes around names."""
    rows = [line for line in PAGE.splitlines() if line.startswith("| `")]
    return [re.match(r"\| (`+)(.+?)\1 \| ", row)[2].strip() for row in rows]


@cache
def texts() -> list[str]:
    """All texts of the package; what an f-string fills in is ``ANY``."""
    found = []
    for file in (ROOT / "ros_matching").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                found.append("".join(part.value if isinstance(part, ast.Constant) else ANY for part in node.values))
    return found


def test_the_page_has_a_table_for_each_symptom() -> None:
    assert len(quoted()) > 40
    for symptom in ("lost", "no scale", "frame rate", "No images", "Transforms", "wrong", "GPU"):
        assert re.search(rf"^## .*{symptom}", PAGE, re.MULTILINE), symptom


@pytest.mark.parametrize("sentence", dict.fromkeys(quoted()))
def test_the_program_prints_it(sentence: str) -> None:
    parts = [re.escape(part) for part in sentence.split(ANY)]
    pattern = re.compile(".*?".join(parts), re.DOTALL)
    assert any(pattern.search(text) for text in texts()), f"no code prints: {sentence}"
