"""Segments of the scene as label maps of the engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import slicer
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from ..engine.errors import VolumeError
from ..engine.volume import Array
from .segments import LABELMAP, check_segmentation_node
from .transforms import image_to_world, lattice_shift, matrix_from_array, node_name, node_to_node
from .volumes import check_volume_node, first_voxel_to_ras


def labels_from_segments(segmentation_node: Any, volume_node: Any, labels: Mapping[str, int] | None = None) -> Array:
    """The label map of a segmentation on a volume's grid.

    Segments on the volume's own grid are copied voxel for voxel, those on another one resampled by nearest
    neighbour, surfaces turned into voxels. Where segments overlap, the later one in ``labels`` counts. The
    segmentation is not changed.

    Args:
        segmentation_node: under any linear transforms, or under the volume's own.
        volume_node: on whose grid.
        labels: the label, 1 to 255, of each segment by its identifier; None: all segments, counting from 1.

    Returns:
        uint8 (k, j, i).

    Raises:
        VolumeError: a node cannot be used, a segment does not exist or cannot be turned into voxels, or a transform
            between segmentation and volume is not linear.
    """
    check_segmentation_node(segmentation_node)
    check_volume_node(volume_node)
    segmentation = segmentation_node.GetSegmentation()
    if labels is None:
        labels = {segment_id: number for number, segment_id in enumerate(segmentation.GetSegmentIDs(), start=1)}
    if not all(0 < label < 256 for label in labels.values()):
        raise VolumeError(
            f"{node_name(segmentation_node, 'The segmentation')} would need labels up to {max(labels.values())}; "
            "choose at most 255 segments."
        )
    grid = first_voxel_to_ras(volume_node)
    local_to_grid = np.linalg.solve(grid, node_to_node(segmentation_node, volume_node))
    merged = np.zeros(tuple(reversed(volume_node.GetImageData().GetDimensions())), np.uint8)
    for segment_id, label in labels.items():
        image, value = _segment_image(segmentation_node, segment_id)
        if not image.IsEmpty():
            _paint(merged, label, image, value, local_to_grid)
    return merged


def _segment_image(segmentation_node: Any, segment_id: str) -> tuple[Any, int]:
    """The voxels of a segment, perhaps in a layer with others, and its value there."""
    segment = segmentation_node.GetSegmentation().GetSegment(segment_id)
    name = node_name(segmentation_node, "The segmentation")
    if segment is None:
        raise VolumeError(f"{name} has no segment {segment_id}; choose one that exists.")
    image = segment.GetRepresentation(LABELMAP)
    if image is not None:
        return image, int(segment.GetLabelValue())
    image = slicer.vtkOrientedImageData()
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    if not logic.GetSegmentBinaryLabelmapRepresentation(segmentation_node, segment_id, image, False):
        raise VolumeError(
            f"The segment {segment.GetName()} of {name} could not be turned into voxels; "
            "create its binary label map in the Segmentations module."
        )
    return image, 1


def _paint(merged: Array, label: int, image: Any, value: int, local_to_grid: Array) -> None:
    """Sets ``label`` in ``merged`` where the segment's voxels lie."""
    image_to_grid = local_to_grid @ image_to_world(image)
    shift = lattice_shift(image_to_grid, image.GetExtent())
    if shift is None:
        image, value, shift = _resampled(image, value, image_to_grid, merged.shape), 1, (0, 0, 0)
    extent = image.GetExtent()
    size = tuple(reversed(image.GetDimensions()))
    inside = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(size) == value
    here, there = [], []
    for axis in (2, 1, 0):
        first = extent[2 * axis] + shift[axis]
        start, stop = max(first, 0), min(first + size[2 - axis], merged.shape[2 - axis])
        here.append(slice(start, max(stop, start)))
        there.append(slice(start - first, max(stop, start) - first))
    merged[tuple(here)][inside[tuple(there)]] = label


def _resampled(image: Any, value: int, image_to_grid: Array, shape: tuple[int, ...]) -> Any:
    """One segment on a grid whose (i, j, k) are its coordinates: 1 inside, 0 elsewhere, of the grid's extent."""
    inside = slicer.vtkOrientedImageData()
    inside.SetExtent(image.GetExtent())
    mask = vtk_to_numpy(image.GetPointData().GetScalars()) == value
    inside.GetPointData().SetScalars(numpy_to_vtk(mask.astype(np.uint8), deep=True))
    inside.SetImageToWorldMatrix(matrix_from_array(image_to_grid))
    grid = slicer.vtkOrientedImageData()
    grid.SetExtent(0, shape[2] - 1, 0, shape[1] - 1, 0, shape[0] - 1)
    resampled = slicer.vtkOrientedImageData()
    resample = slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage
    resample(inside, grid, resampled, False, False)
    return resampled
