"""The part of the panel for models of the user's own: managing them, and training and evaluating on labelled cases."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ctk
import qt
import slicer
from slicer.i18n import tr as _

from ..engine.card import ModelCard
from ..engine.errors import ModelError
from ..engine.resources import resources_folder
from .case_table import CaseTable
from .evaluating import EvaluateSection
from .library import library_folder
from .manage import ManageSection
from .panel import SegmentPanel
from .training import TrainSection
from .worker import Worker


class OwnModels:
    """The sections Manage models, and Train and evaluate with its three parts: cases, training, evaluation.

    A training has a process of its own, so that volumes can be segmented meanwhile.

    Args:
        panel: what chooses and runs models.
        choose: chooses a model by its name in the panel; empty: any.
    """

    def __init__(self, panel: SegmentPanel, choose: Callable[[str], None]) -> None:
        self.panel = panel
        self.trainer = Worker()
        self._choose = choose
        section = panel.ui.modelSection
        layout = section.parentWidget().layout()
        manage = _load("ManageModels")
        layout.insertWidget(layout.indexOf(section) + 1, manage)
        self.section = ctk.ctkCollapsibleButton()
        self.section.text = _("Train and evaluate")
        self.section.toolTip = _("Teach a model with your own labelled cases, or measure how good it is on them.")
        self.section.collapsed = True
        layout.insertWidget(layout.indexOf(panel.ui.advancedSection) + 1, self.section)
        inner = qt.QVBoxLayout(self.section)
        cases, train, evaluate = (_load(name) for name in ("Cases", "Train", "Evaluate"))
        titles = (_("Labelled cases"), _("Train a new model"), _("Evaluate the model chosen above"))
        for title, part in zip(titles, (cases, train, evaluate), strict=True):
            inner.addWidget(_heading(title))
            inner.addWidget(part)
            part.setMRMLScene(slicer.mrmlScene)
        self.cases = CaseTable(slicer.util.childWidgetVariables(cases), self._cases_changed)
        self.evaluation = EvaluateSection(
            slicer.util.childWidgetVariables(evaluate),
            self.cases,
            panel.worker,
            self._chosen_model,
            self._computing,
            self.update,
        )
        self.training = TrainSection(
            slicer.util.childWidgetVariables(train),
            self.cases,
            panel.shelf,
            self.trainer,
            library_folder,
            self._trained,
            device=lambda: self._computing()[0],
            precision=lambda: self._computing()[1],
            busy_changed=self._training_changed,
        )
        self.manage = ManageSection(
            slicer.util.childWidgetVariables(manage),
            panel.shelf,
            panel.worker,
            self._chosen_name,
            self._changed,
            lambda: self.training.busy,
            self.training.begun_with,
        )
        panel.ended = self.update
        panel.list_models()

    def update(self) -> None:
        """Brings everything in line with the parameter node, the scene and the worker."""
        self.manage.update()
        self.evaluation.update()
        self.training.update()

    def scene_closes(self) -> None:
        """Called before the scene is closed: an evaluation is dropped, a training goes on."""
        self.evaluation.close()
        self.training.scene_closes()
        self.cases.clear()

    def close(self) -> None:
        """Called when the module closes: a training can be continued later."""
        # Manage last: it hears of the ends of the others, and waits then for the worker to become free.
        self.training.close()
        self.evaluation.close()
        self.manage.close()
        self.cases.close()
        self.trainer.stop()

    def _chosen_name(self) -> str:
        parameters = self.panel.parameters
        return parameters.model if parameters is not None else ""

    def _chosen_model(self) -> tuple[str, Path, ModelCard] | None:
        name, card = self._chosen_name(), self.panel.card
        if card is None:
            return None
        try:
            return name, self.panel.shelf.folder(name), card
        except ModelError:
            return None

    def _computing(self) -> tuple[str, str]:
        parameters = self.panel.parameters
        return (parameters.device.value, parameters.precision.value) if parameters is not None else ("auto", "auto")

    def _cases_changed(self) -> None:
        self.evaluation.update()
        self.training.update()

    def _training_changed(self) -> None:
        self.manage.update()

    def _changed(self, name: str) -> None:
        """A person has added, removed or renamed a model; ``name`` is to be chosen now, empty: any."""
        self._choose(name)
        self._list_models()

    def _trained(self, _name: str) -> None:
        """A training has ended, hours after the click perhaps: what is chosen stays chosen."""
        self._list_models()

    def _list_models(self) -> None:
        self.panel.shelf.refresh()
        self.panel.list_models()
        self.training.list_models()
        self.update()


def _heading(text: str) -> Any:
    label = qt.QLabel(text)
    font = label.font
    font.setBold(True)
    label.setFont(font)
    return label


def _load(name: str) -> Any:
    return slicer.util.loadUI(str(resources_folder() / "UI" / f"{name}.ui"))
