"""CTK's widgets do what CTK's sources say: signals of sets by a program, size hints, what is hidden and shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("PySide6", reason="needs PySide6")
pytest.importorskip("trame_slicer", reason="needs slicer-core and trame-slicer")

import host

pytest_plugins = ["host.fixtures"]

LONG = "Thorax and abdomen, portal venous phase, reconstructed with an iterative kernel"


@pytest.fixture
def heard() -> list[Any]:
    return []


@pytest.fixture
def button(ctk: Any, heard: list[Any]) -> Any:
    """A folder button whose signals are heard."""
    found = ctk.ctkDirectoryButton()
    found.directorySelected.connect(lambda folder: heard.append(("selected", folder)))
    found.directoryChanged.connect(lambda folder: heard.append(("changed", folder)))
    return found


def test_a_folder_is_announced_as_selected_at_every_set(button: Any, heard: list[Any], tmp_path: Path) -> None:
    for _ in range(2):
        button.directory = str(tmp_path)
    folder = str(tmp_path)
    assert heard == [("selected", folder), ("changed", folder), ("selected", folder)]


def test_a_slot_that_sets_the_folder_again_recurses(button: Any, tmp_path: Path) -> None:
    button.directorySelected.connect(lambda folder: setattr(button, "directory", folder))
    with host.swallowed(RecursionError):
        button.directory = str(tmp_path)


def test_folders_are_compared_as_folders(button: Any, heard: list[Any], tmp_path: Path) -> None:
    assert button.directory == "."
    button.directory = f"{tmp_path}/"
    button.directory = str(tmp_path)
    assert button.directory == str(tmp_path)
    assert [what for what, _ in heard] == ["selected", "changed", "selected"]


def test_a_dialog_for_a_folder_that_is_cancelled_announces_nothing(
    button: Any, heard: list[Any], tmp_path: Path
) -> None:
    host.answers.extend(["", tmp_path])
    assert button.browse() == ""
    assert not heard
    assert button.browse() == str(tmp_path)
    assert heard == [("selected", str(tmp_path)), ("changed", str(tmp_path))]


def test_a_folder_button_is_not_wider_for_a_longer_path(button: Any, qt: Any) -> None:
    policy = button.sizePolicy
    assert policy.horizontalPolicy() == qt.QSizePolicy.Expanding
    assert button.elideMode == qt.Qt.ElideMiddle
    button.directory = "/"
    least, wished = button.minimumSizeHint.width(), button.sizeHint.width()
    button.directory = f"/{LONG}"
    assert button.minimumSizeHint.width() == least
    assert button.sizeHint.width() > wished
    button.elideMode = qt.Qt.ElideNone
    assert button.minimumSizeHint.width() > least


@pytest.fixture
def edit(ctk: Any, qt: Any, heard: list[Any]) -> Any:
    """A path edit for weights whose signals are heard."""
    qt.QSettings().remove("ctkPathLineEdit")
    found = ctk.ctkPathLineEdit()
    found.filters = ctk.ctkPathLineEdit.Files | ctk.ctkPathLineEdit.Readable
    found.currentPathChanged.connect(heard.append)
    found.validInputChanged.connect(heard.append)
    return found


def test_a_path_is_announced_when_it_is_another_one_and_not_when_it_is_emptied(edit: Any, heard: list[Any]) -> None:
    for path in ("/no/such/file.pth", "/no/such/file.pth", "", "/weights.pth"):
        edit.currentPath = path
    assert heard == ["/no/such/file.pth", True, False, "/weights.pth", True]


def test_a_path_that_the_name_filters_do_not_allow_is_not_announced(edit: Any, heard: list[Any]) -> None:
    edit.nameFilters = ["PyTorch weights (*.pth *.pt)", "All files (*)"]
    for path in ("/a.bin", "/a.PTH", "/a.pth", "/a.pt", "/a.p"):
        edit.currentPath = path
    assert heard == ["/a.pth", True, "/a.pt", "/a.p"], "as in CTK the last letter of an ending may be missing"


def test_the_last_path_comes_back_with_the_history_and_nobody_is_told(edit: Any, heard: list[Any], qt: Any) -> None:
    qt.QSettings().setValue("ctkPathLineEdit/Test", [f"/{number}.pth" for number in range(7)])
    edit.settingKey = "Test"
    assert edit.currentPath == "/0.pth"
    assert edit.comboBox().count == 5
    assert not heard
    edit.retrieveHistory()
    assert not heard


def test_adding_to_the_history_announces_paths_on_the_way(edit: Any, heard: list[Any], qt: Any) -> None:
    qt.QSettings().setValue("ctkPathLineEdit/Test", ["/0.pth", "/1.pth"])
    edit.settingKey = "Test"
    edit.addCurrentPathToHistory()
    assert edit.currentPath == "/0.pth"
    assert heard == ["/1.pth", "/0.pth"]
    assert list(qt.QSettings().value("ctkPathLineEdit/Test")) == ["/0.pth", "/1.pth"]


def test_a_history_without_a_key_is_kept_by_the_widget_s_name(edit: Any, qt: Any) -> None:
    edit.name = "weightsEdit"
    edit.currentPath = "/a.pth"
    edit.addCurrentPathToHistory()
    assert list(qt.QSettings().value("ctkPathLineEdit/weightsEdit")) == ["/a.pth"]


def test_a_path_edit_is_as_wide_as_its_first_path(edit: Any, qt: Any) -> None:
    assert edit.sizePolicy.horizontalPolicy() == qt.QSizePolicy.Expanding
    edit.currentPath = f"/{LONG}.pth"
    wide = edit.fontMetrics().boundingRect(edit.currentPath).width()
    assert edit.minimumSizeHint.width() > wide
    edit.currentPath = "/a.pth"
    assert edit.minimumSizeHint.width() > wide


@pytest.fixture
def section(ctk: Any, qt: Any) -> Any:
    """A collapsible button with a wide and a hidden label, in a window."""
    window = qt.QWidget()
    found = ctk.ctkCollapsibleButton()
    found.text = "Advanced"
    qt.QVBoxLayout(window).addWidget(found)
    inner = qt.QVBoxLayout(found)
    for name, text in (("wide", LONG), ("hidden", "never")):
        label = qt.QLabel(text)
        label.name = name
        inner.addWidget(label)
    label.hide()
    yield found
    window.close()


def label_of(section: Any, name: str) -> Any:
    import qt

    return section.findChild(qt.QLabel, name)


def test_an_open_section_is_never_narrower_than_it_wants_to_be(section: Any, qt: Any) -> None:
    policy = section.sizePolicy
    assert (policy.horizontalPolicy(), policy.verticalPolicy()) == (qt.QSizePolicy.Minimum, qt.QSizePolicy.Preferred)
    section.window().show()
    wide = label_of(section, "wide").sizeHint.width()
    assert section.sizeHint.width() >= wide
    section.window().resize(50, 50)
    host.pump()
    assert section.width >= wide


def test_a_closed_section_wants_its_header_and_14_pixels(section: Any) -> None:
    section.collapsed = True
    header = section.contentsMargins().top()
    assert section.collapsedHeight == 14
    assert section.sizeHint.height() == section.minimumSizeHint.height() == header + 14
    assert section.maximumHeight == header + 14
    assert section.sizeHint.width() < label_of(section, "wide").sizeHint.width()


def test_what_was_hidden_by_somebody_else_stays_hidden(section: Any) -> None:
    wide, hidden = label_of(section, "wide"), label_of(section, "hidden")
    section.window().show()
    assert (wide.visible, hidden.visible) == (True, False)
    section.collapsed = True
    assert (wide.visible, hidden.visible) == (False, False)
    section.collapsed = False
    assert (wide.visible, hidden.visible) == (True, False)


def test_what_is_shown_and_hidden_in_a_closed_section_is_so_when_it_opens(section: Any) -> None:
    wide, hidden = label_of(section, "wide"), label_of(section, "hidden")
    section.window().show()
    section.collapsed = True
    hidden.visible, wide.visible = True, False
    assert (wide.visible, hidden.visible) == (False, False)
    section.collapsed = False
    assert (wide.visible, hidden.visible) == (False, True)


def test_a_section_announces_what_has_changed(section: Any, heard: list[Any]) -> None:
    section.contentsCollapsed.connect(heard.append)
    for collapsed in (False, True, True, False):
        section.collapsed = collapsed
    assert heard == [True, False]
    assert section.checked


def test_a_combo_box_of_ctk_is_as_wide_as_its_widest_entry_at_first(ctk: Any) -> None:
    box = ctk.ctkComboBox()
    box.addItem("CT")
    narrow = (box.sizeHint.width(), box.minimumSizeHint.width())
    box.addItem(LONG)
    assert (box.sizeHint.width(), box.minimumSizeHint.width()) == narrow
    other = ctk.ctkComboBox()
    other.addItem(LONG)
    assert other.minimumSizeHint.width() > other.fontMetrics().boundingRect(LONG).width()


@pytest.mark.parametrize("kind", ["ctkSliderWidget", "ctkDoubleSpinBox"])
def test_a_number_is_announced_when_it_is_another_one(ctk: Any, heard: list[Any], kind: str) -> None:
    widget = getattr(ctk, kind)()
    widget.connect("valueChanged(double)", heard.append)
    for value in (2.0, 2.0, 3.0, 1000.0):
        widget.value = value
    assert heard == [2.0, 3.0, widget.maximum]


def test_checked_entries_are_announced_when_others_are_checked(ctk: Any, qt: Any, heard: list[Any]) -> None:
    box = ctk.ctkCheckableComboBox()
    box.addItems(["Liver", "Kidney"])
    box.checkedIndexesChanged.connect(lambda: heard.append([index.data() for index in box.checkedIndexes()]))
    model = box.checkableModel()
    for row, state in ((1, qt.Qt.Checked), (1, qt.Qt.Checked), (0, qt.Qt.Unchecked), (1, qt.Qt.Unchecked)):
        box.setCheckState(model.index(row, 0), state)
    model.setData(model.index(0, 0), qt.Qt.Checked, qt.Qt.CheckStateRole)
    assert heard == [["Kidney"], [], ["Liver"]]
