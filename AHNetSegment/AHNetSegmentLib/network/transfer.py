"""The transfer at the heart of AH-Net: a 2D encoder's weights become the 3D encoder's (arXiv 1711.08580)."""

from __future__ import annotations

import torch

from .ahnet import AHNet
from .mcgcn import MCGCN, SLICE_TAPS
from .resnet import ResNet2d


def transfer_encoder(source: MCGCN | ResNet2d, target: AHNet) -> None:
    """Copies a 2D encoder into a 3D one, convolutions and everything of BatchNorm, statistics included.

    k x k convolutions become 1 x k x k; the first one's three input channels per volume become its three taps
    along the slices. A source of one volume serves a target of several: repeated, and divided by their number.

    With slice pooling off and in eval mode, the target's features of slice d then equal the source's of slices
    (d-1, d, d+1) to float rounding.

    Args:
        source: the 2D network, or its encoder alone.
        target: the 3D network, changed in place.

    Raises:
        ValueError: the encoders differ in width, depth or volumes, or the source projects its input channels, so
            that they are no longer slices.
    """
    if isinstance(source, MCGCN):
        if source.projection is not None:
            raise ValueError("The 2D network projects its input channels, so they cannot become slices of a 3D one.")
        source = source.encoder
    encoder = target.encoder
    if encoder.blocks != source.blocks or encoder.channels != source.channels:
        raise ValueError(
            f"The 2D encoder (width {source.width:g}, layers {source.blocks}) does not fit the 3D encoder "
            f"(width {encoder.width:g}, layers {encoder.blocks}): make both with the same width and layers."
        )
    encoder.load_state_dict(encoder_weights(source.state_dict(), encoder.in_channels))


def encoder_weights(weights_2d: dict[str, torch.Tensor], volumes: int) -> dict[str, torch.Tensor]:
    """A 2D encoder's state dict as that of the 3D encoder of `volumes` input channels.

    Raises:
        ValueError: the first convolution has another number of input channels than three per volume.
    """
    weights_3d = {name: value.unsqueeze(2) if value.dim() == 4 else value for name, value in weights_2d.items()}
    if "conv1.weight" in weights_2d:
        weights_3d["conv1.weight"] = _stem_weight(weights_2d["conv1.weight"], volumes)
    return weights_3d


def _stem_weight(weight: torch.Tensor, volumes: int) -> torch.Tensor:
    """(O, 3n, k, k), channel `volume * 3 + tap`, to (O, volumes, 3, k, k)."""
    found, rest = divmod(weight.shape[1], SLICE_TAPS)
    if rest or found not in (1, volumes):
        raise ValueError(
            f"The 2D encoder takes {weight.shape[1]} channels, but a 3D encoder of {volumes} volumes needs one of "
            f"{SLICE_TAPS * volumes} channels, or of {SLICE_TAPS}."
        )
    taps = weight.reshape(weight.shape[0], found, SLICE_TAPS, *weight.shape[2:])
    return taps if found == volumes else taps.repeat(1, volumes, 1, 1, 1) / volumes
