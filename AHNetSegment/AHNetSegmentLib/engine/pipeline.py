"""The way of a scan through the network and back: resampled, normalised, streamed, its labels on the scan's own grid.

All of it is done slice range by slice range. In memory are, besides the scan and its labels, the slices that the
network still needs and the logits of the few that are on their way back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import tee
from typing import Protocol

import torch
from torch import Tensor

from ..network.interpolation import PlaneMap
from ..network.settings import AHNetSettings
from .certainty import CertaintyRecorder
from .device import batch_bytes
from .errors import Cancelled
from .package import Model
from .preprocess import IntensityMap, ModelGrid, occupied
from .returning import LabelsOfViews, Return, mean_of_views
from .timings import Step, Timings
from .transport import Transport
from .volume import Array
from .windows import STRIDE, Blend, Window, plan_windows

Progress = Callable[[int, int], bool]
"""Called as ``progress(done, total)`` every few slices; returning False stops the run."""

INPUT_BATCH_VOXELS = 2_000_000
AIR_MARGIN = 16
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
        timings: gets what the steps take.
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
        timings: Timings,
    ) -> None:
        card = model.card
        self.timings = timings
        self.box = self._searched(scan, intensities.lower, card.network)
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
        recorder = CertaintyRecorder() if certainty else None
        with self.timings.during(Step.LABELS), torch.inference_mode():
            if len(self.looks) > 1:
                self._write_views(labels, shares, recorder)
            else:
                self._write_view(labels, shares, recorder)
            self.certainty = None if recorder is None else recorder.values()

    def _write_views(
        self, labels: Array, shares: Sequence[Array | None] | None, recorder: CertaintyRecorder | None
    ) -> None:
        grids = [look.grid for look in self.looks]
        views = [self._logits(look, enlarged=True) for look in self.looks]
        if recorder is not None:
            views = [recorder.record(view) for view in views]
        # A GPU is faster without looking where labels are certain.
        if shares is None and self.device.type == "cpu" and LabelsOfViews.fits(grids):
            LabelsOfViews(grids, labels).write(views)
            return
        grid = grids[0].with_plane_of_scan()
        Return(grid, self.transport, labels, shares, None).write(mean_of_views(views, grid.model))

    def _write_view(
        self, labels: Array, shares: Sequence[Array | None] | None, recorder: CertaintyRecorder | None
    ) -> None:
        look = self.looks[0]
        plane = self.network.last_enlargement(look.chunks[0][0].size)
        alone = look.is_whole and not self.mirrored
        # Labels between coarse logits are found faster than the logits themselves; a GPU is faster without looking.
        direct = plane is not None and shares is None and self.device.type == "cpu"
        direct = direct and (alone or look.grid.resampled)
        logits = self._logits(look, enlarged=not direct or look.grid.resampled)
        if recorder is not None:
            logits = recorder.record(logits)
        Return(look.grid, self.transport, labels, shares, plane if direct else None).write(logits)

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
        for logits in self._results(look, window, enlarged):
            yield logits
            self._count.add(len(logits))

    def _results(self, look: Look, window: Window, enlarged: bool) -> Iterator[Tensor]:
        """What the network makes of a window, and of its mirror image where the model wants that too."""
        view = f"view_{1 + self.looks.index(look)}" if self.passes > 1 else ""

        def run(batches: Iterator[Tensor], part: str) -> Iterator[Tensor]:
            size, limit = window.size, self.batch_bytes
            results = self.network.run(batches, size, limit, enlarged=enlarged, remade=self.remade)
            return self.timings.each(Step.NETWORK, results, part)

        if not self.mirrored:
            return run(self._batches(look, window), view)
        batches, others = tee(self._batches(look, window))
        mirrored = run((batch.flip(-1) for batch in others), f"{view}_mirrored")
        return ((one + other.flip(-1)) / 2 for one, other in zip(run(batches, view), mirrored, strict=True))

    def _batches(self, look: Look, window: Window) -> Iterator[Tensor]:
        """The window's slices, resampled and normalised, (n, 1, h, w) on the device."""
        tile = (slice(None), slice(*window.rows), slice(*window.columns))
        at_once = max(1, INPUT_BATCH_VOXELS // _pixels(look.grid))
        for start in range(*window.slices, at_once):
            stop = min(start + at_once, window.slices[1])
            with self.timings.during(Step.RESAMPLING):
                batch = self.intensities.apply(look.grid.to_model(self.scan, start, stop)[tile])
                sent = self.transport.send(batch[:, None])
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


def _pixels(grid: ModelGrid) -> int:
    return grid.model[1] * grid.model[2]


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
