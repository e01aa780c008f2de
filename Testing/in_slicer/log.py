"""What must not be in Slicer's log: tracebacks, errors of VTK, warnings of Qt."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

SECTION, EXPECTED = "[section] ", "[section where errors are part of the test] "
"""How a message begins that says what comes next."""
START, END = "start of Slicer", "end of Slicer"
"""Before the first section and after the last one other modules speak, too: only what names ours counts there."""
OURS = "AHNetSegment"

ENTRY = re.compile(
    r"^\[(?P<level>[A-Z]+)\]\[(?P<origin>[^\]]*)\] .*? \[[^\]]*\] \((?P<place>.*?:-?\d+)\) - (?P<message>.*)$"
)
"""A line of Slicer's log file: ``[%{level}][%{origin}] %{timestamp} [%{category}] (%{file}:%{line}) - %{msg}``."""
TRACEBACK = re.compile(r"Traceback \(most recent call last\)|^Exception ignored in|^Fatal Python error", re.MULTILINE)
VTK_ERROR = re.compile(r"^ERROR: In .+, line \d+|\bvtk\w+ \((?:0x)?[0-9a-fA-F]+\): error", re.MULTILINE)
CRASH = re.compile(
    r"exit abnormally|Segmentation fault|terminate called|^Aborted|Assertion .* failed", re.MULTILINE | re.IGNORECASE
)
SERIOUS = ("ERROR", "CRITICAL", "FATAL")
OF_THE_DISPLAY = re.compile(
    r"propagateSizeHints|XDG_RUNTIME_DIR|QXcb|qt\.qpa|libGL|OpenGL|QStandardPaths|QFontDatabase|QSocketNotifier"
    r"|Could not connect to .*bus|QNetworkReply|WebEngine"
)
"""Warnings of Qt about the screen, fonts and network of the computer: no module causes them."""


@dataclass(frozen=True)
class Entry:
    """A message of the log, with all its lines."""

    level: str
    origin: str
    place: str
    message: str


@dataclass(frozen=True)
class Finding:
    """Something that must not be there."""

    section: str
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.section}: {self.kind}\n" + "\n".join(f"    {line}" for line in self.text.splitlines())


def entries(text: str) -> list[Entry]:
    """The messages of a log; lines that do not begin one belong to the one before. Of printed text each line is one."""
    found: list[Entry] = []
    for line in text.splitlines():
        begin = ENTRY.match(line)
        if begin:
            found.append(Entry(**begin.groupdict()))
        elif found and found[-1].level:
            found[-1] = replace(found[-1], message=f"{found[-1].message}\n{line}")
        else:
            found.append(Entry("", "", "", line))
    return found


def findings(text: str) -> list[Finding]:
    """What must not be in a log, but for sections where errors are part of the test. Each is told once a section."""
    section, expected = START, False
    found: dict[Finding, None] = {}
    for entry in _whole(entries(text)):
        first = entry.message
        if first.startswith((SECTION, EXPECTED)):
            expected = first.startswith(EXPECTED)
            section = first.splitlines()[0].partition("] ")[2]
            continue
        kind = _kind(entry)
        counts = OURS in first if section in (START, END) else not expected
        if kind == "crash" or (kind and counts):
            found[Finding(section, kind, first)] = None
    return list(found)


def _kind(entry: Entry) -> str:
    text = entry.message
    if TRACEBACK.search(text):
        return "traceback"
    if VTK_ERROR.search(text) or (entry.origin == "VTK" and entry.level in SERIOUS):
        return "error of VTK"
    if entry.origin == "Qt" and entry.level in ("WARNING", *SERIOUS) and not OF_THE_DISPLAY.search(text):
        return "warning of Qt"
    return "crash" if CRASH.search(text) else ""


def _whole(found: list[Entry]) -> Iterator[Entry]:
    """Messages as they were said: what is printed comes to the log line by line, a traceback too."""
    said: Entry | None = None
    for entry in found:
        if said is not None and entry.origin == said.origin in ("Stream", "") and entry.level == said.level:
            indented = entry.message.startswith((" ", "\t")) or not entry.message
            if TRACEBACK.search(said.message) and (indented or _still_in_traceback(said.message)):
                said = replace(said, message=f"{said.message}\n{entry.message}")
                continue
        if said is not None:
            yield said
        said = entry
    if said is not None:
        yield said


def _still_in_traceback(text: str) -> bool:
    """Whether the line that names the exception has not come yet."""
    return text.splitlines()[-1].startswith((" ", "\t", "Traceback"))
