"""The networks that ours is compared with, as MONAI builds them."""

from __future__ import annotations

import torch

from AHNetSegmentLib.network.ahnet import AHNet
from AHNetSegmentLib.network.formats import Format, to_own_names


def monai_ahnet(network: AHNet) -> torch.nn.Module:
    """MONAI's AHNet with the weights of ours; slices are its last axis."""
    from monai.networks.nets.ahnet import AHNet as PeerAHNet

    settings = network.settings
    peer = PeerAHNet(
        layers=settings.layers,
        spatial_dims=3,
        in_channels=settings.in_channels,
        out_channels=settings.classes,
        psp_block_num=settings.pyramid_levels,
        upsample_mode="trilinear",
    )
    theirs, ours = peer.state_dict(), network.state_dict()
    names = zip(theirs, to_own_names(theirs, Format.MONAI_AHNET), strict=True)
    weights = {their: ours[own] for their, own in names}
    # Theirs have the slice axis last.
    peer.load_state_dict({name: w.permute(0, 1, 3, 4, 2) if w.dim() == 5 else w for name, w in weights.items()})
    return peer.eval()


def nnunet(classes: int, patch: tuple[int, int, int], spacing: tuple[float, float, float]) -> torch.nn.Module:
    """nnU-Net's architecture for a patch and spacing (slices, rows, columns), as MONAI's DynUNet with random weights.

    Kernels and strides follow nnU-Net's planner (Isensee et al., Nature Methods 2021): an axis is pooled while its
    spacing is less than twice the smallest one and its map stays at 4 or more; it has a kernel of 3 from there on. The
    channels begin with 32 and double up to 320. Without deep supervision, which inference does not use.
    """
    from monai.networks.nets.dynunet import DynUNet

    kernels, strides = nnunet_plan(patch, spacing)
    filters = [min(32 * 2**stage, 320) for stage in range(len(kernels))]
    return DynUNet(3, 1, classes, kernels, strides, strides[1:], filters=filters, norm_name="instance")


def nnunet_plan(
    patch: tuple[int, int, int], spacing: tuple[float, float, float]
) -> tuple[list[list[int]], list[list[int]]]:
    """Kernel sizes and strides of each stage of nnU-Net's U-Net, from the finest one on."""
    size, steps = list(patch), list(spacing)
    kernel = [1, 1, 1]
    kernels: list[list[int]] = []
    strides = [[1, 1, 1]]
    while True:
        near = [step < 2 * min(steps) for step in steps]
        kernel = [3 if close or width == 3 else 1 for close, width in zip(near, kernel, strict=True)]
        kernels.append(kernel)
        stride = [2 if close and length >= 8 else 1 for close, length in zip(near, size, strict=True)]
        if stride == [1, 1, 1]:
            return kernels, strides
        strides.append(stride)
        size = [-(-length // factor) for length, factor in zip(size, stride, strict=True)]
        steps = [step * factor for step, factor in zip(steps, stride, strict=True)]
