"""Connection of the virtual environment with the overlay of colcon, so that nothing has to be sourced.

``python ros_matching_overlay.py SOURCE OVERLAY`` copies this file into the environment, next to a .pth file that Python
reads at every start. That one puts the source tree on the path, then the overlay's generated messages (the tree first,
so that editing it needs no rebuild), and calls ``enter`` for what is not a Python path.
"""

import os
import sys


def join(source: str, overlay: str) -> None:
    """Add the source tree and the overlay to every Python of this environment."""
    import shutil
    import sysconfig
    from pathlib import Path

    site_packages = Path(sysconfig.get_path("purelib"))
    (messages,) = Path(overlay).glob("**/ros_matching/msg/__init__.py")
    shutil.copy(__file__, site_packages / "ros_matching_overlay.py")
    lines = [source, str(messages.parents[2]), f"import ros_matching_overlay; ros_matching_overlay.enter({overlay!r})"]
    (site_packages / "ros_matching_overlay.pth").write_text("\n".join(lines) + "\n")


def enter(overlay: str) -> None:
    """Add the overlay to the search paths of ROS, in this process and its children.

    The dynamic loader reads LD_LIBRARY_PATH once, when a process starts, so Python restarts when it changes. The
    bootstrapper of the ROS wheels, which runs after this, does so for their libraries, and then serves both.
    """
    has_ros_wheels = os.path.isdir(os.path.join(os.path.dirname(__file__), "ros_wheels_bootstrapper"))
    if has_ros_wheels:
        _prepend("AMENT_PREFIX_PATH", sys.prefix)
    _prepend("AMENT_PREFIX_PATH", overlay)
    if not _prepend("LD_LIBRARY_PATH", os.path.join(overlay, "lib")):
        return
    if has_ros_wheels:
        os.environ.pop("_ROS_WHEELS_BOOTSTRAP_COMPLETE", None)  # set by another environment for its libraries
    else:
        os.execv(sys.executable, sys.orig_argv)


def _prepend(variable: str, folder: str) -> bool:
    """Prepend the folder to the variable; return True if it was missing."""
    folders = [part for part in os.environ.get(variable, "").split(os.pathsep) if part]
    if folder in folders:
        return False
    os.environ[variable] = os.pathsep.join([folder, *folders])
    return True


if __name__ == "__main__":
    join(*map(os.path.abspath, sys.argv[1:]))
