"""What code sets in the panel calls no slot that is meant for a person, and nothing is read back from tool tips."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import driver

driver.require()

from scene_helpers import two_classes, two_labels, volume_node

PRODUCT = Path(__file__).parents[1] / "AHNetSegment"
MOST_CALLS = 20


class DirectoryButton:
    """Does what CTK's ``ctkDirectoryButton::setDirectory`` does: it tells at every set, also where nothing changes."""

    def __init__(self) -> None:
        self.enabled, self.toolTip = True, ""
        self.sets = 0
        self._folder, self._blocked = "", False
        self._slots: list[Callable[[str], None]] = []

    def connect(self, signal: str, slot: Callable[[str], None]) -> None:
        assert signal == "directorySelected(QString)"
        self._slots.append(slot)

    def blockSignals(self, blocked: bool) -> bool:
        before, self._blocked = self._blocked, blocked
        return before

    @property
    def directory(self) -> str:
        return self._folder

    @directory.setter
    def directory(self, folder: str) -> None:
        self.sets += 1
        assert self.sets < MOST_CALLS, "the slot sets the folder, which calls the slot"
        self._folder = folder
        if not self._blocked:
            for slot in self._slots:
                slot(folder)


@pytest.fixture
def manage(slicer: Any, qt: Any, tmp_path: Path) -> Any:
    """The section Manage models with that button; its folder is a new one."""
    from AHNetSegmentLib.engine.resources import resources_folder
    from AHNetSegmentLib.scene.library import SETTING
    from AHNetSegmentLib.scene.manage import ManageSection
    from AHNetSegmentLib.scene.models import ModelShelf

    qt.QSettings().setValue(SETTING, str(tmp_path / "first"))
    widget = slicer.util.loadUI(str(resources_folder() / "UI" / "ManageModels.ui"))
    ui = slicer.util.childWidgetVariables(widget)
    ui.libraryButton = DirectoryButton()
    worker = SimpleNamespace(state="off", cancel=lambda: None)
    told: list[str] = []
    found = ManageSection(ui, ModelShelf(), worker, lambda: "hippocampus-t1", told.append)
    yield SimpleNamespace(section=found, button=ui.libraryButton, worker=worker, told=told, ui=ui, keep=widget)
    found.close()
    qt.QSettings().remove(SETTING)


def test_the_folder_is_shown_without_choosing_it(manage: Any, tmp_path: Path) -> None:
    assert Path(manage.button.directory) == tmp_path / "first"
    assert manage.told == []


def test_a_person_s_choice_is_taken_once(manage: Any, tmp_path: Path) -> None:
    manage.button.directory = str(tmp_path / "second")
    assert manage.section.library.folder == tmp_path / "second"
    assert len(manage.told) == 1


def test_the_same_folder_again_changes_nothing(manage: Any, tmp_path: Path) -> None:
    manage.button.directory = str(tmp_path / "first")
    assert manage.told == []
    assert not (tmp_path / "first").exists()


def test_a_choice_that_is_refused_is_taken_back(manage: Any, tmp_path: Path) -> None:
    manage.worker.state = "busy"
    manage.button.directory = str(tmp_path / "second")
    assert manage.section.library.folder == tmp_path / "first"
    assert Path(manage.button.directory) == tmp_path / "first"
    assert manage.ui.manageStatusLabel.text == "Wait until the computation has ended, or cancel it."


def test_a_folder_that_cannot_be_used_is_taken_back(manage: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    manage.button.directory = str(tmp_path / "file")
    assert Path(manage.button.directory) == tmp_path / "first"
    assert [kind for kind, _text in driver.messages] == ["error"]
    driver.messages.clear()


SLOTS = (
    ("panel", "SegmentPanel", "_on_model_chosen"),
    ("panel", "SegmentPanel", "_on_segment_ticked"),
    ("manage", "ManageSection", "_on_folder_selected"),
    ("case_table", "CaseTable", "_on_item_changed"),
    ("case_table", "CaseTable", "_on_use_chosen"),
    ("structures", "StructureTable", "_choose"),
    ("training_form", "TrainForm", "_on_base_chosen"),
    ("training_form", "TrainForm", "_on_changed"),
)
"""What a person's changes call."""


@pytest.fixture
def slots(module: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the slots that were called."""
    from importlib import import_module

    called: list[str] = []

    def counted(name: str, original: Callable[..., None]) -> Callable[..., None]:
        def slot(self: Any, *values: Any) -> None:
            called.append(name)
            original(self, *values)

        return slot

    for place, cls, name in SLOTS:
        found = getattr(import_module(f"AHNetSegmentLib.scene.{place}"), cls)
        monkeypatch.setattr(found, name, counted(name, getattr(found, name)))
    return called


def test_what_code_sets_calls_no_slot_of_a_person(slots: list[str], widget: Any, pump: Any) -> None:
    from AHNetSegmentLib.scene.segments import add_segments, new_segmentation_node

    own, panel = widget.ownModels, widget.panel
    volume = volume_node(name="T1")
    labels = new_segmentation_node(volume, "labels")
    add_segments(labels, two_labels(), volume, two_classes(), closed_surface=False)
    widget._parameterNode.inputVolume = volume
    own.cases._on_add_all()
    pump(lambda: not own.cases._turn_soon.waits, 10)
    for name in list(widget.logic.shelf.cards()):
        widget.chooseModel(name)
    widget._parameterNode.leftOut = ["Liver"]
    panel.list_models()
    own.training.list_models()
    own.training.form.forget_title()
    own.training.form.suggest_title()
    own.training.form._guess_modality()
    own.training.form.remember_resnet()
    own.manage._show_folder()
    own.cases.set_base(None)
    pump(lambda: not own.cases._turn_soon.waits, 10)
    own.update()
    own.cases.clear()
    assert slots == []


def test_the_slots_of_that_test_are_called_when_a_person_changes_something(slots: list[str], widget: Any) -> None:
    widget.ui.modelSelector.currentIndex = 1
    import qt

    widget.ui.segmentList.item(0).setCheckState(qt.Qt.Unchecked)
    assert "_on_model_chosen" in slots
    assert "_on_segment_ticked" in slots


def test_nothing_is_read_back_from_a_tool_tip() -> None:
    """Slicer makes HTML of tool tips."""
    found = [
        f"{path.name}: {line.strip()}"
        for path in sorted(PRODUCT.rglob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"\.toolTip\b(?! = )|\.toolTip\(\)", line)
    ]
    assert found == []
