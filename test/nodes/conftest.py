"""What the tests of the nodes share."""

from __future__ import annotations

import pytest


@pytest.fixture
def context():
    """A ROS context in a domain of its own."""
    rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
    from ros_matching.nodes.isolation import isolate

    isolate()
    context = rclpy.context.Context()
    rclpy.init(context=context)
    yield context
    context.try_shutdown()
