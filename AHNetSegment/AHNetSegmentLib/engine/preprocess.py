"""From a volume to what the network sees: axes reordered, resampled to the model's spacing, intensities normalised.

Everything is done slice range by slice range, so that memory does not depend on the number of slices.
Arrays and tensors are (slices, rows, columns) = (D, H, W) here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .card import Intensity
from .volume import Array

SPACING_TOLERANCE = 0.01
"""Relative difference from the model's spacing below which an axis is not resampled."""

STATISTICS_VOXELS = 2_000_000
"""Percentiles, mean and deviation are taken from about so many voxels, evenly spread."""


@dataclass(frozen=True)
class IntensityMap:
    """Voxel value to network input: ``(clip(value, lower, upper) - shift) * scale``."""

    lower: float
    upper: float
    shift: float
    scale: float

    def apply(self, values: Tensor) -> Tensor:
        """Maps a float32 tensor in place."""
        return values.clamp_(self.lower, self.upper).sub_(self.shift).mul_(self.scale)


def intensity_map(rule: Intensity, array: Array) -> IntensityMap:
    """The map that a model's intensity rule gives for a volume (its values decide only for ``zscore``).

    Args:
        rule: the model's rule.
        array: any shape; the whole volume, or the region that is segmented.
    """
    if rule.rule == "window":
        half = (rule.upper - rule.lower) / 2
        return IntensityMap(rule.lower, rule.upper, rule.lower + half, 1 / half)
    stride = max(1, math.ceil((array.size / STATISTICS_VOXELS) ** (1 / 3)))
    sample = array[tuple(slice(None, None, stride) for _ in range(array.ndim))].astype(np.float64)
    lower, upper = (float(value) for value in np.percentile(sample, (rule.lower, rule.upper)))
    clipped = np.clip(sample, lower, upper)
    deviation = float(clipped.std())
    return IntensityMap(lower, upper, float(clipped.mean()), 1 / deviation if deviation > 0 else 1.0)


@dataclass(frozen=True)
class ModelGrid:
    """The grid on which the network sees a volume, over the same field of view as the scan's own grid.

    Attributes:
        scan: (D, H, W) of the scan, axes already in the network's order.
        model: (D, H, W) at the model's spacing.
    """

    scan: tuple[int, int, int]
    model: tuple[int, int, int]

    @classmethod
    def of(
        cls,
        shape: Sequence[int],
        spacing: Sequence[float],
        target: Sequence[float | None],
    ) -> ModelGrid:
        """The grid for a scan of ``shape`` and ``spacing`` (mm) and a model's ``target`` spacing (None: as scanned)."""
        model = [
            length
            if wanted is None or abs(step / wanted - 1) <= SPACING_TOLERANCE
            else max(1, round(length * step / wanted))
            for length, step, wanted in zip(shape, spacing, target, strict=True)
        ]
        return cls((shape[0], shape[1], shape[2]), (model[0], model[1], model[2]))

    @property
    def resampled(self) -> bool:
        """Whether the two grids differ."""
        return self.scan != self.model

    def to_model(self, scan: Array, start: int, stop: int) -> Tensor:
        """Slices ``start`` to ``stop`` of the model's grid as float32 (stop - start, h, w), from the scan (D, H, W).

        Linear along the slices; in plane linear with a low-pass filter where the model's pixels are larger.
        """
        below, above, weight = _neighbours(start, stop, self.model[0], self.scan[0])
        first = int(below[0])
        slab = torch.from_numpy(np.array(scan[first : int(above[-1]) + 1], dtype=np.float32, order="C"))
        slab = resize_plane(slab, self.model[1:])
        if self.scan[0] == self.model[0]:
            return slab
        return torch.lerp(slab[below - first], slab[above - first], weight[:, None, None])

    def needed_for_scan(self, start: int, stop: int) -> tuple[int, int]:
        """The model slices [first, last) that the scan's slices ``start`` to ``stop`` are interpolated from."""
        below, above, _ = _neighbours(start, stop, self.scan[0], self.model[0])
        return int(below[0]), int(above[-1]) + 1

    def complete_scan_slices(self, model_stop: int) -> int:
        """How many of the scan's slices can be interpolated when the model's slices up to ``model_stop`` are known."""
        if model_stop >= self.model[0]:
            return self.scan[0]
        _, above, _ = _neighbours(0, self.scan[0], self.scan[0], self.model[0])
        return int((above < model_stop).sum())

    def to_scan(self, values: Tensor, first: int, start: int, stop: int) -> Tensor:
        """Values on the model's grid, interpolated linearly to slices ``start`` to ``stop`` of the scan's grid.

        Args:
            values: (C, n, h, w): the model's slices from ``first`` on, all that are needed.
            first: the model slice that ``values[:, 0]`` is.
            start: first slice of the scan.
            stop: one past the last slice of the scan.

        Returns:
            (C, stop - start, H, W).
        """
        below, above, weight = _neighbours(start, stop, self.scan[0], self.model[0])
        if self.scan[0] != self.model[0]:
            weight = weight.to(values)[None, :, None, None]
            values = torch.lerp(values[:, below - first], values[:, above - first], weight)
        else:
            values = values[:, int(below[0]) - first : int(above[-1]) - first + 1]
        return resize_plane(values, self.scan[1:])


def resize_plane(images: Tensor, size: Sequence[int]) -> Tensor:
    """Resizes the last two axes of (..., H, W) linearly, low-pass filtered where pixels become larger."""
    if tuple(images.shape[-2:]) == tuple(size):
        return images
    lead = images.shape[:-2]
    flat = images.reshape(1, -1, *images.shape[-2:])
    flat = F.interpolate(flat, tuple(size), mode="bilinear", align_corners=False, antialias=True)
    return flat.reshape(*lead, *size)


def labels_to_model(labels: Array, grid: ModelGrid) -> Tensor:
    """A label map (D, H, W) on the model's grid, uint8: in each voxel the label with the largest share."""
    if not grid.resampled:
        return torch.from_numpy(np.array(labels, dtype=np.uint8, order="C"))
    best = torch.full(grid.model, -1.0)
    result = torch.zeros(grid.model, dtype=torch.uint8)
    for label in np.unique(labels):
        share = grid.to_model(labels == label, 0, grid.model[0])
        larger = share > best
        best = torch.where(larger, share, best)
        result[larger] = int(label)
    return result


def _neighbours(start: int, stop: int, length: int, source: int) -> tuple[Tensor, Tensor, Tensor]:
    """The two source slices around each slice of [start, stop), and the weight of the second one.

    Both grids cover the same field of view: slice n of ``length`` has its centre at (n + 0.5) / length of it.
    """
    centres = (torch.arange(start, stop, dtype=torch.float64) + 0.5) * (source / length) - 0.5
    centres = centres.clamp(0, source - 1)
    below = centres.floor().long()
    above = (below + 1).clamp(max=source - 1)
    if length == source:
        above = below
    return below, above, (centres - below).float()
