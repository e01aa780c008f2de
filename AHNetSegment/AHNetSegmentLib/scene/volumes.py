"""Volume nodes of the scene as volumes of the engine."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from ..engine.errors import VolumeError
from ..engine.volume import Array, Geometry, Volume, check_geometry
from .transforms import RAS_TO_LPS, array_from_matrix, node_name, node_to_world


def volume_from_node(node: Any) -> Volume:
    """The volume that a ``vtkMRMLScalarVolumeNode`` shows, where it lies in the world.

    The array is not copied: it is a read-only view of the node's voxels, and holds what they hold now and later. Copy
    it to keep it. The geometry is that of the world: index to RAS, then the parent transforms, then LPS; a transform
    that shears or mirrors is in it too.

    Args:
        node: any orientation, under any chain of linear transforms.

    Returns:
        Array (k, j, i) and geometry in LPS, mm.

    Raises:
        VolumeError: no node, no scalar volume, a label map, no image data, several values per voxel, a parent
            transform that is not linear, or a singular geometry.
    """
    check_volume_node(node)
    image = node.GetImageData()
    i, j, k = image.GetDimensions()
    array = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(k, j, i)
    array.flags.writeable = False
    ijk_to_world = node_to_world(node) @ first_voxel_to_ras(node)
    geometry = Geometry.from_matrix(RAS_TO_LPS @ ijk_to_world, (i, j, k))
    volume = Volume(array, geometry, node_name(node, "The volume"), dicom_modality(node) or "")
    check_geometry(volume.geometry, volume.name)
    return volume


def dicom_modality(volume_node: Any) -> str | None:
    """The modality that the subject hierarchy knows of a volume or its series, ``CT`` for example; None: unknown."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(volume_node.GetScene())
    item = hierarchy.GetItemByDataNode(volume_node) if hierarchy is not None else 0
    if not item:
        return None
    attribute = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMSeriesModalityAttributeName()
    return hierarchy.GetItemAttribute(item, attribute) or None


def check_volume_node(node: Any) -> None:
    """Raises VolumeError unless the node is a volume with image data and one value per voxel, and no label map."""
    if node is None:
        raise VolumeError("No volume is selected; choose the volume to be segmented.")
    name = node_name(node, "The volume")
    if not node.IsA("vtkMRMLScalarVolumeNode"):
        raise VolumeError(f"{name} is no volume but a {node.GetNodeTagName()}; choose a scalar volume.")
    if node.IsA("vtkMRMLLabelMapVolumeNode"):
        raise VolumeError(f"{name} is a label map; choose the scan that it belongs to.")
    image = node.GetImageData()
    if image is None or 0 in image.GetDimensions() or image.GetPointData().GetScalars() is None:
        raise VolumeError(f"{name} is empty; choose a volume that holds image data.")
    components = image.GetNumberOfScalarComponents()
    if components != 1:
        raise VolumeError(
            f"{name} has {components} values per voxel (a colour or vector image); "
            "choose a volume with one value per voxel."
        )


def first_voxel_to_ras(node: Any) -> Array:
    """4x4 matrix from array indices (i, j, k) to the node's own RAS, before parent transforms.

    It differs from the node's index to RAS matrix where the image's extent does not start at zero.
    """
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    shift = np.eye(4)
    shift[:3, 3] = node.GetImageData().GetExtent()[0::2]
    return array_from_matrix(matrix) @ shift
