"""What the 2D and the 3D network share: the flavour of their layers, cropping, initial weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import nn
from torch.nn import functional as F


class Conv3d(nn.Conv3d):
    """A 3D convolution that keeps `channels_last_3d`, forwards and backwards, and small maps too.

    Flat kernels, 1 x k x k and k x 1 x 1, are 2D convolutions of the same memory. PyTorch's CPU code answers the
    gradients of 3D convolutions in another layout than the maps, and everything before them is then slower (a training
    step of 12 x 144 x 160 at width 0.5 with one thread: 3.9 s, in 2D 2.4 s). With one case or one thread and up to
    20480 values of N * C * D * H, it leaves oneDNN for its older code, which answers in another layout too (inference
    of 32 x 128 x 128: 1.6 s instead of 1.0).
    """

    def _conv_forward(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        slices, rows, columns = self.kernel_size
        volumes: torch.Tensor
        if (slices, self.stride[0], self.padding[0]) == (1, 1, 0):
            images = self._convolve(x.transpose(1, 2).flatten(0, 1), weight.squeeze(2), bias, slice(1, 3))
            volumes = images.unflatten(0, (x.shape[0], x.shape[2])).transpose(1, 2)
        elif (rows, columns, *self.stride[1:], *self.padding[1:]) == (1, 1, 1, 1, 0, 0):
            lines = self._convolve(x.flatten(3), weight.squeeze(4), bias, slice(0, 2))
            volumes = lines.unflatten(3, x.shape[3:])
        else:
            volumes = self._convolve(x, weight, bias, slice(0, 3))
        return volumes

    def _convolve(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, axes: slice) -> torch.Tensor:
        """The convolution along some of the axes (slices, rows, columns)."""
        stride, dilation = self.stride[axes], self.dilation[axes]
        padding = cast(tuple[int, ...], self.padding)[axes]
        convolved: torch.Tensor
        if self._suits_onednn(x, weight):
            convolved = torch.mkldnn_convolution(x, weight, bias, padding, stride, dilation, self.groups)
        else:
            convolve: Callable[..., torch.Tensor] = F.conv2d if x.dim() == 4 else F.conv3d
            convolved = convolve(x, weight, bias, stride, padding, dilation, self.groups)
        return convolved

    @staticmethod
    def _suits_onednn(x: torch.Tensor, weight: torch.Tensor) -> bool:
        return bool(
            x.device.type == "cpu"
            and x.dtype == weight.dtype == torch.float32
            and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
            and torch.backends.mkldnn.enabled
            and not torch.is_autocast_enabled("cpu")
        )


@dataclass(frozen=True)
class Space:
    """The layers of a 2D (rows, columns) or a 3D (slices, rows, columns) network."""

    dimensions: int
    conv: type[nn.Conv2d] | type[nn.Conv3d]
    norm: type[nn.BatchNorm2d] | type[nn.BatchNorm3d]
    max_pool: type[nn.MaxPool2d] | type[nn.MaxPool3d]
    memory_format: torch.memory_format

    def size(self, in_plane: int, slices: int = 1) -> tuple[int, ...]:
        """(k, k) in 2D, (slices, k, k) in 3D: a kernel, a stride or a padding."""
        return (slices,) * (self.dimensions - 2) + (in_plane, in_plane)


PLANE = Space(2, nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, torch.channels_last)
VOLUME = Space(3, Conv3d, nn.BatchNorm3d, nn.MaxPool3d, torch.channels_last_3d)


def crop_to(images: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """The first `size` pixels of each spatial axis: a view of (N, C, H, W) or (N, C, D, H, W)."""
    return images[(slice(None), slice(None), *(slice(length) for length in size))]


def initialise(network: nn.Module, mode: Literal["fan_in", "fan_out"] = "fan_out") -> None:
    """He initialisation (He et al., ICCV 2015) of convolutions for ReLU; BatchNorm starts as the identity.

    Args:
        network: changed in place.
        mode: "fan_out" keeps the gradients' variance, "fan_in" that of the maps, where no BatchNorm follows.
    """
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Conv3d)):
            nn.init.kaiming_normal_(module.weight, mode=mode, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, (nn.ConvTranspose2d, nn.ConvTranspose3d)):
            # Kernel and stride are equal, so each output voxel sums over the input channels only.
            nn.init.normal_(module.weight, std=module.in_channels**-0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, (nn.BatchNorm2d, nn.BatchNorm3d)):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
