"""Label maps of the engine as segments of the scene."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk

from ..engine.card import ClassCard
from ..engine.errors import VolumeError
from ..engine.volume import Array, Region
from .transforms import image_to_world, lattice_shift, matrix_from_array, node_name, node_to_node
from .volumes import check_volume_node, first_voxel_to_ras

LABELMAP = "Binary labelmap"
SURFACE = "Closed surface"
"""Slicer's names of the two representations; written out, since Slicer may not have loaded their class yet here."""


def new_segmentation_node(volume_node: Any, name: str) -> Any:
    """An empty ``vtkMRMLSegmentationNode`` in the volume's scene, ready for :func:`add_segments`.

    It has the volume's grid as reference, its parent transform, display nodes and its place in the subject hierarchy.

    Raises:
        VolumeError: the volume cannot be used.
    """
    check_volume_node(volume_node)
    node = volume_node.GetScene().AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    _attach(node, volume_node)
    return node


def add_segments(
    segmentation_node: Any,
    labels: Array,
    volume_node: Any,
    classes: Sequence[ClassCard],
    *,
    replace: bool = True,
    closed_surface: bool = True,
    box: Region | None = None,
) -> list[str]:
    """Puts the classes of a label map into a segmentation, one segment each, voxel for voxel on the volume's grid.

    Segments of other names stay as they are. Where all segments are replaced, or there is none, the segmentation
    moves under the volume's parent transform, so that it is shown where the volume is shown. Where others stay, the
    segmentation keeps its own transform; the new segments are then expressed in its coordinates, exactly and
    without resampling.

    Args:
        segmentation_node: new or with segments.
        labels: (k, j, i), uint8, on the volume's grid. Labels without a class are left out.
        volume_node: the volume that was segmented.
        classes: names, colours and terminology; a class without voxels becomes an empty segment.
        replace: a segment of the same name gets the new voxels, keeping its identifier, place and visibility;
            otherwise it stays and the new one gets a number behind its name.
        closed_surface: also make surfaces for the 3D view, smoothed as the segmentation says (Slicer's default 0.5).
            Without it they are still made anew where the segmentation had some.
        box: all labels lie inside of it; None: that must be found out.

    Returns:
        The segments' identifiers, in the order of ``classes``.

    Raises:
        VolumeError: a node cannot be used; the label map has another shape than the volume; the segmentation's other
            segments are no label maps, lie on another grid, or under a non-linear transform that the volume is not
            under. The segmentation is then unchanged.
    """
    check_volume_node(volume_node)
    check_segmentation_node(segmentation_node)
    _check_labels(labels, volume_node, classes)
    found, others = _found_and_others(segmentation_node, classes, replace)
    _check_fits(segmentation_node, others, volume_node)

    segmentation = segmentation_node.GetSegmentation()
    had_surface = segmentation.ContainsRepresentation(SURFACE)
    _attach(segmentation_node, volume_node, move=not others)
    if box is None:
        box = _occupied(labels)
    layer = _layer(labels, box, classes, node_to_node(volume_node, segmentation_node) @ first_voxel_to_ras(volume_node))
    ids = [_put(segmentation, found[item.label], item, layer) for item in classes]
    if closed_surface or had_surface:
        segmentation_node.CreateClosedSurfaceRepresentation()
    return ids


def check_output(
    segmentation_node: Any, classes: Sequence[ClassCard], volume_node: Any, *, replace: bool = True
) -> None:
    """Raises VolumeError where :func:`add_segments` would, so that nobody waits for a result that has no place."""
    check_volume_node(volume_node)
    check_segmentation_node(segmentation_node)
    _check_fits(segmentation_node, _found_and_others(segmentation_node, classes, replace)[1], volume_node)


def _found_and_others(
    segmentation_node: Any, classes: Sequence[ClassCard], replace: bool
) -> tuple[dict[int, str], list[str]]:
    """The segment of each label that is replaced (empty: none), and the segments that stay."""
    segmentation = segmentation_node.GetSegmentation()
    found = {item.label: segmentation.GetSegmentIdBySegmentName(item.name) if replace else "" for item in classes}
    return found, [key for key in segmentation.GetSegmentIDs() if key not in found.values()]


def check_segmentation_node(node: Any) -> None:
    """Raises VolumeError unless the node is a segmentation."""
    if node is None:
        raise VolumeError("No segmentation is selected; choose one or make a new one.")
    if not node.IsA("vtkMRMLSegmentationNode"):
        name = node_name(node, "The node")
        raise VolumeError(f"{name} is no segmentation but a {node.GetNodeTagName()}; choose a segmentation.")


def _attach(segmentation_node: Any, volume_node: Any, move: bool = True) -> None:
    """Ties a segmentation to a volume: grid, reference, transform (where it may move), display, hierarchy."""
    if move:
        segmentation_node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
    segmentation_node.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)
    segmentation_node.CreateDefaultDisplayNodes()
    place_beside(segmentation_node, volume_node)


def place_beside(node: Any, volume_node: Any) -> None:
    """Puts a node that has no place in the subject hierarchy yet into the volume's folder or study."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(volume_node.GetScene())
    if hierarchy is None:
        return
    item, beside = hierarchy.GetItemByDataNode(node), hierarchy.GetItemByDataNode(volume_node)
    if item and beside and hierarchy.GetItemParent(item) == hierarchy.GetSceneItemID():
        hierarchy.SetItemParent(item, hierarchy.GetItemParent(beside))


def _put(segmentation: Any, segment_id: str, item: ClassCard, layer: Any) -> str:
    """Gives a segment (a new one where the identifier is empty) its voxels, name, colour and terminology."""
    if segment_id:
        # Voxels left behind in a layer that others share would be nobody's, and would be saved.
        segmentation.ClearSegment(segment_id)
        segment = segmentation.GetSegment(segment_id)
    else:
        segment = slicer.vtkSegment()
        segment.SetName(_free_name(segmentation, item.name))
    segment.SetLabelValue(item.label)
    segment.SetColor(*(value / 255 for value in item.color))
    segment.SetNameAutoGenerated(False)
    segment.SetColorAutoGenerated(False)
    segment.SetTerminology(item.terminology.entry())
    segment.AddRepresentation(LABELMAP, layer)
    if not segment_id:
        # In scene files these characters part an identifier from what belongs to it.
        segment_id = segmentation.GenerateUniqueSegmentID(re.sub(r"[|~^]", "_", item.name))
        segmentation.AddSegment(segment, segment_id)
    return segment_id


def _layer(labels: Array, box: Region | None, classes: Sequence[ClassCard], ijk_to_local: Array) -> Any:
    """The layer that all segments of a label map share: the voxels of a box, None for none."""
    image = slicer.vtkOrientedImageData()
    image.SetImageToWorldMatrix(matrix_from_array(ijk_to_local))
    if box is None:
        image.SetExtent(0, -1, 0, -1, 0, -1)
        image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
        return image
    keep = np.zeros(256, np.uint8)
    for item in classes:
        keep[item.label] = item.label
    image.SetExtent([v for start, stop in zip(box.start, box.stop, strict=True) for v in (start, stop - 1)])
    image.GetPointData().SetScalars(numpy_to_vtk(keep[labels[box.slices]].ravel(), deep=True))
    return image


def _occupied(labels: Array) -> Region | None:
    """The smallest box of voxels with all labels in it; None where there is none."""
    in_plane = np.asarray(labels.any(axis=0))
    along = (in_plane.any(axis=0), in_plane.any(axis=1), labels.any(axis=(1, 2)))
    spans = [np.flatnonzero(found) for found in along]
    if not len(spans[0]):
        return None
    start, stop = ([int(span[place]) + step for span in spans] for place, step in ((0, 0), (-1, 1)))
    return Region((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def _free_name(segmentation: Any, name: str) -> str:
    """The name, with a number behind it where a segment has it already."""
    free, number = name, 1
    while segmentation.GetSegmentIdBySegmentName(free):
        number += 1
        free = f"{name} {number}"
    return free


def _check_labels(labels: Array, volume_node: Any, classes: Sequence[ClassCard]) -> None:
    shape = tuple(reversed(volume_node.GetImageData().GetDimensions()))
    if labels.shape != shape or labels.dtype != np.uint8:
        raise VolumeError(
            f"The label map for {node_name(volume_node, 'the volume')} has {labels.shape} voxels of {labels.dtype}; "
            f"it must have {shape} of uint8."
        )
    for names in ([item.name for item in classes], [item.label for item in classes]):
        if len(set(names)) != len(names):
            raise ValueError(f"names and labels of the classes must differ from each other, but are {names}")


def _check_fits(segmentation_node: Any, others: Sequence[str], volume_node: Any) -> None:
    """Raises VolumeError where segments on the volume's grid cannot live beside those that stay."""
    segmentation = segmentation_node.GetSegmentation()
    name = node_name(segmentation_node, "The segmentation")
    if segmentation.GetSourceRepresentationName() != LABELMAP:
        if segmentation.GetNumberOfSegments():
            raise VolumeError(
                f"{name} is made of {segmentation.GetSourceRepresentationName().lower()}s, not of label maps; "
                "choose a new segmentation for the output."
            )
        segmentation.SetSourceRepresentationName(LABELMAP)
    if not others:
        return
    local_to_volume = np.linalg.inv(first_voxel_to_ras(volume_node)) @ node_to_node(segmentation_node, volume_node)
    for segment_id in others:
        layer = segmentation.GetSegmentRepresentation(segment_id, LABELMAP)
        if layer is None or layer.IsEmpty():
            continue
        layer_to_volume = local_to_volume @ image_to_world(layer)
        if lattice_shift(layer_to_volume, layer.GetExtent()) is None:
            raise VolumeError(
                f"{name} has segments on another grid than {node_name(volume_node, 'the volume')}, "
                f"{segmentation.GetSegment(segment_id).GetName()} for one; choose a new segmentation for the output."
            )
