"""The parameter node wrapper of the host: typed values in the scene, and widgets that follow them."""

from __future__ import annotations

import enum
from operator import add
from pathlib import Path
from typing import Annotated, Any, Optional

import pytest

pytest.importorskip("PySide6", reason="needs PySide6")
pytest.importorskip("trame_slicer", reason="needs slicer-core and trame-slicer")

import slicer as slicer_core

import host

pytest_plugins = ["host.fixtures"]


class Device(enum.Enum):
    """Where to compute."""

    AUTO = "auto"
    CUDA = "cuda"

    def label(self) -> str:
        return {"auto": "Automatic", "cuda": "NVIDIA GPU"}[self.value]


@pytest.fixture
def wrapper(slicer: Any) -> Any:
    """A wrapped class with a parameter of every supported kind."""
    from slicer.parameterNodeWrapper import Choice, Default, Maximum, Minimum, WithinRange, parameterNodeWrapper

    class Parameters:
        pass

    Parameters.__annotations__ = {
        "volume": slicer_core.vtkMRMLScalarVolumeNode,
        "roi": slicer_core.vtkMRMLMarkupsROINode,
        "model": str,
        "folder": Path,
        "count": Annotated[int, WithinRange(0, 20)],
        "smoothing": Annotated[float, Minimum(0.0), Maximum(5.0), Default(0.5)],
        "largest": bool,
        "names": list[str],
        "device": Device,
        "precision": Annotated[str, Choice(["float32", "bfloat16"]), Default("float32")],
        "limit": Optional[int],  # noqa: UP045 (a union of another kind for Slicer)
    }
    return parameterNodeWrapper(Parameters)


@pytest.fixture
def parameters(slicer: Any, wrapper: Any) -> Any:
    return wrapper(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "Parameters"))


def test_defaults_are_those_of_the_type_or_given(parameters: Any) -> None:
    values = {name: parameters.getValue(name) for name in parameters.allParameters}
    assert values == {
        "volume": None,
        "roi": None,
        "model": "",
        "folder": Path(),
        "count": 0,
        "smoothing": 0.5,
        "largest": False,
        "names": [],
        "device": Device.AUTO,
        "precision": "float32",
        "limit": None,
    }


def test_values_lie_in_the_node_as_slicer_writes_them(parameters: Any, slicer: Any) -> None:
    node = parameters.parameterNode
    parameters.volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
    parameters.largest = True
    parameters.names = ["liver", "kidney"]
    parameters.device = Device.CUDA
    parameters.smoothing = 1.5
    assert node.GetNodeReference("volume").GetName() == "CT"
    stored = {n: node.GetParameter(n) for n in ("largest", "names_len", "names_1", "device", "smoothing", "folder")}
    assert stored == {
        "largest": "True",
        "names_len": "2",
        "names_1": "kidney",
        "device": "CUDA",
        "smoothing": "1.5",
        "folder": ".",
    }


def test_a_list_writes_itself_when_it_is_changed(parameters: Any, wrapper: Any) -> None:
    parameters.names.append("liver")
    parameters.names += ["kidney", "spleen"]
    del parameters.names[0]
    assert wrapper(parameters.parameterNode).names == ["kidney", "spleen"]
    assert not parameters.parameterNode.HasParameter("names_2")
    with pytest.raises(NotImplementedError, match=r"takes \+="):
        add(parameters.names, ["pancreas"])


def test_an_optional_value_is_none_or_of_its_type(parameters: Any) -> None:
    parameters.limit = 3
    assert parameters.limit == 3
    parameters.limit = None
    assert parameters.limit is None
    with pytest.raises(TypeError):
        parameters.limit = "three"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("count", 21),
        ("count", 1.5),
        ("count", None),
        ("smoothing", -0.1),
        ("smoothing", 5.1),
        ("model", 3),
        ("model", None),
        ("largest", 1),
        ("folder", "here"),
        ("precision", "float8"),
        ("device", "cuda"),
        ("names", ["liver", 3]),
        ("volume", "vtkMRMLScalarVolumeNode1"),
    ],
)
def test_a_wrong_value_is_refused_and_changes_nothing(parameters: Any, name: str, value: Any) -> None:
    before = parameters.getValue(name)
    with pytest.raises((ValueError, TypeError)):
        setattr(parameters, name, value)
    assert parameters.getValue(name) == before


def test_a_node_of_another_class_is_refused(parameters: Any, slicer: Any) -> None:
    with pytest.raises(TypeError):
        parameters.volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", "Surface")


@pytest.mark.parametrize("name", ["default", "getValue", "connectGui", "Modified", "isCached", "dataType"])
def test_names_that_the_wrapper_needs_are_refused(slicer: Any, name: str) -> None:
    from slicer.parameterNodeWrapper import parameterNodeWrapper

    with pytest.raises(ValueError, match=f"reserved name '{name}'"):
        parameterNodeWrapper(type("Parameters", (), {"__annotations__": {name: int}}))


def test_a_type_without_a_serializer_is_refused(slicer: Any) -> None:
    from slicer.parameterNodeWrapper import parameterNodeWrapper

    with pytest.raises(Exception, match="Unable to create serializer"):
        parameterNodeWrapper(type("Parameters", (), {"__annotations__": {"thing": complex}}))


def test_parameters_survive_saving_and_loading_the_scene(
    parameters: Any, wrapper: Any, slicer: Any, tmp_path: Path
) -> None:
    scene = slicer.mrmlScene
    parameters.volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
    parameters.model = "liver-ct"
    parameters.names = ["liver"]
    parameters.folder = tmp_path
    assert slicer.util.saveScene(str(tmp_path / "scene.mrml"))
    scene.Clear(False)
    slicer.util.loadScene(str(tmp_path / "scene.mrml"))
    found = wrapper(slicer.util.getNode("Parameters"))
    assert (found.model, found.names, found.folder) == ("liver-ct", ["liver"], tmp_path)
    assert found.volume.GetName() == "CT"


def test_parameters_of_two_scenes_do_not_mix(parameters: Any, wrapper: Any) -> None:
    other_scene = slicer_core.vtkMRMLScene()
    other = wrapper(other_scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "Parameters"))
    parameters.model = "liver-ct"
    other.model = "kidney-ct"
    other.volume = other_scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "MR")
    assert (parameters.model, other.model) == ("liver-ct", "kidney-ct")
    assert parameters.volume is None
    assert other.volume.GetScene() is other_scene


@pytest.fixture
def ui(slicer: Any, qt: Any, ctk: Any) -> Any:
    """A widget per parameter, named by the dynamic property."""
    found = type("Ui", (), {})()
    found.volume, found.model, found.largest = slicer.qMRMLNodeComboBox(), qt.QLineEdit(), qt.QCheckBox()
    found.count, found.smoothing, found.device = qt.QSpinBox(), ctk.ctkSliderWidget(), qt.QComboBox()
    found.precision, found.folder = ctk.ctkComboBox(), ctk.ctkPathLineEdit()
    for name, widget in vars(found).items():
        widget.setProperty("SlicerParameterName", name)
    found.volume.setMRMLScene(slicer.mrmlScene)
    found.volume.noneEnabled = True
    return found


def test_widgets_show_values_and_values_follow_widgets(parameters: Any, ui: Any, slicer: Any, tmp_path: Path) -> None:
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
    tag = parameters.connectGui(ui)
    assert (ui.smoothing.value, ui.smoothing.maximum, ui.count.maximum) == (0.5, 5.0, 20)
    assert ui.volume.nodeTypes == ["vtkMRMLScalarVolumeNode"]
    assert [ui.device.itemText(i) for i in range(ui.device.count)] == ["Automatic", "NVIDIA GPU"]
    parameters.model = "liver-ct"
    parameters.device = Device.CUDA
    parameters.volume = volume
    assert (ui.model.text, ui.device.currentText, ui.volume.currentNode()) == ("liver-ct", "NVIDIA GPU", volume)
    ui.count.value = 7
    ui.largest.checked = True
    ui.smoothing.value = 2.0
    ui.folder.currentPath = str(tmp_path)
    ui.volume.setCurrentNode(None)
    host.choose(ui.precision, "bfloat16")
    values = [parameters.getValue(n) for n in ("count", "largest", "smoothing", "folder", "volume", "precision")]
    assert values == [7, True, 2.0, tmp_path, None, "bfloat16"]
    parameters.disconnectGui(tag)
    ui.count.value = 3
    parameters.model = "kidney-ct"
    assert (parameters.count, ui.model.text) == (7, "liver-ct")


def test_widgets_of_one_parent_are_found_by_the_property(parameters: Any, qt: Any) -> None:
    parent = qt.QWidget()
    line = qt.QLineEdit(parent)
    line.setProperty("SlicerParameterName", "model")
    parameters.connectGui(parent)
    line.text = "liver-ct"
    assert parameters.model == "liver-ct"


def test_a_combo_box_of_strings_needs_choices(parameters: Any, qt: Any) -> None:
    with pytest.raises(RuntimeError, match="needs a Choice"):
        parameters.connectParametersToGui({"model": qt.QComboBox()})


@pytest.mark.parametrize(
    ("name", "widget"),
    [("model", "QPlainTextEdit"), ("volume", "QComboBox"), ("names", "QLineEdit"), ("largest", "QSpinBox")],
)
def test_a_widget_that_cannot_show_a_type_is_refused(parameters: Any, qt: Any, name: str, widget: str) -> None:
    with pytest.raises(RuntimeError, match="Unable to create GUI connector"):
        parameters.connectParametersToGui({name: getattr(qt, widget)()})


def test_a_slider_without_a_range_and_an_unknown_name_are_refused(slicer: Any, ctk: Any, qt: Any) -> None:
    from slicer.parameterNodeWrapper import parameterNodeWrapper

    wrapper = parameterNodeWrapper(type("Parameters", (), {"__annotations__": {"dose": float}}))
    parameters = wrapper(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))
    with pytest.raises(RuntimeError, match="unbounded"):
        parameters.connectParametersToGui({"dose": ctk.ctkSliderWidget()})
    with pytest.raises(ValueError, match="Cannot find a param with the given name: does"):
        parameters.connectParametersToGui({"does": qt.QDoubleSpinBox()})
    parameters.connectParametersToGui({"dose": qt.QDoubleSpinBox()})


def test_something_that_is_no_widget_on_the_ui_object_fails(parameters: Any, ui: Any) -> None:
    ui.title = "Segment"
    with pytest.raises(AttributeError, match="'str' object has no attribute 'property'"):
        parameters.connectGui(ui)
