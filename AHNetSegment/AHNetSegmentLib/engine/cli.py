"""The command line: ``python -m AHNetSegmentLib segment|batch|train|finetune|evaluate|models|...``.

Exit codes: 0 done, 2 wrong input or arguments, or cases of a batch that failed (the last line on standard error is one
sentence), 130 stopped by the user.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import __version__
from . import cli_finetune, cli_library
from .cli_finetune import chosen_classes, warn
from .errors import AHNetSegmentError, Cancelled, RecipeError, VolumeError
from .progress import ProgressBar

DONE, WRONG_INPUT, STOPPED = 0, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code."""
    options = _parser().parse_args(arguments)
    stop = _StopRequest()
    try:
        options.run(options, stop)
    except (Cancelled, KeyboardInterrupt) as error:
        print(f"\n{error}" if str(error) else "\nStopped.", file=sys.stderr)
        return STOPPED
    except AHNetSegmentError as error:
        print(f"\nError: {error}", file=sys.stderr)
        return WRONG_INPUT
    finally:
        stop.restore()
    return DONE


class _StopRequest:
    """Turns the first Ctrl+C or termination request into a polite stop; a second one interrupts at once."""

    def __init__(self) -> None:
        self.asked = False
        self._before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        for number in self._before:
            signal.signal(number, self._ask)

    def restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, _frame: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


def _segment(options: argparse.Namespace, stop: _StopRequest) -> None:
    from . import report, report_html
    from .image_io import image_name, read_volume, write_labels
    from .inference import segment
    from .package import find_model, load_model
    from .timings import Step, Timings, where_the_time_went

    timings = Timings()
    with timings.during(Step.MODEL):
        model = load_model(find_model(options.model, options.models))
    with timings.during(Step.VOXELS):
        volume = read_volume(options.input)
    settings = _settings(options, model, _region(options.box, volume) if options.box else None)
    with ProgressBar("Segmenting", options.quiet) as bar:

        def on_progress(done: int, total: int) -> bool:
            return bar.show(done, total) and not stop.asked

        result = segment(volume, model, settings, on_progress, timings)
    output = options.output or Path(f"{image_name(options.input)}.seg.nrrd")
    with timings.during(Step.VOXELS):
        write_labels(output, result.labels, result.geometry, result.classes)
    result.seconds = timings.to_dict()
    facts = report.segmentation_report(result, model.card, image_name(options.input))
    if options.report:
        writers = {".html": report_html.write_html, ".csv": report.write_csv}
        writers.get(options.report.suffix.lower(), report.write_json)(options.report, facts)
    for warning in result.warnings:
        print(f"Warning: {warning}", file=sys.stderr)
    if not options.quiet:
        for row in facts["runs"][0]["segments"]:
            print(f"{row['segment']:32s} {row['ml']:10.2f} mL")
        print(f"Written: {output}  (on {result.device}, {result.precision}, {where_the_time_went(result.seconds)})")


def _batch(options: argparse.Namespace, stop: _StopRequest) -> None:
    from .batch import BatchProgress, find_batch_cases, segment_batch_cases
    from .package import find_model, load_model

    model = load_model(find_model(options.model, options.models))
    cases = find_batch_cases(options.input, options.output, warn)
    settings = _settings(options, model)
    with ProgressBar("Segmenting", options.quiet) as bar:

        def on_step(place: BatchProgress) -> bool:
            note = f"{place.name} {100 * place.done // place.total} %"
            bar.show(place.ended, place.count, note, place.seconds_left)
            return not stop.asked

        result = segment_batch_cases(cases, model, options.output, settings, on_step)
        bar.show(len(cases), len(cases))
    for record in result.records:
        for warning in record.report["runs"][0]["warnings"] if record.report and not options.quiet else ():
            print(f"{record.name}: {warning}", file=sys.stderr)
        if record.error:
            print(f"{record.name} failed: {record.error}", file=sys.stderr)
    if not options.quiet:
        counts = f"{result.done} done, {result.skipped} done before, {result.failed} failed"
        print(f"Written: {result.table}  ({counts})")
    if result.failed:
        raise VolumeError(
            f"{result.failed} of {len(cases)} cases failed; the column 'error' of {result.table} says why."
        )


def _settings(options: argparse.Namespace, model: Any, region: Any = None) -> Any:
    from .inference import InferenceSettings, class_labels

    return InferenceSettings(
        region=region,
        device=options.device,
        precision=options.precision,
        window_memory=options.window_memory,
        keep_largest=options.keep_largest,
        smoothing=options.smooth,
        classes=class_labels(model.card, options.classes) if options.classes else None,
        modality=options.modality,
    )


def _train(options: argparse.Namespace, stop: _StopRequest) -> None:
    from .allocator import keep_freed_memory
    from .build import train_model
    from .recipe import read_recipe
    from .training_progress import TrainingOptions, TrainingProgress

    keep_freed_memory()
    recipe = read_recipe(options.recipe)
    work = options.work or Path("work") / recipe.name
    output = options.output or work / "model"
    bars: dict[str, ProgressBar] = {}

    def bar(name: str) -> ProgressBar:
        for other in [key for key in bars if key != name]:
            bars.pop(other).close()
        return bars.setdefault(name, ProgressBar(name, options.quiet))

    def on_step(place: TrainingProgress) -> bool:
        name = f"Stage {place.stage + 1} of {len(recipe.stages)} ({place.kind})"
        note = f"loss {place.loss:.4f}" if place.validation is None else ""
        bar(name).show(place.step, place.steps, note, place.seconds_left)
        return not stop.asked

    def on_case(what: str, done: int, total: int) -> bool:
        bar(what).show(done, total)
        return not stop.asked

    choice = TrainingOptions(
        options.device, options.precision, options.workers, options.checkpoint_seconds, options.report_every
    )
    try:
        evaluation = train_model(options.recipe, options.data, output, work, choice, on_step, on_case)
    finally:
        bar("").close()
    if evaluation is not None:
        print(evaluation.table())
    print(f"Written: {output}")


def _evaluate(options: argparse.Namespace, stop: _StopRequest) -> None:
    from . import report, report_html
    from .build import evaluate_model
    from .inference import InferenceSettings
    from .package import find_model, load_model

    model = load_model(find_model(options.model, options.models))
    cases = _cases_to_evaluate(options, model)
    settings = InferenceSettings(device=options.device, precision=options.precision, modality=options.modality)
    with ProgressBar("Evaluating", options.quiet) as bar:
        evaluation = evaluate_model(
            model,
            cases,
            settings,
            lambda _, done, total: bar.show(done, total) and not stop.asked,
            look=lambda image, _: warn(*image.notes),
        )
    print(evaluation.table())
    if options.csv:
        evaluation.write_csv(options.csv)
    if options.report:
        source = options.data or options.cases
        facts = report.evaluation_report(evaluation, source.resolve().name, model.card)
        write = report_html.write_html if options.report.suffix.lower() == ".html" else report.write_json
        write(options.report, facts)


def _cases_to_evaluate(options: argparse.Namespace, model: Any) -> Sequence[Any]:
    from .build import RECIPE_FILE, cases_of
    from .case_list import label_cases, read_cases
    from .cases import find_cases, split_cases
    from .recipe import read_recipe

    if (options.data is None) == (options.cases is None):
        raise RecipeError("Give the labelled cases either by --data, a folder, or by --cases, a table.")
    if options.cases is not None:
        return label_cases(read_cases(options.cases), chosen_classes(options), model.card.classes, options.complete)
    path = options.recipe or model.folder / RECIPE_FILE
    if options.split == "all" and not path.is_file():
        return find_cases(options.data)
    recipe = read_recipe(path)
    cases = cases_of(recipe, options.data)
    if options.split == "all":
        return cases
    if not recipe.validation:
        raise RecipeError(f"The recipe of {model.card.name} names no validation cases; evaluate with --split all.")
    return split_cases(cases, recipe.validation)[1]


def _models(options: argparse.Namespace, _stop: _StopRequest) -> None:
    from .card import read_card
    from .package import CARD_FILE, find_model, model_folders

    if options.name:
        card = read_card(find_model(options.name, options.models) / CARD_FILE)
        classes = ", ".join(f"{item.label} {item.name}" for item in card.classes)
        spacing = " × ".join("as scanned" if step is None else f"{step:g}" for step in card.spacing)
        print(f"{card.title}, version {card.version} ({card.modality})\n{card.anatomy}\n\n{card.description}\n")
        if card.known_failures:
            print(f"Known failures: {card.known_failures}\n")
        if pieces := [item.name for item in card.in_one_piece]:
            print(f"Of which only the best piece is kept, and what is not small beside it: {', '.join(pieces)}\n")
        print(f"Classes: {classes}\nPlane: {card.plane or 'not stated'}")
        print(f"Spacing (slices, rows, columns): {spacing} mm\nData: {card.data_licence}")
        if "mean_dice" in card.figures:
            print(f"Mean Dice {card.figures['mean_dice']} on {card.figures.get('measured_on', '')}")
        return
    for folder in model_folders(options.models):
        card = read_card(folder / CARD_FILE)
        dice = f"mean Dice {card.figures['mean_dice']:.3f}" if "mean_dice" in card.figures else ""
        print(f"{card.name:20s} {card.modality:6s} {card.title:32s} {dice}")


def _region(box: Sequence[float], volume: Any) -> Any:
    """The voxels inside a box given as R A S centre and size in mm, its sides along the patient's axes."""
    import numpy as np

    from .volume import Region

    centre, size = np.array(box[:3]), np.array(box[3:])
    if (size <= 0).any():
        raise VolumeError("The box has a size of zero or less; give its centre (R A S) and its size in mm.")
    signs = np.array([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)])
    corners = (centre + signs * size / 2) * np.array([-1, -1, 1])
    return Region.around(volume.geometry, corners, "The box")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m AHNetSegmentLib",
        description="Segmentation of medical volumes with AH-Net, without Slicer's window. Not for clinical use.",
        epilog="Exit codes: 0 done, 2 wrong input or failed cases, 130 stopped.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--models", type=Path, action="append", default=[], metavar="FOLDER", help="more models")
    common.add_argument("--quiet", action="store_true", help="no progress bar")
    running = argparse.ArgumentParser(add_help=False)
    running.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, mps")
    running.add_argument("--precision", default="auto", help="auto (default), float32, bfloat16, float16")
    taken = argparse.ArgumentParser(add_help=False)
    taken.add_argument(
        "--modality",
        default="",
        help="what volumes are taken for by a model of several modalities, CT for example; default: as their DICOM "
        "header or their values say",
    )
    result = argparse.ArgumentParser(add_help=False, parents=[taken])
    result.add_argument("--model", required=True, help="name of a model, or its folder")
    result.add_argument("--classes", nargs="+", metavar="CLASS", help="only these classes, by name or number")
    result.add_argument(
        "--keep-largest",
        action=argparse.BooleanOptionalAction,
        help="keep only the largest piece of each class, or all pieces; default: as the model says",
    )
    result.add_argument("--smooth", type=float, default=0.0, metavar="MM", help="smooth the borders by 0 to 20 mm")
    result.add_argument("--window-memory", type=_positive, metavar="MB", help="memory for the network's maps")

    item = commands.add_parser("segment", parents=[common, running, result], help="segment one volume")
    item.add_argument("input", type=Path, help="NIfTI, NRRD or MetaImage file, or a folder with one DICOM series")
    item.add_argument("-o", "--output", type=Path, help="label map to write; default: <input>.seg.nrrd here")
    item.add_argument("--report", type=Path, help="run report to write: .json, .html or .csv")
    item.add_argument(
        "--box", type=float, nargs=6, metavar=("R", "A", "S", "DR", "DA", "DS"), help="only this box: centre, size, mm"
    )
    item.set_defaults(run=_segment)

    item = commands.add_parser("batch", parents=[common, running, result], help="segment all volumes of a folder")
    item.add_argument("input", type=Path, help="folder with NIfTI, NRRD, MetaImage or DICOM, subfolders included")
    item.add_argument(
        "-o", "--output", type=Path, required=True, help="folder for <case>.seg.nrrd, <case>.json and batch.csv"
    )
    item.set_defaults(run=_batch)

    item = commands.add_parser("train", parents=[common, running], help="train a model from a recipe")
    item.add_argument("recipe", type=Path, help="TOML file")
    item.add_argument("--data", type=Path, required=True, help="folder with images/ and labels/")
    item.add_argument("--output", type=Path, help="model folder to write; default: <work>/model")
    item.add_argument("--work", type=Path, help="folder of cache and checkpoint; default: work/<name>")
    item.add_argument("--workers", type=int, default=1, help="processes that prepare batches (default 1)")
    item.add_argument("--checkpoint-seconds", type=float, default=120.0, help="time between checkpoints (default 120)")
    item.add_argument(
        "--report-every", type=int, default=20, metavar="STEPS", help="steps between reports (default 20)"
    )
    item.set_defaults(run=_train)

    cli_finetune.add_commands(commands, common, running)

    item = commands.add_parser(
        "evaluate",
        parents=[common, running, taken, cli_finetune.case_options(required=False)],
        help="compare a model with labelled cases",
    )
    item.add_argument("--model", required=True, help="name of a model, or its folder")
    item.add_argument("--data", type=Path, help="folder with images/ and labels/, labelled with the model's classes")
    item.add_argument("--split", choices=("all", "validation"), default="all", help="which cases (default all)")
    item.add_argument("--recipe", type=Path, help="recipe that names the validation cases; default: the model's")
    item.add_argument("--csv", type=Path, help="table to write: one row per case and class")
    item.add_argument("--report", type=Path, help="report to write: .json or .html")
    item.set_defaults(run=_evaluate)

    item = commands.add_parser("models", parents=[common], help="list models, or describe one")
    item.add_argument("name", nargs="?", help="name of a model, or its folder")
    item.set_defaults(run=_models)
    cli_library.add_commands(commands, common)
    return parser


def _positive(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError("must be above zero")
    return value
