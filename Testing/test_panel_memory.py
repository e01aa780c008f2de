"""What a run has held is free when it is over: no timer, no callable and no noted object keeps voxels."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import driver

driver.require()

from scene_helpers import two_classes, two_labels
from scene_helpers import volume_node as new_volume

SECONDS = 120
RUNS = ("SegmentRun", "TrainRun", "EvaluationRun", "CaseStore", "Exchange", "Writing", "Scan", "Finished", "_Run")


def alive(*names: str) -> dict[str, int]:
    """How many objects there are of our classes of these names."""
    gc.collect()
    found = dict.fromkeys(names, 0)
    for item in gc.get_objects():
        cls = type(item)
        if cls.__name__ in found and cls.__module__.startswith("AHNetSegmentLib"):
            found[cls.__name__] += 1
    return {name: count for name, count in found.items() if count}


class Timers:
    """Timers that wait.

    Attributes:
        kept: those that tests before this one have left for good, as Slicer's own single shots are.
    """

    kept = 0

    @staticmethod
    def count() -> int:
        import slicer

        return sum(child.className() == "QTimer" for child in slicer.app.moduleManager().children())


def timers() -> int:
    """How many timers of this test wait."""
    return Timers.count() - Timers.kept


def no_timer_waits() -> bool:
    driver.pump(timeout_s=0.05)
    return driver.pump(lambda: not timers(), 15)


@pytest.fixture
def nothing_before(widget: Any) -> None:
    """What earlier tests have left is none of ours."""
    Timers.kept = 0
    driver.pump(lambda: not timers(), 3)
    Timers.kept = Timers.count()
    assert alive(*RUNS) == {}


def test_after_three_segmentations_and_the_scene_closed_nothing_is_left(
    widget: Any, scene: Any, nothing_before: None
) -> None:
    from AHNetSegmentLib.scene.selftest import example_volume

    parameters = widget._parameterNode
    for end in ("finished", "finished", "cancelled"):
        parameters.model, parameters.outputSegmentation = "hippocampus-t1", None
        parameters.inputVolume = example_volume()
        widget.ui.segmentButton.click()
        assert widget.panel.busy, widget.ui.statusLabel.text
        if end == "cancelled":
            widget.panel.run.cancel()
        assert driver.pump(lambda: not widget.panel.busy, SECONDS)
        assert ("Done in" in widget.ui.statusLabel.text) == (end == "finished"), widget.ui.statusLabel.text
        assert no_timer_waits()
        assert alive("SegmentRun", "Scan", "_Run") == {}
    scene.Clear(False)
    driver.messages.clear()
    assert no_timer_waits()
    assert alive(*RUNS) == {}


def test_a_run_that_somebody_still_holds_holds_no_voxels(widget: Any, nothing_before: None) -> None:
    from AHNetSegmentLib.scene.selftest import example_volume

    parameters = widget._parameterNode
    parameters.model, parameters.inputVolume = "hippocampus-t1", example_volume()
    widget.ui.segmentButton.click()
    run = widget.panel.run
    assert run is not None, widget.ui.statusLabel.text
    widget.panel.close()
    assert driver.pump(lambda: widget.worker.state != "busy", SECONDS)
    assert no_timer_waits()
    assert driver.errors == []
    held = [item for item in gc.get_referents(run.__dict__) if not isinstance(item, str | bool | float | int | tuple)]
    assert not any(type(item).__name__.startswith("vtkMRML") for item in held)
    assert alive("Scan", "Exchange", "Writing") == {}
    assert all(value is None for name, value in vars(run).items() if name in ("_scan", "_volume_node", "_exchange"))


def test_a_panel_that_goes_in_the_middle_of_a_run_leaves_no_timer(widget: Any, nothing_before: None) -> None:
    from AHNetSegmentLib.scene.selftest import example_volume

    parameters = widget._parameterNode
    parameters.model, parameters.inputVolume = "hippocampus-t1", example_volume()
    widget.ui.segmentButton.click()
    assert widget.panel.busy, widget.ui.statusLabel.text
    assert driver.pump(lambda: widget.worker.state == "busy", SECONDS)
    own = widget.ownModels
    own.update()
    assert own.manage._look_again.waits
    widget.cleanup()
    waiting = (own.manage._look_again, own.evaluation._look_again, own.cases._turn_soon, widget.panel._judge_soon)
    assert not any(once.waits for once in waiting)
    assert no_timer_waits()
    assert driver.errors == []


class PlayedWorker:
    """A worker that does what the test says."""

    log, pid = "", None

    def __init__(self) -> None:
        self.state = "idle"
        self.told: dict[str, Callable[..., None]] = {}

    def start(self) -> None:
        pass

    def run(self, task: str, arguments: dict[str, Any], **told: Callable[..., None]) -> None:
        self.told, self.state = told, "busy"

    def cancel(self, grace_ms: int = 0) -> None:
        pass

    def stop(self) -> None:
        self.told, self.state = {}, "off"

    def end(self, how: str, *values: Any) -> None:
        told, self.told, self.state = self.told, {}, "idle"
        told[how](*values)


@pytest.fixture
def cases(widget: Any) -> SimpleNamespace:
    """A case, and what a run of it is made of."""
    from AHNetSegmentLib.scene.cases import CaseRow
    from AHNetSegmentLib.scene.segments import add_segments, new_segmentation_node

    volume = new_volume(np.arange(24 * 20 * 16, dtype=np.int16).reshape(16, 20, 24))
    labels = new_segmentation_node(volume, "labels")
    volume = new_volume()
    labels = new_segmentation_node(volume, "labels")
    add_segments(labels, two_labels(), volume, two_classes(), closed_surface=False)
    mapping = {item.name: item.label for item in two_classes()}
    return SimpleNamespace(rows=(CaseRow(volume, labels),), mapping=mapping, classes=two_classes())


@pytest.mark.parametrize("how", [("finished", {}), ("failed", "No."), ("cancelled",)], ids=lambda how: how[0])
def test_trainings_leave_nothing(
    how: tuple[Any, ...], cases: SimpleNamespace, tmp_path: Path, nothing_before: None
) -> None:
    from AHNetSegmentLib.scene.training_run import CasesToTrain, Listener, TrainRun

    ended: list[str] = []
    held = np.zeros(1000)

    def note(name: str) -> Callable[..., None]:
        return lambda *_values, held=held: ended.append(name)

    for number in range(3):
        worker = PlayedWorker()
        listener = Listener(note(""), note(""), note(""), note("finished"), note("failed"), note("cancelled"))
        run = TrainRun(worker, tmp_path / str(number), listener)  # type: ignore[arg-type]
        run.start(CasesToTrain(cases.rows, cases.mapping, cases.classes, {}), {})
        assert driver.pump(lambda worker=worker: bool(worker.told), 20)
        worker.end(*how)
        assert ended[-1] == how[0]
        assert run._listener is not listener
        del run, listener
    assert no_timer_waits()
    assert alive("TrainRun", "CaseStore", "Writing", "Listener").get("TrainRun", 0) == 0
    assert alive("CaseStore", "Writing") == {}


def test_a_training_that_is_dropped_while_its_cases_are_copied_leaves_nothing(
    cases: SimpleNamespace, tmp_path: Path, nothing_before: None
) -> None:
    from AHNetSegmentLib.scene.training_run import NOBODY, CasesToTrain, TrainRun

    run = TrainRun(PlayedWorker(), tmp_path / "job", NOBODY)  # type: ignore[arg-type]
    run.start(CasesToTrain(cases.rows, cases.mapping, cases.classes, {}), {})
    run.abandon()
    del run
    assert no_timer_waits()
    assert alive("TrainRun", "CaseStore", "Writing") == {}


@pytest.mark.parametrize("how", [("finished", {}), ("failed", "No."), ("cancelled",)], ids=lambda how: how[0])
def test_evaluations_leave_nothing(
    how: tuple[Any, ...], cases: SimpleNamespace, tmp_path: Path, nothing_before: None
) -> None:
    from AHNetSegmentLib.scene.evaluation_run import EvaluationRun, Plan

    ended: list[str] = []

    def note(name: str) -> Callable[..., None]:
        return lambda *_values: ended.append(name)

    for _ in range(3):
        worker = PlayedWorker()
        run = EvaluationRun(
            worker,  # type: ignore[arg-type]
            note(""), note(""), note("finished"), note("failed"), note("cancelled"),
        )  # fmt: skip
        run.start(Plan(cases.rows, cases.mapping, cases.classes), tmp_path)
        assert driver.pump(lambda worker=worker: bool(worker.told), 20)
        folder = run._exchange.folder
        worker.end(*how)
        assert ended[-1] == how[0]
        assert driver.pump(lambda folder=folder: not folder.exists(), 20)
        del run
    assert no_timer_waits()
    assert alive("EvaluationRun", "CaseStore", "Writing", "Exchange") == {}
