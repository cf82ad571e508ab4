"""Layouts of data sets and capture apps, one file per family; each file has its ``FORMAT`` or several ``FORMATS``."""

from ros_matching.io.layouts import (
    colmap,
    kitti_raw,
    mono_vo,
    record3d,
    rgbd,
    stray_scanner,
    tartanair,
    transforms,
    tum_vi,
    tutorial,
)

LAYOUTS = (
    tum_vi.FORMAT,
    mono_vo.FORMAT,
    kitti_raw.FORMAT,
    tutorial.FORMAT,
    tartanair.FORMAT,
    *rgbd.FORMATS,
    colmap.FORMAT,
    transforms.FORMAT,
    record3d.FORMAT,
    stray_scanner.FORMAT,
)
