"""The tracker with features that are tensors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from point_world import PointWorld, cloud, walk

from ros_matching.datatypes import Features
from ros_matching.io import open_source
from ros_matching.matching.learned import TensorMetric, learned_matcher
from ros_matching.networks.ncnet.matcher import ConsensusConfig, ConsensusMatcher
from ros_matching.networks.ncnet.network import consensus_network
from ros_matching.networks.posfeat.extractor import PoSFeatExtractor
from ros_matching.networks.posfeat.lite import PoSFeatLite
from ros_matching.odometry.result import TrackingStatus
from ros_matching.visual_odometry import VisualOdometry


class TensorWorld(PointWorld):
    """A point world with tensor features, made in inference mode as by a network."""

    def __init__(self, points: np.ndarray, world_from_camera: np.ndarray) -> None:
        super().__init__(points, world_from_camera)
        self.metric = TensorMetric()
        self.metric.max_distance = 0.1

    @torch.inference_mode()
    def extract(self, image: np.ndarray) -> Features:
        features = super().extract(image)
        keypoints, scores, descriptors = map(
            torch.from_numpy, (features.keypoints, features.scores, features.descriptors)
        )
        return replace(features, keypoints=keypoints.clone(), scores=scores, descriptors=descriptors.clone())

    def match_points(self, features0, features1):
        host = [replace(f, descriptors=f.descriptors.numpy()) for f in (features0, features1)]
        return super().match_points(*host)


def test_arrays_and_tensors_give_the_same_track():
    points, poses = cloud(), walk(60)
    tracks = []
    for world in (PointWorld(points, poses), TensorWorld(points, poses)):
        odometry = VisualOdometry(world)
        tracks.append([odometry.track(frame) for frame in world.frames()])
    assert sum(result.status is TrackingStatus.TRACKING for result in tracks[0]) > 40
    for plain, tensor in zip(*tracks, strict=True):
        assert plain.status is tensor.status
        assert plain.counts == tensor.counts
        if plain.world_from_camera is not None:
            np.testing.assert_allclose(plain.world_from_camera, tensor.world_from_camera, atol=1e-9)


def test_a_network_of_random_weights_runs_on_a_sequence():
    torch.manual_seed(0)
    network = PoSFeatLite().eval()
    ncnet = ConsensusMatcher(consensus_network("ncnet_lite"), ConsensusConfig(map_sampling="aligned"))
    for consensus in (None, ncnet):
        odometry = VisualOdometry(learned_matcher("posfeat", PoSFeatExtractor(network), consensus))
        for frame in open_source("scene:room?frames=40&fps=10&width=160&height=128", stride=8):
            assert odometry.track(frame).counts.keypoints > 0
