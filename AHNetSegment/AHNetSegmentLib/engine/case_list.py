"""Labelled cases from a table or a folder, and which values of their label maps are which class."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..network.settings import IGNORE_LABEL
from .card import UNCODED, ClassCard
from .cases import USES, Case, find_cases
from .errors import RecipeError, VolumeError
from .image_io import image_name, read_labels
from .nrrd import is_nrrd, read_nrrd_header

COLUMNS = ("image", "labels", "name", "use", "complete", "group")
YES, NO = ("1", "yes", "true", "x"), ("", "0", "no", "false")
COLORS = (
    (128, 174, 128),
    (241, 214, 145),
    (177, 122, 101),
    (111, 184, 210),
    (216, 101, 79),
    (221, 130, 101),
    (144, 238, 144),
    (192, 104, 88),
    (220, 245, 20),
    (78, 63, 0),
)
"""Of classes that have none, in turn."""
UNREAD: tuple[int, ...] = ()
"""What a case labels before its label map was read."""


@dataclass(frozen=True)
class ClassChoice:
    """One class of the cases: its name, and the values or segment names that it has in their label maps."""

    name: str
    values: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> ClassChoice:
        """``Kidneys=2,3`` or ``Liver=liver,"liver lesion"``; raises ValueError."""
        name, equals, rest = text.partition("=")
        values = tuple(value.strip().strip("\"'") for value in next(csv.reader([rest]), []))
        if not equals or not name.strip() or not values or not all(values):
            raise ValueError(f"{text!r} must be a name, an equals sign and values, as in Kidneys=2,3")
        return cls(name.strip(), values)


def read_cases(path: Path) -> list[Case]:
    """The cases of a table (``.csv``) or of a data folder (see :func:`~.cases.find_cases`).

    A table has the columns ``image`` and ``labels`` (paths, relative to the table's folder where they are not
    absolute) and, if wanted, ``name``, ``use`` (``training`` or ``validation``; empty: automatic), ``complete``
    (``yes``: what is not labelled is background) and ``group`` (a patient's cases are used alike).

    Raises:
        RecipeError: table or folder cannot be used; the message names the line.
    """
    path = Path(path)
    if path.is_dir():
        return [replace(case, labelled=UNREAD) for case in find_cases(path)]
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RecipeError(f"The table of cases {path} cannot be read; give a CSV file in UTF-8.") from error
    if not rows:
        raise RecipeError(f"The table of cases {path} is empty; it needs the columns image and labels, a case a line.")
    # Cells beyond the last column stand under None.
    if unknown := sorted(set(rows[0]) - {*COLUMNS, None}):
        raise RecipeError(f"The table {path} has an unknown column {unknown[0]}; known are {', '.join(COLUMNS)}.")
    cases = [_case(row, number, path) for number, row in enumerate(rows, start=2)]
    names = [case.name for case in cases]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise RecipeError(f"The table {path} has two cases called {repeated[0]}; give each a name of its own.")
    return cases


def classes_of(choices: Sequence[ClassChoice], known: Sequence[ClassCard] = ()) -> tuple[ClassCard, ...]:
    """Classes with labels from 1: colours and codes of known ones of the same name, or else from a list."""
    found = {item.name.casefold(): item for item in known}
    result = []
    for number, choice in enumerate(choices, start=1):
        other = found.get(choice.name.casefold())
        color = other.color if other else COLORS[(number - 1) % len(COLORS)]
        result.append(ClassCard(number, choice.name, color, other.terminology if other else UNCODED))
    return tuple(result)


def label_cases(
    cases: Sequence[Case],
    choices: Sequence[ClassChoice] | None,
    classes: Sequence[ClassCard],
    complete: bool = False,
    say: Callable[[str], None] | None = None,
) -> list[Case]:
    """The cases with their values named: which label each value has, and which classes each case labels.

    Args:
        cases: from :func:`read_cases`.
        choices: what the classes are in the label maps, by name; None: the values are the classes' labels.
        classes: of the model.
        complete: every case labels every class that is chosen. Otherwise a case labels those that it has a voxel of,
            and all of them where the table says that it is complete.
        say: called with what the images leave open: their volumes' notes.

    Raises:
        RecipeError: a value belongs to two classes, or a value or a segment's name occurs in no label map.
        VolumeError: an image or label map cannot be used.
    """
    labels = {item.name.casefold(): item.label for item in classes}
    result = []
    found: set[str] = set()
    for case in cases:
        names = segment_values(case.labels)
        values = {label: label for label in labels.values()}
        if choices is not None:
            values = _values(choices, labels, names)
        image = case.read_image()
        if say is not None:
            for note in image.notes:
                say(note)
        present = {int(value) for value in np.unique(read_labels(case.labels, image))} - {0, IGNORE_LABEL}
        found |= {str(value) for value in present} | set(names)
        labelled = tuple(sorted({values[value] for value in present & set(values)}))
        if complete or case.labelled is None:
            labelled = tuple(sorted(set(values.values())))
        every = len(labelled) == len(classes) and (complete or case.labelled is None)
        mapped = values if choices is not None else None
        result.append(replace(case, values=mapped, labelled=None if every else labelled))
    for choice in choices or ():
        if missing := [text for text in choice.values if text.casefold() not in found]:
            raise RecipeError(
                f"No label map holds {missing[0]}, which is to be {choice.name}; correct its name or value, or leave "
                "it out."
            )
    return result


def _case(row: Mapping[str | None, str | None], number: int, table: Path) -> Case:
    cells = {str(key): (value or "").strip() for key, value in row.items() if isinstance(value, str | None)}
    if None in row or not cells.get("image") or not cells.get("labels"):
        raise RecipeError(f"Line {number} of {table} lacks an image or its labels, or has too many cells; correct it.")
    use = cells.get("use", "").lower() or "auto"
    if use not in USES:
        raise RecipeError(
            f"Line {number} of {table} has the use {use}; choose training, validation, or leave it empty."
        )
    complete = cells.get("complete", "").lower()
    if complete not in (*YES, *NO):
        raise RecipeError(f"Line {number} of {table} says {complete} of being complete; choose yes, no, or leave it.")
    image, labels = table.parent / cells["image"], table.parent / cells["labels"]
    name = cells.get("name") or image_name(image)
    labelled = None if complete in YES else UNREAD
    return Case(name, image, labels, labelled=labelled, use=use, group=cells.get("group", ""))


def _values(choices: Sequence[ClassChoice], labels: Mapping[str, int], names: Mapping[str, int]) -> dict[int, int]:
    """The label of each value in a label map whose segments have these names."""
    found: dict[int, int] = {}
    for choice in choices:
        label = labels.get(choice.name.casefold())
        if label is None:
            continue
        for text in choice.values:
            value = int(text) if re.fullmatch(r"\d{1,3}", text) else names.get(text.casefold())
            if value is None:
                continue
            if not 0 < value < IGNORE_LABEL:
                raise RecipeError(f"The class {choice.name} has the value {text}; label maps hold 1 to 254.")
            if found.setdefault(value, label) != label:
                raise RecipeError(f"The value {text} belongs to two classes, {choice.name} for one; give it to one.")
    return found


def segment_values(path: Path) -> dict[str, int]:
    """The value of each segment in a ``.seg.nrrd`` by its name in lower case; nothing for other files."""
    if not path.is_file() or not is_nrrd(path):
        return {}
    try:
        keys = read_nrrd_header(path).keys
    except VolumeError:
        # What is wrong with it is said when its voxels are read.
        return {}
    numbers = sorted(int(m[1]) for m in (re.fullmatch(r"Segment(\d{1,9})_Name", key) for key in keys) if m)
    values = {n: keys.get(f"Segment{n}_LabelValue", "") for n in numbers}
    return {keys[f"Segment{n}_Name"].casefold(): int(values[n]) for n in numbers if re.fullmatch(r"\d{1,9}", values[n])}
