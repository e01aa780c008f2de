"""What the logic offers from Python for training and evaluation: blocking, in this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..engine.card import ClassCard
from ..engine.errors import RecipeError
from ..engine.finetune_tasks import PACKAGE, WORK
from ..engine.library import ModelLibrary, used_folder
from .cases import cases_from_nodes
from .structures import assign, structures_of
from .training_jobs import remove_job

if TYPE_CHECKING:
    from ..engine.cases import LabelledCase
    from ..engine.evaluation import Evaluation
    from ..engine.finetune import FinetuneResult
    from ..engine.package import Model

Cases = str | Path | Sequence[tuple[Any, Any]]
"""A table (``.csv``) or data folder, or pairs of a volume node and a segmentation node."""
Progress = Callable[[int, int], bool]

CONSOLE_TRAININGS = ".console-training"
"""Folder in the library for checkpoints of trainings from the console."""


def finetune_cases(
    cases: Cases,
    base: Model | None,
    title: str,
    library: Path,
    *,
    classes: Mapping[str, str] | None = None,
    complete: bool = False,
    modality: str | None = None,
    description: str = "",
    resnet: str | Path | None = None,
    device: str = "auto",
    precision: str = "auto",
    progress: Progress | None = None,
    **settings: Any,
) -> FinetuneResult:
    """Trains a model on labelled cases and puts it into the user's library.

    Args:
        cases: what to learn from.
        base: the model to begin with; None: from scratch.
        title: of the new model; its name is made of it.
        library: folder of the user's models.
        classes: the class of each segment name (of nodes), or of each value or segment name in label maps (of a table
            or folder); several may go to one class, and what is not named is left out. None: a segment is the class of
            its own name, a value in a label map the base's class with that label.
        complete: every class is labelled in every case: what is not labelled is background, not unknown.
        modality: ``MR`` or ``CT``; None: the base's, or MR.
        description: for the card.
        resnet: file with the weights of an ImageNet ResNet-50, for a training from scratch.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        precision: ``auto``, ``float32``, ``bfloat16``, ``float16``.
        progress: called as ``progress(done, total)`` after each case and every few steps; returning False stops the
            training, and the next call with the same cases and title goes on from there.
        settings: of :class:`~AHNetSegmentLib.engine.finetune_plan.FinetuneSettings`, by name.

    Raises:
        AHNetSegmentError: one sentence; nothing is added to the library.
        TypeError: a setting is unknown.
    """
    from ..engine.finetune import FinetuneTask, finetune
    from ..engine.finetune_plan import Identity
    from ..engine.training_progress import TrainingOptions

    wanted, read = _read(cases, base.card.classes if base is not None else (), classes, complete)
    store = ModelLibrary(used_folder(library))
    name = store.free_name(title)
    own = modality or (base.card.modality if base is not None else "MR")
    identity = Identity(name, title, description, own, ", ".join(item.name for item in wanted))
    imagenet = Path(resnet) if resnet is not None else None
    task = FinetuneTask(identity, wanted, tuple(read), base, imagenet, _settings(settings))
    job = library / CONSOLE_TRAININGS / name
    options = TrainingOptions(device, precision, workers=0)
    result = finetune(task, job / PACKAGE, job / WORK, options, _watch(progress))
    if result is None:
        raise RecipeError("Several processes cannot train from the console; use the command finetune with torchrun.")
    card = store.adopt(result.folder, name)
    remove_job(job)
    return replace(result, folder=library / card.name, card=card)


def evaluate_cases(
    cases: Cases,
    model: Model,
    *,
    classes: Mapping[str, str] | None = None,
    complete: bool = False,
    device: str = "auto",
    precision: str = "auto",
    report: str | Path | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Compares a model with labelled cases.

    Args:
        cases: labelled cases that the model has not seen.
        model: what to measure.
        classes: see :func:`finetune_cases`; each must be one of the model's.
        complete: see there.
        device: see there.
        precision: see there.
        report: HTML page to write, with tables and plots.
        progress: called as ``progress(done, total)`` after each case; returning False stops.

    Raises:
        AHNetSegmentError: one sentence that says what is wrong and what to do.
    """
    from ..engine.build import evaluate_model
    from ..engine.inference import InferenceSettings
    from ..engine.report import evaluation_report, write_html

    known = {item.name.casefold() for item in model.card.classes}
    if unknown := [name for name in (classes or {}).values() if name.casefold() not in known]:
        raise RecipeError(f"The model {model.card.name} has no class {unknown[0]}; choose one that it has.")
    read = _read_for(cases, model.card.classes, classes, complete)
    told = None if progress is None else lambda _what, done, total: progress(done, total)
    found = evaluate_model(model, read, InferenceSettings(device=device, precision=precision), told)
    if report is not None:
        write_html(Path(report), evaluation_report(found, model.card.title, model.card))
    return found


def _read(
    cases: Cases, known: Sequence[ClassCard], choices: Mapping[str, str] | None, complete: bool
) -> tuple[tuple[ClassCard, ...], Sequence[LabelledCase]]:
    """The classes that are to be learned, and the cases labelled with them."""
    if isinstance(cases, str | Path):
        from ..engine.case_list import classes_of

        if choices is None and not known:
            raise RecipeError("A model from scratch has no classes yet; name them, as in classes={'6': 'Liver'}.")
        wanted = tuple(known) if choices is None else classes_of(_values(choices), known)
        return wanted, _read_for(cases, wanted, choices, complete)
    structures = structures_of([segmentation for _, segmentation in cases])
    named = _folded(choices)
    there = {item.name.casefold() for item in structures}
    if missing := [name for name in named if name not in there]:
        raise RecipeError(f"No segmentation has a segment {missing[0]}; correct its name, or leave it out.")
    if choices is not None:
        structures = [item for item in structures if item.name.casefold() in named]
    found = assign(structures, named, known)
    return found.classes, cases_from_nodes(cases, found.mapping, found.classes, complete)


def _read_for(
    cases: Cases, wanted: Sequence[ClassCard], choices: Mapping[str, str] | None, complete: bool
) -> Sequence[LabelledCase]:
    """The cases labelled with some classes."""
    if isinstance(cases, str | Path):
        from ..engine.case_list import label_cases, read_cases

        return label_cases(read_cases(Path(cases)), None if choices is None else _values(choices), wanted, complete)
    labels = {item.name.casefold(): item.label for item in wanted}
    mapping = None
    if choices is not None:
        mapping = {name: labels[chosen.casefold()] for name, chosen in choices.items()}
    return cases_from_nodes(cases, mapping, wanted, complete)


def _values(choices: Mapping[str, str]) -> list[Any]:
    from ..engine.case_list import ClassChoice

    names = dict.fromkeys(choices.values())
    return [ClassChoice(name, tuple(str(key) for key, value in choices.items() if value == name)) for name in names]


def _folded(choices: Mapping[str, str] | None) -> dict[str, str]:
    return {str(name).casefold(): chosen for name, chosen in (choices or {}).items()}


def _settings(values: Mapping[str, Any]) -> Any:
    from ..engine.finetune_plan import FinetuneSettings

    try:
        return FinetuneSettings(**values)
    except ValueError as error:
        raise RecipeError(f"The training's settings cannot be used: {error}.") from error


def _watch(progress: Progress | None) -> Any:
    from ..engine.training_progress import Watch

    if progress is None:
        return Watch()
    answers = [True]

    def tell(done: int, total: int) -> None:
        answers[0] = answers[0] and bool(progress(done, total))

    return Watch(progress=tell, go_on=lambda: answers[0])
