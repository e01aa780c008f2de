"""What a network is made of: plain, immutable, JSON-able settings that a model's card keeps beside its weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

IGNORE_LABEL = 255
"""The label of voxels that count for nothing, in losses and measures."""

_Settings = TypeVar("_Settings", bound="_JsonSettings")


class _JsonSettings:
    """Conversion to and from a dictionary of JSON types, for the frozen dataclasses below."""

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON types: tuples become lists."""
        values = asdict(self)  # type: ignore[call-overload]
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls: type[_Settings], values: Mapping[str, Any]) -> _Settings:
        """Settings from a dictionary as :meth:`to_dict` makes it; what is left out keeps its default.

        Raises:
            ValueError: a name is unknown or a value is not allowed.
        """
        known = {field.name for field in fields(cls)}  # type: ignore[arg-type]
        unknown = sorted(str(name) for name in values if name not in known)
        if unknown:
            raise ValueError(f"Unknown {cls.__name__}: {', '.join(unknown)}; known are {', '.join(sorted(known))}.")
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


@dataclass(frozen=True)
class AHNetSettings(_JsonSettings):
    """Settings of the 3D network, :class:`~AHNetSegmentLib.network.ahnet.AHNet`.

    Args:
        in_channels: registered volumes that are segmented together.
        classes: output channels, background included.
        width: factor on the encoder's channels; 1.0 is ResNet-50, anything else cannot take ImageNet weights.
        slice_strides: 1 or 2 along the slice axis at (pool after conv1, max pool, layer2, layer3, layer4).
            All 2 is the published network; thick-slice scans with few slices want ones.
        pyramid_levels: pyramid pooling windows of 8, 16, 32, 64 (in plane): how many of them, 0 to 4.
        upsampling: "trilinear", or "transpose" for learned transposed convolutions (and non-overlapping max pooling,
            as MONAI pairs them).
        align_corners: how trilinear upsampling places its samples; True only to run MONAI's weights.
        padded_pyramid: MONAI's zero-padded pyramid projection; True only to run MONAI's weights.
        zero_padded_slices: the first convolution sees zeros beyond the first and last slice, as MONAI; otherwise
            the edge slice repeated, as the 2D network does.
        layers: bottlenecks in layer1 to layer4.
        growth: channels that a layer of a dense block adds.
        bottleneck: a dense layer works on `bottleneck * growth` channels.

    Raises:
        ValueError: a value is not allowed.
    """

    in_channels: int = 1
    classes: int = 2
    width: float = 1.0
    slice_strides: tuple[int, int, int, int, int] = (2, 2, 2, 2, 2)
    pyramid_levels: int = 4
    upsampling: str = "trilinear"
    align_corners: bool = False
    padded_pyramid: bool = False
    zero_padded_slices: bool = False
    layers: tuple[int, int, int, int] = (3, 4, 6, 3)
    growth: int = 20
    bottleneck: int = 4

    def __post_init__(self) -> None:
        for name in ("in_channels", "classes", "growth", "bottleneck"):
            _check_count(name, getattr(self, name))
        _check_width(self.width)
        _check_layers(self.layers)
        strides = self.slice_strides
        if not _are_ints(strides, 5) or any(stride not in (1, 2) for stride in strides):
            raise ValueError(f"slice_strides must be five numbers, each 1 or 2, not {strides!r}.")
        if not _is_int(self.pyramid_levels) or not 0 <= self.pyramid_levels <= 4:
            raise ValueError(f"pyramid_levels must be 0, 1, 2, 3 or 4, not {self.pyramid_levels!r}.")
        _check_choice("upsampling", self.upsampling, ("trilinear", "transpose"))
        for name in ("align_corners", "padded_pyramid", "zero_padded_slices"):
            _check_flag(name, getattr(self, name))

    @property
    def slice_stride(self) -> int:
        """Slices of the input that one slice of the deepest map stands for."""
        return math.prod(self.slice_strides)

    @property
    def slice_reach(self) -> int:
        """How many slices of the input away a voxel can still change a result, at most.

        Per level, three 3x1x1 convolutions of a dense block reach three of its slices; each interpolation to a finer
        level reaches one slice of the coarser; max pooling reaches less than one stride.
        """
        strides = [math.prod(self.slice_strides[: count + 1]) for count in range(5)]
        dense = 3 * (strides[3] + strides[2] + 2 * strides[1] + strides[0])
        interpolation = sum(strides[count] if self.slice_strides[count] == 2 else 0 for count in range(5))
        return 1 + dense + interpolation + strides[4]


@dataclass(frozen=True)
class MCGCNSettings(_JsonSettings):
    """Settings of the 2D network, :class:`~AHNetSegmentLib.network.mcgcn.MCGCN`.

    Args:
        in_channels: volumes n that are segmented together; the network has 3n channels, three slices of each.
        classes: output channels, background included.
        width: factor on the encoder's channels; 1.0 is ResNet-50.
        kernels: K of the global convolutions, odd, from the deepest level (layer4) to the shallowest (conv1).
        layers: bottlenecks in layer1 to layer4.
        upsampling: "bilinear", or "transpose" for one learned transposed convolution that all levels share, as MONAI.
        align_corners: how bilinear upsampling places its samples; True only to run MONAI's weights.
        refine_batch_norm: BatchNorm and ReLU before each convolution of a Refine block, as MONAI; otherwise
            convolution, ReLU, convolution, as the article.
        projected_from: 0, or the channels that a leading 1x1 convolution brings to 3n, as MONAI's MCFCN.

    Raises:
        ValueError: a value is not allowed.
    """

    in_channels: int = 1
    classes: int = 2
    width: float = 1.0
    kernels: tuple[int, int, int, int, int] = (7, 9, 15, 31, 63)
    layers: tuple[int, int, int, int] = (3, 4, 6, 3)
    upsampling: str = "bilinear"
    align_corners: bool = False
    refine_batch_norm: bool = False
    projected_from: int = 0

    def __post_init__(self) -> None:
        for name in ("in_channels", "classes"):
            _check_count(name, getattr(self, name))
        _check_width(self.width)
        _check_layers(self.layers)
        kernels = self.kernels
        if not _are_ints(kernels, 5) or any(kernel < 1 or kernel % 2 == 0 for kernel in kernels):
            raise ValueError(f"kernels must be five odd numbers, from the deepest to the shallowest, not {kernels!r}.")
        _check_choice("upsampling", self.upsampling, ("bilinear", "transpose"))
        for name in ("align_corners", "refine_batch_norm"):
            _check_flag(name, getattr(self, name))
        if not _is_int(self.projected_from) or self.projected_from < 0:
            raise ValueError(f"projected_from must be 0 or a number of channels, not {self.projected_from!r}.")


def scaled_channels(channels: int, width: float) -> int:
    """`channels` times `width`, rounded to a multiple of 8 (what vector units like) and at least 8."""
    return max(8, round(channels * width / 8) * 8)


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _are_ints(value: object, length: int) -> bool:
    return isinstance(value, tuple) and len(value) == length and all(_is_int(item) for item in value)


def _check_count(name: str, value: Any) -> None:
    if not _is_int(value) or value < 1:
        raise ValueError(f"{name} must be a whole number of at least 1, not {value!r}.")


def _check_width(value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not (math.isfinite(value) and value > 0):
        raise ValueError(f"width must be a positive number, not {value!r}.")


def _check_layers(value: Any) -> None:
    if not _are_ints(value, 4) or any(count < 1 for count in value):
        raise ValueError(f"layers must be four whole numbers of at least 1, not {value!r}.")


def _check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}.")


def _check_flag(name: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, not {value!r}.")
