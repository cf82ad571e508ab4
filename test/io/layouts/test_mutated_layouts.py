"""Readers of layouts, trajectories and poses refuse damaged files within 1 GB of memory."""

from __future__ import annotations

from pathlib import Path

import pytest
from limited import run_limited

EXAMPLES = 150


def test_damaged_files_give_clear_errors_and_no_more(tmp_path: Path) -> None:
    pytest.importorskip("av")
    here = Path(__file__).parent
    code = f"""
import cv2, av, hypothesis
from pathlib import Path
from ros_matching.io.formats import formats
from mutation import main
formats()
limit_memory(600)  # beyond the 400 MB of address space that the imports take
main(Path({str(tmp_path)!r}), {EXAMPLES})
"""
    assert f"{EXAMPLES} examples" in run_limited(code, here, here.parent, here.parent.parent.parent)
