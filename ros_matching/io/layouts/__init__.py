"""Layouts of data sets and capture apps, one file per family, each with the ``SourceFormat`` of its layouts."""

from ros_matching.io.layouts import (
    colmap,
    euroc,
    kitti,
    kitti_raw,
    nerfstudio,
    record3d,
    rgbd,
    stray_scanner,
    tartanair,
    tum,
)

LAYOUTS = (
    euroc.EUROC,
    tum.TUM_RGBD,
    kitti.KITTI,
    rgbd.SEVEN_SCENES,
    euroc.TUM_VI,
    tum.MONO_VO,
    kitti_raw.FORMAT,
    kitti.TUTORIAL,
    tartanair.FORMAT,
    tartanair.TEST_SET,
    *rgbd.WITH_POSES,
    colmap.FORMAT,
    nerfstudio.FORMAT,
    record3d.FORMAT,
    stray_scanner.FORMAT,
)
