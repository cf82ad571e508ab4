"""Fast blurred turns with an IMU: ``python test/odometry/inertial_turns.py --seeds 0 1 --degrees 14 20``.

Prints for each walk the images that were bridged, whether all images from the turn on had a metric pose, and the errors
of position and rotation at the end, relative to the pose before the turn.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "helpers"))

from inertial_turn import TurningWalk

from ros_matching.datatypes import ScaleState
from ros_matching.geometry.se3 import invert, local
from ros_matching.matching import load_matcher
from ros_matching.odometry.result import TrackingResult, TrackingStatus
from ros_matching.scale import ScaleConfig, make_scale_estimator
from ros_matching.visual_odometry import VisualOdometry


def tracked(walk: TurningWalk) -> list[TrackingResult]:
    """Results of a walk, with the scale by the IMU."""
    matcher, imu = load_matcher("sift"), walk.imu()
    scale = make_scale_estimator(ScaleConfig(source="imu"), matcher, imu=imu)
    odometry = VisualOdometry(matcher, scale=scale, imu=imu)
    return [odometry.track(frame) for frame in walk.frames()]


def summary(walk: TurningWalk, results: list[TrackingResult]) -> str:
    """One line about a walk."""
    turn = int(walk.before_s * walk.fps)
    poses = walk.poses(np.arange(walk.count) / walk.fps)
    counts = {status: sum(r.status is status for r in results[turn - 2 :]) for status in TrackingStatus}
    scales = {state: sum(r.scale is state for r in results[turn - 2 :]) for state in ScaleState}
    moved = invert(results[turn - 2].world_from_camera) @ results[-1].world_from_camera
    error = local(moved, invert(poses[turn - 2]) @ poses[-1])
    return (
        f"{walk.degrees:g} degrees an image, seed {walk.seed}: bridged {counts[TrackingStatus.BRIDGED]}, "
        f"lost {counts[TrackingStatus.LOST]}, metric {scales[ScaleState.METRIC]}, "
        f"anchored {scales[ScaleState.ANCHORED]}, up to scale {scales[ScaleState.UP_TO_SCALE]}; at the end "
        f"{np.linalg.norm(error[:3]):.3f} m, {np.degrees(np.linalg.norm(error[3:])):.2f} degrees, "
        f"sigma {results[-1].scale_sigma:.3f}"
    )


def main() -> None:
    """Run the walks of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3])
    parser.add_argument("--degrees", type=float, nargs="+", default=[14.0, 20.0, 28.0])
    arguments = parser.parse_args()
    for degrees in arguments.degrees:
        for seed in arguments.seeds:
            walk = TurningWalk(seed, degrees)
            print(summary(walk, tracked(walk)), flush=True)


if __name__ == "__main__":
    main()
