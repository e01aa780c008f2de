"""Every section of the panel can be seen: a picture of each, into ``AHNET_PICTURES`` if that names a folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import driver

driver.require()

SECONDS = 120
WIDTH = 430
"""The panel of Slicer's window is so wide when Slicer is new, and cannot be scrolled sidewards."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(os.environ.get("AHNET_PICTURES") or tmp_path)


@pytest.fixture
def opened(widget: Any) -> dict[str, Any]:
    """The sections by their names, all open, with a result in one and cases in another."""
    from AHNetSegmentLib.scene.selftest import example_volume

    parameters = widget.logic.getParameterNode()
    parameters.model = "hippocampus-t1"
    parameters.inputVolume = example_volume("T1 of a head with a name that is long enough for a narrow panel")
    driver.click(widget.ui.segmentButton)
    assert driver.pump(lambda: not widget.panel.busy, SECONDS)
    assert parameters.outputSegmentation is not None, widget.ui.statusLabel.text
    own = widget.ownModels
    sections = {
        "input": widget.ui.inputSection,
        "model": widget.ui.modelSection,
        "advanced": widget.ui.advancedSection,
        "result": widget.ui.resultSection,
        "manage": own.manage.ui.exportButton.parentWidget(),
        "train-and-evaluate": own.section,
    }
    for section in sections.values():
        section.collapsed = False
    assert driver.click(own.cases.ui.addAllCasesButton)
    assert driver.pump(lambda: not own.cases.problems(), SECONDS)
    return sections | {
        "cases": own.cases.ui.casesTable.parentWidget(),
        "train": own.training.ui.trainButton.parentWidget(),
        "evaluate": own.evaluation.ui.evaluateButton.parentWidget(),
    }


def test_every_section_is_seen_and_fits_into_slicer_s_panel(opened: dict[str, Any], widget: Any, folder: Path) -> None:
    driver.grab(widget.parent, folder / "panel.png", WIDTH)  # a window without a panel to scroll in grows
    sizes = {}
    for name, section in opened.items():
        path = driver.grab(section, folder / f"{name}.png")
        assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        sizes[name] = (section.width, section.height, section.minimumSizeHint.width())
    assert all(width > 100 and height > 30 for width, height, _ in sizes.values()), sizes
    assert all(least <= WIDTH for _, _, least in sizes.values()), sizes
    assert widget.parent.minimumSizeHint.width() <= WIDTH
