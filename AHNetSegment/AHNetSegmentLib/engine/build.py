"""From a recipe and labelled cases to a model package with its figures; and what a model reaches on labelled cases."""

from __future__ import annotations

import platform
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch

from .. import __version__
from ..network.ahnet import AHNet
from .card import ClassCard, ModelCard, label_values, write_card
from .cases import LabelledCase, find_cases, split_cases
from .dataset import prepare_cases
from .device import precision_name
from .errors import Cancelled, RecipeError
from .evaluation import Evaluation, LabelPair, evaluate_cases
from .familiarity import measure_known
from .files import sha256
from .inference import InferenceSettings, segment
from .label_maps import LabelMapCase, find_label_maps, known_of_label_maps
from .measures import mean_of_defined, none_if_undefined
from .orientation import training_plane
from .package import CARD_FILE, Model, check_target, find_model, load_model, save_model
from .pieces import measure_places
from .recipe import Recipe, read_recipe
from .training import Trainer
from .training_progress import Report, TrainingOptions
from .volume import Array, Geometry, Volume

RECIPE_FILE = "recipe.toml"
STORAGE_FIGURES = ("mean_dice_before_storage", "mean_dice_after_storage")

CaseProgress = Callable[[str, int, int], bool]
"""Called as ``progress(what, done, total)`` after each case; returning False stops the run."""


def train_model(
    recipe_path: Path,
    data: Path,
    output: Path,
    work: Path,
    options: TrainingOptions | None = None,
    report: Report | None = None,
    case_progress: CaseProgress | None = None,
) -> Evaluation | None:
    """Runs a recipe and writes the model package, the recipe beside card and weights.

    Args:
        recipe_path: the recipe.
        data: folder with ``images/`` and ``labels/``; with label maps alone where the recipe generates images.
        output: the package; replaced in one step when the training has ended.
        work: folder of cache, checkpoint and log; a run that was stopped goes on from here.
        options: device, precision, worker processes.
        report: called every few steps.
        case_progress: called after each case that is measured, prepared or evaluated.

    Returns:
        What the model as stored reaches on the validation cases; None where the recipe names none.

    Raises:
        RecipeError: recipe or data cannot be used.
        VolumeError: an image or label file cannot be used.
        OutputError: package, cache or checkpoint cannot be written.
        Cancelled: a callback asked to stop; the next call goes on from there.
    """
    progress = case_progress or _always
    check_target(Path(output))
    recipe = read_recipe(recipe_path)
    cases, held_out = split_cases(cases_of(recipe, data), recipe.validation)
    recipe = _in_plane(recipe, cases)

    def show(what: str, done: int, total: int) -> None:
        if not progress(what, done, total):
            raise Cancelled("Training was stopped; start it again to go on.")

    known = _known_of(recipe, [*cases, *held_out], partial(show, "Measuring cases")) | _places_of(recipe, cases)
    prepared = partial(show, "Preparing cases")
    base = load_model(find_model(recipe.base)).network.state_dict() if recipe.base else None
    trainer = Trainer(recipe, prepare_cases(cases, recipe, Path(work) / "cache", prepared), work, options, base)

    def validate(network: AHNet) -> dict[str, Any]:
        model = Model(card_of(recipe), network, Path(work))
        return evaluate_model(model, held_out, distances=False).validation()

    weights = trainer.run(report, validate if held_out else None)
    training = {
        "recipe_sha256": sha256(recipe_path),
        "command": f"python -m AHNetSegmentLib train {RECIPE_FILE} --data <folder>",
        "training_cases": len(cases),
        "validation_cases": list(recipe.validation),
        "hours": round(trainer.seconds / 3600, 2),
        "device": trainer.device.type,
        "precision": precision_name(trainer.precision),
        "log": [entry for entry in trainer.log if "validation" in entry],
        "versions": versions(),
    }
    card = replace(card_of(recipe), training=training, known=known)
    save_model(output, card, weights, recipe.storage, lambda folder: _copy_recipe(recipe_path, folder))
    if not held_out:
        return None
    model = load_model(output)
    evaluation = evaluate_model(model, held_out, progress=progress)
    validations = [entry["validation"]["dice"] for entry in trainer.log if "validation" in entry]
    before = none_if_undefined(round(mean_of_defined(validations[-1].values()), 4)) if validations else None
    figures = _bundled_figures(evaluation)
    if before is not None:
        figures |= zip(STORAGE_FIGURES, (before, figures["mean_dice"]), strict=True)
    write_card(Path(output) / CARD_FILE, replace(model.card, figures=figures))
    return evaluation


def evaluate_model(
    model: Model,
    cases: Sequence[LabelledCase],
    settings: InferenceSettings | None = None,
    progress: CaseProgress | None = None,
    distances: bool = True,
    *,
    classes: Sequence[ClassCard] | None = None,
    relabel: Mapping[int, int] | None = None,
    look: Callable[[Volume, LabelPair], None] | None = None,
) -> Evaluation:
    """Segments labelled cases and compares the results with their labels, each on the case's own grid.

    Args:
        model: what to measure.
        cases: images and label files; the label 255 marks voxels that count for nothing.
        settings: device and precision.
        progress: called after each case.
        distances: also surface distances, which take most of the time.
        classes: of the cases' labels; None: the model's.
        relabel: the cases' label of each label of the model; classes that the model lacks are not measured. None: they
            are the same.
        look: shown each case's image and label maps.

    Raises:
        VolumeError: an image or label file cannot be used.
        Cancelled: ``progress`` returned False.
    """
    classes = model.card.classes if classes is None else classes
    expected = label_values(classes)
    seconds: list[float] = []

    def pairs() -> Iterator[LabelPair]:
        for number, case in enumerate(cases, start=1):
            volume = case.read_image()
            reference = case.read_labels(volume, expected)
            began = time.monotonic()
            found = segment(volume, model, settings).labels
            seconds.append(time.monotonic() - began)
            labelled = case.labelled
            if relabel is not None:
                found = _relabelled(found, relabel)
                labelled = tuple(label for label in relabel.values() if labelled is None or label in labelled)
            pair = LabelPair(case.name, found, reference, volume.geometry, labelled)
            if look is not None:
                look(volume, pair)
            yield pair
            if progress is not None and not progress("Evaluating cases", number, len(cases)):
                raise Cancelled("Evaluation was stopped.")

    evaluation = evaluate_cases(pairs(), classes, distances=distances)
    return replace(evaluation, seconds_per_volume=statistics.median(seconds)) if seconds else evaluation


def _relabelled(labels: Array, relabel: Mapping[int, int]) -> Array:
    table = np.zeros(256, np.uint8)
    for old, new in relabel.items():
        table[old] = new
    renamed: Array = table[labels]
    return renamed


def refresh_card(model_folder: Path, data: Path) -> ModelCard:
    """Measures a model anew and writes its card: words from the recipe beside it, figures and looks from its cases.

    The weights stay as they are, and so do the figures of before and after their storage, which were measured alike.
    From the command line::

        python -c "from AHNetSegmentLib.engine.build import refresh_card; refresh_card('<model folder>', '<data>')"

    Args:
        model_folder: the package.
        data: folder with ``images/`` and ``labels/``: the cases that the model was trained and validated on.

    Returns:
        The card as written.

    Raises:
        ModelError: card or weights cannot be read.
        RecipeError: the recipe cannot be read, or the data folder lacks its cases.
        VolumeError: an image cannot be used.
        OutputError: the card cannot be written.
    """
    folder = Path(model_folder)
    model = load_model(folder)
    recipe = read_recipe(folder / RECIPE_FILE)
    cases, held_out = split_cases(cases_of(recipe, data), recipe.validation)
    recipe = _in_plane(recipe, cases)
    told = card_of(recipe)
    card = replace(
        told,
        training=model.card.training,
        known=_known_of(recipe, [*cases, *held_out]) | _places_of(recipe, cases),
        weights_sha256=model.card.weights_sha256,
    )
    if held_out:
        evaluation = evaluate_model(Model(card, model.network, folder), held_out)
        kept = {name: value for name, value in model.card.figures.items() if name in STORAGE_FIGURES}
        card = replace(card, figures={**_bundled_figures(evaluation), **kept})
    write_card(folder / CARD_FILE, card)
    return card


def cases_of(recipe: Recipe, data: Path) -> Sequence[LabelledCase]:
    """The cases of a data folder: label maps alone where a recipe generates its images and the folder has none.

    Raises:
        RecipeError: there is none, or an image lacks its labels.
    """
    if recipe.generation is None or (Path(data) / "images").is_dir():
        return find_cases(data)
    return find_label_maps(data, recipe.generation)


def _known_of(
    recipe: Recipe, cases: Sequence[LabelledCase], progress: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    maps = [case for case in cases if isinstance(case, LabelMapCase)]
    if len(maps) < len(cases):
        return measure_known(cases, recipe.plane, progress)
    used = [recipe.augmentation_of(stage) for stage in recipe.stages]
    return known_of_label_maps(maps, recipe.plane, max(item.thickness[1] if item.thick else 0.0 for item in used))


def _places_of(recipe: Recipe, cases: Sequence[LabelledCase]) -> dict[str, Any]:
    """Where structures lie, for those of which small pieces are dropped; nothing where there are none."""
    if not recipe.one_piece:
        return {}

    def maps() -> Iterator[tuple[Array, Geometry]]:
        for case in cases:
            image = case.read_image()
            yield case.read_labels(image, recipe.labels), image.geometry

    places = measure_places(maps(), recipe.classes)
    return {"places": places} if places else {}


def card_of(recipe: Recipe) -> ModelCard:
    """The card that a recipe describes, without training summary, figures and weights."""
    return ModelCard(
        name=recipe.name,
        title=recipe.title,
        version=recipe.version,
        modality=recipe.modality,
        anatomy=recipe.anatomy,
        description=recipe.description,
        classes=recipe.classes,
        spacing=recipe.spacing,
        intensity=recipe.test_time_intensity or recipe.intensity,
        network=recipe.network,
        data_licence=recipe.data_licence,
        plane=recipe.plane,
        known_failures=recipe.known_failures,
        one_piece=recipe.one_piece,
        test_time_mirroring=recipe.test_time_mirroring,
        test_time_scales=recipe.test_time_scales,
        intensity_by_modality=recipe.intensity_by_modality,
    )


def figures_of(evaluation: Evaluation) -> dict[str, Any]:
    """An evaluation as it stands in a card: per class and over all, not case by case."""
    classes = [item.to_dict() for item in evaluation.classes]
    return {
        "measured_on": f"{len(evaluation.cases)} validation cases that training never saw",
        "mean_dice": round(evaluation.mean_dice, 4),
        "classes": classes,
    }


def _bundled_figures(evaluation: Evaluation) -> dict[str, Any]:
    """The figures of a model made by a recipe: also its time."""
    return {**figures_of(evaluation), "seconds_per_volume": round(evaluation.seconds_per_volume, 2)}


def versions() -> dict[str, str]:
    """Versions of what a training rests on."""
    return {
        "AHNetSegment": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "SimpleITK": sitk.Version.VersionString(),
    }


def _in_plane(recipe: Recipe, cases: Sequence[LabelledCase]) -> Recipe:
    """The recipe with the plane of the cases' slices where it names none; raises RecipeError, VolumeError."""
    if recipe.plane:
        return recipe
    plane = training_plane([(case.name, case.read_image().geometry) for case in cases])
    try:
        return replace(recipe, plane=plane)
    except ValueError as error:
        raise RecipeError(f"The recipe of {recipe.name} does not fit its cases' {plane} slices: {error}.") from error


def _copy_recipe(recipe_path: Path, folder: Path) -> None:
    shutil.copyfile(recipe_path, folder / RECIPE_FILE)


def _always(what: str, done: int, total: int) -> bool:
    return True
