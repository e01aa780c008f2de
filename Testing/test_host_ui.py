"""Files of Qt Designer: widgets, properties and connections; names that Slicer does not know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("PySide6", reason="needs PySide6")
pytest.importorskip("trame_slicer", reason="needs slicer-core and trame-slicer")

import host

pytest_plugins = ["host.fixtures"]
pytestmark = pytest.mark.usefixtures("hosted")

GOOD = """<?xml version="1.0" encoding="UTF-8"?>
<ui version="4.0">
 <class>Panel</class>
 <widget class="qMRMLWidget" name="Panel">
  <layout class="QVBoxLayout" name="panelLayout">
   <property name="leftMargin"><number>3</number></property>
   <item>
    <widget class="ctkCollapsibleButton" name="advanced">
     <property name="text"><string>Advanced</string></property>
     <property name="collapsed"><bool>true</bool></property>
     <layout class="QFormLayout" name="advancedLayout">
      <item row="0" column="0">
       <widget class="QLabel" name="volumeLabel">
        <property name="text"><string>&amp;Volume:</string></property>
        <property name="buddy"><cstring>volume</cstring></property>
       </widget>
      </item>
      <item row="0" column="1">
       <widget class="qMRMLNodeComboBox" name="volume">
        <property name="enabled"><bool>false</bool></property>
        <property name="toolTip"><string>What is segmented</string></property>
        <property name="nodeTypes"><stringlist><string>vtkMRMLScalarVolumeNode</string></stringlist></property>
        <property name="noneEnabled"><bool>true</bool></property>
        <property name="addEnabled"><bool>false</bool></property>
        <property name="SlicerParameterName" stdset="0"><string>inputVolume</string></property>
       </widget>
      </item>
      <item row="1" column="1">
       <widget class="ctkSliderWidget" name="smoothing">
        <property name="decimals"><number>1</number></property>
        <property name="maximum"><double>5.0</double></property>
        <property name="suffix"><string> mm</string></property>
       </widget>
      </item>
      <item row="2" column="1">
       <widget class="ctkPathLineEdit" name="folder">
        <property name="filters"><set>ctkPathLineEdit::Dirs|ctkPathLineEdit::Readable</set></property>
       </widget>
      </item>
      <item row="3" column="1"><widget class="QSpinBox" name="spin"/></item>
      <item row="4" column="1"><widget class="QProgressBar" name="bar"/></item>
     </layout>
    </widget>
   </item>
   <item><spacer name="spacer"><property name="orientation"><enum>Qt::Vertical</enum></property></spacer></item>
  </layout>
 </widget>
 <customwidgets>
  <customwidget><class>qMRMLWidget</class><extends>QWidget</extends><container>1</container></customwidget>
 </customwidgets>
 <tabstops><tabstop>spin</tabstop><tabstop>volume</tabstop></tabstops>
 <connections>
  <connection>
   <sender>Panel</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>
   <receiver>volume</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot>
  </connection>
  <connection>
   <sender>spin</sender><signal>valueChanged(int)</signal>
   <receiver>bar</receiver><slot>setValue(int)</slot>
  </connection>
 </connections>
</ui>
"""

BAD = {
    "a class": ('class="ctkPathLineEdit"', 'class="ctkPathEdit"', "ctkPathEdit has no class ctkPathEdit"),
    "a property": ('name="decimals"', 'name="digits"', "ctkSliderWidget has no property digits"),
    "a property of Qt": ('name="toolTip"', 'name="tip"', "qMRMLNodeComboBox has no property tip"),
    "a layout's property": ('name="leftMargin"', 'name="outerMargin"', "QVBoxLayout has no property outerMargin"),
    "a signal": ("mrmlSceneChanged(vtk", "sceneChanged(vtk", "qMRMLWidget has no signal sceneChanged(vtkMRMLScene*)"),
    "a signature": ("valueChanged(int)", "valueChanged(bool)", "QSpinBox has no signal valueChanged(bool)"),
    "a slot": ("setMRMLScene(", "useScene(", "qMRMLNodeComboBox has no slot useScene(vtkMRMLScene*)"),
}


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "Panel.ui"
    path.write_text(GOOD, encoding="utf-8")
    return path


@pytest.fixture
def ui(good: Path, slicer: Any) -> Any:
    """The children by name, and the whole as ``Panel``."""
    panel = slicer.util.loadUI(str(good))
    found = slicer.util.childWidgetVariables(panel)
    found.Panel = panel
    return found


def test_widgets_are_of_slicer_s_classes_with_their_properties(ui: Any, slicer: Any, ctk: Any, qt: Any) -> None:
    assert [type(w) for w in (ui.Panel, ui.volume)] == [slicer.qMRMLWidget, slicer.qMRMLNodeComboBox]
    assert type(ui.spin) is qt.QSpinBox
    assert (ui.advanced.text, ui.advanced.collapsed, ui.spin.visible) == ("Advanced", True, False)
    assert (ui.volume.nodeTypes, ui.volume.noneEnabled) == (["vtkMRMLScalarVolumeNode"], True)
    assert (ui.volume.addEnabled, ui.volume.toolTip) == (False, "<p>What is segmented</p>")
    assert (ui.smoothing.maximum, ui.smoothing.decimals, ui.smoothing.suffix) == (5.0, 1, " mm")
    assert ui.folder.filters == ctk.ctkPathLineEdit.Dirs | ctk.ctkPathLineEdit.Readable
    assert ui.volume.property("SlicerParameterName") == "inputVolume"
    assert ui.volumeLabel.buddy() is ui.volume


def test_connections_are_made(ui: Any, slicer: Any) -> None:
    ui.Panel.setMRMLScene(slicer.mrmlScene)
    assert ui.volume.mrmlScene() is slicer.mrmlScene
    ui.spin.value = 42
    assert ui.bar.value == 42


def test_a_widget_of_a_file_is_strict(ui: Any) -> None:
    for widget in (ui.spin, ui.volume, ui.Panel, ui.volumeLabel):
        with pytest.raises(AttributeError, match="has no attribute colour in Slicer"):
            widget.colour = "red"


def test_a_missing_file_is_named(slicer: Any, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"file not found .*None\.ui"):
        slicer.util.loadUI(str(tmp_path / "None.ui"))


def test_a_good_file_has_no_unknown_names(good: Path) -> None:
    assert host.unknown_names(good) == []
    used = {(name.class_name, name.kind, name.name) for name in host.used_names(good)}
    assert ("qMRMLNodeComboBox", "property", "noneEnabled") in used
    assert ("QProgressBar", "slot", "setValue(int)") in used
    assert not [name for name in used if name[2] == "SlicerParameterName"]


@pytest.mark.parametrize("what", BAD)
def test_an_unknown_name_is_found_and_not_loaded(good: Path, slicer: Any, what: str) -> None:
    old, new, says = BAD[what]
    assert old in GOOD
    good.write_text(GOOD.replace(old, new), encoding="utf-8")
    assert [str(name).partition(": ")[2] for name in host.unknown_names(good)] == [says]
    with pytest.raises(AttributeError) as raised:
        slicer.util.loadUI(str(good))
    assert says in str(raised.value)


def test_unknown_names_in_python_files_are_found(good: Path, tmp_path: Path) -> None:
    python = tmp_path / "panel.py"
    python.write_text(
        "import ctk, qt, slicer\n"
        "def good(self):\n"
        "    self.ui.volume.noneEnabled = True\n"
        "    self.ui.volume.currentNodeChanged.connect(print)\n"
        "    self.ui.spin.value, self.ui.spin.setValue(3), self.ui.spin.name\n"
        "    qt.QMessageBox.Yes, qt.Qt.Checked, ctk.ctkPathLineEdit.Dirs, slicer.qMRMLNodeComboBox\n"
        "    slicer.util.getNode('CT'), slicer.mrmlScene, slicer.vtkMRMLScene\n"
        "def bad(self, ui):\n"
        "    self.ui.volume.noneAllowed = True\n"
        "    ui.spin.worth\n"
        "    qt.QLayoutt, qt.QMessageBox.Perhaps, ctk.ctkUnheardOf, slicer.qMRMLUnheardOf\n"
        "    slicer.util.LazyImport, slicer.util.getNodeByNmae\n",
        encoding="utf-8",
    )
    found = [(name.class_name, name.name, name.where) for name in host.unknown_names(good, [python])]
    assert sorted(found) == [
        ("QLayoutt", "QLayoutt", "panel.py:11"),
        ("QMessageBox", "Perhaps", "panel.py:11"),
        ("QSpinBox", "worth", "panel.py:10"),
        ("ctkUnheardOf", "ctkUnheardOf", "panel.py:11"),
        ("qMRMLNodeComboBox", "noneAllowed", "panel.py:9"),
        ("qMRMLUnheardOf", "qMRMLUnheardOf", "panel.py:11"),
        ("slicer.util", "LazyImport", "panel.py:12"),
        ("slicer.util", "getNodeByNmae", "panel.py:12"),
    ]
