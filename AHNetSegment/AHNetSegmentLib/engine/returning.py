"""From logits on the model's grid to labels and probabilities on the scan's own grid, slice by slice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from ..network.interpolation import MIXED, LinearAxis, PlaneMap
from ..network.slices import SliceQueue
from .device import interpolates_with_low_pass
from .errors import VolumeError
from .preprocess import ModelGrid, resize_plane, shrinks
from .transport import Transport
from .volume import Array

RETURN_BATCH_BYTES = 32 * 2**20
SMALLEST_PROBABILITY = 1e-30


class Return:
    """Takes logits on the model's grid, slice by slice, and writes labels and probabilities on the scan's grid."""

    def __init__(
        self,
        grid: ModelGrid,
        transport: Transport,
        labels: Array,
        shares: Sequence[Array | None] | None,
        coarse: PlaneMap | None,
    ) -> None:
        """`coarse`: labels are to be found between logits; unless the scan is resampled, they lack this enlargement."""
        self.grid = grid
        self.transport = transport
        self.labels = labels
        self.shares = shares
        self.slices = LinearAxis.same_field(grid.model[0], grid.scan[0]).to(transport.device)
        self.plane = coarse
        if coarse is not None and grid.resampled:
            size, target = grid.model[1:], grid.scan[1:]
            self.plane = None if shrinks(size, target) else PlaneMap.same_field(size, target)
        self.queue = SliceQueue()
        self.written = 0
        self.finite = _Finite()

    def write(self, logits: Iterator[Tensor]) -> None:
        """Takes all logits and waits for what is still on its way.

        Raises:
            VolumeError: the network gave numbers that are not finite.
        """
        for batch in logits:
            self._take(batch)
        self.transport.finish()
        self.finite.check()

    def _take(self, logits: Tensor) -> None:
        """Takes the next slices, (n, classes, h, w), and writes what they complete."""
        self.finite.look_at(logits)
        self.queue.append(logits)
        bytes_each = 4 * logits.shape[1] * self.grid.scan[1] * self.grid.scan[2]
        at_once = max(1, RETURN_BATCH_BYTES // bytes_each)
        while self.written < self.grid.scan[0]:
            stop = self.written
            while stop < min(self.written + at_once, self.grid.scan[0]) and self._complete(stop):
                stop += 1
            if stop == self.written:
                return
            self._write(self.written, stop)
            self.written = stop
            if stop < self.grid.scan[0]:
                self.queue.let_go(self.slices.needs(stop, stop + 1)[0])

    def _complete(self, scan_slice: int) -> bool:
        return self.slices.needs(scan_slice, scan_slice + 1)[1] <= self.queue.stop

    def _write(self, start: int, stop: int) -> None:
        low, high = self.slices.needs(start, stop)
        logits = self.queue.between(low, high)
        if self.grid.scan[0] != self.grid.model[0]:
            logits = self.slices.of_batch(logits, low, start, stop)
        if self.plane is not None:
            self._put(self.labels, start, self.plane.largest_channel(logits))
            return
        logits = _resized(logits, self.grid.scan[1:])
        self._put(self.labels, start, _largest_channel(logits))
        if self.shares is not None:
            scaled = (logits.float().softmax(dim=1) * 255).round_().to(torch.uint8)
            for share, values in zip(self.shares, scaled[:, 1:].unbind(1), strict=True):
                if share is not None:
                    self._put(share, start, values)

    def _put(self, target: Array, start: int, values: Tensor) -> None:
        place = target[start : start + len(values)]

        def write(found: Tensor) -> None:
            np.copyto(place, found.numpy())

        self.transport.fetch(values, write)


class LabelsOfViews:
    """Writes the labels of the mean of several views' probabilities on the scan's grid, on the CPU.

    They are those that :class:`Return` finds in :func:`mean_of_views`. But where each view, in the slices before and
    behind a place, has the same class ahead at all four corners around it, that class is ahead there too: values in
    between are convex combinations, and softmax, mean and logarithm keep who is ahead of all. Only the other places,
    mostly those near borders, are computed.

    Args:
        grids: of the views, which :meth:`fits`.
        labels: uint8 (D, H, W) of the scan.
    """

    def __init__(self, grids: Sequence[ModelGrid], labels: Array) -> None:
        self.labels = labels
        self.slices = LinearAxis.same_field(grids[0].model[0], grids[0].scan[0])
        self.planes = [PlaneMap.same_field(grid.model[1:], grid.scan[1:]) for grid in grids]
        self.queues = [SliceQueue() for _ in grids]
        self.finite = _Finite()
        self._agreed: dict[int, Tensor] = {}

    @staticmethod
    def fits(grids: Sequence[ModelGrid]) -> bool:
        """Whether no view's pixels become larger on the scan's grid, which takes a low-pass filter."""
        return not any(shrinks(grid.model[1:], grid.scan[1:]) for grid in grids)

    def write(self, views: Sequence[Iterator[Tensor]]) -> None:
        """Takes all logits of the views, each (n, classes, h, w) on its own grid in slice order.

        Raises:
            VolumeError: the network gave numbers that are not finite.
        """
        for (first, stop), numbers in groupby(range(len(self.labels)), key=self.slices.ranges.__getitem__):
            for queue, logits in zip(self.queues, views, strict=True):
                queue.let_go(first)
                while queue.stop < stop:
                    batch = next(logits)
                    self.finite.look_at(batch)
                    queue.append(batch)
            self._agreed = {number: found for number, found in self._agreed.items() if number >= first}
            self._write(list(numbers), range(first, stop))
        _run_to_ends(views)
        self.finite.check()

    def _write(self, numbers: Sequence[int], between: range) -> None:
        """Writes those slices of the scan that lie between the same slices of the model's grid."""
        agreed = self._agreed_in(between[0])
        if len(between) > 1:
            agreed = torch.where(agreed == self._agreed_in(between[-1]), agreed, MIXED)
        places = (agreed.view(-1) == MIXED).nonzero()[:, 0]
        before, behind = (self._values_at(number, places) for number in (between[0], between[-1]))
        for number in numbers:
            found = agreed.clone()
            values = torch.lerp(before, behind, float(self.slices.weight[number]))
            found.view(-1)[places] = values.argmax(dim=1).to(torch.uint8)
            np.copyto(self.labels[number], found.numpy())

    def _agreed_in(self, number: int) -> Tensor:
        """The class that is ahead around each pixel of the scan in a slice of the model's grid, uint8 (H, W)."""
        if number not in self._agreed:
            views = [
                plane.agreed_channel(queue.between(number, number + 1))[0]
                for plane, queue in zip(self.planes, self.queues, strict=True)
            ]
            agreed = views[0]
            for other in views[1:]:
                agreed = torch.where(agreed == other, agreed, MIXED)
            self._agreed[number] = agreed
        return self._agreed[number]

    def _values_at(self, number: int, places: Tensor) -> Tensor:
        """Logits of the mean (places, classes) in a slice of the model's grid, at places of the flattened (H, W)."""
        total: Tensor | None = None
        for plane, queue in zip(self.planes, self.queues, strict=True):
            found = plane.values_at(queue.between(number, number + 1), places).softmax(dim=1)
            total = found if total is None else total.add_(found)
        assert total is not None
        return total.clamp_min_(SMALLEST_PROBABILITY).log_()


def mean_of_views(views: Sequence[Iterator[Tensor]], shape: Sequence[int]) -> Iterator[Tensor]:
    """Logits (1, classes, H, W) of the mean of views' probabilities, slice by slice on the grid (D, H, W)."""
    queues = [SliceQueue() for _ in views]
    for number in range(shape[0]):
        total: Tensor | None = None
        for queue, logits in zip(queues, views, strict=True):
            if queue.stop == number:
                queue.append(next(logits))
            seen = queue.between(number, number + 1)
            found = _resized(seen, shape[1:]).to(seen.device).float().softmax(dim=1)
            total = found if total is None else total.add_(found)
            queue.let_go(number + 1)
        assert total is not None
        # Logits of the sum are logits of the mean.
        yield total.clamp_min_(SMALLEST_PROBABILITY).log_()
    _run_to_ends(views)


def _run_to_ends(views: Sequence[Iterator[Tensor]]) -> None:
    # What comes after their last slices counts them.
    for logits in views:
        assert next(logits, None) is None


def _resized(logits: Tensor, size: Sequence[int]) -> Tensor:
    """Logits (n, C, H, W) on another grid in plane."""
    if shrinks(logits.shape[2:], size):
        # The low-pass filter exists in float32 only.
        logits = (logits if interpolates_with_low_pass(logits.device) else logits.cpu()).float()
    return resize_plane(logits, size)


def _largest_channel(logits: Tensor) -> Tensor:
    """Which channel is the largest: (n, C, H, W) to uint8 (n, H, W); of equal ones the first."""
    if logits.device.type != "cpu" or not logits.is_contiguous():
        return logits.argmax(dim=1).to(torch.uint8)
    # PyTorch's arg max across planes takes four times as long.
    largest = logits[:, 0].clone()
    found = torch.zeros(largest.shape, dtype=torch.uint8)
    for number, channel in enumerate(logits.unbind(1)[1:], start=1):
        found.masked_fill_(channel > largest, number)
        torch.maximum(largest, channel, out=largest)
    return found


class _Finite:
    """Whether all numbers were finite, asked of the device at the end only."""

    def __init__(self) -> None:
        self._so_far: Tensor | None = None

    def look_at(self, values: Tensor) -> None:
        finite = torch.stack(torch.aminmax(values)).isfinite().all()
        self._so_far = finite if self._so_far is None else self._so_far & finite

    def check(self) -> None:
        if self._so_far is not None and not bool(self._so_far):
            raise VolumeError("The network gave numbers that are not finite; run it again with the precision float32.")
