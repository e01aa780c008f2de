"""The cases of a batch: the volumes of a folder, each with a name, a way to read it and a stamp."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from .dicom import is_dicom, read_dicom_header
from .dicom_stack import DicomSeries, dicom_series, read_dicom_series
from .errors import VolumeError
from .files import file_suffix
from .image_io import IMAGE_SUFFIXES, image_name, label_maps, read_volume
from .stored_voxels import printable
from .volume import Volume, check_geometry

DATA_FILE = re.compile(rb"^(?:ElementDataFile|data ?file)[ \t]*[:=]([^\r\n]*)", re.MULTILINE | re.IGNORECASE)
HEADER_BYTES = 1 << 16
LABEL_FOLDER = re.compile(r"(labels?|masks?|segmentations?)([-_ ]?(tr|ts))?", re.IGNORECASE)
IMAGE_FOLDER = re.compile(r"(images?|imgs?|scans?|volumes?)([-_ ]?(tr|ts))?", re.IGNORECASE)
PASSED_OVER = ("__macosx",)
"""Folders of another system's file attributes."""

NAME_BYTES = 160
RESERVED_NAMES = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(10))}
"""What Windows does not take as a file's name, whatever its ending."""


@dataclass(frozen=True)
class BatchCase:
    """One volume of a batch.

    Attributes:
        name: unique in its batch and fit for a file, as :func:`safe_name` makes it; the only thing about the volume
            that is written besides the result.
        read: gives the volume; what it raises is recorded as this case's failure.
        stamp: changes when the volume changes, and is the same in the next call when it does not.
    """

    name: str
    read: Callable[[], Volume]
    stamp: str


@dataclass(frozen=True)
class _Source:
    """An image file or a DICOM series (`notes` is not None): its path, what its name is made from, its files."""

    path: Path
    title: str
    files: tuple[Path, ...]
    notes: tuple[str, ...] | None = None


def find_batch_cases(
    folder: Path, output: Path | None = None, passed_by: Callable[[str], None] | None = None
) -> list[BatchCase]:
    """The NIfTI, NRRD and MetaImage files and the DICOM series inside a folder and its subfolders, in their order.

    Hidden files, label maps (see :func:`~.image_io.label_maps`; all of a folder ``labels`` beside one ``images``),
    localizers and what DICOM derives from scans are passed over. Files that turn out to be no images are cases, and
    so are empty folders: they fail when they are read, and the batch reports them.

    Args:
        folder: where to look.
        output: a subfolder that is passed over: the one for the results.
        passed_by: called with a sentence about the label maps that were passed over, if there are any.

    Raises:
        VolumeError: the folder does not exist or holds no case.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise VolumeError(f"The folder {folder} does not exist; choose the folder that holds the volumes.")
    root = folder.resolve()
    passed_over = {root} if output is None else {root, Path(output).resolve()}
    cases: list[BatchCase] = []
    taken: set[str] = set()
    labels: list[Path] = []
    for source in _sources(root, root, passed_over, labels):
        name = safe_name(source.title, taken)
        taken.add(name)
        cases.append(BatchCase(name, partial(_read, source, root), _stamp(source, root)))
    if not cases:
        raise VolumeError(
            f"The folder {folder} holds no volume; choose one with NIfTI, NRRD or MetaImage files or with folders of "
            "DICOM series."
        )
    if labels and passed_by is not None:
        shown = ", ".join(_shown(path, root) for path in labels[:3]) + (", …" if len(labels) > 3 else "")
        what = f"{len(labels)} label maps are" if len(labels) > 1 else "1 label map is"
        passed_by(f"{what} no scans and passed over: {shown}.".replace("is no scans", "is no scan"))
    return cases


def safe_name(text: str, taken: Collection[str] = ()) -> str:
    """A name that is fit for a file on every system and, also where upper and lower case are one, not yet taken."""
    name = re.sub(r"[^\w.-]+", "_", unicodedata.normalize("NFC", text)).strip("._-")
    name = name.encode()[:NAME_BYTES].decode(errors="ignore").strip("._-") or "case"
    if name.split(".")[0].lower() in RESERVED_NAMES:
        name = f"case-{name}"
    lower = {other.lower() for other in taken}
    unique, number = name, 1
    while unique.lower() in lower:
        number += 1
        unique = f"{name}-{number}"
    return unique


def _sources(folder: Path, root: Path, passed_over: set[Path], labels: list[Path]) -> Iterator[_Source]:
    """What lies inside a folder; each folder that was looked into is added to those that are passed over."""
    title = "_".join(folder.relative_to(root).parts) or root.name
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError:
        yield _Source(folder, title, ())
        return
    folders = [entry for entry in entries if entry.is_dir() and entry.name.lower() not in PASSED_OVER]
    files = [entry for entry in entries if not entry.is_dir()]
    if not entries and folder != root:
        yield _Source(folder, title, ())
    if any(is_dicom(file) for file in files if file_suffix(file) not in IMAGE_SUFFIXES):
        yield from _dicom_sources(folder, title)
    images = [file for file in files if file_suffix(file) in IMAGE_SUFFIXES]
    if LABEL_FOLDER.fullmatch(folder.name) and folder != root and _stands_beside_images(folder):
        no_scans = set(images)
    else:
        no_scans = label_maps(images)
    labels += [file for file in images if file in no_scans and file_suffix(file) != ".seg.nrrd"]
    for file in images:
        if file not in no_scans:
            parts = (*folder.relative_to(root).parts, image_name(file))
            yield _Source(file, "_".join(parts), (file, *_data_file(file)))
    for inside in folders:
        if inside.resolve() not in passed_over:
            passed_over.add(inside.resolve())
            yield from _sources(inside, root, passed_over, labels)


def _stands_beside_images(folder: Path) -> bool:
    return any(IMAGE_FOLDER.fullmatch(other.name) and other.is_dir() for other in folder.parent.iterdir())


def _dicom_sources(folder: Path, title: str) -> Iterator[_Source]:
    try:
        found = dicom_series(folder)
    except VolumeError:
        # What is wrong with it is said when it is read.
        found = []
    if not found:
        yield _Source(folder, title, ())
    for number, series in enumerate(found, start=1):
        paths = tuple(file.path for file in series.files)
        shown = title if len(found) == 1 else f"{title}_series{series.number or number}"
        yield _Source(folder, shown, paths, series.notes)


def _data_file(header: Path) -> list[Path]:
    """The file with the voxels that belong to a ``.mhd`` or ``.nhdr`` header."""
    if file_suffix(header) not in (".mhd", ".nhdr") or not header.is_file():
        return []
    try:
        with header.open("rb") as file:
            found = DATA_FILE.search(file.read(HEADER_BYTES))
        return [header.with_name(found[1].strip().decode())] if found else []
    except (OSError, ValueError):
        return []


def _stamp(source: _Source, root: Path) -> str:
    """A checksum of the names, sizes and times of a source's files: it says nothing about them to who reads it."""
    digest = hashlib.sha256(str(source.path.relative_to(root)).encode(errors="replace"))
    for file in source.files:
        digest.update(f"\n{file.name} {_size_and_time(file)}".encode(errors="replace"))
    return digest.hexdigest()


def _size_and_time(file: Path) -> str:
    try:
        stat = file.stat()
    except OSError:
        return "absent"
    return f"{stat.st_size} {stat.st_mtime_ns}"


def _read(source: _Source, root: Path) -> Volume:
    """The volume of a source.

    Raises:
        VolumeError: its files are no volume; the message names them by their place in the folder of the batch.
        OSError: they are gone or cannot be opened, which is no fault of the files.
    """
    for path in (source.path, *source.files[:1]):
        path.stat()
    try:
        volume = read_volume(source.path) if source.notes is None else _read_series(source)
    except VolumeError as error:
        raise VolumeError(_without_root(str(error), root)) from error
    return replace(volume, notes=tuple(_without_root(note, root) for note in volume.notes))


def _read_series(source: _Source) -> Volume:
    headers = (read_dicom_header(path) for path in source.files)
    series = DicomSeries(tuple(header for header in headers if header is not None), source.notes or ())
    volume = read_dicom_series(series, source.path)
    check_geometry(volume.geometry, volume.name)
    return volume


def _without_root(sentence: str, root: Path) -> str:
    """A sentence whose paths begin within the folder of the batch, since records are given away."""
    return sentence.replace(f"{printable(root)}{os.sep}", "").replace(printable(root), printable(root.name))


def _shown(path: Path, root: Path) -> str:
    return "/".join(path.relative_to(root).parts) or root.name
