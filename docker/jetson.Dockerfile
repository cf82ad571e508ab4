# ros_matching on a Jetson (arm64, JetPack 6) with NVIDIA's PyTorch, on ROS 2 Humble, which Ubuntu 22.04 has. On the Jetson:
#
#   docker build -f docker/jetson.Dockerfile -t ros_matching:jetson .
#   docker run --rm -it --network host --runtime nvidia ros_matching:jetson
ARG BASE=nvcr.io/nvidia/l4t-jetpack:r36.4.0
FROM ${BASE}
ARG ROS_DISTRO=humble
ARG TORCH=torch
# NVIDIA's builds for JetPack 6 and CUDA 12.6
ARG TORCH_INDEX=https://pypi.jetson-ai-lab.io/jp6/cu126
ENV ROS_DISTRO=${ROS_DISTRO} PIP_NO_CACHE_DIR=1 DEBIAN_FRONTEND=noninteractive
SHELL ["/bin/bash", "-o", "pipefail", "-c"]

# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates curl gnupg \
    && curl -fsSL https://raw.githubusercontent.com/ros/rosdistro/master/ros.key \
        -o /usr/share/keyrings/ros-archive-keyring.gpg \
    && echo "deb [signed-by=/usr/share/keyrings/ros-archive-keyring.gpg] http://packages.ros.org/ros2/ubuntu jammy main" \
        > /etc/apt/sources.list.d/ros2.list \
    && apt-get update \
    && apt-get install --yes --no-install-recommends \
        build-essential python3-colcon-common-extensions python3-pip python3-rosdep "ros-$ROS_DISTRO-ros-base" \
    && rosdep init \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /ws
COPY package.xml src/ros_matching/
RUN apt-get update \
    && rosdep update --rosdistro "$ROS_DISTRO" \
    && rosdep install --from-paths src --ignore-src --default-yes --skip-keys python3-torch \
    && rm -rf /var/lib/apt/lists/*

COPY docker/requirements.txt docker/
# hadolint ignore=DL3013
RUN numpy=$(python3 -c 'import numpy; print("numpy<%d" % (int(numpy.__version__.split(".")[0]) + 1))') \
    && pip install "$TORCH" --index-url "$TORCH_INDEX" \
    && pip install "$numpy" --requirement docker/requirements.txt

COPY . src/ros_matching
RUN . "/opt/ros/$ROS_DISTRO/setup.bash" && colcon build && rm -rf build log

COPY docker/entrypoint.sh /
ENTRYPOINT ["/entrypoint.sh"]
CMD ["ros2", "launch", "ros_matching", "vo.launch.py"]
