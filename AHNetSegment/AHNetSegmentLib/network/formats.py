"""State dicts of other programs: which format one is, and its tensors under this package's names and axis order.

MONAI's volumes are (N, C, H, W, D), the slice axis last; here it comes first. MONAI's AHNet and FCN, and
torchvision's ResNet, are described in their own sources (monai.networks.nets.ahnet, monai.networks.blocks.fcn,
torchvision.models.resnet).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum

import torch

from .settings import AHNetSettings, MCGCNSettings

StateDict = dict[str, torch.Tensor]


class Format(Enum):
    """What a state dict can be; the value is how to speak of it."""

    AHNET = "AHNet"
    MCGCN = "MC-GCN"
    RESNET = "torchvision ResNet"
    MONAI_AHNET = "MONAI AHNet"
    MONAI_FCN = "MONAI FCN"
    MONAI_MCFCN = "MONAI MCFCN"


_MARKS: tuple[tuple[Format, dict[str, int]], ...] = (
    # From the most to the least particular: names, and the number of axes of their tensors.
    (Format.AHNET, {"encoder.conv1.weight": 5, "decoder.up0.conv.weight": 5}),
    (Format.MCGCN, {"encoder.conv1.weight": 4, "decoder.gcn.0.left.0.weight": 4}),
    (Format.MONAI_AHNET, {"conv1.weight": 5, "bn0.weight": 1, "up0.conv.weight": 5, "final.conv.weight": 5}),
    (Format.MONAI_MCFCN, {"init_proj.conv.weight": 4, "conv1.weight": 4, "gcn1.conv_l1.weight": 4}),
    (Format.MONAI_FCN, {"conv1.weight": 4, "bn0.weight": 1, "gcn1.conv_l1.weight": 4}),
    (Format.RESNET, {"conv1.weight": 4, "bn1.weight": 1, "layer1.0.conv3.weight": 4}),
)

_MONAI_AHNET_NAMES = (
    (r"(conv1|layer\d)\.(.+)", r"encoder.\1.\2"),
    (r"bn0\.(.+)", r"encoder.bn1.\1"),
    (r"dense(\d)\.denselayer1\.(.+)", r"decoder.dense\1.0.\2"),
    (r"dense(\d)\.denselayer2\.(.+)", r"decoder.dense\1.1.\2"),
    (r"dense(\d)\.denselayer3\.(.+)", r"decoder.dense\1.2.\2"),
    (r"(up\d)\.(.+)", r"decoder.\1.\2"),
    (r"trans1\.(.+)", r"decoder.project.\1"),
    (r"psp\.project_modules\.(.+)", r"decoder.pyramid.project.\1"),
    (r"psp\.up_modules\.(.+)", r"decoder.pyramid.up.\1"),
    (r"final\.(.+)", r"decoder.head.\1"),
)

_MONAI_FCN_NAMES = (
    (r"(conv1|layer\d)\.(.+)", r"encoder.\1.\2"),
    (r"bn0\.(.+)", r"encoder.bn1.\1"),
    *((rf"gcn{k + 1}\.conv_l1\.(.+)", rf"decoder.gcn.{k}.left.0.\1") for k in range(5)),
    *((rf"gcn{k + 1}\.conv_l2\.(.+)", rf"decoder.gcn.{k}.left.1.\1") for k in range(5)),
    *((rf"gcn{k + 1}\.conv_r1\.(.+)", rf"decoder.gcn.{k}.right.0.\1") for k in range(5)),
    *((rf"gcn{k + 1}\.conv_r2\.(.+)", rf"decoder.gcn.{k}.right.1.\1") for k in range(5)),
    *((rf"refine{k + 1}\.(.+)", rf"decoder.refine.{k}.\1") for k in range(5)),
    *((rf"refine{k + 6}\.(.+)", rf"decoder.merge.{k}.\1") for k in range(5)),
    (r"up_conv\.deconv\.(.+)", r"decoder.up.\1"),
    (r"init_proj\.conv\.(.+)", r"projection.0.\1"),
    (r"init_proj\.adn\.N\.(.+)", r"projection.1.\1"),
)

# Layers that a file may hold and no network here has: the classifier of ImageNet, and a layer that MONAI never calls.
_WITHOUT_USE = re.compile(r"(fc|transformer)\.(weight|bias)")


def recognise(weights: Mapping[str, torch.Tensor]) -> Format | None:
    """The format of a state dict, or None."""
    for candidate, marks in _MARKS:
        if all(name in weights and weights[name].dim() == axes for name, axes in marks.items()):
            return candidate
    return None


def to_own_names(weights: Mapping[str, torch.Tensor], found: Format) -> StateDict:
    """The state dict with the names and the axis order of :class:`AHNet` or :class:`MCGCN`.

    A torchvision ResNet becomes the encoder of an MCGCN. Names that mean nothing here stay as they are.
    """
    if found in (Format.AHNET, Format.MCGCN):
        return dict(weights)
    if found is Format.RESNET:
        return {f"encoder.{name}": value for name, value in weights.items() if not _WITHOUT_USE.fullmatch(name)}
    if found is Format.MONAI_AHNET:
        return {_monai_ahnet_name(name): _slices_first(value) for name, value in weights.items()}
    return {
        _renamed(name, _MONAI_FCN_NAMES): value for name, value in weights.items() if not _WITHOUT_USE.fullmatch(name)
    }


def ahnet_settings(weights: Mapping[str, torch.Tensor]) -> AHNetSettings:
    """The settings with which :class:`AHNet` computes what MONAI's AHNet of this state dict computes.

    The state dict of MONAI's "nearest" upsampling looks like that of "trilinear", and is taken for it.

    Raises:
        ValueError: it is no state dict of MONAI's 3D AHNet.
    """
    if recognise(weights) is not Format.MONAI_AHNET:
        raise ValueError("These are no weights of MONAI's 3D AHNet.")
    transpose = "up0.up.weight" in weights
    return AHNetSettings(
        in_channels=weights["conv1.weight"].shape[1],
        classes=weights["final.conv.weight"].shape[0],
        pyramid_levels=sum(f"psp.project_modules.{level}.weight" in weights for level in range(4)),
        upsampling="transpose" if transpose else "trilinear",
        align_corners=not transpose,
        padded_pyramid=True,
        zero_padded_slices=True,
        layers=_stage_lengths(weights),
    )


def mcgcn_settings(weights: Mapping[str, torch.Tensor]) -> MCGCNSettings:
    """The settings with which :class:`MCGCN` computes what MONAI's FCN or MCFCN of this state dict computes.

    Raises:
        ValueError: it is no state dict of MONAI's FCN.
    """
    if recognise(weights) not in (Format.MONAI_FCN, Format.MONAI_MCFCN):
        raise ValueError("These are no weights of MONAI's FCN.")
    transpose = "up_conv.deconv.weight" in weights
    deepest, *shallower = (weights[f"gcn{level}.conv_l1.weight"].shape[2] for level in range(1, 6))
    projection = weights.get("init_proj.conv.weight")
    return MCGCNSettings(
        in_channels=weights["conv1.weight"].shape[1] // 3,
        classes=weights["gcn1.conv_l1.weight"].shape[0],
        kernels=(deepest, shallower[0], shallower[1], shallower[2], shallower[3]),
        layers=_stage_lengths(weights),
        upsampling="transpose" if transpose else "bilinear",
        align_corners=not transpose,
        refine_batch_norm=True,
        projected_from=0 if projection is None else projection.shape[1],
    )


def _monai_ahnet_name(name: str) -> str:
    # MONAI's shortcut is convolution, pooling, norm; here the pooling has no place in the sequence.
    return _renamed(name, _MONAI_AHNET_NAMES).replace(".downsample.2.", ".downsample.1.")


def _renamed(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in rules:
        match = re.fullmatch(pattern, name)
        if match:
            return match.expand(replacement)
    return name


def _slices_first(value: torch.Tensor) -> torch.Tensor:
    """(O, I, H, W, D) to (O, I, D, H, W); everything else unchanged."""
    return value.permute(0, 1, 4, 2, 3) if value.dim() == 5 else value


def _stage_lengths(weights: Mapping[str, torch.Tensor]) -> tuple[int, int, int, int]:
    first, second, third, fourth = (
        len({name.split(".")[1] for name in weights if name.startswith(f"layer{stage}.")}) for stage in range(1, 5)
    )
    return first, second, third, fourth
