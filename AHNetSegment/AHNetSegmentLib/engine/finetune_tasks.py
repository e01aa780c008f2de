"""What the worker computes of training and evaluation: see :mod:`.tasks`.

Cases come in a job folder: ``job.json``, and for each case a folder with ``image.npy`` and ``labels.npy``, (k, j, i).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .card import ClassCard, classes_from_dicts
from .errors import Cancelled, RecipeError

if TYPE_CHECKING:
    from .cases import StoredCase
    from .finetune import FinetuneTask
    from .finetune_plan import FinetuneSettings
    from .tasks import Context
    from .training_progress import Watch

JOB_FILE = "job.json"
FORMAT_VERSION = 1
REPORT_EVERY = 5
"""Steps between reports: a curve that moves."""
WORK, PACKAGE = "work", "package"
"""Folders inside a job folder: checkpoint and cache, and the model until it is complete."""


def finetune_task(arguments: dict[str, Any], context: Context) -> dict[str, Any]:
    """Fine-tunes a model; after a stop or a kill, the same task goes on.

    Args:
        arguments: ``job`` (folder on the library's drive; removed in the end), ``library`` (folder that gets the
            model's), and, if wanted: ``base`` (model folder), ``resnet`` (file of an ImageNet ResNet-50), ``device``,
            ``precision``, ``workers``.
        context: progress counts steps. Reports are ``{"kind": "loss", "step", "loss", "stage"}`` and ``{"kind":
            "validation", "step", "dice", "preview", "best"}``; those from before a stop come again first.

    Returns:
        ``folder``, ``name``, ``title``, ``before`` and ``after`` (:meth:`Evaluation.to_dict`, or None), ``notes``,
        ``seconds``, ``stopped_early``.
    """
    from .tasks import require_torch

    require_torch()
    from .finetune import finetune
    from .library import ModelLibrary
    from .priority import give_way
    from .training_progress import TrainingOptions

    give_way()
    context.state("Loading the model")
    job = Path(arguments["job"])
    task = _read_task(job, arguments)
    options = TrainingOptions(
        device=arguments.get("device") or "auto",
        precision=arguments.get("precision") or "auto",
        workers=int(arguments.get("workers") or 0),
        report_every=REPORT_EVERY,
    )
    _tell_again(job, context)
    result = finetune(task, job / PACKAGE, job / WORK, options, _watch(job, context))
    if result is None:
        raise RuntimeError("the worker is one of several processes")
    library = Path(arguments["library"])
    card = ModelLibrary(library).adopt(result.folder, job.name)
    notes = list(result.notes)
    if card.name != task.identity.name:
        notes.append(f"Another model took the name of {task.identity.title} meanwhile: the new one is {card.title}.")
    # First of all: what is left on a drive that keeps open files is then no training any more.
    (job / JOB_FILE).unlink(missing_ok=True)
    shutil.rmtree(job, ignore_errors=True)
    return {
        "folder": str(library / card.name),
        "name": card.name,
        "title": card.title,
        "before": result.before.to_dict() if result.before is not None else None,
        "after": result.after.to_dict() if result.after is not None else None,
        "notes": notes,
        "seconds": result.seconds,
        "stopped_early": result.stopped_early,
    }


def evaluate_task(arguments: dict[str, Any], context: Context) -> dict[str, Any]:
    """Compares a model with labelled cases.

    Args:
        arguments: ``job`` (folder with the cases, labelled with the model's classes), ``model`` (folder), and, if
            wanted: ``device``, ``precision``.
        context: progress counts cases.

    Returns:
        ``evaluation`` (:meth:`Evaluation.to_dict`), ``table`` (text), ``csv`` (text).
    """
    from .tasks import require_torch

    require_torch()
    from .build import evaluate_model
    from .inference import InferenceSettings
    from .package import load_model

    context.state("Loading the model")
    model = load_model(Path(arguments["model"]))
    cases = _stored_cases(Path(arguments["job"]), _read_job(Path(arguments["job"])))
    settings = InferenceSettings(
        device=arguments.get("device") or "auto", precision=arguments.get("precision") or "auto"
    )
    context.state("Evaluating")
    found = evaluate_model(model, cases, settings, lambda _, done, total: context.progress(done, total))
    return {"evaluation": found.to_dict(), "table": found.table(), "csv": found.csv()}


def estimate_task(arguments: dict[str, Any], context: Context) -> dict[str, Any]:
    """How long a fine-tuning will take on this machine, from two steps of each kind.

    Args:
        arguments: ``classes`` (their number), ``cases`` ([{"geometry"}]), ``settings``, and, if wanted: ``base``
            (model folder), ``device``, ``precision``.
        context: asked whether to stop.

    Returns:
        ``seconds``, ``seconds_per_step`` (of a step that trains all layers), ``steps``.
    """
    from .tasks import geometry_from_dict, require_torch

    require_torch()
    from .card import read_card
    from .finetune_estimate import estimate
    from .package import CARD_FILE

    base = read_card(Path(arguments["base"]) / CARD_FILE) if arguments.get("base") else None
    scans = [geometry_from_dict(case["geometry"]) for case in arguments["cases"]]
    found = estimate(
        base,
        int(arguments["classes"]),
        scans,
        _settings(arguments.get("settings") or {}),
        arguments.get("device") or "auto",
        arguments.get("precision") or "auto",
        go_on=lambda: not context.cancelled,
    )
    return {"seconds": found.seconds, "seconds_per_step": found.seconds_per_step, "steps": found.steps}


def _read_task(job: Path, arguments: dict[str, Any]) -> FinetuneTask:
    from .finetune import FinetuneTask
    from .finetune_plan import Identity
    from .package import load_model

    facts = _read_job(job)
    base, resnet = arguments.get("base"), arguments.get("resnet")
    texts = {key: str(facts[key]) for key in ("description", "modality", "anatomy") if key in facts}
    try:
        identity = Identity(str(facts["name"]), str(facts["title"]), **texts)
        classes = classes_from_dicts(facts["classes"])
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(job, error) from error
    return FinetuneTask(
        identity,
        classes,
        _stored_cases(job, facts),
        load_model(Path(base)) if base else None,
        Path(resnet) if resnet else None,
        _settings(facts.get("settings") or {}),
    )


def _read_job(job: Path) -> dict[str, Any]:
    path = job / JOB_FILE
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        if facts["format_version"] != FORMAT_VERSION:
            raise ValueError(f"its format version is {facts['format_version']}, known is {FORMAT_VERSION}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(job, error) from error
    checked: dict[str, Any] = facts
    return checked


def _stored_cases(job: Path, facts: dict[str, Any]) -> tuple[StoredCase, ...]:
    from .cases import StoredCase
    from .tasks import geometry_from_dict

    try:
        return tuple(
            StoredCase(
                case["name"],
                job / Path(case["folder"]).name,
                geometry_from_dict(case["geometry"]),
                str(case.get("modality", "")),
                labelled=_tuple(case.get("labelled")),
                use=case.get("use", "auto"),
                group=case.get("group", ""),
            )
            for case in facts["cases"]
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(job, error) from error


def _settings(values: dict[str, Any]) -> FinetuneSettings:
    from .finetune_plan import FinetuneSettings

    try:
        return FinetuneSettings.from_dict(values)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"The training's settings cannot be used: {error}.") from error


def _watch(job: Path, context: Context) -> Watch:
    from .training_progress import TrainingProgress, Watch

    pictures: list[str | None] = [None]

    def steps(place: TrainingProgress) -> None:
        if place.validation is None:
            context.report({"kind": "loss", "step": place.total, "loss": place.loss, "stage": place.kind})
        else:
            _report_validation(context, place.total, place.validation["dice"], place.best, pictures[-1])

    return Watch(
        state=context.state,
        progress=context.progress,
        steps=steps,
        go_on=lambda: not context.cancelled,
        preview=job,
        picture=pictures.append,
    )


def _report_validation(context: Context, step: int, dice: dict[str, Any], best: bool, picture: str | None) -> None:
    context.report({"kind": "validation", "step": step, "dice": dice, "preview": picture, "best": best})


def _tell_again(job: Path, context: Context) -> None:
    """Reports what a run had reported before it was stopped."""
    from .training_progress import read_log

    log = read_log(job / WORK)
    pictured = max((entry["total"] for entry in log if "validation" in entry), default=0)
    for entry in log:
        if "loss" in entry:
            context.report({"kind": "loss", "step": entry["total"], "loss": entry["loss"], "stage": entry["kind"]})
        else:
            picture = _logged_picture(job) if entry["total"] == pictured else None
            _report_validation(context, entry["total"], entry["validation"]["dice"], entry["best"], picture)
    if context.cancelled:
        raise Cancelled("The training was stopped; start it again to go on.")


def _logged_picture(job: Path) -> str | None:
    """The picture of the last validation in the log; None where it shows a later one, which a kill took away."""
    from .preview import last_picture
    from .training_progress import LOG_FILE

    picture = last_picture(job)
    try:
        if picture is None or picture.stat().st_mtime_ns > (job / WORK / LOG_FILE).stat().st_mtime_ns:
            return None
    except OSError:
        return None
    return str(picture)


def _damaged(job: Path, error: Exception) -> RecipeError:
    reason = f"{error} is missing" if isinstance(error, KeyError) else str(error).rstrip(".")
    return RecipeError(f"The training in {job} cannot be read ({reason}); discard it and start anew.")


def _tuple(labels: Sequence[int] | None) -> tuple[int, ...] | None:
    return None if labels is None else tuple(int(label) for label in labels)


def job_classes(classes: Sequence[ClassCard]) -> list[dict[str, Any]]:
    """Classes as they stand in ``job.json``."""
    return [asdict(item) for item in classes]
