"""A small scripted module, from its file to its panel, its tests and its end."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("PySide6", reason="needs PySide6")
pytest.importorskip("trame_slicer", reason="needs slicer-core and trame-slicer")

import host

pytest_plugins = ["host.fixtures"]

SOURCE = """
import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import parameterNodeWrapper
from slicer.ScriptedLoadableModule import *
from slicer.util import VTKObservationMixin


class Counter(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Counter")
        parent.categories = ["Examples"]
        parent.contributors = ["AHNetSegment contributors"]
        slicer.app.connect("startupCompleted()", started)


EVENTS = []


def started():
    EVENTS.append("started")


@parameterNodeWrapper
class CounterParameterNode:
    volume: slicer.vtkMRMLScalarVolumeNode
    count: int = 3


class CounterWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None):
        self.logic = None
        self._parameterNode = None
        ScriptedLoadableModuleWidget.__init__(self, parent)  # which calls VTKObservationMixin's

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        widget = slicer.util.loadUI(self.resourcePath("UI/Counter.ui"))
        self.layout.addWidget(widget)
        self.ui = slicer.util.childWidgetVariables(widget)
        widget.setMRMLScene(slicer.mrmlScene)
        self.logic = CounterLogic()
        self.ui.applyButton.connect("clicked(bool)", self.onApply)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onEndClose)

    def cleanup(self):
        EVENTS.append("cleanup")
        self.disconnect()
        self.removeObservers()

    def enter(self):
        EVENTS.append("enter")
        self.initialize()

    def exit(self):
        EVENTS.append("exit")
        self.disconnect()

    def disconnect(self):
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._tag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.check)
            self._parameterNode = None

    def onStartClose(self, caller, event):
        self.disconnect()

    def onEndClose(self, caller, event):
        if self.parent.isEntered:
            self.initialize()

    def initialize(self):
        self._parameterNode = self.logic.getParameterNode()
        self._tag = self._parameterNode.connectGui(self.ui)
        self.addObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.check)
        self.check()

    def check(self, caller=None, event=None):
        ready = self._parameterNode.volume is not None
        self.ui.applyButton.enabled = ready
        self.ui.applyButton.toolTip = "" if ready else _("Choose a volume.")

    def onApply(self, checked):
        with slicer.util.tryWithErrorDisplay(_("Counting failed."), waitCursor=True):
            self.ui.result.text = str(self.logic.process(self._parameterNode.volume, self._parameterNode.count))


class CounterLogic(ScriptedLoadableModuleLogic):
    def getParameterNode(self):
        return CounterParameterNode(super().getParameterNode())

    def process(self, volume, count):
        if count > 10:
            raise ValueError("too many")
        return count * len(volume.GetName())


class CounterTest(ScriptedLoadableModuleTest):
    def setUp(self):
        slicer.mrmlScene.Clear()

    def test_one(self):
        volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
        self.assertEqual(CounterLogic().process(volume, 2), 4)
        EVENTS.append("test_one")

    def test_two(self):
        self.delayDisplay("Two")
        self.assertIsNone(slicer.util.getFirstNodeByName("CT"))
        EVENTS.append("test_two")
"""

UI = """<?xml version="1.0" encoding="UTF-8"?>
<ui version="4.0">
 <class>Counter</class>
 <widget class="qMRMLWidget" name="Counter">
  <layout class="QFormLayout" name="form">
   <item row="0" column="1">
    <widget class="qMRMLNodeComboBox" name="volumeSelector">
     <property name="noneEnabled"><bool>true</bool></property>
     <property name="SlicerParameterName" stdset="0"><string>volume</string></property>
    </widget>
   </item>
   <item row="1" column="1">
    <widget class="QSpinBox" name="count">
     <property name="SlicerParameterName" stdset="0"><string>count</string></property>
    </widget>
   </item>
   <item row="2" column="1"><widget class="QPushButton" name="applyButton"/></item>
   <item row="3" column="1"><widget class="QLabel" name="result"/></item>
  </layout>
 </widget>
 <connections>
  <connection>
   <sender>Counter</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>
   <receiver>volumeSelector</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot>
  </connection>
 </connections>
</ui>
"""


@pytest.fixture
def module(slicer: Any, tmp_path: Path) -> Iterator[ModuleType]:
    """The module, loaded from its file with ``Resources`` beside it."""
    (tmp_path / "Counter.py").write_text(SOURCE, encoding="utf-8")
    (tmp_path / "Resources" / "UI").mkdir(parents=True)
    (tmp_path / "Resources" / "UI" / "Counter.ui").write_text(UI, encoding="utf-8")
    yield host.load_module(tmp_path / "Counter.py")
    sys.path.remove(str(tmp_path))


@pytest.fixture
def widget(module: ModuleType) -> Iterator[Any]:
    found = host.create_widget(module)
    yield found
    host.close_widget(found)


@pytest.fixture
def volume(slicer: Any) -> Any:
    return slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")


def test_the_module_is_listed(module: ModuleType, slicer: Any, tmp_path: Path) -> None:
    listed = slicer.modules.counter
    assert (listed.name, listed.title, listed.path) == ("Counter", "Counter", str(tmp_path / "Counter.py"))
    assert slicer.util.getModule("Counter") is listed
    assert slicer.util.modulePath("Counter") == listed.path
    assert type(slicer.modules.CounterInstance) is module.Counter
    slicer.app.startupCompleted.emit()
    assert module.EVENTS == ["started"]
    with pytest.raises(AttributeError, match="qSlicerScriptedLoadableModule has no attribute titel"):
        listed.titel = "Counter"


def test_a_click_counts(widget: Any, volume: Any) -> None:
    assert not widget.ui.applyButton.enabled
    assert widget.ui.applyButton.toolTip == "<p>Choose a volume.</p>"
    assert not host.click(widget.ui.applyButton)
    host.choose(widget.ui.volumeSelector, "CT")
    widget.ui.count.value = 5
    assert host.click(widget.ui.applyButton)
    assert widget.ui.result.text == "10"


def test_the_panel_of_modules_makes_no_module_narrower_than_it_wants_to_be(widget: Any, qt: Any) -> None:
    margins, policy = widget.layout.contentsMargins(), widget.parent.sizePolicy
    assert (margins.left(), margins.top()) == (0, 0)
    assert policy.horizontalPolicy() == qt.QSizePolicy.Minimum


def test_an_error_is_a_message(widget: Any, volume: Any) -> None:
    widget.ui.volumeSelector.setCurrentNode(volume)
    widget.ui.count.value = 11
    host.click(widget.ui.applyButton)
    assert host.messages == [("error", "Counting failed.\n\ntoo many")]
    assert [str(error) for error in host.errors] == ["too many"]
    host.errors.clear()


def test_closing_the_scene_forgets_and_begins_anew(widget: Any, volume: Any, slicer: Any) -> None:
    widget.ui.volumeSelector.setCurrentNode(volume)
    widget.ui.count.value = 5
    slicer.mrmlScene.Clear(False)
    assert widget.ui.volumeSelector.currentNode() is None
    assert not widget.ui.applyButton.enabled
    again = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "MR")
    widget.ui.volumeSelector.setCurrentNode(again)
    assert widget.logic.getParameterNode().volume is again


def test_entering_leaving_and_ending_reach_the_widget(module: ModuleType, slicer: Any) -> None:
    widget = host.create_widget(module)
    assert widget.parent.isEntered
    assert slicer.modules.CounterWidget is widget
    assert slicer.modules.counter.widgetRepresentation().self() is widget
    assert slicer.util.getModuleWidget("Counter") is widget
    assert slicer.util.getModuleLogic("Counter") is widget.logic
    assert slicer.util.selectedModule() == "Counter"
    host.close_widget(widget)
    assert module.EVENTS == ["enter", "exit", "cleanup"]


def test_the_parameter_node_is_one_and_tagged(module: ModuleType, slicer: Any) -> None:
    logic = module.CounterLogic()
    first, second = logic.getParameterNode(), logic.getParameterNode()
    first.count = 7
    assert second.count == 7
    node = first.parameterNode
    assert (node.GetSingletonTag(), node.GetAttribute("ModuleName")) == ("Counter", "Counter")
    assert logic.getAllParameterNodes() == [node]
    logic.isSingletonParameterNode = False
    assert logic.getParameterNode().parameterNode is node


def test_run_test_runs_all_tests_of_the_module(module: ModuleType, slicer: Any) -> None:
    slicer.selfTests["Counter"]()
    assert module.EVENTS == ["test_one", "test_two"]


def test_ctest_runs_method_by_method(module: ModuleType, slicer: Any, tmp_path: Path) -> None:
    import slicer.testing

    slicer.testing.runUnitTest([str(tmp_path)], "Counter")
    assert module.EVENTS == ["test_one", "test_two"]
    sys.path.remove(str(tmp_path))


def test_the_panel_can_be_built_without_a_main_window(module: ModuleType) -> None:
    with host.no_main_window():
        host.close_widget(host.create_widget(module))


def test_the_panel_can_be_made_without_a_parent(module: ModuleType, slicer: Any) -> None:
    widget = module.CounterWidget()
    assert type(widget.parent) is slicer.qMRMLWidget
    assert widget.ui.count.name == "count"
    widget.cleanup()
    widget.parent.hide()


def test_the_developer_s_buttons_are_there_in_developer_mode_only(module: ModuleType, qt: Any) -> None:
    plain = host.create_widget(module)
    assert not hasattr(plain, "reloadButton")
    host.close_widget(plain)
    qt.QSettings().setValue("Developer/DeveloperMode", True)
    try:
        developers = host.create_widget(module)
    finally:
        qt.QSettings().remove("Developer/DeveloperMode")
    assert developers.reloadCollapsibleButton.text == "Reload && Test"
    host.click(developers.reloadButton)
    reloaded = __import__("slicer").modules.CounterWidget
    assert reloaded is not developers
    assert reloaded.parent is developers.parent
    host.close_widget(reloaded)


def test_resources_are_looked_for_beside_the_script_only(module: ModuleType, slicer: Any, tmp_path: Path) -> None:
    assert slicer.modules.CounterInstance.resourcePath("UI/Counter.ui") == str(tmp_path / "Resources/UI/Counter.ui")


def test_a_module_without_its_class_is_refused(slicer: Any, tmp_path: Path) -> None:
    (tmp_path / "Empty.py").write_text("", encoding="utf-8")
    with pytest.raises(AttributeError, match="Empty"):
        host.load_module(tmp_path / "Empty.py")
