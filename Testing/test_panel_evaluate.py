"""The section Evaluate, with real clicks; once with the real worker process and a bundled model."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import driver

driver.require()

from AHNetSegmentLib.engine.resources import resources_folder
from panel_helpers import tip
from scene_helpers import of_a_layout

UI = resources_folder() / "UI"
MODEL = resources_folder() / "Models" / "hippocampus-t1"
ANTERIOR, POSTERIOR = "Hippocampus, anterior", "Hippocampus, posterior"
NAME, DICE, HD95, ML, PERCENT = range(5)
SECONDS = 120


pytestmark = pytest.mark.usefixtures("started")


@pytest.fixture
def card() -> Any:
    from AHNetSegmentLib.engine.card import read_card

    return read_card(MODEL / "model.json")


@pytest.fixture
def make(scene: Any) -> Callable[..., Any]:
    """Makes a volume and a segmentation of it with two segments."""
    import scene_helpers as helpers
    from AHNetSegmentLib.scene.segments import add_segments, new_segmentation_node

    def pair(name: str = "T1", names: tuple[str, str] = (ANTERIOR, POSTERIOR)) -> Any:
        volume = helpers.volume_node(name=name)
        node = new_segmentation_node(volume, f"{name} labels")
        classes = [replace(item, name=text) for item, text in zip(helpers.two_classes(), names, strict=True)]
        add_segments(node, helpers.two_labels(), volume, classes, closed_surface=False)
        return volume, node

    return pair


class FakeWorker:
    """A worker that computes when it is told to, from what it finds in the job's folder."""

    log = ""

    def __init__(self) -> None:
        self.state = "off"
        self.told: dict[str, Any] = {}
        self.arguments: dict[str, Any] = {}
        self.job: dict[str, Any] = {}
        self.labels: list[np.ndarray] = []
        self.cancelled = False

    def start(self) -> None:
        pass

    def run(self, task: str, arguments: dict[str, Any], **told: Any) -> None:
        assert task == "evaluate"
        self.state, self.told, self.arguments = "busy", told, arguments
        folder = Path(arguments["job"])
        self.job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
        self.labels = [np.load(folder / case["folder"] / "labels.npy") for case in self.job["cases"]]

    def cancel(self) -> None:
        self.cancelled = True
        self.end("cancelled")

    def end(self, whom: str, *values: Any) -> None:
        self.state = "idle"
        self.told[whom](*values)

    def finish(self, shift: int = 0) -> None:
        """Answers with the evaluation of the labels, moved along k, against themselves."""
        from AHNetSegmentLib.engine.card import classes_from_dicts
        from AHNetSegmentLib.engine.evaluation import LabelPair, evaluate_cases
        from AHNetSegmentLib.engine.tasks import geometry_from_dict

        pairs = [
            LabelPair(
                case["name"],
                np.roll(labels, shift, axis=0),
                labels,
                geometry_from_dict(case["geometry"]),
                None if case["labelled"] is None else tuple(case["labelled"]),
            )
            for case, labels in zip(self.job["cases"], self.labels, strict=True)
        ]
        found = evaluate_cases(pairs, classes_from_dicts(self.job["classes"]))
        self.end("finished", {"evaluation": found.to_dict(), "csv": found.csv(), "notes": ["A note."]})


class Panel:
    """Tables of cases, and the section below them."""

    def __init__(self, worker: Any, model: Any) -> None:
        import slicer

        from AHNetSegmentLib.scene.case_table import CaseTable
        from AHNetSegmentLib.scene.evaluating import EvaluateSection

        self.window = slicer.qMRMLWidget()
        import qt

        layout = qt.QVBoxLayout(self.window)
        loaded = [slicer.util.loadUI(str(UI / name)) for name in ("Cases.ui", "Evaluate.ui")]
        for widget in loaded:
            layout.addWidget(widget)
            widget.setMRMLScene(slicer.mrmlScene)
        self.cases_ui, self.ui = (slicer.util.childWidgetVariables(widget) for widget in loaded)
        self.model, self.worker = model, worker
        self.section: Any = None
        self.cases = CaseTable(self.cases_ui, lambda: self.section and self.section.update())
        self.ended: list[tuple[bool, str]] = []
        self.section = EvaluateSection(
            self.ui,
            self.cases,
            worker,
            lambda: self.model,
            ended=lambda: self.ended.append((self.section.busy, worker.state)),
        )

    def add_all(self) -> None:
        driver.click(self.cases_ui.addAllCasesButton)
        assert driver.pump(lambda: self.cases.problems() != ["The cases are still being checked."], 10)

    def begin(self) -> None:
        """Clicks on Evaluate and waits until the worker has the cases."""
        assert driver.click(self.ui.evaluateButton), self.ui.evaluateButton.toolTip
        assert self.section.busy
        assert driver.pump(lambda: self.worker.state == "busy", 10)

    def rows(self) -> list[list[str]]:
        table = self.ui.evaluationTable
        return [[table.item(row, column).text().strip() for column in range(5)] for row in range(table.rowCount)]

    def status(self) -> str:
        return str(self.ui.evaluateStatusLabel.text)


@pytest.fixture
def panel(scene: Any, card: Any) -> Iterator[Panel]:
    found = Panel(FakeWorker(), ("hippocampus-t1", MODEL, card))
    yield found
    found.section.close()
    found.cases.close()
    found.window.deleteLater()


def hidden_nodes(scene: Any) -> list[Any]:
    """The nodes of plots and their tables."""
    kinds = ("vtkMRMLTableNode", "vtkMRMLPlotSeriesNode", "vtkMRMLPlotChartNode", "vtkMRMLPlotViewNode")
    nodes = [scene.GetNthNode(number) for number in range(scene.GetNumberOfNodes())]
    return [node for node in nodes if node.GetClassName() in kinds and not of_a_layout(node)]


def test_the_button_says_why_it_is_disabled(panel: Panel, make: Callable[..., Any]) -> None:
    button = panel.ui.evaluateButton

    def said() -> str:
        panel.section.update()
        assert not button.enabled
        assert panel.status() == tip(button)
        return str(tip(button))

    assert said() == "Add at least one case: a volume and a segmentation of it."
    make("A", ("Liver", "Spleen"))
    panel.add_all()
    assert said().startswith("No segment is a class of the model Hippocampus")
    model, panel.model = panel.model, None
    assert said() == "Choose the model to evaluate first."
    panel.model = model
    driver.choose(panel.cases_ui.structuresTable.cellWidget(0, 1), "–")
    driver.choose(panel.cases_ui.structuresTable.cellWidget(1, 1), "–")
    assert said() == "Choose a class for at least one segment."
    make("B")
    panel.add_all()
    assert said().startswith("A labels has no segment that is learned")
    panel.cases_ui.casesTable.selectRow(0)
    driver.click(panel.cases_ui.removeCaseButton)
    panel.worker.state = "busy"
    assert driver.pump(lambda: panel.cases.problems() == [], 5)
    assert said() == "Another computation is going on; wait until it has finished."
    panel.worker.state = "idle"
    assert driver.pump(lambda: button.enabled, 2)
    assert panel.status() == ""


def test_segments_are_matched_with_the_model_s_classes(panel: Panel, make: Callable[..., Any], card: Any) -> None:
    import scene_helpers as helpers

    make("A", ("One", "hippocampus, ANTERIOR"))
    make("B", ("Liver", "Spleen"))
    panel.add_all()
    assert driver.choose(panel.cases_ui.structuresTable.cellWidget(0, 1), "One")
    panel.begin()
    assert panel.worker.arguments["model"] == str(MODEL)
    assert (panel.worker.arguments["device"], panel.worker.arguments["precision"]) == ("auto", "auto")
    job = panel.worker.job
    assert [item["name"] for item in job["classes"]] == [item.name for item in card.classes]
    (case,) = job["cases"]
    assert case["labelled"] == [1]
    np.testing.assert_array_equal(panel.worker.labels[0], helpers.two_labels() == 2)
    panel.worker.finish()
    assert panel.rows() == [
        [ANTERIOR, "1.000", "0.0", "+0.00", "+0.0"],
        ["A", "1.000", "0.0", "+0.00", "+0.0"],
    ]
    lines = panel.status().splitlines()
    assert lines[0].startswith(f"{card.title}: mean Dice 1.000 over 1 classes and 1 cases, in ")
    assert lines[1:] == [
        f"⚠ The model {card.title} does not know One, Liver, Spleen: left out.",
        f"⚠ B labels has no segment that the model {card.title} knows: left out.",
        "⚠ A note.",
    ]


def test_a_complete_case_speaks_of_the_listed_classes_only(panel: Panel, make: Callable[..., Any]) -> None:
    import qt

    make("A", (ANTERIOR, "Liver"))
    make("B", (POSTERIOR, "Liver"))
    panel.add_all()
    panel.cases_ui.casesTable.item(0, 3).setCheckState(qt.Qt.Checked)
    assert driver.pump(lambda: panel.ui.evaluateButton.enabled, 5)
    panel.begin()
    assert [case["labelled"] for case in panel.worker.job["cases"]] == [None, [2]]
    panel.section.run.cancel()
    panel.cases_ui.casesTable.selectRow(1)
    driver.click(panel.cases_ui.removeCaseButton)
    assert driver.pump(lambda: panel.ui.evaluateButton.enabled, 5)
    panel.begin()
    assert [case["labelled"] for case in panel.worker.job["cases"]] == [[1]]


def test_the_table_has_each_class_and_case_and_the_means(panel: Panel, make: Callable[..., Any]) -> None:
    import scene_helpers as helpers

    _, node = make("A")
    node.GetSegmentation().RemoveSegment(POSTERIOR)
    make("B")
    panel.add_all()
    panel.begin()
    panel.worker.finish(shift=1)
    rows = panel.rows()
    assert [row[NAME] for row in rows] == [ANTERIOR, "A", "B", POSTERIOR, "A", "B"]
    reference = helpers.two_labels() == 1
    moved = np.roll(reference, 1, axis=0)
    dice = f"{2 * (reference & moved).sum() / (reference.sum() + moved.sum()):.3f}"
    assert rows[0][1:] == rows[1][1:] == rows[2][1:] == [dice, "3.0", "+0.00", "+0.0"]
    assert rows[4][1:] == ["–"] * 4
    assert rows[3][1:] == rows[5][1:] != ["–"] * 4
    table = panel.ui.evaluationTable
    assert [table.item(row, 0).font().bold() for row in range(6)] == [True, False, False] * 2
    assert driver.click(panel.ui.copyEvaluationButton)
    import qt

    copied = [line.split("\t") for line in qt.QApplication.clipboard().text().splitlines()]
    assert copied[0] == ["Class", "Case", "Dice", "HD95 (mm)", "Volume error (mL)", "Volume error (%)"]
    assert [row[2:] for row in copied[1:]] == [row[1:] for row in rows]
    assert [row[:2] for row in copied[1:]] == [
        [ANTERIOR, "Mean"], [ANTERIOR, "A"], [ANTERIOR, "B"], [POSTERIOR, "Mean"], [POSTERIOR, "A"], [POSTERIOR, "B"],
    ]  # fmt: skip


def test_the_plot_s_nodes_are_hidden_and_go_with_the_section(
    panel: Panel, make: Callable[..., Any], scene: Any
) -> None:
    make("A")
    make("B")
    panel.add_all()
    assert hidden_nodes(scene) == []
    for shift in (1, 0):
        panel.begin()
        panel.worker.finish(shift)
    nodes = hidden_nodes(scene)
    assert sorted(node.GetClassName() for node in nodes) == [
        "vtkMRMLPlotChartNode", "vtkMRMLPlotSeriesNode", "vtkMRMLPlotSeriesNode", "vtkMRMLPlotViewNode",
        "vtkMRMLTableNode",
    ]  # fmt: skip
    assert all(node.GetHideFromEditors() and not node.GetSaveWithScene() for node in nodes)
    table = panel.section.results.plot.table.GetTable()
    columns = [table.GetColumn(number) for number in range(table.GetNumberOfColumns())]
    assert [column.GetName() for column in columns] == ["label", "place", f"0 {ANTERIOR}", f"1 {POSTERIOR}"]
    assert [columns[0].GetValue(row) for row in range(2)] == ["A", "B"]
    assert [columns[1].GetValue(row) for row in range(2)] == [1.0, 2.0]
    assert [columns[2].GetValue(row) for row in range(2)] == [1.0, 1.0]
    widget = panel.ui.evaluationPlot.layout().itemAt(0).widget()
    assert widget.mrmlPlotViewNode().GetPlotChartNode() == panel.section.results.plot.chart
    assert panel.ui.evaluationPlot.layout().count() == 2, "the plot and its legend, whatever was drawn before"
    panel.section.close()
    assert hidden_nodes(scene) == []
    assert panel.rows() == []
    assert not panel.ui.copyEvaluationButton.visible


def test_the_csv_names_the_cases(panel: Panel, make: Callable[..., Any], tmp_path: Path) -> None:
    make("Head, first")
    make("Head, second")
    panel.add_all()
    panel.begin()
    panel.worker.finish(shift=1)
    driver.answers.append("")
    driver.click(panel.ui.saveEvaluationButton)
    assert list(tmp_path.iterdir()) == []
    driver.answers.append(tmp_path / "found")
    assert driver.click(panel.ui.saveEvaluationButton)
    with (tmp_path / "found.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["case"], row["class"]) for row in rows] == [
        ("Head, first", ANTERIOR), ("Head, first", POSTERIOR), ("Head, second", ANTERIOR), ("Head, second", POSTERIOR),
    ]  # fmt: skip
    assert f"{float(rows[0]['dice']):.3f}" == panel.rows()[1][DICE]
    (tmp_path / "taken.csv").mkdir()
    driver.answers.append(tmp_path / "taken.csv")
    driver.click(panel.ui.saveEvaluationButton)
    assert "taken.csv could not be written" in driver.messages[-1][1]


def test_progress_is_shown_while_it_goes_on(panel: Panel, make: Callable[..., Any]) -> None:
    make("A")
    panel.add_all()
    panel.begin()
    assert panel.ui.evaluateButton.text == "Cancel"
    bar = panel.ui.evaluateProgressBar
    assert bar.visible
    panel.worker.told["state"]("Loading the model")
    assert panel.status() == "Loading the model…"
    panel.worker.told["progress"](3, 7, 90.0)
    assert (bar.value, bar.maximum) == (3, 7)
    assert panel.status().startswith("Evaluating… about")
    panel.worker.finish()
    assert not bar.visible
    assert panel.ui.evaluateButton.text == "Evaluate"


def test_cancel_and_a_double_click(panel: Panel, make: Callable[..., Any]) -> None:
    make("A")
    panel.add_all()
    panel.begin()
    folder = Path(panel.worker.arguments["job"])
    driver.click(panel.ui.evaluateButton)
    assert not panel.worker.cancelled  # the second half of a double click
    time.sleep(0.5)
    driver.click(panel.ui.evaluateButton)
    assert panel.worker.cancelled
    assert not panel.section.busy
    assert panel.status() == "Cancelled."
    assert panel.rows() == []
    assert driver.pump(lambda: not folder.exists(), 5)


def test_a_failure_is_one_sentence_and_leaves_nothing(panel: Panel, make: Callable[..., Any]) -> None:
    make("A")
    panel.add_all()
    panel.begin()
    folder = Path(panel.worker.arguments["job"])
    panel.worker.end("failed", "The memory ran out; choose a smaller volume.")
    assert driver.messages == [("error", "The memory ran out; choose a smaller volume.")]
    assert panel.status() == "The memory ran out; choose a smaller volume."
    assert driver.pump(lambda: not folder.exists(), 5)
    assert panel.ui.evaluateButton.enabled
    panel.begin()
    panel.worker.finish()
    assert len(panel.rows()) == 4
    assert panel.ended == [(False, "idle")] * 2


def test_a_case_that_breaks_while_it_is_written_is_a_message(panel: Panel, make: Callable[..., Any]) -> None:
    import scene_helpers as helpers

    _, node = make("A")
    panel.add_all()
    panel.ui.evaluateButton.click()
    helpers.warp(node)
    assert driver.pump(lambda: not panel.section.busy, 5)
    assert panel.worker.state != "busy"
    assert "A labels is under the non-linear transform Warp" in panel.status()


def test_closing_the_scene_drops_the_run(panel: Panel, make: Callable[..., Any], scene: Any) -> None:
    make("A")
    panel.add_all()
    panel.begin()
    folder = Path(panel.worker.arguments["job"])
    panel.section.close()
    scene.Clear(False)
    assert panel.worker.cancelled
    assert not panel.section.busy
    assert driver.pump(lambda: not folder.exists(), 5)
    assert not driver.messages
    panel.section.update()
    assert panel.status() == "Add at least one case: a volume and a segmentation of it."


def test_the_real_worker_finds_its_own_segments_perfect(scene: Any, module: Any, card: Any) -> None:
    import scene_helpers as helpers
    from AHNetSegmentLib.scene import worker_process
    from AHNetSegmentLib.scene.selftest import example_volume
    from AHNetSegmentLib.scene.worker import Worker

    volumes = [example_volume("First"), example_volume("Second")]
    helpers.linear_transform(helpers.rotation_and_shift(), volumes[1])
    nodes = [module.AHNetSegmentLogic().segment(volume, model="hippocampus-t1", device="cpu") for volume in volumes]
    nodes[1].GetSegmentation().RemoveSegment(nodes[1].GetSegmentation().GetSegmentIdBySegmentName(POSTERIOR))
    worker = Worker()
    panel = Panel(worker, ("hippocampus-t1", MODEL, card))
    try:
        panel.add_all()
        panel.begin()
        assert driver.pump(lambda: not panel.section.busy, SECONDS)
        assert driver.messages == []
        assert [row[:2] for row in panel.rows()] == [
            [ANTERIOR, "1.000"], ["First", "1.000"], ["Second", "1.000"],
            [POSTERIOR, "1.000"], ["First", "1.000"], ["Second", "–"],
        ], panel.status()  # fmt: skip
        assert panel.rows()[0][2:] == ["0.0", "+0.00", "+0.0"]
        assert "mean Dice 1.000 over 2 classes and 2 cases" in panel.status()
    finally:
        panel.section.close()
        panel.cases.close()
        panel.window.deleteLater()
        worker.stop()
        assert driver.pump(lambda: not worker_process._running, 5)
