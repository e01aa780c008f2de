"""The command ``finetune``, and what it shares with ``evaluate``: labelled cases from a table."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from .errors import RecipeError
from .progress import ProgressBar

if TYPE_CHECKING:
    from .card import ClassCard
    from .case_list import ClassChoice
    from .cases import Case
    from .finetune import FinetuneResult, FinetuneTask
    from .finetune_plan import FinetuneSettings
    from .package import Model
    from .training_progress import TrainingProgress, Watch

NO_BASE = "none"


class Stop(Protocol):
    """Whether the user has asked to stop."""

    asked: bool


def add_commands(commands: Any, common: argparse.ArgumentParser, running: argparse.ArgumentParser) -> None:
    """Adds the command.

    Args:
        commands: what ``add_subparsers`` returns.
        common: options of all commands, ``--models`` and ``--quiet`` among them.
        running: options of all commands that compute, ``--device`` and ``--precision``.
    """
    item = commands.add_parser(
        "finetune",
        parents=[common, running, case_options(required=True)],
        help="train a model of your own on labelled cases",
        description="Several GPUs: torchrun --nproc-per-node 2 -m AHNetSegmentLib finetune ...",
    )
    item.add_argument("--base", required=True, help=f"name of the model to begin with, its folder, or {NO_BASE}")
    item.add_argument("--name", required=True, help="name of the new model: lower case letters, digits and hyphens")
    item.add_argument("--title", help="what lists call it; default: the name")
    item.add_argument("--modality", choices=("CT", "MR"), help="default: the base's, or MR")
    item.add_argument("--anatomy", default="", help="what it segments, in words; default: its classes")
    item.add_argument("--resnet", type=Path, metavar="FILE", help="weights of an ImageNet ResNet-50, for --base none")
    item.add_argument("-o", "--output", type=Path, help="model folder to write; default: <work>/model")
    item.add_argument("--work", type=Path, help="folder of cache and checkpoint; default: work/<name>")
    item.add_argument("--steps", type=int, default=0, help="steps of all stages (default: what suits the base)")
    item.add_argument("--batch", type=int, default=2, help="patches a step and process (default 2)")
    item.add_argument("--learning-rate", type=float, default=1e-3, help="of the decoder (default 0.001)")
    item.add_argument(
        "--encoder-factor", type=float, default=0.0, metavar="FACTOR", help="share of it for all layers afterwards"
    )
    item.add_argument("--plane", default="", help="axial, coronal, sagittal or any (default: as the cases' slices)")
    item.add_argument("--patch", type=int, nargs=3, default=(0, 0, 0), metavar=("D", "H", "W"), help="voxels")
    item.add_argument("--width", type=float, default=0.5, help="of a network from scratch (default 0.5; ResNet-50: 1)")
    item.add_argument("--seed", type=int, default=0, help="decides weights, patches and held-out cases (default 0)")
    item.add_argument("--patience", type=int, default=6, help="validations without a better one; 0: no early stop")
    item.add_argument("--validate-every", type=int, default=0, metavar="STEPS", help="default: 16 times in all")
    item.add_argument("--workers", type=int, default=1, help="processes that prepare batches (default 1)")
    item.set_defaults(run=_finetune)


def case_options(required: bool) -> argparse.ArgumentParser:
    """The options ``--cases``, ``--class`` and ``--complete``."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument(
        "--cases",
        type=Path,
        required=required,
        metavar="CSV",
        help="table with the columns image, labels, and if wanted name, use, complete, group; or a folder with "
        "images/ and labels/",
    )
    parser.add_argument(
        "--class",
        dest="choices",
        action="append",
        metavar="NAME=VALUES",
        help="a class and its values or segment names in the label maps, as in Kidneys=2,3; default: the base's",
    )
    parser.add_argument(
        "--complete", action="store_true", help="every case labels every class: what is not labelled is background"
    )
    return parser


def warn(*sentences: str) -> None:
    """Prints what a file leaves open, apart from the results."""
    for sentence in sentences:
        print(f"Warning: {sentence}", file=sys.stderr)


def chosen_classes(options: argparse.Namespace) -> list[ClassChoice] | None:
    """What ``--class`` says; raises RecipeError."""
    from .case_list import ClassChoice

    try:
        return [ClassChoice.parse(text) for text in options.choices] if options.choices else None
    except ValueError as error:
        raise RecipeError(f"A class cannot be read: {error}.") from error


def _finetune(options: argparse.Namespace, stop: Stop) -> None:
    from .allocator import keep_freed_memory
    from .finetune import finetune
    from .training_progress import TrainingOptions

    keep_freed_memory()
    work = options.work or Path("work") / options.name
    output = options.output or work / "model"
    task = _task(options)
    choice = TrainingOptions(options.device, options.precision, options.workers)
    bars = _Bars(options.quiet, stop)
    try:
        result = finetune(task, output, work, choice, bars.watch())
    finally:
        bars.close()
    if result is not None:
        _print(result)


def _task(options: argparse.Namespace) -> FinetuneTask:
    from .finetune import FinetuneTask
    from .package import find_model, load_model

    base = None if options.base == NO_BASE else load_model(find_model(options.base, options.models))
    classes, cases = _classes_and_cases(options, base)
    return FinetuneTask(
        _identity(options, base, classes), classes, tuple(cases), base, options.resnet, _settings(options)
    )


def _classes_and_cases(options: argparse.Namespace, base: Model | None) -> tuple[tuple[ClassCard, ...], list[Case]]:
    from .case_list import classes_of, label_cases, read_cases

    choices = chosen_classes(options)
    known = base.card.classes if base is not None else ()
    if choices is None and not known:
        raise RecipeError("A model from scratch has no classes yet; name them, as in --class Liver=6.")
    classes = known if choices is None else classes_of(choices, known)
    return classes, label_cases(read_cases(options.cases), choices, classes, options.complete, warn)


def _identity(options: argparse.Namespace, base: Model | None, classes: tuple[ClassCard, ...]) -> Any:
    from .finetune_plan import Identity

    modality = options.modality or (base.card.modality if base is not None else "MR")
    anatomy = options.anatomy or ", ".join(item.name for item in classes)
    return Identity(options.name, options.title or options.name, modality=modality, anatomy=anatomy)


def _settings(options: argparse.Namespace) -> FinetuneSettings:
    from .finetune_plan import FinetuneSettings

    try:
        return FinetuneSettings(
            steps=options.steps,
            batch=options.batch,
            learning_rate=options.learning_rate,
            encoder_factor=options.encoder_factor,
            seed=options.seed,
            validate_every=options.validate_every,
            patience=options.patience,
            patch=tuple(options.patch),
            width=options.width,
            plane=options.plane,
        )
    except ValueError as error:
        raise RecipeError(f"The training's settings cannot be used: {error}.") from error


class _Bars:
    """One progress bar after another."""

    def __init__(self, quiet: bool, stop: Stop) -> None:
        self._quiet, self._stop = quiet, stop
        self._bar = ProgressBar("")
        self._note = ""
        self._left: float | None = None

    def watch(self) -> Watch:
        from .training_progress import Watch

        return Watch(self._begin, self._progress, self._steps, lambda: not self._stop.asked)

    def close(self) -> None:
        self._bar.close()

    def _begin(self, text: str) -> None:
        self._bar.close()
        self._bar = ProgressBar(text, self._quiet)
        self._note, self._left = "", None

    def _progress(self, done: int, total: int) -> None:
        self._bar.show(done, total, self._note, self._left)

    def _steps(self, place: TrainingProgress) -> None:
        self._left = place.seconds_left
        if place.validation is None:
            self._note = f"loss {place.loss:.4f}"
            return
        dice = [value for value in place.validation["dice"].values() if value is not None]
        mean = f"{sum(dice) / len(dice):.3f}" if dice else "undefined"
        self._note = f"validation Dice {mean}{', the best so far' if place.best else ''}"


def _print(result: FinetuneResult) -> None:
    for title, evaluation in (("Before", result.before), ("After", result.after)):
        if evaluation is not None:
            print(f"{title}, on the validation cases:\n{evaluation.table()}\n")
    for note in result.notes:
        print(note)
    print(f"Written: {result.folder}")
