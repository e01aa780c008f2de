"""From labelled cases to a model of one's own and back, in the real panel with real processes and real clicks."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
import pytest

import driver

driver.require()

from panel_helpers import tip
from scene_helpers import volume_node

BASE = "hippocampus-t1"
SHAPE = (16, 24, 20)
"""(k, j, i)."""
SECONDS = 180
TITLE = "My hippocampus"
NAME = "my-hippocampus"
PICTURES = os.environ.get("AHNET_PICTURES", "")
"""Folder for pictures of the panel; empty: none are made."""


@pytest.fixture
def library(scene: Any, module: Any, tmp_path: Path) -> Iterator[Path]:
    """An empty library of its own; that of the host's settings is restored."""
    import qt

    from AHNetSegmentLib.scene.library import SETTING, set_library_folder

    before = qt.QSettings().value(SETTING)
    driver.errors.clear()
    yield set_library_folder(tmp_path / "Modelle, 脑")
    if before:
        qt.QSettings().setValue(SETTING, before)
    else:
        qt.QSettings().remove(SETTING)
    assert not driver.errors
    assert not driver.answers


@pytest.fixture
def cases(library: Path, scene: Any) -> list[tuple[Any, Any]]:
    return [a_case(name, number) for number, name in enumerate(("Anna", "Bert"))]


@pytest.fixture
def panel(cases: list[tuple[Any, Any]], widget: Any) -> Panel:
    return Panel(widget)


def a_case(name: str, seed: int) -> tuple[Any, Any]:
    """A small volume with two bodies, and their segments."""
    from AHNetSegmentLib.scene.models import ModelShelf
    from AHNetSegmentLib.scene.segments import add_segments, new_segmentation_node

    rng = np.random.default_rng(seed)
    shift = rng.integers(-2, 3, 3)
    labels = np.zeros(SHAPE, np.uint8)
    for label, corner in ((1, (5, 4, 6)), (2, (5, 12, 6))):
        start = np.add(corner, shift)
        labels[tuple(slice(first, first + size) for first, size in zip(start, (6, 8, 7), strict=True))] = label
    matrix = np.eye(4) * [1.0, 1.0, 1.2, 1.0]
    voxels = (100 + 80.0 * labels + rng.normal(0, 8, SHAPE)).astype(np.int16)
    volume = volume_node(voxels, matrix, name=name)
    segmentation = new_segmentation_node(volume, f"{name} segments")
    add_segments(segmentation, labels, volume, ModelShelf().cards()[BASE].classes, closed_surface=False)
    return volume, segmentation


def begin_with(base: str, folder: Path) -> None:
    """An unfinished training."""
    folder.mkdir(parents=True)
    job = {"title": "Other", "base": base, "pretrained": False, "classes": [], "cases": []}
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")


class Panel:
    """The module's widget, and what a person does with it."""

    def __init__(self, widget: Any) -> None:
        self.widget, self.own, self.ui = widget, widget.ownModels, widget.ui
        self.train, self.evaluate = self.own.training, self.own.evaluation
        self.cases, self.manage = self.own.cases, self.own.manage
        self.make_room()

    def make_room(self) -> None:
        """Nothing lies outside of the window, where no click would reach it."""
        self.widget.parent.resize(420, 2800)

    @property
    def parameters(self) -> Any:
        return self.widget.logic.getParameterNode()

    def wait(self, until: Callable[[], bool]) -> None:
        said = (self.train.ui.trainStatusLabel, self.ui.statusLabel, self.evaluate.ui.evaluateStatusLabel)
        assert driver.pump(until, SECONDS), ([label.text for label in said], self.own.trainer.log, driver.messages)

    def open_training(self, steps: int) -> None:
        """Opens the section, adds all pairs, and names the new model; a training of some seconds is chosen."""
        self.own.section.collapsed = False
        self.train.ui.trainSettingsSection.collapsed = False
        assert driver.click(self.cases.ui.addAllCasesButton)
        self.wait(lambda: not self.cases.problems())
        self.train.ui.stepsSpinBox.value = steps
        self.train.ui.batchSpinBox.value = 1
        self.train.ui.newTitleEdit.text = TITLE

    def click_train(self) -> None:
        """A click that is no half of a double click."""
        driver.pump(timeout_s=0.6)
        assert driver.click(self.train.ui.trainButton), self.train.ui.trainButton.toolTip

    def start_training(self, points: int = 1) -> None:
        """Clicks on Start and waits until the curve has so many points."""
        self.click_train()
        assert self.train.busy, self.train.ui.trainStatusLabel.text
        self.wait(lambda: len(self.losses()) >= points)

    def losses(self) -> list[float]:
        """The steps of the loss curve."""
        tables = self.train.view.curves.tables
        if tables is None:
            return []
        values = tables[0].GetTable().GetColumnByName("step")
        return [values.GetValue(row) for row in range(values.GetNumberOfValues())]

    def listed(self) -> list[str]:
        selector = self.ui.modelSelector
        return [selector.itemText(number) for number in range(selector.count)]

    def segment(self, volume: Any) -> np.ndarray:
        """Clicks on Segment; the labels (k, j, i) of a new segmentation."""
        from AHNetSegmentLib.scene.labels import labels_from_segments

        self.parameters.inputVolume = volume
        self.parameters.outputSegmentation = None
        driver.pump(timeout_s=0.6)
        # Volumes so small are nothing that the model knows.
        driver.answers.append(True)
        assert driver.click(self.ui.segmentButton), self.ui.segmentButton.toolTip
        driver.answers.clear()
        assert self.widget.panel.busy, self.ui.statusLabel.text
        self.wait(lambda: not self.widget.panel.busy)
        found = self.parameters.outputSegmentation
        assert found is not None, self.ui.statusLabel.text
        return np.asarray(labels_from_segments(found, volume))

    def picture(self, name: str) -> None:
        if PICTURES:
            driver.grab(self.widget.parent, Path(PICTURES) / f"whole-{name}.png", 420)
            self.make_room()


def traces(library: Path) -> list[str]:
    """Files of the library whose bytes or names hold the name of a node."""
    files = [path for path in library.rglob("*") if path.is_file()]
    assert files
    content = [(path.name.encode() + path.read_bytes(), str(path)) for path in files]
    return [path for held, path in content if any(word in held for word in (b"Anna", b"Bert"))]


def test_the_whole_path(panel: Panel, cases: list[tuple[Any, Any]], library: Path, tmp_path: Path) -> None:
    panel.picture("0-opened")
    chosen = panel.parameters.model
    panel.open_training(steps=40)
    panel.picture("1-before")
    panel.start_training(points=2)
    panel.picture("2-during")
    begun = len(panel.losses())
    panel.wait(lambda: len(panel.losses()) > begun)
    panel.click_train()
    panel.wait(lambda: not panel.train.busy)
    assert panel.train.ui.trainStatusLabel.text == "Stopped. Continue goes on from what was saved last."
    panel.picture("3-stopped")
    before = panel.losses()
    assert before[-1] < 40
    assert not traces(library)
    assert driver.click(panel.train.ui.continueButton)
    panel.wait(lambda: not panel.train.busy)
    assert f"{TITLE} is in the list of models" in panel.train.ui.trainStatusLabel.text
    assert panel.losses()[: len(before)] == before, "the curve is whole"
    assert panel.losses()[-1] == 40
    assert not list((library / ".training").iterdir())
    panel.picture("4-after")
    assert not traces(library)

    assert panel.parameters.model == chosen, "hours may have passed since Start"
    assert panel.ui.modelSelector.currentData == chosen
    assert panel.listed().count(TITLE) == 1
    assert driver.choose(panel.ui.modelSelector, TITLE)
    assert panel.parameters.model == NAME
    labels = panel.segment(cases[0][0])
    assert set(np.unique(labels)) <= {0, 1, 2}
    assert labels.any()

    panel.wait(lambda: bool(panel.evaluate.ui.evaluateButton.enabled))
    assert driver.click(panel.evaluate.ui.evaluateButton)
    panel.wait(lambda: not panel.evaluate.busy)
    assert f"{TITLE}: mean Dice" in panel.evaluate.ui.evaluateStatusLabel.text, driver.messages
    assert panel.evaluate.ui.evaluationTable.rowCount == 2 * (1 + len(cases))
    panel.picture("5-evaluated")

    panel.manage.ui.exportButton.parentWidget().collapsed = False
    driver.answers.append(tmp_path / "mine.zip")
    assert driver.click(panel.manage.ui.exportButton)
    assert (tmp_path / "mine.zip").is_file()
    begin_with(NAME, library / ".training" / "other")
    assert driver.click(panel.manage.ui.deleteButton)
    assert "unfinished training Other begins with" in panel.manage.ui.manageStatusLabel.text
    rmtree(library / ".training" / "other")
    driver.answers.append(True)
    assert driver.click(panel.manage.ui.deleteButton)
    assert f"Delete the model {TITLE}" in driver.messages[-1][1]
    assert TITLE not in panel.listed()
    assert panel.parameters.model != NAME
    assert not (library / NAME).exists()
    driver.answers.append(tmp_path / "mine.zip")
    assert driver.click(panel.manage.ui.importButton)
    panel.wait(lambda: not panel.manage.importing)
    assert panel.parameters.model == NAME, panel.manage.ui.manageStatusLabel.text
    assert TITLE in panel.listed()
    panel.picture("6-managed")
    assert np.array_equal(panel.segment(cases[0][0]), labels)
    assert not [text for kind, text in driver.messages if kind == "error"]


def test_volumes_are_segmented_while_a_training_goes_on(panel: Panel, cases: list[tuple[Any, Any]]) -> None:
    panel.parameters.model = BASE
    panel.open_training(steps=10_000)
    assert panel.manage.ui.libraryButton.enabled
    panel.start_training()
    before = len(panel.losses())
    panel.segment(cases[1][0])
    assert panel.train.busy
    assert panel.widget.worker.pid != panel.own.trainer.pid
    panel.wait(lambda: len(panel.losses()) > before)
    folder = panel.manage.library.folder
    for button in (panel.manage.ui.libraryButton, panel.manage.ui.defaultLibraryButton):
        assert not button.enabled
        assert tip(button) == "Wait until the training has ended, or stop it."
    panel.manage.ui.libraryButton.directorySelected.emit(str(folder.parent / "elsewhere"))
    assert panel.manage.library.folder == folder
    assert Path(panel.manage.ui.libraryButton.directory) == folder
    panel.click_train()
    panel.wait(lambda: not panel.train.busy)
    assert panel.manage.ui.libraryButton.enabled


def test_a_training_outlives_the_scene(panel: Panel, scene: Any, library: Path) -> None:
    panel.open_training(steps=15)
    panel.start_training()
    scene.Clear(False)
    assert panel.train.busy
    panel.wait(lambda: not panel.train.busy)
    assert f"{TITLE} is in the list of models" in panel.train.ui.trainStatusLabel.text
    assert TITLE in panel.listed()
    assert panel.parameters.model != NAME
    assert (library / NAME / "weights.pt").is_file()
    assert panel.losses()[-1] == 15


def test_a_training_that_ends_with_the_module_is_offered_again(
    cases: list[tuple[Any, Any]], module: Any, library: Path
) -> None:
    from AHNetSegmentLib.scene import worker_process

    driver.messages.clear()
    panel = Panel(driver.create_widget())
    panel.open_training(steps=10_000)
    panel.start_training()
    driver.close_widget(panel.widget)
    again = Panel(driver.create_widget())
    try:
        again.own.section.collapsed = False
        assert again.train.ui.unfinishedSelector.currentText == f"Unfinished: {TITLE} (2 cases)"
        assert driver.click(again.train.ui.continueButton)
        again.wait(lambda: bool(again.losses()))
        again.click_train()
        again.wait(lambda: not again.train.busy)
        assert again.train.ui.trainStatusLabel.text.startswith("Stopped.")
        driver.answers.append(True)
        assert driver.click(again.train.ui.discardButton)
        assert not list((library / ".training").iterdir())
    finally:
        driver.close_widget(again.widget)
        assert driver.pump(lambda: not worker_process._running, 5)
