"""The documentation site: it builds without warnings, and its reference has what the code has."""

from __future__ import annotations

import importlib
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
    nodes = (tmp_path / "site" / "reference" / "nodes.html").read_text()
    for name in (
        "tracking.min_inliers",
        "grid.max_height",
        "mask_file",
        "mapping.views",
        "imu.bridge_s",
        "jpeg_quality",
    ):
        assert f"<code>{name}</code>" in nodes
    for name in ("vo_status", "~/occupancy_grid", "~/save_trajectory", "ground_truth_pose"):
        assert f"<code>{name}</code>" in nodes
    python = (tmp_path / "site" / "reference" / "python.html").read_text()
    for name in ("load_matcher", "VisualOdometry", "TrackingResult", "open_source", "DenseMapper", "TrackingError"):
        assert f'id="{name.lower()}"' in python
    messages = (tmp_path / "site" / "reference" / "messages.html").read_text()
    assert all(file.name in messages for file in (ROOT / "msg").iterdir())
    commands = (tmp_path / "site" / "reference" / "commands.html").read_text()
    assert "ros-matching batch" in commands


def test_every_public_class_is_in_the_reference_with_its_docstring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "resource")
    import python_reference

    page = python_reference.reference()
    for module in python_reference.PUBLIC:
        for name in python_reference.public_names(module):
            member = getattr(importlib.import_module(module), name)
            assert f"### {name}\n" in page or not callable(member), f"{module}.{name}"


def test_a_public_name_without_a_docstring_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "resource")
    import python_reference

    import ros_matching.errors

    monkeypatch.setattr(ros_matching.errors.SourceError, "__doc__", None)
    with pytest.raises(ValueError, match="SourceError is public and has no docstring"):
        python_reference.reference()
