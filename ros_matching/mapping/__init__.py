"""Dense mapping: keyframes in, depth maps and a bounded point cloud out."""

from ros_matching.mapping.config import GridConfig, MappingConfig
from ros_matching.mapping.dense_mapper import DenseMapper, load_dense_mapper
from ros_matching.mapping.occupancy_mapper import OccupancyMapper
from ros_matching.mapping.result import MappingCounts, MappingResult, MappingStatus

__all__ = [
    "DenseMapper",
    "GridConfig",
    "MappingConfig",
    "MappingCounts",
    "MappingResult",
    "MappingStatus",
    "OccupancyMapper",
    "load_dense_mapper",
]
