"""The tracker on a front end whose features are tensors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from point_world import PointWorld, cloud, walk

from ros_matching.datatypes import Features
from ros_matching.io import open_source
from ros_matching.matching.learned import LearnedMatcher
from ros_matching.networks.ncnet.matcher import ConsensusConfig, ConsensusMatcher
from ros_matching.networks.ncnet.network import consensus_network
from ros_matching.networks.posfeat.extractor import PoSFeatExtractor
from ros_matching.networks.posfeat.lite import PoSFeatLite
from ros_matching.networks.posfeat.nearest import NearestMatcher
from ros_matching.odometry.result import TrackingStatus
from ros_matching.visual_odometry import VisualOdometry


class TensorWorld(PointWorld):
    """The same world; its features are tensors, made in inference mode as a network's are."""

    @torch.inference_mode()
    def extract(self, image: np.ndarray) -> Features:
        features = super().extract(image)
        keypoints, scores, descriptors = map(
            torch.from_numpy, (features.keypoints, features.scores, features.descriptors)
        )
        return replace(features, keypoints=keypoints.clone(), scores=scores, descriptors=descriptors.clone())

    def match_features(self, features0, features1, camera0=None, camera1=None):
        host = [replace(f, descriptors=f.descriptors.numpy()) for f in (features0, features1)]
        return super().match_features(*host, camera0, camera1)

    def descriptor_distance(self, descriptors0, descriptors1) -> np.ndarray:
        return LearnedMatcher.descriptor_distance(self, descriptors0, descriptors1)


def test_features_of_either_kind_give_the_same_track():
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


def test_a_network_of_random_weights_survives_a_sequence():
    torch.manual_seed(0)
    network = PoSFeatLite().eval()
    consensus = ConsensusMatcher(consensus_network("ncnet_lite"), ConsensusConfig(map_sampling="aligned"))
    for matching in (NearestMatcher(), consensus):
        odometry = VisualOdometry(LearnedMatcher("posfeat", PoSFeatExtractor(network), matching))
        for frame in open_source("scene:room?frames=40&fps=10&width=160&height=128", stride=8):
            assert odometry.track(frame).counts.keypoints > 0
