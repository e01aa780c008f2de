"""Smooth borders for label maps: all structures at once, so that neighbours keep one common border."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk

from .segments import label_boxes
from .volume import Array

MOST_MM = 20.0
"""The widest smoothing that is offered."""

REACH = 4.0
"""The Gaussian is followed up to so many standard deviations."""

LEAST_VOXELS = 0.3
"""Below this standard deviation a voxel's neighbours weigh too little to move a border along that axis."""

SLAB_VOXELS = 12_000_000
"""About so many voxels are smoothed at once: they need some 20 bytes each."""

FEWEST_VOXELS = 4
"""The recursive filter needs so many along an axis."""


def smooth_labels(labels: Array, spacing: Sequence[float], millimetres: float) -> tuple[Array, tuple[int, ...]]:
    """Smooths the borders of all structures of a label map together.

    The mask of each label, background included, is blurred by a Gaussian, and each voxel goes to the label with the
    largest value there: straight borders stay where they are, and no gap or overlap arises between neighbours.
    Round structures become a little smaller: the border of a ball of R mm moves inwards by about millimetres ** 2 / R.
    What lies beyond the array is taken to continue as at its edge, so that structures that are cut off stay so.

    Args:
        labels: uint8 (k, j, i), 0 is background; left as it is.
        spacing: mm along (i, j, k).
        millimetres: standard deviation of the Gaussian.

    Returns:
        The smoothed label map, and the labels that would have vanished and keep all their voxels.
    """
    sigmas = [millimetres / step for step in reversed(spacing)]
    sigmas = [sigma if sigma >= LEAST_VOXELS else 0.0 for sigma in sigmas]
    margins = [math.ceil(REACH * sigma) for sigma in sigmas]
    before = _counts(labels)
    smoothed = np.empty_like(labels)
    at_once = max(SLAB_VOXELS // labels[0].size - 2 * margins[0], margins[0], 1)
    for start in range(0, len(labels), at_once):
        stop = min(start + at_once, len(labels))
        low, high = max(0, start - margins[0]), min(len(labels), stop + margins[0])
        slab = _smooth_slab(labels[low:high], sigmas, margins)
        smoothed[start:stop] = slab[start - low : stop - low]
    kept: list[int] = []
    while vanished := [int(label) for label in np.flatnonzero((before > 0) & (_counts(smoothed) == 0)) if label]:
        kept += vanished
        for label in vanished:
            smoothed[labels == label] = label
    return smoothed, tuple(sorted(kept))


def _smooth_slab(labels: Array, sigmas: Sequence[float], margins: Sequence[int]) -> Array:
    """The label with the largest blurred mask in each voxel; only the boxes around labels are looked at."""
    winner = np.zeros_like(labels)
    largest = np.zeros(labels.shape, np.float32)
    background = np.ones(labels.shape, np.float32)
    for label, inner in label_boxes(labels).items():
        box = tuple(
            slice(max(0, s.start - margin), s.stop + margin) for s, margin in zip(inner.slices, margins, strict=True)
        )
        share = _blur(labels[box] == label, sigmas)
        background[box] -= share
        more = share > largest[box]
        largest[box][more] = share[more]
        winner[box][more] = label
    winner[background > largest] = 0
    return winner


def _blur(mask: Array, sigmas: Sequence[float]) -> Array:
    image = sitk.GetImageFromArray(
        np.pad(mask.astype(np.float32), [(0, max(0, FEWEST_VOXELS - length)) for length in mask.shape], mode="edge")
    )
    for axis, sigma in enumerate(reversed(sigmas)):
        if sigma:
            image = sitk.RecursiveGaussian(image, sigma, False, sitk.RecursiveGaussianImageFilter.ZeroOrder, axis)
    return sitk.GetArrayFromImage(image)[tuple(slice(length) for length in mask.shape)]


def _counts(labels: Array) -> Array:
    """Voxels of each of the 256 labels."""
    counts = np.zeros(256, np.int64)
    for plane in labels:
        counts += np.bincount(plane.ravel(), minlength=256)
    return counts
