"""Reading volumes and label maps from files and DICOM folders, writing results, with SimpleITK."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from .card import ClassCard
from .errors import OutputError, VolumeError
from .files import file_suffix, write_file
from .headers import is_whole, stored_spacing
from .volume import Array, Geometry, Volume, check_geometry

IMAGE_SUFFIXES = (".nii.gz", ".nii", ".seg.nrrd", ".nrrd", ".nhdr", ".mha", ".mhd")
"""Endings of the files that batches and training data folders are searched for."""

WRITTEN_SUFFIXES = (".nii.gz", ".nii", ".seg.nrrd", ".nrrd", ".mha")
"""Endings of the files that results are written to: one file each, which can replace an older one in one step."""

MODALITY = "0008|0060"
"""DICOM's Modality, ``CT`` for example."""

IMAGE_POSITION = "0020|0032"
"""DICOM's Image Position (Patient): the centre of a slice's first voxel, LPS, mm."""

SLICE_TOLERANCE_VOXELS = 0.25
"""How far a slice may lie off the even grid: one missing slice moves others by about half a slice at least."""


def image_name(path: Path) -> str:
    """The file's name without its ending, ``.nii.gz`` and ``.seg.nrrd`` taken as one."""
    name = Path(path).name
    suffix = file_suffix(Path(path))
    return name[: -len(suffix)] if suffix else name


def read_volume(path: Path) -> Volume:
    """Reads an image file or a folder with one DICOM series.

    Raises:
        VolumeError: it does not exist, is no image or only a part of one, is not three-dimensional with one value per
            voxel, or has a geometry that cannot be right.
    """
    path = Path(path)
    if not path.exists():
        raise VolumeError(f"{path} does not exist; check the path.")
    if path.is_dir():
        return _read_dicom_folder(path)
    _check_header(path)
    image = _read([str(path)], path)
    told = image.GetMetaData(MODALITY).strip() if image.HasMetaDataKey(MODALITY) else ""
    return replace(_to_volume(image, path), modality=told)


def dicom_series(folder: Path) -> list[list[str]]:
    """The files, in the order of their slices, of each DICOM series that lies directly inside a folder."""
    find = sitk.ImageSeriesReader
    return [list(find.GetGDCMSeriesFileNames(str(folder), uid)) for uid in find.GetGDCMSeriesIDs(str(folder))]


def read_dicom_series(files: Sequence[str], folder: Path) -> Volume:
    """Reads one of the series that :func:`dicom_series` has found in a folder.

    Raises:
        VolumeError: as :func:`read_volume`.
    """
    volume = _to_volume(_read(list(files), folder), folder)
    _check_slices(volume, files)
    return replace(volume, modality=_told_modality(files[0]))


def read_labels(path: Path, image: Volume, values: Sequence[int] | None = None) -> Array:
    """Reads the label map of an image.

    Args:
        path: the label file.
        image: what it labels: the label map must lie on its grid.
        values: the labels that may occur; None: any.

    Returns:
        uint8 (k, j, i).

    Raises:
        VolumeError: unreadable, on another grid, or with labels that are not whole numbers or not expected.
    """
    labels = read_volume(path)
    if labels.geometry.size != image.geometry.size:
        raise VolumeError(
            f"{path} has {_times(labels.geometry.size)} voxels but {image.name} has {_times(image.geometry.size)}; "
            "resample the label map onto the grid of its image."
        )
    if not image.geometry.same_grid(labels.geometry):
        raise VolumeError(
            f"{path} lies {image.geometry.largest_offset(labels.geometry):.3g} voxels off the grid of {image.name}; "
            "resample the label map onto the grid of its image."
        )
    array = labels.array
    found = np.unique(array)
    if not np.array_equal(found, np.round(found)) or found[0] < 0 or found[-1] > 255:
        raise VolumeError(f"{path} holds values that are no labels; a label map has whole numbers from 0 to 255.")
    if values is not None:
        unknown = [int(value) for value in found if int(value) not in values]
        if unknown:
            raise VolumeError(
                f"{path} holds the unknown labels {', '.join(map(str, unknown))}; "
                f"expected are {', '.join(str(value) for value in sorted(values))}."
            )
    return array.astype(np.uint8)


def write_labels(path: Path, labels: Array, geometry: Geometry, classes: Sequence[ClassCard] = ()) -> None:
    """Writes a label map (k, j, i); a ``.seg.nrrd`` also gets the segments' names, colours and terminology.

    The ``Segment<n>_...`` keys are those that Slicer's segmentation reader expects in a ``.seg.nrrd`` file.

    Raises:
        OutputError: the file cannot be written, or not in the format of its ending; an existing one is left as it was.
    """
    path = Path(path)
    image = Volume(labels, geometry, path.name).to_sitk()
    if file_suffix(path) == ".seg.nrrd":
        _describe_segments(image, labels, classes)
    _write(path, image)


def write_volume(path: Path, volume: Volume) -> None:
    """Writes a volume in the format of the file's ending.

    Raises:
        OutputError: the file cannot be written, or not in the format of its ending; an existing one is left as it was.
    """
    _write(Path(path), volume.to_sitk())


def _write(path: Path, image: sitk.Image) -> None:
    if file_suffix(path) not in WRITTEN_SUFFIXES:
        raise OutputError(f"{path} has an ending that cannot be written; choose one of {', '.join(WRITTEN_SUFFIXES)}.")

    def write(beside: Path) -> None:
        sitk.WriteImage(image, str(beside), useCompression=True)
        # ITK's NIfTI writer does not notice when the disk is full.
        if not is_whole(beside):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write_file(path, write)


def _read(files: list[str], path: Path) -> sitk.Image:
    try:
        return sitk.ReadImage(files if len(files) > 1 else files[0])
    except RuntimeError as error:
        text = str(error).lower()
        if "determinant" in text or "orthonormal" in text or "direction" in text:
            raise VolumeError(
                f"{path} has a singular direction matrix, or axes that do not stand at right angles; "
                "correct the axis directions in its header."
            ) from error
        if "spacing" in text:
            raise VolumeError(
                f"{path} has a zero or negative spacing; correct its header: every spacing must be above zero."
            ) from error
        raise VolumeError(
            f"{path} could not be read as an image; choose a NIfTI, NRRD or MetaImage file or a folder with one DICOM "
            "series."
        ) from error


def _to_volume(image: sitk.Image, path: Path) -> Volume:
    if image.GetDimension() == 4 and image.GetSize()[3] == 1:
        image = image[:, :, :, 0]
    volume = Volume.from_sitk(image, str(path))
    check_geometry(volume.geometry, str(path))
    return volume


def _read_dicom_folder(folder: Path) -> Volume:
    series = dicom_series(folder)
    if not series:
        raise VolumeError(f"{folder} holds no DICOM series; choose an image file or a folder with DICOM files.")
    if len(series) > 1:
        raise VolumeError(f"{folder} holds {len(series)} DICOM series; choose a folder that holds exactly one.")
    return read_dicom_series(series[0], folder)


def _check_slices(volume: Volume, files: Sequence[str]) -> None:
    """Raises VolumeError where DICOM slices do not lie on the even grid that ITK makes of any series."""
    if len(files) != volume.geometry.size[2]:
        return
    reader = sitk.ImageFileReader()
    lps_to_ijk = np.linalg.inv(volume.geometry.ijk_to_lps())
    for number, file in enumerate(files):
        reader.SetFileName(file)
        reader.ReadImageInformation()
        if not reader.HasMetaDataKey(IMAGE_POSITION):
            return
        position = [float(value) for value in reader.GetMetaData(IMAGE_POSITION).split("\\")]
        offset = (lps_to_ijk @ np.array([*position, 1.0]))[:3] - (0, 0, number)
        if np.abs(offset).max() > SLICE_TOLERANCE_VOXELS:
            raise VolumeError(
                f"{volume.name} has slices that are missing, unevenly spaced or tilted; add the missing files, or load "
                "the series in 3D Slicer and export it as one resampled volume."
            )


def _told_modality(file: str) -> str:
    """DICOM's Modality of a file; empty where it says none."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(file)
    reader.ReadImageInformation()
    return reader.GetMetaData(MODALITY).strip() if reader.HasMetaDataKey(MODALITY) else ""


def _check_header(path: Path) -> None:
    """Raises VolumeError for what the readers would mend or miss silently: see :mod:`.headers`."""
    if any(not (math.isfinite(value) and value > 0) for value in stored_spacing(path)):
        raise VolumeError(
            f"{path} has a zero or negative spacing; correct its header: every spacing must be above zero."
        )
    if not is_whole(path):
        raise VolumeError(f"{path} is cut off: voxels are missing at its end; copy or download the file again.")


def _describe_segments(image: sitk.Image, labels: Array, classes: Sequence[ClassCard]) -> None:
    image.SetMetaData("Segmentation_MasterRepresentation", "Binary labelmap")
    image.SetMetaData("Segmentation_ContainedRepresentationNames", "Binary labelmap|")
    image.SetMetaData("Segmentation_ReferenceImageExtentOffset", "0 0 0")
    for number, item in enumerate(classes):
        places = np.argwhere(labels == item.label)
        if len(places):
            (k0, j0, i0), (k1, j1, i1) = places.min(axis=0), places.max(axis=0)
        else:
            i0, j0, k0, i1, j1, k1 = 0, 0, 0, -1, -1, -1
        fields = {
            "ID": f"Segment_{item.label}",
            "Name": item.name,
            "NameAutoGenerated": "0",
            "LabelValue": str(item.label),
            "Layer": "0",
            "Color": " ".join(f"{value / 255:.6f}" for value in item.color),
            "ColorAutoGenerated": "0",
            "Extent": f"{i0} {i1} {j0} {j1} {k0} {k1}",
            "Tags": f"TerminologyEntry:{item.terminology.entry()}|",
        }
        for key, value in fields.items():
            image.SetMetaData(f"Segment{number}_{key}", value)


def _times(size: Sequence[int]) -> str:
    return " × ".join(map(str, size))
