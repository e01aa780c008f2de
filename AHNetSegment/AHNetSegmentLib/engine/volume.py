"""A volume and its place in space: geometry and checks.

Arrays have the axis order (k, j, i), as SimpleITK and numpy share them: k the slowest axis. Geometry is in LPS, in mm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk

from .errors import VolumeError

Array = np.ndarray[Any, np.dtype[Any]]

SAME_GRID_VOXELS = 0.1
"""Two grids are the same when their corners lie no further apart than this, in voxels of the first.

NIfTI keeps orientations in float32: a label map and the DICOM series that it belongs to differ by some hundredths."""


LARGEST_SPACING_MM, LARGEST_EXTENT_MM, LARGEST_LITRES = 100.0, 3000.0, 2000.0
"""Beyond these a volume is no scan of a body, but its unit of length is another than mm.

A scan of 1000 mm a voxel that was resampled to a model's spacing would take all of the memory."""

DIRECTION_TOLERANCE = 1e-2
"""How far the length of an axis direction may be from one: headers written with few digits are welcome."""


@dataclass(frozen=True)
class Geometry:
    """Where a grid of voxels lies.

    Attributes:
        size: voxels along (i, j, k).
        spacing: mm along (i, j, k).
        origin: centre of the voxel (0, 0, 0), LPS, mm.
        direction: 3x3, row by row; its columns are the LPS directions of i, j and k.
    """

    size: tuple[int, int, int]
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Array shape (k, j, i)."""
        return (self.size[2], self.size[1], self.size[0])

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in mL: the determinant, so that sheared grids are right too."""
        return float(abs(np.linalg.det(self.ijk_to_lps()[:3, :3]))) / 1000.0

    def ijk_to_lps(self) -> Array:
        """4x4 matrix from voxel indices (i, j, k) to LPS in mm."""
        matrix = np.eye(4)
        matrix[:3, :3] = np.reshape(self.direction, (3, 3)) * np.asarray(self.spacing)
        matrix[:3, 3] = self.origin
        return matrix

    @classmethod
    def from_matrix(cls, ijk_to_lps: Array, size: tuple[int, int, int]) -> Geometry:
        """The geometry of a grid whose (i, j, k) go to LPS by a 4x4 matrix, sheared ones included."""
        columns = np.asarray(ijk_to_lps, float)[:3, :3]
        spacing = np.linalg.norm(columns, axis=0)
        direction = columns / np.where(spacing > 0, spacing, 1.0)
        x, y, z = (float(value) for value in spacing)
        a, b, c = (float(value) for value in np.asarray(ijk_to_lps, float)[:3, 3])
        return cls(size, (x, y, z), (a, b, c), tuple(float(value) for value in direction.ravel()))

    def same_grid(self, other: Geometry) -> bool:
        """Whether both grids have the same voxels at the same places."""
        if self.size != other.size:
            return False
        return self.largest_offset(other) <= SAME_GRID_VOXELS

    def largest_offset(self, other: Geometry) -> float:
        """How far apart the corners of two grids of one size lie at most, in voxels of this one."""
        corners = np.array(
            [[i, j, k, 1.0] for i in (0, self.size[0]) for j in (0, self.size[1]) for k in (0, self.size[2])]
        ).T
        offset = np.linalg.solve(self.ijk_to_lps(), (other.ijk_to_lps() - self.ijk_to_lps()) @ corners)
        return float(np.abs(offset[:3]).max())


@dataclass(frozen=True)
class Volume:
    """An image on its grid.

    Attributes:
        array: (k, j, i), any real type.
        geometry: of ``array.shape`` reversed.
        name: what messages call it: a node's or a file's name.
        modality: DICOM's Modality of it, ``CT`` for example; empty: unknown.
        notes: sentences about what its file leaves open, or about what was left out when it was read.
    """

    array: Array
    geometry: Geometry
    name: str = "volume"
    modality: str = ""
    notes: tuple[str, ...] = ()

    def to_sitk(self) -> sitk.Image:
        """A SimpleITK image with the same voxels and geometry."""
        image = sitk.GetImageFromArray(self.array)
        image.SetSpacing(self.geometry.spacing)
        image.SetOrigin(self.geometry.origin)
        image.SetDirection(self.geometry.direction)
        return image

    @classmethod
    def from_sitk(cls, image: sitk.Image, name: str = "volume") -> Volume:
        """A volume from a three-dimensional SimpleITK image.

        Raises:
            VolumeError: the image is not three-dimensional or has several components per voxel.
        """
        if image.GetNumberOfComponentsPerPixel() != 1:
            raise VolumeError(
                f"{name} has {image.GetNumberOfComponentsPerPixel()} values per voxel (a colour or vector image); "
                "choose a volume with one value per voxel."
            )
        if image.GetDimension() != 3:
            raise VolumeError(f"{name} has {image.GetDimension()} dimensions; choose a volume with exactly three.")
        if 0 in image.GetSize():
            raise VolumeError(f"{name} is empty; choose a volume that holds image data.")
        geometry = Geometry(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())
        return cls(sitk.GetArrayFromImage(image), geometry, name)


@np.errstate(all="ignore")  # what overflows is no number, and refused as such
def check_geometry(geometry: Geometry, name: str) -> None:
    """Raises VolumeError unless the grid can be that of a scan.

    Spacings are positive, axis directions independent and of length one, and it is not larger than a body.
    """
    spacing = np.asarray(geometry.spacing, float)
    if not np.isfinite(spacing).all() or (spacing <= 0).any():
        shown = " × ".join(f"{value:g}" for value in geometry.spacing)
        raise VolumeError(f"{name} has a spacing of {shown} mm; correct its header: every spacing must be above zero.")
    direction = np.reshape(geometry.direction, (3, 3)).astype(float)
    if not np.isfinite(direction).all() or abs(np.linalg.det(direction)) < 1e-4:
        raise VolumeError(f"{name} has a singular direction matrix; correct the axis directions in its header.")
    lengths = np.linalg.norm(direction, axis=0)
    if (np.abs(lengths - 1) > DIRECTION_TOLERANCE).any():
        raise VolumeError(
            f"{name} has axis directions that are not of length one; correct them, or the spacing, in its header."
        )
    if not np.isfinite(np.asarray(geometry.origin, float)).all():
        raise VolumeError(f"{name} has an origin that is no number; correct its header.")
    extent = spacing * geometry.size
    litres = geometry.voxel_ml * float(np.prod(np.asarray(geometry.size, float))) / 1000
    if spacing.max() > LARGEST_SPACING_MM or extent.max() > LARGEST_EXTENT_MM or litres > LARGEST_LITRES:
        sides = " × ".join(f"{mm:.4g}" for mm in extent)
        raise VolumeError(
            f"{name} is {sides} mm large, more than any body: its spacing of "
            f"{' × '.join(f'{mm:.4g}' for mm in spacing)} is probably not in mm; correct its header."
        )


def check_volume(volume: Volume) -> None:
    """Raises VolumeError unless the volume can be segmented.

    It must be three-dimensional and not empty, of finite numbers that are not all the same, with a usable geometry.
    """
    array, name = volume.array, volume.name
    if array.ndim != 3:
        raise VolumeError(f"{name} has {array.ndim} dimensions; choose a volume with exactly three.")
    if array.size == 0:
        raise VolumeError(f"{name} is empty; choose a volume that holds image data.")
    if array.shape != volume.geometry.shape:
        raise VolumeError(f"{name} has {array.shape} voxels but a geometry for {volume.geometry.shape}; reload it.")
    if array.dtype.kind not in "biuf":
        raise VolumeError(f"{name} holds {array.dtype} values; choose a volume of real numbers.")
    check_geometry(volume.geometry, name)
    low, high = array.min(), array.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise VolumeError(f"{name} holds voxels that are NaN or infinite; replace them by numbers, 0 for example.")
    if low == high:
        raise VolumeError(f"{name} has the value {low:g} in every voxel; choose a volume that shows something.")


@dataclass(frozen=True)
class Region:
    """A box of voxels of a grid, half open.

    Attributes:
        start: first voxel along (i, j, k).
        stop: one past the last voxel along (i, j, k).
    """

    start: tuple[int, int, int]
    stop: tuple[int, int, int]

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """Index of the box in an array (k, j, i)."""
        (i0, j0, k0), (i1, j1, k1) = self.start, self.stop
        return (slice(k0, k1), slice(j0, j1), slice(i0, i1))

    @classmethod
    def around(cls, geometry: Geometry, corners_lps: Array, name: str = "The region of interest") -> Region:
        """The smallest box of voxels that covers points (n, 3) in LPS mm, clipped to the grid.

        Along an axis on which the points lie between the centres of two voxels, the nearest one is taken.

        Raises:
            VolumeError: the points lie outside the grid.
        """
        points = np.column_stack([np.asarray(corners_lps, float), np.ones(len(corners_lps))]).T
        ijk = np.linalg.solve(geometry.ijk_to_lps(), points)[:3]
        low, high = np.ceil(ijk.min(axis=1) - 1e-6), np.floor(ijk.max(axis=1) + 1e-6) + 1
        nearest = np.floor((ijk.min(axis=1) + ijk.max(axis=1)) / 2 + 0.5)
        between = high <= low
        low, high = np.where(between, nearest, low), np.where(between, nearest + 1, high)
        low = np.maximum(low, 0).astype(int)
        high = np.minimum(high, geometry.size).astype(int)
        if (high <= low).any():
            raise VolumeError(f"{name} lies outside the volume; move it over the part to be segmented.")
        return cls((int(low[0]), int(low[1]), int(low[2])), (int(high[0]), int(high[1]), int(high[2])))


def crop(volume: Volume, region: Region) -> Volume:
    """The part of a volume inside a region: a view of the same array with the origin moved."""
    geometry = volume.geometry
    size = tuple(stop - start for start, stop in zip(region.start, region.stop, strict=True))
    origin = (geometry.ijk_to_lps() @ np.array([*region.start, 1.0]))[:3]
    part = Geometry(
        (size[0], size[1], size[2]),
        geometry.spacing,
        (float(origin[0]), float(origin[1]), float(origin[2])),
        geometry.direction,
    )
    return Volume(volume.array[region.slices], part, volume.name, volume.modality, volume.notes)
