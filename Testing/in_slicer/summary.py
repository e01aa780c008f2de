"""What came of a run: read from the files that Slicer has left, put into a table."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .log import EXPECTED, SECTION, Finding, findings

SHOWN = 5
"""So many findings of a log are printed; all are in the file."""
HEAD = ("Configuration", "Slicer", "Self test", "Passed", "Failed", "Skipped", "Pictures", "Log", "Minutes")


@dataclass(frozen=True)
class Outcome:
    """What came of one configuration.

    Attributes:
        version: of Slicer; empty if it never said so.
        self_test: whether the module's own test passed; None: it did not come to its end.
        counts: tests by ``passed failed skipped``; None: they did not come to their end.
        failed: names of the failed tests.
        problem: why Slicer ended before the tests had; empty if it did not.
    """

    name: str
    folder: Path
    version: str = ""
    self_test: bool | None = None
    self_test_message: str = ""
    counts: dict[str, int] | None = None
    failed: tuple[str, ...] = ()
    pictures: int = 0
    findings: tuple[Finding, ...] = ()
    problem: str = ""
    seconds: float = 0.0
    notes: tuple[str, ...] = field(default=())

    @property
    def passed(self) -> bool:
        """Whether nothing is to be complained about."""
        ran = self.counts is not None and self.counts["passed"] > 0 and not self.counts["failed"]
        return bool(self.self_test) and ran and not self.findings and not self.problem

    def row(self) -> tuple[str, ...]:
        """As ``HEAD``."""
        counts = self.counts or {}
        own = {None: "–", True: "passed", False: "failed"}[self.self_test]
        numbers = [str(counts.get(key, "–")) for key in ("passed", "failed", "skipped")]
        log = "clean" if not self.findings else f"{len(self.findings)} found"
        return (self.name, self.version or "–", own, *numbers, str(self.pictures), log, f"{self.seconds / 60:.1f}")

    def details(self) -> str:
        """What is to be complained about, in lines; empty if nothing is."""
        lines = [self.problem] if self.problem else []
        lines += self.notes
        if self.self_test is False:
            lines.append(f"self test: {self.self_test_message.strip()}")
        lines += [f"failed: {name}" for name in self.failed]
        lines += [str(found) for found in self.findings[:SHOWN]]
        if len(self.findings) > SHOWN:
            lines.append(f"... and more of the log in {self.folder / 'findings.txt'}")
        return "".join(f"{self.name}: {line}\n" for line in lines)


def outcome(name: str, folder: Path, status: int | None, seconds: float) -> Outcome:
    """Reads what Slicer has left in a folder; puts its log and what was found in it there.

    Args:
        name: of the configuration.
        folder: with ``console.log``, and where Slicer got so far ``result.json``, ``tests.xml`` and ``pictures/``.
        status: exit status of Slicer; None if its time was over.
        seconds: how long it took.
    """
    result = _json(folder / "result.json")
    console = _text(folder / "console.log")
    log, notes = console, []
    source = Path(result["log"]) if result.get("log") else None
    if source is not None and source.is_file():
        shutil.copyfile(source, folder / "slicer.log")
        log = _text(source)
    else:
        notes.append("Slicer has left no log file; what it printed was looked through instead.")
    found = findings(log)
    found += [item for item in findings(console) if item.kind == "crash" and item not in found]
    (folder / "findings.txt").write_text("\n".join(map(str, found)) + "\n" if found else "", encoding="utf-8")
    counts, failed = _counts(folder / "tests.xml")
    own = result.get("self_test", {})
    return Outcome(
        name=name,
        folder=folder,
        version=result.get("version", ""),
        self_test=own.get("passed"),
        self_test_message=own.get("message", ""),
        counts=counts,
        failed=failed,
        pictures=len(list((folder / "pictures").glob("*.png"))),
        findings=tuple(found),
        problem=_problem(result, status, console, clean=own.get("passed") is True and not failed),
        seconds=seconds,
        notes=tuple(notes),
    )


def _problem(result: dict[str, Any], status: int | None, console: str, clean: bool) -> str:
    """Why the tests did not come to their end, or Slicer not to its own."""
    where = next(
        (line for line in reversed(console.splitlines()) if SECTION in line or EXPECTED in line), "[section] start"
    ).rpartition("] ")[2]
    if status is None:
        return f"Slicer's time was over during {where}."
    if result.get("problem"):
        return f"The tests could not be run: {result['problem'].strip()}"
    if not result:
        return f"Slicer ended with status {status} during {where}."
    if status and clean and not result.get("tests"):
        return f"Slicer ended with status {status} after its tests had passed."
    return "" if result.get("tests") in (0, 1) else f"pytest ended with status {result.get('tests')}."


def _counts(path: Path) -> tuple[dict[str, int] | None, tuple[str, ...]]:
    """Numbers and failed tests of JUnit's file."""
    if not path.is_file():
        return None, ()
    cases = list(ET.parse(path).getroot().iter("testcase"))
    failed = tuple(
        f"{case.get('classname')}.{case.get('name')}"
        for case in cases
        if case.find("failure") is not None or case.find("error") is not None
    )
    skipped = sum(case.find("skipped") is not None for case in cases)
    return {"passed": len(cases) - len(failed) - skipped, "failed": len(failed), "skipped": skipped}, failed


def table(outcomes: Sequence[Outcome]) -> str:
    """All configurations, one a line."""
    rows = [HEAD, *(found.row() for found in outcomes)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    lines = ["  ".join(text.ljust(widths[column]) for column, text in enumerate(row)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(_text(path) or "{}"))
    except ValueError:
        return {}
