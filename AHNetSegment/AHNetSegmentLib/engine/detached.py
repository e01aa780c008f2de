"""Voxels that lie in files beside their header, as NRRD and MetaImage may have them: one file, a list, or a pattern."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from .errors import VolumeError
from .stored_voxels import damaged_header, printable

PATTERN = re.compile(r"%(0?)(\d{0,2})d")
MOST_FILES = 100_000


def beside(header: Path, name: str) -> Path:
    """A file that a header names, relative to its own folder.

    Raises:
        VolumeError: it is not there.
    """
    path = header.parent / name
    try:
        if path.exists():
            return path
    except (OSError, ValueError):
        pass
    raise VolumeError(
        f"{header} is only a header; {printable(name)}, the file of its voxels, is missing: put it beside the header."
    )


def numbered(header: Path, pattern: str, numbers: Sequence[str]) -> list[str]:
    """The names that a pattern with one ``%d``, as C's printf has it, gives from a first to a last number by a step.

    Raises:
        VolumeError: pattern or numbers are none.
    """
    found = PATTERN.findall(pattern)
    try:
        first, last, *more = (int(number) for number in numbers)
        step = more[0] if more else 1
    except ValueError as error:
        raise damaged_header(header, "the numbers of its files are no numbers") from error
    count = (last - first) // step + 1 if step else 0
    if len(found) != 1 or not 0 < count <= MOST_FILES:
        raise damaged_header(header, "it does not say which files hold its voxels")
    return list(_names(pattern, first, count, step))


def _names(pattern: str, first: int, count: int, step: int) -> Iterator[str]:
    for number in range(first, first + count * step, step):
        yield PATTERN.sub(lambda found, value=number: f"{value:{found[1]}{found[2]}d}", pattern)  # type: ignore[misc]
