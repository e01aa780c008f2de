"""The module as Slicer meets it: its names, its own tests, Reload, a machine without PyTorch; and the console."""

from __future__ import annotations

import inspect
import shutil
import textwrap
import unittest
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import driver

driver.require()


from AHNetSegmentLib.engine.resources import resources_folder
from panel_helpers import tip, widget_names

UI = resources_folder() / "UI" / "AHNetSegment.ui"
SECONDS = 120


@pytest.fixture
def logic(module: Any, scene: Any) -> Any:
    return module.AHNetSegmentLogic()


@pytest.fixture
def volume_node(scene: Any) -> Any:
    from AHNetSegmentLib.scene.selftest import example_volume

    return example_volume("CT")


def test_the_module_says_what_it_is(module: Any) -> None:
    import slicer

    found = slicer.modules.ahnetsegment
    assert found.title == "AHNetSegment"
    assert "Segmentation" in found.categories
    assert "not for clinical use" in found.helpText
    assert "1711.08580" in found.acknowledgementText
    assert not found.icon.isNull()


@pytest.mark.parametrize("name", ["test_models_are_there", "test_console", "test_panel"])
def test_the_module_s_own_tests_pass(module: Any, widget: Any, name: str) -> None:
    result = unittest.TestResult()
    module.AHNetSegmentTest(name).run(result)
    assert result.testsRun == 1
    assert not result.errors + result.failures, (result.errors + result.failures)[0][1]


def test_reload_gives_a_panel_that_works(library_as_before: None, widget: Any, scene: Any) -> None:
    import slicer

    widget.onReload()
    fresh = slicer.util.getModuleWidget("AHNetSegment")
    from AHNetSegmentLib.scene.selftest import check_panel

    check_panel(fresh, fresh.logic)
    fresh.cleanup()


def test_the_tab_key_goes_through_the_panel_from_top_to_bottom(widget: Any) -> None:
    names = ["inputVolumeSelector", "roiSelector", "modelSelector", "outputSelector", "segmentButton"]
    places = [getattr(widget.ui, name).mapTo(widget.parent, qt_point()).y() for name in names]
    assert places == sorted(places)
    assert len(set(places)) == len(places)


def qt_point() -> Any:
    import qt

    return qt.QPoint(0, 0)


def test_every_control_has_a_tool_tip(widget: Any) -> None:
    kinds = ("QPushButton", "QComboBox", "QAbstractSpinBox", "QCheckBox")
    names = widget_names(UI) - {"allSegmentsButton", "noSegmentsButton"}
    controls = {name: getattr(widget.ui, name) for name in names}
    assert not [name for name, item in controls.items() if any(item.inherits(kind) for kind in kinds) and not tip(item)]


def test_table_and_report(widget: Any, volume_node: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import qt
    import slicer

    from AHNetSegmentLib.scene import results

    assert not widget.ui.reportButton.enabled
    assert tip(widget.ui.reportButton) == "There is no result yet."
    parameters = widget.logic.getParameterNode()
    parameters.inputVolume, parameters.model = volume_node, "hippocampus-t1"
    driver.click(widget.ui.segmentButton)
    assert driver.pump(lambda: not widget.panel.busy, SECONDS)
    driver.click(widget.ui.copyButton)
    lines = qt.QApplication.clipboard().text().splitlines()
    assert [line.split("\t")[0] for line in lines] == ["Segment", "Hippocampus, anterior", "Hippocampus, posterior"]

    opened: list[str] = []
    monkeypatch.setattr(results, "_open", opened.append)
    driver.click(widget.ui.reportButton)
    page = Path(opened[0]).read_text(encoding="utf-8")
    assert Path(opened[0]).parent == Path(slicer.app.temporaryPath)
    assert "Hippocampus, anterior" in page
    assert "hippocampus-t1" in page
    Path(opened[0]).unlink()


def test_the_example_in_the_documentation_runs(module: Any, logic: Any, volume_node: Any, tmp_path: Path) -> None:
    text = inspect.getdoc(module.AHNetSegmentLogic)
    assert text is not None
    code = textwrap.dedent(text.partition("Example::")[2])
    names: dict[str, Any] = {"AHNetSegmentLogic": module.AHNetSegmentLogic, "outputFolder": tmp_path}
    exec(compile(code, "docstring", "exec"), names)
    assert names["segmentation"].GetSegmentation().GetNumberOfSegments() == 2
    assert names["result"].done == 1


def test_the_console_refuses_unknown_settings(logic: Any, volume_node: Any) -> None:
    with pytest.raises(TypeError, match="colour"):
        logic.segment(volume_node, model="hippocampus-t1", colour="red")


def test_the_console_adds_segments_beside_others_or_replaces_them(logic: Any, volume_node: Any) -> None:
    node = logic.segment(volume_node, model="hippocampus-t1")
    assert logic.segment(volume_node, model="hippocampus-t1", segmentationNode=node) is node
    assert node.GetSegmentation().GetNumberOfSegments() == 4
    logic.segment(volume_node, model="hippocampus-t1", segmentationNode=node, replace=True)
    assert node.GetSegmentation().GetNumberOfSegments() == 4


def test_progress_can_stop_the_console(logic: Any, volume_node: Any, scene: Any) -> None:
    from AHNetSegmentLib.engine.errors import Cancelled

    with pytest.raises(Cancelled):
        logic.segment(volume_node, model="hippocampus-t1", progress=lambda done, total: False)
    assert scene.GetFirstNodeByClass("vtkMRMLSegmentationNode") is None


def test_the_console_needs_no_main_window(logic: Any, volume_node: Any) -> None:
    with driver.no_main_window():
        assert logic.segment(volume_node, model="hippocampus-t1") is not None


def test_a_batch_of_nodes(logic: Any, volume_node: Any, scene: Any, tmp_path: Path) -> None:
    from AHNetSegmentLib.scene.selftest import example_volume

    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Empty")
    nodes = [volume_node, example_volume("CT"), empty]
    first = logic.segmentBatch(nodes, tmp_path, model="hippocampus-t1")
    assert (first.done, first.skipped, first.failed) == (2, 0, 1)
    table = (tmp_path / "batch.csv").read_text(encoding="utf-8")
    assert "Empty is empty" in table
    second = logic.segmentBatch(nodes, tmp_path, model="hippocampus-t1")
    assert second.done == 0


def test_a_batch_of_real_volumes_with_broken_ones_among_them(logic: Any, shared_data: Path, tmp_path: Path) -> None:
    scans, output = tmp_path / "scans", tmp_path / "out"
    scans.mkdir()
    images = sorted((shared_data / "hippocampus-t1" / "images").iterdir())[:20]
    for path in images:
        shutil.copy(path, scans)
    (scans / "cut_off.nii.gz").write_bytes(images[0].read_bytes()[:500])
    (scans / "text.nrrd").write_text("no image", encoding="utf-8")
    np.save(scans / "other.npy", np.zeros(3))
    (scans / "other.npy").rename(scans / "other.mha")
    first = logic.segmentBatch(scans, output, model="hippocampus-t1")
    assert (first.done, first.failed) == (20, 3)
    assert {record.name for record in first.records if record.error} == {"cut_off", "text", "other"}
    assert len(list(output.glob("*.seg.nrrd"))) == 20
    times = {path: path.stat().st_mtime_ns for path in output.glob("*.seg.nrrd")}
    second = logic.segmentBatch(scans, output, model="hippocampus-t1")
    assert second.done == 0
    assert times == {path: path.stat().st_mtime_ns for path in output.glob("*.seg.nrrd")}
