"""What can be said of each segment of a label map: volume, place, pieces, whether it is cut off."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from .card import ClassCard
from .volume import Array, Geometry, Region

LPS_ENDS = (("right", "left"), ("anterior", "posterior"), ("inferior", "superior"))
"""What lies at the low and the high end of the axes x, y and z of LPS."""


@dataclass(frozen=True)
class Segment:
    """One class of a label map.

    Attributes:
        item: the class.
        voxels: how many it has.
        ml: its volume.
        extent: its box of voxels; None when it is empty.
        edges: the ends of the volume (or region of interest) that it touches: ``superior``, ``left`` and so on.
        pieces: parts of it that share no face, edge or corner of a voxel.
        largest_piece_percent: the share of the largest piece in it.
        centroid_lps: mean position of its voxels in mm; None when it is empty.
    """

    item: ClassCard
    voxels: int
    ml: float
    extent: Region | None = None
    edges: tuple[str, ...] = ()
    pieces: int = 0
    largest_piece_percent: float = 0.0
    centroid_lps: tuple[float, float, float] | None = None


def describe_segment(labels: Array, geometry: Geometry, item: ClassCard, searched: Region) -> Segment:
    """Measures one class of a label map.

    Args:
        labels: uint8 (k, j, i).
        geometry: of the label map.
        item: the class.
        searched: the box of voxels that was segmented.
    """
    mask = labels == item.label
    counts = [mask.sum(axis=axes) for axes in ((0, 1), (0, 2), (1, 2))]
    voxels = int(counts[0].sum())
    if voxels == 0:
        return Segment(item, 0, 0.0)
    extent = _extent(counts)
    sizes = [int(size) for size in piece_sizes(connected_pieces(mask[extent.slices]))]
    return Segment(
        item,
        voxels,
        voxels * geometry.voxel_ml,
        extent,
        _edges(extent, searched, geometry),
        len(sizes),
        100.0 * max(sizes) / voxels,
        _centroid(counts, voxels, geometry),
    )


def _extent(counts: list[Array]) -> Region:
    ends = [(int(places[0]), int(places[-1]) + 1) for places in map(np.flatnonzero, counts)]
    (i0, i1), (j0, j1), (k0, k1) = ends
    return Region((i0, j0, k0), (i1, j1, k1))


def _centroid(counts: list[Array], voxels: int, geometry: Geometry) -> tuple[float, float, float]:
    mean_ijk = [float(np.arange(len(along)) @ along) / voxels for along in counts]
    x, y, z, _ = (float(value) for value in geometry.ijk_to_lps() @ np.array([*mean_ijk, 1.0]))
    return (x, y, z)


def _edges(extent: Region, searched: Region, geometry: Geometry) -> tuple[str, ...]:
    directions = np.reshape(geometry.direction, (3, 3))
    touched = []
    for axis in range(3):
        towards = int(np.argmax(np.abs(directions[:, axis])))
        low, high = LPS_ENDS[towards] if directions[towards, axis] > 0 else LPS_ENDS[towards][::-1]
        if extent.start[axis] <= searched.start[axis]:
            touched.append(low)
        if extent.stop[axis] >= searched.stop[axis]:
            touched.append(high)
    return tuple(dict.fromkeys(touched))


def connected_pieces(mask: Array) -> Array:
    """The mask (k, j, i) with its connected pieces (26 neighbours) numbered from 1, 0 outside."""
    pieces = sitk.ConnectedComponent(sitk.GetImageFromArray(mask.astype(np.uint8)), True)
    return sitk.GetArrayFromImage(pieces)


def piece_sizes(pieces: Array) -> Array:
    """Voxels of each piece that :func:`connected_pieces` has numbered."""
    return np.bincount(pieces.ravel())[1:]
