"""Trainings on the disk: where a new one goes, and those that were begun and not finished."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..engine.card import ClassCard, classes_from_dicts
from ..engine.errors import OutputError
from ..engine.finetune_tasks import JOB_FILE, WORK
from ..engine.library import TRAININGS
from ..engine.lock import is_locked
from .exchange import REMOVE_AGAIN_MS, reason_text, remove_later

LEFT_OVER_SECONDS = 24 * 3600
"""A folder without a job that is so old was left behind by a crash while cases were copied into it."""


@dataclass(frozen=True)
class Unfinished:
    """A training that can be continued.

    Attributes:
        folder: its job folder.
        title: of the model that it makes.
        base: name of the model that it starts from; empty: from scratch.
        pretrained: whether it starts from the file of an ImageNet ResNet-50.
        classes: of the new model.
        cases: how many.
    """

    folder: Path
    title: str
    base: str
    pretrained: bool
    classes: tuple[ClassCard, ...]
    cases: int


def job_folder(library: Path, name: str) -> Path:
    """Where the training of a model of this name is kept until it is finished."""
    return Path(library) / TRAININGS / name


def is_unfinished(folder: Path) -> bool:
    """Whether a folder holds a training that can be continued, or goes on."""
    return (folder / JOB_FILE).is_file()


def find_unfinished(library: Path) -> list[Unfinished]:
    """The unfinished trainings in a library, the latest first; a job that cannot be read is passed over."""
    found = []
    for path in _jobs(library):
        with suppress(OSError, ValueError, TypeError, KeyError):
            job = json.loads(path.read_text(encoding="utf-8"))
            unfinished = Unfinished(
                path.parent,
                str(job["title"]),
                str(job["base"]),
                bool(job["pretrained"]),
                classes_from_dicts(job["classes"]),
                len(job["cases"]),
            )
            found.append((path.stat().st_mtime, unfinished))
    return [unfinished for _, unfinished in sorted(found, key=lambda item: item[0], reverse=True)]


def remove_job(folder: Path) -> None:
    """Removes a training with its copies of the cases.

    Raises:
        OutputError: another process trains in it, or it cannot be removed; what is left of it is then no training any
            more.
    """
    if is_locked(folder / WORK):
        raise OutputError(f"The training in {folder} goes on, perhaps in a second Slicer; stop it there first.")
    with suppress(OSError):
        (folder / JOB_FILE).unlink(missing_ok=True)
    try:
        if folder.exists():
            shutil.rmtree(folder)
    except OSError as error:
        raise OutputError(
            f"The folder {folder} could not be removed ({reason_text(error)}); remove it by hand."
        ) from error


def remove_finished(folder: Path, unused: Callable[[], bool]) -> None:
    """Removes, from the event loop, what the worker has left of a training whose model is in the library.

    Windows keeps copies of voxels that the worker still held in memory when it removed the folder.

    Args:
        folder: of the job; a new one that takes it meanwhile is left alone.
        unused: whether no cases are being copied into it.
    """
    with suppress(OSError):
        (folder / JOB_FILE).unlink(missing_ok=True)
    remove_later(folder, REMOVE_AGAIN_MS, lambda: unused() and not is_unfinished(folder))


def remove_left_over(library: Path) -> None:
    """Removes what is left of finished trainings, and of cases that a crash a day ago or longer left half copied."""
    for folder in _folders(library):
        if not is_unfinished(folder) and not is_locked(folder / WORK):
            with suppress(OSError):
                if (folder / WORK).is_dir() or time.time() - folder.stat().st_mtime > LEFT_OVER_SECONDS:
                    shutil.rmtree(folder, ignore_errors=True)


def _jobs(library: Path) -> Sequence[Path]:
    return [folder / JOB_FILE for folder in _folders(library) if is_unfinished(folder)]


def _folders(library: Path) -> list[Path]:
    try:
        return sorted(folder for folder in (Path(library) / TRAININGS).iterdir() if folder.is_dir())
    except OSError:
        return []
