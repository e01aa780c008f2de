"""CTK's widgets behave as CTK's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("PySide6", reason="needs PySide6")
pytest.importorskip("trame_slicer", reason="needs slicer-core and trame-slicer")

import host

pytest_plugins = ["host.fixtures"]


def test_a_collapsible_button_hides_and_shows_what_is_in_it(ctk: Any, qt: Any) -> None:
    window, button, inside, never = qt.QWidget(), ctk.ctkCollapsibleButton(), qt.QLabel("CT"), qt.QLabel("hidden")
    layout = qt.QVBoxLayout(window)
    layout.addWidget(button)
    form = qt.QVBoxLayout(button)
    form.addWidget(inside)
    form.addWidget(never)
    never.hide()
    button.text = "Advanced"
    heard: list[bool] = []
    button.contentsCollapsed.connect(heard.append)
    window.show()
    assert inside.visible
    tall = window.sizeHint.height()
    assert host.click(button)
    assert (button.collapsed, button.checked, inside.visible) == (True, False, False)
    assert window.sizeHint.height() < tall
    late = qt.QLabel("late", button)
    host.pump()
    assert not late.visible
    button.collapsed = False
    assert (inside.visible, never.visible) == (True, False)
    assert heard == [True, False]


def test_a_slider_and_its_spin_box_show_one_value(ctk: Any, qt: Any) -> None:
    slider = ctk.ctkSliderWidget()
    slider.maximum = 10.0
    slider.decimals = 1
    slider.singleStep = 0.1
    heard: list[float] = []
    slider.valueChanged.connect(heard.append)
    slider.value = 2.5
    slider.value = 2.5
    assert (slider.value, slider.minimum, slider.maximum) == (2.5, 0.0, 10.0)
    slider.findChild(qt.QSlider).setValue(10_000)
    assert slider.value == 10.0
    slider.value = 99
    slider.reset()
    assert heard == [2.5, 10.0, 0.0]
    slider.spinBoxVisible = False
    assert not slider.spinBoxVisible


def test_a_spin_box_of_floats_announces_number_and_text(ctk: Any) -> None:
    box = ctk.ctkDoubleSpinBox()
    heard: list[Any] = []
    box.connect("valueChanged(double)", heard.append)
    box.connect("valueChanged(QString)", heard.append)
    box.suffix = " mm"
    box.setDecimals(1)
    box.value = 1.25
    assert heard == [box.value, box.cleanText + " mm"]
    box.stepUp()
    assert box.value == pytest.approx(heard[0] + 1)


def test_a_combo_box_shows_a_text_for_no_choice(ctk: Any) -> None:
    box = ctk.ctkComboBox()
    box.defaultText = "Select a model"
    box.addItem("Liver", "liver-ct")
    box.addItem("Kidney", "kidney-ct")
    assert (box.currentText, box.currentUserDataAsString) == ("Liver", "liver-ct")
    box.currentUserDataAsString = "kidney-ct"
    assert (box.currentIndex, box.currentData) == (1, "kidney-ct")
    box.setCurrentIndex(-1)
    assert box.currentUserDataAsString == ""


def test_entries_can_be_checked(ctk: Any, qt: Any) -> None:
    box = ctk.ctkCheckableComboBox()
    box.addItems(["Liver", "Kidney"])
    heard: list[int] = []
    box.checkedIndexesChanged.connect(lambda: heard.append(len(box.checkedIndexes())))
    box.setCheckState(box.checkableModel().index(1, 0), qt.Qt.Checked)
    assert [index.data() for index in box.checkedIndexes()] == ["Kidney"]
    assert (box.allChecked(), box.noneChecked(), heard) == (False, False, [1])


def test_a_path_is_kept_announced_and_remembered(ctk: Any, tmp_path: Path) -> None:
    line, other = ctk.ctkPathLineEdit(), ctk.ctkPathLineEdit()
    line.filters = ctk.ctkPathLineEdit.Dirs | ctk.ctkPathLineEdit.Readable
    for edit in (line, other):
        edit.settingKey = "AHNetSegmentTest"
    heard: list[Any] = []
    line.currentPathChanged.connect(heard.append)
    line.validInputChanged.connect(heard.append)
    line.currentPath = str(tmp_path)
    assert heard == [str(tmp_path), True]
    line.addCurrentPathToHistory()
    other.retrieveHistory()
    assert other.comboBox().itemText(0) == str(tmp_path)
    host.answers.append(tmp_path / "there")
    line.browse()
    assert line.currentPath == str(tmp_path / "there")


def test_a_folder_is_chosen(ctk: Any, qt: Any, tmp_path: Path) -> None:
    button = ctk.ctkDirectoryButton()
    heard: list[str] = []
    button.directoryChanged.connect(heard.append)
    button.directory = str(tmp_path)
    host.answers.append(tmp_path / "there")
    host.click(button.findChild(qt.QPushButton))
    assert heard == [str(tmp_path), str(tmp_path / "there")]
    assert button.directory == str(tmp_path / "there")


def test_a_property_can_be_asked_for_by_name(ctk: Any) -> None:
    button = ctk.ctkCollapsibleButton()
    assert button.setProperty("collapsed", True)
    assert button.property("collapsed") is True
    button.setProperty("SlicerParameterName", "model")
    assert button.property("SlicerParameterName") == "model"


def test_text_is_drawn(ctk: Any, qt: Any, tmp_path: Path) -> None:
    pictures = []
    for text in ("", "Hippocampus"):
        label = qt.QLabel(text)
        label.setFixedSize(160, 24)
        path = host.grab(label, tmp_path / f"label{text}.png")
        image = qt.QImage(str(path))
        pictures.append({image.pixel(x, y) for x in range(image.width()) for y in range(image.height())})
        label.hide()
    assert len(pictures[0]) == 1
    assert len(pictures[1]) > 10
    from host.fonts import FAMILY, font_files

    assert qt.QApplication.font().family() == FAMILY
    assert [path.name for path in font_files()][:1] == ["DejaVuSans-Bold.ttf"]


def test_a_panel_of_all_widgets_can_be_looked_at(ctk: Any, qt: Any, slicer: Any, tmp_path: Path) -> None:
    panel = slicer.qMRMLWidget()
    layout = qt.QFormLayout(panel)
    for cls in (
        slicer.qMRMLNodeComboBox,
        slicer.qMRMLPlotWidget,
        ctk.ctkSliderWidget,
        ctk.ctkDoubleSpinBox,
        ctk.ctkComboBox,
        ctk.ctkCheckableComboBox,
        ctk.ctkPathLineEdit,
        ctk.ctkDirectoryButton,
    ):
        layout.addRow(cls.__name__, cls())
    path = host.grab(panel, tmp_path / "all.png", width=480)
    image = qt.QImage(str(path))
    assert image.width() == 480
    assert image.height() > 200
    panel.hide()
