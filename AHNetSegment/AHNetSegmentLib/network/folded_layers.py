"""AH-Net's parts without BatchNorm, for slices (n, C, H, W) in the number format of inference."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .ahnet import DenseBlock, DenseLayer, LearnedResize, NormConv, Pyramid, Resize, Up
from .folding import Convolution, Target, plane_weight, rectified_convolution, scale_and_shift
from .interpolation import LinearAxis, PlaneMap
from .resnet import Bottleneck
from .slices import AlongSlices, Enlarged, LearnedEnlarged, Maximum

Size = tuple[int, int, int]
"""(D, H, W) of a map."""


class Stem:
    """The first convolution, slice pooling, BatchNorm, ReLU.

    BatchNorm comes after the pooling: it can go into the convolution if it has no negative scale, which would turn
    the maximum into a minimum. Otherwise its size goes there, and its sign stays behind.
    """

    def __init__(self, conv: nn.Module, norm: nn.Module, pooled: bool, target: Target) -> None:
        assert isinstance(conv, nn.Conv3d)
        assert isinstance(norm, nn.BatchNorm3d)
        scale, shift = scale_and_shift(norm)
        weight = conv.weight.detach().double().cpu().flatten(1, 2)
        padding = conv.kernel_size[1] // 2
        self.sign, magnitude = _sign_and_magnitude(scale, pooled, target)
        bias = shift if self.sign is None else None
        self.shift = target.put(shift)[None, :, None, None]
        self.conv = Convolution(
            weight * magnitude[:, None, None, None], bias, target, stride=2, padding=padding, relu=self.sign is None
        )

    def __call__(self, triplets: Tensor, pool: Maximum | None) -> Iterator[Tensor]:
        maps = self.conv(triplets)
        for pooled in [maps] if pool is None else pool(maps):
            yield pooled if self.sign is None else F.relu_(torch.addcmul(self.shift, pooled, self.sign))


def _sign_and_magnitude(scale: Tensor, pooled: bool, target: Target) -> tuple[Tensor | None, Tensor]:
    """The part of a scale (C,) that must wait until after a maximum, None where none must, and the rest of it."""
    if not pooled or bool((scale >= 0).all()):
        return None, scale
    sign = torch.where(scale < 0, -1.0, 1.0)
    return target.put(sign)[None, :, None, None], scale.abs()


class FoldedBottleneck:
    """A bottleneck without BatchNorm."""

    def __init__(self, block: Bottleneck, target: Target) -> None:
        stride = block.conv2.stride[-1]
        pooled = isinstance(block.slice_pool, nn.MaxPool3d)
        self.conv1 = _folded(block.conv1, block.bn1, target, relu=True)
        self.conv2 = _folded(block.conv2, block.bn2, target, stride=stride, padding=1, relu=True)
        self.shortcut: Convolution | None = None
        self.sign: Tensor | None = None
        scale, shift = scale_and_shift(block.bn3)
        weight = plane_weight(cast(nn.Conv3d, block.conv3)) * scale[:, None, None, None]
        if block.downsample is not None:
            conv, norm = cast(nn.Conv3d, block.downsample[0]), cast(nn.BatchNorm3d, block.downsample[1])
            shortcut_scale, shortcut_shift = scale_and_shift(norm)
            self.sign, magnitude = _sign_and_magnitude(shortcut_scale, pooled, target)
            shortcut = plane_weight(conv) * magnitude[:, None, None, None]
            self.shortcut = Convolution(shortcut, None, target, stride=stride)
            shift = shift + shortcut_shift
        self.conv3 = Convolution(weight, shift, target, relu=not pooled)

    def __call__(self, x: Tensor) -> Tensor:
        """The block's result; overwrites `x` where the block adds to it."""
        total = x if self.shortcut is None else self.shortcut(x)
        return self.conv3.add_to(total, self.conv2(self.conv1(x)))

    def halved(self, x: Tensor, pools: tuple[Maximum, Maximum] | None) -> Iterator[Tensor]:
        """As a call, with the slice pooling of a stage's first block."""
        if pools is None:
            yield self(x)
            return
        assert self.shortcut is not None
        main, shortcut = pools
        results = main(self.conv3(self.conv2(self.conv1(x))))
        for pooled, added in zip(results, shortcut(self.shortcut(x)), strict=True):
            total = pooled.add_(added) if self.sign is None else pooled.addcmul_(added, self.sign)
            yield F.relu_(total)


def _folded(
    conv: nn.Module, norm: nn.Module, target: Target, *, stride: int = 1, padding: int = 0, relu: bool = False
) -> Convolution:
    scale, shift = scale_and_shift(cast(nn.BatchNorm3d, norm))
    weight = plane_weight(cast(nn.Conv3d, conv)) * scale[:, None, None, None]
    return Convolution(weight, shift, target, stride=stride, padding=padding, relu=relu)


class FoldedUp:
    """BatchNorm, ReLU and 1x1x1 convolution on the way to a finer level, and the enlargement that follows."""

    def __init__(self, up: NormConv, target: Target) -> None:
        self.rectified, (self.conv,) = rectified_convolution(up.norm, [plane_weight(up.conv)], target)
        self.resize = up.up if isinstance(up, Up) else None

    def __call__(self, x: Tensor) -> Tensor:
        return self.conv(self.rectified(x))


def enlargement(
    resize: nn.Module | None,
    target: Target,
    before: Size,
    after: Size,
    slice_factor: int,
    at_once: int,
    in_plane: bool = True,
) -> AlongSlices:
    """An upsampling layer over a stream of slices, from a map of one size to another, or along the slices alone."""
    if isinstance(resize, LearnedResize):
        return LearnedEnlarged(before[0], after, resize.weight.detach().to(target.device, target.dtype), at_once)
    assert isinstance(resize, Resize)
    plane = plane_map(resize, before, after) if in_plane else None
    if resize.align_corners:
        slices = LinearAxis.aligned_corners(before[0], after[0])
    else:
        slices = LinearAxis.multiplied(before[0], after[0], slice_factor)
    return Enlarged(before[0], slices.to(target.device), plane, at_once)


def plane_map(resize: Resize, before: Size, after: Size) -> PlaneMap:
    """What an enlargement between maps of two sizes does in plane."""
    if resize.align_corners:
        return PlaneMap.aligned_corners(before[1:], after[1:])
    return PlaneMap.multiplied(before[1:], after[1:], resize.factors[1])


class FoldedDense:
    """The layers of a dense block."""

    def __init__(self, block: DenseBlock, target: Target) -> None:
        self.layers = [FoldedDenseLayer(cast(DenseLayer, layer), target) for layer in block]
        self.inputs = cast(DenseLayer, block[0]).bn1.num_features
        self.growth = cast(DenseLayer, block[0]).bn3.num_features
        self.target = target


class FoldedDenseLayer:
    """A dense layer: in-plane features of its input, and what the neighbouring slices add to them."""

    def __init__(self, layer: DenseLayer, target: Target) -> None:
        inner = scale_and_shift(layer.bn2)
        weight = plane_weight(layer.conv1)
        self.rectified1, (self.conv1,) = rectified_convolution(layer.bn1, [weight], target, inner, relu=True)
        self.conv2 = Convolution(plane_weight(layer.conv2), None, target, padding=1)
        taps = layer.conv3.weight.detach().double().cpu().unbind(2)
        self.rectified3, self.taps = rectified_convolution(layer.bn3, taps, target)
        self.rectified4, (self.conv4,) = rectified_convolution(layer.bn4, [plane_weight(layer.conv4)], target)

    def in_plane(self, x: Tensor) -> Tensor:
        return self.conv2(self.conv1(self.rectified1(x)))

    def appended(self, total: Tensor) -> Tensor:
        return self.conv4(self.rectified4(total))


class FoldedHead:
    """Pyramid pooling, BatchNorm, ReLU, 3x3 convolution to the classes, upsampling to the input's size."""

    def __init__(self, pyramid: Pyramid, head: Up, target: Target) -> None:
        self.pyramid = copy.deepcopy(pyramid).to(target.device, target.dtype).eval()
        self.classes = head.conv.out_channels
        weight = plane_weight(head.conv)
        if isinstance(head.up, Resize):
            # Vector units want channels in eights: what is filled up here is cut off in the end.
            weight = F.pad(weight, (0, 0, 0, 0, 0, 0, 0, -self.classes % 8))
        self.rectified, (self.conv,) = rectified_convolution(head.norm, [weight], target)
        self.levels = len(pyramid.windows)
        self.pooled, self.features = self.rectified.parted(self.levels)
        self.resize = head.up
        self.target = target
