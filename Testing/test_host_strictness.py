"""Code that would fail in Slicer fails in the host: unknown names, wrong types, properties called like methods."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("PySide6", reason="needs PySide6")
pytest.importorskip("trame_slicer", reason="needs slicer-core and trame-slicer")

import host

pytest_plugins = ["host.fixtures"]
pytestmark = pytest.mark.usefixtures("hosted")


@pytest.fixture
def run(tmp_path: Path) -> Any:
    """Runs statements inside a scripted module that the host has loaded; returns their local names."""

    def run_in_module(*statements: str) -> dict[str, Any]:
        body = textwrap.indent("\n".join(statements), "    ")
        path = tmp_path / "Strict.py"
        path.write_text(
            "import ctk, qt, slicer\n"
            "from slicer.ScriptedLoadableModule import *\n\n"
            "class Strict(ScriptedLoadableModule):\n    pass\n\n"
            f"def statements():\n{body}\n    return locals()\n",
            encoding="utf-8",
        )
        return host.load_module(path).statements()

    return run_in_module


WIDGETS = {
    "qt.QPushButton()": ("text", "clicked", "click"),
    "qt.QComboBox()": ("currentIndex", "currentTextChanged", "addItem"),
    "(table := qt.QTableWidget(2, 2)).horizontalHeader()": ("visible", "sectionClicked", "setStretchLastSection"),
    "qt.QProcess()": ("objectName", "finished", "start"),
    "slicer.qMRMLNodeComboBox()": ("noneEnabled", "currentNodeChanged", "currentNode"),
    "slicer.qMRMLPlotWidget()": ("enabled", "mrmlSceneChanged", "plotView"),
    "ctk.ctkCollapsibleButton()": ("collapsed", "contentsCollapsed", "click"),
    "ctk.ctkSliderWidget()": ("decimals", "valueIsChanging", "reset"),
    "ctk.ctkPathLineEdit()": ("currentPath", "currentPathChanged", "retrieveHistory"),
    "slicer.app": ("applicationName", "startupCompleted", "processEvents"),
}


@pytest.mark.parametrize("widget", WIDGETS)
def test_names_that_slicer_has_are_there(run: Any, widget: str) -> None:
    known_property, signal, method = WIDGETS[widget]
    found = run(
        f"w = {widget}",
        f"value = w.{known_property}",
        f"w.{signal}.connect(lambda: None)",
        f"method = w.{method}",
    )
    assert not callable(found["value"])
    assert callable(found["method"])


@pytest.mark.parametrize("widget", WIDGETS)
@pytest.mark.parametrize(
    "statement",
    ["w.colour", "w.colour = 1", "w.setColour(1)", "w._box", "w._node = 1", "w.colourChanged.connect(print)"],
)
def test_a_name_that_slicer_lacks_is_refused(run: Any, widget: str, statement: str) -> None:
    with pytest.raises(AttributeError, match=r"has no attribute (colour|setColour|_box|_node|colourChanged) in Slicer"):
        run(f"w = {widget}", statement)


@pytest.mark.parametrize("widget", WIDGETS)
@pytest.mark.parametrize("signal", ["colourChanged(QString)", "destroyed(int,int)"])
def test_a_signature_that_slicer_lacks_is_refused(run: Any, widget: str, signal: str) -> None:
    with pytest.raises(AttributeError, match="has no signal"):
        run(f"w = {widget}", f"w.connect('{signal}', print)")


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("ctk.ctkCollapsibleButton().setCollapsed(True)", "ctkCollapsibleButton has no attribute setCollapsed"),
        ("ctk.ctkSliderWidget().setRange(0, 1)", "ctkSliderWidget has no attribute setRange"),
        ("slicer.qMRMLNodeComboBox().currentNodeId()", "'str' object is not callable"),
        ("qt.QLabel('CT').text()", "'str' object is not callable"),
        ("qt.QSpinBox().value()", "'int' object is not callable"),
        ("qt.Signal", "has no attribute 'Signal'"),
        ("qt.Slot", "has no attribute 'Slot'"),
        ("qt.QLayoutt", "has no attribute 'QLayoutt'"),
        ("ctk.ctkUnheardOf", "has no attribute 'ctkUnheardOf'"),
        ("slicer.qMRMLUnheardOf", "has no attribute 'qMRMLUnheardOf'"),
        ("slicer.errorDisplay", "has no attribute 'errorDisplay'"),
        ("slicer.modules.unheardof", "has no attribute 'unheardof'"),
        ("qt.QPushButton().clicked = print", "clicked is not a property"),
        ("qt.QPushButton().click = print", "click is not a property"),
        ("slicer.qMRMLNodeComboBox().addNode = print", "addNode is not a property"),
        ("qt.QLineEdit().acceptableInput = True", "acceptableInput can only be read"),
        ("slicer.qMRMLNodeComboBox().nodeTypes = 'vtkMRMLVolumeNode'", "nodeTypes of type QStringList"),
        ("slicer.qMRMLNodeComboBox().baseName = 5", "baseName of type QString"),
        ("ctk.ctkCollapsibleButton().collapsed = 'no'", "collapsed of type bool"),
        ("qt.QTableWidgetItem().colour = 1", "QTableWidgetItem has no attribute colour"),
        ("qt.QColor().colour = 1", "QColor has no attribute colour"),
        ("qt.QCheckBox().checkStateChanged", "QCheckBox has no attribute checkStateChanged"),
        ("qt.QSettings().value('a', 0, int)", "positional arguments"),
        ("slicer.qMRMLPlotWidget().setMRMLPlotViewNode(slicer.vtkMRMLModelNode())", "matching overload"),
        ("slicer.qMRMLNodeComboBox().setCurrentNode(3)", "matching overload"),
        ("slicer.qMRMLNodeComboBox().addAttribute('vtkMRMLNode')", "matching overload"),
    ],
)
def test_what_slicer_refuses_is_refused(run: Any, statement: str, says: str) -> None:
    with pytest.raises((AttributeError, TypeError, ValueError), match=says):
        run(statement)


@pytest.mark.parametrize(
    "statement", ["slicer.qMRMLNodeComboBox().sortFilterProxyModel()", "ctk.ctkSliderWidget().popupSlider = True"]
)
def test_what_slicer_has_and_the_host_lacks_says_so(run: Any, statement: str) -> None:
    with pytest.raises(NotImplementedError, match="exists in Slicer; Testing/host does not have it yet"):
        run(statement)


def test_classes_of_the_module_may_have_what_they_like(run: Any) -> None:
    found = run(
        "class Row(qt.QWidget):",
        "    def __init__(self, text):",
        "        super().__init__()",
        "        self.label = qt.QLabel(text)",
        "    def sizeHint(self):",
        "        return qt.QSize(123, 45)",
        "row = Row('CT')",
        "row.colour = 1",
        "row.toolTip = 'A row'",
        "row.adjustSize()",
        "width = row.width",
    )
    assert (found["row"].label.text, found["row"].colour, found["row"].toolTip) == ("CT", 1, "<p>A row</p>")
    assert found["width"] == 123


def test_properties_and_setters_work_as_in_pythonqt(run: Any) -> None:
    found = run(
        "label = qt.QLabel()",
        "label.text = 'CT'",
        "one = label.text",
        "label.setText('MR')",
        "two = label.text",
        "label.name = 'title'",
        "names = (label.name, label.objectName, label.className())",
        "box = qt.QCheckBox()",
        "box.checked = True",
        "state = qt.QProcess().state()",
        "size = label.sizeHint.width()",
    )
    assert (found["one"], found["two"], found["box"].checked) == ("CT", "MR", True)
    assert found["names"] == ("title", "title", "QLabel")
    assert found["size"] > 0


def test_signals_reach_callables_with_as_many_arguments_as_they_take(qt: Any) -> None:
    heard: list[Any] = []
    button = qt.QPushButton()
    button.checkable = True

    class Listener:
        def none(self) -> None:
            heard.append("none")

        def one(self, checked: bool) -> None:
            heard.append(checked)

    button.clicked.connect(Listener().none)
    button.clicked.connect(Listener().one)
    button.connect("clicked()", lambda *args: heard.append(args))
    button.connect("toggled(bool)", heard.append)
    button.click()
    assert sorted(map(str, heard)) == ["()", "True", "True", "none"]


def test_a_connection_can_be_taken_back(qt: Any) -> None:
    heard: list[int] = []
    box = qt.QSpinBox()
    box.valueChanged.connect(heard.append)
    box.connect("valueChanged(int)", heard.append)
    box.value = 3
    assert box.valueChanged.disconnect(heard.append)
    assert not box.disconnect("valueChanged(int)", heard.append)
    box.value = 4
    assert heard == [3, 3]


def test_a_signal_can_call_another_object_s_slot(qt: Any) -> None:
    box, bar = qt.QSpinBox(), qt.QProgressBar()
    box.connect("valueChanged(int)", bar, "setValue(int)")
    box.value = 42
    assert bar.value == 42
    with pytest.raises(AttributeError, match="QProgressBar has no slot paint"):
        box.connect("valueChanged(int)", bar, "paint(int)")


def test_an_exception_in_a_slot_is_kept(qt: Any, capsys: pytest.CaptureFixture[str]) -> None:
    button = qt.QPushButton()
    button.clicked.connect(lambda: 1 / 0)
    button.click()
    assert [type(error) for error in host.errors] == [ZeroDivisionError]
    host.errors.clear()


def test_dialogs_that_wait_ask_the_answers(qt: Any, tmp_path: Path) -> None:
    host.answers.extend([qt.QMessageBox.Yes, tmp_path, "T1"])
    assert qt.QMessageBox.question(None, "Title", "Overwrite?") == qt.QMessageBox.Yes
    assert qt.QFileDialog.getOpenFileName(None, "Open") == str(tmp_path)
    assert qt.QInputDialog.getText(None, "Title", "Name:") == "T1"
    assert host.messages == [("question", "Overwrite?"), ("file", "Open"), ("question", "Name:")]
    with pytest.raises(host.UnexpectedQuestion, match="Nobody expected to be asked: Delete"):
        qt.QMessageBox.question(None, "Title", "Delete?")


def test_the_event_loop_runs_processes_timers_and_dialogs(qt: Any) -> None:
    process, dialog = qt.QProcess(), qt.QDialog()
    output: list[bytes] = []
    process.readyReadStandardOutput.connect(lambda: output.append(process.readAllStandardOutput().data()))
    process.start("echo", ["CT"])
    assert host.pump(lambda: process.state() == qt.QProcess.NotRunning, 10)
    assert b"".join(output).strip() == b"CT"
    qt.QTimer.singleShot(1, dialog.accept)
    assert dialog.exec_() == qt.QDialog.Accepted


def test_the_longest_pause_of_the_event_loop_is_measured(qt: Any) -> None:
    import time

    with host.event_loop_gaps() as gaps:
        qt.QTimer.singleShot(10, lambda: time.sleep(0.2))
        host.pump(lambda: False, 0.4)
    assert 190 < gaps.largest_ms < 2000


def test_a_click_does_nothing_on_a_button_that_a_person_cannot_click(qt: Any) -> None:
    heard: list[str] = []
    window = qt.QWidget()
    layout = qt.QVBoxLayout(window)
    for name in ("free", "disabled", "hidden"):
        button = qt.QPushButton(name)
        layout.addWidget(button)
        button.clicked.connect(lambda checked=False, name=name: heard.append(name))
        button.enabled = name != "disabled"
        button.visible = name != "hidden"
        assert host.click(button) == (name == "free")
    assert heard == ["free"]
