"""The layers of a trained network as inference wants them: one precision, BatchNorm inside the convolutions.

Everything here takes images (n, C, H, W) in `channels_last`: AH-Net's in-plane layers see the slices of a volume as a
batch. BatchNorm counts with its running statistics, y = scale * x + shift.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_LARGEST_TURN = {torch.float16: 2e4}
"""A BatchNorm whose ReLU turns on beyond this value is a constant; 1e9 where half precision sets no closer limit."""

_FEW_CHANNELS = 64
_SIDE_BY_SIDE = 8


class Target(NamedTuple):
    """Where folded layers live: a device and a number format."""

    device: torch.device
    dtype: torch.dtype

    def put(self, values: Tensor) -> Tensor:
        """The values there; images and convolution weights in `channels_last`."""
        layout = torch.channels_last if values.dim() == 4 else torch.contiguous_format
        return values.detach().to(self.device, self.dtype).contiguous(memory_format=layout)


def scale_and_shift(norm: nn.BatchNorm2d | nn.BatchNorm3d) -> tuple[Tensor, Tensor]:
    """What a BatchNorm does per channel in evaluation, float64 (C,) on the CPU."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    mean, variance = norm.running_mean.detach().double().cpu(), norm.running_var.detach().double().cpu()
    scale = norm.weight.detach().double().cpu() * torch.rsqrt(variance + norm.eps)
    return scale, norm.bias.detach().double().cpu() - scale * mean


def plane_weight(conv: nn.Conv3d) -> Tensor:
    """The weight of a 1 x k x k convolution as (out, in, k, k), float64 on the CPU."""
    return conv.weight.detach().double().cpu().squeeze(2)


class Convolution:
    """A 2D convolution with bias and, where it is wanted, ReLU, both within it on CPUs that have oneDNN.

    Args:
        weight: (out, in, k, k).
        bias: (out,); None: none.
        target: device and precision.
        stride: in plane.
        padding: zeros beyond the borders.
        relu: ends with ReLU.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        target: Target,
        *,
        stride: int = 1,
        padding: int = 0,
        relu: bool = False,
    ) -> None:
        self.weight = target.put(weight)
        self.bias = None if bias is None else target.put(bias)
        self.stride = (stride, stride)
        self.padding = (padding, padding)
        self.relu = relu
        self.fused = runs_fused(target)

    def __call__(self, x: Tensor) -> Tensor:
        if self.fused:
            after = "relu" if self.relu else "none"
            result: Tensor = torch.ops.mkldnn._convolution_pointwise(
                x, self.weight, self.bias, self.padding, self.stride, (1, 1), 1, after, [], ""
            )
            return result
        result = F.conv2d(x, self.weight, self.bias, self.stride, self.padding)
        return F.relu_(result) if self.relu else result

    def add_to(self, total: Tensor, x: Tensor) -> Tensor:
        """`total` plus the convolution, in place, ReLU after the sum."""
        if self.fused:
            after = "relu" if self.relu else None
            result: Tensor = torch.ops.mkldnn._convolution_pointwise_.binary(
                total, x, self.weight, self.bias, self.padding, self.stride, (1, 1), 1, "add", 1.0, after, [], None
            )
            return result
        total += F.conv2d(x, self.weight, self.bias, self.stride, self.padding)
        return F.relu_(total) if self.relu else total


def runs_fused(target: Target) -> bool:
    """Whether PyTorch offers oneDNN's convolutions with bias, sum and ReLU in one pass for this device and precision.

    They are what `torch.compile` uses on CPUs; without them the same is done in several passes.
    """
    if target.device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if not hasattr(torch.ops.mkldnn, "_convolution_pointwise"):
        return False
    if target.dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return target.dtype == torch.float32


class Rectified:
    """BatchNorm and ReLU before a convolution, as one comparison per voxel.

    For a channel of positive scale, relu(scale * x + shift) = scale * max(x, t) + shift with t = -shift / scale; for
    one of negative scale the same holds with min. The rest is linear and goes into the convolution that follows.

    Args:
        lower: (1, C, 1, 1) for max; minus infinity in channels of negative scale.
        upper: the same for min, infinity in channels of positive scale; None where no channel needs it.
        rest: (1, C, 1, 1): the value at which a channel stands for zero.
    """

    def __init__(self, lower: Tensor, upper: Tensor | None, rest: Tensor) -> None:
        self.rest = rest
        self._limits = (lower, upper)
        self._row_limits = (_side_by_side(lower), None if upper is None else _side_by_side(upper))

    def __call__(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """The limited values of images (n, C, H, W), new or in `out`."""
        rows = self._rows(x) if out is None else None
        if rows is None:
            return _limited(x, *self._limits, out)
        flat = _limited(rows, *self._row_limits, None)
        return flat.view(x.shape[0], x.shape[2], x.shape[3], x.shape[1]).permute(0, 3, 1, 2)

    def parted(self, channels: int) -> tuple[Rectified, Rectified]:
        """The same for the first channels alone, and for the others alone."""
        lower, upper = self._limits
        first, others = (
            Rectified(lower[:, place], None if upper is None else upper[:, place], self.rest[:, place])
            for place in (slice(None, channels), slice(channels, None))
        )
        return first, others

    @staticmethod
    def _rows(x: Tensor) -> Tensor | None:
        """Pixels of few channels side by side as rows that vector units like; None where that does not fit."""
        channels, columns = x.shape[1], x.shape[3]
        if (
            channels >= _FEW_CHANNELS
            or columns % _SIDE_BY_SIDE
            or not x.is_contiguous(memory_format=torch.channels_last)
        ):
            return None
        return x.permute(0, 2, 3, 1).reshape(-1, _SIDE_BY_SIDE * channels)


def _side_by_side(limit: Tensor) -> Tensor:
    """A limit (1, C, 1, 1) for the pixels of a row."""
    return limit.flatten().repeat(_SIDE_BY_SIDE)


def _limited(x: Tensor, lower: Tensor, upper: Tensor | None, out: Tensor | None) -> Tensor:
    result = torch.maximum(x, lower) if out is None else torch.maximum(x, lower, out=out)
    return result if upper is None else torch.minimum(result, upper, out=result)


def rectified_convolution(
    norm: nn.BatchNorm2d | nn.BatchNorm3d,
    weights: Sequence[Tensor],
    target: Target,
    after: tuple[Tensor, Tensor] | None = None,
    *,
    relu: bool = False,
) -> tuple[Rectified, list[Convolution]]:
    """BatchNorm, ReLU and convolutions that see no padding: the comparison, and the convolutions that follow it.

    Args:
        norm: the BatchNorm.
        weights: of the convolutions, each (out, in, k, k).
        target: device and precision.
        after: scale and shift (out,) of a BatchNorm that follows each convolution.
        relu: ReLU at the end.
    """
    scale, shift = scale_and_shift(norm)
    # Without a scale a channel is constant: its limits coincide, at a value that any scale may stand for.
    constant = shift.abs() >= scale.abs() * _LARGEST_TURN.get(target.dtype, 1e9)
    value = torch.where(shift > 0, shift, torch.zeros_like(shift))
    slope = torch.where(constant, torch.ones_like(scale), scale)
    turn = torch.where(constant, value, -shift / slope)
    # As the precision has it, so that a channel at rest cancels exactly.
    rest = torch.where(constant, torch.zeros_like(turn), target.put(turn).double().cpu())
    turn = torch.where(constant, value, rest)
    infinite = torch.full_like(turn, torch.inf)
    lower = torch.where((slope > 0) | constant, turn, -infinite)
    upper = torch.where((slope < 0) | constant, turn, infinite)
    limits = Rectified(
        _per_channel(lower, target),
        _per_channel(upper, target) if bool(torch.isfinite(upper).any()) else None,
        _per_channel(rest, target),
    )
    convolutions = []
    for weight in weights:
        scaled = weight * slope[:, None, None]
        if after is not None:
            scaled = scaled * after[0][:, None, None, None]
        rounded = target.put(scaled).double().cpu()
        bias = -(rounded * rest[:, None, None]).sum(dim=(1, 2, 3))
        if after is not None:
            bias = bias + after[1]
        convolutions.append(Convolution(scaled, bias, target, relu=relu))
    return limits, convolutions


def _per_channel(values: Tensor, target: Target) -> Tensor:
    return values.to(target.device, target.dtype)[None, :, None, None]
