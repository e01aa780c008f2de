"""Where samples lie on another grid, and the largest channel between them."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from AHNetSegmentLib.network.interpolation import LinearAxis, PlaneMap


@pytest.mark.parametrize(("inputs", "outputs"), [(5, 5), (5, 9), (9, 5), (1, 4), (4, 1), (7, 20)])
@pytest.mark.parametrize("aligned", [False, True])
def test_an_axis_is_what_pytorch_interpolates(inputs: int, outputs: int, aligned: bool) -> None:
    axis = (LinearAxis.aligned_corners if aligned else LinearAxis.same_field)(inputs, outputs)
    values = torch.randn(inputs, 3)
    expected = F.interpolate(values.t()[None], outputs, mode="linear", align_corners=aligned)[0].t()
    torch.testing.assert_close(axis.of_batch(values, 0, 0, outputs), expected)
    for start in range(outputs):
        low, high = axis.needs(start, outputs)
        torch.testing.assert_close(axis.of_batch(values[low:high], low, start, outputs), expected[start:])


def test_a_surplus_at_the_end_is_cut_off() -> None:
    axis = LinearAxis.multiplied(4, 7, 2)
    values = torch.randn(4, 1)
    expected = F.interpolate(values.t()[None], 8, mode="linear")[0].t()[:7]
    torch.testing.assert_close(axis.of_batch(values, 0, 0, 7), expected)


MAPS = {
    "finer": PlaneMap.same_field((9, 12), (31, 25)),
    "coarser": PlaneMap.same_field((20, 30), (13, 17)),
    "the same": PlaneMap.same_field((9, 12), (9, 12)),
    "twice": PlaneMap.multiplied((9, 12), (17, 24), 2),
    "corners": PlaneMap.aligned_corners((9, 12), (17, 24)),
    "from one pixel": PlaneMap.multiplied((1, 1), (2, 1), 2),
}


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_largest_channel_is_found_as_if_all_were_interpolated(name: str, layout: torch.memory_format) -> None:
    plane = MAPS[name]
    inputs = {"coarser": (20, 30), "from one pixel": (1, 1)}.get(name, (9, 12))
    torch.manual_seed(0)
    images = torch.randn(3, 5, *inputs).contiguous(memory_format=layout)
    full = plane(images)
    assert full.shape == (3, 5, len(plane.rows), len(plane.columns))
    largest = full.topk(2, dim=1).values
    clear = largest[:, 0] - largest[:, 1] > 1e-5
    found = plane.largest_channel(images)
    assert found.dtype == torch.uint8
    assert clear.float().mean() > 0.99
    assert torch.equal(found[clear], full.argmax(dim=1).to(torch.uint8)[clear])


def test_256_channels_are_told_apart() -> None:
    images = torch.zeros(1, 256, 4, 4)
    images[:, 255] = 1
    assert (PlaneMap.same_field((4, 4), (9, 9)).largest_channel(images) == 255).all()
