"""The section Evaluate: how good is a model on the labelled cases of the scene?"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from ..engine.card import ModelCard
from ..engine.errors import AHNetSegmentError
from ..engine.progress import time_text
from .case_table import CaseTable
from .evaluation_results import Evaluated, EvaluationResults
from .evaluation_run import EvaluationRun, Plan, plan_evaluation
from .installation import install_torch, torch_problem
from .progress_texts import show_progress, state_text
from .sentences import Sentence
from .timers import Once
from .worker import Worker

DOUBLE_CLICK_SECONDS = 0.5
BUSY_MS = 500
"""How often it is looked whether the worker has become free."""


def _automatic() -> tuple[str, str]:
    return ("auto", "auto")


class EvaluateSection:
    """The button Evaluate, its progress, and what was found.

    Args:
        ui: the widgets of ``Resources/UI/Evaluate.ui`` by name.
        cases: the labelled cases; whoever makes the section has :meth:`update` called when they change.
        worker: the process that computes.
        chosen_model: name, folder and card of the model to evaluate; None: none is chosen.
        computing: device and precision.
        ended: called when an evaluation has ended.
    """

    def __init__(
        self,
        ui: Any,
        cases: CaseTable,
        worker: Worker,
        chosen_model: Callable[[], tuple[str, Path, ModelCard] | None],
        computing: Callable[[], tuple[str, str]] = _automatic,
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        self.ui = ui
        self.results = EvaluationResults(ui)
        self.run: EvaluationRun | None = None
        self._cases, self._worker = cases, worker
        self._chosen_model, self._computing, self._ended = chosen_model, computing, ended
        self._status = Sentence(ui.evaluateStatusLabel, stays=True)
        self._hint = ""
        self._began = 0.0
        self._look_again = Once(self.update, BUSY_MS)
        ui.evaluateButton.connect("clicked()", self.on_button)
        self.update()

    @property
    def busy(self) -> bool:
        """Whether an evaluation is going on."""
        return self.run is not None

    def close(self) -> None:
        """Drops a run without a word, and what was found: the scene or the module closes."""
        if self.run is not None:
            self.run.abandon()
            self._run_ended()
        self._look_again.stop()
        self.results.clear()
        self._say("")

    def update(self) -> None:
        """Brings the button in line with cases, model and worker."""
        button, hindrance = self.ui.evaluateButton, self._hindrance()
        if not self.busy and (hindrance or self._status.text == self._hint):
            self._say(hindrance)
        self._hint = hindrance
        if self.busy:
            button.text, button.enabled = _("Cancel"), True
            button.toolTip = _("Stops the evaluation.")
        else:
            button.text, button.enabled = _("Evaluate"), not hindrance
            button.toolTip = hindrance or _(
                "Segments each case with the model and compares the result with its segments."
            )

    def on_button(self) -> None:
        """Starts an evaluation, or cancels the one that is going on."""
        if self.run is not None:
            # The second half of a double click is no wish to cancel.
            if time.monotonic() - self._began > DOUBLE_CLICK_SECONDS:
                self._say(_("Cancelling…"))
                self.run.cancel()
            return
        try:
            self._start()
        except AHNetSegmentError as error:
            self._say(str(error))
            slicer.util.errorDisplay(str(error))

    def _hindrance(self) -> str:
        """Why Evaluate cannot be clicked; empty where it can."""
        if self.busy:
            return ""
        chosen = self._chosen_model()
        if chosen is None:
            return _("Choose the model to evaluate first.")
        problems = self._cases.problems()
        if problems:
            return problems[0]
        if self._worker.state == "busy":
            self._look_again.want()
            return _("Another computation is going on; wait until it has finished.")
        return self._plan(chosen[2]).problem

    def _plan(self, card: ModelCard) -> Plan:
        return plan_evaluation(self._cases.rows(), self._cases.mapping(), self._cases.classes(), card)

    def _start(self) -> None:
        chosen = self._chosen_model()
        if self._hindrance() or chosen is None:
            # The scene may have changed since the button was enabled.
            self.update()
            return
        _name, folder, card = chosen
        plan = self._plan(card)
        if (problem := torch_problem()) and not install_torch(problem):
            self._say(problem)
            return
        self.results.clear()
        self.run = EvaluationRun(
            self._worker,
            self._progress,
            self._state,
            lambda result: self._finished(plan, card, result),
            self._failed,
            self._cancelled,
        )
        self._began = time.monotonic()
        self.update()
        self.ui.evaluateProgressBar.visible = True
        self.ui.evaluateProgressBar.setRange(0, 0)
        self._say(_("Preparing {count} cases…").format(count=len(plan.rows)))
        try:
            self.run.start(plan, folder, *self._computing())
        except AHNetSegmentError:
            self._run_ended()
            raise

    def _say(self, text: str) -> None:
        self._status.say(text)

    def _state(self, text: str) -> None:
        self._say(f"{state_text(text)}…")

    def _progress(self, done: int, total: int, seconds_left: float | None) -> None:
        self._say(show_progress(self.ui.evaluateProgressBar, _("Evaluating"), done, total, seconds_left))

    def _run_ended(self) -> None:
        self.run = None
        self.ui.evaluateProgressBar.visible = False
        self.update()
        self._ended()

    def _finished(self, plan: Plan, card: ModelCard, result: dict[str, Any]) -> None:
        self._run_ended()
        found = Evaluated(result["evaluation"], result["csv"], plan.classes, plan.case_names)
        self.results.show(found)
        mean = found.evaluation["mean_dice"]
        said = _("{model}: mean Dice {dice} over {classes} classes and {cases} cases, in {time}.").format(
            model=card.title,
            dice="–" if mean is None else f"{mean:.3f}",
            classes=len(found.measured()),
            cases=len(plan.rows),
            time=time_text(time.monotonic() - self._began),
        )
        notes = dict.fromkeys([*plan.notes, *result.get("notes", ())])
        self._say("\n".join([said, *(f"⚠ {note}" for note in notes)]))

    def _failed(self, message: str) -> None:
        self._run_ended()
        logging.getLogger(__name__).error("%s\n%s", message, self._worker.log)
        self._say(message)
        slicer.util.errorDisplay(message)

    def _cancelled(self) -> None:
        self._run_ended()
        self._say(_("Cancelled."))
