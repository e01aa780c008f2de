"""Windows cover the grid, keep to their memory, and join without a seam."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from AHNetSegmentLib.engine.windows import Blend, plan_windows
from AHNetSegmentLib.network.settings import AHNetSettings

SETTINGS = AHNetSettings(classes=3, width=0.5, slice_strides=(1, 1, 2, 2, 2))


def memory(size: Sequence[int]) -> float:
    """300 bytes a voxel."""
    return 300.0 * float(np.prod(size))


def test_whole_slices_that_fit_are_one_window_whatever_their_number() -> None:
    def of_slices(size: Sequence[int]) -> float:
        return 1000.0 * size[1] * size[2]

    ((window,),) = plan_windows((4000, 512, 500), SETTINGS, of_slices, 1000)
    assert window.slices == window.used == (0, 4000)
    assert window.size == (4000, 512, 500)


@pytest.mark.parametrize("depth", [1, 5, 40, 113, 400])
def test_tiles_cover_every_slice_once_and_start_on_the_strides(depth: int) -> None:
    chunks = plan_windows((depth, 300, 200), SETTINGS, memory, 60)
    used = [tiles[0].used for tiles in chunks]
    assert used[0][0] == 0
    assert used[-1][1] == depth
    assert all(a[1] == b[0] for a, b in itertools.pairwise(used))
    for tiles in chunks:
        covered = np.zeros((300, 200), bool)
        for tile in tiles:
            assert tile.used == tiles[0].used
            assert tile.slices[0] % SETTINGS.slice_stride == 0
            assert tile.slices[0] <= tile.used[0] < tile.used[1] <= tile.slices[1]
            assert tile.rows[0] % 32 == tile.columns[0] % 32 == 0
            covered[slice(*tile.rows), slice(*tile.columns)] = True
        assert covered.all()


@pytest.mark.parametrize("limit", [150, 300, 1000])
def test_a_window_never_exceeds_its_memory_while_it_can_be_cut(limit: float) -> None:
    for tiles in plan_windows((300, 512, 512), SETTINGS, memory, limit):
        assert all(memory(tile.size) <= limit * 2**20 for tile in tiles)


def test_tiles_of_equal_values_join_to_the_same_values() -> None:
    values = torch.randn(40, 3, 300, 200)
    joined = []
    for tiles in plan_windows((40, 300, 200), SETTINGS, memory, 60):
        blend = Blend(tiles, (40, 300, 200), 3, torch.device("cpu"))
        assert len(tiles) > 1
        for tile in tiles:
            seen = values[slice(*tile.slices), :, slice(*tile.rows), slice(*tile.columns)]
            first = tile.slices[0]
            for piece in seen.split(5):
                blend.add(tile, first, piece)
                first += len(piece)
        joined.append(blend.result())
    torch.testing.assert_close(torch.cat(joined), values)
