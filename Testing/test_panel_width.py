"""The panel fits into Slicer's module panel, which has no horizontal bar: whatever it shows, 430 px are enough."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import driver

driver.require()

from scene_helpers import roi_node, two_classes, two_labels, volume_node

PANEL_PX = 430
LONG = "sub_01_ses_02_T1w_defaced_normalized_registered_to_the_template_space_version_2"
WORDS = "A title that somebody has given to a model of the liver, the spleen and both of the kidneys in CT"
PATH = "/home/somebody/projects/a_study_with_a_very_long_name_that_goes_on_and_on/models/of_this_year"
SENTENCES = "\n".join([f"⚠ {WORDS}: {LONG} is in {PATH}. " * 3] * 6)


@pytest.fixture
def shelf(module: Any, tmp_path: Path) -> Iterator[Path]:
    """A library, with a long path, that holds a model with a long title and long names of classes."""
    import qt

    from AHNetSegmentLib.engine.resources import bundled_models_folder
    from AHNetSegmentLib.scene.library import SETTING

    library = tmp_path / LONG / LONG
    model = library / "long"
    shutil.copytree(bundled_models_folder() / "hippocampus-t1", model)
    card = json.loads((model / "model.json").read_text(encoding="utf-8"))
    card["title"], card["name"] = WORDS, "long"
    for number, item in enumerate(card["classes"]):
        item["name"] = f"{LONG} {number}"
    (model / "model.json").write_text(json.dumps(card), encoding="utf-8")
    qt.QSettings().setValue(SETTING, str(library))
    yield library
    qt.QSettings().remove(SETTING)


@pytest.fixture
def panel(shelf: Path, widget: Any) -> Any:
    """The panel with sections as Slicer has them: none is narrower than what it holds would like to be."""
    root = widget.ui.inputSection.parentWidget()
    assert "long" in widget.logic.shelf.cards()
    return SimpleNamespace(widget=widget, root=root, ui=widget.ui, own=widget.ownModels, sections=sections(root))


def sections(root: Any) -> list[Any]:
    import qt

    found = [child for child in descendants(root) if child.className() == "ctkCollapsibleButton"]
    for section in found:
        section.setSizePolicy(qt.QSizePolicy.Minimum, qt.QSizePolicy.Preferred)
    assert len(found) == 10
    return found


def descendants(widget: Any) -> list[Any]:
    children = [child for child in widget.children() if child.isWidgetType()]
    return [*children, *(more for child in children for more in descendants(child))]


def needed(panel: Any) -> int:
    """The least width of the whole panel, px."""
    import slicer

    for _ in range(3):
        slicer.app.processEvents()
    panel.root.layout().activate()
    return int(panel.root.minimumSizeHint.width())


def widest(panel: Any) -> str:
    """What makes the panel wide, for a message."""
    found = sorted(
        ((max(w.sizeHint.width(), w.minimumSizeHint.width()), w.className(), w.name) for w in descendants(panel.root)),
        reverse=True,
    )
    return "\n".join(map(str, found[:25]))


def check(panel: Any) -> None:
    """All sections open, then each alone."""
    for section in panel.sections:
        section.collapsed = False
    assert needed(panel) <= PANEL_PX, widest(panel)
    for one in panel.sections:
        for section in panel.sections:
            section.collapsed = section is not one
        assert needed(panel) <= PANEL_PX, f"{one.text}\n{widest(panel)}"
    for section in panel.sections:
        section.collapsed = False


def a_case(number: int = 0, classes: int = 2) -> tuple[Any, Any]:
    from AHNetSegmentLib.scene.segments import add_segments, new_segmentation_node

    volume = volume_node(name=f"{LONG} {number}")
    labels = new_segmentation_node(volume, f"{LONG} {LONG} {number}")
    named = [replace(item, name=f"{LONG} {item.name}") for item in two_classes()[:classes]]
    add_segments(labels, two_labels(), volume, named, closed_surface=False)
    return volume, labels


def wait_for_cases(panel: Any) -> None:
    assert driver.pump(lambda: not panel.own.cases._turn_soon.waits, 20)


def nothing(panel: Any) -> None:
    """As it opens in an empty scene."""


def volume_chosen(panel: Any) -> None:
    volume, labels = a_case()
    parameters = panel.widget._parameterNode
    parameters.inputVolume, parameters.outputSegmentation = volume, labels
    parameters.roi = roi_node((0, 0, 0), (9, 9, 9), name=LONG)
    panel.widget.chooseModel("long")
    panel.widget.panel._warnings.say(SENTENCES)


def one_case(panel: Any) -> None:
    volume, labels = a_case()
    panel.own.cases.ui.caseVolumeSelector.setCurrentNode(volume)
    panel.own.cases.ui.caseSegmentationSelector.setCurrentNode(labels)
    panel.own.cases._on_add()
    wait_for_cases(panel)


def many_cases(panel: Any) -> None:
    for number in range(8):
        a_case(number, classes=1 + number % 2)
    panel.own.cases._on_add_all()
    panel.own.cases._note(SENTENCES)
    wait_for_cases(panel)


def base_chosen(panel: Any) -> None:
    many_cases(panel)
    selector = panel.own.training.ui.baseSelector
    selector.currentIndex = selector.findData("long")
    wait_for_cases(panel)
    assert panel.own.training.form.base == "long"


def from_scratch_with_a_file(panel: Any) -> None:
    from AHNetSegmentLib.scene.training_form import RESNET

    one_case(panel)
    ui = panel.own.training.ui
    ui.baseSelector.currentIndex = ui.baseSelector.findData(RESNET)
    ui.resnetPathEdit.currentPath = f"{PATH}/{PATH}/{LONG}.pth"
    wait_for_cases(panel)


def running(panel: Any) -> None:
    volume_chosen(panel)
    panel.ui.progressBar.visible = True
    panel.widget.panel._progress(3, 1000, 4000.0)
    panel.widget.panel._say(f"Preparing {LONG}…")


def result(panel: Any) -> None:
    from AHNetSegmentLib.scene.run import Finished, SegmentVolume

    volume, labels = a_case()
    panel.widget._parameterNode.inputVolume = volume
    rows = tuple(SegmentVolume(f"{LONG} {number}", (9, 99, 199), 1234567.891) for number in range(12))
    panel.widget.panel._finished(Finished(labels, rows, {}, 12.0, "cpu", "bfloat16", (SENTENCES,)))


def training(panel: Any) -> None:
    base_chosen(panel)
    view = panel.own.training.view
    classes = [replace(item, name=f"{LONG} {item.name}") for item in two_classes()]
    view.begin(classes)
    for step in range(1, 6):
        view.report({"kind": "loss", "step": step, "loss": 1.0 / step})
        view.report({"kind": "validation", "step": step, "dice": {item.name: 0.1 * step for item in classes}})
    view.curves.show()
    panel.own.training.ui.trainProgressBar.visible = True
    panel.own.training._progress(3, 100_000, 40_000.0)
    panel.own.training._show_estimate("About 3 hours on this computer, 100000 steps. " * 4)
    evaluation = figures(classes)
    view.show_result({"before": evaluation, "after": evaluation, "notes": [SENTENCES]}, {"case 1": LONG})


def unfinished_training(panel: Any) -> None:
    from AHNetSegmentLib.engine.finetune_tasks import JOB_FILE, job_classes
    from AHNetSegmentLib.scene.library import library_folder
    from AHNetSegmentLib.scene.training_jobs import job_folder

    classes = job_classes(two_classes())
    job = {"title": WORDS, "base": "", "pretrained": False, "classes": classes, "cases": [1, 2]}
    folder = job_folder(library_folder(), LONG)
    folder.mkdir(parents=True)
    (folder / JOB_FILE).write_text(json.dumps(job), encoding="utf-8")
    panel.own.training.list_models()
    assert panel.own.training.ui.unfinishedSelector.count == 1


def figures(classes: Any) -> dict[str, Any]:
    """Of an evaluation of one case."""
    found = {"dice": 0.5, "hausdorff95_mm": 123456.7, "volume_error_ml": -123456.78, "volume_error_percent": -1234.5}
    means = {key: {"mean": value, "sd": 0.0} for key, value in found.items()}
    return {
        "mean_dice": 0.5,
        "classes": [{"class": item.name, "label": item.label, **means} for item in classes],
        "cases": [
            {
                "case": "case 1",
                "classes": [
                    {"class": item.name, "label": item.label, "reference_ml": 1.0, **found} for item in classes
                ],
            }
        ],
    }


def evaluation(panel: Any) -> None:
    from AHNetSegmentLib.scene.evaluation_results import Evaluated

    one_case(panel)
    classes = tuple(replace(item, name=f"{LONG} {item.name}") for item in two_classes())
    section = panel.own.evaluation
    section.results.show(Evaluated(figures(classes), "", classes, (LONG,)))
    section.ui.evaluateProgressBar.visible = True
    section._progress(1, 100, 5000.0)
    section._say(SENTENCES)


def errors(panel: Any) -> None:
    for say in (panel.widget.panel._say, panel.own.training._say, panel.own.evaluation._say, panel.own.manage._say):
        say(SENTENCES)


def long_paths(panel: Any) -> None:
    panel.own.manage._say(f"Written: {PATH}/{LONG}/{LONG}.zip")
    panel.widget.panel._say(f"The temporary folder {PATH}/{LONG}\\{LONG} could not be written.")
    assert LONG in panel.own.manage.ui.libraryButton.directory


@pytest.mark.parametrize(
    "state",
    [
        nothing, volume_chosen, one_case, many_cases, base_chosen, from_scratch_with_a_file, running, result, training,
        unfinished_training, evaluation, errors, long_paths,
    ],
    ids=lambda state: state.__name__,
)  # fmt: skip
def test_no_state_of_the_panel_needs_more_than_the_panel_has(panel: Any, state: Callable[[Any], None]) -> None:
    state(panel)
    driver.messages.clear()
    check(panel)


def test_a_narrow_panel_shows_every_button_and_field(panel: Any) -> None:
    """What may be as narrow as it must still gets the room that there is."""
    import qt

    volume_chosen(panel)
    one_case(panel)
    for section in panel.sections:
        section.collapsed = False
    panel.root.resize(PANEL_PX, panel.root.sizeHint.height())
    panel.root.show()
    needed(panel)
    for kind, least in (("QPushButton", 30), ("QComboBox", 80), ("qMRMLNodeComboBox", 80), ("QTableWidget", 250)):
        shown = [item for item in descendants(panel.root) if item.className() == kind and item.visible]
        assert shown
        for item in shown:
            right = item.mapTo(panel.root, qt.QPoint(item.width, 0)).x()
            in_table = item.parentWidget().parentWidget().className() == "QTableWidget"
            assert in_table or (item.width >= least and right <= PANEL_PX), item.name
    panel.root.hide()


def test_a_word_that_fits_into_no_line_keeps_its_ends() -> None:
    from AHNetSegmentLib.scene.sentences import WORD_LENGTH, fitted

    shown = fitted(f"Preparing {LONG}…")
    assert shown.startswith("Preparing sub_01_ses_02")
    assert shown.endswith("version_2…")
    assert max(map(len, shown.split())) <= WORD_LENGTH
    assert fitted(f"Written: {PATH}") == f"Written: {PATH}".replace(
        "a_study_with_a_very_long_name_that_goes_on_and_on", fitted("a_study_with_a_very_long_name_that_goes_on_and_on")
    )
    assert fitted("The worker is busy; wait.") == "The worker is busy; wait."


def test_what_a_label_leaves_out_is_in_its_tool_tip(panel: Any) -> None:
    from AHNetSegmentLib.scene.sentences import Sentence

    label = panel.ui.statusLabel
    sentence = Sentence(label, "What goes on.")
    sentence.say(LONG)
    assert label.text != LONG
    assert LONG in label.toolTip
    assert sentence.text == LONG
    sentence.say("Done.")
    assert label.text == sentence.text == "Done."
    assert "What goes on." in label.toolTip
