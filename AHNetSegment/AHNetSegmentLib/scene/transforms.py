"""Where nodes are: VTK's matrices and parent transforms as arrays. RAS in mm, as Slicer has it, unless LPS is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import vtk

from ..engine.errors import VolumeError
from ..engine.volume import Array

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""4x4; also LPS to RAS."""

SAME_LATTICE_VOXELS = 0.01
"""Grids whose voxels coincide within this many voxels are one lattice: the rounding of headers stays below it."""


def array_from_matrix(matrix: Any) -> Array:
    """A ``vtkMatrix4x4`` as 4x4 array."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def matrix_from_array(array: Array) -> Any:
    """A 4x4 array as ``vtkMatrix4x4``."""
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy([float(value) for value in np.asarray(array).ravel()])
    return matrix


def image_to_world(image: Any) -> Array:
    """4x4 matrix from voxel indices (i, j, k) of a ``vtkOrientedImageData`` to the coordinates that it lies in."""
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    return array_from_matrix(matrix)


def node_name(node: Any, otherwise: str) -> str:
    """What messages call a node: its name, or ``otherwise`` where it has none."""
    return str((node.GetName() if node is not None else None) or otherwise)


def node_to_world(node: Any) -> Array:
    """4x4 matrix from the coordinates of a node to world RAS, through all its parent transforms.

    Raises:
        VolumeError: one of the transforms is not linear.
    """
    parent = node.GetParentTransformNode()
    if parent is None:
        return np.eye(4)
    if not parent.IsTransformToWorldLinear():
        raise VolumeError(
            f"{node_name(node, 'The node')} is under the non-linear transform {node_name(parent, '(unnamed)')}; "
            "harden the transform, or take the node out of it."
        )
    matrix = vtk.vtkMatrix4x4()
    parent.GetMatrixTransformToWorld(matrix)
    return array_from_matrix(matrix)


def node_to_node(source: Any, target: Any) -> Array:
    """4x4 matrix from the coordinates of one node to those of another.

    Under one and the same transform it is the identity, even where that transform is not linear.

    Raises:
        VolumeError: a transform between them is not linear, or the target's squeezes space flat.
    """
    if source.GetTransformNodeID() == target.GetTransformNodeID():
        return np.eye(4)
    to_world, target_to_world = node_to_world(source), node_to_world(target)
    try:
        return np.asarray(np.linalg.solve(target_to_world, to_world))
    except np.linalg.LinAlgError as error:
        raise VolumeError(
            f"{node_name(target, 'The node')} is under a transform that cannot be inverted; "
            "correct the transform, or take the node out of it."
        ) from error


def lattice_shift(inner_to_outer: Array, extent: tuple[int, ...]) -> tuple[int, int, int] | None:
    """By how many voxels two grids are shifted, or None where their voxels do not coincide.

    Args:
        inner_to_outer: 4x4 from the voxel indices (i, j, k) of one grid to those of the other.
        extent: first and last index along i, j and k of the part of the first grid that matters.

    Returns:
        What is to be added to an index (i, j, k).
    """
    first = np.array(extent[0::2], float)
    last = np.array(extent[1::2], float)
    corners = np.array([[*np.where(pick, last, first), 1.0] for pick in np.ndindex(2, 2, 2)]).T
    offsets = (inner_to_outer @ corners - corners)[:3]
    shift = np.round(offsets.mean(axis=1))
    if not np.isfinite(offsets).all() or np.abs(offsets - shift[:, None]).max() > SAME_LATTICE_VOXELS:
        return None
    return (int(shift[0]), int(shift[1]), int(shift[2]))
