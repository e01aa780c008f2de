"""The panel fits into the window: Slicer never makes a module narrower than it wants to be, and has no scroll bar."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import driver

driver.require()

MOST_PX = 430
LONG = "Thorax and abdomen, portal venous phase, reconstructed with iterative kernel, series 12"
CLASSES = ("Left ventricular myocardium with papillary muscles", "Right ventricular blood pool and outflow tract")
SENTENCES = "\n".join(["The worker process ended unexpectedly (out of memory?); close other programs, try again."] * 4)


@pytest.fixture
def width(widget: Any, pump: Callable[..., bool]) -> Callable[[], int]:
    """How many pixels the panel needs now."""

    def needed() -> int:
        pump(lambda: False, 0.05)
        return int(widget.parent.sizeHint.width())

    return needed


@pytest.fixture
def open_all(widget: Any) -> Callable[[], list[Any]]:
    """Opens all sections, those in sections too."""
    import ctk

    def opened() -> list[Any]:
        sections = list(widget.parent.findChildren(ctk.ctkCollapsibleButton))
        for section in sections:
            section.collapsed = False
        return sections

    return opened


@pytest.fixture
def case(scene: Any) -> tuple[Any, Any]:
    """A volume and a segmentation of it, with long names."""
    import scene_helpers as helpers
    from AHNetSegmentLib.scene.segments import add_segments, new_segmentation_node

    volume = helpers.volume_node(name=LONG)
    node = new_segmentation_node(volume, f"{LONG}, corrected")
    add_segments(node, helpers.two_labels(), volume, helpers.two_classes(), closed_surface=False)
    for key, name in zip(node.GetSegmentation().GetSegmentIDs(), CLASSES, strict=True):
        node.GetSegmentation().GetSegment(key).SetName(name)
    return volume, node


@pytest.fixture
def widened(widget: Any, open_all: Any, pump: Callable[..., bool]) -> None:
    """All sections are open, and the panel was wide for a moment: Slicer lays it out before it is narrow."""
    open_all()
    widget.parent.resize(1200, 900)
    pump(lambda: False, 0.05)


def test_no_section_is_too_wide(width: Any, open_all: Any) -> None:
    assert width() <= MOST_PX
    for section in open_all():
        assert width() <= MOST_PX, section.text


def test_a_panel_that_was_wide_can_be_narrow_again(widened: None, width: Any) -> None:
    assert width() <= MOST_PX


def test_labelled_cases_do_not_widen_the_panel(
    widget: Any, widened: None, case: Any, width: Any, pump: Callable[..., bool]
) -> None:
    cases = widget.ownModels.cases.ui
    cases.addAllCasesButton.click()
    assert pump(lambda: cases.structuresTable.rowCount == len(CLASSES), 10)
    assert width() <= MOST_PX


@pytest.mark.parametrize("base", ["", "/resnet", "hippocampus-t1"])
def test_no_base_of_a_training_widens_the_panel(
    widget: Any, widened: None, case: Any, width: Any, pump: Callable[..., bool], base: str
) -> None:
    widget.ownModels.cases.ui.addAllCasesButton.click()
    selector = widget.ownModels.training.ui.baseSelector
    selector.currentIndex = selector.findData(base)
    assert selector.currentIndex >= 0
    assert pump(lambda: widget.ownModels.cases.ui.structuresTable.rowCount == len(CLASSES), 10)
    assert width() <= MOST_PX


def test_no_sentence_widens_the_panel(widget: Any, width: Any, open_all: Any) -> None:
    import qt

    open_all()
    labels = [label for label in widget.parent.findChildren(qt.QLabel) if label.wordWrap]
    for label in labels:
        label.text, label.visible = SENTENCES, True
    assert len(labels) > 5
    assert width() <= MOST_PX


def test_long_names_that_are_there_before_the_panel_do_not_widen_it(case: Any, width: Any, open_all: Any) -> None:
    open_all()
    assert width() <= MOST_PX


def test_a_long_path_of_the_last_time_does_not_widen_the_panel(
    app: Any, module: Any, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    import qt

    path = tmp_path / "/".join(["network weights of the last project"] * 6) / "resnet50.pth"
    qt.QSettings().setValue("ctkPathLineEdit/AHNetSegment/ResNetFile", [str(path)])
    widget = request.getfixturevalue("widget")
    request.getfixturevalue("open_all")()
    selector = widget.ownModels.training.ui.baseSelector
    selector.currentIndex = selector.findData("/resnet")
    assert request.getfixturevalue("width")() <= MOST_PX
    qt.QSettings().remove("ctkPathLineEdit/AHNetSegment/ResNetFile")
