"""The way of a scan through the network and back: resampled, normalised, streamed, its labels on the scan's own grid.

All of it is done slice range by slice range. In memory are, besides the scan and its labels, the slices that the
network still needs and the logits of the few that are on their way back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import tee
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..network.interpolation import LinearAxis, PlaneMap
from ..network.settings import AHNetSettings
from ..network.slices import SliceQueue
from .device import batch_bytes, interpolates_with_low_pass
from .errors import Cancelled, VolumeError
from .package import Model
from .preprocess import IntensityMap, ModelGrid, occupied, resize_plane, shrinks
from .transport import Transport
from .volume import Array
from .windows import STRIDE, Blend, Window, plan_windows

Progress = Callable[[int, int], bool]
"""Called as ``progress(done, total)`` every few slices; returning False stops the run."""

INPUT_BATCH_VOXELS = 2_000_000
RETURN_BATCH_BYTES = 32 * 2**20
AIR_MARGIN = 16
SMALLEST_PROBABILITY = 1e-30
KEPT_MB = 768
"""Beyond that, a CPU makes the maps of the first layers twice rather than keep them: a tenth more time, a third less
memory, which the rest of the machine wants too."""


class Network(Protocol):
    """What runs a window: see :class:`~AHNetSegmentLib.network.streaming.StreamedAHNet`."""

    def run(
        self, batches: Iterator[Tensor], size: Sequence[int], batch_bytes: int, *, enlarged: bool, remade: bool
    ) -> Iterator[Tensor]: ...

    def last_enlargement(self, size: Sequence[int]) -> PlaneMap | None: ...

    def memory_bytes(self, size: Sequence[int], batch_bytes: int, *, remade: bool) -> int: ...


@dataclass(frozen=True)
class Look:
    """One of the ways in which the network sees a scan.

    Attributes:
        grid: on which it sees it.
        chunks: of windows, see :func:`~.windows.plan_windows`.
    """

    grid: ModelGrid
    chunks: list[list[Window]]

    @property
    def is_whole(self) -> bool:
        """Whether the network sees all of the grid at once."""
        return len(self.chunks) == len(self.chunks[0]) == 1

    @property
    def slices(self) -> int:
        """How many slices go in, and out again, in all windows."""
        return sum(tile.size[0] for tiles in self.chunks for tile in tiles)


class Pipeline:
    """One pass over a scan with one device, precision and window memory.

    The network sees the scan at each of the card's scales. What comes back is the mean of the scales' probabilities,
    and of the logits of an image and its mirror image where that counts too.

    Args:
        model: card and network.
        scan: (D, H, W), axes in the network's order.
        spacing: mm along them.
        intensities: what the model's rule makes of the scan's values.
        device: where the network runs.
        precision: its number format.
        memory_mb: what a window may take.
        mirrored: whether the mirror image along the columns counts too.
    """

    def __init__(
        self,
        model: Model,
        scan: Array,
        spacing: Sequence[float],
        intensities: IntensityMap,
        device: torch.device,
        precision: torch.dtype,
        memory_mb: float,
        mirrored: bool,
    ) -> None:
        card = model.card
        self.box = self._searched(scan, intensities.lower, card.network)
        self.network_seconds = self._fed_seconds = 0.0
        self.certainty: Array | None = None
        if self.box is None:
            return
        self.scan = scan[self.box]
        self.intensities = intensities
        self.device = device
        self.network: Network = model.for_inference(device, precision)
        self.classes = card.network.classes
        self.mirrored = mirrored
        self.batch_bytes = batch_bytes(device, memory_mb)
        self.remade = False
        grids = [ModelGrid.at_scale(self.scan.shape, spacing, card.spacing, scale) for scale in card.test_time_scales]
        self.passes = len(grids) * (1 + mirrored)
        kept = self._memory(max(grids, key=_pixels).model) / 2**20
        self.remade = kept > (min(memory_mb, KEPT_MB) if device.type == "cpu" else memory_mb)
        self.looks = [Look(grid, plan_windows(grid.model, card.network, self._memory, memory_mb)) for grid in grids]
        self.transport = Transport(device)

    @property
    def empty(self) -> bool:
        """Whether there is nothing but air, and so nothing to do."""
        return self.box is None

    def _memory(self, size: Sequence[int]) -> float:
        """Bytes that windows of a size take in all passes of the network, which run at the same time."""
        return self.passes * self.network.memory_bytes(size, self.batch_bytes, remade=self.remade)

    @torch.inference_mode()
    def write(
        self,
        labels: Array,
        shares: Sequence[Array | None] | None,
        progress: Progress | None = None,
        *,
        certainty: bool = False,
    ) -> None:
        """Writes the labels, uint8 (D, H, W), and each class's probability, 255 for certain, on the scan's grid.

        Classes whose place among the `shares` is None are passed over. With ``certainty`` the attribute of that name
        then has the probability of each voxel's label, uint8, 255 for certain, on a coarse grid over ``box``.

        Raises:
            VolumeError: the network gave numbers that are not finite.
            Cancelled: ``progress`` returned False.
        """
        if self.box is None:
            return
        labels = labels[self.box]
        if shares is not None:
            shares = [None if share is None else share[self.box] for share in shares]
        self._count = _Count(2 * sum(look.slices for look in self.looks), progress)
        if len(self.looks) > 1:
            grid = self.looks[0].grid.with_plane_of_scan()
            back = _Return(grid, self.transport, labels, shares, None)
            found = _mean([self._logits(look, enlarged=True) for look in self.looks], grid.model)
        else:
            look = self.looks[0]
            plane = self.network.last_enlargement(look.chunks[0][0].size)
            alone = look.is_whole and not self.mirrored
            # Labels between coarse logits are found faster than the logits themselves; a GPU is faster without looking.
            direct = plane is not None and shares is None and self.device.type == "cpu"
            direct = direct and (alone or look.grid.resampled)
            back = _Return(look.grid, self.transport, labels, shares, plane if direct else None)
            found = self._logits(look, enlarged=not direct or look.grid.resampled)
        sure: list[Tensor] = []
        for logits in found:
            if certainty:
                sure.append(logits.float().softmax(dim=1).amax(dim=1).mul_(255).round_().to(torch.uint8).cpu())
            back.take(logits)
        back.finish()
        self.certainty = torch.cat(sure).numpy() if certainty else None

    def _logits(self, look: Look, enlarged: bool) -> Iterator[Tensor]:
        """Logits (n, classes, h, w) of a look in slice order."""
        if look.is_whole:
            yield from self._window_logits(look, look.chunks[0][0], enlarged)
            return
        for tiles in look.chunks:
            blend = Blend(tiles, look.grid.model, self.classes, self.device)
            for tile in tiles:
                first = tile.slices[0]
                for logits in self._window_logits(look, tile, enlarged=True):
                    blend.add(tile, first, logits)
                    first += len(logits)
            yield blend.result()

    def _window_logits(self, look: Look, window: Window, enlarged: bool) -> Iterator[Tensor]:
        results = self._results(look, window, enlarged)
        while True:
            began, fed = time.perf_counter(), self._fed_seconds
            logits = next(results, None)
            self.network_seconds += time.perf_counter() - began - (self._fed_seconds - fed)
            if logits is None:
                return
            yield logits
            self._count.add(len(logits))

    def _results(self, look: Look, window: Window, enlarged: bool) -> Iterator[Tensor]:
        """What the network makes of a window, and of its mirror image where the model wants that too."""

        def run(batches: Iterator[Tensor]) -> Iterator[Tensor]:
            return self.network.run(batches, window.size, self.batch_bytes, enlarged=enlarged, remade=self.remade)

        if not self.mirrored:
            return run(self._batches(look, window))
        batches, others = tee(self._batches(look, window))
        mirrored = run(batch.flip(-1) for batch in others)
        return ((one + other.flip(-1)) / 2 for one, other in zip(run(batches), mirrored, strict=True))

    def _batches(self, look: Look, window: Window) -> Iterator[Tensor]:
        """The window's slices, resampled and normalised, (n, 1, h, w) on the device."""
        tile = (slice(None), slice(*window.rows), slice(*window.columns))
        at_once = max(1, INPUT_BATCH_VOXELS // _pixels(look.grid))
        for start in range(*window.slices, at_once):
            began = time.perf_counter()
            stop = min(start + at_once, window.slices[1])
            batch = self.intensities.apply(look.grid.to_model(self.scan, start, stop)[tile])
            sent = self.transport.send(batch[:, None])
            self._fed_seconds += time.perf_counter() - began
            yield sent
            self._count.add(stop - start)

    @staticmethod
    def _searched(scan: Array, lower: float, network: AHNetSettings) -> tuple[slice, ...] | None:
        """The scan without the air around the patient, with a margin; None where there is nothing but air.

        It begins where the network's strided layers begin anew, so that they see the same pairs of voxels. A network
        that stretches its maps from corner to corner gives other results for other sizes: it gets the whole scan.
        """
        box = occupied(scan, lower)
        if box is None:
            return None
        if network.align_corners:
            return tuple(slice(0, length) for length in scan.shape)
        spans = []
        steps = (network.slice_stride, STRIDE, STRIDE)
        for (start, stop), length, step in zip(box, scan.shape, steps, strict=True):
            margin = min(step, AIR_MARGIN)
            spans.append(slice(max(0, start - margin) // step * step, min(length, stop + margin)))
        return tuple(spans)


class _Return:
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
        self.finite: Tensor | None = None

    def take(self, logits: Tensor) -> None:
        """Takes the next slices, (n, classes, h, w), and writes what they complete."""
        finite = torch.stack(torch.aminmax(logits)).isfinite().all()
        self.finite = finite if self.finite is None else self.finite & finite
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

    def finish(self) -> None:
        """Waits for what is still on its way.

        Raises:
            VolumeError: the network gave numbers that are not finite.
        """
        self.transport.finish()
        if self.finite is not None and not bool(self.finite):
            raise VolumeError("The network gave numbers that are not finite; run it again with the precision float32.")

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
        self._put(self.labels, start, logits.argmax(dim=1).to(torch.uint8))
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


def _pixels(grid: ModelGrid) -> int:
    return grid.model[1] * grid.model[2]


def _mean(looks: Sequence[Iterator[Tensor]], shape: Sequence[int]) -> Iterator[Tensor]:
    """Logits of the mean of looks' probabilities, slice by slice on the grid (D, H, W)."""
    queues = [SliceQueue() for _ in looks]
    for number in range(shape[0]):
        total: Tensor | None = None
        for queue, logits in zip(queues, looks, strict=True):
            if queue.stop == number:
                queue.append(next(logits))
            seen = queue.between(number, number + 1)
            found = _resized(seen, shape[1:]).to(seen.device).float().softmax(dim=1)
            total = found if total is None else total.add_(found)
            queue.let_go(number + 1)
        assert total is not None
        # Logits of the sum are logits of the mean.
        yield total.clamp_min_(SMALLEST_PROBABILITY).log_()
    for logits in looks:
        # To their ends: what comes after their last slices counts them.
        assert next(logits, None) is None


def _resized(logits: Tensor, size: Sequence[int]) -> Tensor:
    """Logits (n, C, H, W) on another grid in plane."""
    if shrinks(logits.shape[2:], size):
        # The low-pass filter exists in float32 only.
        logits = (logits if interpolates_with_low_pass(logits.device) else logits.cpu()).float()
    return resize_plane(logits, size)


class _Count:
    """Counts slices in and out, and asks whether to go on."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self.total = total
        self.done = 0
        self.progress = progress

    def add(self, slices: int) -> None:
        self.done += slices
        if self.progress is not None and not self.progress(self.done, self.total):
            raise Cancelled("Segmentation was cancelled; nothing was changed.")
