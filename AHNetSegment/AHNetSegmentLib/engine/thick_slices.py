"""Slices thicker than those of a patch: what a scanner averages over, sampled and interpolated back."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .augmentation import Augmentation

GAP = (0.8, 1.0)
"""Thickness of a slice as a share of the distance to the next one: many protocols leave gaps."""


def thicken_slices(
    rng: np.random.Generator, image: Tensor, spacing: Sequence[float], settings: Augmentation, axis: int = 0
) -> Tensor:
    """Draws and applies a thickness of slices.

    Args:
        rng: draws thickness and place.
        image: (1, d, h, w).
        spacing: mm along (slices, rows, columns) of the patch.
        settings: ``thick`` and ``thickness``.
        axis: which axis of the patch the slices are stacked along.

    Returns:
        The image on the same grid, as it comes out when thick slices are interpolated; as it was where the slices
        drawn are no thicker than those that it has.
    """
    if not settings.thick or rng.random() >= settings.thick:
        return image
    thinnest, thickest = settings.thickness
    distance = math.exp(rng.uniform(math.log(thinnest), math.log(thickest))) / spacing[axis]
    gap, start = rng.uniform(*GAP), rng.random()
    if distance <= 1:
        return image
    matrix = torch.from_numpy(slice_matrix(image.shape[axis + 1], distance, distance * gap, start)).to(image.device)
    stacked: Tensor = torch.tensordot(image, matrix, dims=([axis + 1], [1]))
    return stacked.movedim(-1, axis + 1).contiguous()


def slice_matrix(count: int, distance: float, thickness: float, start: float) -> np.ndarray:
    """What becomes of ``count`` slices when others of another distance are made of them and interpolated back.

    A new slice is the mean over its thickness, with the ends of the stack repeated, and at least over one old slice.

    Args:
        count: slices of the stack.
        distance: between the centres of new slices, in old ones.
        thickness: of new slices, in old ones.
        start: where the first new slice lies, as a share of the distance; 0 to 1.

    Returns:
        (count, count) float32: old slices to old slices, each row's sum 1.
    """
    centres = np.arange(-1 + start, (count - 1) / distance + 2) * distance
    old = np.arange(count)
    thickness = max(thickness, 1.0)
    # How much of each old slice, one wide, lies within a new one; what lies beyond the ends is the end's.
    high, low = centres[:, None] + thickness / 2, centres[:, None] - thickness / 2
    tops, bottoms = old + 0.5, old - 0.5
    tops[-1], bottoms[0] = np.inf, -np.inf
    within = np.clip(np.minimum(high, tops) - np.maximum(low, bottoms), 0, None)
    within /= within.sum(axis=1, keepdims=True)
    back = np.stack([np.interp(old, centres, one) for one in np.eye(len(centres))], axis=1)
    matrix: np.ndarray = back @ within
    return matrix.astype(np.float32)
