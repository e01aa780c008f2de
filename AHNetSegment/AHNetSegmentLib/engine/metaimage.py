"""MetaImage files: ``.mha``, and ``.mhd`` with their voxels in other files.

Keys are those of https://itk.org/Wiki/ITK/MetaIO/Documentation; positions are LPS, as ITK and Slicer take them.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .detached import beside, numbered
from .errors import VolumeError
from .stored_voxels import array_from_text, as_array, cut_off, damaged_header, exactly, inflate, read_bytes
from .volume import Array, Geometry, Volume

HEADER_BYTES = 1 << 20
SEPARATOR = re.compile(r"[=:]")
KEY = re.compile(r"[A-Za-z][\w.-]*")
FIRST_KEY = re.compile(rb"\s*(ObjectType|NDims|Comment|ObjectSubType|TransformType)\s*[=:]")
TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
LONGS = {"MET_LONG": "i", "MET_ULONG": "u"}
"""Of four bytes or of eight: writers on different systems do not agree."""
TRUE, FALSE = ("true", "1", "t"), ("false", "0", "f", "")


@dataclass(frozen=True)
class MetaHeader:
    """The text of a MetaImage header: its keys, where the voxels begin, and what follows ``LIST``."""

    keys: dict[str, str]
    start: int
    files: tuple[str, ...] = ()

    def number(self, key: str, default: float, path: Path) -> float:
        """A number; raises VolumeError where the key has something else."""
        try:
            return float(self.keys.get(key, default))
        except ValueError as error:
            raise damaged_header(path, f"its key {key} is {self.keys[key][:40]!r}") from error

    def numbers(self, names: tuple[str, ...], count: int, path: Path) -> list[float] | None:
        """As many numbers, under the first of some names that is there; None where none is."""
        for name in names:
            if name in self.keys:
                try:
                    values = [float(word) for word in self.keys[name].split()]
                except ValueError:
                    values = []
                if len(values) != count:
                    raise damaged_header(path, f"its key {name} is {self.keys[name][:40]!r}")
                return values
        return None

    def flag(self, key: str, path: Path) -> bool:
        """Whether a key is true; raises VolumeError where it is neither true nor false."""
        text = self.keys.get(key, "").lower()
        if text not in (*TRUE, *FALSE):
            raise damaged_header(path, f"its key {key} is {text[:40]!r}")
        return text in TRUE


def is_metaimage(path: Path) -> bool:
    """Whether a file begins like a MetaImage file."""
    return bool(FIRST_KEY.match(read_bytes(path, count=256)))


def read_metaimage(path: Path) -> Volume:
    """Reads a MetaImage file.

    Raises:
        VolumeError: it is damaged, contradicts itself, or is no volume with one value per voxel.
    """
    header = _read_header(path)
    sizes = _sizes(header, path)
    spacing = header.numbers(("ElementSpacing", "ElementSize"), len(sizes), path)
    notes: tuple[str, ...] = ()
    if spacing is None:
        spacing = [1.0] * len(sizes)
        notes = (
            f"{path} does not say how large its voxels are: 1 mm is taken; volumes in mL are right only if it is.",
        )
    if not all(math.isfinite(mm) and mm > 0 for mm in spacing):
        raise VolumeError(
            f"{path} has a zero or negative spacing; correct its header: every spacing must be above zero."
        )
    if header.keys.get("DistanceUnits", "mm").lower() not in ("mm", "?", ""):
        raise VolumeError(f"{path} has lengths in {header.keys['DistanceUnits'][:20]}, not mm; convert it.")
    size = (sizes[0], sizes[1], sizes[2])
    array = _read_voxels(header, sizes, path).reshape(size[::-1])
    axes = len(sizes)
    offset = header.numbers(("Offset", "Position", "Origin"), axes, path) or [0.0] * axes
    turned = header.numbers(("TransformMatrix", "Rotation", "Orientation"), axes * axes, path)
    # Row after row the direction of an axis.
    direction = np.eye(3) if turned is None else np.reshape(turned, (axes, axes))[:3, :3].T
    geometry = Geometry(
        size,
        (spacing[0], spacing[1], spacing[2]),
        (offset[0], offset[1], offset[2]),
        tuple(float(value) for value in direction.ravel()),
    )
    return Volume(array, geometry, str(path), notes=notes)


def _read_header(path: Path) -> MetaHeader:
    content = read_bytes(path, count=HEADER_BYTES)
    keys: dict[str, str] = {}
    place = 0
    while True:
        end = content.find(b"\n", place)
        if end < 0:
            if len(content) == HEADER_BYTES or not content[place:].strip():
                raise VolumeError(f"{path} is cut off within its header, or damaged; copy or download the file again.")
            end = len(content)
        line = content[place:end].decode("utf-8", "surrogateescape").rstrip("\r")
        place = end + 1
        if not line.strip():
            continue
        key, *rest = (part.strip() for part in SEPARATOR.split(line, maxsplit=1))
        if not rest or not KEY.fullmatch(key):
            raise damaged_header(path, f"it has the line {line[:40]!r}")
        if key in keys and key != "Comment":
            raise damaged_header(path, f"it says {key[:40]} twice")
        keys[key] = rest[0]
        if key == "ElementDataFile":
            files: tuple[str, ...] = ()
            if rest[0].upper().startswith("LIST"):
                text = content[place:].decode("utf-8", "surrogateescape")
                files = tuple(name.strip() for name in text.splitlines() if name.strip())
            return MetaHeader(keys, place, files)


def _sizes(header: MetaHeader, path: Path) -> list[int]:
    """Sizes along i, j, k; raises VolumeError unless the file is a volume of one value per voxel."""
    if header.keys.get("ObjectType", "Image").lower() != "image":
        raise damaged_header(path, f"it holds no image but {header.keys['ObjectType'][:40]!r}")
    axes = header.number("NDims", math.nan, path)
    if axes not in range(1, 11):
        raise damaged_header(path, "it does not say how many dimensions there are")
    values = header.numbers(("DimSize",), int(axes), path)
    if values is None or not all(1 <= value <= 1 << 40 and value == int(value) for value in values):
        raise damaged_header(path, "it does not say how many voxels there are")
    sizes = [int(value) for value in values]
    if math.prod(sizes) > 1 << 48:
        raise damaged_header(path, "it does not say how many voxels there are")
    channels = header.number("ElementNumberOfChannels", 1, path)
    if channels != 1:
        raise VolumeError(
            f"{path} has {channels:g} values per voxel (a colour or vector image); "
            "choose a volume with one value per voxel."
        )
    if len(sizes) < 3 or max(sizes[3:], default=1) > 1:
        raise VolumeError(f"{path} has {len(sizes)} dimensions; choose a volume with exactly three.")
    slope = header.number("ElementToIntensityFunctionSlope", 1, path)
    intercept = header.number("ElementToIntensityFunctionOffset", 0, path)
    if slope != 1 or intercept != 0:
        raise VolumeError(
            f"{path} holds values that are to be rescaled, which is not done alike everywhere; convert it."
        )
    return sizes


def _read_voxels(header: MetaHeader, sizes: list[int], path: Path) -> Array:
    name = header.keys["ElementDataFile"]
    names = list(header.files)
    if "%" in name:
        words = name.split()
        names = numbered(path, words[0], words[1:4])
    elif name.upper().startswith("LIST"):
        if not names:
            raise damaged_header(path, "it does not say which files hold its voxels")
    elif name.upper() != "LOCAL":
        if not name:
            raise damaged_header(path, "it does not say which file holds its voxels")
        names = [name]
    shape = tuple(reversed(sizes))
    if len(names) > 1:
        slices = math.prod(shape[:-2])
        if slices % len(names):
            raise damaged_header(path, "its files do not hold equal parts of its voxels")
        part = (slices // len(names), *shape[-2:])
        files = [beside(path, item) for item in names]
        return np.concatenate([_decode(header, read_bytes(file), part, file) for file in files])
    if names:
        file = beside(path, names[0])
        return _decode(header, read_bytes(file), shape, file)
    return _decode(header, read_bytes(path, header.start), shape, path)


def _decode(header: MetaHeader, content: bytes | bytearray, shape: tuple[int, ...], path: Path) -> Array:
    kind = header.keys.get("ElementType", "").upper().removesuffix("_ARRAY")
    if kind not in TYPES and kind not in LONGS:
        raise damaged_header(path, f"its numbers are of the unknown type {kind[:40]!r}")
    big = header.flag("BinaryDataByteOrderMSB", path) or header.flag("ElementByteOrderMSB", path)
    order = ">" if big else "<"
    voxels = math.prod(shape)
    if "BinaryData" in header.keys and not header.flag("BinaryData", path):
        dtype = np.dtype(TYPES.get(kind) or f"{LONGS[kind]}8")
        return array_from_text(content.decode("latin-1"), dtype, shape, path)
    skip = header.number("HeaderSize", 0, path)
    is_packed = header.flag("CompressedData", path)
    code = TYPES.get(kind)
    if code is None:
        code = f"{LONGS[kind]}{8 if _holds(content, 8 * voxels, is_packed, path) else 4}"
    dtype = np.dtype(order + code)
    count = voxels * dtype.itemsize
    if is_packed:
        size = header.number("CompressedDataSize", len(content), path)
        if size not in range(1, len(content) + 1):
            raise cut_off(path)
        rest = exactly(content, int(size), path)
        return as_array(inflate(rest, count, path), dtype, shape)
    if skip == -1:
        if len(content) < count:
            raise cut_off(path)
        content = content[len(content) - count :]
    elif skip > 0:
        content = content[int(min(skip, len(content))) :]
    return as_array(exactly(content, count, path), dtype, shape)


def _holds(content: bytes | bytearray, count: int, is_packed: bool, path: Path) -> bool:
    if not is_packed:
        return len(content) >= count
    try:
        return len(inflate(content, count, path)) == count
    except VolumeError:
        return False
