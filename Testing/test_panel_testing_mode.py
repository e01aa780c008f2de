"""With ``--testing`` Slicer's questions answer themselves: what asks says what became of it, and nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import driver

driver.require()

from scene_helpers import two_classes, two_labels, volume_node


@pytest.fixture
def testing(widget: Any) -> Iterator[Any]:
    """The panel in a Slicer that is tested; nobody may be asked."""
    with driver.testing_mode():
        yield widget
    assert [text for kind, text in driver.messages if kind == "question"] == []


def head(name: str = "Head") -> Any:
    """A volume that looks unlike what the model knows."""
    return volume_node(np.random.default_rng(0).integers(1, 90, (140, 150, 160)).astype(np.int16), np.eye(4), name=name)


def test_what_looks_unlike_the_model_is_segmented_without_asking(testing: Any) -> None:
    parameters = testing._parameterNode
    parameters.model, parameters.inputVolume = "hippocampus-t1", head()
    assert "knows" in testing.ui.doubtsLabel.text
    testing.ui.segmentButton.click()
    assert testing.panel.busy, testing.ui.statusLabel.text
    testing.panel.close()


@pytest.fixture
def segmented(widget: Any) -> Any:
    """A volume, and a segmentation that already has a segment which the model finds."""
    from AHNetSegmentLib.scene.segments import add_segments, new_segmentation_node
    from AHNetSegmentLib.scene.selftest import example_volume

    volume = example_volume()
    output = new_segmentation_node(volume, "Mine")
    card = widget.logic.shelf.cards()["hippocampus-t1"]
    labels = np.zeros(tuple(reversed(volume.GetImageData().GetDimensions())), np.uint8)
    labels[10:20, 10:20, 10:20] = 1
    add_segments(output, labels, volume, card.classes[:1], closed_surface=False)
    parameters = widget._parameterNode
    parameters.model, parameters.inputVolume, parameters.outputSegmentation = "hippocampus-t1", volume, output
    return output


def check_kept(widget: Any, output: Any) -> None:
    assert not widget.panel.busy
    name = widget.logic.shelf.cards()["hippocampus-t1"].classes[0].name
    assert widget.ui.statusLabel.text == (
        f"Not started: {name} of Mine are kept. Choose another segmentation for the output."
    )
    assert output.GetSegmentation().GetNumberOfSegments() == 1


def test_segments_are_not_replaced_and_that_is_said(testing: Any, segmented: Any) -> None:
    testing.ui.segmentButton.click()
    check_kept(testing, segmented)


def test_a_person_who_says_no_reads_the_same(widget: Any, segmented: Any) -> None:
    driver.answers.append(False)
    widget.ui.segmentButton.click()
    check_kept(widget, segmented)


def test_a_person_who_does_not_want_the_volume_reads_that_nothing_was_started(widget: Any) -> None:
    parameters = widget._parameterNode
    parameters.model, parameters.inputVolume = "hippocampus-t1", head()
    driver.answers.append(False)
    widget.ui.segmentButton.click()
    assert not widget.panel.busy
    assert widget.ui.statusLabel.text == "Not started; choose another model or volume."


def test_pytorch_is_not_installed_and_that_is_said(testing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from AHNetSegmentLib.scene import evaluating, installation, manage, panel, training
    from AHNetSegmentLib.scene.selftest import example_volume

    def nothing_is_installed() -> Any:
        raise AssertionError("nobody has agreed")

    monkeypatch.setattr(installation, "_pytorch_utils", nothing_is_installed)
    for module in (panel, training, evaluating, manage):
        monkeypatch.setattr(module, "torch_problem", lambda: "PyTorch is missing.")
    parameters = testing._parameterNode
    parameters.model, parameters.inputVolume = "hippocampus-t1", example_volume()
    testing.ui.segmentButton.click()
    assert not testing.panel.busy
    assert testing.ui.statusLabel.text == "PyTorch is missing."
    testing.ownModels.manage.on_import_button()
    assert testing.ownModels.manage.ui.manageStatusLabel.text == "PyTorch is missing."
    assert not testing.ownModels.training._may_compute()
    assert testing.ownModels.training.ui.trainStatusLabel.text == "PyTorch is missing."


def test_an_evaluation_without_pytorch_says_so(testing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from AHNetSegmentLib.scene import evaluating
    from AHNetSegmentLib.scene.segments import add_segments, new_segmentation_node

    monkeypatch.setattr(evaluating, "torch_problem", lambda: "PyTorch is missing.")
    card = testing.logic.shelf.cards()["hippocampus-t1"]
    volume = volume_node()
    labels = new_segmentation_node(volume, "labels")
    add_segments(labels, two_labels(), volume, card.classes[: len(two_classes())], closed_surface=False)
    testing.chooseModel("hippocampus-t1")
    testing.ownModels.cases._on_add_all()
    section = testing.ownModels.evaluation
    assert driver.pump(lambda: bool(section.ui.evaluateButton.enabled), 20), section.ui.evaluateStatusLabel.text
    section.on_button()
    assert not section.busy
    assert section.ui.evaluateStatusLabel.text == "PyTorch is missing."


def test_nothing_is_discarded_or_deleted(testing: Any, tmp_path: Path) -> None:
    from AHNetSegmentLib.scene.questions import accepted, agreed

    assert not agreed("Delete it?")
    assert not accepted("Install it?")
