"""Markups boxes of the scene as regions and masks of the engine."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..engine.errors import VolumeError
from ..engine.volume import Array, Region, Volume
from .transforms import RAS_TO_LPS, array_from_matrix, node_name, node_to_world

EDGE_MM = 1e-6
"""A voxel's centre this far outside still counts as inside, as in :meth:`Region.around`."""


def region_from_roi(roi_node: Any, volume: Volume) -> Region:
    """The smallest box of voxels that covers a ``vtkMRMLMarkupsROINode``, clipped to the volume.

    Args:
        roi_node: any orientation, under any chain of linear transforms. Where it is not parallel to the voxels, the
            box of voxels is larger than the ROI; :func:`roi_mask` tells which of them lie inside.
        volume: as :func:`volume_from_node` gives it.

    Raises:
        VolumeError: no ROI, one without size, turned inside out or under a non-linear transform, or no voxel inside.
    """
    box_to_lps, half = _box(roi_node)
    corners = np.array([[*np.where(pick, half, -half), 1.0] for pick in np.ndindex(2, 2, 2)])
    return Region.around(volume.geometry, (corners @ box_to_lps.T)[:, :3], node_name(roi_node, "The ROI"))


def roi_mask(roi_node: Any, volume: Volume, region: Region) -> Array:
    """Which voxels of a region have their centre inside a ROI; the nearest one where none has.

    Returns:
        bool (k, j, i) of the region.

    Raises:
        VolumeError: as :func:`region_from_roi`.
    """
    box_to_lps, half = _box(roi_node)
    ijk_to_box = np.linalg.solve(box_to_lps, volume.geometry.ijk_to_lps())
    i, j, k = (np.arange(start, stop) for start, stop in zip(region.start, region.stop, strict=True))
    inside = np.ones((len(k), len(j), len(i)), bool)
    for row, limit in zip(ijk_to_box[:3], half + EDGE_MM, strict=True):
        along = row[2] * k[:, None, None] + row[1] * j[:, None] + row[0] * i + row[3]
        inside &= np.abs(along) <= limit
    if not inside.any():
        middle = np.linalg.solve(volume.geometry.ijk_to_lps(), box_to_lps[:, 3])[:3] + 0.5
        nearest = np.clip(np.floor(middle).astype(int), region.start, np.array(region.stop) - 1) - region.start
        inside[tuple(nearest[::-1])] = True
    return inside


def _box(node: Any) -> tuple[Array, Array]:
    """4x4 matrix from the ROI's own axes to LPS in the world, and half of its size along them."""
    if node is None:
        raise VolumeError("No region of interest is selected; choose one, or segment the whole volume.")
    name = node_name(node, "The ROI")
    if not node.IsA("vtkMRMLMarkupsROINode"):
        raise VolumeError(f"{name} is no ROI but a {node.GetNodeTagName()}; choose a Markups ROI.")
    half = np.array(node.GetSize(), float) / 2
    if not (half > 0).all():
        raise VolumeError(f"{name} has no size; draw it over the part to be segmented.")
    if node.GetInsideOut():
        raise VolumeError(f"{name} is turned inside out; switch Inside out off in the Markups module.")
    box_to_lps = RAS_TO_LPS @ node_to_world(node) @ array_from_matrix(node.GetObjectToNodeMatrix())
    if abs(np.linalg.det(box_to_lps[:3, :3])) < 1e-12:
        raise VolumeError(f"{name} is squeezed flat by its transform; correct the transform.")
    return box_to_lps, half
