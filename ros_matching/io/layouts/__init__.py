"""Layouts of data sets and capture apps, one file per family; each file has its ``FORMAT`` or several ``FORMATS``."""

from ros_matching.io.layouts import (
    colmap,
    kitti_raw,
    mono_vo,
    phone,
    rgbd,
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
    *phone.FORMATS,
)
