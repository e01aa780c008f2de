"""NRRD files, attached or with their voxels in other files, segmentations (``.seg.nrrd``) included.

Fields and encodings are those of http://teem.sourceforge.net/nrrd/format.html, the meaning of spaces that of ITK and
Slicer: what is not said to be right-anterior-superior or left-anterior-superior is taken as it stands, in LPS.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .detached import beside, numbered
from .errors import VolumeError
from .stored_voxels import (
    array_from_text,
    as_array,
    cut_off,
    damaged,
    damaged_header,
    exactly,
    inflate,
    read_bytes,
    unpack_bzip2,
)
from .volume import Array, Geometry, Volume

SIGNATURE = re.compile(rb"NRRD000[1-5]\r?\n")
HEADER_BYTES = 1 << 22
MOST_AXES = 16
TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": (
        "longlong",
        "long long",
        "long long int",
        "signed long long",
        "signed long long int",
        "int64",
        "int64_t",
    ),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
TYPE_OF_NAME = {name: code for code, names in TYPES.items() for name in names}
KNOWN_FIELDS = {
    *("dimension", "type", "block size", "encoding", "endian", "content", "min", "max", "old min", "old max"),
    *("data file", "line skip", "byte skip", "number", "sample units", "sizes", "spacings", "thicknesses"),
    *("axis mins", "axis maxs", "centers", "labels", "units", "kinds", "space", "space dimension", "space units"),
    *("space origin", "space directions", "measurement frame"),
}
SAME_FIELDS = {
    "blocksize": "block size",
    "oldmin": "old min",
    "oldmax": "old max",
    "datafile": "data file",
    "lineskip": "line skip",
    "byteskip": "byte skip",
    "sampleunits": "sample units",
    "axismins": "axis mins",
    "axismaxs": "axis maxs",
    "centerings": "centers",
}
TO_LPS = {
    "right-anterior-superior": (-1.0, -1.0, 1.0),
    "ras": (-1.0, -1.0, 1.0),
    "left-anterior-superior": (1.0, -1.0, 1.0),
    "las": (1.0, -1.0, 1.0),
}
SPATIAL_KINDS = {"domain", "space", "???", "none"}
TIME_KINDS = {"time"}
MILLIMETRES = {"", "mm", "millimeter", "millimetre", "millimeters", "millimetres", "???", "none"}
VECTOR = re.compile(r"\(([^()]*)\)|(none)", re.IGNORECASE)


@dataclass(frozen=True)
class NrrdHeader:
    """The text of a NRRD header.

    Attributes:
        fields: by their names in lower case; of several spellings, one.
        keys: the ``key:=value`` pairs.
        start: where the voxels of an attached file begin.
        files: what follows ``data file: LIST``, a name a line.
    """

    fields: dict[str, str]
    keys: dict[str, str] = field(default_factory=dict)
    start: int = 0
    files: tuple[str, ...] = ()


def is_nrrd(path: Path) -> bool:
    """Whether a file begins like a NRRD file."""
    return bool(SIGNATURE.match(read_bytes(path, count=16)))


def read_nrrd_header(path: Path) -> NrrdHeader:
    """The header of a NRRD file.

    Raises:
        VolumeError: it is none, or damaged.
    """
    content = read_bytes(path, count=HEADER_BYTES)
    if not SIGNATURE.match(content):
        raise damaged_header(path, "it does not begin as a NRRD file")
    fields: dict[str, str] = {}
    keys: dict[str, str] = {}
    place = content.index(b"\n") + 1
    while True:
        end = content.find(b"\n", place)
        if end < 0:
            if "data file" in fields and len(content) < HEADER_BYTES:
                end = len(content)
            else:
                raise VolumeError(f"{path} is cut off within its header; copy or download the file again.")
        line = content[place:end].decode("utf-8", "surrogateescape").rstrip("\r")
        place = end + 1
        if not line.strip() or end == len(content):
            if line.strip():
                _add(line, fields, keys, path)
            return NrrdHeader(fields, keys, place)
        if line.startswith("#"):
            continue
        _add(line, fields, keys, path)
        if fields.get("data file", "").upper().startswith("LIST"):
            names = content[place:].decode("utf-8", "surrogateescape").splitlines()
            return NrrdHeader(fields, keys, place, tuple(name.strip() for name in names if name.strip()))


def read_nrrd(path: Path) -> Volume:
    """Reads a NRRD file as a volume with one value per voxel.

    Raises:
        VolumeError: it is damaged, contradicts itself, or is no such volume.
    """
    header = read_nrrd_header(path)
    sizes = _sizes(header, path)
    spatial = _spatial_axes(header, sizes, path)
    matrix, notes = _grid(header, len(sizes), spatial, path)
    size = (sizes[spatial[0]], sizes[spatial[1]], sizes[spatial[2]])
    array = read_nrrd_voxels(path, header).reshape(size[::-1])
    return Volume(array, Geometry.from_matrix(matrix, size), str(path), notes=notes)


def read_nrrd_voxels(path: Path, header: NrrdHeader) -> Array:
    """All numbers of a NRRD file; its first axis, the fastest one, is the last of the array.

    Raises:
        VolumeError: they are damaged, or some are missing.
    """
    sizes = _sizes(header, path)
    code = TYPE_OF_NAME.get(header.fields.get("type", "").lower())
    if code is None:
        raise damaged_header(path, f"its numbers are of the unknown type {header.fields.get('type', '')!r}")
    encoding = header.fields.get("encoding", "").lower()
    order = {"little": "<", "big": ">"}.get(header.fields.get("endian", "").lower(), "")
    if not order and np.dtype(code).itemsize > 1 and encoding not in ("txt", "text", "ascii"):
        raise damaged_header(path, "it does not say in which order the bytes of its numbers are")
    dtype = np.dtype((order or "<") + code)
    files = _files(path, header)
    parts = len(files) or 1
    shape = tuple(reversed(sizes))
    if parts > 1 and shape[0] % parts:
        raise damaged_header(path, "its files do not hold equal parts of its voxels")
    part = (shape[0] // parts, *shape[1:])
    if not files:
        return _decode(read_bytes(path, header.start), header, encoding, dtype, part, path)
    found = [_decode(read_bytes(file), header, encoding, dtype, part, file) for file in files]
    return found[0] if parts == 1 else np.concatenate(found)


def _add(line: str, fields: dict[str, str], keys: dict[str, str], path: Path) -> None:
    key, pair, value = line.partition(":=")
    name, colon, rest = line.partition(": ")
    if pair and (not colon or len(key) < len(name)):
        keys[key] = value
        return
    if not colon:
        name, colon, rest = line.partition(":")
    name = name.strip().lower()
    name = SAME_FIELDS.get(name, name)
    if not colon or name not in KNOWN_FIELDS:
        raise damaged_header(path, f"it has the unknown line {line[:40]!r}")
    if name in fields:
        raise damaged_header(path, f"it says {name!r} twice")
    fields[name] = rest.strip()


def _number(text: str, path: Path, what: str) -> int:
    if not re.fullmatch(r"-?\d{1,18}", text):
        raise damaged_header(path, f"its field {what!r} is {text[:40]!r}")
    return int(text)


def _numbers(text: str, path: Path, what: str) -> list[float]:
    try:
        return [float(word) for word in text.replace(",", " ").split()]
    except ValueError as error:
        raise damaged_header(path, f"its field {what!r} is {text[:40]!r}") from error


def _sizes(header: NrrdHeader, path: Path) -> list[int]:
    axes = _number(header.fields.get("dimension", ""), path, "dimension")
    sizes = [_number(word, path, "sizes") for word in header.fields.get("sizes", "").split()]
    if not 1 <= axes <= MOST_AXES or len(sizes) != axes or min(sizes) < 1 or math.prod(sizes) > 1 << 48:
        raise damaged_header(path, "it does not say how many voxels there are")
    return sizes


def _spatial_axes(header: NrrdHeader, sizes: list[int], path: Path) -> list[int]:
    """The three axes in space; raises VolumeError where there are others or more of them, or fewer."""
    kinds = header.fields.get("kinds", "").lower().split() or ["???"] * len(sizes)
    vectors = _vectors(header, len(sizes), path)
    if len(kinds) != len(sizes):
        raise damaged_header(path, "it does not say of each axis what it is")
    components = [
        axis
        for axis, kind in enumerate(kinds)
        if kind not in SPATIAL_KINDS | TIME_KINDS or (vectors is not None and vectors[axis] is None)
    ]
    count = math.prod(sizes[axis] for axis in components)
    if components and count > 1 and "time" not in [kinds[axis] for axis in components]:
        raise VolumeError(
            f"{path} has {count} values per voxel (a colour or vector image); choose a volume with one value per voxel."
        )
    spatial = [axis for axis in range(len(sizes)) if axis not in components and kinds[axis] not in TIME_KINDS]
    if len(spatial) == 4 and sizes[spatial[3]] == 1:
        spatial.pop()
    others = [axis for axis in range(len(sizes)) if axis not in spatial and sizes[axis] > 1]
    if len(spatial) != 3 or others:
        raise VolumeError(f"{path} has {len(spatial) + len(others)} dimensions; choose a volume with exactly three.")
    return spatial


def _vectors(header: NrrdHeader, axes: int, path: Path) -> list[list[float] | None] | None:
    """The direction of each axis, None for those that have none; None where the header has no directions at all."""
    text = header.fields.get("space directions")
    if text is None:
        return None
    found: list[list[float] | None] = []
    for vector, _ in VECTOR.findall(text):
        numbers = _numbers(vector, path, "space directions")
        found.append(numbers if numbers and not all(map(math.isnan, numbers)) else None)
    rest = VECTOR.sub("", text).strip()
    if len(found) != axes or rest or len({len(vector) for vector in found if vector is not None}) > 1:
        raise damaged_header(path, f"its field 'space directions' is {text[:60]!r}")
    return found


def _grid(header: NrrdHeader, axes: int, spatial: list[int], path: Path) -> tuple[Array, tuple[str, ...]]:
    """The 4x4 matrix from voxel indices to LPS in mm, and sentences about what the header leaves open."""
    matrix = np.eye(4)
    vectors = _vectors(header, axes, path)
    unit = header.fields.get("space units", "").replace('"', " ").split()
    if vectors is None:
        vectors = _axis_vectors(header, axes, spatial, path)
    elif foreign := [word for word in unit[:3] if word.lower() not in MILLIMETRES]:
        raise VolumeError(f"{path} has lengths in {foreign[0][:20]}, not mm; convert it.")
    notes: tuple[str, ...] = ()
    if all(vectors[axis] is None for axis in spatial):
        notes = (
            f"{path} does not say how large its voxels are: 1 mm is taken; volumes in mL are right only if it is.",
        )
    else:
        for column, axis in enumerate(spatial):
            vector = vectors[axis]
            if vector is None or len(vector) < 3:
                raise damaged_header(path, "its axes have no directions in space")
            if not any(vector) or not np.isfinite(vector).all():
                raise VolumeError(
                    f"{path} has a zero or negative spacing; correct its header: every spacing must be above zero."
                )
            matrix[:3, column] = vector[:3]
    matrix[:3, 3] = _origin(header, spatial, matrix, path)
    flips = TO_LPS.get(header.fields.get("space", "").lower().removesuffix("-time").removesuffix("t"))
    if flips is not None:
        matrix = np.diag([*flips, 1.0]) @ matrix
    return matrix, notes


def _axis_vectors(header: NrrdHeader, axes: int, spatial: list[int], path: Path) -> list[list[float] | None]:
    """The directions of a file that has spacings only."""
    if "spacings" not in header.fields:
        return [None] * axes
    spacings = _numbers(header.fields["spacings"], path, "spacings")
    if len(spacings) != axes:
        raise damaged_header(path, "it does not say the spacing of each axis")
    found: list[list[float] | None] = [None] * axes
    for column, axis in enumerate(spatial):
        if not (math.isfinite(spacings[axis]) and spacings[axis] > 0):
            raise VolumeError(
                f"{path} has a zero or negative spacing; correct its header: every spacing must be above zero."
            )
        found[axis] = [spacings[axis] * (row == column) for row in range(3)]
    return found


def _origin(header: NrrdHeader, spatial: list[int], matrix: Array, path: Path) -> list[float]:
    if "space origin" in header.fields:
        text = header.fields["space origin"].strip()
        origin = _numbers(text.strip("()"), path, "space origin")
        if len(origin) < 3 or not text.startswith("(") or not text.endswith(")"):
            raise damaged_header(path, f"its field 'space origin' is {text[:40]!r}")
        return origin[:3]
    if "axis mins" in header.fields and "spacings" in header.fields:
        lows = _numbers(header.fields["axis mins"], path, "axis mins")
        centers = header.fields.get("centers", "").lower().split()
        if max(spatial) < len(lows) and all(math.isfinite(lows[axis]) for axis in spatial):
            # An axis begins at the centre of a node, but at the edge of a cell.
            return [
                lows[axis] + (0.0 if centers[axis : axis + 1] == ["node"] else matrix[column, column] / 2)
                for column, axis in enumerate(spatial)
            ]
    return [0.0, 0.0, 0.0]


def _files(path: Path, header: NrrdHeader) -> list[Path]:
    """The files of the voxels; none where they follow the header."""
    text = header.fields.get("data file")
    if text is None:
        if path.name.lower().endswith(".nhdr"):
            raise damaged_header(path, "it does not say which file holds its voxels")
        return []
    if header.files:
        return [beside(path, name) for name in header.files]
    if text.upper().startswith("LIST"):
        raise damaged_header(path, "it does not say which files hold its voxels")
    words = text.split()
    if "%" in words[0] if words else False:
        return [beside(path, name) for name in numbered(path, words[0], words[1:4])]
    if not text:
        raise damaged_header(path, "it does not say which file holds its voxels")
    return [beside(path, text)]


def _decode(
    content: bytes | bytearray,
    header: NrrdHeader,
    encoding: str,
    dtype: np.dtype[np.generic],
    shape: tuple[int, ...],
    path: Path,
) -> Array:
    count = math.prod(shape) * dtype.itemsize
    for _ in range(max(0, _number(header.fields.get("line skip", "0"), path, "line skip"))):
        end = content.find(b"\n")
        if end < 0:
            raise cut_off(path)
        content = content[end + 1 :]
    skip = _number(header.fields.get("byte skip", "0"), path, "byte skip")
    if encoding == "raw":
        if skip == -1:
            if len(content) < count:
                raise cut_off(path)
            content, skip = content[len(content) - count :], 0
        return as_array(exactly(memoryview(content)[max(0, skip) :], count, path), dtype, shape)
    if encoding in ("gzip", "gz"):
        found = inflate(content, count + max(0, skip), path)
    elif encoding in ("bzip2", "bz2"):
        found = unpack_bzip2(content, count + max(0, skip), path)
    elif encoding in ("txt", "text", "ascii"):
        return array_from_text(content.decode("latin-1"), dtype, shape, path)
    elif encoding == "hex":
        try:
            found = bytearray.fromhex(content.decode("ascii"))
        except ValueError as error:
            raise damaged(path) from error
        return as_array(exactly(found, count, path), dtype, shape)
    else:
        raise damaged_header(path, f"its voxels are packed in the unknown way {encoding[:20]!r}")
    return as_array(memoryview(found)[max(0, skip) :], dtype, shape)
