"""The tables of cases and structures, with real clicks on real Qt widgets over a real scene."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import driver

driver.require()

from AHNetSegmentLib.engine.resources import resources_folder
from panel_helpers import tip

UI = resources_folder() / "UI" / "Cases.ui"
VOLUME, SEGMENTATION, USE, COMPLETE, CHECK = range(5)


pytestmark = pytest.mark.usefixtures("started")


@pytest.fixture
def make(scene: Any) -> Callable[..., Any]:
    """Makes a volume and a segmentation of it with two segments."""
    import scene_helpers as helpers
    from AHNetSegmentLib.scene.segments import add_segments, new_segmentation_node

    def pair(name: str = "T1", names: tuple[str, str] = ("Anterior", "Posterior")) -> Any:
        volume = helpers.volume_node(name=name)
        node = new_segmentation_node(volume, f"{name} labels")
        classes = [replace(item, name=text) for item, text in zip(helpers.two_classes(), names, strict=True)]
        add_segments(node, helpers.two_labels(), volume, classes, closed_surface=False)
        return volume, node

    return pair


class Panel:
    """The section, and what a person sees of it."""

    def __init__(self) -> None:
        import slicer

        from AHNetSegmentLib.scene.case_table import CaseTable

        self.widget = slicer.util.loadUI(str(UI))
        self.ui = slicer.util.childWidgetVariables(self.widget)
        self.widget.setMRMLScene(slicer.mrmlScene)
        self.changes = 0
        self.table = CaseTable(self.ui, self._changed)

    def _changed(self) -> None:
        self.changes += 1

    def text(self, row: int, column: int) -> str:
        return str(self.ui.casesTable.item(row, column).text())

    def texts(self, column: int = VOLUME) -> list[str]:
        return [self.text(row, column) for row in range(self.ui.casesTable.rowCount)]

    def checked(self) -> bool:
        """Waits until every row says what was found."""
        return driver.pump(lambda: "…" not in self.texts(CHECK), 10)

    def tool_tip(self, row: int) -> str:
        return str(self.ui.casesTable.item(row, CHECK).toolTip())

    def structures(self) -> dict[str, str]:
        """Class shown beside each segment name."""
        table = self.ui.structuresTable
        return {table.item(row, 0).text(): table.cellWidget(row, 1).currentText for row in range(table.rowCount)}

    def box(self, name: str) -> Any:
        """The box of classes of a segment name."""
        table = self.ui.structuresTable
        row = next(row for row in range(table.rowCount) if table.item(row, 0).text() == name)
        return table.cellWidget(row, 1)

    def write(self, name: str, text: str) -> None:
        """Writes a class beside a segment name, as a person does."""
        driver.type_text(self.box(name).lineEdit(), text)
        driver.pump(lambda: False, 0.05)


@pytest.fixture
def panel(scene: Any) -> Iterator[Panel]:
    found = Panel()
    yield found
    found.table.close()
    found.widget.deleteLater()


@pytest.fixture
def card() -> Any:
    from AHNetSegmentLib.engine.card import read_card

    return read_card(resources_folder() / "Models" / "hippocampus-t1" / "model.json")


def test_a_pair_is_chosen_and_added_once(panel: Panel, make: Callable[..., Any]) -> None:
    volume, node = make("Head")
    make("Other")
    ui = panel.ui
    assert not ui.addCaseButton.enabled
    assert tip(ui.addCaseButton) == "Select a volume and a segmentation first."
    assert driver.choose(ui.caseVolumeSelector, "Head")
    assert driver.choose(ui.caseSegmentationSelector, "Head labels")
    assert driver.click(ui.addCaseButton)
    assert ui.casesNoteLabel.text == "Added Head with Head labels."
    assert driver.click(ui.addCaseButton)
    assert ui.casesNoteLabel.text == "Head with Head labels is in the table already."
    (row,) = panel.table.rows()
    assert (row.volume_node, row.segmentation_node, row.use, row.complete) == (volume, node, "auto", False)
    assert (panel.texts(), panel.texts(SEGMENTATION)) == (["Head"], ["Head labels"])


def test_all_pairs_are_added_and_what_found_no_volume_is_named(
    panel: Panel, make: Callable[..., Any], scene: Any
) -> None:
    make("A")
    make("B")
    orphan = make("C")
    scene.RemoveNode(orphan[0])
    elsewhere = orphan[1].GetSegmentation().GetSegment("Anterior").GetRepresentation("Binary labelmap")
    elsewhere.SetOrigin(0.3, 0.1, 0.2)
    assert driver.click(panel.ui.addAllCasesButton)
    assert panel.texts() == ["A", "B"]
    assert panel.ui.casesNoteLabel.text.splitlines() == [
        "Added 2 of 2 pairs in the scene.",
        "C labels has no volume: it names none, and lies on the grid of none or of several; add it by hand.",
    ]
    make("D")
    assert driver.click(panel.ui.addAllCasesButton)
    assert panel.texts() == ["A", "B", "D"]
    assert panel.ui.casesNoteLabel.text.startswith("Added 1 of 3 pairs in the scene.")


def test_selected_cases_are_removed(panel: Panel, make: Callable[..., Any]) -> None:
    for name in "ABC":
        make(name)
    driver.click(panel.ui.addAllCasesButton)
    assert not panel.ui.removeCaseButton.enabled
    panel.ui.casesTable.selectRow(1)
    assert driver.click(panel.ui.removeCaseButton)
    assert panel.texts() == ["A", "C"]
    assert [row.volume_node.GetName() for row in panel.table.rows()] == ["A", "C"]
    assert not panel.ui.removeCaseButton.enabled


def test_use_and_completeness_are_the_row_s_own(panel: Panel, make: Callable[..., Any]) -> None:
    import qt

    for name in "AB":
        make(name)
    driver.click(panel.ui.addAllCasesButton)
    table = panel.ui.casesTable
    box = table.cellWidget(1, USE)
    assert [box.itemText(index) for index in range(box.count)] == ["Automatic", "Training", "Validation"]
    assert driver.choose(box, "Validation")
    table.item(0, COMPLETE).setCheckState(qt.Qt.Checked)
    assert [(row.use, row.complete) for row in panel.table.rows()] == [("auto", True), ("validation", False)]
    assert "what is not labelled is background" in table.item(0, COMPLETE).toolTip()
    make("C")
    driver.click(panel.ui.addAllCasesButton)
    assert [(row.use, row.complete) for row in panel.table.rows()] == [
        ("auto", True), ("validation", False), ("auto", False),
    ]  # fmt: skip
    assert table.cellWidget(1, USE).currentText == "Validation"
    assert table.item(0, COMPLETE).checkState() == qt.Qt.Checked


def test_rows_wait_for_their_check_and_then_say_what_was_found(panel: Panel, make: Callable[..., Any]) -> None:
    make("Good")
    _, node = make("Odd")
    node.GetSegmentation().AddEmptySegment("t", "Tumour")
    driver.click(panel.ui.addAllCasesButton)
    assert panel.checked()
    sentence = "Odd labels has no voxels in Tumour; draw it, or leave it: nothing is learned of it here."
    assert panel.texts(CHECK) == ["✓", f"⚠ {sentence}"]
    assert panel.tool_tip(1) == sentence
    assert panel.ui.casesFindingsLabel.text == f"⚠ {sentence}"
    assert panel.table.problems() == []


def test_checks_come_one_a_turn(panel: Panel, make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    import qt

    from AHNetSegmentLib.scene import case_table

    calls: list[str] = []

    def check(row: Any, *rest: Any) -> list[Any]:
        calls.append(row.volume_node.GetName())
        return []

    monkeypatch.setattr(case_table, "check_row", check)
    for name in "ABCD":
        make(name)
    turns = qt.QTimer()
    turns.setInterval(0)
    turns.connect("timeout()", lambda: calls.append(""))
    turns.start()
    driver.click(panel.ui.addAllCasesButton)
    seen = panel.texts(CHECK)
    assert panel.checked()
    turns.stop()
    assert "…" in seen
    assert [name for name in calls if name] == ["A", "B", "C", "D"]
    # The event loop has turned between any two checks.
    assert all(not (one and other) for one, other in itertools.pairwise(calls))
    driver.pump(lambda: False, 0.5)
    assert [name for name in calls if name] == ["A", "B", "C", "D"]


def test_a_problem_hinders_until_it_is_mended(panel: Panel, make: Callable[..., Any]) -> None:
    import scene_helpers as helpers

    assert panel.table.problems() == ["Add at least one case: a volume and a segmentation of it."]
    _, node = make("Bent")
    warp = helpers.warp(node)
    driver.click(panel.ui.addAllCasesButton)
    assert panel.checked()
    sentence = "Bent labels is under the non-linear transform Warp; harden the transform, or take the node out of it."
    assert panel.table.problems() == [sentence]
    assert panel.text(0, CHECK) == f"✗ {sentence}"
    before = panel.changes
    node.SetAndObserveTransformNodeID(None)
    assert panel.table.problems() == ["The cases are still being checked."]
    assert driver.pump(lambda: panel.text(0, CHECK) == "✓", 5)
    assert panel.table.problems() == []
    assert panel.changes > before
    node.SetAndObserveTransformNodeID(warp.GetID())
    assert driver.pump(lambda: panel.text(0, CHECK).startswith("✗"), 5)


def test_what_is_drawn_or_erased_is_checked_anew(panel: Panel, make: Callable[..., Any]) -> None:
    import slicer

    volume, node = make("Head")
    driver.click(panel.ui.addAllCasesButton)
    assert panel.checked()
    nothing = np.zeros(volume.GetImageData().GetDimensions()[::-1], np.uint8)
    for name in ("Anterior", "Posterior"):
        slicer.util.updateSegmentBinaryLabelmapFromArray(nothing, node, name, volume)
    assert driver.pump(lambda: panel.text(0, CHECK).startswith("✗ Every learned segment of Head labels is empty"), 5)
    slicer.util.updateSegmentBinaryLabelmapFromArray(nothing + 1, node, "Anterior", volume)
    assert driver.pump(lambda: panel.text(0, CHECK).startswith("⚠ Head labels has no voxels in Posterior"), 5)
    slicer.util.arrayFromVolume(volume)[:] = 3
    slicer.util.arrayFromVolumeModified(volume)
    assert driver.pump(lambda: panel.text(0, CHECK).startswith("✗ Head has the value 3 in every voxel"), 5)


def test_strokes_and_moved_transforms_are_checked_anew(panel: Panel, make: Callable[..., Any]) -> None:
    from vtk.util.numpy_support import vtk_to_numpy

    import scene_helpers as helpers

    _, node = make("Head")
    transform = helpers.linear_transform(np.eye(4), node)
    driver.click(panel.ui.addAllCasesButton)
    assert panel.checked()
    assert panel.texts(CHECK) == ["✓"]
    far = np.eye(4)
    far[:3, 3] = 400
    transform.SetMatrixTransformToParent(helpers.matrix_from_array(far))
    assert driver.pump(lambda: panel.text(0, CHECK).startswith("✗ Head labels lies outside Head"), 5)
    transform.SetMatrixTransformToParent(helpers.matrix_from_array(np.eye(4)))
    assert driver.pump(lambda: panel.text(0, CHECK) == "✓", 5)
    layer = node.GetSegmentation().GetSegment("Anterior").GetRepresentation("Binary labelmap")
    vtk_to_numpy(layer.GetPointData().GetScalars())[:] = 0
    layer.GetPointData().GetScalars().Modified()
    layer.Modified()
    assert driver.pump(lambda: panel.text(0, CHECK).startswith("✗ Every learned segment of Head labels is empty"), 5)


def test_one_volume_in_several_cases_is_said_of_both(panel: Panel, make: Callable[..., Any]) -> None:
    volume, _ = make("Head")
    _, other = make("Second")
    panel.ui.caseVolumeSelector.setCurrentNode(volume)
    panel.ui.caseSegmentationSelector.setCurrentNode(other)
    driver.click(panel.ui.addCaseButton)
    driver.click(panel.ui.addAllCasesButton)
    assert panel.checked()
    sentence = "Head is the volume of several cases; keep the one with the best segmentation."
    assert panel.texts() == ["Head", "Head", "Second"]
    assert panel.texts(CHECK) == [f"⚠ {sentence}", f"⚠ {sentence}", "✓"]
    assert panel.table.problems() == []


def test_a_removed_node_takes_its_row_along(panel: Panel, make: Callable[..., Any], scene: Any) -> None:
    (volume, _), (_, node), _ = make("A", ("One", "Two")), make("B", ("Three", "Four")), make("C")
    driver.click(panel.ui.addAllCasesButton)
    assert panel.checked()
    scene.RemoveNode(volume)
    assert [row.volume_node.GetName() for row in panel.table.rows()] == ["B", "C"]
    assert driver.pump(lambda: panel.texts() == ["B", "C"], 2)
    scene.RemoveNode(node)
    assert driver.pump(lambda: panel.texts() == ["C"], 2)
    assert panel.structures() == {"Anterior": "Anterior", "Posterior": "Posterior"}
    assert panel.checked()
    assert panel.texts(CHECK) == ["✓"]


def test_renamed_nodes_and_segments_are_shown_anew(panel: Panel, make: Callable[..., Any]) -> None:
    volume, node = make("A")
    driver.click(panel.ui.addAllCasesButton)
    assert panel.checked()
    volume.SetName("Head")
    node.SetName("Labels of the head")
    node.GetSegmentation().GetSegment("Anterior").SetName("Front")
    assert driver.pump(lambda: panel.texts() == ["Head"] and "Front" in panel.structures(), 5)
    assert panel.texts(SEGMENTATION) == ["Labels of the head"]
    assert panel.table.mapping() == {"Front": 1, "Posterior": 2}
    assert panel.checked()


def test_closing_the_scene_empties_the_tables(panel: Panel, make: Callable[..., Any], scene: Any) -> None:
    make("A")
    driver.click(panel.ui.addAllCasesButton)
    panel.write("Anterior", "Front")
    scene.Clear(False)
    assert panel.table.rows() == ()
    assert panel.ui.casesTable.rowCount == 0
    assert panel.ui.structuresTable.rowCount == 0
    assert (panel.table.classes(), panel.table.mapping()) == ((), {})
    driver.pump(lambda: False, 0.1)
    make("B")
    driver.click(panel.ui.addAllCasesButton)
    assert panel.texts() == ["B"]
    assert panel.structures() == {"Anterior": "Anterior", "Posterior": "Posterior"}
    assert panel.checked()


def test_after_close_the_scene_is_left_alone(panel: Panel, make: Callable[..., Any], scene: Any) -> None:
    volume, _ = make("A")
    observed_by_slicer = volume.HasObserver("AnyEvent")
    driver.click(panel.ui.addAllCasesButton)
    assert panel.checked()
    assert volume.HasObserver("AnyEvent")
    panel.table.close()
    assert volume.HasObserver("AnyEvent") == observed_by_slicer
    before = panel.changes
    volume.SetName("Other")
    scene.Clear(False)
    driver.pump(lambda: False, 0.5)
    assert panel.changes == before


# Structures


def test_segment_names_of_all_cases_are_rows_whatever_their_letters(panel: Panel, make: Callable[..., Any]) -> None:
    make("A", ("Liver", "Tumour"))
    make("B", ("spleen", "LIVER"))
    driver.click(panel.ui.addAllCasesButton)
    assert panel.structures() == {"Liver": "Liver", "Tumour": "Tumour", "spleen": "spleen"}
    assert [(item.label, item.name) for item in panel.table.classes()] == [(1, "Liver"), (2, "Tumour"), (3, "spleen")]
    assert panel.table.mapping() == {"Liver": 1, "Tumour": 2, "spleen": 3}


def test_several_segments_become_one_class(panel: Panel, make: Callable[..., Any]) -> None:
    make("A", ("Left lung", "Right lung"))
    driver.click(panel.ui.addAllCasesButton)
    panel.write("Left lung", "Lung")
    assert panel.structures() == {"Left lung": "Lung", "Right lung": "Right lung"}
    assert driver.choose(panel.box("Right lung"), "Lung")
    driver.pump(lambda: False, 0.05)
    (item,) = panel.table.classes()
    assert (item.label, item.name, item.color) == (1, "Lung", (255, 0, 51))
    assert panel.table.mapping() == {"Left lung": 1, "Right lung": 1}
    panel.write("Right lung", "LUNG ")
    assert [item.name for item in panel.table.classes()] == ["Lung"]
    assert panel.structures()["Right lung"] == "Lung"


@pytest.mark.parametrize("nothing", ["", "–"])
def test_a_segment_can_be_left_out(panel: Panel, make: Callable[..., Any], nothing: str) -> None:
    make("A")
    driver.click(panel.ui.addAllCasesButton)
    if nothing:
        assert driver.choose(panel.box("Anterior"), nothing)
        driver.pump(lambda: False, 0.05)
    else:
        panel.write("Anterior", nothing)
    assert panel.table.mapping() == {"Posterior": 1}
    assert [item.name for item in panel.table.classes()] == ["Posterior"]
    assert driver.choose(panel.box("Posterior"), "–")
    driver.pump(lambda: False, 0.05)
    assert panel.table.problems() == ["Choose a class for at least one segment."]
    assert panel.checked()
    assert panel.text(0, CHECK).startswith("✗ A labels has no segment that is learned")


def test_the_base_lends_names_colours_and_terms(panel: Panel, make: Callable[..., Any], card: Any) -> None:
    make("A", ("Own", "hippocampus, POSTERIOR"))
    driver.click(panel.ui.addAllCasesButton)
    assert [item.name for item in panel.table.classes()] == ["Own", "hippocampus, POSTERIOR"]
    panel.table.set_base(card)
    driver.pump(lambda: False, 0.05)
    assert panel.structures() == {"Own": "Own", "hippocampus, POSTERIOR": "Hippocampus, posterior"}
    first, second = panel.table.classes()
    assert first == replace(card.classes[1], label=1)
    import scene_helpers as helpers

    assert (second.label, second.name, second.color) == (2, "Own", (255, 0, 51))
    assert second.terminology == helpers.HIPPOCAMPUS
    box = panel.box("Own")
    offered = [box.itemText(index) for index in range(box.count)]
    assert offered == ["–", "Hippocampus, anterior", "Hippocampus, posterior", "Own"]
    assert driver.choose(box, "Hippocampus, anterior")
    driver.pump(lambda: False, 0.05)
    assert panel.table.classes() == card.classes
    assert panel.table.mapping() == {"Own": 1, "hippocampus, POSTERIOR": 2}
    assert panel.checked()
    assert "hippocampus-t1 was trained on axial ones, to which they are resampled (3 mm" in panel.tool_tip(0)
    assert panel.table.problems() == []
    panel.table.set_base(None)
    assert driver.pump(lambda: panel.text(0, CHECK) == "✓", 5)


def test_what_was_chosen_for_a_name_is_kept_when_it_comes_again(panel: Panel, make: Callable[..., Any]) -> None:
    _, node = make("A")
    driver.click(panel.ui.addAllCasesButton)
    panel.write("Anterior", "Head of it")
    node.GetSegmentation().RemoveSegment("Anterior")
    assert driver.pump(lambda: "Anterior" not in panel.structures(), 5)
    make("B")
    driver.click(panel.ui.addAllCasesButton)
    assert panel.structures() == {"Posterior": "Posterior", "Anterior": "Head of it"}


def test_a_segment_of_slicers_own_terms_becomes_tissue(panel: Panel, make: Callable[..., Any]) -> None:
    _, node = make("A")
    node.GetSegmentation().GetSegment("Anterior").SetTerminology("")
    driver.click(panel.ui.addAllCasesButton)
    terms = panel.table.classes()[0].terminology
    assert (terms.category.value, terms.type.value) == ("123037004", "85756007")


def test_nothing_can_be_changed_while_disabled(panel: Panel, make: Callable[..., Any]) -> None:
    make("A")
    driver.click(panel.ui.addAllCasesButton)
    panel.ui.casesTable.selectRow(0)
    panel.table.enabled = False
    make("B")
    assert not driver.click(panel.ui.addAllCasesButton)
    assert not driver.click(panel.ui.removeCaseButton)
    assert not driver.choose(panel.ui.casesTable.cellWidget(0, USE), "Training")
    assert not driver.choose(panel.box("Anterior"), "–")
    panel.table.enabled = True
    assert driver.click(panel.ui.addAllCasesButton)
    assert panel.texts() == ["A", "B"]
