"""Frame sources, trajectory files and point-cloud files."""

from ros_matching.io.formats import open_source
from ros_matching.io.source import FrameSource

__all__ = ["FrameSource", "open_source"]
