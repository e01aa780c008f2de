"""What can be said of each segment of a label map: volume, place, pieces, whether it is cut off."""

from __future__ import annotations

from collections.abc import Sequence
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


def describe_segments(
    labels: Array, geometry: Geometry, classes: Sequence[ClassCard], searched: Region
) -> list[Segment]:
    """Measures classes of a label map.

    Args:
        labels: uint8 (k, j, i).
        geometry: of the label map.
        classes: which ones.
        searched: the box of voxels that was segmented.
    """
    boxes = label_boxes(labels)
    return [
        _describe(labels, geometry, item, boxes[item.label], searched) if item.label in boxes else Segment(item, 0, 0.0)
        for item in classes
    ]


def _describe(labels: Array, geometry: Geometry, item: ClassCard, box: Region, searched: Region) -> Segment:
    mask = labels[box.slices] == item.label
    in_plane = mask.sum(axis=0, dtype=np.uint32)
    counts = [in_plane.sum(axis=0), in_plane.sum(axis=1), np.array([np.count_nonzero(plane) for plane in mask])]
    voxels = int(counts[2].sum())
    sizes = [int(size) for size in piece_sizes(connected_pieces(mask))]
    return Segment(
        item,
        voxels,
        voxels * geometry.voxel_ml,
        box,
        _edges(box, searched, geometry),
        len(sizes),
        100.0 * max(sizes) / voxels,
        _centroid(counts, box, voxels, geometry),
    )


def label_boxes(labels: Array) -> dict[int, Region]:
    """The smallest box of voxels around each label of a label map, uint8 (k, j, i), but 0; in one pass over it."""
    spans: dict[int, list[int]] = {}
    in_plane: dict[int, Array] = {}
    anything = labels.max(axis=0) > 0
    if not anything.any():
        return {}
    # Counting takes longest: only where there is something.
    places = [np.flatnonzero(anything.any(axis=axis)) for axis in (1, 0)]
    j, i = (int(along[0]) for along in places)
    inside = labels[:, j : int(places[0][-1]) + 1, i : int(places[1][-1]) + 1]
    for k, plane in enumerate(inside):
        for label in (np.flatnonzero(np.bincount(plane.ravel(), minlength=1)[1:]) + 1).tolist():
            if label not in spans:
                spans[label] = [k, k]
                in_plane[label] = plane == label
            else:
                spans[label][1] = k
                in_plane[label] |= plane == label
    boxes = {}
    for label, (first, last) in sorted(spans.items()):
        rows, columns = (np.flatnonzero(in_plane[label].any(axis=axis)) for axis in (1, 0))
        start = (i + int(columns[0]), j + int(rows[0]), first)
        boxes[label] = Region(start, (i + int(columns[-1]) + 1, j + int(rows[-1]) + 1, last + 1))
    return boxes


def _centroid(counts: list[Array], box: Region, voxels: int, geometry: Geometry) -> tuple[float, float, float]:
    along_axes = zip(counts, box.start, strict=True)
    mean_ijk = [start + float(np.arange(len(along)) @ along) / voxels for along, start in along_axes]
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
