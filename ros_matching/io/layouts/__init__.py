"""Layouts of data sets and capture apps, one file per family; each file has its ``FORMAT`` or several ``FORMATS``."""

from ros_matching.io.layouts import kitti_raw, rgbd, tartanair, tutorial

LAYOUTS = (
    kitti_raw.FORMAT,
    tutorial.FORMAT,
    tartanair.FORMAT,
    *rgbd.FORMATS,
)
