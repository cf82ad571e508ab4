"""Random and mutated messages cause clear errors alone: no exception, no reset by one of them, no growth of memory."""

from __future__ import annotations

from pathlib import Path

import pytest
from limited import run_limited

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("ros_matching.msg", reason="needs the built messages of this package (make build)")

pytestmark = pytest.mark.ros

FOLDERS = [Path(__file__).parent, Path(__file__).parent.parent]
RUNS = [
    ("depth", "known", "raw", 100),
    ("stereo", "known", "compressed", 100),
    ("wheel", "known", "raw", 60),
    ("depth", "sift", "compressed", 12),
]


@pytest.mark.parametrize(("scale_source", "matcher", "transport", "examples"), RUNS)
def test_messages_to_vo_node(scale_source, matcher, transport, examples):
    arguments = f"{scale_source!r}, {matcher!r}, {transport!r}, limit_memory, {examples}"
    code = f"import message_fuzz; message_fuzz.fuzz_vo({arguments})"
    run_limited(code, *FOLDERS)


def test_messages_to_mapping_node():
    run_limited("import message_fuzz; message_fuzz.fuzz_mapping(limit_memory, 80)", *FOLDERS)


def test_messages_that_claim_to_be_huge_take_no_memory():
    assert "bounded" in run_limited("import message_fuzz; message_fuzz.huge(limit_memory)", *FOLDERS)
