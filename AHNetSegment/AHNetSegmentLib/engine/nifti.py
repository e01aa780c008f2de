"""NIfTI files, versions 1 and 2, packed or not: read as their headers say, and written with their exact grid.

ITK's reader takes the spacing from one field and the orientation from others, mends what contradicts itself without a
word, and refuses version 2 and grids that a rounding has sheared; its writer turns sheared grids into others. The
places of fields and the three methods of orientation are those of ``nifti1.h`` and ``nifti2.h`` of the NIfTI working
group.
"""

from __future__ import annotations

import gzip
import math
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .errors import VolumeError
from .stored_voxels import (
    GZIP_SIGNATURE,
    as_array,
    check_is_file,
    damaged_header,
    exactly,
    inflate,
    read_bytes,
    read_head,
    rescaled,
)
from .volume import Array, Geometry, Volume

DATA_TYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
COMPLEX_TYPES, COLOUR_TYPES = (32, 1792, 2048), (128, 2304)
MM_OF_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
SCANNER = 1
"""The ``sform_code`` of coordinates of the scanner, the only one that ITK, and so Slicer, puts above a qform."""

HEADER_BYTES = {1: 348, 2: 540}
EXTENSION_FLAG_BYTES = 4
LARGEST_HEADER = 544
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
NO_SPACING = "has a zero or negative spacing; correct its header: every spacing must be above zero."
SPACING_TOLERANCE = 1e-3
"""How far pixdim and sform may differ, as a share: they are single precision, and some writers round one of them."""

OTHER_ORIENTATION_VOXELS = 0.25
"""From here on a quaternion and a matrix say different things, and not only with different rounding."""

HALF_TURN = 1e-7
"""Below this square, the first component of a quaternion is the rounding of the others: the limit of the format's own
``nifti_quatern_to_mat44``."""

SHEAR_TOLERANCE = 1e-4
"""Grids whose axes are this near to right angles have a quaternion that says the same as their matrix."""


@dataclass(frozen=True)
class NiftiHeader:
    """What a NIfTI header says.

    Attributes:
        order: of bytes, ``<`` or ``>``.
        version: 1 or 2.
        magic: of the format.
        dim: sizes along i, j, k, time, components and so on, without sizes of one at the end.
        data_type: its code.
        bits: of a voxel.
        spacing: pixdim along the first three axes at most, mm.
        handedness: pixdim[0], 1 or -1.
        start: of the voxels in the file.
        slope: of the values; 0: none.
        intercept: of the values.
        mm: of the unit of length.
        qform_code: 0: there is no quaternion.
        sform_code: 0: there is no matrix.
        quaternion: b, c, d.
        offset: of the quaternion's transform.
        matrix: of the sform, 3x4, ijk to RAS in the unit of length.
    """

    order: str
    version: int
    magic: bytes
    dim: tuple[int, ...]
    data_type: int
    bits: int
    spacing: tuple[float, ...]
    handedness: float
    start: float
    slope: float
    intercept: float
    mm: float
    qform_code: int
    sform_code: int
    quaternion: tuple[float, ...]
    offset: tuple[float, ...]
    matrix: Array


def is_nifti(path: Path) -> bool:
    """Whether a file begins like a NIfTI file of either version, packed or not."""
    return _order_and_version(read_head(path, 8)) is not None


def read_nifti(path: Path) -> Volume:
    """Reads a NIfTI file, or the header of a pair of files together with the other one.

    Where quaternion and matrix say different things, that one is taken that Slicer takes; the volume's notes say so.

    Raises:
        VolumeError: it is damaged, contradicts itself, or is no volume with one real number per voxel.
    """
    header = _read_header(path)
    voxels = path
    if header.magic.startswith(b"ni"):
        voxels = _data_file(path)
    size = _size(header, path)
    array = _read_voxels(header, voxels, size)
    if header.slope not in (0.0, 1.0) or (header.slope and header.intercept):
        if not (math.isfinite(header.slope) and math.isfinite(header.intercept)):
            raise damaged_header(path, "its values are scaled by what is no number")
        array = rescaled(array, header.slope, header.intercept)
    matrix, notes = _grid(header, path)
    geometry = Geometry.from_matrix(LPS @ matrix, size)
    return Volume(array, geometry, str(path), notes=notes)


def write_nifti(path: Path, volume: Volume) -> None:
    """Writes a NIfTI-1 file, packed where its name ends so; the matrix of the sform is exactly the volume's grid.

    Grids that are sheared have no quaternion, which could not say so.

    Raises:
        OSError: the file cannot be written.
        ValueError: NIfTI-1 has no such numbers or sizes.
    """
    array = volume.array.astype(np.uint8) if volume.array.dtype == bool else volume.array
    types = {np.dtype(text): code for code, text in DATA_TYPES.items()}
    if array.dtype.newbyteorder("=") not in types or max(array.shape) > 32767:
        raise ValueError(f"NIfTI-1 has no volumes of {array.shape} voxels of {array.dtype}")
    matrix = LPS @ volume.geometry.ijk_to_lps()
    columns = matrix[:3, :3] / volume.geometry.spacing
    sheared = np.abs(columns.T @ columns - np.eye(3)).max() > SHEAR_TOLERANCE
    handedness = -1.0 if np.linalg.det(columns) < 0 else 1.0
    quaternion = (0.0, 0.0, 0.0) if sheared else _quaternion(columns * (1, 1, handedness))
    header = bytearray(HEADER_BYTES[1] + EXTENSION_FLAG_BYTES)
    struct.pack_into("<i", header, 0, HEADER_BYTES[1])
    struct.pack_into("<8h", header, 40, 3, *volume.geometry.size, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, types[array.dtype.newbyteorder("=")], 8 * array.dtype.itemsize)
    struct.pack_into("<8f", header, 76, handedness, *volume.geometry.spacing, 1, 1, 1, 1)
    struct.pack_into("<3f", header, 108, len(header), 1.0, 0.0)
    header[123] = 2
    struct.pack_into("<2h", header, 252, 0 if sheared else SCANNER, SCANNER)
    struct.pack_into("<6f", header, 256, *quaternion, *matrix[:3, 3])
    struct.pack_into("<12f", header, 280, *matrix[:3].ravel())
    header[344:348] = b"n+1\0"
    voxels = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).data.cast("B")
    with path.open("wb") as file:
        if path.name.lower().endswith(".gz"):
            # Neither name nor time: the same result gives the same file.
            with gzip.GzipFile("", "wb", 6, file, 0) as packed:
                packed.write(header)
                packed.write(voxels)
        else:
            file.write(header)
            file.write(voxels)


def _order_and_version(head: bytes | bytearray) -> tuple[str, int] | None:
    for order in "<>" if len(head) >= 8 else "":
        for version, count in HEADER_BYTES.items():
            if struct.unpack_from(f"{order}i", head)[0] == count:
                return order, version
    return None


def _read_header(path: Path) -> NiftiHeader:
    head = read_head(path, LARGEST_HEADER)
    found = _order_and_version(head)
    if found is None:
        raise damaged_header(path, "it does not begin as a NIfTI file")
    order, version = found
    if len(head) < HEADER_BYTES[version]:
        raise VolumeError(f"{path} is cut off within its header; copy or download the file again.")

    def values(form: str, offset: int) -> tuple[float, ...]:
        return struct.unpack_from(order + form, head, offset)

    if version == 1:
        magic, dim, (code, bits) = bytes(head[344:348]), values("8h", 40), values("2h", 70)
        pixdim, (start, slope, intercept) = values("8f", 76), values("3f", 108)
        units, (qform, sform) = head[123], values("2h", 252)
        quaternion, matrix = values("6f", 256), values("12f", 280)
        magics: tuple[bytes, ...] = (b"n+1\0", b"ni1\0")
    else:
        magic, dim, (code, bits) = bytes(head[4:12]), values("8q", 16), values("2h", 12)
        pixdim, (start,), (slope, intercept) = values("8d", 104), values("q", 168), values("2d", 176)
        units, (qform, sform) = int(values("i", 500)[0]) & 0xFF, values("2i", 344)
        quaternion, matrix = values("6d", 352), values("12d", 400)
        magics = (b"n+2\0\r\n\x1a\n", b"ni2\0\r\n\x1a\n")
    if magic not in magics:
        if version == 1 and not magic.strip(b"\0"):
            raise VolumeError(
                f"{path} is an Analyze file, which does not say where left and right are; convert it to NIfTI."
            )
        raise damaged_header(path, "the letters that name the format are wrong")
    axes = int(dim[0])
    if not 1 <= axes <= 7 or min(dim[1 : axes + 1]) < 1:
        raise damaged_header(path, "it does not say how many voxels there are")
    sizes = [int(value) for value in dim[1 : axes + 1]]
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    if int(units) & 7 not in MM_OF_UNIT:
        raise damaged_header(path, "its unit of length is unknown")
    return NiftiHeader(
        order,
        version,
        magic,
        tuple(sizes),
        int(code),
        int(bits),
        pixdim[1 : min(len(sizes), 3) + 1],
        pixdim[0],
        start,
        0.0 if math.isnan(slope) else slope,
        intercept,
        MM_OF_UNIT[int(units) & 7],
        int(qform),
        int(sform),
        quaternion[:3],
        quaternion[3:],
        np.reshape(matrix, (3, 4)),
    )


def _size(header: NiftiHeader, path: Path) -> tuple[int, int, int]:
    """Sizes along i, j, k; raises VolumeError unless it is a volume of one real number per voxel."""
    if header.data_type in COLOUR_TYPES:
        raise VolumeError(f"{path} is a colour image; choose a volume with one value per voxel.")
    if header.data_type in COMPLEX_TYPES:
        raise VolumeError(f"{path} holds complex numbers; choose a volume of real numbers, of its magnitude say.")
    if header.data_type not in DATA_TYPES:
        raise VolumeError(f"{path} holds numbers of a kind that is not read; convert it to 16-bit or float32 numbers.")
    if header.bits != 8 * np.dtype(DATA_TYPES[header.data_type]).itemsize:
        raise damaged_header(path, f"it says that a voxel has {header.bits} bits, but its type has others")
    if len(header.dim) > 4 and header.dim[3] == 1:
        raise VolumeError(
            f"{path} has {math.prod(header.dim[4:])} values per voxel (a colour or vector image); "
            "choose a volume with one value per voxel."
        )
    if len(header.dim) != 3:
        raise VolumeError(f"{path} has {len(header.dim)} dimensions; choose a volume with exactly three.")
    return (header.dim[0], header.dim[1], header.dim[2])


def _read_voxels(header: NiftiHeader, path: Path, size: tuple[int, int, int]) -> Array:
    dtype = np.dtype(header.order + DATA_TYPES[header.data_type])
    count = math.prod(size) * dtype.itemsize
    content: bytes | bytearray | memoryview = read_bytes(path)
    is_packed = bytes(content[:2]) == GZIP_SIGNATURE
    start = _start(header, path, None if is_packed else len(content) - count)
    if is_packed:
        content = inflate(content, start + count, path)
    return as_array(exactly(memoryview(content)[start:], count, path), dtype, size[::-1])


def _start(header: NiftiHeader, path: Path, before: int | None) -> int:
    """Where the voxels begin; `before`: how many bytes the file has before them if they end it, where that is known."""
    if not math.isfinite(header.start) or header.start < 0 or header.start != int(header.start):
        raise damaged_header(path, f"its voxels are to begin at byte {header.start:g}")
    start, smallest = int(header.start), HEADER_BYTES[header.version]
    if header.magic.startswith(b"ni") or start >= smallest:
        return start
    if start:
        raise damaged_header(path, f"its voxels are to begin at byte {start}, within the header")
    # Some writers leave it at 0. Voxels then follow the header, most often after the four bytes of its extension flag.
    return before if before in (smallest, smallest + EXTENSION_FLAG_BYTES) else smallest + EXTENSION_FLAG_BYTES


def _data_file(path: Path) -> Path:
    """The file with the voxels that belong to a header of its own."""
    stem = path.name[: -len(".gz")] if path.name.lower().endswith(".gz") else path.name
    base = path.with_name(stem).with_suffix("")
    for name in (f"{base.name}.img", f"{base.name}.img.gz", f"{base.name}.IMG"):
        if (other := path.with_name(name)).exists():
            check_is_file(other)
            return other
    raise VolumeError(f"{path.with_name(f'{base.name}.img')}, which holds the voxels of {path}, is missing; add it.")


def _grid(header: NiftiHeader, path: Path) -> tuple[Array, tuple[str, ...]]:
    """The 4x4 matrix from voxel indices to RAS in mm, and sentences about what the header leaves open."""
    spacing = np.array(header.spacing)
    if not (np.isfinite(spacing) & (spacing > 0)).all():
        raise VolumeError(f"{path} {NO_SPACING}")
    quaternion = _from_quaternion(header, path) if header.qform_code > 0 else None
    matrix = None
    if header.sform_code > 0:
        matrix = np.vstack([header.matrix, (0, 0, 0, 1)])
        if not np.isfinite(matrix).all():
            raise damaged_header(path, "its orientation (sform) is no number")
    notes: list[str] = []
    if matrix is not None and (quaternion is None or header.sform_code == SCANNER):
        found, name = matrix, "sform"
    elif quaternion is not None:
        found, name = quaternion, "qform"
    else:
        # As ITK and Slicer have it: along the axes of LPS, beginning at zero.
        found, name = LPS @ np.diag([*spacing, 1.0]), ""
        notes.append(
            f"{path} does not say how it lies in the body: its axes are taken for left, posterior and superior; check "
            "that left and right are not exchanged."
        )
    lengths = np.linalg.norm(found[:3, :3], axis=0)
    if name == "sform":
        if (lengths > 0).all() and abs(np.linalg.det(found[:3, :3] / lengths)) > 1e-4:
            if (np.abs(lengths / spacing - 1) > SPACING_TOLERANCE).any():
                factor = max(np.prod(lengths / spacing), np.prod(spacing / lengths))
                one, other = (" × ".join(f"{mm * header.mm:.4g}" for mm in sides) for sides in (lengths, spacing))
                notes.append(
                    f"{path} has two spacings: {one} mm (sform) is taken, 3D Slicer takes {other} mm (pixdim), "
                    f"and volumes in mL differ by a factor of {factor:.3g}; correct its header."
                )
            else:
                # The same numbers, without the rounding of a matrix in single precision.
                found = found @ np.diag([*(spacing / lengths), 1.0])
        else:
            raise VolumeError(f"{path} has a singular direction matrix; correct the axis directions in its header.")
    if matrix is not None and quaternion is not None:
        sides = np.array(header.dim)
        corners = np.array([[i, j, k, 1] for i in (0, sides[0]) for j in (0, sides[1]) for k in (0, sides[2])]).T
        off = np.abs(((matrix - quaternion) @ corners)[:3]).max() / spacing.min()
        if off > OTHER_ORIENTATION_VOXELS:
            notes.append(
                f"{path} has two orientations, up to {off:.3g} voxels apart: the {name} is taken, as 3D Slicer does; "
                "check that the result lies where it should, or correct its header."
            )
    return np.diag([header.mm, header.mm, header.mm, 1.0]) @ found, tuple(notes)


def _from_quaternion(header: NiftiHeader, path: Path) -> Array:
    """Method 2 of ``nifti1.h``: a unit quaternion without its first component, pixdim, handedness and an offset."""
    b, c, d = header.quaternion
    if not np.isfinite([*header.quaternion, *header.offset]).all():
        raise damaged_header(path, "its orientation (qform) is no number")
    square = b * b + c * c + d * d
    if square > 1 + 1e-3:
        raise damaged_header(path, "its orientation (qform) is no rotation")
    a = 0.0
    if 1 - square < HALF_TURN:
        b, c, d = (value / math.sqrt(square) for value in (b, c, d))
    else:
        a = math.sqrt(1 - square)
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    result = np.eye(4)
    result[:3, :3] = rotation * header.spacing * (1, 1, -1 if header.handedness < 0 else 1)
    result[:3, 3] = header.offset
    return result


def _quaternion(rotation: Array) -> tuple[float, float, float]:
    """b, c, d of the unit quaternion of a rotation, whose first component is not negative."""
    # The eigenvector of the largest eigenvalue (Bar-Itzhack 2000, New method for extracting the quaternion).
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = rotation
    matrix = np.array(
        [
            [xx + yy + zz, zy - yz, xz - zx, yx - xy],
            [zy - yz, xx - yy - zz, xy + yx, xz + zx],
            [xz - zx, xy + yx, yy - xx - zz, yz + zy],
            [yx - xy, xz + zx, yz + zy, zz - xx - yy],
        ]
    )
    found = np.linalg.eigh(matrix)[1][:, -1]
    b, c, d = (float(value) for value in (found if found[0] >= 0 else -found)[1:])
    return b, c, d
