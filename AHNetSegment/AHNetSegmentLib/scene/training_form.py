"""What a person chooses for a training: the base, the name of the new model, and settings."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from ..engine.card import ClassCard, ModelCard
from ..engine.division import FEWEST_TO_HOLD_OUT, divide
from ..engine.errors import ModelError, RecipeError
from ..engine.package_zip import TITLE_LENGTH, check_title
from .case_table import CaseTable
from .cases import CaseRow, patient_groups, segment_labels
from .models import ModelShelf
from .quiet import quiet
from .volumes import dicom_modality

SCRATCH = ""
RESNET = "/resnet"
"""Stands for "From scratch, with a ResNet-50 file" in the list of bases; no model has a slash in its name."""
MODALITIES = ("CT", "MR")
PATIENCE = 6
"""Validations without improvement before an early stop."""
AIR_HU = -500


class TrainForm:
    """The widgets above the button Start.

    Args:
        ui: the widgets of ``Resources/UI/Train.ui`` by name.
        cases: is told which base is chosen.
        shelf: the models to start from.
        taken_titles: gives the titles of unfinished trainings.
        changed: called when something was changed.
    """

    def __init__(
        self,
        ui: Any,
        cases: CaseTable,
        shelf: ModelShelf,
        taken_titles: Callable[[], Iterable[str]],
        changed: Callable[[], None],
    ) -> None:
        self.ui = ui
        self.cases = cases
        self.shelf = shelf
        self._taken_titles = taken_titles
        self._changed = changed
        self._suggested = ""
        for modality in MODALITIES:
            ui.trainModalitySelector.addItem(modality, modality)
        self.list_bases()
        ui.baseSelector.connect("currentIndexChanged(int)", self._on_base_chosen)
        ui.resnetPathEdit.connect("currentPathChanged(QString)", self._on_changed)
        # Nothing else tells of a path that was emptied.
        ui.resnetPathEdit.connect("validInputChanged(bool)", self._on_changed)
        ui.trainModalitySelector.connect("currentIndexChanged(int)", self._on_changed)
        ui.newTitleEdit.connect("textChanged(QString)", self._on_changed)
        for name in ("stepsSpinBox", "batchSpinBox", "seedSpinBox"):
            getattr(ui, name).connect("valueChanged(int)", self._on_changed)
        ui.learningRateSpinBox.connect("valueChanged(double)", self._on_changed)
        ui.earlyStopCheckBox.connect("toggled(bool)", self._on_changed)

    def list_bases(self) -> None:
        """Fills the list of bases anew; the chosen one stays chosen."""
        selector = self.ui.baseSelector
        chosen = selector.currentData
        with quiet(selector):
            selector.clear()
            for name, card in self.shelf.cards().items():
                selector.addItem(card.title, name)
            selector.addItem(_("From scratch"), SCRATCH)
            selector.addItem(_("From scratch, with an ImageNet ResNet-50 file…"), RESNET)
            selector.currentIndex = max(selector.findData(chosen), 0) if chosen is not None else 0
        self._show_base()

    @property
    def base(self) -> str:
        """Name of the model to start from; empty: from scratch."""
        chosen = self.ui.baseSelector.currentData
        return str(chosen) if chosen not in (None, RESNET) else SCRATCH

    @property
    def card(self) -> ModelCard | None:
        """Of the model to start from."""
        return self.shelf.cards().get(self.base)

    @property
    def resnet(self) -> str:
        """The file of an ImageNet ResNet-50 to start from; empty: none."""
        return str(self.ui.resnetPathEdit.currentPath) if self.ui.baseSelector.currentData == RESNET else ""

    def resnet_file(self) -> str:
        """The file of an ImageNet ResNet-50 that a training goes on with: the one that was chosen last.

        Raises:
            ModelError: it is not known, or not there any more.
        """
        edit = self.ui.resnetPathEdit
        path = str(edit.currentPath or edit.comboBox().itemText(0))
        if not path or not Path(path).is_file():
            raise ModelError(
                "The training began with the weights of a ResNet-50, whose file is unknown here; choose it above under "
                "Start from."
            )
        return path

    @property
    def title(self) -> str:
        """Of the new model."""
        return " ".join(str(self.ui.newTitleEdit.text).split())

    @property
    def enabled(self) -> bool:
        """Whether something can be changed."""
        return bool(self.ui.baseSelector.enabled)

    @enabled.setter
    def enabled(self, value: bool) -> None:
        for name in ("baseSelector", "resnetPathEdit", "trainModalitySelector", "newTitleEdit", "trainSettingsSection"):
            getattr(self.ui, name).enabled = value

    def remember_resnet(self) -> None:
        """Keeps the path of the ResNet-50 for the next start of Slicer: a training goes on with the same file."""
        if self.resnet:
            with quiet(self.ui.resnetPathEdit):
                self.ui.resnetPathEdit.addCurrentPathToHistory()

    def settings(self) -> dict[str, Any]:
        """The settings of ``job.json``."""
        ui = self.ui
        settings = {
            "steps": int(ui.stepsSpinBox.value),
            "batch": int(ui.batchSpinBox.value),
            "learning_rate": float(ui.learningRateSpinBox.value),
            "seed": int(ui.seedSpinBox.value),
            "patience": PATIENCE if ui.earlyStopCheckBox.checked else 0,
        }
        # The file of a ResNet-50 fits the network at its full width only.
        return {**settings, "width": 1.0} if self.resnet else settings

    def facts(self, name: str) -> dict[str, Any]:
        """The fields of ``job.json`` but for classes and cases."""
        card = self.card
        names = [item.name for item in self.cases.classes()]
        same = card is not None and [item.name for item in card.classes] == names
        return {
            "name": name,
            "title": self.title,
            "description": "",
            "modality": card.modality if card is not None else str(self.ui.trainModalitySelector.currentData),
            "anatomy": card.anatomy if card is not None and same else ", ".join(names),
            "base": self.base,
            "pretrained": bool(self.resnet),
            "settings": self.settings(),
        }

    def hindrance(self) -> str:
        """Why nothing can be started with what was chosen; empty where it can."""
        if self.ui.baseSelector.currentData == RESNET and not Path(self.resnet or ".").is_file():
            return _("Choose the file with the weights of the ResNet-50.")
        try:
            check_title(self.title)
        except ValueError as error:
            return _("Give the new model a name: {reason}.").format(reason=error)
        if self.title.casefold() in {title.casefold() for title in self._taken_titles()}:
            return _(
                "{title} is a training that is not finished: continue it, discard it, or choose another name."
            ).format(title=self.title)
        if self.title.casefold() in self._model_titles():
            return _("There is already a model {title}; choose another name.").format(title=self.title)
        return self.validation()[1]

    def validation(self) -> tuple[str, str]:
        """What will be held out, or else why the cases cannot be divided; both empty without cases."""
        rows = self.cases.rows()
        if not rows:
            return "", ""
        planned = planned_cases(rows, self.cases.mapping())
        try:
            return validation_sentence(planned, self.cases.classes(), self.settings()["seed"]), ""
        except RecipeError as error:
            return "", str(error)

    def suggest_title(self) -> None:
        """Puts a free name into the field, unless the person has typed one."""
        if self.title not in ("", self._suggested):
            return
        card = self.card
        wanted = _("{title}, fine-tuned").format(title=card.title) if card is not None else _("New model")
        taken = self._model_titles() | {title.casefold() for title in self._taken_titles()}
        title, number = wanted[:TITLE_LENGTH], 1
        while title.casefold() in taken:
            number += 1
            title = f"{wanted[: TITLE_LENGTH - 5]} {number}"
        self._suggested = title
        with quiet(self.ui.newTitleEdit):
            self.ui.newTitleEdit.text = title

    def forget_title(self) -> None:
        """The name was used: another one is suggested next."""
        self._suggested = self.title

    def _model_titles(self) -> set[str]:
        return {card.title.casefold() for card in self.shelf.cards().values()}

    def _show_base(self) -> None:
        chosen = self.ui.baseSelector.currentData
        for widget in (self.ui.resnetLabel, self.ui.resnetPathEdit):
            widget.visible = chosen == RESNET
        from_scratch = self.card is None
        for widget in (self.ui.trainModalityLabel, self.ui.trainModalitySelector):
            widget.visible = from_scratch
        self.suggest_title()
        self.cases.set_base(self.card)

    def _on_base_chosen(self, _index: int) -> None:
        if self.card is None:
            self._guess_modality()
        self._show_base()
        self._changed()

    def _guess_modality(self) -> None:
        """Chooses what the first case says of itself, or what its voxels look like: air is below -500 in a CT."""
        node = next((row.volume_node for row in self.cases.rows() if row.volume_node is not None), None)
        if node is None or node.GetImageData() is None:
            return
        lowest = node.GetImageData().GetScalarRange()[0]
        guess = dicom_modality(node) or ("CT" if math.isfinite(lowest) and lowest < AIR_HU else "MR")
        selector = self.ui.trainModalitySelector
        with quiet(selector):
            selector.currentIndex = max(selector.findData(guess), 0)

    def _on_changed(self, _value: Any) -> None:
        self._changed()


@dataclass(frozen=True)
class PlannedCase:
    """What of a case is known before its voxels are read; see :class:`~..engine.division.Divisible`."""

    labelled: tuple[int, ...] | None
    use: str
    group: str


def planned_cases(rows: Sequence[CaseRow], mapping: Mapping[str, int]) -> list[PlannedCase]:
    """The cases as they will be divided; a segment counts as labelled, be it empty.

    Args:
        rows: the cases.
        mapping: label of each segment name.
    """

    def labelled(row: CaseRow) -> tuple[int, ...] | None:
        return None if row.complete else tuple(sorted(set(segment_labels(row.segmentation_node, mapping).values())))

    return [PlannedCase(labelled(row), row.use, group) for row, group in zip(rows, patient_groups(rows), strict=True)]


def validation_sentence(cases: Sequence[PlannedCase], classes: Sequence[ClassCard], seed: int) -> str:
    """What will be held out for validation.

    Args:
        cases: of the table.
        classes: of the new model.
        seed: of the training.

    Raises:
        RecipeError: they cannot be divided.
    """
    _training, held = divide(cases, classes, seed)
    if any(case.use == "validation" for case in cases):
        sentence = _("Validation: {count} of {all} cases, as you chose, are held out.")
    elif held:
        sentence = _("Validation: {count} of {all} cases, chosen by the seed, are held out.")
    elif len(cases) < FEWEST_TO_HOLD_OUT:
        sentence = _(
            "Validation: of fewer than {fewest} cases no case is held out, so nothing will tell when it gets worse, "
            "and no figures are measured."
        )
    else:
        sentence = _(
            "Validation: no case is held out, so nothing will tell when it gets worse, and no figures are measured."
        )
    return sentence.format(count=len(held), all=len(cases), fewest=FEWEST_TO_HOLD_OUT)
