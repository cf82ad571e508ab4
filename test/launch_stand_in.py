"""Modules in place of ``launch`` and ``launch_ros``, which record what a launch file makes of them."""

from __future__ import annotations

import logging
import sys
from types import ModuleType, SimpleNamespace

import pytest


class Recorded:
    """An action, event handler or substitution with what it was made of."""

    def __init__(self, *args, **kwargs) -> None:
        self.args, self.kwargs = args, kwargs

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.args}, {self.kwargs})"


NAMES = {
    "launch": ("LaunchContext", "LaunchDescription", "LaunchDescriptionEntity"),
    "launch.actions": (
        "DeclareLaunchArgument",
        "ExecuteProcess",
        "IncludeLaunchDescription",
        "OpaqueFunction",
        "RegisterEventHandler",
        "Shutdown",
    ),
    "launch.event_handlers": ("OnProcessIO", "OnProcessStart"),
    "launch.launch_description_sources": ("PythonLaunchDescriptionSource",),
    "launch.logging": (),
    "launch.substitutions": ("LaunchConfiguration", "PathJoinSubstitution"),
    "launch_ros": (),
    "launch_ros.actions": ("LifecycleNode", "Node"),
    "launch_ros.parameter_descriptions": ("ParameterValue",),
    "launch_ros.substitutions": ("FindPackageShare",),
}


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let imports of launch find these modules, for the length of a test."""
    for name, members in NAMES.items():
        module = ModuleType(name)
        for member in members:
            setattr(module, member, type(member, (Recorded,), {}))
        monkeypatch.setitem(sys.modules, name, module)
    sys.modules["launch.logging"].get_logger = logging.getLogger


class Context:
    """The part of a launch context that the launch file needs."""

    def __init__(self, **launch_configurations: str) -> None:
        self.launch_configurations = launch_configurations
        self.locals = SimpleNamespace()
        self.is_shutdown = False

    def extend_globals(self, values: dict) -> None:
        vars(self.locals).update(values)
