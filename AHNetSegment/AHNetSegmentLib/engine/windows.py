"""What the network sees at once: whole slices, as many as there are, or, where memory is short, tiles of chunks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..network.settings import AHNetSettings

TILE_OVERLAP = 0.25
SMALLEST_TILE = 64
LARGEST_MARGIN = 16
STRIDE = 32
"""Of the network's deepest map, in plane."""


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

    @property
    def size(self) -> tuple[int, int, int]:
        """(D, H, W) of what it sees."""
        spans = (self.slices, self.rows, self.columns)
        depth, rows, columns = (stop - start for start, stop in spans)
        return depth, rows, columns


def plan_windows(
    shape: Sequence[int], network: AHNetSettings, memory: Callable[[Sequence[int]], float], memory_mb: float
) -> list[list[Window]]:
    """Cuts a grid into chunks of slices, each a list of tiles.

    Whole slices stream through the network, so all of them are one window, whatever their number. Where the memory
    does not suffice for that, each chunk is cut into tiles, seen with a margin of further slices that is thrown away.

    Args:
        shape: (D, H, W) of the model's grid.
        network: decides strides and margins.
        memory: bytes that a window of a size (D, H, W) takes, the larger the window the more.
        memory_mb: what a window may take.

    Returns:
        A list of chunks in slice order; the used slices of the chunks cover the grid without overlap. A window is
        larger than the memory only where it is the smallest that there is.
    """
    depth, rows, columns = shape
    limit = memory_mb * 2**20
    if memory(shape) <= limit:
        return [[Window((0, depth), (0, depth), (0, rows), (0, columns))]]
    stride = network.slice_stride
    margin = _round_up(min(network.slice_reach, max(LARGEST_MARGIN, stride)), stride)
    step = max(stride, margin)

    def taken(tile_rows: int, tile_columns: int) -> float:
        # The joined tiles of a chunk wait in float32.
        joined = 4 * (network.classes + 1) * min(depth, step) * rows * columns
        return memory((min(depth, step + 2 * margin), tile_rows, tile_columns)) + joined

    tile_rows, tile_columns = rows, columns
    while taken(tile_rows, tile_columns) > limit and max(tile_rows, tile_columns) > SMALLEST_TILE:
        if tile_rows >= tile_columns:
            tile_rows = max(SMALLEST_TILE, _round_up(tile_rows // 2, STRIDE))
        else:
            tile_columns = max(SMALLEST_TILE, _round_up(tile_columns // 2, STRIDE))
    chunks = []
    for start in range(0, depth, step):
        stop = min(start + step, depth)
        around = (max(0, start - margin), min(depth, stop + margin))
        tiles = [
            Window(around, (start, stop), row, column)
            for row in _tiles(rows, tile_rows)
            for column in _tiles(columns, tile_columns)
        ]
        chunks.append(tiles)
    return chunks


class Blend:
    """Joins the logits of a chunk's tiles; where they overlap, by weights that fall towards a tile's border.

    Args:
        tiles: the chunk.
        shape: (D, H, W) of the model's grid.
        classes: channels.
        device: where the tiles' logits are.
    """

    def __init__(self, tiles: Sequence[Window], shape: Sequence[int], classes: int, device: torch.device) -> None:
        self.first, stop = tiles[0].used
        self.total = torch.zeros(stop - self.first, classes, shape[1], shape[2], device=device)
        self.weight = torch.zeros(shape[1], shape[2], device=device)
        for tile in tiles:
            self._place(self.weight, tile).add_(self._ramp(tile))

    def add(self, tile: Window, first: int, logits: Tensor) -> None:
        """Adds a tile's logits (n, classes, h, w) from slice `first` of the grid on, as far as it is used."""
        low, high = max(first, tile.used[0]), min(first + len(logits), tile.used[1])
        if low < high:
            used = logits[low - first : high - first].float()
            self._place(self.total[low - self.first : high - self.first], tile).add_(used * self._ramp(tile))

    def result(self) -> Tensor:
        """(n, classes, H, W) float32 of the chunk's used slices."""
        return self.total.div_(self.weight)

    def _ramp(self, tile: Window) -> Tensor:
        return torch.outer(_hat(tile.rows), _hat(tile.columns)).to(self.weight.device)

    @staticmethod
    def _place(images: Tensor, tile: Window) -> Tensor:
        return images[..., slice(*tile.rows), slice(*tile.columns)]


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
    starts = sorted({round((length - tile) * n / (count - 1) / STRIDE) * STRIDE for n in range(count - 1)})
    last = _round_up(length - tile, STRIDE)
    spans = [(start, min(start + tile, length)) for start in (*starts, last)]
    return sorted(set(spans))


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
