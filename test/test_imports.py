"""The house rules on who may import whom, held against the code."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from ros_matching.cli.main import COMMANDS

PACKAGE = Path(__file__).resolve().parent.parent / "ros_matching"

SHARED = {"datatypes", "errors", "config", "stages", "atomic_file", "succession"}
MAY_IMPORT = {
    "datatypes": {"errors"},
    "errors": set(),
    "config": {"errors"},
    "stages": set(),
    "atomic_file": set(),
    "threads": set(),
    "__init__": {"matching"},  # the front door: ros_matching.load_matcher
    "networks": {"geometry"},
    "geometry": set(),
    "scenes": set(),
    "io": {"geometry", "scenes"},
    "matching": {"networks", "geometry"},
    "atlas": {"geometry"},
    "inertial": {"geometry"},
    "scale": {"atlas", "matching", "geometry", "inertial"},
    "uncertainty": {"atlas", "geometry"},
    "odometry": {"atlas", "matching", "geometry", "uncertainty", "scale", "inertial"},
    "backend": {"atlas", "matching", "geometry"},
    "visual_odometry": {"atlas", "matching", "odometry", "backend", "scale", "inertial"},
    "slam": {"atlas", "matching", "odometry", "backend", "scale", "visual_odometry", "geometry", "inertial"},
    "succession": set(),
    "mapping": {"networks", "geometry"},
    "viewer": {"geometry", "odometry"},
    "evaluation": {"geometry", "io"},
    "batch": {"evaluation", "io"},
    "training": {"networks", "geometry", "io", "scenes", "evaluation", "matching"},
}
MAY_IMPORT["nodes"] = MAY_IMPORT.keys() - {"training"} | {"msg", "srv"}
MAY_IMPORT["cli"] = MAY_IMPORT.keys() | {"msg"}

ROS = {"ament_index_python", "cv_bridge", "launch", "launch_ros", "message_filters", "rclpy", "sensor_msgs_py"}
ROS |= {"rosgraph_msgs", "std_srvs", "tf2_ros", "tf_transformations", "ros_matching.msg"}
HEAVY = {"av", "cv2", "distributed", "evo", "gtsam", "matplotlib", "pandas", "rclpy", "rosbags", "scipy", "torch"}


def imports(file: Path) -> Iterator[tuple[str, bool]]:
    """The modules that a file imports, by full name, and whether that happens when it is itself imported."""
    tree = ast.parse(file.read_text())
    lazy = {
        id(node)
        for scope in ast.walk(tree)
        if isinstance(scope, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        or (isinstance(scope, ast.If) and "TYPE_CHECKING" in ast.unparse(scope.test))
        for node in ast.walk(scope)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) not in lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: write imports of the package in full"
            names = [f"{node.module}.{alias.name}" for alias in node.names] if node.module == "ros_matching" else None
            yield from ((name, id(node) not in lazy) for name in names or [node.module])


def folder_of(file: Path) -> str:
    return file.relative_to(PACKAGE).with_suffix("").parts[0]


def is_ros(module: str) -> bool:
    package = module.split(".")[0]
    return (
        package in ROS
        or package.endswith(("_msgs", "_interfaces"))
        or module.startswith(("ros_matching.msg", "ros_matching.srv"))
    )


FILES = sorted(PACKAGE.rglob("*.py"))


def test_imports_go_one_way() -> None:
    offenders = []
    for file in FILES:
        folder = folder_of(file)
        allowed = MAY_IMPORT[folder] | SHARED | {folder, "load_matcher", "__version__"}
        ours = {module.split(".")[1] for module, _ in imports(file) if module.startswith("ros_matching.")}
        offenders += [f"{file.relative_to(PACKAGE)} imports {other}" for other in sorted(ours - allowed)]
    assert not offenders, "\n".join(offenders)


def test_ros_is_imported_in_nodes_alone() -> None:
    """The command line starts nodes, so it may do so too, but only once a subcommand that needs ROS runs."""
    offenders = []
    for file in FILES:
        folder = folder_of(file)
        for module, at_import in imports(file):
            if is_ros(module) and folder != "nodes" and (at_import or folder != "cli"):
                offenders.append(f"{file.relative_to(PACKAGE)} imports {module}")
    assert not offenders, "\n".join(offenders)


def test_the_command_line_starts_without_heavy_imports() -> None:
    modules = [f"ros_matching.cli.{name.replace('-', '_')}" for name in COMMANDS]
    code = f"import sys, {', '.join(modules)}; print(*{HEAVY} & sys.modules.keys())"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not loaded, f"importing the subcommands loads {', '.join(loaded)}; import them inside of run()"
