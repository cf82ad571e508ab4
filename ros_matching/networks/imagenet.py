"""The colours that networks pretrained on ImageNet, and those built like them, expect."""

from __future__ import annotations

import torch
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # of RGB from 0 to 1, as is the deviation
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


def level_statistics(device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Mean and deviation (3, 1, 1) each of RGB levels from 0 to 255."""
    mean, deviation = (
        255 * torch.tensor(values, device=device).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_DEVIATION)
    )
    return mean, deviation
