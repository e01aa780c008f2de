"""The voxels of image files: their bytes, packed or not, and what numbers they are; none missing, none changed.

Image libraries write what they find wrong here to standard error and go on with what they have. Each of it is an error
here: too few bytes, too many, a packed stream whose checksum is not that of its voxels.
"""

from __future__ import annotations

import bz2
import os
import stat
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .errors import VolumeError
from .volume import Array

GZIP_SIGNATURE = b"\x1f\x8b"
ZLIB_OR_GZIP = 32 + zlib.MAX_WBITS
LARGEST_RATIO = 1100
"""Deflate packs at most 1032 bytes into one."""
PADDING = b"\0 \t\r\n"
MOST_PADDING_BYTES = 1 << 16
WHOLE_TYPES = (np.int16, np.int32, np.int64)


def check_is_file(path: Path) -> None:
    """Raises VolumeError unless the path is that of a regular file: opening a pipe or a device may never end."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise VolumeError(f"{path} does not exist; check the path.") from error
    if not stat.S_ISREG(mode):
        raise VolumeError(f"{path} is no regular file but a pipe, a device or the like; copy its data into a file.")


def read_bytes(path: Path, start: int = 0, count: int | None = None) -> bytearray:
    """The bytes of a regular file, all from ``start`` on or ``count`` of them, fewer where it ends before.

    Raises:
        VolumeError: it is no regular file, or cannot be opened.
    """
    check_is_file(path)
    try:
        with path.open("rb") as file:
            rest = max(0, os.fstat(file.fileno()).st_size - start)
            # Writeable, so that arrays of voxels need no copy.
            found = bytearray(rest if count is None else min(count, rest))
            file.seek(start)
            with memoryview(found) as view:
                read = 0
                while read < len(view) and (more := file.readinto(view[read:])):
                    read += more
            del found[read:]
            return found
    except OSError as error:
        raise VolumeError(
            f"{path} could not be opened ({(error.strerror or str(error)).lower()}); check that it may be read."
        ) from error


def read_head(path: Path, count: int) -> bytes | bytearray:
    """The first bytes of a file, unpacked where it is a gzip file; fewer where it is shorter or damaged."""
    head = read_bytes(path, count=count)
    if not head.startswith(GZIP_SIGNATURE):
        return head
    try:
        return zlib.decompressobj(ZLIB_OR_GZIP).decompress(read_bytes(path, count=count + (1 << 16)), count)
    except zlib.error:
        return b""


def inflate(packed: bytes | bytearray | memoryview, count: int, path: Path) -> bytearray:
    """Exactly ``count`` bytes from a zlib stream or the members of a gzip file, whose checksums must be right.

    Raises:
        VolumeError: there are fewer or more, or they are not those that were packed.
    """
    if count > (len(packed) + 64) * LARGEST_RATIO:
        raise cut_off(path)
    found = bytearray()
    rest: bytes | bytearray | memoryview = packed
    while True:
        stream = zlib.decompressobj(ZLIB_OR_GZIP)
        try:
            found += stream.decompress(rest, count - len(found) + 1)
        except zlib.error as error:
            raise damaged(path) from error
        if len(found) > count:
            raise too_long(path)
        if not stream.eof:
            raise cut_off(path)
        rest = stream.unused_data
        if not rest.startswith(GZIP_SIGNATURE):
            break
    if len(found) < count:
        raise cut_off(path)
    if not _is_padding(rest):
        raise too_long(path)
    return found


def unpack_bzip2(packed: bytes | bytearray, count: int, path: Path) -> bytearray:
    """Exactly ``count`` bytes from a bzip2 stream; raises as :func:`inflate`."""
    stream = bz2.BZ2Decompressor()
    found = bytearray()
    try:
        while len(found) <= count and not stream.eof:
            block = stream.decompress(packed, count - len(found) + 1)
            packed = b""
            if not block and stream.needs_input:
                raise cut_off(path)
            found += block
    except (OSError, ValueError) as error:
        raise damaged(path) from error
    return bytearray(exactly(found, count, path))


def exactly(found: bytes | bytearray | memoryview, count: int, path: Path) -> memoryview:
    """The first ``count`` bytes, after which nothing may follow but a little padding; raises as :func:`inflate`."""
    if len(found) < count:
        raise cut_off(path)
    view = memoryview(found)
    if not _is_padding(bytes(view[count : count + MOST_PADDING_BYTES + 1])):
        raise too_long(path)
    return view[:count]


def as_array(content: bytes | bytearray | memoryview, dtype: np.dtype[np.generic], shape: Sequence[int]) -> Array:
    """The numbers that bytes are, in the byte order of this machine, writeable."""
    array: Array = np.frombuffer(content, dtype).reshape(shape)
    array = array.astype(dtype.newbyteorder("="), copy=False)
    return array if array.flags.writeable else array.copy()


def array_from_text(text: str, dtype: np.dtype[np.generic], shape: Sequence[int], path: Path) -> Array:
    """The numbers that stand in a text, apart by blanks or commas.

    Raises:
        VolumeError: there are fewer or more, or one of them is no number of this type.
    """
    count = int(np.prod(shape))
    if count > len(text):
        raise cut_off(path)
    words = text.replace(",", " ").split()
    if len(words) < count:
        raise cut_off(path)
    if len(words) > count:
        raise too_long(path)
    try:
        values = np.array([float(word) for word in words])
        if dtype.kind in "iu":
            limits = np.iinfo(dtype.str)
            if not ((values == np.rint(values)) & (values >= limits.min) & (values <= limits.max)).all():
                raise ValueError
        return values.astype(dtype.newbyteorder("=")).reshape(shape)
    except (ValueError, OverflowError) as error:
        raise damaged(path) from error


def rescaled(array: Array, slope: float, intercept: float) -> Array:
    """``array * slope + intercept``: whole numbers where all of these are, in float32 otherwise (float64 stays)."""
    if slope == 1 and intercept == 0:
        return array
    if slope == 1 and intercept == round(intercept) and abs(intercept) < 2**31 and array.dtype.kind in "iu":
        return smallest_whole(array.astype(np.int64) + int(intercept))
    values = array.astype(np.float64) * slope + intercept
    return values if array.dtype == np.float64 else values.astype(np.float32)


def smallest_whole(values: Array) -> Array:
    """Whole numbers in the smallest signed type of at least 16 bit that holds them."""
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    for dtype in WHOLE_TYPES:
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return values.astype(dtype)
    return values


def cut_off(path: Path) -> VolumeError:
    """Voxels are missing."""
    return VolumeError(f"{path} is cut off: voxels are missing at its end; copy or download the file again.")


def damaged(path: Path) -> VolumeError:
    """The voxels are not those that were written."""
    return VolumeError(
        f"{path} is damaged: its voxels are not those that were written into it; copy or download the file again."
    )


def too_long(path: Path) -> VolumeError:
    """There are more bytes than voxels."""
    return VolumeError(
        f"{path} is damaged: it holds more bytes than its header says; copy, download or export the file again."
    )


def damaged_header(path: Path, what: str) -> VolumeError:
    """The header contradicts its format or itself."""
    return VolumeError(f"{path} has a damaged header: {what}; copy, download or export the file again.")


def printable(text: Path | str) -> str:
    """A path, or a sentence with one, as text that can be printed and written as UTF-8, whatever bytes it is of."""
    return str(text).encode("utf-8", "backslashreplace").decode("utf-8")


def _is_padding(rest: bytes | memoryview) -> bool:
    return len(rest) <= MOST_PADDING_BYTES and not bytes(rest).strip(PADDING)
