"""Warnings about volume and region follow what a person does to them and to the transforms above them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import driver

driver.require()

from scene_helpers import linear_transform, volume_node
from scene_helpers import roi_node as new_roi

SECONDS = 10
SIZE = (150, 160, 140)
FITS, LARGE = (36.0, 48.0, 36.0), (120.0, 120.0, 120.0)


def head() -> Any:
    """A volume of a whole head, which the model of the hippocampus has to be shown a region of."""
    voxels = np.random.default_rng(0).integers(1, 90, SIZE[::-1]).astype(np.int16)
    return volume_node(voxels, np.eye(4), name="Head")


def box(size: tuple[float, ...], name: str = "Box") -> Any:
    return new_roi([mm / 2 for mm in SIZE], size, name=name)


@pytest.fixture
def said(widget: Any) -> Callable[[], str]:
    parameters = widget._parameterNode
    parameters.model = "hippocampus-t1"
    parameters.inputVolume = head()
    return lambda: str(widget.ui.doubtsLabel.text)


@pytest.fixture
def parameters(said: Callable[[], str], widget: Any) -> Any:
    return widget._parameterNode


def warned(said: Callable[[], str], text: str) -> None:
    """Waits until the warning says something; empty: until there is none."""
    assert driver.pump(lambda: text in said() and bool(said()) == bool(text), SECONDS), said()


def test_a_whole_head_is_warned_of(said: Callable[[], str]) -> None:
    warned(said, "draw a region of interest")


def test_a_new_region_that_gets_its_size_later(said: Callable[[], str], parameters: Any, widget: Any) -> None:
    import slicer

    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "R")
    parameters.roi = roi
    warned(said, "")
    widget.panel._on_roi_added(roi)
    warned(said, "make the region of interest smaller")


def test_a_region_that_is_resized_and_moved(said: Callable[[], str], parameters: Any) -> None:
    roi = box(FITS)
    parameters.roi = roi
    warned(said, "")
    roi.SetSize(LARGE)
    warned(said, "make the region of interest smaller")
    roi.SetSize(FITS)
    warned(said, "")
    roi.SetCenterWorld((SIZE[0] / 2, SIZE[1] / 2, -10.0))
    warned(said, "check that it shows what the model segments")


def test_a_region_that_gets_a_transform_which_is_moved_and_removed(
    said: Callable[[], str], parameters: Any, scene: Any
) -> None:
    roi = box(FITS)
    parameters.roi = roi
    warned(said, "")
    centre = np.array(SIZE) / 2
    larger = np.diag([4.0, 4.0, 4.0, 1.0])
    larger[:3, 3] = -3 * centre
    transform = linear_transform(larger, roi)
    warned(said, "make the region of interest smaller")
    transform.SetMatrixTransformToParent(None)
    warned(said, "")
    from AHNetSegmentLib.scene.transforms import matrix_from_array

    transform.SetMatrixTransformToParent(matrix_from_array(larger))
    warned(said, "make the region of interest smaller")
    scene.RemoveNode(transform)
    warned(said, "")


def test_a_transform_above_the_transform(said: Callable[[], str], parameters: Any) -> None:
    roi = box(FITS)
    parameters.roi = roi
    inner = linear_transform(np.eye(4), roi)
    warned(said, "")
    larger = np.diag([4.0, 4.0, 4.0, 1.0])
    larger[:3, 3] = -1.5 * np.array(SIZE)
    linear_transform(larger, inner)
    warned(said, "make the region of interest smaller")


def test_a_volume_under_a_transform(said: Callable[[], str], parameters: Any) -> None:
    warned(said, "draw a region of interest")
    transform = linear_transform(np.diag([0.25, 0.25, 0.25, 1.0]), parameters.inputVolume)
    assert driver.pump(lambda: "knows" not in said() or "draw" not in said(), SECONDS), said()
    transform.SetMatrixTransformToParent(None)
    warned(said, "draw a region of interest")


def test_a_volume_that_gets_other_voxels(said: Callable[[], str], parameters: Any) -> None:
    from vtk.util.numpy_support import vtk_to_numpy

    roi = box(FITS)
    parameters.roi = roi
    warned(said, "")
    node = parameters.inputVolume
    scalars = node.GetImageData().GetPointData().GetScalars()
    vtk_to_numpy(scalars)[:] -= 1000
    scalars.Modified()
    node.GetImageData().Modified()
    assert driver.pump(lambda: bool(said()), SECONDS)


def test_a_region_that_is_removed_is_the_whole_volume_again(
    said: Callable[[], str], parameters: Any, scene: Any
) -> None:
    roi = box(FITS)
    parameters.roi = roi
    warned(said, "")
    scene.RemoveNode(roi)
    warned(said, "draw a region of interest")


def test_a_volume_that_is_removed_is_not_warned_of(said: Callable[[], str], parameters: Any, scene: Any) -> None:
    warned(said, "draw a region of interest")
    scene.RemoveNode(parameters.inputVolume)
    warned(said, "")


def test_another_region_is_heard_and_the_one_before_no_more(
    said: Callable[[], str], parameters: Any, widget: Any
) -> None:
    first, second = box(FITS, "First"), box(FITS, "Second")
    parameters.roi = first
    parameters.roi = second
    warned(said, "")
    widget.panel._judge_soon.stop()
    first.SetSize(LARGE)
    assert not widget.panel._judge_soon.waits
    second.SetSize(LARGE)
    assert widget.panel._judge_soon.waits
    warned(said, "make the region of interest smaller")


def test_what_was_accepted_counts_for_no_volume_of_another_scene(widget: Any, scene: Any) -> None:
    for _ in range(2):
        parameters = widget._parameterNode
        parameters.model, parameters.inputVolume = "hippocampus-t1", head()
        assert parameters.inputVolume.GetID() == "vtkMRMLScalarVolumeNode1"
        driver.answers.append(True)
        widget.ui.segmentButton.click()
        assert widget.panel.busy, widget.ui.statusLabel.text
        assert not driver.answers, "it did not ask"
        scene.Clear(False)
        assert not widget.panel.busy
        widget.initializeParameterNode()


def test_after_the_scene_was_closed_nothing_is_heard(widget: Any, said: Callable[[], str], scene: Any) -> None:
    node = widget._parameterNode.inputVolume
    scene.Clear(False)
    node.Modified()
    assert not widget.panel._judge_soon.waits
    assert said() == ""
