"""The panel, with real clicks on real Qt widgets and the real worker process."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import driver

driver.require()

from panel_helpers import tip
from scene_helpers import contents

SECONDS = 120


@pytest.fixture
def volume_node(scene: Any) -> Any:
    from AHNetSegmentLib.scene.selftest import example_volume

    return example_volume()


def start(widget: Any) -> None:
    """Clicks on Segment; the run must begin."""
    driver.click(widget.ui.segmentButton)
    assert widget.panel.busy, (widget.ui.statusLabel.text, driver.messages)


def finish(widget: Any) -> None:
    assert driver.pump(lambda: not widget.panel.busy, SECONDS)


def choose(widget: Any, volume_node: Any) -> Any:
    """The parameter node with this volume and the small model."""
    parameters = widget.logic.getParameterNode()
    parameters.model = "hippocampus-t1"
    parameters.inputVolume = volume_node
    return parameters


def test_a_click_gives_the_console_s_segments(widget: Any, volume_node: Any) -> None:
    from AHNetSegmentLib.scene.labels import labels_from_segments

    parameters = choose(widget, volume_node)
    with driver.event_loop_gaps() as gaps:
        start(widget)
        finish(widget)
    node = parameters.outputSegmentation
    assert node is not None, widget.ui.statusLabel.text
    segmentation = node.GetSegmentation()
    card = widget.panel.card
    segments = [segmentation.GetSegment(key) for key in segmentation.GetSegmentIDs()]
    assert [segment.GetName() for segment in segments] == [item.name for item in card.classes]
    assert [segment.GetTerminology() for segment in segments] == [item.terminology.entry() for item in card.classes]
    assert [tuple(round(255 * v) for v in s.GetColor()) for s in segments] == [item.color for item in card.classes]
    expected = widget.logic.segment(volume_node, model="hippocampus-t1")
    labels = [labels_from_segments(n, volume_node) for n in (node, expected)]
    assert labels[0].any()
    assert np.array_equal(*labels)
    assert gaps.largest_ms < 1000  # a figure for the bench; here only: the loop did turn
    assert "Done in" in widget.ui.statusLabel.text
    assert widget.ui.volumeTable.rowCount == 2


def test_cancel_leaves_the_scene_and_the_worker_usable(widget: Any, volume_node: Any, scene: Any) -> None:
    choose(widget, volume_node)
    before = contents(scene)
    start(widget)
    driver.pump(lambda: widget.worker.pid is not None, SECONDS)
    driver.pump(lambda: False, 0.6)
    assert widget.panel.busy
    driver.click(widget.ui.segmentButton)
    assert driver.pump(lambda: not widget.panel.busy, 1)
    assert contents(scene) == before
    assert "Cancelled" in widget.ui.statusLabel.text
    start(widget)
    finish(widget)
    assert widget.logic.getParameterNode().outputSegmentation is not None


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_a_killed_worker_is_a_message_and_the_next_click_works(widget: Any, volume_node: Any, scene: Any) -> None:
    choose(widget, volume_node)
    before = contents(scene)
    start(widget)
    driver.pump(lambda: widget.worker.pid is not None, SECONDS)
    os.kill(widget.worker.pid, signal.SIGKILL)
    finish(widget)
    assert [kind for kind, _ in driver.messages] == ["error"]
    assert "ended unexpectedly" in widget.ui.statusLabel.text
    assert contents(scene) == before
    start(widget)
    finish(widget)
    assert widget.logic.getParameterNode().outputSegmentation is not None


def test_closing_the_scene_in_the_middle_breaks_nothing(widget: Any, volume_node: Any, scene: Any) -> None:
    from AHNetSegmentLib.scene.selftest import example_volume

    choose(widget, volume_node)
    start(widget)
    driver.pump(lambda: widget.worker.state == "busy", SECONDS)
    scene.Clear(False)
    assert not widget.panel.busy
    driver.pump(lambda: False, 0.3)
    assert scene.GetFirstNodeByClass("vtkMRMLSegmentationNode") is None
    assert not driver.messages
    choose(widget, example_volume("Second"))
    start(widget)
    finish(widget)
    assert scene.GetFirstNodeByClass("vtkMRMLSegmentationNode") is not None


def test_models_can_be_managed_again_when_a_run_has_ended(widget: Any, volume_node: Any) -> None:
    choose(widget, volume_node)
    start(widget)
    assert driver.pump(lambda: widget.worker.state == "busy", SECONDS)
    button = widget.ownModels.manage.ui.importButton
    widget.ownModels.update()
    assert tip(button) == "Wait until the computation has ended, or cancel it."
    driver.pump(timeout_s=0.6)  # no double click
    assert driver.click(widget.ui.segmentButton)
    finish(widget)
    assert "Cancelled" in widget.ui.statusLabel.text
    assert button.enabled


def test_a_double_click_is_one_click(widget: Any, volume_node: Any) -> None:
    choose(widget, volume_node)
    start(widget)
    driver.click(widget.ui.segmentButton)
    finish(widget)
    assert widget.logic.getParameterNode().outputSegmentation is not None


def test_segments_of_the_same_name_are_replaced_only_after_asking(widget: Any, volume_node: Any) -> None:
    parameters = choose(widget, volume_node)
    start(widget)
    finish(widget)
    node = parameters.outputSegmentation
    segmentation = node.GetSegmentation()
    segmentation.AddEmptySegment("mine", "Mine")
    driver.answers.append(False)
    driver.click(widget.ui.segmentButton)
    assert not widget.panel.busy
    assert [kind for kind, _ in driver.messages] == ["question"]
    assert "Hippocampus, anterior" in driver.messages[0][1]
    driver.answers.append(True)
    start(widget)
    finish(widget)
    names = [segmentation.GetSegment(key).GetName() for key in segmentation.GetSegmentIDs()]
    assert names == ["Hippocampus, anterior", "Hippocampus, posterior", "Mine"]


def test_segments_can_be_left_out(widget: Any, volume_node: Any) -> None:
    parameters = choose(widget, volume_node)
    widget.ui.segmentList.item(0).setCheckState(qt_unchecked())
    assert parameters.leftOut == ["Hippocampus, anterior"]
    assert "1 of 2" in widget.ui.segmentsSection.text
    start(widget)
    finish(widget)
    segmentation = parameters.outputSegmentation.GetSegmentation()
    names = [segmentation.GetSegment(key).GetName() for key in segmentation.GetSegmentIDs()]
    assert names == ["Hippocampus, posterior"]
    widget.ui.segmentsSection.collapsed = False
    driver.click(widget.ui.noSegmentsButton)
    assert not widget.ui.segmentButton.enabled
    assert "Tick at least one" in widget.ui.segmentButton.toolTip


def qt_unchecked() -> Any:
    import qt

    return qt.Qt.Unchecked


def test_a_region_of_interest_limits_what_changes(widget: Any, volume_node: Any, scene: Any) -> None:
    from AHNetSegmentLib.scene.labels import labels_from_segments
    from AHNetSegmentLib.scene.segmenting import scan_from_nodes

    parameters = choose(widget, volume_node)
    start(widget)
    finish(widget)
    before = labels_from_segments(parameters.outputSegmentation, volume_node)
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "R")
    widget.panel._on_roi_added(roi)
    parameters.roi = roi
    scan = scan_from_nodes(volume_node, roi)
    inside = np.zeros(before.shape, bool)
    inside[scan.region.slices] = True if scan.mask is None else scan.mask
    assert 0 < inside.sum() < inside.size / 4
    driver.answers.append(True)
    start(widget)
    finish(widget)
    after = labels_from_segments(parameters.outputSegmentation, volume_node)
    assert np.array_equal(after[~inside], before[~inside])
    assert not np.array_equal(after[inside], before[inside])


def test_the_button_says_why_it_is_disabled(widget: Any) -> None:
    assert not widget.ui.segmentButton.enabled
    assert tip(widget.ui.segmentButton) == "Select the volume to segment first."
    assert widget.ui.statusLabel.text == tip(widget.ui.segmentButton)


def test_what_looks_unlike_the_model_is_said_and_asked_once(widget: Any, scene: Any) -> None:
    from scene_helpers import volume_node as plain_volume

    hounsfield = np.random.default_rng(0).normal(-300, 400, (30, 120, 130)).clip(-1000, 1500).astype(np.int16)
    choose(widget, plain_volume(hounsfield, name="Abdomen"))
    assert widget.ui.doubtsLabel.text.startswith("⚠ Abdomen")
    driver.answers.append(False)
    driver.click(widget.ui.segmentButton)
    assert not widget.panel.busy
    assert "Segment all the same?" in driver.messages[-1][1]


def bad_inputs(scene: Any) -> dict[str, tuple[Any, str]]:
    """Nodes that cannot be segmented, and what the sentence says of each."""
    from scene_helpers import volume_node as plain_volume

    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Nothing")
    colour = plain_volume(np.zeros((5, 6, 7, 3), np.uint8), name="Photo", kind="vtkMRMLVectorVolumeNode")
    labels = plain_volume(np.zeros((5, 6, 7), np.uint8), name="Labels", kind="vtkMRMLLabelMapVolumeNode")
    return {"empty": (empty, "Nothing is empty"), "colour": (colour, "3 values per voxel"),
            "labels": (labels, "Labels is a label map")}  # fmt: skip


@pytest.mark.parametrize("kind", ["empty", "colour", "labels"])
def test_bad_volumes_get_one_sentence(widget: Any, scene: Any, kind: str) -> None:
    from AHNetSegmentLib.engine.errors import VolumeError

    node, said = bad_inputs(scene)[kind]
    choose(widget, node)
    before = contents(scene)
    driver.click(widget.ui.segmentButton)
    assert not widget.panel.busy
    assert said in widget.ui.statusLabel.text
    assert driver.messages == [("error", widget.ui.statusLabel.text)]
    with pytest.raises(VolumeError, match=said):
        widget.logic.segment(node, model="hippocampus-t1")
    assert contents(scene) == before


def test_a_sequence_is_no_volume(widget: Any, scene: Any) -> None:
    from AHNetSegmentLib.engine.errors import VolumeError

    node = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "Heart beat")
    if node is None:
        pytest.skip("slicer-core has no sequences")
    with pytest.raises(VolumeError, match="Heart beat is no volume but a Sequence"):
        widget.logic.segment(node, model="hippocampus-t1")


def test_a_region_beside_the_volume(widget: Any, volume_node: Any, scene: Any) -> None:
    parameters = choose(widget, volume_node)
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "R")
    roi.SetCenterWorld([900, 900, 900])
    roi.SetSizeWorld([10, 10, 10])
    parameters.roi = roi
    driver.click(widget.ui.segmentButton)
    assert widget.ui.statusLabel.text == "R lies outside the volume; move it over the part to be segmented."


def test_an_output_on_another_grid_is_refused_before_anything_is_computed(
    widget: Any, volume_node: Any, scene: Any
) -> None:
    from AHNetSegmentLib.scene.segments import add_segments, new_segmentation_node
    from scene_helpers import volume_node as plain_volume

    other = plain_volume(name="Other")
    output = new_segmentation_node(other, "Taken")
    labels = np.ones(other.GetImageData().GetDimensions()[::-1], np.uint8)
    parameters = choose(widget, volume_node)
    item = widget.panel.card.classes[0]
    from dataclasses import replace

    add_segments(output, labels, other, [replace(item, name="Stays")], closed_surface=False)
    parameters.outputSegmentation = output
    driver.click(widget.ui.segmentButton)
    assert not widget.panel.busy
    assert "Taken has segments on another grid than Example" in widget.ui.statusLabel.text


def test_a_model_that_is_gone(widget: Any, volume_node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    choose(widget, volume_node)
    monkeypatch.setattr(widget.logic.shelf, "folder", gone)
    driver.click(widget.ui.segmentButton)
    assert not widget.panel.busy
    assert "There is no model" in widget.ui.statusLabel.text


def gone(name: Any) -> Path:
    from AHNetSegmentLib.engine.package import find_model

    return find_model(f"no-{name}")


def test_a_temporary_folder_that_cannot_be_written(
    widget: Any, volume_node: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from AHNetSegmentLib.scene import exchange

    choose(widget, volume_node)
    monkeypatch.setattr(exchange, "temporary_folder", lambda: tmp_path / "there is none")
    driver.click(widget.ui.segmentButton)
    assert not widget.panel.busy
    assert "could not be written" in widget.ui.statusLabel.text


def test_what_was_chosen_is_saved_with_the_scene(widget: Any, volume_node: Any, scene: Any, tmp_path: Path) -> None:
    parameters = choose(widget, volume_node)
    parameters.smoothing = 1.5
    parameters.leftOut = ["Hippocampus, posterior"]
    parameters.pieces = type(parameters.pieces).ALL
    folder = tmp_path / "Größe und Ähnliches, 脑"
    folder.mkdir()
    path = folder / "scene one.mrml"
    scene.SetURL(str(path))
    scene.Commit()
    scene.Clear(False)
    assert widget.logic.getParameterNode().smoothing == 0
    scene.SetURL(str(path))
    scene.Connect()
    loaded = widget.logic.getParameterNode()
    assert (loaded.smoothing, loaded.leftOut, loaded.pieces.value) == (1.5, ["Hippocampus, posterior"], "all")
    assert loaded.model == "hippocampus-t1"
    assert loaded.inputVolume.GetName() == "Example"


def test_without_pytorch_the_panel_offers_to_install_it(
    widget: Any, volume_node: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from AHNetSegmentLib.scene import installation

    there = [False]
    find = installation.find_spec
    monkeypatch.setattr(installation, "find_spec", lambda name: find(name) if name != "torch" or there[0] else None)
    choose(widget, volume_node)
    driver.answers.append(False)
    driver.click(widget.ui.segmentButton)
    assert not widget.panel.busy
    assert "Install PyTorch?" in driver.messages[-1][1]

    driver.answers.append(True)
    driver.click(widget.ui.segmentButton)
    assert "The PyTorch extension is missing" in widget.ui.statusLabel.text

    class Utils:
        class PyTorchUtilsLogic:
            def installTorch(self, askConfirmation: bool, torchVersionRequirement: str) -> None:  # noqa: N803
                assert "2.9" in torchVersionRequirement
                there[0] = True

    monkeypatch.setattr(installation, "_pytorch_utils", lambda: Utils)
    driver.answers.append(True)
    start(widget)
    finish(widget)
    assert widget.logic.getParameterNode().outputSegmentation is not None


def test_probabilities_and_the_table(widget: Any, volume_node: Any, scene: Any) -> None:
    parameters = choose(widget, volume_node)
    parameters.probabilities = True
    start(widget)
    finish(widget)
    found = [scene.GetNthNodeByClass(n, "vtkMRMLScalarVolumeNode").GetName()
             for n in range(scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode"))]  # fmt: skip
    assert found == [
        "Example",
        "Example Hippocampus, anterior probability",
        "Example Hippocampus, posterior probability",
    ]
    rows = widget.panel.results.rows().splitlines()
    assert rows[0] == "Segment	Volume (mL)"
    assert [row.split("	")[0] for row in rows[1:]] == ["Hippocampus, anterior", "Hippocampus, posterior"]
    assert float(rows[1].split("	")[1]) > 1


def test_the_page_about_a_model_says_what_its_card_says(widget: Any) -> None:
    from dataclasses import replace

    from AHNetSegmentLib.engine.card import read_card
    from AHNetSegmentLib.engine.package import find_model
    from AHNetSegmentLib.scene.model_texts import about_page

    card = read_card(find_model("hippocampus-t1") / "model.json")
    assert "Known failures" not in about_page(replace(card, known_failures=""))
    page = about_page(
        replace(card, known_failures="Lost in <whole> heads.", figures={**card.figures, "seconds_per_volume": 0.1234})
    )
    assert "<b>Known failures:</b> Lost in &lt;whole&gt; heads." in page
    assert "0.123 s a volume" in page
    assert card.data_licence in page
    planes = {"axial": "axial", "coronal": "coronal", "sagittal": "sagittal", "": "not stated"}
    for plane, text in {**planes, "any": "any: the scan&#x27;s own slices"}.items():
        told = about_page(replace(card, plane=plane, test_time_mirroring=False))
        assert f"<b>Plane</b>&nbsp;</td><td>{text}<" in told
    parameters = widget.logic.getParameterNode()
    parameters.model = "hippocampus-t1"
    assert card.description[:40] in widget.ui.aboutBrowser.plainText
