"""What image files say of themselves that ITK's readers mend or miss without a word.

They turn a spacing of zero, or one that is no number, into 1 mm and a negative one into a flipped axis, and give the
voxels that a truncated NIfTI file lacks whatever was in memory. The places of NIfTI's fields are from ``nifti1.h`` and
``nifti2.h`` of the NIfTI working group.
"""

from __future__ import annotations

import gzip
import math
import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

from .files import file_suffix

NIFTI = (".nii", ".nii.gz")
SPACING_KEYS = {".mha": "ElementSpacing", ".mhd": "ElementSpacing"} | dict.fromkeys(
    (".nrrd", ".nhdr", ".seg.nrrd"), "spacings"
)
GZIP_SIGNATURE = b"\x1f\x8b"
NIFTI_HEADER_BYTES = 540
TEXT_HEADER_BYTES = 1 << 16
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class NiftiHeader:
    """What a NIfTI header says of the size of voxels and file.

    Attributes:
        spacing: along the first three axes at most, mm.
        file_bytes: of the unpacked file at least; 0 where the voxels have a file of their own.
    """

    spacing: tuple[float, ...]
    file_bytes: int


def stored_spacing(path: Path) -> tuple[float, ...]:
    """The spacing along i, j, k that stands in a NIfTI, MetaImage or NRRD file; empty where none stands in it."""
    suffix = file_suffix(path)
    if suffix in NIFTI:
        header = read_nifti_header(path)
        return header.spacing if header else ()
    if suffix not in SPACING_KEYS:
        return ()
    with path.open("rb") as file:
        text = file.read(TEXT_HEADER_BYTES).decode("latin-1")
    found = re.search(rf"^{SPACING_KEYS[suffix]}\s*[:=]\s*(.+?)\s*$", text, re.MULTILINE)
    try:
        return tuple(float(word) for word in found[1].split()[:3]) if found else ()
    except ValueError:
        return (math.nan,)


def is_whole(path: Path) -> bool:
    """Whether a NIfTI file holds all voxels that its header promises; True for files of other kinds."""
    header = read_nifti_header(path) if file_suffix(path) in NIFTI else None
    if header is None:
        return True
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(len(GZIP_SIGNATURE)) != GZIP_SIGNATURE:
            return size >= header.file_bytes
        # A gzip file ends with its unpacked size modulo 2^32. Where that is right, nothing needs to be unpacked.
        file.seek(size - 4)
        if file.read(4) == struct.pack("<I", header.file_bytes % 2**32):
            return True
    return _unpacked_bytes(path, header.file_bytes) >= header.file_bytes


def read_nifti_header(path: Path) -> NiftiHeader | None:
    """The header of a NIfTI-1 or NIfTI-2 file, packed or not; None if it is neither."""
    head = _unpacked_head(path)
    for order in "<>":
        version = struct.unpack_from(f"{order}i", head)[0] if len(head) >= 4 else 0
        if version == 348 and len(head) >= 348:
            dim, (bits,) = struct.unpack_from(f"{order}8h", head, 40), struct.unpack_from(f"{order}h", head, 72)
            pixdim, (start,) = struct.unpack_from(f"{order}8f", head, 76), struct.unpack_from(f"{order}f", head, 108)
            return _nifti_header(dim, bits, pixdim, start if head[344:347] == b"n+1" else None)
        if version == 540 and len(head) >= 540:
            dim, (bits,) = struct.unpack_from(f"{order}8q", head, 16), struct.unpack_from(f"{order}h", head, 14)
            pixdim, (start,) = struct.unpack_from(f"{order}8d", head, 104), struct.unpack_from(f"{order}q", head, 168)
            return _nifti_header(dim, bits, pixdim, start if head[4:7] == b"n+2" else None)
    return None


def _nifti_header(
    dim: tuple[int, ...], bits: int, pixdim: tuple[float, ...], start: float | None
) -> NiftiHeader | None:
    axes = dim[0]
    if not 1 <= axes <= 7 or (start is not None and not math.isfinite(start)):
        return None
    voxels = math.prod(max(size, 1) for size in dim[1 : axes + 1])
    file_bytes = 0 if start is None else int(start) + voxels * bits // 8
    return NiftiHeader(pixdim[1 : min(axes, 3) + 1], file_bytes)


def _unpacked_head(path: Path) -> bytes:
    with path.open("rb") as file:
        head = file.read(NIFTI_HEADER_BYTES)
    if not head.startswith(GZIP_SIGNATURE):
        return head
    try:
        with gzip.open(path, "rb") as packed:
            return packed.read(NIFTI_HEADER_BYTES)
    except (EOFError, OSError, zlib.error):
        return b""


def _unpacked_bytes(path: Path, enough: int) -> int:
    count = 0
    try:
        with gzip.open(path, "rb") as file:
            while count < enough and (block := file.read(CHUNK_BYTES)):
                count += len(block)
    except (EOFError, OSError, zlib.error):
        return 0
    return count
