"""Pictures show the segments where anatomy has them: the patient's left on the right, superior and anterior above."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

slicer = pytest.importorskip("slicer")
pytest.importorskip("trame_slicer")
vtk = pytest.importorskip("vtk")
from vtk.util.numpy_support import vtk_to_numpy

from AHNetSegmentLib.scene.segments import add_segments, new_segmentation_node
from rendering import GAP_PIXELS, largest_cuts, render_3d, render_slices, segment_points
from scene_helpers import ijk_to_ras, two_classes, volume_node

PIXELS = 160


def two_balls(direction: np.ndarray) -> tuple[Any, Any]:
    """A scan with a red ball at its left, anterior, superior end and a blue one at the opposite end."""
    matrix = ijk_to_ras(direction, (1.0, 1.0, 2.0))
    ijk = np.indices((30, 40, 50))[::-1].reshape(3, -1).T
    ras = ijk @ matrix[:3, :3].T + matrix[:3, 3]
    middle = (ras.min(axis=0) + ras.max(axis=0)) / 2
    labels = np.zeros(len(ijk), np.uint8)
    labels[np.linalg.norm(ras - middle - (-10, 9, 11), axis=1) < 6] = 1
    labels[np.linalg.norm(ras - middle + (-10, 9, 11), axis=1) < 6] = 2
    labels = labels.reshape(30, 40, 50)
    volume = volume_node((np.where(labels, 90, 60) + np.indices(labels.shape)[2] % 3).astype(np.int16), matrix)
    node = new_segmentation_node(volume, "Balls")
    add_segments(node, labels, volume, two_classes())
    return volume, node


def read_picture(path: Path) -> np.ndarray:
    """(rows from above, columns, RGB)."""
    reader = vtk.vtkPNGReader()
    reader.SetFileName(str(path))
    reader.Update()
    width, height, _ = reader.GetOutput().GetDimensions()
    return vtk_to_numpy(reader.GetOutput().GetPointData().GetScalars()).reshape(height, width, -1)[::-1].astype(int)


def middle_of(picture: np.ndarray, color: int) -> tuple[float, float]:
    """Mean row and column of what is mostly of that colour (0 red, 2 blue), from 0 to 1."""
    other = picture[..., [channel for channel in range(3) if channel != color]].max(axis=-1)
    row, column = np.argwhere(picture[..., color] > other + 60).mean(axis=0)
    return row / picture.shape[0], column / picture.shape[1]


@pytest.mark.parametrize("direction", [np.eye(3), np.diag([-1.0, -1.0, 1.0]), np.eye(3)[:, [1, 2, 0]] * [1, -1, -1]])
def test_slices_show_the_left_at_the_right_and_anterior_or_superior_above(
    app: Any, scene: Any, tmp_path: Path, direction: np.ndarray
) -> None:
    volume, node = two_balls(direction)
    for item, at in enumerate(("red", "blue")):
        points = segment_points(node, volume)
        half = points[points[:, 0] < points[:, 0].mean()] if item == 0 else points[points[:, 0] > points[:, 0].mean()]
        path = tmp_path / f"{at}.png"
        render_slices(app, volume, node, path, center=half.mean(axis=0), context_mm=20, pixels=PIXELS)
        picture = read_picture(path)
        assert picture.shape == (PIXELS, 3 * PIXELS + 2 * GAP_PIXELS, 3)
        views = [picture[:, n * (PIXELS + GAP_PIXELS) :][:, :PIXELS] for n in range(3)]
        (axial_row, axial_column), (coronal_row, coronal_column), (sagittal_row, sagittal_column) = (
            middle_of(view, 2 * item) for view in views
        )
        left_anterior_superior = item == 0
        assert (axial_column > 0.5) == (coronal_column > 0.5) == left_anterior_superior
        assert (axial_row < 0.5) == left_anterior_superior
        assert (coronal_row < 0.5) == (sagittal_row < 0.5) == left_anterior_superior
        assert (sagittal_column < 0.5) == left_anterior_superior


def test_surfaces_are_shown_in_their_colours_from_the_front_and_the_left(app: Any, scene: Any, tmp_path: Path) -> None:
    volume, node = two_balls(np.diag([-1.0, -1.0, 1.0]))
    render_3d(app, node, tmp_path / "3d.png", volume_node=volume, pixels=(300, 200))
    picture = read_picture(tmp_path / "3d.png")
    assert picture.shape == (200, 300, 3)
    body = picture[:, 100:280]
    assert middle_of(body, 0)[1] > middle_of(body, 2)[1]


def test_the_cut_goes_where_most_voxels_are() -> None:
    points = np.array([[0.0, 5.0, -3.0]] * 4 + [[7.0, 5.0, -9.0]] * 9 + [[2.0, -1.0, 4.0]])
    assert largest_cuts(points) == pytest.approx([7.0, 5.0, -9.0], abs=0.5)
