"""PythonQt, slicer.util and the application do what their sources say: slots, ownership, timers, tool tips, answers."""

from __future__ import annotations

import gc
import logging
import os
import subprocess
import sys
import weakref
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("PySide6", reason="needs PySide6")
pytest.importorskip("trame_slicer", reason="needs slicer-core and trame-slicer")

import host
from panel_helpers import tip

pytest_plugins = ["host.fixtures"]
pytestmark = pytest.mark.usefixtures("hosted")


class Kept:
    """Something that a slot holds."""

    def slot(self) -> None:
        """Does nothing."""


def timers(slicer: Any, qt: Any) -> int:
    return len(slicer.app.moduleManager().findChildren(qt.QTimer))


# Timers


def test_a_single_shot_keeps_its_timer_and_what_it_has_called(slicer: Any, qt: Any) -> None:
    host.pump()  # what tests before this one have left is deleted
    before, kept = timers(slicer, qt), Kept()
    held = weakref.ref(kept)
    qt.QTimer.singleShot(0, kept.slot)
    del kept
    host.pump()
    gc.collect()
    assert timers(slicer, qt) == before + 1
    assert held() is not None


def test_a_timer_that_deletes_itself_lets_go(qt: Any) -> None:
    kept, timer = Kept(), qt.QTimer(qt.QApplication.instance())
    held = weakref.ref(kept)
    timer.setSingleShot(True)
    timer.connect("timeout()", kept.slot)
    timer.connect("timeout()", timer.deleteLater)
    timer.start(0)
    del kept, timer
    host.pump()
    gc.collect()
    assert held() is None


def test_a_single_shot_can_call_another_object_s_slot(qt: Any) -> None:
    bar = qt.QProgressBar()
    bar.value = 42
    qt.QTimer.singleShot(0, bar, "reset()")
    host.pump()
    assert bar.value == -1


# Slots


def test_an_exception_in_a_slot_is_printed_and_the_program_goes_on(qt: Any, capsys: pytest.CaptureFixture[str]) -> None:
    button, heard = qt.QPushButton(), []
    button.connect("clicked()", lambda: 1 / 0)
    button.connect("clicked()", lambda: heard.append("next"))
    with host.swallowed(ZeroDivisionError):
        button.click()
    assert heard == ["next"]
    assert "ZeroDivisionError" in capsys.readouterr().err


SWALLOWING = """
pytest_plugins = ["host.fixtures", "conftest"]

def test_it(qt):
    button = qt.QPushButton()
    button.connect("clicked()", lambda: 1 / 0)
    button.click()
"""


def test_a_test_fails_in_which_an_exception_was_swallowed(tmp_path: Path) -> None:
    folder = Path(__file__).parent
    test = tmp_path / "test_it.py"
    test.write_text(SWALLOWING, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, str(test)]
    paths = os.pathsep.join((str(folder), str(folder.parent / "AHNetSegment")))
    environment = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env=environment, check=False)
    assert done.returncode == 1, done.stdout
    assert "ZeroDivisionError: division by zero" in done.stdout


def test_functions_and_methods_get_what_they_take_and_everything_else_gets_all(qt: Any) -> None:
    heard: list[Any] = []

    class Told:
        def __call__(self, *args: Any) -> None:
            heard.append(("object", args))

        def method(self) -> None:
            heard.append(("method", ()))

    box = qt.QSpinBox()
    box.connect("valueChanged(int)", Told())
    box.connect("valueChanged(int)", Told().method)
    box.connect("valueChanged(int)", lambda value=0: heard.append(("default", (value,))))
    box.connect("valueChanged(int)", partial(lambda *args: heard.append(("partial", args)), "bound"))
    box.value = 3
    assert dict(heard) == {"object": (3,), "method": (), "default": (3,), "partial": ("bound", 3)}


def test_a_callable_that_takes_too_little_and_is_no_function_fails(qt: Any) -> None:
    box = qt.QSpinBox()
    box.connect("valueChanged(int)", partial(Kept.slot, Kept()))
    with host.swallowed(TypeError):
        box.value = 3


def test_a_connection_keeps_the_callable_as_long_as_the_sender_lives(qt: Any) -> None:
    kept, button = Kept(), qt.QPushButton()
    held = weakref.ref(kept)
    button.connect("clicked()", kept.slot)
    del kept
    gc.collect()
    assert held() is not None
    del button
    gc.collect()
    host.pump()
    gc.collect()
    assert held() is None


# Objects


def test_an_object_without_a_parent_goes_with_its_last_name(qt: Any) -> None:
    parent, heard = qt.QWidget(), []
    for owner in (None, parent):
        label = qt.QLabel("CT", *([owner] if owner else []))
        label.connect("destroyed()", lambda: heard.append("gone"))
        del label
    gc.collect()
    assert heard == ["gone"]
    assert len(parent.findChildren(qt.QLabel)) == 1


def test_a_table_owns_its_items_and_cell_widgets(qt: Any) -> None:
    table, heard = qt.QTableWidget(1, 2), []
    table.setItem(0, 0, qt.QTableWidgetItem("CT"))
    table.setCellWidget(0, 1, qt.QComboBox())
    table.cellWidget(0, 1).connect("destroyed()", lambda: heard.append("gone"))
    gc.collect()
    assert table.item(0, 0).text() == "CT"
    assert table.cellWidget(0, 1).count == 0
    table.setRowCount(0)
    host.pump()
    assert heard == ["gone"]


def test_a_process_gives_bytes(qt: Any) -> None:
    process = qt.QProcess()
    process.start(sys.executable, ["-c", "print('done')"])
    assert process.waitForFinished(20_000)
    assert bytes(process.readAllStandardOutput().data()).split() == [b"done"]


# Application


def test_the_event_loop_turns_within_a_call(slicer: Any, qt: Any) -> None:
    heard: list[str] = []
    qt.QTimer.singleShot(0, lambda: heard.append("timer"))
    slicer.app.processEvents()
    assert heard == ["timer"]


def test_a_tool_tip_is_read_as_the_html_that_slicer_makes_of_it(slicer: Any, qt: Any, tmp_path: Path) -> None:
    button = qt.QPushButton()
    button.toolTip = "Smaller < larger\nnext"
    assert button.toolTip.startswith("<p>Smaller &lt; larger<br>")
    assert tip(button) == "Smaller < larger\nnext"
    button.setToolTip("<b>rich</b>")
    assert button.toolTip == "<b>rich</b>"
    button.toolTip = ""
    assert button.toolTip == ""
    item = qt.QTableWidgetItem("CT")
    item.setToolTip("plain")
    assert item.toolTip() == "plain"


def test_a_tool_tip_of_a_file_is_html_too(slicer: Any, tmp_path: Path) -> None:
    path = tmp_path / "Tip.ui"
    path.write_text(
        '<ui version="4.0"><widget class="QWidget" name="Tip">'
        '<property name="toolTip"><string>plain</string></property></widget></ui>',
        encoding="utf-8",
    )
    assert slicer.util.loadUI(str(path)).toolTip == "<p>plain</p>"


CONFIRMATIONS = ("confirmOkCancelDisplay", "confirmYesNoDisplay", "confirmRetryCloseDisplay")


@pytest.mark.parametrize("name", CONFIRMATIONS)
def test_a_question_is_answered_with_no_when_testing(slicer: Any, caplog: pytest.LogCaptureFixture, name: str) -> None:
    with host.testing_mode(), caplog.at_level(logging.INFO):
        assert getattr(slicer.util, name)("Replace it?") is False
    assert not host.messages
    assert "Testing mode is enabled" in caplog.text
    for answer in (True, False):
        host.answers.append(answer)
        assert getattr(slicer.util, name)("Replace it?") is answer


@pytest.mark.parametrize("name", ["infoDisplay", "warningDisplay", "errorDisplay"])
def test_a_message_is_only_logged_when_testing_and_without_a_main_window(
    slicer: Any, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    for context in (host.testing_mode, host.no_main_window):
        with context(), caplog.at_level(logging.INFO):
            getattr(slicer.util, name)("No volume.")
    assert not host.messages
    assert [record.message for record in caplog.records].count("No volume.") == 2


def test_an_error_is_raised_again_after_it_was_shown(slicer: Any) -> None:
    with pytest.raises(ValueError, match="bad"), slicer.util.tryWithErrorDisplay("Failed."):
        raise ValueError("bad")
    assert host.messages == [("error", "Failed.\n\nbad")]
    with host.testing_mode(), pytest.raises(ValueError, match="bad"), slicer.util.tryWithErrorDisplay("Failed."):
        raise ValueError("bad")
    assert len(host.messages) == 1


def test_every_named_child_is_a_variable(slicer: Any, qt: Any) -> None:
    widget = qt.QWidget()
    layout = qt.QVBoxLayout(widget)
    layout.name = "column"
    for name in ("volumeLabel", ""):
        label = qt.QLabel()
        label.name = name
        layout.addWidget(label)
    found = vars(slicer.util.childWidgetVariables(widget))
    assert set(found) == {"column", "volumeLabel"}
