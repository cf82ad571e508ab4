"""No depth and no point where the mask excludes the image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from wall_world import CAMERA, KnownDepth, walk

from ros_matching.mapping import DenseMapper, MappingConfig, MappingStatus

CONFIG = MappingConfig(min_consistent=2, views=4, max_depth_error=0.01)


def test_the_masked_part_of_an_image_is_not_mapped() -> None:
    mask = np.ones((CAMERA.height, CAMERA.width), bool)
    mask[60:] = False
    mapper = DenseMapper(KnownDepth(), CONFIG)
    keyframes = [replace(keyframe, frame=replace(keyframe.frame, mask=mask)) for keyframe in walk(8)]
    results = [mapper.add(keyframe) for keyframe in keyframes] + mapper.finish()
    mapped = [result for result in results if result.status is MappingStatus.MAPPED]
    assert len(mapped) >= 6
    for result in mapped:
        assert np.isfinite(result.depth_map.depth[:14]).any()
        assert not np.isfinite(result.depth_map.depth[15:]).any()
    assert mapper.cloud().points[:, 1].max() < 0.2
