"""DICOM files and folders: which images they hold, and where each of these lies, frame by frame.

Headers are read with pydicom, which Slicer brings along: ITK shows nothing of what is nested in them, and that is
where objects with many frames keep the place of each.
"""

from __future__ import annotations

import logging
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import VolumeError
from .files import file_suffix
from .stored_voxels import read_bytes

DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
PREAMBLE_BYTES = 128
SIGNATURE = b"DICM"
FIRST_GROUPS = (b"\x08\x00", b"\x02\x00")
"""What files without a preamble begin with."""

DERIVED = {
    "1.2.840.10008.5.1.4.1.1.66.4": "a DICOM segmentation",
    "1.2.840.10008.5.1.4.1.1.66.5": "a surface segmentation",
    "1.2.840.10008.5.1.4.1.1.66.7": "a DICOM segmentation",
    "1.2.840.10008.5.1.4.1.1.481.2": "a radiotherapy dose",
}
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
HEADER_TAGS = (
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber", "Modality", "ImageType", "FrameType"),
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "PixelSpacing"),
    *("ImagePositionPatient", "ImageOrientationPatient", "SliceThickness", "SpacingBetweenSlices"),
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "EchoTime", "EchoNumbers", "DiffusionBValue"),
    *("TemporalPositionIdentifier", "TriggerTime", "AcquisitionNumber", "AcquisitionTime"),
    *("InConcatenationTotalNumber", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)


@dataclass(frozen=True)
class Frame:
    """One image: a file of its own, or one of several in a file.

    Attributes:
        file: that holds it.
        number: within the file, from 0.
        size: rows, columns.
        spacing: mm from row to row and from column to column; None where it is not said.
        position: centre of the first voxel, LPS, mm; None where it is not said.
        orientation: LPS directions along a row and along a column; None where it is not said.
        thickness: of the slice or between slices, mm; nan where it is not said.
        slope: of the values.
        intercept: of the values.
        is_localizer: whether the image says that it is one.
        traits: what may tell two images of one place apart, by its name for the user.
    """

    file: Path
    number: int
    size: tuple[int, int]
    spacing: tuple[float, float] | None
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    thickness: float
    slope: float
    intercept: float
    is_localizer: bool
    traits: dict[str, str]


@dataclass(frozen=True)
class DicomFile:
    """What the header of a file with images says.

    Attributes:
        path: of the file.
        instance: its SOP Instance UID.
        series: its Series Instance UID.
        number: of the series, as text.
        modality: by DICOM's name, ``CT`` for example; empty where it is not said.
        derived: what it is where it is no scan, ``a DICOM segmentation`` say; empty for scans.
        parts: of how many files it is one (a concatenation).
        frames: its images.
    """

    path: Path
    instance: str
    series: str
    number: str
    modality: str
    derived: str
    parts: int
    frames: tuple[Frame, ...]

    @property
    def is_localizer(self) -> bool:
        """Whether all its images are localizers."""
        return all(frame.is_localizer for frame in self.frames)


def is_dicom(path: Path) -> bool:
    """Whether a regular file is a DICOM file, or by its name ought to be."""
    if path.name.startswith(".") or path.name.upper() == "DICOMDIR" or not path.is_file():
        return False
    return file_suffix(path) in DICOM_SUFFIXES or has_dicom_content(path)


def has_dicom_content(path: Path) -> bool:
    """Whether a regular file begins like a DICOM file, with a preamble or without."""
    try:
        head = read_bytes(path, count=PREAMBLE_BYTES + len(SIGNATURE))
    except VolumeError:
        return False
    if head[PREAMBLE_BYTES:] == SIGNATURE:
        return True
    # Without a preamble: a tag of a first group, then two letters or a length.
    return head[:2] in FIRST_GROUPS and head[3:4] == b"\0" and not path.suffix.strip(".0123456789")


def read_dicom_folder(folder: Path) -> list[list[DicomFile]]:
    """The files with images that lie directly inside a folder, series by series, in the order of their numbers.

    Hidden files, and those that are no DICOM files, are passed over.

    Raises:
        VolumeError: one is a damaged DICOM file, so that nobody can say what is missing.
    """
    try:
        paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise VolumeError(f"{folder} could not be opened; check that it may be read.") from error
    found = [path for path in paths if is_dicom(path)]
    alike = {re.sub(r"\d+", "0", path.name) for path in found}
    for path in paths:
        # A file that lost its beginning is known by its name: the name of its neighbours, with another number.
        if path not in found and path.is_file() and re.sub(r"\d+", "0", path.name) in alike:
            raise VolumeError(f"{path} is damaged or cut off; copy or download the file again.")
    series: dict[str, list[DicomFile]] = {}
    for path in found:
        if (file := read_dicom_header(path)) is not None:
            series.setdefault(file.series, []).append(file)
    return sorted(series.values(), key=lambda files: (_whole(files[0].number), files[0].series))


def read_dicom_header(path: Path) -> DicomFile | None:
    """What a DICOM file says of its images; None where it holds none.

    Raises:
        VolumeError: it is damaged.
    """
    dataset = read_dataset(path, HEADER_TAGS)
    with quiet_pydicom():
        return _described(dataset, path)


def _described(dataset: Any, path: Path) -> DicomFile | None:
    try:
        if "Rows" not in dataset and "Columns" not in dataset:
            if "SOPClassUID" not in dataset:
                raise VolumeError(f"{path} is damaged or cut off; copy or download the file again.")
            if "NumberOfFrames" not in dataset and not _is_image_class(dataset):
                return None
            raise VolumeError(f"{path} is cut off: it does not say how large its images are; copy the file again.")
        sop_class = _text(dataset, "SOPClassUID")
        derived = DERIVED.get(sop_class, "")
        if "MOSAIC" in (str(word).upper() for word in _words(dataset, "ImageType")):
            derived = "a mosaic of many slices in one image"
        frames = _frames(dataset, path)
        if not derived and sop_class.startswith(SECONDARY_CAPTURE):
            # Scans that were converted by other programs are secondary captures too, but say where they lie.
            derived = "" if all(frame.position and frame.orientation for frame in frames) else "a secondary capture"
        return DicomFile(
            path,
            _text(dataset, "SOPInstanceUID"),
            _text(dataset, "SeriesInstanceUID"),
            _text(dataset, "SeriesNumber"),
            _text(dataset, "Modality"),
            derived,
            int(_number(dataset, "InConcatenationTotalNumber", 1)),
            frames,
        )
    except VolumeError:
        raise
    except Exception as error:  # pydicom raises what it meets, AttributeError to ZeroDivisionError
        raise damaged_dicom(path) from error


def read_dataset(path: Path, tags: Sequence[str] | None = None) -> Any:
    """A file as a ``pydicom.Dataset``, of some elements only, or of all with the voxels.

    Raises:
        VolumeError: it is damaged, or pydicom is not installed.
    """
    try:
        import pydicom
    except ImportError as error:
        raise VolumeError(
            f"{path} is a DICOM file, which needs the Python package pydicom; install it (pip install pydicom), or "
            "convert the scan to NIfTI."
        ) from error
    content = read_bytes(path, count=PREAMBLE_BYTES + len(SIGNATURE))
    force = content[PREAMBLE_BYTES:] != SIGNATURE
    with quiet_pydicom():
        try:
            if tags is None:
                return pydicom.dcmread(path, force=force)
            return pydicom.dcmread(path, force=force, stop_before_pixels=True, specific_tags=list(tags))
        except Exception as error:
            raise damaged_dicom(path) from error


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """What pydicom finds odd is checked here, and is not to be told on standard error."""
    logger = logging.getLogger("pydicom")
    before = logger.disabled
    logger.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = before


def damaged_dicom(path: Path) -> VolumeError:
    """A file that contradicts DICOM."""
    return VolumeError(f"{path} is a damaged DICOM file; copy, download or export it again.")


def _is_image_class(dataset: Any) -> bool:
    """Whether a file of this SOP class has voxels."""
    from pydicom.uid import UID

    name = str(UID(_text(dataset, "SOPClassUID")).name)
    return "Image Storage" in name or _text(dataset, "SOPClassUID") in DERIVED


def _frames(dataset: Any, path: Path) -> tuple[Frame, ...]:
    count = _number(dataset, "NumberOfFrames", 1)
    if not 1 <= count <= 1 << 20 or count != int(count):
        raise VolumeError(f"{path} has a damaged header: it says that it holds {count:g} images; copy it again.")
    groups = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])
    shared = list(dataset.get("SharedFunctionalGroupsSequence") or [])
    if groups and len(groups) != count:
        raise VolumeError(
            f"{path} is damaged: it holds {count:g} images but says of {len(groups)} where they lie; export it again."
        )
    if count > 1 and not groups:
        # A film, or a kind of object that keeps positions elsewhere: one position cannot be that of all frames.
        return tuple(_frame(dataset, path, number, [], placed=False) for number in range(int(count)))
    places = [[group, *shared] for group in groups] or [shared]
    return tuple(_frame(dataset, path, number, place) for number, place in enumerate(places))


def _frame(dataset: Any, path: Path, number: int, groups: list[Any], placed: bool = True) -> Frame:
    """The frame whose functional groups, its own first, are given; what is not in them is that of the file."""

    def find(sequence: str, key: str) -> Any:
        for group in groups:
            for item in group.get(sequence) or ():
                if key in item:
                    return item
        return dataset

    position = _floats(find("PlanePositionSequence", "ImagePositionPatient"), "ImagePositionPatient")
    orientation = _floats(find("PlaneOrientationSequence", "ImageOrientationPatient"), "ImageOrientationPatient")
    measures = find("PixelMeasuresSequence", "PixelSpacing")
    spacing = _floats(measures, "PixelSpacing")
    if spacing is not None and len(spacing) != 2:
        raise VolumeError(f"{path} says {len(spacing)} values of Pixel Spacing, not two; correct its header.")
    values = find("PixelValueTransformationSequence", "RescaleSlope")
    thickness = math.nan
    for key in ("SpacingBetweenSlices", "SliceThickness"):
        thickness = _number(find("PixelMeasuresSequence", key), key, math.nan)
        if math.isfinite(thickness) and thickness > 0:
            break
    types = {str(word).upper() for word in _words(dataset, "ImageType")}
    for sequence in ("MRImageFrameTypeSequence", "CTImageFrameTypeSequence", "PETFrameTypeSequence"):
        types |= {str(word).upper() for word in _words(find(sequence, "FrameType"), "FrameType")}
    return Frame(
        path,
        number,
        (int(_number(dataset, "Rows", 0)), int(_number(dataset, "Columns", 0))),
        None if spacing is None else (spacing[0], spacing[1]),
        position if placed else None,
        orientation,
        thickness,
        _number(values, "RescaleSlope", 1.0),
        _number(values, "RescaleIntercept", 0.0),
        "LOCALIZER" in types,
        _traits(dataset, find),
    )


def _traits(dataset: Any, find: Any) -> dict[str, str]:
    types = _words(dataset, "ImageType")
    for sequence in ("MRImageFrameTypeSequence", "CTImageFrameTypeSequence"):
        types = _words(find(sequence, "FrameType"), "FrameType") or types
    complex_part = _text(find("MRImageFrameTypeSequence", "ComplexImageComponent"), "ComplexImageComponent")
    echo = _text(find("MREchoSequence", "EffectiveEchoTime"), "EffectiveEchoTime") or _text(dataset, "EchoTime")
    content = find("FrameContentSequence", "FrameAcquisitionNumber")
    acquisition = _text(content, "FrameAcquisitionNumber") or _text(dataset, "AcquisitionNumber")
    time = find("FrameContentSequence", "TemporalPositionIndex")
    cardiac = find("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime")
    return {
        "echo time": echo,
        "kind of image": complex_part or "\\".join(str(word) for word in types[2:]),
        "b-value": _text(find("MRDiffusionSequence", "DiffusionBValue"), "DiffusionBValue"),
        "time": _text(time, "TemporalPositionIndex") or _text(dataset, "TemporalPositionIdentifier"),
        "cardiac phase": _text(cardiac, "NominalCardiacTriggerDelayTime") or _text(dataset, "TriggerTime"),
        "stack": _text(find("FrameContentSequence", "StackID"), "StackID"),
        "acquisition": acquisition,
        "acquisition time": _text(dataset, "AcquisitionTime"),
    }


def _text(dataset: Any, key: str) -> str:
    value = dataset.get(key)
    return "" if value is None else str(value).strip()


def _words(dataset: Any, key: str) -> list[Any]:
    value = dataset.get(key)
    if value is None or isinstance(value, str):
        return [value] if value else []
    return list(value)


def _number(dataset: Any, key: str, default: float) -> float:
    value = dataset.get(key)
    if value is None or str(value).strip() == "":
        return default
    if not isinstance(value, str | bytes) and hasattr(value, "__len__"):
        value = value[0] if len(value) else default
    return float(value)


def _floats(dataset: Any, key: str) -> tuple[float, ...] | None:
    value = dataset.get(key)
    if value is None or str(value).strip() == "":
        return None
    values = value if not isinstance(value, str) and hasattr(value, "__len__") else [value]
    return tuple(float(item) for item in values)


def _whole(text: str) -> int:
    return int(text) if re.fullmatch(r"-?\d{1,18}", text) else 0
