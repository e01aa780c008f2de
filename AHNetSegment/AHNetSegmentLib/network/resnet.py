"""The encoder, a bottleneck ResNet (He et al., CVPR 2016), in 2D and in AH-Net's anisotropic 3D form.

Both go by torchvision's names (conv1, bn1, layer1 to layer4, downsample.0, downsample.1; the stride on the 3x3
convolution), so a torchvision ResNet-50 loads into the 2D one and the transfer to 3D is name by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from .layers import PLANE, VOLUME, Space, initialise
from .settings import scaled_channels

EXPANSION = 4


class Features(NamedTuple):
    """What the encoder hands to a decoder; each (N, C, H, W) or (N, C, D, H, W).

    In plane, the strides are 2, 4, 4, 8, 16, 32 from `conv_x` to `layer4`.
    """

    conv_x: torch.Tensor
    pool_x: torch.Tensor
    layer1: torch.Tensor
    layer2: torch.Tensor
    layer3: torch.Tensor
    layer4: torch.Tensor


class Bottleneck(nn.Module):
    """1x1, 3x3 in plane, 1x1, added to its input; the first one of a stage may halve planes and slices.

    Slices are halved by max pooling: a strided 1x1x1 convolution would never see every other slice.
    """

    def __init__(self, space: Space, inputs: int, planes: int, stride: int = 1, slice_stride: int = 1) -> None:
        super().__init__()
        outputs = planes * EXPANSION
        self.conv1 = space.conv(inputs, planes, 1, bias=False)
        self.bn1 = space.norm(planes)
        self.conv2 = space.conv(
            planes,
            planes,
            space.size(3),  # type: ignore[arg-type]
            stride=space.size(stride),  # type: ignore[arg-type]
            padding=space.size(1, slices=0),  # type: ignore[arg-type]
            bias=False,
        )
        self.bn2 = space.norm(planes)
        self.conv3 = space.conv(planes, outputs, 1, bias=False)
        self.bn3 = space.norm(outputs)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or slice_stride != 1 or inputs != outputs:
            shortcut = space.conv(inputs, outputs, 1, stride=space.size(stride), bias=False)  # type: ignore[arg-type]
            self.downsample = nn.Sequential(shortcut, space.norm(outputs))
        self.slice_pool = _slice_pool(slice_stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = F.relu(self.bn2(self.conv2(out)), inplace=True)
        out = self.slice_pool(self.bn3(self.conv3(out)))
        if self.downsample is not None:
            # Pooled before the norm: a negative norm weight would turn the maximum into a minimum.
            x = self.downsample[1](self.slice_pool(self.downsample[0](x)))
        return F.relu(out.add_(x), inplace=True)


class _ResNet(nn.Module):
    """Stem and four stages, written once for both dimensions."""

    space: Space

    def __init__(
        self,
        in_channels: int,
        width: float,
        layers: Sequence[int],
        slice_strides: Sequence[int],
        *,
        overlapping_pool: bool,
        stem_slices: int,
        stem_slice_padding: int,
    ) -> None:
        super().__init__()
        space = self.space
        stem = scaled_channels(64, width)
        self.in_channels = in_channels
        self.width = width
        self.blocks = tuple(layers)
        self.overlapping_pool = overlapping_pool
        self.conv1 = space.conv(
            in_channels,
            stem,
            space.size(7, slices=stem_slices),  # type: ignore[arg-type]
            stride=space.size(2),  # type: ignore[arg-type]
            padding=space.size(3, slices=stem_slice_padding),  # type: ignore[arg-type]
            bias=False,
        )
        self.slice_pool = _slice_pool(slice_strides[0])
        self.bn1 = space.norm(stem)
        self.maxpool = self._max_pool(slice_strides[1], overlapping_pool)

        inputs = stem
        stages = []
        for stage, (blocks, slice_stride) in enumerate(zip(layers, (1, *slice_strides[2:]), strict=True)):
            planes = scaled_channels(64 * 2**stage, width)
            first = Bottleneck(space, inputs, planes, 1 if stage == 0 else 2, slice_stride)
            inputs = planes * EXPANSION
            stages.append(nn.Sequential(first, *(Bottleneck(space, inputs, planes) for _ in range(1, blocks))))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        initialise(self)
        self.to(memory_format=space.memory_format)  # type: ignore[call-overload]

    @property
    def channels(self) -> tuple[int, int, int, int, int, int]:
        """Channels of each feature map, in the order of :class:`Features`."""
        stem = self.conv1.out_channels
        first, second, third, fourth = (scaled_channels(64 * 2**stage, self.width) * EXPANSION for stage in range(4))
        return stem, stem, first, second, third, fourth

    def forward(self, x: torch.Tensor) -> Features:
        conv_x = F.relu(self.bn1(self.slice_pool(self.conv1(x))), inplace=True)
        pool_x = self.maxpool(conv_x)
        layer1 = self.layer1(pool_x)
        layer2 = self.layer2(layer1)
        layer3 = self.layer3(layer2)
        layer4 = self.layer4(layer3)
        return Features(conv_x, pool_x, layer1, layer2, layer3, layer4)

    def _max_pool(self, slice_stride: int, overlapping: bool) -> nn.Module:
        size = self.space.size
        stride = size(2, slices=slice_stride)
        if not overlapping:
            return self.space.max_pool(stride, ceil_mode=True)
        slices, padding = (3, 1) if slice_stride == 2 else (1, 0)
        return self.space.max_pool(size(3, slices), stride=stride, padding=size(1, padding))


class ResNet2d(_ResNet):
    """The 2D encoder: (N, C, H, W) to :class:`Features`, each length the next whole number of its stride.

    With three input channels and `width` 1.0 it is torchvision's `resnet50` without its last layer.

    Args:
        in_channels: three per volume.
        width: factor on all channels.
        layers: bottlenecks per stage.
    """

    space = PLANE

    def __init__(self, in_channels: int = 3, width: float = 1.0, layers: Sequence[int] = (3, 4, 6, 3)) -> None:
        super().__init__(
            in_channels, width, layers, (1, 1, 1, 1, 1), overlapping_pool=True, stem_slices=1, stem_slice_padding=0
        )


class ResNet3d(_ResNet):
    """The anisotropic encoder: (N, C, D, H, W) to :class:`Features`, each length the next whole number of its stride.

    Every k x k convolution has become 1 x k x k, but for the first, 3 x 7 x 7: its taps along the slices are the
    2D network's three input channels (Liu et al., arXiv 1711.08580).

    Args:
        in_channels: volumes.
        width: factor on all channels.
        layers: bottlenecks per stage.
        slice_strides: 1 or 2 at (pool after conv1, max pool, layer2, layer3, layer4).
        zero_padded_slices: zeros beyond the first and the last slice; otherwise these slices repeated.
        overlapping_pool: max pooling over 3 with stride 2, as the 2D network; otherwise over 2.
    """

    space = VOLUME

    def __init__(
        self,
        in_channels: int = 1,
        width: float = 1.0,
        layers: Sequence[int] = (3, 4, 6, 3),
        slice_strides: Sequence[int] = (2, 2, 2, 2, 2),
        *,
        zero_padded_slices: bool = False,
        overlapping_pool: bool = True,
    ) -> None:
        super().__init__(
            in_channels,
            width,
            layers,
            slice_strides,
            overlapping_pool=overlapping_pool,
            stem_slices=3,
            stem_slice_padding=int(zero_padded_slices),
        )
        self.slice_strides = tuple(slice_strides)
        self.zero_padded_slices = zero_padded_slices

    def forward(self, x: torch.Tensor) -> Features:
        if not self.zero_padded_slices:
            x = F.pad(x, (0, 0, 0, 0, 1, 1), mode="replicate")
        return super().forward(x)


def _slice_pool(slice_stride: int) -> nn.Module:
    """Max pooling of slice pairs; a last slice without a partner stays as it is."""
    return nn.MaxPool3d((2, 1, 1), ceil_mode=True) if slice_stride == 2 else nn.Identity()
