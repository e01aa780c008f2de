"""What the module's own test checks, inside Slicer and elsewhere."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk

from .labels import labels_from_segments
from .transforms import matrix_from_array

MODEL = "hippocampus-t1"
SECONDS = 120


def example_volume(name: str = "Example") -> Any:
    """A small volume node with a bright, bent body, oblique and without symmetry: the model finds something in it."""
    rng = np.random.default_rng(0)
    k, j, i = np.mgrid[:40, :50, :36].astype(np.float32)
    body = ((k - 20) / 5) ** 2 + ((j - 24) / 16) ** 2 + ((i - 17 - 0.02 * (j - 24) ** 2) / 6) ** 2
    beyond = ((k - 20) / 18) ** 2 + ((j - 24) / 24) ** 2 + ((i - 17) / 17) ** 2 > 0.8
    voxels = 100 + 200 * np.exp(-body / 2) + 300 * beyond + rng.normal(0, 8, body.shape)
    image = vtk.vtkImageData()
    image.SetDimensions(36, 50, 40)
    image.GetPointData().SetScalars(numpy_to_vtk(voxels.astype(np.int16).ravel(), deep=True))
    ijk_to_ras = np.eye(4)
    ijk_to_ras[:3, :3] = np.array([[0.96, -0.28, 0.0], [0.28, 0.96, 0.0], [0.0, 0.0, 1.0]]) * [1.0, 1.0, 1.1]
    ijk_to_ras[:3, 3] = (11.0, -23.0, 37.0)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    node.SetIJKToRASMatrix(matrix_from_array(ijk_to_ras))
    node.SetAndObserveImageData(image)
    node.CreateDefaultDisplayNodes()
    return node


def check_console(logic: Any) -> None:
    """The console gives named segments with terminology on the volume's grid."""
    volume_node = example_volume()
    segmentation_node = logic.segment(volume_node, model=MODEL, device="cpu")
    card = logic.shelf.cards()[MODEL]
    segmentation = segmentation_node.GetSegmentation()
    segments = [segmentation.GetSegment(key) for key in segmentation.GetSegmentIDs()]
    assert [segment.GetName() for segment in segments] == [item.name for item in card.classes]
    assert [segment.GetTerminology() for segment in segments] == [c.terminology.entry() for c in card.classes]
    assert labels_from_segments(segmentation_node, volume_node).any()


def check_panel(widget: Any, logic: Any) -> None:
    """A click on Segment in the panel gives the labels that the console gives."""
    volume_node = example_volume()
    parameters = widget.logic.getParameterNode()
    parameters.model = MODEL
    parameters.roi = None
    parameters.outputSegmentation = None
    parameters.inputVolume = volume_node
    assert widget.ui.segmentButton.enabled, widget.ui.statusLabel.text
    widget.ui.segmentButton.click()
    assert widget.panel.busy, widget.ui.statusLabel.text
    end = time.monotonic() + SECONDS
    while widget.panel.busy and time.monotonic() < end:
        slicer.app.processEvents()
        time.sleep(0.005)
    found = parameters.outputSegmentation
    assert found is not None, widget.ui.statusLabel.text
    expected = logic.segment(volume_node, model=MODEL)
    assert np.array_equal(labels_from_segments(found, volume_node), labels_from_segments(expected, volume_node))
