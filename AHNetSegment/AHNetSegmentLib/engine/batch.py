"""Batches: many volumes through one model, each on its own, so that nothing is lost when one fails or all is killed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .batch_cases import BatchCase, find_batch_cases, safe_name
from .batch_records import DONE, FAILED, BatchFolder, BatchRecord
from .card import ModelCard
from .device import choose_device, choose_precision
from .errors import AHNetSegmentError, Cancelled, DeviceError, ModelError, OutputError, VolumeError
from .inference import InferenceSettings, Segmentation, check_settings, segment
from .package import Model
from .report import segmentation_report

__all__ = [
    "BatchCase",
    "BatchProgress",
    "BatchRecord",
    "BatchResult",
    "find_batch_cases",
    "safe_name",
    "segment_batch_cases",
]


@dataclass(frozen=True)
class BatchProgress:
    """How far a batch is.

    Attributes:
        index: of the case at work among all cases, from 0.
        count: of all cases.
        ended: how many cases are done, skipped or failed; cases are not always worked on in their order.
        name: of the case at work.
        done: steps of this case that are done.
        total: steps of this case.
        seconds_left: until the last case is done, by the pace so far; None at the beginning.
    """

    index: int
    count: int
    ended: int
    name: str
    done: int
    total: int
    seconds_left: float | None


@dataclass(frozen=True)
class BatchResult:
    """What became of all cases.

    Attributes:
        records: one per case, in the order of the cases.
        table: the ``batch.csv``.
    """

    records: tuple[BatchRecord, ...]
    table: Path

    @property
    def done(self) -> int:
        """How many cases this call has segmented."""
        return sum(record.status == DONE and not record.skipped for record in self.records)

    @property
    def skipped(self) -> int:
        """How many cases an earlier call had segmented."""
        return sum(record.status == DONE and record.skipped for record in self.records)

    @property
    def failed(self) -> int:
        """How many cases have no result, those included that an earlier call has found to be unusable."""
        return sum(record.status == FAILED for record in self.records)


Report = Callable[[BatchProgress], bool]


def segment_batch_cases(
    cases: Sequence[BatchCase],
    model: Model,
    output: Path,
    settings: InferenceSettings | None = None,
    progress: Report | None = None,
) -> BatchResult:
    """Segments many volumes into files; called again, it goes on where it stopped.

    For each case ``<name>.seg.nrrd`` and the run report ``<name>.json`` are written, and ``batch.csv`` has a row per
    case and segment for all records in the folder. A case that fails is recorded, and the rest goes on. A later call
    skips the cases that are done, and those whose volume cannot be used, as long as their stamp, the model and the
    settings that change results are the same; what failed for other reasons is tried again. To have a case done
    again, remove its ``.json`` and ``.seg.nrrd``. Cases at which an earlier run was killed come last.

    Files in the output folder that no batch wrote, and segmentations that were corrected since, are not replaced.

    Args:
        cases: with names that :func:`safe_name` has made.
        model: a loaded model.
        output: the folder for the results.
        settings: as for one volume; probabilities are not written.
        progress: called when a case begins and every few slices; returning False stops the batch.

    Raises:
        ModelError, DeviceError: no volume can be segmented so.
        OutputError: the output folder cannot be written.
        Cancelled: ``progress`` returned False; the cases that were done stay.
        ValueError: two cases have the same name, or a name is not fit for a file.
    """
    settings = replace(settings or InferenceSettings(), probabilities=False)
    _check_names(cases)
    check_settings(settings, model.card)
    choose_precision(settings.precision, choose_device(settings.device))
    folder = BatchFolder(output)
    key = _key(settings, model.card)
    records: dict[str, BatchRecord] = {}
    for case in cases:
        if (record := folder.finished(case.name, case.stamp, key)) is not None:
            records[case.name] = record
            folder.end(case.name)
    waiting = [(index, case) for index, case in enumerate(cases) if case.name not in records]
    waiting.sort(key=lambda item: item[1].name in folder.killed)
    pace = _Pace(len(waiting), len(cases), progress)
    unwritten: list[BatchRecord] = []
    try:
        for index, case in waiting:
            report = pace.begin(index, case.name)
            if obstacle := folder.obstacle(case.name):
                records[case.name] = BatchRecord(case.name, FAILED, obstacle)
                unwritten.append(records[case.name])
            else:
                records[case.name] = _run(case, model, folder, settings, key, report)
            pace.end()
            # The table is of use while the batch runs, and may be open in a program that locks it.
            with suppress(OutputError):
                folder.write_table(unwritten)
    except Cancelled as error:
        done = sum(record.status == DONE for record in records.values())
        raise Cancelled(
            f"Stopped: {done} of {len(cases)} cases are done; the same call goes on with the rest."
        ) from error
    folder.tidy_up()
    folder.write_table(unwritten)
    return BatchResult(tuple(records[case.name] for case in cases), folder.table)


def _run(
    case: BatchCase,
    model: Model,
    folder: BatchFolder,
    settings: InferenceSettings,
    key: Mapping[str, Any],
    report: Callable[[int, int], bool],
) -> BatchRecord:
    """Segments one case and writes its record."""
    folder.begin(case.name)
    try:
        if not report(0, 1):
            raise Cancelled("The batch was stopped.")
        try:
            result = _segment(case, model, settings, report)
        except (Cancelled, DeviceError, ModelError, OutputError):
            raise
        except VolumeError as error:
            return folder.write_failed(case.name, case.stamp, key, str(error), try_again=False)
        except Exception as error:  # whatever it is, the other cases go on
            model.release()
            return folder.write_failed(case.name, case.stamp, key, _sentence(case.name, error), try_again=True)
        facts = segmentation_report(result, model.card, case.name)
        return folder.write_done(case.name, case.stamp, key, result, facts)
    finally:
        folder.end(case.name)


def _segment(
    case: BatchCase, model: Model, settings: InferenceSettings, report: Callable[[int, int], bool]
) -> Segmentation:
    return segment(replace(case.read(), name=case.name), model, settings, report)


def _sentence(name: str, error: Exception) -> str:
    """One sentence for an error that is no fault of the volume."""
    if isinstance(error, AHNetSegmentError):
        return str(error)
    if isinstance(error, MemoryError):
        return f"The memory of this machine does not suffice for {name}; close other programs and run the batch again."
    if isinstance(error, OSError) and error.strerror:
        reason = error.strerror.lower()
        return f"{name} could not be opened ({reason}); check that its files are there and may be read."
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = ": ".join([type(error).__name__, *lines[-1:]])
    return f"{name} failed unexpectedly ({said}); run the batch again, and report it if it fails again."


def _key(settings: InferenceSettings, card: ModelCard) -> dict[str, Any]:
    """Model and settings that decide what is found: device and window memory only decide how."""
    region = settings.region
    return {
        "model": {"name": card.name, "version": card.version, "weights_sha256": card.weights_sha256},
        "settings": {
            "plane": card.plane,
            "region": None if region is None else [list(region.start), list(region.stop)],
            "precision": settings.precision,
            "keep_largest": settings.keep_largest,
            "one_piece": list(card.one_piece) if settings.keep_largest is None else [],
            "smoothing": float(settings.smoothing),
            "classes": [item.label for item in check_settings(settings, card)],
            **({"modality": settings.modality.upper()} if settings.modality else {}),
        },
    }


def _check_names(cases: Sequence[BatchCase]) -> None:
    taken: set[str] = set()
    for case in cases:
        if safe_name(case.name, taken) != case.name:
            raise ValueError(f"the case name {case.name!r} is taken or not fit for a file: use safe_name")
        taken.add(case.name)


class _Pace:
    """Tells how far a batch is, and how long it will take by what the cases so far took."""

    def __init__(self, waiting: int, count: int, progress: Report | None) -> None:
        self.waiting = waiting
        self.count = count
        self.progress = progress
        self.ended = 0
        self.started = time.monotonic()

    def begin(self, index: int, name: str) -> Callable[[int, int], bool]:
        """A case begins; gives what is to be called with the steps done and to be done."""

        def report(done: int, total: int) -> bool:
            if self.progress is None:
                return True
            ended = self.count - self.waiting + self.ended
            left = self._left(done / max(total, 1))
            return self.progress(BatchProgress(index, self.count, ended, name, done, total, left))

        return report

    def end(self) -> None:
        """The case has ended."""
        self.ended += 1

    def _left(self, share: float) -> float | None:
        cases = self.ended + share
        return (time.monotonic() - self.started) / cases * (self.waiting - cases) if cases else None
