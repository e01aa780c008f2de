"""AH-Net, the 3D anisotropic hybrid network (Liu et al., arXiv 1711.08580, MICCAI 2018).

A ResNet encoder that convolves in plane, and a dense decoder whose through-slice convolutions are residuals on
in-plane features. All maps are (N, C, D, H, W), D the slice axis, in `channels_last_3d` from input to output.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional as F

from .layers import Conv3d, crop_to, initialise
from .resnet import Features, ResNet3d
from .settings import AHNetSettings

DENSE_LAYERS = 3


class DenseLayer(nn.Module):
    """Appends `growth` channels: in-plane features, plus what a 3x1x1 convolution adds from the neighbouring slices.

    Args:
        inputs: channels that come in.
        growth: channels that are appended.
        bottleneck: the 1x1x1 convolution makes `bottleneck * growth` channels of the inputs.
    """

    def __init__(self, inputs: int, growth: int, bottleneck: int) -> None:
        super().__init__()
        inner = bottleneck * growth
        self.bn1 = nn.BatchNorm3d(inputs)
        self.conv1 = Conv3d(inputs, inner, 1, bias=False)
        self.bn2 = nn.BatchNorm3d(inner)
        self.conv2 = Conv3d(inner, growth, (1, 3, 3), padding=(0, 1, 1), bias=False)
        self.bn3 = nn.BatchNorm3d(growth)
        self.conv3 = Conv3d(growth, growth, (3, 1, 1), padding=(1, 0, 0), bias=False)
        self.bn4 = nn.BatchNorm3d(growth)
        self.conv4 = Conv3d(growth, growth, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.conv1(F.relu(self.bn1(x), inplace=True))
        in_plane = self.conv2(F.relu(self.bn2(inner), inplace=True))
        through_slices = self.conv3(F.relu(self.bn3(in_plane), inplace=True))
        new = self.conv4(F.relu(self.bn4(through_slices.add_(in_plane)), inplace=True))
        return torch.cat([x, new], dim=1)


class DenseBlock(nn.Sequential):
    """Three dense layers: `inputs` to `inputs + 3 * growth` channels."""

    def __init__(self, inputs: int, growth: int, bottleneck: int) -> None:
        super().__init__(*(DenseLayer(inputs + i * growth, growth, bottleneck) for i in range(DENSE_LAYERS)))


class Resize(nn.Module):
    """Trilinear upsampling by a whole factor per axis, cropped to the size that is wanted.

    The crop takes away what rounding up at the strided layer had added; with `align_corners` the map is stretched
    to the wanted size instead, so that its corners stay corners.
    """

    def __init__(self, factors: tuple[int, int, int], align_corners: bool = False) -> None:
        super().__init__()
        self.factors = factors
        self.align_corners = align_corners

    def forward(self, x: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
        if self.align_corners:
            return F.interpolate(x, tuple(size), mode="trilinear", align_corners=True)
        full = [length * factor for length, factor in zip(x.shape[2:], self.factors, strict=True)]
        return crop_to(F.interpolate(x, full, mode="trilinear", align_corners=False), size)


class LearnedResize(nn.ConvTranspose3d):
    """Transposed convolution with kernel equal to stride, cropped to the size that is wanted."""

    def __init__(self, channels: int, factors: tuple[int, int, int], bias: bool) -> None:
        super().__init__(channels, channels, factors, stride=factors, bias=bias)

    def forward(self, x: torch.Tensor, size: Sequence[int]) -> torch.Tensor:  # type: ignore[override]
        # Small maps may come back from PyTorch in another layout.
        larger = super().forward(x).contiguous(memory_format=torch.channels_last_3d)
        return crop_to(larger, size)


def upsampling(settings: AHNetSettings, channels: int, slice_stride: int) -> nn.Module:
    """Twofold upsampling in plane and `slice_stride`-fold along the slices, fixed or learned."""
    factors = (slice_stride, 2, 2)
    if settings.upsampling == "transpose":
        return LearnedResize(channels, factors, bias=False)
    return Resize(factors, settings.align_corners)


class NormConv(nn.Module):
    """BatchNorm, ReLU, convolution without bias (same size)."""

    def __init__(self, inputs: int, outputs: int, in_plane: int = 1) -> None:
        super().__init__()
        self.norm = nn.BatchNorm3d(inputs)
        margin = in_plane // 2
        self.conv = Conv3d(inputs, outputs, (1, in_plane, in_plane), padding=(0, margin, margin), bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        convolved: torch.Tensor = self.conv(F.relu(self.norm(x), inplace=True))
        return convolved


class Up(NormConv):
    """BatchNorm, ReLU, convolution, upsampling: the way from one level of the decoder to the next, and the head."""

    def __init__(
        self, settings: AHNetSettings, inputs: int, outputs: int, slice_stride: int, in_plane: int = 1
    ) -> None:
        super().__init__(inputs, outputs, in_plane)
        self.up = upsampling(settings, outputs, slice_stride)

    def forward(self, x: torch.Tensor, size: Sequence[int]) -> torch.Tensor:  # type: ignore[override]
        larger: torch.Tensor = self.up(super().forward(x), size)
        return larger


class Head(Up):
    """3x3 convolution in plane to the classes, and upsampling to the input's size."""

    def __init__(self, settings: AHNetSettings, inputs: int) -> None:
        super().__init__(settings, inputs, settings.classes, settings.slice_strides[0], in_plane=3)

    def forward(self, x: torch.Tensor, size: Sequence[int]) -> torch.Tensor:  # type: ignore[override]
        missing = -self.conv.out_channels % 8
        if isinstance(self.up, LearnedResize) or not missing:
            return super().forward(x, size)
        # Vector units want channels in eights: upsampling 14 channels takes twice as long as upsampling 16.
        weight = F.pad(self.conv.weight, (*[0] * 9, missing))
        logits = self.conv._conv_forward(F.relu(self.norm(x), inplace=True), weight, None)
        larger: torch.Tensor = _FirstChannels.apply(self.up(logits, size), self.conv.out_channels)
        return larger


class _FirstChannels(torch.autograd.Function):
    """The first channels of maps (N, C, D, H, W), as a view whose gradient keeps the layout of the maps.

    PyTorch's own gradient of a slice is contiguous whatever the maps are; upsampling and convolution before it then
    take several times as long.
    """

    @staticmethod
    def forward(context: Any, x: torch.Tensor, channels: int) -> torch.Tensor:
        context.shape = x.shape
        return x[:, :channels]

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:  # type: ignore[override]
        full = torch.empty(
            context.shape, dtype=gradient.dtype, device=gradient.device, memory_format=torch.channels_last_3d
        )
        channels = gradient.shape[1]
        full[:, :channels] = gradient
        full[:, channels:] = 0
        return full, None


class Pyramid(nn.Module):
    """Pyramid pooling in plane: one channel per window of 8, 16, 32, 64, put before the features it comes from.

    The cells of a window start at the first row and column, and a cell that the border cuts keeps what it has, so
    maps of any size work. Each cell is resized over exactly its own pixels. With `padded_pyramid` it is MONAI's
    pyramid instead: whole cells only, projection with a margin of zeros, resized to the map's size.
    """

    def __init__(self, settings: AHNetSettings, channels: int) -> None:
        super().__init__()
        self.windows = tuple(8 * 2**level for level in range(settings.pyramid_levels))
        self.align_corners = settings.align_corners
        transpose = settings.upsampling == "transpose"
        # A transposed convolution as MONAI crops it never shows the projection's margin.
        self.padded = settings.padded_pyramid and not transpose
        self.project = nn.ModuleList(Conv3d(channels, 1, 1) for _ in self.windows)
        learned = self.windows if transpose else ()
        self.up = nn.ModuleList(LearnedResize(1, (1, window, window), bias=True) for window in learned)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.windows:
            return x
        # All of it is in plane: slices are a batch of images, in `channels_last` where the volume is.
        levels = self.levels(x.transpose(1, 2).flatten(0, 1))
        # One-channel maps have no layout of their own: joined first, they cannot spoil the layout of the features.
        pyramid = torch.cat(levels, dim=1).unflatten(0, (x.shape[0], x.shape[2])).transpose(1, 2)
        pyramid = pyramid.contiguous(memory_format=torch.channels_last_3d)
        return torch.cat([pyramid, x], dim=1).contiguous(memory_format=torch.channels_last_3d)

    def levels(self, images: torch.Tensor) -> list[torch.Tensor]:
        """The pooled channels of images (n, C, H, W), from the smallest window on: each (n, 1, H, W)."""
        return self._padded_levels(images) if self.padded else self._cell_levels(images)

    def _cell_levels(self, x: torch.Tensor) -> list[torch.Tensor]:
        levels = []
        pooled, window = x, 1
        for number, larger in enumerate(self.windows):
            pooled, window = F.max_pool2d(pooled, larger // window, ceil_mode=True), larger
            grid = self._projected(number, pooled)
            if self.up:
                up = cast(LearnedResize, self.up[number])
                full = F.conv_transpose2d(grid, up.weight.squeeze(2), up.bias, stride=window)
            else:
                size = [length * window for length in grid.shape[2:]]
                full = F.interpolate(grid, size, mode="bilinear", align_corners=False)
            levels.append(crop_to(full, x.shape[2:]))
        return levels

    def _padded_levels(self, x: torch.Tensor) -> list[torch.Tensor]:
        levels = []
        pooled, before = x, (1, 1)
        for number, window in enumerate(self.windows):
            step = (min(window, x.shape[2]), min(window, x.shape[3]))
            if step[0] % before[0] or step[1] % before[1]:
                pooled, before = x, (1, 1)
            # Whole cells alone: those of a larger window are made of those of the one before it.
            pooled = F.max_pool2d(pooled, (step[0] // before[0], step[1] // before[1]))
            before = step
            grid = self._projected(number, pooled)
            levels.append(F.interpolate(grid, x.shape[2:], mode="bilinear", align_corners=self.align_corners))
        return levels

    def _projected(self, number: int, pooled: torch.Tensor) -> torch.Tensor:
        project = cast(Conv3d, self.project[number])
        return F.conv2d(pooled, project.weight.squeeze(2), project.bias, padding=int(self.padded))


class Decoder(nn.Module):
    """Dense decoder, pyramid pooling and head: the encoder's :class:`Features` to logits at full resolution.

    Args:
        settings: the network's settings.
        channels: the encoder's channels, in the order of :class:`Features`.
    """

    def __init__(self, settings: AHNetSettings, channels: Sequence[int]) -> None:
        super().__init__()
        conv_x, pool_x, layer1, layer2, layer3, layer4 = channels
        strides = settings.slice_strides
        growth, added = settings.growth, DENSE_LAYERS * settings.growth

        def dense(inputs: int) -> DenseBlock:
            return DenseBlock(inputs, growth, settings.bottleneck)

        self.up0, self.dense0 = Up(settings, layer4, layer3, strides[4]), dense(layer3)
        self.up1, self.dense1 = Up(settings, layer3 + added, layer2, strides[3]), dense(layer2)
        self.up2, self.dense2 = Up(settings, layer2 + added, layer1, strides[2]), dense(layer1)
        self.project, self.dense3 = NormConv(layer1 + added, pool_x), dense(pool_x)
        self.up3, self.dense4 = Up(settings, pool_x + added, conv_x, strides[1]), dense(conv_x)
        self.pyramid = Pyramid(settings, conv_x + added)
        inputs = settings.pyramid_levels + conv_x + added
        self.head = Head(settings, inputs)
        self._initialise()

    def forward(self, features: Features, size: Sequence[int]) -> torch.Tensor:
        """Logits (N, classes, D, H, W) of the size (D, H, W) that the encoder's input had."""
        conv_x, pool_x, layer1, layer2, layer3, layer4 = features
        x = self.dense0(self.up0(layer4, layer3.shape[2:]) + layer3)
        x = self.dense1(self.up1(x, layer2.shape[2:]) + layer2)
        x = self.dense2(self.up2(x, layer1.shape[2:]) + layer1)
        x = self.dense3(self.project(x) + pool_x)
        x = self.dense4(self.up3(x, conv_x.shape[2:]) + conv_x)
        logits: torch.Tensor = self.head(self.pyramid(x), size)
        return logits

    def _initialise(self) -> None:
        initialise(self)
        # Small logits: training starts from nearly equal probabilities.
        nn.init.normal_(self.head.conv.weight, std=0.01)
        for project in self.pyramid.project:
            assert isinstance(project, nn.Conv3d)
            nn.init.normal_(project.weight, std=project.in_channels**-0.5)
        for up in self.pyramid.up:
            assert isinstance(up, LearnedResize)
            nn.init.ones_(up.weight)


class AHNet(nn.Module):
    """The 3D network: (N, in_channels, D, H, W) to logits (N, classes, D, H, W), whatever the size.

    A strided layer rounds an odd length up, and the decoder crops the surplus away where it meets the encoder
    again: maps stay aligned at their first voxel, and no size pays for padding to a multiple of the stride.

    Args:
        settings: what the network is made of; kept as `settings`.
    """

    def __init__(self, settings: AHNetSettings | None = None) -> None:
        super().__init__()
        self.settings = settings if settings is not None else AHNetSettings()
        self.encoder = ResNet3d(
            self.settings.in_channels,
            self.settings.width,
            self.settings.layers,
            self.settings.slice_strides,
            zero_padded_slices=self.settings.zero_padded_slices,
            overlapping_pool=self.settings.upsampling != "transpose",
        )
        self.decoder = Decoder(self.settings, self.encoder.channels)
        self._encoder_locked = False
        self.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

    def forward(self, volumes: torch.Tensor) -> torch.Tensor:
        """Logits (N, classes, D, H, W) of volumes (N, in_channels, D, H, W).

        Raises:
            ValueError: the input has another shape than this.
        """
        if volumes.dim() != 5 or volumes.shape[1] != self.settings.in_channels or 0 in volumes.shape:
            expected = f"(N, {self.settings.in_channels}, D, H, W)"
            raise ValueError(f"The network takes volumes of shape {expected}, not {tuple(volumes.shape)}.")
        features = self.encoder(volumes.contiguous(memory_format=torch.channels_last_3d))
        logits: torch.Tensor = self.decoder(features, volumes.shape[2:])
        return logits

    def lock_encoder(self, locked: bool = True) -> None:
        """Locks the encoder's weights and BatchNorm statistics, or unlocks them.

        A locked encoder stays in eval mode, also when `train()` is called on the network.
        """
        self._encoder_locked = locked
        self.encoder.requires_grad_(not locked)
        self.encoder.train(self.training and not locked)

    @property
    def encoder_locked(self) -> bool:
        """Whether the encoder is kept as it is."""
        return self._encoder_locked

    def train(self, mode: bool = True) -> AHNet:
        super().train(mode)
        if self._encoder_locked:
            self.encoder.eval()
        return self
