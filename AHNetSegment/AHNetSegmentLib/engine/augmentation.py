"""Random patches for training: where from, turned, scaled and bent how, with which contrast and noise.

Every draw comes from one numpy generator, so a seed and a step decide a patch, whatever process makes it.
Volumes are (C, D, H, W); spacing is (slices, rows, columns) in mm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..network.settings import IGNORE_LABEL

BLOB_MM = 30.0
"""About as wide as bowel."""
FAT = -0.6
"""-45 HU in a window of -125 to 275 HU: fat is darker, soft tissue brighter."""


@dataclass(frozen=True)
class Augmentation:
    """How strongly patches are varied; everything zero leaves them as they are.

    Attributes:
        rotation: largest angle in degrees about the (slice, row, column) axis.
        scale: largest relative change of size, common to all axes.
        stretch: largest further relative change of size of each axis by itself.
        shift: largest shift in mm along the (slice, row, column) axis, from where the patch was centred.
        bend: standard deviation in mm of a smooth displacement.
        bend_nodes: between how many nodes along (slices, rows, columns) of a patch it is smooth.
        pixel: width of a patch's pixels in plane, as a multiple of the recipe's: an early stage may see more at once.
        mirror: probability of mirroring the (slice, row, column) axis.
        mirror_swaps: pairs of labels that trade places when the column (left-right) axis is mirrored.
        contrast: largest relative change of contrast.
        brightness: largest change of brightness, in standard deviations.
        gamma: largest relative change of the exponent of a gamma curve.
        noise: largest standard deviation of Gaussian noise.
        blur: largest standard deviation of a Gaussian blur, in voxels.
        coarse: largest factor of a simulated lower resolution.
        shading: largest relative strength of a smooth multiplicative field (MR bias field).
        filling: probability of another brightness in parts of what ``filled`` names, as contrast agent, food or fluid
            give it to bowel and stomach.
        filled: labels whose voxels may be filled; 0: whatever has no label.
        probability: of each of the intensity changes.
        made: probability of intensities that are made anew, as those of another modality or sequence; the patch is then
            normalised by the recipe's ``intensity``, as such images are when they are segmented, and what is not made
            stays as its case was: see :mod:`.appearance`, as for the next settings.
        made_structures: share of the made patches where each structure has intensities of its own.
        made_groups: fewest and most groups of like intensity into which what has no label, but for air, is then split.
        made_blend: share of the made patches where a smooth field blends two images.
        made_shading: largest strength of the bias field of made patches, the logarithm of its factor.
        made_noise: largest standard deviation of the noise of made patches, as a share of the way from dark to bright.
        thick: probability of slices that are thicker than the patch's: see :mod:`.thick_slices`.
        thickness: thinnest and thickest of them, mm.
        shrink: probability that one of the structures of ``shrunken`` is made smaller: see :mod:`.shrinking`.
        shrunken: their labels.
        smallest: of what is left of a shrunken structure's width, the smallest share.
    """

    rotation: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: float = 0.0
    stretch: float = 0.0
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    bend: float = 0.0
    bend_nodes: tuple[int, int, int] = (4, 4, 4)
    pixel: float = 1.0
    mirror: tuple[float, float, float] = (0.0, 0.0, 0.0)
    mirror_swaps: tuple[tuple[int, int], ...] = ()
    contrast: float = 0.0
    brightness: float = 0.0
    gamma: float = 0.0
    noise: float = 0.0
    blur: float = 0.0
    coarse: float = 1.0
    shading: float = 0.0
    filling: float = 0.0
    filled: tuple[int, ...] = (0,)
    probability: float = 0.3
    made: float = 0.0
    made_structures: float = 0.5
    made_groups: tuple[int, int] = (3, 6)
    made_blend: float = 0.5
    made_shading: float = 0.5
    made_noise: float = 0.1
    thick: float = 0.0
    thickness: tuple[float, float] = (1.0, 10.0)
    shrink: float = 0.0
    shrunken: tuple[int, ...] = ()
    smallest: float = 0.5

    def __post_init__(self) -> None:
        for name in ("made", "made_structures", "made_blend", "thick", "shrink"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"'{name}' is a probability and must lie from 0 to 1")
        for name in ("made_shading", "made_noise"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"'{name}' must not be negative")
        if not (len(self.made_groups) == 2 and 1 <= self.made_groups[0] <= self.made_groups[1]):
            raise ValueError("'made_groups' must hold two whole numbers from 1 on, the smaller one first")
        if not (len(self.thickness) == 2 and 0 < self.thickness[0] <= self.thickness[1]):
            raise ValueError("'thickness' must hold two thicknesses above zero in mm, the smaller one first")
        if not (len(self.bend_nodes) == 3 and min(self.bend_nodes) >= 2):
            raise ValueError("'bend_nodes' must hold three whole numbers from 2 on")
        if not self.pixel > 0:
            raise ValueError("'pixel' must be above zero")
        if not 0 < self.smallest <= 1:
            raise ValueError("'smallest' must lie above 0 and be 1 at most")
        if self.shrink and not self.shrunken:
            raise ValueError("'shrink' needs 'shrunken', the labels of what is made smaller")

    def of_patch(self, spacing: Sequence[float]) -> tuple[float, float, float]:
        """mm along (slices, rows, columns) of a patch's voxels, from those of the volume, before it is scaled."""
        return (spacing[0], spacing[1] * self.pixel, spacing[2] * self.pixel)


@dataclass(frozen=True)
class Placement:
    """Where a patch lies in its volume.

    Attributes:
        centre: (slice, row, column) of the patch's centre, in voxels of the volume.
        matrix: 3x3: an offset from the centre in patch voxels to one in volume voxels.
        displacement: (3, a, b, c): smooth displacement in volume voxels on a coarse grid over the patch; None: none.
        mirrored: whether left and right changed places.
    """

    centre: np.ndarray
    matrix: np.ndarray
    displacement: np.ndarray | None
    mirrored: bool


def draw_placement(
    rng: np.random.Generator, centre: Sequence[float] | np.ndarray, spacing: Sequence[float], settings: Augmentation
) -> Placement:
    """Draws how a patch around ``centre`` (voxels) is turned, scaled, mirrored, shifted and bent."""
    step = np.asarray(spacing, float)
    angles = np.deg2rad(settings.rotation) * rng.uniform(-1, 1, 3)
    factors = (1 + settings.scale * rng.uniform(-1, 1)) * (1 + settings.stretch * rng.uniform(-1, 1, 3))
    mirrored = rng.random(3) < np.asarray(settings.mirror)
    factors = np.where(mirrored, -factors, factors)
    turned = _rotation(angles) @ np.diag(factors * settings.of_patch((1.0, 1.0, 1.0)))
    matrix = (turned * step[None, :]) / step[:, None]
    shift = np.asarray(settings.shift) * rng.uniform(-1, 1, 3) / step
    displacement = None
    if settings.bend > 0 and rng.random() < 0.5:
        displacement = rng.normal(0, settings.bend, (3, *settings.bend_nodes)) / step[:, None, None, None]
    return Placement(np.asarray(centre, float) + shift, matrix, displacement, bool(mirrored[2]))


def cut_patch(
    image: np.ndarray, labels: np.ndarray, placement: Placement, size: Sequence[int], swaps: Sequence[tuple[int, int]]
) -> tuple[Tensor, Tensor]:
    """Cuts a patch: linear for the image, nearest neighbour for the labels.

    Args:
        image: (C, D, H, W).
        labels: (D, H, W), uint8.
        placement: where from.
        size: (d, h, w) of the patch.
        swaps: pairs of labels that trade places when the placement is mirrored.

    Returns:
        image (C, d, h, w) float32, the edge repeated outside the volume, and labels (d, h, w) uint8,
        ``IGNORE_LABEL`` there.
    """
    grid = _sampling_grid(placement, size)
    low = np.clip(np.floor(grid.reshape(3, -1).amin(1).numpy()).astype(int) - 1, 0, np.array(labels.shape) - 1)
    high = np.clip(np.ceil(grid.reshape(3, -1).amax(1).numpy()).astype(int) + 2, low + 1, labels.shape)
    block = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    part = torch.from_numpy(np.array(image[(slice(None), *block)], dtype=np.float32))
    names = torch.from_numpy(np.array(labels[block]))
    shape = torch.tensor(names.shape, dtype=torch.float32).reshape(3, 1, 1, 1)
    local = grid - torch.tensor(low, dtype=torch.float32).reshape(3, 1, 1, 1)
    unit = ((2 * local + 1) / shape - 1).flip(0).permute(1, 2, 3, 0)[None]
    patch = F.grid_sample(part[None], unit, mode="bilinear", padding_mode="border", align_corners=False)[0]
    target = _nearest(names, local)
    target[_is_outside(grid, labels.shape)] = IGNORE_LABEL
    return patch, _swapped(target, swaps) if placement.mirrored else target


def cut_labels(labels: np.ndarray, placement: Placement, size: Sequence[int]) -> Tensor:
    """Labels (d, h, w) of a patch from those of a volume (D, H, W), nearest neighbour, 0 outside, nothing swapped."""
    grid = _sampling_grid(placement, size)
    low = np.clip(np.floor(grid.reshape(3, -1).amin(1).numpy()).astype(int), 0, np.array(labels.shape) - 1)
    high = np.clip(np.ceil(grid.reshape(3, -1).amax(1).numpy()).astype(int) + 1, low + 1, labels.shape)
    block = torch.from_numpy(np.array(labels[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]))
    target = _nearest(block, grid - torch.tensor(low, dtype=torch.float32).reshape(3, 1, 1, 1))
    target[_is_outside(grid, labels.shape)] = 0
    return target


def swap_sides(labels: Tensor, placement: Placement, settings: Augmentation) -> Tensor:
    """Labels whose sides trade places where the placement mirrors left and right."""
    return _swapped(labels, settings.mirror_swaps) if placement.mirrored else labels


def fill_hollows(
    rng: np.random.Generator, image: Tensor, labels: Tensor, spacing: Sequence[float], settings: Augmentation
) -> Tensor:
    """Draws and applies a filling: blobs of some ``BLOB_MM`` of one brightness, a bright one half of the time.

    Only voxels that are no darker than ``FAT`` take part, so fat and air keep parting what lies in them, and the
    blobs take the shape of the bowel.

    Args:
        image: (C, d, h, w), about -1 to 1 (a window of CT numbers).
        labels: (d, h, w), which voxels may be filled.
        spacing: mm along (slices, rows, columns) of a patch's voxels.
    """
    if not settings.filling or rng.random() >= settings.filling:
        return image
    cells = [max(2, round(size * mm / BLOB_MM)) for size, mm in zip(labels.shape, spacing, strict=True)]
    coarse = torch.from_numpy(rng.standard_normal((1, *cells)).astype(np.float32))
    field = stretched(coarse, labels.shape)[0]
    blobs = field > float(np.quantile(coarse.numpy(), rng.uniform(0.5, 0.9)))
    where = blobs & torch.isin(labels, torch.tensor(settings.filled, dtype=labels.dtype)) & (image[0] > FAT)
    value = rng.uniform(0.5, 1.0) if rng.random() < 0.5 else rng.uniform(-0.6, 0.5)
    # What is left of the old brightness is the filling's texture.
    filled = value + rng.uniform(0.0, 0.3) * (image - value)
    return torch.where(where, filled, image)


def vary_intensity(rng: np.random.Generator, patch: Tensor, settings: Augmentation) -> Tensor:
    """Draws and applies changes of contrast, brightness, gamma, noise, blur, resolution and shading.

    Args:
        patch: (C, d, h, w), about -1 to 1 or of mean 0 and deviation 1.
    """

    def happens(strength: float) -> bool:
        return bool(rng.random() < settings.probability) and strength > 0

    for channel in range(patch.shape[0]):
        image = patch[channel]
        if happens(settings.coarse - 1):
            image = _coarser(image, rng.uniform(1, settings.coarse))
        if happens(settings.blur):
            image = _blurred(image, rng.uniform(0, settings.blur))
        if happens(settings.shading):
            field = torch.from_numpy(rng.uniform(-1, 1, (1, 2, 3, 3)).astype(np.float32)) * settings.shading
            smooth = stretched(field, image.shape)[0]
            low = image.amin()
            image = (image - low) * torch.exp(smooth) + low
        if happens(settings.contrast):
            mean = image.mean()
            image = (image - mean) * float(np.exp(rng.uniform(-1, 1) * math.log1p(settings.contrast))) + mean
        if happens(settings.brightness):
            image = image + settings.brightness * rng.uniform(-1, 1)
        if happens(settings.gamma):
            image = _gamma(image, float(np.exp(rng.uniform(-1, 1) * math.log1p(settings.gamma))))
        if happens(settings.noise):
            image = image + torch.from_numpy(rng.standard_normal(image.shape, dtype=np.float32)) * float(
                settings.noise * rng.uniform(0, 1)
            )
        patch[channel] = image
    return patch


def _nearest(labels: Tensor, places: Tensor) -> Tensor:
    nearest = [(places[axis] + 0.5).floor().long().clamp_(0, labels.shape[axis] - 1) for axis in range(3)]
    return labels[nearest[0], nearest[1], nearest[2]]


def _is_outside(grid: Tensor, shape: Sequence[int]) -> Tensor:
    whole = torch.tensor(shape, dtype=torch.float32).reshape(3, 1, 1, 1)
    return ((grid < -0.5) | (grid > whole - 0.5)).any(dim=0)


def _swapped(labels: Tensor, swaps: Sequence[tuple[int, int]]) -> Tensor:
    swapped = labels.clone()
    for one, other in swaps:
        swapped[labels == one] = other
        swapped[labels == other] = one
    return swapped


def _rotation(angles: np.ndarray) -> np.ndarray:
    """Rotation about the slice axis, then the row axis, then the column axis, of (slice, row, column) vectors."""
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        a, b = (other for other in range(3) if other != axis)
        turn = np.eye(3)
        turn[a, a] = turn[b, b] = math.cos(angle)
        turn[a, b], turn[b, a] = -math.sin(angle), math.sin(angle)
        matrix = turn @ matrix
    return matrix


def _sampling_grid(placement: Placement, size: Sequence[int]) -> Tensor:
    """(3, d, h, w): where in the volume, in voxels, each voxel of the patch is taken from."""
    axes = [torch.arange(length, dtype=torch.float32) - (length - 1) / 2 for length in size]
    offsets = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    matrix = torch.from_numpy(placement.matrix.astype(np.float32))
    centre = torch.from_numpy(placement.centre.astype(np.float32)).reshape(3, 1, 1, 1)
    grid = torch.einsum("ab,bdhw->adhw", matrix, offsets) + centre
    if placement.displacement is not None:
        grid += stretched(torch.from_numpy(placement.displacement.astype(np.float32)), size)
    return grid


def stretched(coarse: Tensor, size: Sequence[int]) -> Tensor:
    """A smooth field (C, d, h, w) from its values (C, a, b, c) on a coarse grid with the same corners."""
    return F.interpolate(coarse[None], tuple(size), mode="trilinear", align_corners=True)[0]


def _coarser(image: Tensor, factor: float) -> Tensor:
    size = [max(1, round(length / factor)) for length in image.shape]
    small = F.interpolate(image[None, None], size, mode="nearest-exact")
    return F.interpolate(small, image.shape, mode="trilinear", align_corners=False)[0, 0]


def _blurred(image: Tensor, deviation: float) -> Tensor:
    radius = max(1, math.ceil(2 * deviation))
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / max(deviation, 1e-3)) ** 2)
    taps = taps / taps.sum()
    result = image[None, None]
    for axis in range(3):
        kernel = taps.reshape([1, 1] + [len(taps) if other == axis else 1 for other in range(3)])
        padding = [0] * 6
        padding[2 * (2 - axis)] = padding[2 * (2 - axis) + 1] = radius
        result = F.conv3d(F.pad(result, padding, mode="replicate"), kernel)
    return result[0, 0]


def _gamma(image: Tensor, exponent: float) -> Tensor:
    low, high = image.amin(), image.amax()
    width = (high - low).clamp_min(1e-6)
    mean, deviation = image.mean(), image.std()
    curved = ((image - low) / width) ** exponent
    return (curved - curved.mean()) / curved.std().clamp_min(1e-6) * deviation + mean
