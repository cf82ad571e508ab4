"""Settings of dense mapping and of occupancy grids.

``MappingConfig`` is composed of the settings of its parts: depth estimation and depth consistency. Each default is
defined once, in the part that it belongs to.
"""

from __future__ import annotations

from dataclasses import dataclass

from ros_matching.config import Config, parameter
from ros_matching.errors import ConfigError
from ros_matching.networks.pbs_mvsnet.estimator import DepthConfig


@dataclass(frozen=True)
class ConsistencyConfig(Config):
    """Settings of the comparison of a depth map with those of other views."""

    min_confidence: float = parameter(
        0.5,
        "smallest confidence of a depth; 0.8 in the paper, whose scenes are models on a table",
        minimum=0,
        maximum=1,
    )
    max_compared: int = parameter(
        6, "limit of other views that a depth map is compared with, the best ones", minimum=1, maximum=32
    )
    min_consistent: int = parameter(2, "other views whose depth has to agree; 3 in the paper", minimum=0, maximum=32)
    max_error_px: float = parameter(
        1.0, "largest reprojection error of consistent depths, in pixels of the depth map", minimum=0.01, maximum=20
    )
    max_depth_error: float = parameter(
        0.03, "largest relative error of consistent depths; 0.01 in the paper", minimum=0.0001, maximum=0.5
    )
    strong_confidence: float = parameter(
        0.8,
        "a depth of more confidence needs one other view fewer (but one), which agrees to half of max_depth_error; 1: "
        "no depth does",
        minimum=0,
        maximum=1,
    )
    max_edge_error: float = parameter(
        0.04,
        "flying points between the surfaces at a depth edge: largest relative distance of a depth from both; 0: they "
        "stay",
        minimum=0,
        maximum=1,
    )
    min_neighbours: int = parameter(
        3,
        "of the 8 pixels around a depth, those that must have depths too; 0: isolated ones stay",
        minimum=0,
        maximum=8,
    )


@dataclass(frozen=True)
class MappingConfig(DepthConfig, ConsistencyConfig):
    """Settings of ``DenseMapper``. Lengths are in the unit of the map: metres if its scale is metric."""

    views: int = parameter(5, "views that a depth map is estimated from, including its own", minimum=2, maximum=16)
    window: int = parameter(16, "most recent keyframes among which views are chosen", minimum=2, maximum=200)
    delay: int = parameter(
        1,
        "later keyframes that depth estimation waits for, and filtering again: a keyframe is mapped after twice as "
        "many; 0 maps at once, from earlier views only",
        minimum=0,
        maximum=16,
    )
    best_parallax_deg: float = parameter(
        5.0, "best angle between the viewing rays of two views for depth, in degrees", minimum=0.1, maximum=45
    )
    min_parallax_deg: float = parameter(
        0.5, "median angle below which a view has too small a baseline, in degrees", minimum=0.01, maximum=45
    )
    min_overlap: float = parameter(
        0.3, "smallest fraction of the keyframe's sparse points that a view observes", minimum=0.01, maximum=1
    )
    min_sparse_points: int = parameter(
        20, "smallest number of sparse points for a depth range", minimum=2, maximum=10000
    )
    range_quantile: float = parameter(
        0.02, "fraction of the sparse depths below the range, and above it", minimum=0, maximum=0.4
    )
    range_margin: float = parameter(0.1, "fraction by which the range is widened at both ends", minimum=0, maximum=2)
    max_plane_error: float = parameter(
        0.015,
        "holes in weakly textured parts of the image are filled if the depths around them fit a plane to this relative "
        "error; 0: holes stay",
        minimum=0,
        maximum=0.2,
    )
    min_observations: int = parameter(
        1,
        "keyframes that have to observe a voxel before the cloud contains it; 2 is cleaner",
        minimum=1,
        maximum=100,
        former_name="min_sightings",
    )
    voxel_size: float = parameter(
        0.0,
        "edge length of the voxels, which hold one point each; 0: 1/100 of the first depths",
        minimum=0,
        maximum=100,
    )
    max_points: int = parameter(
        1_000_000, "limit of points in the map; the least recently observed are removed", minimum=1000
    )
    radius: float = parameter(
        0.0, "distance from the newest keyframe beyond which points are removed; 0: no limit", minimum=0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.window < self.views:
            raise ConfigError(f"MappingConfig.window must be at least views {self.views}, got {self.window}")
        if self.window <= 2 * self.delay:
            raise ConfigError(
                f"MappingConfig.window must exceed twice the delay {self.delay}, got {self.window}: a keyframe has to "
                "be mapped before it leaves"
            )


GROUNDS = ("plane", "height", "known")


@dataclass(frozen=True)
class GridConfig(Config):
    """Settings of ``OccupancyMapper``. Lengths are in the unit of the map: metres if its scale is metric."""

    resolution: float = parameter(0.05, "edge length of the cells", minimum=0.001, maximum=10)
    min_height: float = parameter(
        0.1, "height above the ground below which points are part of it, not obstacles", minimum=0, maximum=10
    )
    max_height: float = parameter(
        1.0, "height of the robot: what is higher above the ground is no obstacle", minimum=0.01, maximum=100
    )
    max_range: float = parameter(5.0, "largest distance of points from the camera", minimum=0.1, maximum=1000)
    ground: str = parameter(
        "plane",
        "ground: plane (a plane is fitted to the points below the cameras), height (level, its height is estimated) or "
        "known (level, at floor_height)",
        choices=GROUNDS,
    )
    floor_height: float = parameter(0.0, "height of the ground in the fixed frame, with ground known")
    min_hits: int = parameter(
        2, "keyframes that have to observe a surface in a cell before it is occupied", minimum=1, maximum=100
    )
    max_keyframes: int = parameter(
        1000, "keyframes whose cells move with corrected poses; earlier ones stay where they are", minimum=1
    )
    max_side: int = parameter(4000, "most cells along a side of the grid, around the newest keyframe", minimum=10)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_height <= self.min_height:
            raise ConfigError(f"GridConfig.max_height must exceed min_height {self.min_height}, got {self.max_height}")
