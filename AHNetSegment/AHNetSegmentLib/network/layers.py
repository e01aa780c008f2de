"""What the 2D and the 3D network share: the flavour of their layers, cropping, initial weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn


class Conv3d(nn.Conv3d):
    """A 3D convolution that keeps `channels_last_3d` for small maps too.

    With one case or one thread and up to 20480 values of N * C * D * H, PyTorch leaves oneDNN for its older CPU code,
    which answers in another layout; everything after it is then slower (one case of 32 x 128 x 128 at width 0.5: 1.6 s
    instead of 1.0).
    """

    def _conv_forward(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        if self._suits_onednn(x, weight):
            convolved: torch.Tensor = torch.mkldnn_convolution(
                x,
                weight,
                bias,
                self.padding,  # type: ignore[arg-type]
                self.stride,
                self.dilation,
                self.groups,
            )
            return convolved
        unchanged: torch.Tensor = super()._conv_forward(x, weight, bias)
        return unchanged

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
