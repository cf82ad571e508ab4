#!/bin/bash
# Run a command in the workspace.
set -e
. "/opt/ros/$ROS_DISTRO/setup.bash"
. /ws/install/setup.bash
exec "$@"
