"""The learned front ends: PoSFeat's features, matched as mutual nearest neighbours or by NCNet, pruned by NCMNet.

    posfeat                 mutual nearest neighbours; score: one minus the ratio to the second nearest
    posfeat+ncnet           nearest neighbours among keypoints that neighbourhood consensus lets through; the same score
    posfeat+ncmnet          nearest neighbours, pruned; score: the same, times NCMNet's confidence in the match
    posfeat+ncnet+ncmnet    both
    ...+cnngeometric        which besides tell how much of an image another shows, by CNNGeometric

What is left at the end is refined: the second point moves to where the image looks like it does around the first.

All of them extract the same features, so that one matcher takes another's. Pruning needs both cameras and as many
matches as the network has to keep half of, twice; without, the matches stay what they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ros_matching.datatypes import Camera, Features, Matches
from ros_matching.errors import MatchingError
from ros_matching.matching.refinement import RefinementConfig, refine
from ros_matching.matching.two_view import TwoViewMatcher
from ros_matching.networks.cnn_geometric.overlap_estimator import OverlapEstimator
from ros_matching.networks.ncmnet.pruner import NCMNetPruner
from ros_matching.networks.ncnet.matcher import ConsensusMatcher
from ros_matching.networks.posfeat.extractor import MIN_SIDE_PX, PoSFeatExtractor
from ros_matching.networks.posfeat.nearest import NearestMatcher

_REFINEMENT = RefinementConfig()


class LearnedMatcher(TwoViewMatcher):
    """PoSFeat features, matched by ``matching``; where there is a ``pruner``, pruned; unless told otherwise, refined.

    Features stay on the device of the network: keypoints, scores, descriptors and, for neighbourhood consensus, the
    descriptor map are tensors there; for the ``overlap``, the map's cells.
    """

    guided_max_distance = 0.9  # between unit vectors: a cosine of 0.6
    min_side_px = MIN_SIDE_PX

    def __init__(
        self,
        name: str,
        extractor: PoSFeatExtractor,
        matching: NearestMatcher | ConsensusMatcher,
        pruner: NCMNetPruner | None = None,
        refinement: RefinementConfig | None = _REFINEMENT,
        overlap: OverlapEstimator | None = None,
    ) -> None:
        self.name = name
        self._extractor = extractor
        self._consensus = matching if isinstance(matching, ConsensusMatcher) else None
        self._nearest = matching if self._consensus is None else self._consensus.nearest
        self._pruner = pruner
        self._refinement = refinement
        self._overlap = overlap
        self.nearby_is_all = self._consensus is None and pruner is None
        self.match_stage = "match" if self._consensus is None else "ncnet"
        self.prune_stage = "match" if pruner is None else "ncmnet"

    @property
    def features_backend(self) -> str:
        """The network that describes the images."""
        return self._extractor.network.name

    @property
    def engine(self) -> str:
        """The engine that runs the feature extractor, and its precision."""
        return self._extractor.engine

    def extract(self, image: np.ndarray) -> Features:
        """Keypoints to sub-pixel with unit (N, 128) descriptors, strongest first; see ``PoSFeatExtractor.extract``."""
        features = self._extractor.extract(image)
        cells = None if self._overlap is None else self._overlap.cells(features.dense_map)
        # A map of 640x480 pixels takes 10 MB, and a tracker keeps the features of many images.
        return replace(features, cells=cells, dense_map=None if self._consensus is None else features.dense_map)

    def match_features(
        self, features0: Features, features1: Features, camera0: Camera | None = None, camera1: Camera | None = None
    ) -> Matches:
        """One-to-one matches; what their score means is told at the top of this file."""
        matches = self.match_keypoints(features0, features1)
        if camera0 is not None and camera1 is not None:
            matches = self.pruned(matches, camera0, camera1)
        return self.refined(matches, features0, features1)

    def match_keypoints(
        self,
        features0: Features,
        features1: Features,
        camera0: Camera | None = None,
        camera1: Camera | None = None,
        nearby: Matches | None = None,
    ) -> Matches:
        """The same before they are pruned and refined; of the nearest neighbours ``nearby`` where they are known."""
        nearby = self.match_nearby(features0, features1) if nearby is None else nearby
        return nearby if self._consensus is None else self._consensus.match(features0, features1, nearby)

    def match_nearby(self, features0: Features, features1: Features) -> Matches:
        """Mutual nearest neighbours, without consensus."""
        self._check_own(features0)
        self._check_own(features1)
        return self._nearest.match(features0, features1)

    def pruned(self, matches: Matches, camera0: Camera, camera1: Camera) -> Matches:
        """What NCMNet keeps, its confidence in the scores; where there are too few for it, all."""
        pruned = None if self._pruner is None else self._pruner.prune(matches, camera0, camera1)
        if pruned is None:
            return matches
        return replace(pruned.matches, scores=pruned.matches.scores * matches.scores[pruned.rows])

    @torch.inference_mode()
    def refine_points(
        self, features0: Features, features1: Features, points0: np.ndarray, points1: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """``points1`` (M, 2) to a fraction of a pixel where ``points0`` (M, 2) appear; see ``refinement.refine``."""
        if self._refinement is None:
            return super().refine_points(features0, features1, points0, points1)
        grey0, grey1 = features0.grey, features1.grey
        points = (torch.from_numpy(points).to(grey0.device).float() for points in (points0, points1))
        exact, sigmas_px = refine(grey0, grey1, *points, self._refinement)
        return exact.double().cpu().numpy(), sigmas_px.double().cpu().numpy()

    def overlaps(self, features: Features, others: Sequence[Features]) -> np.ndarray | None:
        """By CNNGeometric, where this front end has it; see ``OverlapEstimator``."""
        if self._overlap is None:
            return None
        for each in (features, *others):
            self._check_own(each)
            if each.cells is None:
                raise MatchingError(f"matcher {self.name!r} needs features with cells; extract them with this matcher")
        if not others:
            return np.zeros(0)
        return self._overlap.shares(features.cells, torch.stack([each.cells for each in others])).double().cpu().numpy()

    @torch.inference_mode()
    def descriptor_distance(self, descriptors0: Tensor, descriptors1: Tensor) -> np.ndarray:
        """Euclidean distance of unit vectors, row by row, in host memory."""
        return (descriptors0 - descriptors1).norm(dim=1).cpu().numpy()
