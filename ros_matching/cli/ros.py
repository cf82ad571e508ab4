"""What the subcommands that need ROS 2 have in common."""

from __future__ import annotations

from ros_matching.errors import MissingDependencyError


def require_ros() -> None:
    """Raise ``MissingDependencyError``, with the remedy, unless rclpy and this package's messages are there."""
    try:
        import rclpy  # noqa: F401
        import tf2_msgs.msg  # noqa: F401

        import ros_matching.msg  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f"this needs ROS 2 and the built messages of ros_matching ({error}); source a workspace in which "
            "ros_matching was built (. install/setup.bash), or run `make build` in its repository and use "
            ".venv/bin/ros-matching from there"
        ) from error
