"""Small nodes for tests of the scene, with voxels and places that no flip or swap of axes leaves as they are."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations, product
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk

from AHNetSegmentLib.engine.card import ClassCard, Code, Terminology
from AHNetSegmentLib.scene.transforms import matrix_from_array
from AHNetSegmentLib.scene.volumes import volume_from_node

SPACING = (0.7, 1.1, 3.0)
ORIGIN = (11.0, -23.0, 37.0)
SHAPE = (9, 14, 17)
"""(k, j, i)."""

OBLIQUE = np.array([[0.36, 0.48, -0.8], [-0.8, 0.6, 0.0], [0.48, 0.64, 0.6]])
"""A rotation without an axis of its own."""

HIPPOCAMPUS = Terminology(
    Code("SCT", "123037004", "Anatomical Structure"),
    Code("SCT", "5366008", "Hippocampus"),
    Code("SCT", "7771000", "Left"),
)


VIEWS = ("vtkMRMLAbstractViewNode", "vtkMRMLSliceCompositeNode", "vtkMRMLSliceDisplayNode", "vtkMRMLCameraNode")
"""Nodes that Slicer makes for the views of its layout, whenever it likes."""


def axis_orders() -> list[np.ndarray]:
    """The 48 ways in which three axes can be ordered and flipped, as 3x3 direction matrices."""
    return [
        np.eye(3)[:, list(order)] * np.array(signs)
        for order in permutations(range(3))
        for signs in product((1.0, -1.0), repeat=3)
    ]


def ijk_to_ras(direction: Any = OBLIQUE, spacing: Sequence[float] = SPACING) -> np.ndarray:
    """4x4 matrix of a grid with its first voxel at ``ORIGIN``."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.asarray(direction) * np.asarray(spacing)
    matrix[:3, 3] = ORIGIN
    return matrix


def volume_node(array: Any = None, matrix: Any = None, name: str = "T1", kind: str = "vtkMRMLScalarVolumeNode") -> Any:
    """A volume node with an array (k, j, i) or (k, j, i, components)."""
    array = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE) if array is None else np.asarray(array)
    image = vtk.vtkImageData()
    image.SetDimensions(*array.shape[2::-1])
    flat = array.reshape(-1, array.shape[3]) if array.ndim == 4 else array.ravel()
    image.GetPointData().SetScalars(numpy_to_vtk(flat, deep=True))
    node = slicer.mrmlScene.AddNewNodeByClass(kind, name)
    node.SetIJKToRASMatrix(matrix_from_array(ijk_to_ras() if matrix is None else matrix))
    node.SetAndObserveImageData(image)
    return node


def linear_transform(matrix: Any, *children: Any, name: str = "Shift") -> Any:
    """A linear transform node with nodes under it."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
    node.SetMatrixTransformToParent(matrix_from_array(matrix))
    for child in children:
        child.SetAndObserveTransformNodeID(node.GetID())
    return node


def warp(*children: Any) -> Any:
    """A thin-plate spline that is not linear, with nodes under it."""
    points = [vtk.vtkPoints(), vtk.vtkPoints()]
    for number, (x, y, z) in enumerate(product((0.0, 50.0), repeat=3)):
        points[0].InsertNextPoint(x, y, z)
        points[1].InsertNextPoint(x + number, y - number**2, z)
    spline = vtk.vtkThinPlateSplineTransform()
    spline.SetSourceLandmarks(points[0])
    spline.SetTargetLandmarks(points[1])
    spline.SetBasisToR()
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "Warp")
    node.SetAndObserveTransformToParent(spline)
    for child in children:
        child.SetAndObserveTransformNodeID(node.GetID())
    return node


def rotation_and_shift() -> np.ndarray:
    """4x4: a turn by 30 degrees around S, then a shift."""
    turn = np.deg2rad(30)
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    matrix[:3, 3] = (5.0, -7.0, 13.0)
    return matrix


def roi_node(center: Sequence[float], size: Sequence[float], axes: Any = None, name: str = "Box") -> Any:
    """A Markups ROI; the columns of ``axes`` are the RAS directions of its sides."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", name)
    matrix = np.eye(4)
    matrix[:3, :3] = np.eye(3) if axes is None else axes
    matrix[:3, 3] = center
    node.SetAndObserveObjectToNodeMatrix(matrix_from_array(matrix))
    node.SetSize(*size)
    return node


def two_classes() -> tuple[ClassCard, ClassCard]:
    """Anterior (1) and posterior (2) hippocampus."""
    return (
        ClassCard(1, "Anterior", (255, 0, 51), HIPPOCAMPUS),
        ClassCard(2, "Posterior", (0, 102, 255), HIPPOCAMPUS),
    )


def two_labels() -> np.ndarray:
    """uint8 (k, j, i) of ``SHAPE``: two bodies that touch and have no symmetry."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:7, 3:11, 4:9] = 1
    labels[2:5, 3:6, 9:14] = 2
    labels[6, 9:13, 9:12] = 2
    return labels


def voxel_bounds(volume: Any, labels: np.ndarray) -> np.ndarray:
    """World bounds of the voxels' centres of a mask: rows x, y, z in RAS, columns least and greatest."""
    ijk = np.argwhere(labels)[:, ::-1]
    to_lps = volume_from_node(volume).geometry.ijk_to_lps()
    ras = (ijk @ to_lps[:3, :3].T + to_lps[:3, 3]) * [-1, -1, 1]
    return np.column_stack([ras.min(axis=0), ras.max(axis=0)])


def surface_bounds(node: Any, segment_id: str) -> np.ndarray:
    """World bounds of a segment's surface, as :func:`voxel_bounds`."""
    surface = vtk.vtkPolyData()
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    assert logic.GetSegmentClosedSurfaceRepresentation(node, segment_id, surface, True)
    return np.array(surface.GetBounds()).reshape(3, 2)


def of_a_layout(node: Any) -> bool:
    """Whether a node is a plot view that Slicer's layouts have for themselves."""
    return node.IsA("vtkMRMLPlotViewNode") and str(node.GetLayoutName()).startswith("PlotView")


def contents(scene: Any) -> list[tuple[str, str]]:
    """(class, name) of all nodes but the application's own, hidden ones too."""
    nodes = [scene.GetNthNode(number) for number in range(scene.GetNumberOfNodes())]
    return sorted(
        (node.GetClassName(), node.GetName() or "") for node in nodes if not any(node.IsA(kind) for kind in VIEWS)
    )
