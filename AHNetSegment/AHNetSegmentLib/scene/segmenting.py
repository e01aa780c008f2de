"""From nodes to what a run needs, and from a run's result to nodes: shared by panel and console."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import vtk
from vtk.util.numpy_support import numpy_to_vtk

from ..engine.card import ClassCard
from ..engine.errors import VolumeError
from ..engine.volume import Array, Region, Volume
from .labels import labels_from_segments
from .rois import region_from_roi, roi_mask
from .segments import add_segments, check_segmentation_node, new_segmentation_node, place_beside
from .transforms import matrix_from_array, node_name
from .volumes import first_voxel_to_ras, volume_from_node


@dataclass(frozen=True)
class Scan:
    """What is segmented.

    Attributes:
        volume: the volume where it lies in the world; a view of the node's voxels.
        region: the box of voxels that is looked at; None: all of them.
        mask: which voxels of the region count, bool (k, j, i); None: all of them.
    """

    volume: Volume
    region: Region | None = None
    mask: Array | None = None


class Result(Protocol):
    """What the scene needs of a run's result."""

    @property
    def labels(self) -> Array:
        """uint8 (k, j, i), on the volume's grid."""

    @property
    def classes(self) -> tuple[ClassCard, ...]:
        """What the labels mean."""

    @property
    def probabilities(self) -> Array | None:
        """uint8 (class, k, j, i), 255 for certain."""


def scan_from_nodes(volume_node: Any, roi_node: Any = None) -> Scan:
    """A volume node, and the part of it that a Markups ROI covers.

    Raises:
        VolumeError: a node cannot be used, or no voxel lies inside the ROI.
    """
    volume = volume_from_node(volume_node)
    if roi_node is None:
        return Scan(volume)
    region = region_from_roi(roi_node, volume)
    mask = roi_mask(roi_node, volume, region)
    if not mask.any():
        raise VolumeError(
            f"{node_name(roi_node, 'The ROI')} is too small: no voxel of {volume.name} has its centre inside; "
            "enlarge it."
        )
    return Scan(volume, region, None if mask.all() else mask)


def same_names(segmentation_node: Any, classes: Sequence[ClassCard]) -> list[str]:
    """The names of a segmentation's segments that a result with these classes would replace."""
    if segmentation_node is None:
        return []
    check_segmentation_node(segmentation_node)
    segmentation = segmentation_node.GetSegmentation()
    return [item.name for item in classes if segmentation.GetSegmentIdBySegmentName(item.name)]


def put_result(
    result: Result,
    scan: Scan,
    volume_node: Any,
    segmentation_node: Any = None,
    *,
    replace: bool = True,
    box: Region | None = None,
) -> Any:
    """Puts a result into a segmentation.

    Where only a region was looked at, segments that are replaced keep their voxels outside of it.

    Args:
        result: on the volume's grid; nothing outside of region and mask.
        scan: what was segmented.
        volume_node: its node.
        segmentation_node: where to put it; None: a new one, named after the volume.
        replace: see :func:`~AHNetSegmentLib.scene.segments.add_segments`.
        box: all labels of the result lie inside of it; None: unknown.

    Returns:
        The segmentation node.

    Raises:
        VolumeError: the segmentation cannot take the result; it is then unchanged.
    """
    labels = result.labels
    if segmentation_node is None:
        segmentation_node = new_segmentation_node(volume_node, f"{node_name(volume_node, 'Volume')} segmentation")
    elif replace and scan.region is not None:
        labels, box = _with_voxels_outside(labels, result.classes, scan, volume_node, segmentation_node), None
    add_segments(segmentation_node, labels, volume_node, result.classes, replace=replace, closed_surface=False, box=box)
    return segmentation_node


def _with_voxels_outside(
    labels: Array, classes: Sequence[ClassCard], scan: Scan, volume_node: Any, segmentation_node: Any
) -> Array:
    """The labels, and outside of the region those of the segments that will be replaced."""
    check_segmentation_node(segmentation_node)
    segmentation = segmentation_node.GetSegmentation()
    found = {segmentation.GetSegmentIdBySegmentName(item.name): item.label for item in classes}
    found.pop("", None)
    if not found:
        return labels
    assert scan.region is not None
    merged = labels_from_segments(segmentation_node, volume_node, found)
    inside = merged[scan.region.slices]
    np.copyto(inside, labels[scan.region.slices], where=True if scan.mask is None else scan.mask)
    return merged


def add_probability_volumes(result: Result, volume_node: Any) -> list[Any]:
    """One scalar volume per class, 0 to 255 for a probability of 0 to 1, beside the volume in the subject hierarchy."""
    if result.probabilities is None:
        return []
    nodes = []
    for item, values in zip(result.classes, result.probabilities, strict=True):
        image = vtk.vtkImageData()
        image.SetDimensions(*reversed(values.shape))
        image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(values).ravel(), deep=True))
        name = f"{node_name(volume_node, 'Volume')} {item.name} probability"
        node = volume_node.GetScene().AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
        node.SetIJKToRASMatrix(matrix_from_array(first_voxel_to_ras(volume_node)))
        node.SetAndObserveImageData(image)
        node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
        node.CreateDefaultDisplayNodes()
        place_beside(node, volume_node)
        nodes.append(node)
    return nodes
