"""The section Train: a new model from the cases of the table, started, watched, stopped and continued."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from ..engine.card import ClassCard
from ..engine.errors import AHNetSegmentError, ModelError
from ..engine.library import ModelLibrary, used_folder
from ..engine.progress import time_text
from ..engine.tasks import geometry_to_dict
from .case_table import CaseTable
from .installation import install_torch, torch_problem
from .models import ModelShelf
from .panel import DOUBLE_CLICK_SECONDS
from .progress_texts import show_progress, state_text
from .questions import agreed
from .sentences import Sentence
from .training_estimate import Estimate
from .training_form import TrainForm
from .training_jobs import (
    Unfinished,
    find_unfinished,
    is_unfinished,
    job_folder,
    remove_finished,
    remove_job,
    remove_left_over,
)
from .training_run import CasesToTrain, Listener, TrainRun
from .training_view import TrainView, case_names
from .volumes import volume_from_node
from .worker import BusyError, Worker

SHOWN_PROBLEMS = 3
IN_VAIN = "anew"
"""The engine advises to start anew where a training may not be able to go on."""
START_ANEW = "discard it and start anew"


class TrainSection:
    """Chooses, starts, watches, stops and continues trainings.

    The owner calls :meth:`update` when the cases or the main panel's settings have changed, :meth:`list_models` when
    models have come or gone or the library has moved, :meth:`scene_closes` before the scene is closed, and
    :meth:`close` when the module closes.

    Args:
        ui: the widgets of ``Resources/UI/Train.ui`` by name.
        cases: what to learn from.
        shelf: the models to start from.
        worker: the process that trains.
        library_folder: gives the folder of the user's models.
        trained: gets the name of a new model, which lies in the library.
        device: gives where to compute.
        precision: gives the number format to compute in.
        busy_changed: called when a training has begun or ended.
    """

    def __init__(
        self,
        ui: Any,
        cases: CaseTable,
        shelf: ModelShelf,
        worker: Worker,
        library_folder: Callable[[], Path],
        trained: Callable[[str], None],
        *,
        device: Callable[[], str] = lambda: "auto",
        precision: Callable[[], str] = lambda: "auto",
        busy_changed: Callable[[], None] = lambda: None,
    ) -> None:
        self.ui = ui
        self.cases = cases
        self.shelf = shelf
        self.worker = worker
        self.run: TrainRun | None = None
        self._library_folder, self._trained = library_folder, trained
        self._device, self._precision = device, precision
        self._busy_changed = busy_changed
        self._clicked = -DOUBLE_CLICK_SECONDS
        self._stopping = self._closed = False
        self._doing = ""
        self._case_names: dict[Path, dict[str, str]] = {}
        self._unfinished: list[Unfinished] = []
        remove_left_over(library_folder())
        self._find_unfinished()
        self._status = Sentence(ui.trainStatusLabel)
        self._hint = Sentence(ui.trainHintLabel, _("Why Start cannot be clicked."))
        self._validation = Sentence(ui.validationLabel)
        self._time = Sentence(ui.estimateLabel, _("Measured on this computer with two steps."))
        self.view = TrainView(ui)
        self.estimate = Estimate(worker, self._show_estimate)
        self.form = TrainForm(ui, cases, shelf, self._unfinished_titles, self.update)
        ui.trainButton.connect("clicked()", self.on_train_button)
        ui.continueButton.connect("clicked()", self.on_continue_button)
        ui.discardButton.connect("clicked()", self.discard)
        ui.trainProgressBar.visible = False
        self.update()

    @property
    def busy(self) -> bool:
        """Whether a training goes on."""
        return self.run is not None

    def begun_with(self, name: str) -> str:
        """Title of a training that is not finished and begins with this model; empty: there is none."""
        if self.run is not None and self.run.copying and self.form.base == name:
            return self.form.title
        return next((item.title for item in find_unfinished(self._library_folder()) if item.base == name), "")

    def close(self) -> None:
        """Stops the worker without a word: the module closes. The training can be continued later."""
        self._closed = True
        self.estimate.stop()
        if self.run is not None:
            self.run.abandon()
            self.worker.stop()
            self._run_ended()
            self._say("")
        self.view.curves.close()

    def scene_closes(self) -> None:
        """Called before the scene is closed: a training goes on, one whose cases are not copied yet is dropped."""
        self.view.curves.close()
        if self.run is not None and self.run.copying:
            self.run.abandon()
            self._run_ended()
            self._say(_("The scene was closed before its cases were copied; no training was started."))

    def list_models(self) -> None:
        """Lists the models to start from and the unfinished trainings anew."""
        self._find_unfinished()
        self.form.list_bases()
        self.update()

    def update(self) -> None:
        """Brings everything in line with the cases, the settings and the run."""
        if self._closed:
            return
        self._show_validation()
        self._want_estimate()
        self._show_buttons()

    # What would be trained

    def _hindrance(self) -> str:
        """Why Start cannot be clicked; empty where it can."""
        problems = self.cases.problems()
        if problems:
            return "\n".join(problems[:SHOWN_PROBLEMS])
        if not self.cases.rows():
            return _("Add at least one labelled case to the table first.")
        if not self.cases.classes():
            return _("Say which segment is which structure first.")
        return self.form.hindrance()

    def _show_validation(self) -> None:
        sentence, _problem = self.form.validation()
        self._validation.say(sentence)

    def _want_estimate(self) -> None:
        if self.busy:
            return
        self.estimate.want(self._estimate_arguments())

    def _estimate_arguments(self) -> dict[str, Any] | None:
        """For what is in the table now, checked or not: a stroke of a brush changes nothing in them."""
        rows = self.cases.rows()
        if not rows or not self.cases.classes() or torch_problem():
            return None
        try:
            shapes = [{"geometry": geometry_to_dict(volume_from_node(row.volume_node).geometry)} for row in rows]
            base = str(self.shelf.folder(self.form.base)) if self.form.base else ""
        except AHNetSegmentError:
            return None
        return {
            "base": base,
            "classes": len(self.cases.classes()),
            "cases": shapes,
            "settings": self.form.settings(),
            "device": self._device(),
            "precision": self._precision(),
        }

    def _show_estimate(self, sentence: str) -> None:
        self._time.say(sentence)

    # Start, Stop

    def on_train_button(self) -> None:
        """Starts a training, or stops the one that goes on."""
        # The second half of a double click is no wish to stop, or to start again.
        since, self._clicked = time.monotonic() - self._clicked, time.monotonic()
        if since < DOUBLE_CLICK_SECONDS:
            return
        if self.run is None:
            self._guarded(self._start)
        elif not self._stopping:
            self._stop(self.run)

    def _stop(self, run: TrainRun) -> None:
        self._stopping = True
        self._say(_("Stopping after this step…"))
        self._show_buttons()
        run.cancel()

    def _guarded(self, do: Callable[[], None]) -> None:
        """Says why something could not be done."""
        try:
            do()
        except AHNetSegmentError as error:
            self._run_ended()
            self._say(str(error))

    def _start(self) -> None:
        if not self._may_compute():
            return
        library = used_folder(self._library_folder())
        folder = job_folder(library, ModelLibrary(library).free_name(self.form.title))
        rows, classes = tuple(self.cases.rows()), tuple(self.cases.classes())
        cases = CasesToTrain(rows, dict(self.cases.mapping()), classes, self.form.facts(folder.name))
        arguments = self._arguments(library, self.form.base, self.form.resnet)
        self.form.remember_resnet()
        self._case_names[folder] = case_names(rows)
        run = self._begin(folder, classes, _("Copying the cases"))
        run.start(cases, arguments)

    def _arguments(self, library: Path, base: str, resnet: str) -> dict[str, Any]:
        return {
            "base": str(self.shelf.folder(base)) if base else "",
            "resnet": resnet,
            "library": str(library),
            "device": self._device(),
            "precision": self._precision(),
            # Elsewhere a second process would load PyTorch and the cases once more.
            "workers": 1 if sys.platform == "linux" else 0,
        }

    def _may_compute(self) -> bool:
        """Whether PyTorch is there, or is now.

        Raises:
            AHNetSegmentError: it cannot be installed, or the worker does something else.
        """
        if self.worker.state == "busy" and not self.estimate.running:
            raise BusyError("The worker is busy with another computation; wait until it has finished, or cancel it.")
        problem = torch_problem()
        if problem and not install_torch(problem):
            self._say(problem)
            return False
        return True

    def _begin(self, folder: Path, classes: Sequence[ClassCard], doing: str) -> TrainRun:
        self.estimate.stop()
        listener = Listener(
            self._progress,
            self._state,
            self.view.report,
            lambda result: self._finished(folder, result),
            lambda message: self._failed(folder, message),
            lambda: self._cancelled(folder),
        )
        self.run = TrainRun(self.worker, folder, listener)
        self._stopping = False
        self._doing = doing
        self.view.begin(classes)
        self.cases.enabled = self.form.enabled = False
        self.ui.trainProgressBar.visible = True
        self.ui.trainProgressBar.setRange(0, 0)
        self._say(f"{doing}…")
        self._show_buttons()
        self._busy_changed()
        return self.run

    # Continue, Discard

    def on_continue_button(self) -> None:
        """Goes on with the chosen unfinished training."""
        if self.run is None:
            self._guarded(self._continue)

    def _continue(self) -> None:
        chosen = self._chosen()
        if chosen is None or not self._may_compute():
            return
        library = used_folder(self._library_folder())
        resnet = self.form.resnet_file() if chosen.pretrained else ""
        try:
            arguments = self._arguments(library, chosen.base, resnet)
        except ModelError as error:
            raise ModelError(
                f"{chosen.title} began with the model {chosen.base}, which is gone: put that back, or {START_ANEW}."
            ) from error
        self._begin(chosen.folder, chosen.classes, _("Continuing")).resume(arguments)

    def discard(self) -> None:
        """Removes the chosen unfinished training, after asking."""
        chosen = self._chosen()
        if chosen is None or self.busy:
            return
        question = _(
            "Discard the unfinished training {title}? What it has learned and its copies of {count} cases are removed; "
            "your volumes and segmentations stay."
        ).format(title=chosen.title, count=chosen.cases)
        if not agreed(question):
            return
        self._say(_("{title} was discarded.").format(title=chosen.title))
        self._guarded(lambda: remove_job(chosen.folder))
        self.list_models()

    def _chosen(self) -> Unfinished | None:
        index = int(self.ui.unfinishedSelector.currentIndex)
        return self._unfinished[index] if 0 <= index < len(self._unfinished) else None

    def _unfinished_titles(self) -> list[str]:
        return [item.title for item in self._unfinished]

    def _find_unfinished(self) -> None:
        """Looks for unfinished trainings."""
        self._unfinished = find_unfinished(self._library_folder())
        selector = self.ui.unfinishedSelector
        selector.clear()
        for item in self._unfinished:
            selector.addItem(_("Unfinished: {title} ({count} cases)").format(title=item.title, count=item.cases))

    # While it runs, and its end

    def _show_buttons(self) -> None:
        button = self.ui.trainButton
        hindrance = "" if self.busy else self._hindrance()
        self._hint.say(hindrance)
        if self.busy:
            button.text, button.enabled = _("Stop"), not self._stopping
            button.toolTip = _("Saves what was learned so far; Continue goes on from there.")
        else:
            button.text, button.enabled = _("Start"), not hindrance
            button.toolTip = hindrance or _("Copies the cases and trains. Slicer stays usable meanwhile.")
        self.ui.unfinishedBox.visible = bool(self._unfinished) and not self.busy

    def _say(self, text: str) -> None:
        self._status.say(text)

    def _state(self, text: str) -> None:
        self._doing = state_text(text)
        self.ui.trainProgressBar.setRange(0, 0)
        self._say(f"{self._doing}…")

    def _progress(self, done: int, total: int, seconds_left: float | None) -> None:
        if not self._stopping:
            self._say(show_progress(self.ui.trainProgressBar, self._doing, done, total, seconds_left))

    def _run_ended(self) -> None:
        self.run = None
        self._stopping = False
        self.ui.trainProgressBar.visible = False
        self.cases.enabled = self.form.enabled = True
        self._find_unfinished()
        self.form.suggest_title()
        self.update()
        self._busy_changed()

    def _finished(self, folder: Path, result: Mapping[str, Any]) -> None:
        self._run_ended()
        self._take_over(folder)
        sentence = _("Done in {time}: {title} is in the list of models.")
        if result.get("stopped_early"):
            sentence = _("Done in {time}, early since validation no longer improved: {title} is in the list of models.")
        self._say(sentence.format(time=time_text(float(result["seconds"])), title=result["title"]))
        self._trained(str(result["name"]))
        self.view.show_result(result, self._case_names.pop(folder, {}))

    def _take_over(self, folder: Path) -> None:
        """A model is in the library: the job that made it is needed no more, and another name is suggested next."""
        remove_finished(folder, lambda: self.run is None or self.run.folder != folder)
        self.shelf.refresh()
        self.form.forget_title()
        self.list_models()

    def _failed(self, folder: Path, message: str) -> None:
        logging.getLogger(__name__).error("%s\n%s", message, self.worker.log)
        remedy = _("Continue goes on from what was saved last.")
        if START_ANEW in message:
            remedy = ""
        elif IN_VAIN in message:
            remedy = _("If Continue does not help, discard it and start anew.")
        self._ended_unfinished(folder, message, remedy)

    def _cancelled(self, folder: Path) -> None:
        self._ended_unfinished(folder, _("Stopped."), _("Continue goes on from what was saved last."))
        self.shelf.refresh()
        card = self.shelf.cards().get(folder.name)
        if card is not None and not is_unfinished(folder):
            # It was stopped in the moment in which it ended.
            self._take_over(folder)
            self._say(_("It had ended already: {title} is in the list of models.").format(title=card.title))
            self._trained(folder.name)

    def _ended_unfinished(self, folder: Path, sentence: str, remedy: str) -> None:
        self._run_ended()
        folders = [item.folder for item in self._unfinished]
        if folder in folders:
            self.ui.unfinishedSelector.currentIndex = folders.index(folder)
            sentence = f"{sentence} {remedy}".strip()
        self._say(sentence)
