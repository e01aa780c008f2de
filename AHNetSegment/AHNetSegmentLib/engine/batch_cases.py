"""The cases of a batch: the volumes of a folder, each with a name, a way to read it and a stamp."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import SimpleITK as sitk

from .errors import VolumeError
from .files import file_suffix
from .image_io import IMAGE_SUFFIXES, dicom_series, image_name, read_dicom_series, read_volume
from .volume import Volume

DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
DICOM_PREAMBLE_BYTES = 128
DICOM_SIGNATURE = b"DICM"
SERIES_NUMBER = "0020|0011"
DATA_FILE = re.compile(rb"^(?:ElementDataFile|data ?file)\s*[:=]\s*(\S.*?)\s*$", re.MULTILINE | re.IGNORECASE)
HEADER_BYTES = 1 << 16
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
    """An image file or a DICOM series: its path, what its name is made from, its files, the series' in slice order."""

    path: Path
    title: str
    files: tuple[Path, ...]
    series: tuple[str, ...] = ()


def find_batch_cases(folder: Path, output: Path | None = None) -> list[BatchCase]:
    """The NIfTI, NRRD and MetaImage files and the DICOM series inside a folder and its subfolders, in their order.

    Segmentations (``.seg.nrrd``) and hidden files are passed over. Files that turn out to be no images are cases,
    and so are empty folders: they fail when they are read, and the batch reports them.

    Args:
        folder: where to look.
        output: a subfolder that is passed over: the one for the results.

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
    for source in _sources(root, root, passed_over):
        name = safe_name(source.title, taken)
        taken.add(name)
        cases.append(BatchCase(name, partial(_read, source, root), _stamp(source, root)))
    if not cases:
        raise VolumeError(
            f"The folder {folder} holds no volume; choose one with NIfTI, NRRD or MetaImage files or with folders of "
            "DICOM series."
        )
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


def _sources(folder: Path, root: Path, passed_over: set[Path]) -> Iterator[_Source]:
    """What lies inside a folder; each folder that was looked into is added to those that are passed over."""
    title = "_".join(folder.relative_to(root).parts) or root.name
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError:
        yield _Source(folder, title, ())
        return
    folders = [entry for entry in entries if entry.is_dir()]
    files = [entry for entry in entries if entry not in folders]
    if not entries and folder != root:
        yield _Source(folder, title, ())
    if any(_is_dicom(file) for file in files):
        yield from _dicom_sources(folder, title)
    for file in files:
        if file_suffix(file) in IMAGE_SUFFIXES and file_suffix(file) != ".seg.nrrd":
            parts = (*folder.relative_to(root).parts, image_name(file))
            yield _Source(file, "_".join(parts), (file, *_data_file(file)))
    for inside in folders:
        if inside.resolve() not in passed_over:
            passed_over.add(inside.resolve())
            yield from _sources(inside, root, passed_over)


def _dicom_sources(folder: Path, title: str) -> Iterator[_Source]:
    found = dicom_series(folder)
    if not found:
        yield _Source(folder, title, ())
    for number, files in enumerate(found, start=1):
        paths = tuple(Path(file) for file in files)
        shown = title if len(found) == 1 else f"{title}_series{_series_number(files[0]) or number}"
        yield _Source(folder, shown, paths, tuple(files))


def _is_dicom(path: Path) -> bool:
    suffix = file_suffix(path)
    if suffix in DICOM_SUFFIXES or suffix in IMAGE_SUFFIXES or path.name.upper() == "DICOMDIR":
        return suffix in DICOM_SUFFIXES
    try:
        with path.open("rb") as file:
            file.seek(DICOM_PREAMBLE_BYTES)
            return file.read(len(DICOM_SIGNATURE)) == DICOM_SIGNATURE
    except OSError:
        return False


def _series_number(file: str) -> str:
    reader = sitk.ImageFileReader()
    reader.SetFileName(file)
    try:
        reader.ReadImageInformation()
        return str(reader.GetMetaData(SERIES_NUMBER)).strip()
    except RuntimeError:
        return ""


def _data_file(header: Path) -> list[Path]:
    """The file with the voxels that belong to a ``.mhd`` or ``.nhdr`` header."""
    if file_suffix(header) not in (".mhd", ".nhdr"):
        return []
    try:
        with header.open("rb") as file:
            found = DATA_FILE.search(file.read(HEADER_BYTES))
        return [header.with_name(found[1].decode())] if found else []
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
        return read_dicom_series(source.series, source.path) if source.series else read_volume(source.path)
    except VolumeError as error:
        raise VolumeError(str(error).replace(str(source.path), _shown(source.path, root))) from error


def _shown(path: Path, root: Path) -> str:
    return "/".join(path.relative_to(root).parts) or root.name
