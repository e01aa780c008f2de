"""Images of a DICOM series as one volume: they must make one even stack, or the true cause is said."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .dicom import DicomFile, Frame, has_dicom_content, read_dicom_folder, read_dicom_header
from .dicom_pixels import stored_values
from .errors import VolumeError
from .gdcm import GdcmDecoder
from .stored_voxels import rescaled, smallest_whole
from .volume import Array, Geometry, Volume

SLICE_TOLERANCE = 0.25
"""How far a slice may lie off the even grid, in voxels: one missing slice moves others by about half a slice."""

SAME_PLACE = 0.1
"""Images that lie closer than this share of the usual step lie in one place."""

TILT_DEGREES = 1.0
"""Up to here a stack is taken as it is, sheared by the rounding of a header; beyond, the gantry was tilted."""

DIRECTION_TOLERANCE = 5e-3
SPACING_TOLERANCE = 1e-3
UNIT_TOLERANCE = 1e-2
MOST_SHOWN = 3
TELLING_TRAITS = ("echo time", "b-value", "kind of image")
"""What must be alike in all images of a volume, even where they make one even stack."""


@dataclass(frozen=True)
class DicomSeries:
    """The files of one series that are to make a volume.

    Attributes:
        files: what their headers say.
        notes: sentences about what was left out.
    """

    files: tuple[DicomFile, ...]
    notes: tuple[str, ...] = ()

    @property
    def number(self) -> str:
        """The Series Number."""
        return self.files[0].number


def dicom_series(folder: Path) -> list[DicomSeries]:
    """The series of scans that lie directly inside a folder.

    Localizers and derived objects (segmentations, doses, secondary captures) are left out; where there is nothing
    else, localizers are what there is.

    Raises:
        VolumeError: a file is damaged, or there are derived objects only.
    """
    every = read_dicom_folder(folder)
    notes: list[str] = []
    scans: list[list[DicomFile]] = []
    for files in every:
        kept = [file for file in files if not file.derived]
        derived = sorted({file.derived for file in files if file.derived})
        notes += [f"{folder} holds {what} too: it was left out." for what in derived]
        if kept:
            scans.append(kept)
    if every and not scans:
        what = " and ".join(sorted({file.derived for files in every for file in files}))
        raise VolumeError(f"{folder} holds no scan but {what}; choose the folder of the scan.")
    proper = [files for files in scans if not all(file.is_localizer for file in files)]
    if proper and len(proper) < len(scans):
        notes.append(f"{folder} holds a localizer too: it was left out.")
    return [DicomSeries(tuple(files), tuple(notes)) for files in proper or scans]


@np.errstate(all="ignore")  # what overflows in a damaged header is no number, and refused as such
def read_dicom_series(series: DicomSeries, folder: Path) -> Volume:
    """The volume of a series.

    Raises:
        VolumeError: its images do not make one even stack, or a file is damaged.
    """
    return _stack(series.files, folder, list(series.notes))


def read_dicom_file(path: Path) -> Volume:
    """The volume that one DICOM file holds.

    Raises:
        VolumeError: it holds no volume, but one slice of several for example.
    """
    file = read_dicom_header(path)
    if file is None:
        raise VolumeError(f"{path} is a DICOM file without images; choose the folder of the scan.")
    if file.derived:
        raise VolumeError(f"{path} is no scan but {file.derived}; choose the scan that it belongs to.")
    if file.parts > 1 or len(file.frames) == 1:
        others = [other for other in _neighbours(path) if other.series == file.series]
        if len(others) > 1:
            raise VolumeError(
                f"{path} is one slice of a series of {len(others)} files; choose its folder {path.parent} instead."
                if len(file.frames) == 1
                else f"{path} is one part of a scan of {len(others)} files; choose its folder {path.parent} instead."
            )
    return _stack([file], path, [])


def _neighbours(path: Path) -> list[DicomFile]:
    found = []
    for other in sorted(path.resolve().parent.iterdir()):
        if other.is_file() and not other.name.startswith(".") and has_dicom_content(other):
            try:
                if (file := read_dicom_header(other)) is not None:
                    found.append(file)
            except VolumeError:
                continue
    return found


def _stack(files: Sequence[DicomFile], source: Path, notes: list[str]) -> Volume:
    with GdcmDecoder() as decoder:
        return _stack_with(decoder, files, source, notes)


def _stack_with(decoder: GdcmDecoder, files: Sequence[DicomFile], source: Path, notes: list[str]) -> Volume:
    files = _without_copies(files, source, notes, decoder)
    frames = [frame for file in files for frame in file.frames]
    localizers = [frame for frame in frames if frame.is_localizer]
    if localizers and len(localizers) < len(frames):
        frames = [frame for frame in frames if not frame.is_localizer]
        notes.append(f"{source} holds a localizer: {_count(len(localizers), 'image')} left out.")
    _check_alike(frames, source)
    frames, step = _in_order(frames, source)
    planes = []
    last = {frame.file: number for number, frame in enumerate(frames)}
    values: dict[Path, Array] = {}
    for number, frame in enumerate(frames):
        if frame.file not in values:
            values[frame.file] = stored_values(frame.file, decoder)
        planes.append(rescaled(values[frame.file][frame.number], frame.slope, frame.intercept))
        if number == last[frame.file]:
            del values[frame.file]
    return Volume(_joined(planes), _geometry(frames, step), str(source), files[0].modality, tuple(notes))


def _without_copies(
    files: Sequence[DicomFile], source: Path, notes: list[str], decoder: GdcmDecoder
) -> list[DicomFile]:
    """The files without those that are there twice, voxel for voxel, under another name."""
    found: dict[str, DicomFile] = {}
    kept: list[DicomFile] = []
    copies = 0
    for file in files:
        other = found.get(file.instance) if file.instance else None
        if other is not None and _same_images(file, other, decoder):
            copies += 1
            continue
        found.setdefault(file.instance, file)
        kept.append(file)
    if copies:
        notes.append(f"{source} holds {_count(copies, 'file')} twice: each was read once.")
    return kept


def _same_images(one: DicomFile, other: DicomFile, decoder: GdcmDecoder) -> bool:
    def described(file: DicomFile) -> list[Frame]:
        return [replace(frame, file=Path()) for frame in file.frames]

    if described(one) != described(other):
        return False
    first, second = stored_values(one.path, decoder), stored_values(other.path, decoder)
    return hashlib.sha256(first.tobytes()).digest() == hashlib.sha256(second.tobytes()).digest()


def _check_alike(frames: Sequence[Frame], source: Path) -> None:
    """Raises VolumeError unless every image says where it lies, and all are of one size, spacing and orientation."""
    for frame in frames:
        name = _name(frame)
        if frame.spacing is None:
            raise VolumeError(
                f"{name} does not say its Pixel Spacing, so nobody can say how large its voxels are; export it again "
                "with its geometry."
            )
        if not all(math.isfinite(mm) and mm > 0 for mm in frame.spacing):
            shown = " and ".join(f"{mm:g}" for mm in frame.spacing)
            raise VolumeError(f"{name} has a Pixel Spacing of {shown} mm; correct its header: both must be above zero.")
        if frame.position is None or frame.orientation is None:
            raise VolumeError(
                f"{name} does not say where it lies in the body (no Image Position or Image Orientation): it is no "
                "slice of a volume; choose another series."
            )
        if len(frame.position) != 3 or not np.isfinite(frame.position).all():
            raise VolumeError(f"{name} has an Image Position that is none; correct its header or export it again.")
        if not _is_orientation(frame.orientation):
            raise VolumeError(f"{name} has an Image Orientation that is none; correct its header or export it again.")
        if not (math.isfinite(frame.slope) and math.isfinite(frame.intercept)) or frame.slope == 0:
            raise VolumeError(
                f"{name} has the Rescale Slope {frame.slope:g} and Intercept {frame.intercept:g}, which give no "
                "values; correct its header or export it again."
            )
    sizes = sorted({frame.size for frame in frames})
    if len(sizes) > 1:
        shown = " and ".join(f"{columns} × {rows}" for rows, columns in sizes[:MOST_SHOWN])
        raise VolumeError(
            f"{source} holds images of different sizes ({shown} pixels); choose or export one stack only."
        )
    spacings = np.array([frame.spacing for frame in frames])
    if (spacings.max(axis=0) > spacings.min(axis=0) * (1 + SPACING_TOLERANCE)).any():
        low, high = spacings[spacings.sum(axis=1).argmin()], spacings[spacings.sum(axis=1).argmax()]
        raise VolumeError(
            f"{source} holds images with different Pixel Spacings (from {low[0]:g} × {low[1]:g} to {high[0]:g} × "
            f"{high[1]:g} mm); choose or export one stack only."
        )
    orientations = np.array([frame.orientation for frame in frames])
    usual = np.median(orientations, axis=0)
    away = np.abs(orientations - usual).max(axis=1)
    if away.max() > DIRECTION_TOLERANCE:
        others = [frame for frame, off in zip(frames, away, strict=True) if off > DIRECTION_TOLERANCE]
        if len(others) > len(frames) // 2:
            raise VolumeError(
                f"{source} holds images of several orientations, such as radial slices or localizers; choose or export "
                "one stack of parallel slices only."
            )
        raise VolumeError(
            f"{source} holds {_count(len(others), 'image')} of another orientation than the rest, such as "
            f"{_name(others[0])}; take them out, or export one stack of parallel slices only."
        )


def _is_orientation(values: Sequence[float]) -> bool:
    if len(values) != 6 or not np.isfinite(values).all():
        return False
    row, column = np.array(values[:3]), np.array(values[3:])
    lengths = np.array([np.linalg.norm(row), np.linalg.norm(column)])
    return bool((np.abs(lengths - 1) <= UNIT_TOLERANCE).all() and abs(float(row @ column)) <= UNIT_TOLERANCE)


def _in_order(frames: Sequence[Frame], source: Path) -> tuple[list[Frame], Array]:
    """The images along their normal, and the LPS step in mm from one to the next; raises unless the steps are even."""
    orientation = np.array(frames[0].orientation)
    normal = np.cross(orientation[:3], orientation[3:])
    normal /= np.linalg.norm(normal)
    depth = np.array([np.asarray(frame.position) @ normal for frame in frames])
    order = np.argsort(depth, kind="stable")
    frames = [frames[number] for number in order]
    depth = depth[order]
    if len(frames) == 1:
        if not (math.isfinite(frames[0].thickness) and frames[0].thickness > 0):
            raise VolumeError(
                f"{source} holds a single slice that does not say how thick it is; choose the folder of the whole scan."
            )
        return frames, normal * frames[0].thickness
    steps = np.diff(depth)
    usual = float(np.median(steps[steps > max(1e-3, SAME_PLACE * steps.max() / len(steps))])) if steps.max() > 0 else 0
    if (steps <= max(1e-3, SAME_PLACE * usual)).any():
        raise _same_place(frames, steps <= max(1e-3, SAME_PLACE * usual), source)
    positions = np.array([frame.position for frame in frames])
    step = (positions[-1] - positions[0]) / (len(frames) - 1)
    off = positions - (positions[0] + np.arange(len(frames))[:, None] * step)
    along = np.abs(off @ normal) / (step @ normal)
    if along.max() > SLICE_TOLERANCE:
        raise _uneven(frames, depth, steps, usual, source)
    tilt = math.degrees(math.atan2(float(np.linalg.norm(step - (step @ normal) * normal)), float(step @ normal)))
    if tilt > TILT_DEGREES:
        raise VolumeError(
            f"{source} has slices that are shifted against each other, by a gantry tilted by {tilt:.1f}° for example; "
            "load the series in 3D Slicer and export it as one resampled volume."
        )
    in_plane = np.abs(np.stack([off @ orientation[:3], off @ orientation[3:]]))
    if (in_plane / np.array(frames[0].spacing)[::-1, None]).max() > SLICE_TOLERANCE:
        number = int(in_plane.max(axis=0).argmax())
        raise VolumeError(
            f"{source} has slices that are shifted sideways, such as {_name(frames[number])}; load the series in "
            "3D Slicer and export it as one resampled volume."
        )
    for trait in TELLING_TRAITS:
        if len(different := sorted({frame.traits[trait] for frame in frames})) > 1:
            raise VolumeError(
                f"{source} mixes images that differ in {trait} ({_listed(different)}); export each kind as a series of "
                "its own."
            )
    return frames, step


def _same_place(frames: Sequence[Frame], same: Array, source: Path) -> VolumeError:
    """Says that several images lie in one place, and in what they differ."""
    groups: list[list[Frame]] = [[frames[0]]]
    for frame, joins in zip(frames[1:], same, strict=True):
        if joins:
            groups[-1].append(frame)
        else:
            groups.append([frame])
    counts = sorted({len(group) for group in groups})
    largest = max(groups, key=len)
    differ = ""
    for trait in largest[0].traits:
        if len(found := sorted({frame.traits[trait] for frame in largest})) > 1:
            differ = f", which differ in {trait} ({_listed(found)})"
            break
    where = "at each place" if counts[0] > 1 else "at some places"
    many = {2: "two", 3: "three"}.get(counts[-1], str(counts[-1]))
    return VolumeError(
        f"{source} holds {many} images {where}{differ}; export each echo, phase or time point as a series of its own."
    )


def _uneven(frames: Sequence[Frame], depth: Array, steps: Array, usual: float, source: Path) -> VolumeError:
    """Says which slices are missing, or that the steps differ."""
    usual = float(np.median(steps)) if usual <= 0 else usual
    times = steps / usual
    if (np.abs(times - np.rint(times)) < SLICE_TOLERANCE).all() and times.max() > 1.5:
        number = int(times.argmax())
        missing = int((np.rint(times) - 1).sum())
        return VolumeError(
            f"{source} has slices that are missing: {missing}, the first after {_name(frames[number])}, where the "
            f"next follows at {steps[number]:.3g} instead of {usual:.3g} mm; add what is missing."
        )
    return VolumeError(
        f"{source} has slices that are unevenly spaced, by {steps.min():.3g} to {steps.max():.3g} mm; load the series "
        "in 3D Slicer and export it as one resampled volume."
    )


def _joined(planes: Sequence[Array]) -> Array:
    """All images in one type that holds the numbers of each."""
    if all(plane.dtype.kind in "iu" for plane in planes):
        if len({plane.dtype for plane in planes}) == 1 and planes[0].dtype != np.uint32:
            return np.stack(planes)
        return smallest_whole(np.stack([plane.astype(np.int64) for plane in planes]))
    is_double = any(plane.dtype == np.float64 for plane in planes)
    return np.stack([plane.astype(np.float64 if is_double else np.float32) for plane in planes])


def _geometry(frames: Sequence[Frame], step: Array) -> Geometry:
    first = frames[0]
    assert first.spacing is not None
    assert first.orientation is not None
    row, column = (np.array(part) / np.linalg.norm(part) for part in (first.orientation[:3], first.orientation[3:]))
    matrix = np.eye(4)
    matrix[:3, 0], matrix[:3, 1], matrix[:3, 2] = row * first.spacing[1], column * first.spacing[0], step
    matrix[:3, 3] = first.position
    return Geometry.from_matrix(matrix, (first.size[1], first.size[0], len(frames)))


def _name(frame: Frame) -> str:
    return f"image {frame.number + 1} of {frame.file}" if frame.number else str(frame.file)


def _listed(values: Sequence[str]) -> str:
    shown = [value or "none" for value in values[:MOST_SHOWN]]
    return ", ".join([*shown, "…"] if len(values) > MOST_SHOWN else shown)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
