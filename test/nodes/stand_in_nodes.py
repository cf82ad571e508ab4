"""Nodes for tests of their executables: `python stand_in_nodes.py NAME FOLDER --ros-args ...`.

Each prints a line at the point where the test wants to send a signal, and waits there for the file FOLDER/go.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticStatus
from mapping_peer import KnownMapper

from ros_matching.errors import NodeError
from ros_matching.nodes.common.diagnostics import NodeReport
from ros_matching.nodes.common.executable import run_node
from ros_matching.nodes.common.managed_node import ManagedNode
from ros_matching.nodes.mapping.mapping_node import MappingNode
from ros_matching.nodes.vo.config import VoConfig

GO = Path(sys.argv[2]) / "go"


def wait_for_go(where: str) -> None:
    print(where, flush=True)
    while not GO.exists():
        time.sleep(0.01)


class SlowNode(ManagedNode):
    """Waits while it is configured."""

    NAME, TITLE, LIBRARY, CONFIGS = "slow_node", "a test", "ros_matching", (("", VoConfig),)

    def _configure(self) -> None:
        wait_for_go("configuring")

    def _activate(self) -> None:
        raise NodeError("it must not be activated")

    def _watch(self) -> None:
        pass

    def _report(self):
        return "", NodeReport(DiagnosticStatus.OK, "", {})


class SlowMapper(KnownMapper):
    """Maps the first keyframe at once and waits in the second."""

    def add(self, keyframe):
        if self.keyframes:
            wait_for_go("in the second keyframe")
        return super().add(keyframe)


class SlowMappingNode(MappingNode):
    """mapping_node with the slow mapper."""

    def __init__(self) -> None:
        super().__init__(load=lambda device, config, **options: SlowMapper(device, config, **options))


if __name__ == "__main__":
    make = {"slow_node": SlowNode, "mapping_node": SlowMappingNode}[sys.argv[1]]
    sys.exit(run_node(make, sys.argv[3:]))
