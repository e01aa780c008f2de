"""One structure of a patch made smaller where it lies, as organs that waste away do; what is around it moves up."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .augmentation import Augmentation

REACH = 1.6
"""The surroundings are stretched up to this multiple of the structure's half width."""


def shrink_structure(
    rng: np.random.Generator, image: Tensor, labels: Tensor, settings: Augmentation
) -> tuple[Tensor, Tensor]:
    """Draws one of the structures that occur and how small it becomes, in the plane of the slices.

    Args:
        rng: draws both.
        image: (C, d, h, w).
        labels: (d, h, w).
        settings: ``shrink``, ``shrunken`` and ``smallest``.

    Returns:
        Image, linear, and labels, nearest neighbour; as they were where nothing was drawn.
    """
    if not settings.shrink or rng.random() >= settings.shrink:
        return image, labels
    label = settings.shrunken[int(rng.integers(len(settings.shrunken)))]
    share = rng.uniform(settings.smallest, 1.0)
    places = torch.nonzero((labels == label).any(dim=0)).float()
    if not len(places):
        return image, labels
    low, high = places.amin(0), places.amax(0)
    return _contracted(image, labels, (low + high) / 2, (high - low) / 2 + 1, share)


def _contracted(image: Tensor, labels: Tensor, centre: Tensor, half: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Every slice drawn together around a centre: an ellipse of half widths becomes ``share`` of its size.

    From the shrunken ellipse on to ``REACH`` times the old one distances grow evenly to what they were.
    """
    rows, columns = labels.shape[1:]
    axes = torch.meshgrid(
        torch.arange(rows, dtype=torch.float32), torch.arange(columns, dtype=torch.float32), indexing="ij"
    )
    offset = torch.stack(axes).to(image.device) - centre[:, None, None]
    distance = (offset / half[:, None, None]).square().sum(0).sqrt().clamp_min_(1e-6)
    outside = 1 + (distance - share) * ((REACH - 1) / (REACH - share))
    source = torch.where(distance < share, distance / share, torch.where(distance < REACH, outside, distance))
    where = centre[:, None, None] + offset * (source / distance)
    size = torch.tensor([rows, columns], device=image.device).reshape(2, 1, 1)
    unit = ((2 * where + 1) / size - 1).flip(0).permute(1, 2, 0)[None]
    stack = image.flatten(0, 1)[None]
    moved = F.grid_sample(stack, unit, mode="bilinear", padding_mode="border", align_corners=False)
    names = F.grid_sample(labels[None].float(), unit, mode="nearest", padding_mode="border", align_corners=False)
    return moved[0].reshape(image.shape), names[0].to(labels.dtype)
