"""Surfaces of label maps and the distances between them."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from .volume import Array


def surface_voxels(mask: Array) -> Array:
    """The voxels of an object that have one of their six neighbours outside it, or beyond the grid.

    This is the object minus its erosion by the 6-neighbourhood, as in Heimann et al., "Comparison and evaluation of
    methods for liver segmentation from CT datasets", IEEE TMI 28(8), 2009.

    Args:
        mask: bool, three axes.

    Returns:
        bool, of the same shape.
    """
    inside = np.ones_like(mask)
    padded = np.pad(mask, 1)
    centre = slice(1, -1)
    for axis in range(3):
        for neighbour in (slice(None, -2), slice(2, None)):
            index = [centre, centre, centre]
            index[axis] = neighbour
            inside &= padded[tuple(index)]
    surface: Array = mask & ~inside
    return surface


def surface_distances(first: Array, second: Array, spacing: tuple[float, float, float]) -> tuple[Array, Array]:
    """For each surface voxel of one object the distance to the nearest surface voxel of the other.

    Args:
        first: bool (k, j, i), not empty.
        second: bool (k, j, i), not empty.
        spacing: mm along (i, j, k), on axes at right angles.

    Returns:
        Distances in mm, float32, from the first to the second surface and back, one per surface voxel.
    """
    # Outside the box around both objects there is no surface voxel, and nothing but surface voxels is asked for:
    # within the box all distances are those of the whole grid.
    box = _box_around(first | second)
    surfaces = [surface_voxels(mask[box]) for mask in (first, second)]
    to_first, to_second = (_distance_map(surface, spacing) for surface in surfaces)
    return to_second[surfaces[0]], to_first[surfaces[1]]


def _box_around(mask: Array) -> tuple[slice, ...]:
    box = []
    for axis in range(mask.ndim):
        places = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        box.append(slice(int(places[0]), int(places[-1]) + 1))
    return tuple(box)


def _distance_map(surface: Array, spacing: tuple[float, float, float]) -> Array:
    image = sitk.GetImageFromArray(surface.astype(np.uint8))
    image.SetSpacing(spacing)
    signed = sitk.SignedMaurerDistanceMap(image, insideIsPositive=False, squaredDistance=False, useImageSpacing=True)
    # Below zero are surface voxels that are enclosed by others: they are at no distance from the surface.
    distance: Array = np.maximum(sitk.GetArrayFromImage(signed), 0)
    return distance
