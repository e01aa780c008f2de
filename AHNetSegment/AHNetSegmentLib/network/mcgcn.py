"""MC-GCN, the 2D multi-channel global convolutional network whose encoder AH-Net inherits.

Three neighbouring slices in, the labels of the middle one out (Liu et al., arXiv 1711.08580); global convolutions
and Refine blocks after Peng et al., "Large Kernel Matters", CVPR 2017. All maps are (N, C, H, W).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from .layers import crop_to, initialise
from .resnet import ResNet2d
from .settings import MCGCNSettings

SLICE_TAPS = 3


def slice_triplets(volumes: torch.Tensor) -> torch.Tensor:
    """Each slice with its two neighbours as channels; beyond the first and the last slice, the edge is repeated.

    Args:
        volumes: (N, C, D, H, W).

    Returns:
        (N * D, 3 * C, H, W): entry `n * D + d`, channel `c * 3 + tap`, with taps for slices d-1, d and d+1.
    """
    cases, channels, slices, rows, columns = volumes.shape
    last = slices - 1
    centres = torch.arange(slices, device=volumes.device)
    neighbours = torch.stack([(centres + offset).clamp(0, last) for offset in (-1, 0, 1)], dim=1)
    triplets = volumes.transpose(1, 2)[:, neighbours]  # (N, D, tap, C, H, W)
    return triplets.transpose(2, 3).reshape(cases * slices, SLICE_TAPS * channels, rows, columns)


class GlobalConvolution(nn.Module):
    """A K x K convolution as two separable branches, K x 1 then 1 x K and 1 x K then K x 1, summed."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        column, row = (kernel, 1), (1, kernel)
        self.left = nn.Sequential(_same_conv(inputs, outputs, column), _same_conv(outputs, outputs, row))
        self.right = nn.Sequential(_same_conv(inputs, outputs, row), _same_conv(outputs, outputs, column))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total: torch.Tensor = self.left(x) + self.right(x)
        return total


class Refine(nn.Module):
    """A 3x3 convolution, ReLU, another; the input added to the output.

    With `batch_norm`, BatchNorm and ReLU come before each convolution and both share the norm, as in MONAI's FCN.
    """

    def __init__(self, channels: int, batch_norm: bool = False) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(channels) if batch_norm else None
        self.conv1 = _same_conv(channels, channels, (3, 3))
        self.conv2 = _same_conv(channels, channels, (3, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.bn is None:
            residual = self.conv2(F.relu(self.conv1(x), inplace=True))
        else:
            residual = self.conv1(F.relu(self.bn(x), inplace=True))
            residual = self.conv2(F.relu(self.bn(residual), inplace=True))
        refined: torch.Tensor = x + residual
        return refined


class GlobalDecoder(nn.Module):
    """From the deepest level up: upsample, add the level's global convolution, refine; last, to the input's size.

    Levels go from deep to shallow: layer4, layer3, layer2, the pooled stem, the stem. Each has `classes` channels.
    """

    def __init__(self, settings: MCGCNSettings, channels: tuple[int, ...]) -> None:
        super().__init__()
        classes = settings.classes
        self.align_corners = settings.align_corners
        self.gcn = nn.ModuleList(
            GlobalConvolution(inputs, classes, kernel)
            for inputs, kernel in zip(channels, settings.kernels, strict=True)
        )
        self.refine = nn.ModuleList(Refine(classes, settings.refine_batch_norm) for _ in channels)
        self.merge = nn.ModuleList(Refine(classes, settings.refine_batch_norm) for _ in channels)
        transpose = settings.upsampling == "transpose"
        self.up = nn.ConvTranspose2d(classes, classes, 2, stride=2) if transpose else None
        # A few output channels of thousands: no BatchNorm follows that would forgive "fan_out".
        initialise(self, mode="fan_in")
        self._start_small()

    def forward(self, levels: tuple[torch.Tensor, ...], size: Sequence[int]) -> torch.Tensor:
        """Logits (N, classes, H, W) of the size (H, W) that the encoder's input had."""
        refined = [refine(gcn(level)) for level, gcn, refine in zip(levels, self.gcn, self.refine, strict=True)]
        x = refined[0]
        for shallower, merge in zip(refined[1:], self.merge[:-1], strict=True):
            x = merge(self._larger(x, shallower.shape[2:]) + shallower)
        logits: torch.Tensor = self.merge[-1](self._larger(x, size))
        return logits

    def _start_small(self) -> None:
        """Small logits: training starts from nearly equal probabilities, and each Refine as the identity."""
        for gcn in self.gcn:
            assert isinstance(gcn, GlobalConvolution)
            for convolution in (gcn.left[1], gcn.right[1]):
                assert isinstance(convolution, nn.Conv2d)
                nn.init.normal_(convolution.weight, std=0.01)
        for block in (*self.refine, *self.merge):
            assert isinstance(block, Refine)
            nn.init.zeros_(block.conv2.weight)

    def _larger(self, x: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
        if self.up is not None:
            return crop_to(self.up(x), size)
        if self.align_corners:
            return F.interpolate(x, tuple(size), mode="bilinear", align_corners=True)
        full = [2 * length for length in x.shape[2:]]
        return crop_to(F.interpolate(x, full, mode="bilinear", align_corners=False), size)


class MCGCN(nn.Module):
    """The 2D network: (N, 3n, H, W) to logits (N, classes, H, W), whatever the size.

    Channels come as :func:`slice_triplets` makes them: channel `volume * 3 + tap`.

    Args:
        settings: what the network is made of; kept as `settings`.
    """

    def __init__(self, settings: MCGCNSettings | None = None) -> None:
        super().__init__()
        self.settings = settings if settings is not None else MCGCNSettings()
        channels = SLICE_TAPS * self.settings.in_channels
        self.projection: nn.Sequential | None = None
        if self.settings.projected_from:
            convolution = nn.Conv2d(self.settings.projected_from, channels, 1, bias=False)
            self.projection = nn.Sequential(convolution, nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
            initialise(self.projection)
        self.in_channels = self.settings.projected_from or channels
        self.encoder = ResNet2d(channels, self.settings.width, self.settings.layers)
        conv_x, pool_x, _, layer2, layer3, layer4 = self.encoder.channels
        self.decoder = GlobalDecoder(self.settings, (layer4, layer3, layer2, pool_x, conv_x))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, slices: torch.Tensor) -> torch.Tensor:
        """Logits (N, classes, H, W) of slices (N, 3n, H, W).

        Raises:
            ValueError: the input has another shape than this.
        """
        if slices.dim() != 4 or slices.shape[1] != self.in_channels or 0 in slices.shape:
            raise ValueError(
                f"The network takes slices of shape (N, {self.in_channels}, H, W), not {tuple(slices.shape)}."
            )
        x = slices.contiguous(memory_format=torch.channels_last)
        if self.projection is not None:
            x = self.projection(x)
        conv_x, pool_x, _, layer2, layer3, layer4 = self.encoder(x)
        logits: torch.Tensor = self.decoder((layer4, layer3, layer2, pool_x, conv_x), slices.shape[2:])
        return logits


def _same_conv(inputs: int, outputs: int, kernel: tuple[int, int]) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, padding=(kernel[0] // 2, kernel[1] // 2))
