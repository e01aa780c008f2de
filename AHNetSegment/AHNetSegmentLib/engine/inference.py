"""Volume in, label map out, on the input's own grid: in windows, so that memory does not depend on the scan's length.

The scan is cut into chunks of whole slices. The network sees each chunk with a margin of further slices that is
thrown away afterwards, so neighbouring chunks agree without blending. Where whole slices do not fit the window
memory, a chunk is cut into tiles in plane, whose probabilities are blended.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from ..network.settings import AHNetSettings
from .card import ClassCard, ModelCard
from .device import choose_device, choose_precision, precision_name, window_memory_mb
from .errors import Cancelled, ModelError, VolumeError
from .package import Model
from .preprocess import IntensityMap, ModelGrid, intensity_map
from .segments import connected_pieces, piece_sizes
from .volume import Array, Geometry, Region, Volume, check_volume, crop, network_orientation

Progress = Callable[[int, int], bool]
"""Called as ``progress(done, total)`` after each window; returning False stops the run."""

TILE_OVERLAP = 0.25
SMALLEST_TILE = 64
LARGEST_MARGIN = 16
RETURN_BATCH_VOXELS = 8_000_000
GPU_TRIES = 3


@dataclass(frozen=True)
class InferenceSettings:
    """How a volume is segmented.

    Attributes:
        region: only this box of voxels is looked at; all else becomes background. None: the whole volume.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        precision: ``auto``, ``float32``, ``bfloat16``, ``float16``.
        window_memory: MB that the network's maps may take; None: from the free memory of the device.
        keep_largest: of each class, only the largest connected piece is kept.
        probabilities: also return each class's probability.
    """

    region: Region | None = None
    device: str = "auto"
    precision: str = "auto"
    window_memory: float | None = None
    keep_largest: bool = False
    probabilities: bool = False


@dataclass
class Segmentation:
    """A result on the grid of its input.

    Attributes:
        labels: uint8 (k, j, i); 0 is background and everything outside the region.
        geometry: the input's.
        classes: what the labels mean.
        region: the box that was looked at.
        probabilities: uint8 (class, k, j, i), 255 for certain, without background; None unless asked for.
        seconds: ``network`` and ``total``.
        device: where it ran.
        precision: the number format that it ran in.
        warnings: sentences about what may be wrong with the result.
    """

    labels: Array
    geometry: Geometry
    classes: tuple[ClassCard, ...]
    region: Region
    probabilities: Array | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    device: str = "cpu"
    precision: str = "float32"
    warnings: list[str] = field(default_factory=list)


def segment(
    volume: Volume, model: Model, settings: InferenceSettings | None = None, progress: Progress | None = None
) -> Segmentation:
    """Segments a volume.

    Args:
        volume: in any orientation and spacing.
        model: a loaded model.
        settings: region, device, precision, memory.
        progress: called after each window.

    Raises:
        VolumeError: the volume or region cannot be segmented.
        DeviceError: the device or precision that was asked for does not exist here.
        ModelError: the model takes several volumes at once.
        Cancelled: ``progress`` returned False.
    """
    settings = settings or InferenceSettings()
    started = time.perf_counter()
    whole = Region((0, 0, 0), volume.geometry.size)
    region = settings.region or whole
    _check_region(region, volume)
    if model.card.network.in_channels != 1:
        raise ModelError(
            f"The model {model.card.name} needs {model.card.network.in_channels} registered volumes at once, which is "
            "not offered yet; choose a model that takes one volume."
        )
    part = crop(volume, region)
    check_volume(part)
    result = Segmentation(
        labels=np.zeros(volume.geometry.shape, np.uint8),
        geometry=volume.geometry,
        classes=model.card.classes,
        region=region,
        warnings=spacing_warnings(volume, model.card),
    )
    if settings.probabilities:
        result.probabilities = np.zeros((len(model.card.classes), *volume.geometry.shape), np.uint8)
    for device, memory, remedy in _attempts(choose_device(settings.device), settings.window_memory):
        run = _Run(part, model, device, choose_precision(settings.precision, device), memory)
        try:
            run.write(result, progress or _always)
            break
        except torch.OutOfMemoryError:
            if not remedy:
                raise
            result.warnings.append(f"The memory of the {device.type} device did not suffice: {remedy}.")
    if settings.keep_largest:
        keep_largest_pieces(result.labels, result.classes)
    result.device = str(run.device)
    result.precision = precision_name(run.precision)
    result.seconds = {"network": run.network_seconds, "total": time.perf_counter() - started}
    return result


def spacing_warnings(volume: Volume, card: ModelCard) -> list[str]:
    """Sentences where a volume's spacing is more than twice, or less than half, of what the model knows."""
    orientation = network_orientation(volume.geometry)
    found = orientation.spacing(volume.geometry)
    far = [
        f"{mm:.3g} mm instead of {known:g} mm"
        for mm, known in zip(found, card.spacing, strict=True)
        if known is not None and not 0.5 <= mm / known <= 2
    ]
    if not far:
        return []
    return [f"{volume.name} has a spacing far from that of the model {card.name} ({', '.join(far)}): check the result."]


def keep_largest_pieces(labels: Array, classes: Sequence[ClassCard]) -> None:
    """Removes, in place, all but the largest connected piece (26 neighbours) of each class."""
    for item in classes:
        mask = labels == item.label
        if not mask.any():
            continue
        pieces = connected_pieces(mask)
        largest = 1 + int(piece_sizes(pieces).argmax())
        labels[mask & (pieces != largest)] = 0


@dataclass(frozen=True)
class Window:
    """A part of the model's grid that the network sees at once, (slices, rows, columns), and what of it is used.

    Attributes:
        slices: start and stop of the slices that it sees.
        used: start and stop of the slices whose result is used.
        rows: start and stop.
        columns: start and stop.
    """

    slices: tuple[int, int]
    used: tuple[int, int]
    rows: tuple[int, int]
    columns: tuple[int, int]


def plan_windows(shape: Sequence[int], network: AHNetSettings, memory_mb: float, bytes_each: int) -> list[list[Window]]:
    """Cuts a grid into chunks of slices, each a list of tiles.

    Args:
        shape: (D, H, W) of the model's grid.
        network: decides strides, margins and how much memory a voxel takes.
        memory_mb: what the network's maps may take.
        bytes_each: of one number in the precision that is used.

    Returns:
        A list of chunks in slice order; the used slices of the chunks cover the grid without overlap.
    """
    voxels = max(1.0, memory_mb * 2**20 / (network.map_values_per_voxel * bytes_each))
    depth, rows, columns = shape
    stride = network.slice_stride
    margin = _round_up(min(network.slice_reach, max(LARGEST_MARGIN, stride)), stride)
    fewest = min(depth, stride + 2 * margin)
    tile_rows, tile_columns = rows, columns
    while fewest * tile_rows * tile_columns > voxels and max(tile_rows, tile_columns) > SMALLEST_TILE:
        if tile_rows >= tile_columns:
            tile_rows = max(SMALLEST_TILE, _round_up(tile_rows // 2, 32))
        else:
            tile_columns = max(SMALLEST_TILE, _round_up(tile_columns // 2, 32))
    seen = int(voxels // (tile_rows * tile_columns))
    if seen >= depth:
        pieces = 1
        step = depth
    else:
        step = max(stride, (seen - 2 * margin) // stride * stride)
        pieces = math.ceil(depth / step)
        step = _round_up(math.ceil(depth / pieces), stride)
    chunks = []
    for start in range(0, depth, step):
        stop = min(start + step, depth)
        around = (max(0, start - margin), min(depth, stop + margin)) if pieces > 1 else (0, depth)
        tiles = [
            Window(around, (start, stop), row, column)
            for row in _tiles(rows, tile_rows)
            for column in _tiles(columns, tile_columns)
        ]
        chunks.append(tiles)
    return chunks


class _Run:
    """One pass over a volume with a fixed device and window."""

    def __init__(
        self, volume: Volume, model: Model, device: torch.device, precision: torch.dtype, memory_mb: float
    ) -> None:
        card = model.card
        self.device = device
        self.precision = precision
        self.orientation = network_orientation(volume.geometry)
        self.scan = self.orientation.apply(volume.array)
        spacing = self.orientation.spacing(volume.geometry)
        self.grid = ModelGrid.of(self.scan.shape, spacing, card.spacing)
        self.intensities: IntensityMap = intensity_map(card.intensity, self.scan)
        self.network: nn.Module = model.network.to(device)
        self.chunks = plan_windows(self.grid.model, card.network, memory_mb, precision.itemsize)
        self.network_seconds = 0.0

    def write(self, result: Segmentation, progress: Progress) -> None:
        """Fills the region of the result, chunk by chunk."""
        inside = result.region.slices
        labels = self.orientation.apply(result.labels[inside])
        shares = None
        if result.probabilities is not None:
            shares = [self.orientation.apply(values[inside]) for values in result.probabilities]
        for start, probabilities in self._scan_probabilities(progress):
            stop = start + probabilities.shape[1]
            labels[start:stop] = probabilities.argmax(dim=0).to(torch.uint8).cpu().numpy()
            if shares is not None:
                scaled = (probabilities[1:] * 255).round_().to(torch.uint8).cpu().numpy()
                for share, values in zip(shares, scaled, strict=True):
                    share[start:stop] = values

    def _scan_probabilities(self, progress: Progress) -> Iterator[tuple[int, Tensor]]:
        """Pieces of the scan's own slices in order: the first slice, and (classes, n, H, W)."""
        total = sum(len(tiles) for tiles in self.chunks)
        done, written, first = 0, 0, 0
        waiting: Tensor | None = None
        for tiles in self.chunks:
            blend = _Blend(self.grid.model, tiles)
            slab = self.intensities.apply(self.grid.to_model(self.scan, *tiles[0].slices))
            for window in tiles:
                blend.add(window, self._probabilities(slab, window))
                done += 1
                if not progress(done, total):
                    raise Cancelled("Segmentation was cancelled; nothing was changed.")
            chunk = blend.result()
            waiting = chunk if waiting is None else torch.cat([waiting, chunk], dim=1)
            ready = self.grid.complete_scan_slices(tiles[0].used[1])
            for start, stop in self._return_batches(written, ready):
                low, high = self.grid.needed_for_scan(start, stop)
                needed = waiting[:, low - first : high - first]
                yield start, self.grid.to_scan(needed, low, start, stop)
            written = ready
            if written < self.grid.scan[0]:
                keep = self.grid.needed_for_scan(written, written + 1)[0]
                waiting, first = waiting[:, keep - first :], keep

    def _return_batches(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        slices = max(1, RETURN_BATCH_VOXELS // (self.grid.scan[1] * self.grid.scan[2]))
        for first in range(start, stop, slices):
            yield first, min(first + slices, stop)

    @torch.inference_mode()
    def _probabilities(self, slab: Tensor, window: Window) -> Tensor:
        """(classes, n, h, w) float32 of the used slices of a window, a part of the chunk's normalised slices."""
        tile = slab[:, slice(*window.rows), slice(*window.columns)]
        began = time.perf_counter()
        with torch.autocast(self.device.type, dtype=self.precision, enabled=self.precision != torch.float32):
            logits = self.network(tile[None, None].to(self.device))[0]
        offset = window.slices[0]
        used = logits[:, window.used[0] - offset : window.used[1] - offset].float()
        if not torch.isfinite(used).all():
            raise VolumeError("The network gave numbers that are not finite; run it again with the precision float32.")
        self.network_seconds += time.perf_counter() - began
        probabilities: Tensor = used.softmax(dim=0)
        return probabilities


class _Blend:
    """Joins the tiles of a chunk; where they overlap, by weights that fall towards a tile's border."""

    def __init__(self, shape: Sequence[int], tiles: Sequence[Window]) -> None:
        self.single = len(tiles) == 1
        self.shape = shape
        self.total: Tensor | None = None
        self.weight: Tensor | None = None

    def add(self, window: Window, values: Tensor) -> None:
        if self.single:
            self.total = values
            return
        if self.total is None or self.weight is None:
            self.total = values.new_zeros(*values.shape[:2], *self.shape[1:])
            self.weight = values.new_zeros(self.shape[1], self.shape[2])
        place = (slice(*window.rows), slice(*window.columns))
        ramp = torch.outer(_hat(window.rows), _hat(window.columns)).to(values)
        self.total[(slice(None), slice(None), *place)] += values * ramp
        self.weight[place] += ramp

    def result(self) -> Tensor:
        assert self.total is not None
        return self.total if self.weight is None else self.total / self.weight


def _hat(span: tuple[int, int]) -> Tensor:
    """Weights along a tile's side: a Gaussian with a deviation of an eighth of the side, never below 0.001."""
    length = span[1] - span[0]
    offset = torch.arange(length, dtype=torch.float32) - (length - 1) / 2
    return torch.exp(-0.5 * (offset / (length / 8)) ** 2).clamp_min(1e-3)


def _tiles(length: int, tile: int) -> list[tuple[int, int]]:
    """Starts and stops of equally spread tiles that overlap by about ``TILE_OVERLAP``; starts are even numbers of 32.

    Starts at multiples of the network's stride keep its strided layers in step with each other.
    """
    if tile >= length:
        return [(0, length)]
    count = math.ceil((length - tile) / (tile * (1 - TILE_OVERLAP))) + 1
    starts = sorted({round((length - tile) * n / (count - 1) / 32) * 32 for n in range(count - 1)})
    last = _round_up(length - tile, 32)
    spans = [(start, min(start + tile, length)) for start in (*starts, last)]
    return sorted(set(spans))


def _attempts(device: torch.device, memory_mb: float | None) -> Iterator[tuple[torch.device, float, str]]:
    """Where to run with how much window memory, and what follows if that memory does not suffice ('': nothing)."""
    if device.type != "cpu":
        memory = memory_mb or window_memory_mb(device)
        for halvings in range(GPU_TRIES):
            last = halvings == GPU_TRIES - 1
            yield device, memory / 2**halvings, "went on with the CPU" if last else "went on with smaller windows"
    cpu = torch.device("cpu")
    yield cpu, memory_mb or window_memory_mb(cpu), ""


def _check_region(region: Region, volume: Volume) -> None:
    for start, stop, size in zip(region.start, region.stop, volume.geometry.size, strict=True):
        if not 0 <= start < stop <= size:
            raise VolumeError(
                f"The region of interest lies outside {volume.name}; move it over the part to be segmented."
            )


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def _always(done: int, total: int) -> bool:
    return True
