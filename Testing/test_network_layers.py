"""The 3D convolution that flat kernels do in 2D: same values, same gradients, one layout."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from AHNetSegmentLib.network.layers import Conv3d

KERNELS = {
    "1x1x1": {"kernel_size": 1},
    "in plane": {"kernel_size": (1, 3, 3), "padding": (0, 1, 1)},
    "in plane, strided": {"kernel_size": (1, 3, 5), "stride": (1, 2, 2), "padding": (0, 1, 2)},
    "in plane, dilated": {"kernel_size": (1, 3, 3), "padding": (0, 2, 1), "dilation": (1, 2, 1)},
    "through slices": {"kernel_size": (3, 1, 1), "padding": (1, 0, 0)},
    "through slices, strided": {"kernel_size": (2, 1, 1), "stride": (2, 1, 1)},
    "pointwise, strided in plane": {"kernel_size": 1, "stride": (1, 2, 2)},
    "pointwise, strided through slices": {"kernel_size": 1, "stride": (2, 1, 1)},
    "solid": {"kernel_size": (3, 7, 7), "stride": (1, 2, 2), "padding": (1, 3, 3)},
    "flat, with a margin of slices": {"kernel_size": (1, 3, 3), "padding": 1},
}


def _volumes(*shape: int) -> torch.Tensor:
    return torch.randn(*shape).contiguous(memory_format=torch.channels_last_3d).requires_grad_()


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("onednn", [True, False])
def test_values_and_gradients_are_those_of_a_3d_convolution(name, onednn, monkeypatch):
    if not onednn:
        monkeypatch.setattr(Conv3d, "_suits_onednn", staticmethod(lambda *_: False))
    torch.manual_seed(0)
    conv = Conv3d(6, 10, **KERNELS[name])
    x = _volumes(2, 6, 5, 12, 9)
    found = conv(x)
    expected = F.conv3d(x, conv.weight, conv.bias, conv.stride, conv.padding, conv.dilation)
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    gradient = torch.randn_like(expected)
    wanted = torch.autograd.grad(expected, (x, conv.weight, conv.bias), gradient)
    for one, other in zip(torch.autograd.grad(found, (x, conv.weight, conv.bias), gradient), wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["1x1x1", "in plane", "in plane, strided", "through slices"])
def test_the_layout_stays_in_both_directions(name):
    x = _volumes(1, 16, 8, 24, 20)
    conv = Conv3d(16, 24, bias=False, **KERNELS[name]).to(memory_format=torch.channels_last_3d)
    found = conv(x)
    assert found.is_contiguous(memory_format=torch.channels_last_3d)
    (gradient,) = torch.autograd.grad(found, x, torch.randn_like(found))
    assert gradient.is_contiguous(memory_format=torch.channels_last_3d)


def test_a_volume_in_another_layout_is_convolved_too():
    x = torch.randn(2, 3, 4, 5, 6)
    conv = Conv3d(3, 7, (1, 3, 3), padding=(0, 1, 1))
    torch.testing.assert_close(conv(x), F.conv3d(x, conv.weight, conv.bias, padding=(0, 1, 1)), rtol=1e-4, atol=1e-5)
