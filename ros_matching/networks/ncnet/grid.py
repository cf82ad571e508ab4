"""Where the cells of a descriptor map lie in the image."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

SAMPLINGS = ("published", "aligned")


class MapGrid(NamedTuple):
    """A descriptor map of ``rows`` x ``columns`` cells, one for ``stride`` x ``stride`` pixels of the image.

    Cells lie where the extractor reads the descriptors of its keypoints. With ``sampling`` "aligned", cell centres are
    the centres of their pixels. With "published", PoSFeat's, pixel x of an image W = stride w wide is read at
    x w / (W - 1) - 1/2 (it takes -1 and 1 for the centres of the outer pixels when it normalises coordinates and for
    their outer edges when it samples, and was trained so): up to half a pixel away from that.
    """

    rows: int
    columns: int
    stride: int
    sampling: str = "published"

    def from_px(self, points_px: Tensor) -> Tensor:
        """Map coordinates (..., 2), x and y with cell centres at integers, of pixels."""
        if self.sampling == "aligned":
            return (points_px + 0.5) / self.stride - 0.5
        return points_px * points_px.new_tensor(self._cells_per_px) - 0.5

    def to_px(self, points: Tensor) -> Tensor:
        """Pixels (..., 2) of map coordinates."""
        if self.sampling == "aligned":
            return (points + 0.5) * self.stride - 0.5
        return (points + 0.5) / points.new_tensor(self._cells_per_px)

    @property
    def _cells_per_px(self) -> tuple[float, float]:
        return self.columns / (self.columns * self.stride - 1), self.rows / (self.rows * self.stride - 1)
