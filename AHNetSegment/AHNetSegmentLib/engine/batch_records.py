"""The output folder of a batch: per case a segmentation and a record, and one table of all records.

Whatever the record ``<case>.json`` says of ``<case>.seg.nrrd`` is true at any moment: a kill between the writing of
the two leaves a record with the status ``writing``.
"""

from __future__ import annotations

import csv
import io
import json
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import OutputError
from .files import sha256, write_text
from .image_io import write_labels
from .inference import Segmentation
from .report import write_json

DONE, FAILED, WRITING = "done", "failed", "writing"
TABLE = "batch.csv"
BEGUN = ".batch-begun"
LEFT_OVER = re.compile(r"\.\d+\.(.+\.(seg\.nrrd|json)|batch\.csv|\.batch-begun)")
LEFT_OVER_SECONDS = 600
"""A temporary file that was not written to for so long belongs to a run that was killed."""

CASE_COLUMNS = ("case", "status", "model", "version")
SEGMENT_COLUMNS = ("label", "segment", "ml", "voxels", "pieces", "touches_edge")
RUN_COLUMNS = ("seconds", "device", "precision", "warnings", "error")
COLUMNS = (*CASE_COLUMNS, *SEGMENT_COLUMNS, *RUN_COLUMNS)


@dataclass(frozen=True)
class BatchRecord:
    """What became of one case.

    Attributes:
        name: the case's.
        status: ``done`` or ``failed``.
        error: why it failed, in one sentence; empty when it is done.
        skipped: whether an earlier call has done it, or found that it cannot be done.
        report: of the segmentation, see :mod:`.report`; None where there is none.
    """

    name: str
    status: str
    error: str = ""
    skipped: bool = False
    report: Mapping[str, Any] | None = None


class BatchFolder:
    """Reads and writes the output folder of a batch.

    Args:
        folder: made if it is missing.

    Raises:
        OutputError: it cannot be written, or holds a ``batch.csv`` of another origin.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.table = self.folder / TABLE
        self._check_table()
        self._facts = self._read_records()
        self._begun = self._read_begun()
        self.tidy_up()
        self.write_table()

    @property
    def killed(self) -> frozenset[str]:
        """The cases that were being worked on when earlier runs were killed, perhaps for the memory they took."""
        return frozenset(self._begun)

    def segmentation(self, name: str) -> Path:
        """Where the segmentation of a case lies."""
        return self.folder / f"{name}.seg.nrrd"

    def finished(self, name: str, stamp: str, key: Mapping[str, Any]) -> BatchRecord | None:
        """What an earlier run has made of a case, if it need not be run again.

        Args:
            name: the case's.
            stamp: the case's.
            key: model and settings.
        """
        facts = self._facts.get(name)
        if facts is None or (facts["batch"]["stamp"], facts["batch"]["key"]) != (stamp, key):
            return None
        batch = facts["batch"]
        if batch["status"] == DONE and self.segmentation(name).is_file():
            return BatchRecord(name, DONE, skipped=True, report=facts)
        if batch["status"] == FAILED and not batch["try_again"]:
            return BatchRecord(name, FAILED, batch["error"], skipped=True)
        return None

    def obstacle(self, name: str) -> str:
        """A sentence about files in the place of a case's results that no batch has written; empty without any."""
        record, result = self.folder / f"{name}.json", self.segmentation(name)
        remedy = "move it away, or choose another output folder."
        if name not in self._facts:
            for path in (record, result):
                if path.exists():
                    return f"{path.name} lies in the output folder already, and is not of a batch; {remedy}"
        elif result.exists():
            written = self._facts[name]["batch"]["segmentation_sha256"]
            if self._facts[name]["batch"]["status"] != WRITING and written != sha256(result):
                return f"{result.name} was changed since the batch wrote it; {remedy}"
        return ""

    def begin(self, name: str) -> None:
        """Notes that a case is being worked on, for the case that the process is killed."""
        self._begun.add(name)
        write_text(self.folder / BEGUN, "\n".join(self._begun))

    def end(self, name: str) -> None:
        """Notes that a case came to an end."""
        if name not in self._begun:
            return
        self._begun.discard(name)
        with suppress(OutputError, OSError):
            if self._begun:
                write_text(self.folder / BEGUN, "\n".join(self._begun))
            else:
                (self.folder / BEGUN).unlink(missing_ok=True)

    def write_done(
        self, name: str, stamp: str, key: Mapping[str, Any], result: Segmentation, report: Mapping[str, Any]
    ) -> BatchRecord:
        """Writes the segmentation of a case, then its record; raises OutputError where that fails."""
        self._write_record(name, {}, _batch_facts(name, WRITING, stamp, key))
        path = self.segmentation(name)
        write_labels(path, result.labels, result.geometry, result.classes)
        self._write_record(name, report, _batch_facts(name, DONE, stamp, key, written=sha256(path)))
        return BatchRecord(name, DONE, report=self._facts[name])

    def write_failed(
        self, name: str, stamp: str, key: Mapping[str, Any], error: str, *, try_again: bool
    ) -> BatchRecord:
        """Writes the record of a failed case; raises OutputError where that fails.

        A segmentation from an earlier run stays, and the record says so.
        """
        written, path = "", self.segmentation(name)
        if name in self._facts and path.exists():
            written = sha256(path)
            error = f"{error} ({path.name} is from an earlier run.)"
        self._write_record(name, {}, _batch_facts(name, FAILED, stamp, key, error, try_again, written))
        return BatchRecord(name, FAILED, error)

    def write_table(self, others: Sequence[BatchRecord] = ()) -> None:
        """Writes the table of all records in the folder and of others without a file; raises OutputError."""
        rows = {name: _rows(name, facts) for name, facts in self._facts.items()}
        for record in others:
            rows[record.name] = [{"case": record.name, "status": record.status, "error": record.error}]
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for name in sorted(rows):
            writer.writerows(rows[name])
        write_text(self.table, text.getvalue())

    def tidy_up(self) -> None:
        """Removes temporary files that killed runs have left behind."""
        with suppress(OSError):
            for path in self.folder.iterdir():
                if LEFT_OVER.fullmatch(path.name) and time.time() - path.stat().st_mtime > LEFT_OVER_SECONDS:
                    path.unlink(missing_ok=True)

    def _check_table(self) -> None:
        try:
            with self.table.open(encoding="utf-8-sig") as file:
                known = file.readline().strip() == ",".join(COLUMNS)
        except (OSError, ValueError):
            known = not self.table.exists()
        if not known:
            raise OutputError(f"{self.table} is not the table of a batch; move it away, or choose another folder.")

    def _read_records(self) -> dict[str, dict[str, Any]]:
        records: dict[str, dict[str, Any]] = {}
        for path in self.folder.glob("*.json") if self.folder.is_dir() else ():
            with suppress(OSError, ValueError):
                facts = json.loads(path.read_text(encoding="utf-8"))
                batch = facts.get("batch") if isinstance(facts, dict) else None
                if isinstance(batch, dict) and set(batch) >= BATCH_FIELDS and batch["case"] == path.name[:-5]:
                    records[batch["case"]] = facts
        return records

    def _read_begun(self) -> set[str]:
        try:
            return set((self.folder / BEGUN).read_text(encoding="utf-8").split("\n")) - {""}
        except (OSError, ValueError):
            return set()

    def _write_record(self, name: str, report: Mapping[str, Any], batch: Mapping[str, Any]) -> None:
        facts = {**report, "batch": dict(batch)}
        write_json(self.folder / f"{name}.json", facts)
        self._facts[name] = facts


def _batch_facts(
    name: str,
    status: str,
    stamp: str,
    key: Mapping[str, Any],
    error: str = "",
    try_again: bool = False,
    written: str = "",
) -> dict[str, Any]:
    return {
        "case": name,
        "status": status,
        "error": error,
        "try_again": try_again,
        "stamp": stamp,
        "key": dict(key),
        "segmentation_sha256": written,
    }


BATCH_FIELDS = set(_batch_facts("", "", "", {}))


def _rows(name: str, facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    batch = facts["batch"]
    if batch["status"] == WRITING:
        return []
    model = batch["key"]["model"]
    row = {"case": name, "status": batch["status"], "model": model["name"], "version": model["version"]}
    if batch["status"] == FAILED:
        return [{**row, "error": batch["error"]}]
    rows = []
    for run in facts["runs"]:
        source = {
            "seconds": run["seconds"]["total"],
            "device": run["device"],
            "precision": run["precision"],
            "warnings": " ".join(run["warnings"]),
        }
        for segment in run["segments"]:
            measures = {column: segment[column] for column in SEGMENT_COLUMNS}
            rows.append({**row, **measures, "touches_edge": " ".join(segment["touches_edge"]), **source})
    return rows
