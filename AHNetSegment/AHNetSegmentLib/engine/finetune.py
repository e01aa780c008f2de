"""Fine-tuning: the user's labelled cases and a model in, a model package of the user's own out.

Nothing of a case but its voxels is kept: cases go by ``case 1``, ``case 2`` in card, checkpoint and log.
"""

from __future__ import annotations

import gc
import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

from torch import Tensor

from ..network.ahnet import AHNet
from ..network.checkpoints import CheckpointError, read_state_dict
from ..network.settings import AHNetSettings
from .build import card_of, evaluate_model, figures_of, versions
from .card import ClassCard, Intensity, ModelCard, check_classes, check_name, label_values, write_card
from .cases import LabelledCase
from .dataset import prepare_cases
from .device import precision_name
from .distribution import Processes
from .division import FEWEST_TO_HOLD_OUT, divide
from .errors import Cancelled, ModelError, OutputError, RecipeError
from .evaluation import Evaluation, LabelPair
from .familiarity import looks_like_ct, measure_known
from .files import new_folder
from .finetune_plan import (
    FinetuneSettings,
    Identity,
    foreground_window,
    plan_recipe,
)
from .inference import InferenceSettings
from .lock import locked_folder
from .package import CARD_FILE, WEIGHTS_FILE, Model, check_target, load_model, save_model
from .package_zip import check_title
from .preview import Preview
from .recipe import Recipe
from .start import known_classes, starting_weights
from .training import Trainer
from .training_progress import TrainingOptions, TrainingProgress, Watch
from .volume import Volume, check_volume

CACHE, STORED = "cache", "stored"
"""Folders in the work folder: prepared cases, and the package while it is measured."""
WINDOW_VOXELS = 100_000
"""A window of CT numbers is taken from about so many labelled voxels of each case."""
STORAGE = "float16"
"""Of the weights: small, and rounding that no Dice shows."""


@dataclass(frozen=True)
class FinetuneResult:
    """A fine-tuned model.

    Attributes:
        folder: the package.
        card: its card.
        before: what the base reached on the validation cases, of the classes that it knows; None: nothing to compare.
        after: what the new model reaches there, as stored; None without validation cases.
        notes: sentences that a user should read.
        seconds: of training and validation, earlier runs included.
        stopped_early: whether a stage ended because its validations did not improve any more.
    """

    folder: Path
    card: ModelCard
    before: Evaluation | None
    after: Evaluation | None
    notes: tuple[str, ...]
    seconds: float
    stopped_early: bool


@dataclass(frozen=True)
class FinetuneTask:
    """What is to be fine-tuned.

    Attributes:
        identity: what the new model is called.
        classes: of the new model, labels from 1: the base's, some of them, or others. Classes that the base has under
            the same name begin with what it knows of them.
        cases: labelled with these classes; see :class:`~.cases.LabelledCase`.
        base: the model to begin with; None: from scratch, the 2D network first.
        resnet: a file with the weights of an ImageNet ResNet-50, for a training from scratch; None: random ones.
        settings: of the training.
        intensity: how voxel values become network input; None: as in the base, or what suits the modality.
    """

    identity: Identity
    classes: tuple[ClassCard, ...]
    cases: tuple[LabelledCase, ...]
    base: Model | None = None
    resnet: Path | None = None
    settings: FinetuneSettings = field(default_factory=FinetuneSettings)
    intensity: Intensity | None = None


def finetune(
    task: FinetuneTask, output: Path, work: Path, options: TrainingOptions | None = None, watch: Watch | None = None
) -> FinetuneResult | None:
    """Trains a model on a user's cases and writes its package.

    The encoder is locked while the decoder learns, then everything is trained: at a tenth of the learning rate where
    the base has seen cases like these, else at the full one. The weights of the best validation are kept; without
    validation cases, the last ones. One task on one machine gives one set of weights (CPU, float32), however often it
    was stopped or killed and begun again with the same folder.

    Started by ``torchrun``, several processes train together, each with ``batch`` patches a step.

    Args:
        task: what to do.
        output: the package; written in one step when the training has ended.
        work: folder of prepared cases, checkpoint and log; a run that was stopped goes on from here.
        options: device, precision, worker processes.
        watch: who is told.

    Returns:
        What came of it; None in all but the first of several processes.

    Raises:
        RecipeError: cases, classes or settings cannot be used, or the work folder belongs to another task.
        VolumeError: an image or label map cannot be used.
        ModelError: the base or the file of weights cannot be used.
        OutputError: package, cache or checkpoint cannot be written, or another process trains in the work folder.
        Cancelled: ``watch`` asked to stop; the next call goes on from there.
    """
    check_target(Path(output))
    processes = Processes.join()
    try:
        run = _Finetuning(task, Path(work), options or TrainingOptions(), watch or Watch(), processes)
        with locked_folder(Path(work)) if processes.is_first else nullcontext():
            result = run.run(output)
            if result is not None:
                _remove_copies(run)
            return result
    finally:
        processes.leave()


class _Finetuning:
    """One call of :func:`finetune`."""

    def __init__(
        self, task: FinetuneTask, work: Path, options: TrainingOptions, watch: Watch, processes: Processes
    ) -> None:
        _check(task)
        self.task, self.work, self.watch, self.processes = task, work, watch, processes
        self.options = replace(options, checkpoint_seconds=task.settings.checkpoint_seconds)
        numbered = [replace(case, name=f"case {number}") for number, case in enumerate(task.cases, start=1)]
        self.training, self.validation = divide(numbered, task.classes, task.settings.seed)
        self.preview = Preview(watch.preview, task.classes) if watch.preview is not None else None
        self.inference = InferenceSettings(device=processes.device(options.device), precision=options.precision)

    def run(self, output: Path) -> FinetuneResult | None:
        self.watch.state("Preparing the cases")
        recipe = self._recipe()
        trainer = self._trainer(recipe)
        self.watch.state("Training")
        weights = trainer.run(self._tell(recipe), self._validate(recipe), self.watch.go_on)
        if not self.processes.is_first:
            return None
        self.watch.state("Evaluating")
        before = self._before()
        card = replace(
            card_of(recipe),
            training=self._summary(recipe, trainer),
            known=measure_known([*self.training, *self.validation], recipe.plane),
        )
        self._check_go_on()
        # Measured as stored, and only then put where the user finds it: an evaluation may be stopped.
        stored = self.work / STORED
        card = save_model(stored, card, weights, STORAGE)
        after = self._evaluate(load_model(stored)) if self.validation else None
        if after is not None:
            card = replace(card, figures=self._figures(before, after))
            write_card(stored / CARD_FILE, card)
        with new_folder(Path(output)) as beside:
            for file in (CARD_FILE, WEIGHTS_FILE):
                shutil.copyfile(stored / file, beside / file)
        early = _stopped_early(recipe, trainer)
        return FinetuneResult(
            Path(output), card, before, after, self._notes(before, after, early), trainer.seconds, early
        )

    def _recipe(self) -> Recipe:
        task, scans, values = self.task, [], []
        kinds: dict[bool, str] = {}
        wanted = task.intensity is None and self._wants_window()
        for case in self.training:
            self._check_go_on()
            image = case.read_image()
            check_volume(image)
            scans.append((image.name, image.geometry))
            kinds.setdefault(looks_like_ct(image), image.name)
            if len(kinds) == 2 and "," not in task.identity.modality:
                raise RecipeError(
                    f"{kinds[True]} looks like a CT, {kinds[False]} does not; train a model on cases of one modality."
                )
            if wanted:
                labels = case.read_labels(image, label_values(task.classes))
                inside = image.array[(labels > 0) & (labels <= len(task.classes))]
                values.append(inside[:: max(1, inside.size // WINDOW_VOXELS)])
        return plan_recipe(
            task.identity,
            task.classes,
            scans,
            task.base.card if task.base is not None else None,
            task.settings,
            intensity=foreground_window(values) if wanted else task.intensity,
            validated=bool(self.validation),
            pretrained=task.resnet is not None,
        )

    def _wants_window(self) -> bool:
        """Whether the cases are CT and the base knows no window of CT numbers."""
        base = self.task.base
        return self.task.identity.modality.upper() == "CT" and (
            base is None or base.card.intensity_of("CT").rule != "window"
        )

    def _trainer(self, recipe: Recipe) -> Trainer:
        def progress(done: int, total: int) -> None:
            self.watch.progress(done, total)
            self._check_go_on()

        # The first process fills the cache, the others read it.
        if self.processes.is_first:
            prepare_cases(self.training, recipe, self.work / CACHE, progress)
        self.processes.agree(None)
        prepared = prepare_cases(self.training, recipe, self.work / CACHE, lambda done, total: None)
        weights = self._start(recipe)
        stamps = [case.stamp() for case in self.validation]
        return Trainer(recipe, prepared, self.work, self.options, weights, self.processes, stamps)

    def _start(self, recipe: Recipe) -> Mapping[str, Tensor] | None:
        task = self.task
        try:
            if task.base is not None:
                return starting_weights(task.base, recipe.network, recipe.classes, recipe.seed)
            return read_state_dict(task.resnet) if task.resnet is not None else None
        except CheckpointError as error:
            raise ModelError(str(error)) from error

    def _tell(self, recipe: Recipe) -> Callable[[TrainingProgress], bool]:
        planned = [stage.steps for stage in recipe.stages]

        def tell(place: TrainingProgress) -> bool:
            self.watch.progress(sum(planned[: place.stage]) + place.step, sum(planned))
            self.watch.steps(place)
            return self.watch.go_on()

        return tell

    def _validate(self, recipe: Recipe) -> Callable[[AHNet], dict[str, Any]] | None:
        if not self.validation:
            return None

        def look(image: Volume, pair: LabelPair) -> None:
            if self.preview is not None and pair.name == self.validation[0].name:
                self.preview.take(image, pair, recipe.plane)

        def validate(network: AHNet) -> dict[str, Any]:
            model = Model(card_of(recipe), network, self.work)
            found = evaluate_model(model, self.validation, self.inference, self._go_on_case, distances=False, look=look)
            if self.preview is not None:
                # A picture that cannot be written is no reason to lose a training.
                with suppress(OutputError):
                    self.watch.picture(self.preview.write())
            return found.validation()

        return validate

    def _go_on_case(self, what: str, done: int, total: int) -> bool:
        return self.watch.go_on()

    def _evaluate(self, model: Model, relabel: Mapping[int, int] | None = None) -> Evaluation:
        return evaluate_model(
            model, self.validation, self.inference, self.watch.case, classes=self.task.classes, relabel=relabel
        )

    def _before(self) -> Evaluation | None:
        """What the base reaches on the validation cases; None where there is nothing to compare."""
        base = self.task.base
        known = known_classes(base.card.classes, self.task.classes) if base is not None else {}
        if base is None or not known or not self.validation:
            return None
        return self._evaluate(base, {old: new for new, old in known.items()})

    def _figures(self, before: Evaluation | None, after: Evaluation) -> dict[str, Any]:
        count = len(self.validation)
        measured = f"{count} held-out case{'s' if count > 1 else ''}, which chose the best weights but trained none"
        figures = {**figures_of(after), "measured_on": measured}
        return figures if before is None else {**figures, "before": figures_of(before)}

    def _summary(self, recipe: Recipe, trainer: Trainer) -> dict[str, Any]:
        task = self.task
        parent = task.base.card if task.base is not None else None
        summary = {
            "kind": "fine-tuned" if parent is not None else "from scratch",
            "parent": None
            if parent is None
            else {"name": parent.name, "version": parent.version, "weights_sha256": parent.weights_sha256},
            "imagenet": task.resnet is not None,
            "date": date.today().isoformat(),
            "training_cases": len(self.training),
            "validation_cases": len(self.validation),
            "partly_labelled_cases": sum(case.labelled is not None for case in task.cases),
            "settings": asdict(task.settings),
            "stages": [asdict(stage) for stage in recipe.stages],
            "augmentation": asdict(recipe.augmentation),
            "hours": round(trainer.seconds / 3600, 3),
            "device": trainer.device.type,
            "precision": precision_name(trainer.precision),
            "processes": self.processes.count,
            "log": [
                {"step": entry["total"], "dice": entry["validation"]["dice"], "best": entry["best"]}
                for entry in trainer.log
                if "validation" in entry
            ],
            "versions": versions(),
        }
        # As it will be read again: tuples become lists.
        as_read: dict[str, Any] = json.loads(json.dumps(summary))
        return as_read

    def _notes(self, before: Evaluation | None, after: Evaluation | None, early: bool) -> tuple[str, ...]:
        notes = []
        if not self.validation:
            reason = (
                f"there are fewer than {FEWEST_TO_HOLD_OUT} cases"
                if len(self.task.cases) < FEWEST_TO_HOLD_OUT
                else "each case is needed for training"
            )
            notes.append(
                f"No case was held out, since {reason}: nothing says how good the model is, and the last weights "
                "were kept; evaluate it on cases that it has not seen."
            )
        if early:
            notes.append("A stage of the training ended early, since validation had not improved any more.")
        if self.task.base is not None and self.validation and before is None:
            notes.append(f"{self.task.base.card.title} knows none of these structures: there is no Dice from before.")
        for item, old in zip(after.classes, before.classes, strict=True) if after and before else ():
            if item.dice.mean < old.dice.mean:
                notes.append(
                    f"{item.name} was found better before (mean Dice {old.dice.mean:.3f}, now {item.dice.mean:.3f}): "
                    "add cases or steps, or go on with the model from before."
                )
        return tuple(notes)

    def _check_go_on(self) -> None:
        if not self.watch.go_on():
            raise Cancelled("The training was stopped; start it again to go on.")


def _remove_copies(run: _Finetuning) -> None:
    """Removes the prepared voxels: the training has ended. Nobody must have them open, or Windows keeps them."""
    gc.collect()
    for name in (CACHE, STORED):
        shutil.rmtree(run.work / name, ignore_errors=True)


def _check(task: FinetuneTask) -> None:
    """Raises RecipeError or ModelError where a task cannot be begun."""
    if not task.cases:
        raise RecipeError("There is no labelled case; add at least one.")
    if not task.classes:
        raise RecipeError("No structure is to be learned; choose at least one.")
    if task.base is not None and task.resnet is not None:
        raise RecipeError("A model to begin with and an ImageNet file exclude each other; choose one of them.")
    if task.base is not None and task.base.card.network.in_channels != 1:
        raise ModelError(f"The model {task.base.card.name} takes several volumes at once; begin with another one.")
    names = [item.name.casefold() for item in task.classes]
    if len(set(names)) < len(names):
        raise RecipeError("Two structures have the same name; give each its own.")
    try:
        check_name(task.identity.name)
        check_title(task.identity.title)
    except ValueError as error:
        raise RecipeError(f"The new model cannot be called so: {error}.") from error
    try:
        check_classes(task.classes, AHNetSettings(classes=len(task.classes) + 1))
    except ValueError as error:
        raise RecipeError(f"The structures cannot be used: {error}.") from error


def _stopped_early(recipe: Recipe, trainer: Trainer) -> bool:
    return trainer.total < sum(stage.steps for stage in recipe.stages)
