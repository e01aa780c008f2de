"""From a volume to what the network sees: axes reordered, resampled to the model's spacing, intensities normalised.

Everything is done slice range by slice range, so that memory does not depend on the number of slices.
Arrays and tensors are (slices, rows, columns) = (D, H, W) here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..network.interpolation import LinearAxis
from .card import Intensity
from .volume import Array

SPACING_TOLERANCE = 0.01
"""Relative difference from the model's spacing below which an axis is not resampled."""

AVERAGED_FROM = 2
"""So many slices of the scan in one of the model's are averaged. Of fewer, linear interpolation misses none."""

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

    @classmethod
    def at_scale(
        cls, shape: Sequence[int], spacing: Sequence[float], target: Sequence[float | None], scale: float
    ) -> ModelGrid:
        """As :meth:`of`, with pixels in plane that are ``scale`` times as large as the model's."""
        in_plane = [(wanted or step) * scale for wanted, step in zip(target[1:], spacing[1:], strict=True)]
        return cls.of(shape, spacing, (target[0], *in_plane))

    def with_plane_of_scan(self) -> ModelGrid:
        """The grid with its slices and the scan's pixels in plane."""
        return ModelGrid(self.scan, (self.model[0], *self.scan[1:]))

    @property
    def resampled(self) -> bool:
        """Whether the two grids differ."""
        return self.scan != self.model

    @cached_property
    def _slices(self) -> LinearAxis:
        return LinearAxis.same_field(self.scan[0], self.model[0])

    def to_model(self, scan: Array, start: int, stop: int) -> Tensor:
        """Slices ``start`` to ``stop`` of the model's grid as float32 (stop - start, h, w), from the scan (D, H, W).

        Linear along the slices, or the mean over a slice of the model where the scan has several in it; in plane linear
        with a low-pass filter where the model's pixels are larger.
        """
        if self.scan[0] >= AVERAGED_FROM * self.model[0]:
            means = (self._mean(scan, number) for number in range(start, stop))
            return torch.stack([resize_plane(mean[None, None], self.model[1:])[0, 0] for mean in means])
        first, last = self._slices.needs(start, stop)
        slab = torch.from_numpy(np.array(scan[first:last], dtype=np.float32, order="C"))
        slab = resize_plane(slab[None], self.model[1:])[0]
        return slab if self.scan[0] == self.model[0] else self._slices.of_batch(slab, first, start, stop)

    def _mean(self, scan: Array, number: int) -> Tensor:
        """What a slice of the model covers of the scan, averaged, float32 (H, W): each of its slices by its share."""
        thickness = self.scan[0] / self.model[0]
        low, high = number * thickness, (number + 1) * thickness
        first, last = math.floor(low), min(math.ceil(high), self.scan[0])
        shares = [min(place + 1, high) - max(place, low) for place in range(first, last)]
        covered = torch.from_numpy(np.array(scan[first:last], dtype=np.float32, order="C"))
        mean: Tensor = torch.tensordot(torch.tensor(shares) / thickness, covered, 1)
        return mean


def resize_plane(images: Tensor, size: Sequence[int]) -> Tensor:
    """Resizes images (n, C, H, W) linearly in plane, low-pass filtered where pixels become larger."""
    if tuple(images.shape[2:]) == tuple(size):
        return images
    low_pass = shrinks(images.shape[2:], size)
    return F.interpolate(images, tuple(size), mode="bilinear", align_corners=False, antialias=low_pass)


def shrinks(size: Sequence[int], target: Sequence[int]) -> bool:
    """Whether images of a size (H, W) have fewer rows or columns afterwards, so that their pixels become larger."""
    return size[0] > target[0] or size[1] > target[1]


def occupied(scan: Array, lower: float) -> list[tuple[int, int]] | None:
    """The smallest box that holds every value above ``lower``: start and stop along each axis; None without any."""
    in_slices = np.array([image.max() > lower for image in scan])
    if not in_slices.any():
        return None
    in_plane = scan.max(axis=0) > lower
    spans = []
    for found in (in_slices, in_plane.any(axis=1), in_plane.any(axis=0)):
        places = np.flatnonzero(found)
        spans.append((int(places[0]), int(places[-1]) + 1))
    return spans


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
