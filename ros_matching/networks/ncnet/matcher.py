"""Matching the keypoints of two images by neighbourhood consensus on PoSFeat's descriptor maps.

NCNet finds, for every cell of a coarse map, the cell of the other image that its surroundings agree on; that is one
match per 16 x 16 pixels and no better than a cell. PoSFeat finds points to a fraction of a pixel, and looks at each of
them alone. Together:

1. Coarse: the descriptor maps (a quarter of the image), unit vectors, averaged over 4 x 4 cells: 40 x 30 cells for
   640 x 480 pixels. Their correlations go through the consensus network, dense or on the strongest pairs only.
2. The scores of cells are transferred to keypoints, in one of three ways:
   - "gated": mutual nearest neighbours of keypoints match if their cells agree in at least one direction, within a
     few cells (``gating.py``).
   - "refined": a keypoint moves with its cell to the best cell of the other image, at the same position in it. Its
     descriptor is compared with 7 x 7 cells of the fine map around it. A quadratic surface around the best one gives
     the point to a fraction of a cell; a maximum at the rim of the window is rejected. A match is a pair of keypoints
     that select each other in this way, from both images, within a few pixels.
   - "agreed": the same, but the point in the second image is its keypoint.

"gated" keeps the detector's positions and gives the best relative poses; "refined" has the fewest wrong matches.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.weak import WeakTensorKeyDictionary

from ros_matching.config import Config, parameter
from ros_matching.datatypes import Features, Matches
from ros_matching.errors import MatchingError
from ros_matching.networks.ncnet.gating import BestCells, CoarseMap, Gate, best_cells, gated
from ros_matching.networks.ncnet.network import ConsensusNetwork, correlate, normalize
from ros_matching.networks.ncnet.readout import SAMPLINGS, MapGrid, refine
from ros_matching.networks.ncnet.sparse import Pairs, filter_pairs, strongest_pairs
from ros_matching.networks.ncnet.sparse import best_cells as best_cells_of_pairs
from ros_matching.networks.posfeat.nearest import NearestMatcher

READOUTS = ("gated", "refined", "agreed")
_NORM_EPS = 1e-12


@dataclass(frozen=True)
class ConsensusConfig(Config):
    """Settings of matching by neighbourhood consensus."""

    form: str = parameter(
        "sparse", "evaluate the consensus on the strongest pairs of cells or on all", choices=("sparse", "dense")
    )
    strongest: int = parameter(10, "sparse form: pairs kept for every cell of either image", minimum=1, maximum=100)
    map_stride: int = parameter(4, "pixels per cell of the descriptor map", minimum=1, maximum=16)
    map_sampling: str = parameter(
        "published", "where the map's cells lie: as PoSFeat reads it, or at their pixels' centres", choices=SAMPLINGS
    )
    coarse_factor: int = parameter(4, "fine cells per coarse cell, along each axis", minimum=1, maximum=16)
    window_radius: int = parameter(
        3, "refined: fine cells searched around a carried keypoint, each way", minimum=1, maximum=16
    )
    agreement_px: float = parameter(
        4.0,
        "not gated: distance between a carried and a detected keypoint up to which they are one",
        minimum=0.1,
        maximum=32,
    )
    min_score: float = parameter(0.2, "not gated: score below which a match is dropped", minimum=0, maximum=1)
    readout: str = parameter("gated", "transfer of the matches of cells to keypoints", choices=READOUTS)
    min_matches: int = parameter(
        200, "gated: nearest neighbours that pass at least, the most distinctive of the others added", minimum=0
    )
    reach: int = parameter(
        2, "gated: coarse cells around the best one in which a keypoint may lie", minimum=0, maximum=20
    )


class _View:
    """One image's part: its keypoints, its fine map (h, w, D) of unit vectors, and its coarse map (1, D, h', w').

    The coarse map is normalised, and kept in ``coarse_maps`` by the descriptor map that it is of.
    """

    def __init__(
        self, features: Features, config: ConsensusConfig, coarse_maps: MutableMapping[Tensor, Tensor]
    ) -> None:
        fine = features.dense_map
        side = 2 * config.window_radius + 1
        if fine is None or fine.ndim != 3 or min(fine.shape[1:]) < max(side, config.coarse_factor):
            shape = None if fine is None else tuple(fine.shape)
            raise MatchingError(
                f"consensus matching needs features with a descriptor map (D, h, w) of at least {side} x {side} cells, "
                f"got {shape} from {features.extractor!r}; extract them with PoSFeat, from a larger image"
            )
        rows, columns = fine.shape[1:]
        self.grid = MapGrid(rows, columns, config.map_stride, config.map_sampling)
        self._dense = fine.detach()
        if fine not in coarse_maps:
            coarse_maps[fine] = normalize(coarse_map(self.fine, config.coarse_factor))
        self.coarse = coarse_maps[fine]
        self.keypoints = torch.as_tensor(features.keypoints, device=fine.device).detach().float()
        self.descriptors = torch.as_tensor(features.descriptors, device=fine.device).detach().float()
        self.points = self.grid.from_px(self.keypoints)  # in cells of the fine map
        self._factor = config.coarse_factor

    @cached_property
    def fine(self) -> Tensor:
        """The fine map."""
        return unit_map(self._dense.float())

    @property
    def keypoint_cells(self) -> CoarseMap:
        """The keypoints on the coarse map."""
        return CoarseMap(_cells(self, self._factor)[0], self.coarse.shape[-1])


class ConsensusMatcher:
    """Two images' PoSFeat features to matches. ``network`` works on the coarse maps: without pooling, in eval mode."""

    def __init__(
        self, network: ConsensusNetwork, config: ConsensusConfig | None = None, nearest: NearestMatcher | None = None
    ) -> None:
        if network.pool != 1:
            raise MatchingError(f"consensus matching needs a network that does not pool, got pool={network.pool}")
        self.network = network
        self.config = config or ConsensusConfig()
        self.nearest = nearest or NearestMatcher()
        # A keyframe is matched with several others, and these with later ones.
        self._coarse_maps = WeakTensorKeyDictionary()

    @torch.inference_mode()
    def match(self, features0: Features, features1: Features, nearest: Matches | None = None) -> Matches:
        """One-to-one matches; ``points1`` are refined on the map if so configured, ``points0`` are keypoints.

        The gate takes the ``nearest`` neighbours where they are known already.

        The score of a gated match is one minus the ratio of the distance of its descriptors to that of the next best;
        of others, how nearly the two cells are each other's best by consensus, times the cosine. Raises
        ``MatchingError`` for features of different extractors or without a descriptor map.
        """
        if features0.extractor != features1.extractor:
            raise MatchingError(
                f"cannot match features of {features0.extractor!r} with those of {features1.extractor!r}; "
                "extract both with one extractor"
            )
        view0, view1 = (_View(features, self.config, self._coarse_maps) for features in (features0, features1))
        if len(features0) == 0 or len(features1) == 0:
            nothing = np.zeros(0, dtype=np.intp)
            return Matches(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0), nothing, nothing)
        correlation = correlate(view0.coarse, view1.coarse)
        if self.config.readout == "gated":
            gate = Gate(view0.keypoint_cells, view1.keypoint_cells, *self._best_cells(correlation), self.config.reach)
            nearest = self.nearest.match(features0, features1) if nearest is None else nearest
            return gated(nearest, gate, self.config.min_matches)
        consensus = self.consensus(correlation)
        carried0, scores = self._carry(view0, view1, consensus)
        carried1, _ = self._carry(view1, view0, consensus.T)
        counterparts, agree = self._agreeing(carried0, carried1, view0.keypoints, view1.keypoints)
        agree &= (scores > 0) & (scores >= self.config.min_score)
        points1 = carried0 if self.config.readout == "refined" else view1.keypoints[counterparts]
        return self._matches(features0, points1, counterparts, agree, scores)

    def consensus(self, correlation: Tensor) -> Tensor:
        """Scores (cells of image 0, cells of image 1), not negative, of a correlation (1, 1, h0, w0, h1, w1)."""
        if self.config.form == "dense":
            scores = self.network.filter(correlation.clamp(min=0)).scores
        else:
            values, pairs = self._of_pairs(correlation)
            scores = pairs.scatter(values)
        return scores.flatten(4).flatten(0, 3)

    def _best_cells(self, correlation: Tensor) -> tuple[BestCells, BestCells]:
        """By consensus, of each cell of image 0 in image 1, and the other way round."""
        if self.config.form == "dense":
            consensus = self.consensus(correlation)
            return best_cells(consensus), best_cells(consensus.T)
        return best_cells_of_pairs(*self._of_pairs(correlation))

    def _of_pairs(self, correlation: Tensor) -> tuple[Tensor, Pairs]:
        """The scores of the strongest pairs of cells."""
        correlation = correlation.clamp(min=0)
        pairs = strongest_pairs(correlation, self.config.strongest)
        return filter_pairs(self.network, pairs.gather(correlation), pairs), pairs

    def _carry(self, source: _View, target: _View, consensus: Tensor) -> tuple[Tensor, Tensor]:
        """Return the positions of the source's keypoints in the target, (N, 2) pixels, and scores (N,), 0 for none.

        ``consensus`` (cells of the source, cells of the target).
        """
        factor = self.config.coarse_factor
        best, cell_to = consensus.max(dim=1)
        rival = consensus.amax(dim=0)[cell_to]  # the best of all cells that want the same one
        mutual = torch.where(best > 0, best / rival.clamp(min=torch.finfo(best.dtype).tiny), best.new_zeros(()))
        cell, offset = _cells(source, factor)
        number = cell_to[cell]
        columns = target.coarse.shape[-1]
        corner = torch.stack([number % columns, number // columns], dim=1) * factor
        refined, cosine = refine(source.descriptors, target.fine, corner + offset, self.config.window_radius)
        return target.grid.to_px(refined), mutual[cell] * cosine.clamp(0, 1)

    def _agreeing(
        self, carried0: Tensor, carried1: Tensor, keypoints0: Tensor, keypoints1: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the counterpart in image 1 of every keypoint of image 0, and True for mutual ones; (N0,) each."""
        distance, counterparts = torch.cdist(carried0, keypoints1).min(dim=1)
        back = (carried1[counterparts] - keypoints0).norm(dim=1)
        limit = self.config.agreement_px
        return counterparts, (distance <= limit) & (back <= limit)

    def _matches(
        self, features0: Features, points1: Tensor, counterparts: Tensor, good: Tensor, scores: Tensor
    ) -> Matches:
        """The best ``good`` match of every keypoint of image 1, in host memory; all crosses from the device at once."""
        columns = [points1, scores[:, None], counterparts[:, None], good[:, None]]
        packed = torch.cat([column.double() for column in columns], dim=1).cpu().numpy()
        rows = np.flatnonzero(packed[:, 4])
        rows = rows[np.argsort(-packed[rows, 2], kind="stable")]
        _, first = np.unique(packed[rows, 3], return_index=True)
        rows = rows[np.sort(first)]
        return Matches(
            points0=features0.keypoints_px[rows],
            points1=packed[rows, :2],
            scores=packed[rows, 2],
            indices0=rows,
            indices1=packed[rows, 3].astype(np.intp),
        )


def unit_map(local: Tensor) -> Tensor:
    """A descriptor map (D, h, w) as unit vectors (h, w, D)."""
    by_cell = local.permute(1, 2, 0).contiguous()
    return by_cell / by_cell.norm(dim=2, keepdim=True).clamp(min=_NORM_EPS)


def coarse_map(fine: Tensor, factor: int) -> Tensor:
    """Sums (1, D, h', w') over factor x factor cells of (h, w, D); only directions matter."""
    rows, columns, _ = fine.shape
    fine = functional.pad(fine, (0, 0, 0, -columns % factor, 0, -rows % factor))
    blocks = fine.unflatten(0, (-1, factor)).unflatten(2, (-1, factor))
    return blocks.sum(dim=3).sum(dim=1).permute(2, 0, 1)[None]  # one axis at a time: 0.7 ms instead of 8


def _cells(view: _View, factor: int) -> tuple[Tensor, Tensor]:
    """The coarse cell (N,) of every keypoint, counted row by row, and its offset (N, 2) from the first fine one."""
    limits = view.points.new_tensor([view.grid.columns - 1, view.grid.rows - 1])
    corner = torch.minimum((view.points + 0.5).floor().clamp(min=0), limits) // factor
    cell = corner[:, 1].long() * view.coarse.shape[-1] + corner[:, 0].long()
    return cell, view.points - corner * factor
