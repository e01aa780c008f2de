"""Scans in files as scanners, converters and accidents leave them, made in a moment and known voxel for voxel."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from AHNetSegmentLib.engine.volume import Array, Geometry, Volume

CT, MR, PET = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.128"
ENHANCED_MR, ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.2.1"
SECONDARY_CAPTURE, SEGMENTATION = "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.66.4"
DOSE = "1.2.840.10008.5.1.4.1.1.481.2"
SPACING, ORIGIN = (1.0, 1.25, 2.0), (-31.0, 12.5, 40.0)
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
OBLIQUE = tuple(np.linalg.qr(np.array([[0.9, -0.3, 0.2], [0.35, 0.85, -0.3], [-0.1, 0.35, 0.9]]))[0].T.ravel()[:6])


def phantom(shape: tuple[int, int, int] = (10, 16, 18), seed: int = 0) -> Array:
    """Whole numbers (k, j, i) from 0 to 1200, int16, no two slices alike."""
    generator = np.random.default_rng(seed)
    k, j, i = np.indices(shape)
    smooth = 400 + 300 * np.sin(0.4 * k + 0.2 * j) + 200 * np.cos(0.3 * i - 0.5 * k)
    return np.clip(smooth + generator.normal(0, 40, shape), 0, 1200).astype(np.int16)


def orientation_vectors(orientation: Sequence[float]) -> tuple[Array, Array, Array]:
    """Directions along rows, along columns, and of the slices."""
    row, column = np.array(orientation[:3], float), np.array(orientation[3:], float)
    return row, column, np.cross(row, column)


def place_of(number: float, orientation: Sequence[float] = AXIAL, step: float = SPACING[2]) -> list[float]:
    """Image Position of a slice."""
    return [float(value) for value in np.array(ORIGIN) + number * step * orientation_vectors(orientation)[2]]


def geometry_of(shape: Sequence[int], orientation: Sequence[float] = AXIAL) -> Geometry:
    """The grid on which the slices of :func:`write_series` lie."""
    matrix = np.eye(4)
    for axis, (vector, mm) in enumerate(zip(orientation_vectors(orientation), SPACING, strict=True)):
        matrix[:3, axis] = vector * mm
    matrix[:3, 3] = ORIGIN
    return Geometry.from_matrix(matrix, (shape[2], shape[1], shape[0]))


def dataset_of(
    stored: Array, instance: str, *, sop_class: str = MR, series: str = "1.2.3", syntax: str = ExplicitVRLittleEndian
) -> Dataset:
    """The elements of an image (rows, columns), or of several (frames, rows, columns), but those of its place."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.file_meta.MediaStorageSOPInstanceUID = instance
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, instance
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SeriesNumber = "1.2", series, "1"
    dataset.Modality = {CT: "CT", PET: "PT", ENHANCED_CT: "CT", SEGMENTATION: "SEG", DOSE: "RTDOSE"}.get(
        sop_class, "MR"
    )
    dataset.PatientName, dataset.PatientID = "Nobody", "0"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape[-2:]
    if stored.ndim == 3:
        dataset.NumberOfFrames = len(stored)
    bits = 8 * stored.dtype.itemsize
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = int(stored.dtype.kind == "i")
    dataset.PixelData = stored.tobytes()
    dataset["PixelData"].VR = "OW"
    return dataset


def slice_of(stored: Array, number: int, place: float | None = None, **changes: Any) -> Dataset:
    """A slice of :func:`write_series`: elements are changed by name, ``None`` takes one out."""
    orientation = changes.get("ImageOrientationPatient", AXIAL)
    options = {key: changes.pop(key) for key in ("sop_class", "series", "syntax") if key in changes}
    dataset = dataset_of(stored, f"1.2.3.{number + 1}", **options)
    dataset.InstanceNumber, dataset.SliceThickness = number + 1, SPACING[2]
    dataset.PixelSpacing = [SPACING[1], SPACING[0]]
    dataset.ImageOrientationPatient = list(orientation or AXIAL)
    dataset.ImagePositionPatient = place_of(number if place is None else place, orientation or AXIAL)
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0
    for key, value in changes.items():
        if value is None:
            delattr(dataset, key)
        else:
            setattr(dataset, key, list(value) if isinstance(value, tuple) else value)
    return dataset


def save(dataset: Dataset, path: Path) -> Path:
    """Writes a DICOM file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    implicit = dataset.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    pydicom.dcmwrite(path, dataset, implicit_vr=implicit, little_endian=True, enforce_file_format=True)
    return path


def write_series(folder: Path, volume: Array | None = None, **changes: Any) -> Path:
    """A plain series of a volume (k, j, i), a file a slice; elements are changed in all of them."""
    for number, stored in enumerate(phantom() if volume is None else volume):
        save(slice_of(stored, number, **dict(changes)), folder / f"IM{number:03d}.dcm")
    return folder


def change(path: Path, **changes: Any) -> None:
    """Changes elements of a DICOM file by name; ``None`` takes one out."""
    dataset = pydicom.dcmread(path)
    for key, value in changes.items():
        if value is None:
            delattr(dataset, key)
        else:
            setattr(dataset, key, value)
    dataset.save_as(path)


def group(**elements: Any) -> Dataset:
    """A dataset with some elements; values that are datasets become sequences of one."""
    dataset = Dataset()
    for key, value in elements.items():
        setattr(dataset, key, [value] if isinstance(value, Dataset) else value)
    return dataset


def frame_groups(place: Sequence[float], slope: float = 1, intercept: float = 0, **more: Any) -> Dataset:
    """The functional groups of a frame of its own."""
    return group(
        PlanePositionSequence=group(ImagePositionPatient=list(place)),
        PixelValueTransformationSequence=group(RescaleSlope=slope, RescaleIntercept=intercept, RescaleType="US"),
        **more,
    )


def multi_frame(stored: Array, groups: Sequence[Dataset], orientation: Sequence[float] = AXIAL) -> Dataset:
    """An enhanced MR object of frames (frame, row, column) with their own functional groups."""
    dataset = dataset_of(stored, "1.2.3.1", sop_class=ENHANCED_MR)
    shared = group(
        PixelMeasuresSequence=group(PixelSpacing=[SPACING[1], SPACING[0]], SliceThickness=SPACING[2]),
        PlaneOrientationSequence=group(ImageOrientationPatient=list(orientation)),
    )
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = list(groups)
    return dataset


def compressed(stored: Array, syntax: str, streams: Sequence[bytes], **changes: Any) -> Dataset:
    """An image whose voxels are in compressed streams."""
    dataset = slice_of(stored, 0, **changes)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate(list(streams))
    dataset["PixelData"].is_undefined_length = True
    dataset["PixelData"].VR = "OB"
    return dataset


def run_length_encoded(stored: Array) -> bytes:
    """A 16-bit image in DICOM's RLE: a segment of the high bytes, one of the low ones, all runs literal."""
    segments = []
    for plane in (stored.view(np.uint16) >> 8, stored.view(np.uint16) & 0xFF):
        content = plane.astype(np.uint8).tobytes()
        parts = [content[start : start + 128] for start in range(0, len(content), 128)]
        packed = b"".join(bytes([len(part) - 1]) + part for part in parts)
        segments.append(packed + b"\0" * (len(packed) % 2))
    return struct.pack("<16L", 2, 64, 64 + len(segments[0]), *[0] * 13) + b"".join(segments)


def nifti_bytes(
    array: Array,
    *,
    version: int = 1,
    order: str = "<",
    pixdim: Sequence[float] = SPACING,
    qform: tuple[int, Sequence[float], Sequence[float]] | None = None,
    sform: tuple[int, Array] | None = None,
    patches: Sequence[tuple[str, int, Any]] = (),
    start: int | None = None,
) -> bytes:
    """A NIfTI file of a volume (k, j, i), byte by byte; patches are (format, offset, values)."""
    codes = {"u1": 2, "i2": 4, "i4": 8, "f4": 16, "f8": 64, "i1": 256, "u2": 512, "u4": 768, "i8": 1024, "u8": 1280}
    code, bits = codes[array.dtype.str[1:]], 8 * array.dtype.itemsize
    begin = (352 if version == 1 else 544) if start is None else start
    dim = (array.ndim, *array.shape[::-1], *[1] * (7 - array.ndim))
    spacing = (1.0, *pixdim, *[1.0] * (7 - len(pixdim)))
    header = bytearray(max(begin, 348 if version == 1 else 540))

    def put(form: str, offset: int, *values: Any) -> None:
        struct.pack_into(order + form, header, offset, *values)

    if version == 1:
        put("i", 0, 348)
        put("8h", 40, *dim)
        put("2h", 70, code, bits)
        put("8f", 76, *spacing)
        put("3f", 108, begin, 1.0, 0.0)
        header[123], header[344:348] = 2, b"n+1\0"
        places, real = (252, 254, 256, 280), "f"
    else:
        put("i", 0, 540)
        header[4:12] = b"n+2\0\r\n\x1a\n"
        put("2h", 12, code, bits)
        put("8q", 16, *dim)
        put("8d", 104, *spacing)
        put("q", 168, begin)
        put("2d", 176, 1.0, 0.0)
        put("i", 500, 2)
        places, real = (344, 348, 352, 400), "d"
    whole = "h" if version == 1 else "i"
    if qform is not None:
        put(whole, places[0], qform[0])
        put(f"6{real}", places[2], *qform[1], *qform[2])
    if sform is not None:
        put(whole, places[1], sform[0])
        put(f"12{real}", places[3], *np.asarray(sform[1], float)[:3].ravel())
    for form, offset, values in patches:
        put(form, offset, *np.atleast_1d(values))
    return bytes(header) + array.astype(array.dtype.newbyteorder(order)).tobytes()


def write_nifti_file(path: Path, array: Array, **options: Any) -> Path:
    """A file of :func:`nifti_bytes`, packed where its name ends so."""
    content = nifti_bytes(array, **options)
    path.write_bytes(gzip.compress(content, mtime=0) if path.name.endswith(".gz") else content)
    return path


def ras_matrix(geometry: Geometry) -> Array:
    """The matrix from voxel indices to RAS, as NIfTI has it."""
    matrix: Array = np.diag([-1.0, -1.0, 1.0, 1.0]) @ geometry.ijk_to_lps()
    return matrix


def volume_of(array: Array, orientation: Sequence[float] = AXIAL, name: str = "scan") -> Volume:
    """A volume on the grid of :func:`geometry_of`."""
    return Volume(array, geometry_of(array.shape, orientation), name)
