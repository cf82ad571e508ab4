"""Dense mapping: keyframes in, depth maps and a bounded point cloud out."""

from ros_matching.mapping.config import MappingConfig
from ros_matching.mapping.dense_mapper import DenseMapper, load_dense_mapper
from ros_matching.mapping.result import MappingCounts, MappingResult, MappingStatus

__all__ = ["DenseMapper", "MappingConfig", "MappingCounts", "MappingResult", "MappingStatus", "load_dense_mapper"]
