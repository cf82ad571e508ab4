"""The documentation site: it builds without warnings, and its reference has what the code has."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent


def test_every_page_is_in_the_navigation() -> None:
    text = (ROOT / "mkdocs.yml").read_text()
    pages = set(re.findall(r"([\w/-]+\.md)", text))
    files = {str(file.relative_to(ROOT / "docs")) for file in (ROOT / "docs").rglob("*.md")}
    assert files == {page for page in pages if not page.startswith("reference/")}
    assert yaml.safe_load(text)["strict"] is True


def test_the_site_builds_without_warnings_and_has_the_reference(tmp_path: Path) -> None:
    pytest.importorskip("material", reason="needs MkDocs Material (extra docs)")
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    parameters = (tmp_path / "site" / "reference" / "parameters.html").read_text()
    for name in ("tracking.min_inliers", "grid.max_height", "mask_file", "mapping.views"):
        assert f"<code>{name}</code>" in parameters
    messages = (tmp_path / "site" / "reference" / "messages.html").read_text()
    assert all(file.name in messages for file in (ROOT / "msg").iterdir())
    commands = (tmp_path / "site" / "reference" / "commands.html").read_text()
    assert "ros-matching batch" in commands
