"""Images that are generated from label maps: each tissue of one brightness with some texture, then scanned.

The generative model is that of SynthSeg (Billot et al., SynthSeg: segmentation of brain MRI scans of any contrast and
resolution without retraining, Medical Image Analysis 86, 2023, arXiv 2107.09559), written anew: random brightness of
each tissue, blur, bias field, slices of any thickness.

Every draw comes from one numpy generator. Tensors stay on the device that they are on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from .augmentation import Placement
from .generation import Generation

DARK_AIR = 0.75
"""Probability that air is quite black; else it has a brightness of its own, nearly always a low one."""
SMALLEST_PART = 0.4
"""Of a patch of which a part lies outside of the field of view, along the axis that is cut."""


@dataclass(frozen=True)
class Contrast:
    """Brightness of each tissue, air first, from 0 (dark) to 1.

    Attributes:
        means: (n + 1).
        deviations: within a tissue, (n + 1).
    """

    means: np.ndarray
    deviations: np.ndarray


def draw_contrast(rng: np.random.Generator, generation: Generation, t1: bool | None = None) -> Contrast:
    """Draws how bright tissues are.

    Args:
        rng: draws it.
        generation: tissues, and how often they look as in T1-weighted MR.
        t1: whether they do; None: drawn as well.
    """
    count = len(generation.tissues)
    drawn = rng.random() < generation.t1
    means = rng.uniform(0, 1, count)
    spread = rng.normal(0, generation.spread, count)
    if drawn if t1 is None else t1:
        means = np.clip(np.array([tissue.t1 for tissue in generation.tissues]) + spread, 0, 1)
    deviations = generation.texture * rng.uniform(0, 1, count)
    air = 0.0 if rng.random() < DARK_AIR else rng.random() ** 4
    return Contrast(np.concatenate([[air], means]), np.concatenate([[0.0], deviations]))


def paint(rng: np.random.Generator, codes: Tensor, generation: Generation, contrast: Contrast) -> Tensor:
    """An image (d, h, w) of a contrast from the codes (d, h, w) of a label map: see :attr:`Generation.values`."""
    tissues = torch.from_numpy(generation.tissues_by_code())
    means = torch.from_numpy(contrast.means.astype(np.float32))[tissues].to(codes.device)
    deviations = torch.from_numpy(contrast.deviations.astype(np.float32))[tissues].to(codes.device)
    places = codes.long()
    noise = torch.from_numpy(rng.standard_normal(tuple(codes.shape), dtype=np.float32)).to(codes.device)
    return noise.mul_(deviations[places]).add_(means[places])


def strip(rng: np.random.Generator, codes: Tensor, generation: Generation) -> Tensor:
    """Draws whether the skull is stripped, and whether with all that surrounds the brain: codes with air instead."""
    stripped, envelope = rng.random() < generation.stripped, rng.random() < 0.5
    if not stripped:
        return codes
    kept = torch.from_numpy(generation.kept_when_stripped(envelope=envelope)).to(codes.device)
    return torch.where(kept[codes.long()], codes, torch.zeros_like(codes))


def cut_field(rng: np.random.Generator, image: Tensor, labels: Tensor, generation: Generation) -> tuple[Tensor, Tensor]:
    """Draws whether a part lies outside of the field of view: it is black there, and nothing is to be found.

    Args:
        rng: draws which part.
        image: (1, d, h, w).
        labels: (d, h, w).
        generation: how often.
    """
    if not generation.cut or rng.random() >= generation.cut:
        return image, labels
    axis = int(rng.integers(3))
    length = labels.shape[axis]
    left = max(1, round(length * rng.uniform(SMALLEST_PART, 1)))
    start = length - left if rng.random() < 0.5 else 0
    inside = torch.zeros(length, dtype=torch.bool, device=image.device)
    inside[start : start + left] = True
    inside = inside.reshape([length if other == axis else 1 for other in range(3)])
    return image * inside, torch.where(inside, labels, torch.zeros_like(labels))


def finer(placement: Placement, factors: tuple[float, float, float]) -> Placement:
    """The same place with voxels that are so many times as long along (slices, rows, columns)."""
    return replace(placement, matrix=placement.matrix @ np.diag(factors))
