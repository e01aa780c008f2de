"""Linear interpolation: where the samples of a finer or coarser grid lie on another, and the arg max in between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

MIXED = 255
"""Stands for no channel; one of that number is taken for none too, which costs time and nothing else."""


@dataclass(frozen=True)
class LinearAxis:
    """The places of the samples of one grid between those of another, along one axis.

    Attributes:
        ranges: for each output sample, the range [first, last) of the input samples that it lies between.
        lower: long (outputs,): the input sample at or before each output sample.
        upper: long (outputs,): the one at or after it.
        weight: float32 (outputs,): of the upper one.
    """

    ranges: tuple[tuple[int, int], ...]
    lower: Tensor
    upper: Tensor
    weight: Tensor

    @classmethod
    def same_field(cls, inputs: int, outputs: int) -> LinearAxis:
        """Both grids cover the same field: sample n of N has its centre at (n + 0.5) / N of it."""
        return cls.of_places((torch.arange(outputs, dtype=torch.float64) + 0.5) * (inputs / outputs) - 0.5, inputs)

    @classmethod
    def multiplied(cls, inputs: int, outputs: int, factor: int) -> LinearAxis:
        """Each input sample becomes `factor` samples, the last ones cut off."""
        return cls.of_places((torch.arange(outputs, dtype=torch.float64) + 0.5) / factor - 0.5, inputs)

    @classmethod
    def aligned_corners(cls, inputs: int, outputs: int) -> LinearAxis:
        """The first and the last samples coincide."""
        step = (inputs - 1) / max(1, outputs - 1)
        return cls.of_places(torch.arange(outputs, dtype=torch.float64) * step, inputs)

    @classmethod
    def of_places(cls, places: Tensor, inputs: int) -> LinearAxis:
        """From the output samples' places in input samples, float64; what lies beyond the ends goes to the ends."""
        places = places.clamp(0, inputs - 1)
        lower, upper = places.floor().long(), places.ceil().long()
        ranges = tuple(zip(lower.tolist(), (upper + 1).tolist(), strict=True))
        return cls(ranges, lower, upper, (places - lower).float())

    def to(self, device: torch.device) -> LinearAxis:
        """The same, with its tensors on a device, where :meth:`of_batch` needs them."""
        return LinearAxis(self.ranges, self.lower.to(device), self.upper.to(device), self.weight.to(device))

    def __len__(self) -> int:
        return len(self.ranges)

    def needs(self, start: int, stop: int) -> tuple[int, int]:
        """The range [first, last) of input samples that the output samples [start, stop) lie between."""
        return self.ranges[start][0], self.ranges[stop - 1][1]

    def of_batch(self, batch: Tensor, first: int, start: int, stop: int) -> Tensor:
        """The output samples [start, stop) along the first axis of a batch whose first sample is number `first`."""
        lower, upper = self.lower[start:stop] - first, self.upper[start:stop] - first
        weight = self.weight[start:stop].to(batch.dtype).reshape(-1, *[1] * (batch.dim() - 1))
        return torch.lerp(batch[lower], batch[upper], weight)


@dataclass(frozen=True)
class PlaneMap:
    """Bilinear interpolation of images (n, C, h, w) to (n, C, H, W).

    Attributes:
        rows: along the rows' axis.
        columns: along the columns' axis.
        full: (H, W) before a surplus at the end is cut off.
        align_corners: whether first and last samples coincide.
    """

    rows: LinearAxis
    columns: LinearAxis
    full: tuple[int, int]
    align_corners: bool = False

    @classmethod
    def same_field(cls, inputs: Sequence[int], outputs: Sequence[int]) -> PlaneMap:
        """From (h, w) to (H, W) over the same field."""
        rows, columns = (LinearAxis.same_field(*lengths) for lengths in zip(inputs, outputs, strict=True))
        return cls(rows, columns, (outputs[0], outputs[1]))

    @classmethod
    def multiplied(cls, inputs: Sequence[int], outputs: Sequence[int], factor: int) -> PlaneMap:
        """From (h, w) to (H, W), `factor` times as fine, the surplus cut off."""
        rows, columns = (LinearAxis.multiplied(*lengths, factor) for lengths in zip(inputs, outputs, strict=True))
        return cls(rows, columns, (inputs[0] * factor, inputs[1] * factor))

    @classmethod
    def aligned_corners(cls, inputs: Sequence[int], outputs: Sequence[int]) -> PlaneMap:
        """From (h, w) to (H, W), corner to corner."""
        rows, columns = (LinearAxis.aligned_corners(*lengths) for lengths in zip(inputs, outputs, strict=True))
        return cls(rows, columns, (outputs[0], outputs[1]), True)

    def __call__(self, images: Tensor) -> Tensor:
        """The interpolated images (n, C, H, W)."""
        if tuple(images.shape[2:]) == self.full and not self.align_corners:
            return images[:, :, : len(self.rows), : len(self.columns)]
        larger = F.interpolate(images, self.full, mode="bilinear", align_corners=self.align_corners)
        return larger[:, :, : len(self.rows), : len(self.columns)]

    def largest_channel(self, images: Tensor) -> Tensor:
        """Which channel of the interpolated images, on the CPU, is the largest: uint8 (n, H, W).

        Interpolated values are convex combinations, so where the same channel is the largest at all four corners it
        is the largest everywhere between them. Only the other places are interpolated, in float32.
        """
        found = self.agreed_channel(images)
        flat = found.view(-1)
        mixed = (flat == MIXED).nonzero()[:, 0]
        flat[mixed] = self.values_at(images, mixed).argmax(dim=1).to(torch.uint8)
        return found

    def agreed_channel(self, images: Tensor) -> Tensor:
        """Which channel is the largest at all four corners around a place, ``MIXED`` where none is: uint8 (n, H, W)."""
        cells = _common_values(images.permute(0, 2, 3, 1).argmax(dim=3).to(torch.uint8))
        return cells.index_select(1, self.rows.lower).index_select(2, self.columns.lower)

    def values_at(self, images: Tensor, places: Tensor) -> Tensor:
        """The interpolated images at places in the flattened (n, H, W), float32 (places, C)."""
        images = images.permute(0, 2, 3, 1)
        height, width = images.shape[1:3]
        column = places % len(self.columns)
        row = places.div(len(self.columns), rounding_mode="floor")
        image = row.div(len(self.rows), rounding_mode="floor") * height
        row = row % len(self.rows)
        pixels = images.reshape(-1, images.shape[3])
        sides = []
        for rows in (self.rows.lower, self.rows.upper):
            start = (image + rows[row]) * width
            left, right = (
                pixels.index_select(0, start + columns[column]).float()
                for columns in (self.columns.lower, self.columns.upper)
            )
            sides.append(left.lerp_(right, self.columns.weight[column, None]))
        return sides[0].lerp_(sides[1], self.rows.weight[row, None])


def _common_values(labels: Tensor) -> Tensor:
    """For each pixel of (n, h, w) the label that it shares with its next row's and column's, else ``MIXED``."""
    cells = labels.clone()
    for axis in (1, 2):
        before = cells.narrow(axis, 0, cells.shape[axis] - 1)
        after = cells.narrow(axis, 1, cells.shape[axis] - 1)
        before.masked_fill_(before != after, MIXED)
    return cells
