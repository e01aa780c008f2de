"""One training patch, from where it is cut to what the network gets: of a scan, or generated from a label map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..network.settings import IGNORE_LABEL
from .appearance import acquire, make_appearance, normalise
from .augmentation import (
    Augmentation,
    cut_labels,
    cut_patch,
    draw_placement,
    fill_hollows,
    swap_sides,
    vary_intensity,
)
from .card import Intensity
from .generated_images import cut_field, draw_contrast, finer, paint, strip
from .generation import Generation
from .shrinking import shrink_structure
from .thick_slices import thicken_slices

Spacing = tuple[float, float, float]


def scanned_patch(
    rng: np.random.Generator,
    image: np.ndarray,
    labels: np.ndarray,
    centre: np.ndarray,
    spacing: Spacing,
    size: Sequence[int],
    settings: Augmentation,
    rule: Intensity,
) -> tuple[Tensor, Tensor]:
    """A patch of a scan, varied.

    Args:
        rng: draws how.
        image: (1, D, H, W), normalised.
        labels: (D, H, W).
        centre: (slice, row, column) that the patch is cut around, in voxels.
        spacing: mm along (slices, rows, columns) of both.
        size: (d, h, w).
        settings: how strongly it is varied.
        rule: by which patches of made intensities are normalised.

    Returns:
        image (1, d, h, w) float32 and labels (d, h, w) uint8.
    """
    placement = draw_placement(rng, centre, spacing, settings)
    patch, target = cut_patch(image, labels, placement, size, settings.mirror_swaps)
    patch, target = shrink_structure(rng, patch, target, settings)
    step = settings.of_patch(spacing)
    patch = fill_hollows(rng, patch, target, step, settings)
    made = settings.made > 0 and rng.random() < settings.made
    if made:
        patch = make_appearance(rng, patch, target, settings)
    patch = thicken_slices(rng, patch, step, settings)
    if made:
        patch = normalise(acquire(rng, patch, settings), rule, target != IGNORE_LABEL)
    return vary_intensity(rng, patch, settings), target


def generated_patch(
    rng: np.random.Generator,
    codes: np.ndarray,
    centre: np.ndarray,
    spacing: Spacing,
    size: Sequence[int],
    step: Spacing,
    settings: Augmentation,
    generation: Generation,
    rule: Intensity,
) -> tuple[Tensor, Tensor]:
    """A patch whose image is generated.

    Args:
        rng: draws all of it.
        codes: (D, H, W): see :attr:`Generation.values`.
        centre: (slice, row, column) that the patch is cut around, in voxels.
        spacing: mm along (slices, rows, columns) of the codes.
        size: (d, h, w).
        step: mm along the same axes of the patch's voxels. Where slices are the longer side of a voxel, the image is
            generated in finer ones, of which their mean is taken, so that a voxel may hold several tissues.
        settings: how strongly it is varied.
        generation: how images are made.
        rule: by which they are normalised.

    Returns:
        image (1, d, h, w) float32 and labels (d, h, w) uint8.
    """
    placement = draw_placement(rng, centre, spacing, settings)
    step = settings.of_patch(step)
    factors = (step[0] / spacing[0], step[1] / spacing[1], step[2] / spacing[2])
    target = torch.from_numpy(generation.classes_by_code())[cut_labels(codes, finer(placement, factors), size).long()]
    target = swap_sides(target, placement, settings)
    parts = max(1, round(step[0] / min(step[1:])))
    fine = finer(placement, (factors[0] / parts, factors[1], factors[2]))
    shown = strip(rng, cut_labels(codes, fine, (size[0] * parts, *size[1:])), generation)
    image = paint(rng, shown, generation, draw_contrast(rng, generation))[None]
    axis = int(rng.choice(3, p=np.array(generation.planes) / sum(generation.planes)))
    image = thicken_slices(rng, image, (step[0] / parts, step[1], step[2]), settings, axis)
    image = image.unflatten(1, (size[0], parts)).mean(dim=2)
    image, target = cut_field(rng, acquire(rng, image, settings), target, generation)
    image = normalise(image, rule, air=float(rng.uniform(0, generation.air)))
    return vary_intensity(rng, image, settings), target
