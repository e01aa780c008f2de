"""Volume nodes become engine volumes that lie where the scene shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import driver
from AHNetSegmentLib.engine.errors import VolumeError
from AHNetSegmentLib.engine.image_io import read_volume
from AHNetSegmentLib.engine.orientation import network_orientation
from AHNetSegmentLib.engine.volume import Volume

slicer = pytest.importorskip("slicer")
vtk = pytest.importorskip("vtk")
from AHNetSegmentLib.scene.volumes import volume_from_node
from scene_helpers import (
    OBLIQUE,
    SHAPE,
    axis_orders,
    ijk_to_ras,
    linear_transform,
    rotation_and_shift,
    volume_node,
    warp,
)

VOXELS = ((0, 0, 0), (16, 0, 0), (0, 13, 0), (0, 0, 8), (3, 11, 5))
"""(i, j, k)."""


def lps_of(volume: Volume, ijk: tuple[int, int, int]) -> np.ndarray:
    return (volume.geometry.ijk_to_lps() @ [*ijk, 1.0])[:3]


def shown_at(node: Any, ijk: tuple[int, int, int]) -> np.ndarray:
    """Where Slicer shows a voxel, LPS: by its own transform classes, not by ours."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    ras = matrix.MultiplyPoint([*ijk, 1.0])[:3]
    transform = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(node.GetParentTransformNode(), None, transform)
    world = transform.TransformPoint(ras)
    return np.array([-world[0], -world[1], world[2]])


def test_every_axis_order_and_flip_keeps_each_voxel_at_its_place(scene: Any) -> None:
    for direction in [*axis_orders(), OBLIQUE, OBLIQUE[:, [2, 0, 1]] * [-1, 1, 1]]:
        matrix = ijk_to_ras(direction)
        node = volume_node(matrix=matrix)
        volume = volume_from_node(node)
        assert volume.geometry.size == (17, 14, 9)
        assert np.allclose(volume.geometry.spacing, (0.7, 1.1, 3.0))
        for ijk in VOXELS:
            ras = (matrix @ [*ijk, 1.0])[:3]
            assert np.allclose(lps_of(volume, ijk), ras * [-1, -1, 1])
            assert np.allclose(lps_of(volume, ijk), shown_at(node, ijk))
        scene.RemoveNode(node)


def test_an_array_index_is_the_voxel_that_slicer_shows_there(scene: Any) -> None:
    node = volume_node()
    volume = volume_from_node(node)
    for i, j, k in VOXELS:
        assert volume.array[k, j, i] == node.GetImageData().GetScalarComponentAsDouble(i, j, k, 0)
    assert volume.array.dtype == np.int16
    assert volume.name == "T1"


def test_the_array_is_a_view_that_cannot_be_written_to(scene: Any) -> None:
    node = volume_node()
    volume = volume_from_node(node)
    node.GetImageData().SetScalarComponentFromDouble(3, 2, 1, 0, -99)
    assert volume.array[1, 2, 3] == -99
    with pytest.raises(ValueError, match="read-only"):
        volume.array[0, 0, 0] = 1


def test_the_geometry_under_transforms_is_that_of_the_world(scene: Any) -> None:
    node = volume_node()
    inner = linear_transform(rotation_and_shift(), node)
    linear_transform(np.diag([1.0, 1.0, 2.0, 1.0]), inner, name="Stretch")
    volume = volume_from_node(node)
    for ijk in VOXELS:
        assert np.allclose(lps_of(volume, ijk), shown_at(node, ijk))
    assert volume.geometry.voxel_ml == pytest.approx(0.7 * 1.1 * 3.0 * 2 / 1000)


def test_a_stretching_transform_changes_spacing_and_slice_axis(scene: Any) -> None:
    node = volume_node(matrix=ijk_to_ras(np.eye(3)))
    linear_transform(np.diag([10.0, 1.0, 1.0, 1.0]), node)
    volume = volume_from_node(node)
    assert np.allclose(volume.geometry.spacing, (7.0, 1.1, 3.0))
    assert network_orientation(volume.geometry, "any").axes[0] == 2


def test_an_image_whose_extent_does_not_start_at_zero_keeps_its_place(scene: Any) -> None:
    node = volume_node()
    before = lps_of(volume_from_node(node), (3, 4, 5))
    node.GetImageData().SetExtent(2, 18, 3, 16, 4, 12)
    assert np.allclose(lps_of(volume_from_node(node), (1, 1, 1)), before)


def test_one_slice_is_a_volume(scene: Any) -> None:
    assert volume_from_node(volume_node(np.ones((1, 4, 5)))).geometry.size == (5, 4, 1)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: None, "No volume is selected; choose"),
        (lambda: volume_node(np.zeros((3, 4, 5, 3), np.uint8), name="Photo"), "Photo has 3 values per voxel"),
        (
            lambda: volume_node(np.zeros((3, 4, 5, 3)), name="Flow", kind="vtkMRMLVectorVolumeNode"),
            "Flow has 3 values per voxel",
        ),
        (
            lambda: volume_node(np.zeros((3, 4, 5)), name="Mask", kind="vtkMRMLLabelMapVolumeNode"),
            "Mask is a label map; choose the scan",
        ),
        (
            lambda: slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Void"),
            "Void is empty; choose a volume that holds image data",
        ),
        (
            lambda: slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", "Skull"),
            "Skull is no volume but a Model; choose a scalar volume",
        ),
        (lambda: volume_node(matrix=np.diag([1.0, 0.0, 1.0, 1.0]), name="Flat"), "Flat has a spacing of"),
    ],
)
def test_a_node_that_is_no_scan_is_refused_by_name(scene: Any, make: Any, says: str) -> None:
    with pytest.raises(VolumeError) as raised:
        volume_from_node(make())
    assert str(raised.value).startswith(says)


def test_a_volume_under_a_transform_that_is_not_linear_is_refused(scene: Any) -> None:
    node = volume_node()
    inner = linear_transform(rotation_and_shift(), node)
    warp(inner)
    with pytest.raises(VolumeError, match=r"^T1 is under the non-linear transform .*; harden the transform"):
        volume_from_node(node)


def test_a_transform_that_squeezes_flat_is_refused(scene: Any) -> None:
    node = volume_node()
    linear_transform(np.diag([1.0, 1.0, 0.0, 1.0]), node)
    with pytest.raises(VolumeError, match="^T1 has a singular direction matrix"):
        volume_from_node(node)


@pytest.mark.parametrize("image", ["prostate-t2/image.nii.gz", "prostate-t2/dicom", "brain-tumour-mr/image.nrrd"])
def test_a_scan_read_by_slicer_lies_where_the_engine_reads_it(scene: Any, shared_data: Path, image: str) -> None:
    """Slicer mirrors the slices of a left-handed scan when it reads it: their order differs, no place does."""
    path = shared_data / "single" / image
    node = driver.load_volume(sorted(path.iterdir()) if path.is_dir() else [path])
    volume, expected = volume_from_node(node), read_volume(path)
    to_expected = np.linalg.solve(expected.geometry.ijk_to_lps(), volume.geometry.ijk_to_lps())
    ijk = np.array([*np.ndindex(volume.geometry.size)], np.int32)[::7]
    exact = ijk @ to_expected[:3, :3].T + to_expected[:3, 3]
    there = np.round(exact).astype(int)
    assert np.abs(exact - there).max() < 1e-3
    assert np.array_equal(volume.array[tuple(ijk[:, ::-1].T)], expected.array[tuple(there[:, ::-1].T)])


def test_the_shape_of_the_helpers_has_no_two_equal_axes() -> None:
    assert len(set(SHAPE)) == 3
