"""Reading volumes and label maps from files and DICOM folders, writing results."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from .card import ClassCard
from .dicom import is_dicom
from .dicom_stack import dicom_series, read_dicom_file, read_dicom_series
from .errors import OutputError, VolumeError
from .files import file_suffix, write_file
from .metaimage import is_metaimage, read_metaimage
from .nifti import is_nifti, read_nifti, write_nifti
from .nrrd import is_nrrd, read_nrrd, read_nrrd_header
from .stored_voxels import GZIP_SIGNATURE, check_is_file, printable, read_bytes
from .volume import Array, Geometry, Volume, check_geometry

IMAGE_SUFFIXES = (".nii.gz", ".nii", ".seg.nrrd", ".nrrd", ".nhdr", ".mha", ".mhd")
"""Endings of the files that batches and training data folders are searched for."""

WRITTEN_SUFFIXES = (".nii.gz", ".nii", ".seg.nrrd", ".nrrd", ".mha")
"""Endings of the files that results are written to: one file each, which can replace an older one in one step."""

SLICER_LABEL_NAME = re.compile(r"(.+[-_. ])?label(s|map)?", re.IGNORECASE)
"""What Slicer itself takes for a label map by its name."""

LABEL_NAME = re.compile(r"(.+)[-_. ](label|labelmap|seg|segmentation|mask)s?", re.IGNORECASE)
NO_IMAGE = "could not be read as an image; choose a NIfTI, NRRD or MetaImage file or a folder with one DICOM series."


def image_name(path: Path) -> str:
    """The file's name without its ending, ``.nii.gz`` and ``.seg.nrrd`` taken as one."""
    name = Path(path).name
    suffix = file_suffix(Path(path))
    return name[: -len(suffix)] if suffix else name


def label_maps(files: Sequence[Path]) -> set[Path]:
    """Those image files of a folder that are no scans but label maps, by their ending, segments or name.

    A name tells where it is that of another file with ``-label``, ``_seg``, ``_mask`` and the like added, or where
    Slicer takes it for that of a label map.
    """
    names = {image_name(path).casefold() for path in files}
    found = set()
    for path in files:
        name = image_name(path)
        part_of = LABEL_NAME.fullmatch(name)
        if (
            file_suffix(path) == ".seg.nrrd"
            or SLICER_LABEL_NAME.fullmatch(name)
            or (part_of is not None and part_of[1].casefold() in names)
            or (file_suffix(path) in (".nrrd", ".nhdr") and _has_segments(path))
        ):
            found.add(path)
    return found


def _has_segments(path: Path) -> bool:
    try:
        return is_nrrd(path) and "Segment0_ID" in read_nrrd_header(path).keys
    except VolumeError:
        return False


@np.errstate(all="ignore")  # what overflows in a damaged header is no number, and refused as such
def read_volume(path: Path) -> Volume:
    """Reads an image file, a DICOM file with a whole volume, or a folder with one DICOM series.

    What kind of file it is, its content says and not its name.

    Raises:
        VolumeError: it does not exist, is no image or only a part of one, is damaged, is not three-dimensional with
            one value per voxel, or has a geometry that cannot be right.
    """
    path = Path(path)
    if not path.exists():
        raise VolumeError(f"{path} does not exist; check the path.")
    volume = _read_dicom_folder(path) if path.is_dir() else _read_file(path)
    volume = replace(volume, name=printable(path), notes=tuple(map(printable, volume.notes)))
    check_geometry(volume.geometry, volume.name)
    return volume


def _read_file(path: Path) -> Volume:
    check_is_file(path)
    for is_of_kind, read in _READERS:
        if is_of_kind(path):
            return read(path)
    if file_suffix(path) in (".nii", ".nii.gz") and read_bytes(path, count=2) == GZIP_SIGNATURE:
        raise VolumeError(
            f"{path} is a gzip file, but holds no NIfTI file or a damaged one; copy or download it again."
        )
    raise VolumeError(f"{path} {NO_IMAGE}")


_READERS: tuple[tuple[Callable[[Path], bool], Callable[[Path], Volume]], ...] = (
    (is_nrrd, read_nrrd),
    (is_nifti, read_nifti),
    (is_dicom, read_dicom_file),
    (is_metaimage, read_metaimage),
)


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
    volume = Volume(labels, geometry, path.name)
    if file_suffix(path) == ".seg.nrrd":
        image = volume.to_sitk()
        _describe_segments(image, labels, classes)
        _write(path, volume, image)
    else:
        _write(path, volume)


def write_volume(path: Path, volume: Volume) -> None:
    """Writes a volume in the format of the file's ending.

    Raises:
        OutputError: the file cannot be written, or not in the format of its ending; an existing one is left as it was.
    """
    _write(Path(path), volume)


def _write(path: Path, volume: Volume, image: sitk.Image | None = None) -> None:
    if file_suffix(path) not in WRITTEN_SUFFIXES:
        raise OutputError(f"{path} has an ending that cannot be written; choose one of {', '.join(WRITTEN_SUFFIXES)}.")
    if printable(path) != str(path):
        raise OutputError(f"{path} is a name that is not UTF-8; choose another name.")

    def write(beside: Path) -> None:
        if file_suffix(path) in (".nii", ".nii.gz"):
            write_nifti(beside, volume)
        else:
            sitk.WriteImage(image or volume.to_sitk(), str(beside), useCompression=True)
        # ITK's writers do not notice when the disk is full.
        try:
            written = _read_file(beside)
        except VolumeError as error:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        is_float = volume.array.dtype.kind == "f"
        if not (
            np.array_equal(written.array, volume.array, equal_nan=is_float)
            and written.geometry.same_grid(volume.geometry)
        ):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    write_file(path, write)


def _read_dicom_folder(folder: Path) -> Volume:
    series = dicom_series(folder)
    if not series:
        raise VolumeError(f"{folder} holds no DICOM series; choose an image file or a folder with DICOM files.")
    if len(series) > 1:
        raise VolumeError(f"{folder} holds {len(series)} DICOM series; choose a folder that holds exactly one.")
    return read_dicom_series(series[0], folder)


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
