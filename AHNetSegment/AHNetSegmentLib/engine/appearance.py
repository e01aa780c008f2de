"""Intensities that are made anew: what a scan could look like in another modality or sequence.

A network that has seen its structures in such images looks at shapes and places rather than at brightness, and finds
them in modalities of which it has seen no image. The parts are those of two published methods, written anew:
random shallow convolution networks over the image, and smooth fields that blend two of their results (Ouyang et al.,
Causality-inspired single-source domain generalization, IEEE TMI 2023, arXiv 2111.12525), and intensity curves of each
structure and of the background by themselves (Su et al., Rethinking data augmentation for single-source domain
generalization, AAAI 2023, arXiv 2211.14805).

Every draw comes from one numpy generator. Tensors stay on the device that they are on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..network.settings import IGNORE_LABEL
from .augmentation import Augmentation, stretched
from .card import Intensity
from .preprocess import intensity_map

BINS = 256
"""Of an intensity curve: as fine as the 8 bits of many images."""
HIDDEN = 2
"""Channels of a random network's hidden layers, as published."""
LAYERS = (2, 5)
"""Fewest layers of a random network, and one more than the most."""
AIR = -0.97
"""What is darker than this, with its neighbours, from -1 to 1 is air: a CT window's lower end lies above it."""
DARK_AIR = 0.85
"""Probability that air is the darkest of all, as it is in nearly every modality."""
SAMPLED = 3
"""Percentiles are taken from the voxels of every third row and column."""
ENDS = (0.01, 0.99)
"""Shares of the values below the dark and the bright end of what is made."""


def make_appearance(rng: np.random.Generator, image: Tensor, labels: Tensor, settings: Augmentation) -> Tensor:
    """Draws what a patch looks like in a modality that does not exist.

    Args:
        rng: draws everything.
        image: (1, d, h, w); only the order of its values and their distances count.
        labels: (d, h, w), integers.
        settings: ``made_structures``, ``made_groups`` and ``made_blend``.

    Returns:
        (1, d, h, w) from 0 (dark) to about 1 (bright).
    """
    plain = _stretched_to(image[0], *torch.aminmax(image), -1.0)
    smooth = _averaged(plain)
    structured = rng.random() < settings.made_structures
    blended = rng.random() < settings.made_blend
    made = _version(rng, plain, smooth, labels, settings, structured)
    if blended:
        field = _blending_field(rng, made.shape).to(made.device)
        made = torch.lerp(_version(rng, plain, smooth, labels, settings, structured), made, field)
    # By percentiles: a few bright voxels would leave the rest in the noise.
    ends = made[:, ::SAMPLED, ::SAMPLED].flatten().quantile(torch.tensor(ENDS, device=made.device))
    made = _stretched_to(made, ends[0], ends[1], 0.0).clamp_min_(0)
    if rng.random() < DARK_AIR:
        # Gradual: the border of the body stays as sharp as the scan had it.
        air = ((AIR - smooth) / (1 + AIR) + 1).clamp_(0, 1)
        made = made * (1 - air)
    return made[None]


def acquire(rng: np.random.Generator, image: Tensor, settings: Augmentation) -> Tensor:
    """Draws a bias field and noise, which in a half of the draws is that of a magnitude image (Rician), else Gaussian.

    Args:
        rng: draws both.
        image: (1, d, h, w), 0 to 1.
        settings: ``made_shading`` and ``made_noise``.
    """
    if settings.made_shading:
        cells = [int(cell) for cell in rng.integers(2, 5, 3)]
        strength = settings.made_shading * rng.random()
        field = torch.from_numpy(rng.uniform(-1, 1, (1, *cells)).astype(np.float32) * strength)
        image = image * stretched(field.exp_(), image.shape[1:]).to(image.device)
    if settings.made_noise:
        deviation = settings.made_noise * rng.random() ** 2
        noisy = image + _noise(rng, image) * deviation
        image = (noisy.square_() + (_noise(rng, image) * deviation).square_()).sqrt_() if rng.random() < 0.5 else noisy
    return image


def normalise(image: Tensor, rule: Intensity, inside: Tensor | None = None, air: float = 0.0) -> Tensor:
    """A patch by a rule of percentiles, as a volume of such a modality is normalised.

    Args:
        image: (1, d, h, w).
        rule: of the kind ``zscore``.
        inside: (d, h, w) bool; what lies outside of the scan counts for nothing, unless all does. None: all is inside.
        air: how much air, of the brightness of the patch's corners, counts as well, as a multiple of the patch.
    """
    sample = image[0, :, ::SAMPLED, ::SAMPLED]
    values = sample.flatten()
    if inside is not None and bool((chosen := inside[:, ::SAMPLED, ::SAMPLED]).any()):
        values = sample[chosen]
    if air:
        corners = image[0][:, [0, 0, -1, -1], [0, -1, 0, -1]].flatten()
        dark = corners.median().expand(round(air * len(values)))
        values = torch.cat([values, dark])
    return intensity_map(rule, values.cpu().numpy()).apply(image.clone())


def _version(
    rng: np.random.Generator,
    plain: Tensor,
    smooth: Tensor,
    labels: Tensor,
    settings: Augmentation,
    structured: bool,
) -> Tensor:
    """One image (d, h, w): by curves, by a random network, or by a network over the result of curves."""
    if not structured:
        return _random_network(rng, plain)
    made = _with_curves(rng, plain, smooth, labels, settings.made_groups)
    return _random_network(rng, made) if rng.random() < 0.5 else made


def _random_network(rng: np.random.Generator, image: Tensor) -> Tensor:
    """Slices (d, h, w) through a shallow network with random weights, mixed with themselves, as strong as they were.

    Weights are divided by the square root of how many act on a value, so that every layer's share stays alike.
    """
    layers = int(rng.integers(*LAYERS))
    maps = image[:, None]
    for number in range(layers):
        channels = 1 if number == layers - 1 else HIDDEN
        size = int(rng.choice((1, 3)))
        shape = (channels, maps.shape[1], size, size)
        weights = rng.standard_normal(shape).astype(np.float32) / math.sqrt(math.prod(shape[1:]))
        shifts = rng.standard_normal(channels).astype(np.float32)
        if size > 1:
            maps = F.pad(maps, (1, 1, 1, 1), mode="replicate")
        maps = F.conv2d(maps, torch.from_numpy(weights).to(maps.device), torch.from_numpy(shifts).to(maps.device))
        if number < layers - 1:
            maps = F.leaky_relu_(maps, 0.01)
    mixed = torch.lerp(maps[:, 0], image, float(rng.random()))
    strength: Tensor = torch.linalg.vector_norm(image) / torch.linalg.vector_norm(mixed).clamp_min(1e-6)
    return mixed * strength


def _with_curves(
    rng: np.random.Generator, plain: Tensor, smooth: Tensor, labels: Tensor, groups: tuple[int, int]
) -> Tensor:
    """Each structure's intensities by a curve of its own; the rest in groups, each of a brightness of its own.

    The rest is looked up by the smoothed image, so that noise does not decide to which group a voxel belongs, and gets
    back some of what the smoothing took, or its opposite.
    """
    counts = torch.bincount(labels.flatten(), minlength=IGNORE_LABEL + 1)
    means = torch.bincount(labels.flatten(), weights=plain.flatten(), minlength=IGNORE_LABEL + 1) / counts.clamp_min(1)
    table = np.zeros((IGNORE_LABEL + 1, BINS), np.float32)
    for label in torch.nonzero(counts).flatten().tolist():
        if label not in (0, IGNORE_LABEL):
            table[label] = _curve(rng, float(means[label]))
    table[[0, IGNORE_LABEL]] = _groups(rng, int(rng.integers(groups[0], groups[1] + 1)))
    unlabelled = (labels == 0) | (labels == IGNORE_LABEL)
    source = torch.where(unlabelled, smooth, plain)
    bins = ((source + 1) * (BINS / 2)).long().clamp_(0, BINS - 1)
    made = torch.from_numpy(table).to(plain.device).flatten()[labels.long() * BINS + bins]
    texture = float(rng.uniform(-0.5, 1.0))
    return made + (plain - source) * texture


def _curve(rng: np.random.Generator, mean: float) -> np.ndarray:
    """A structure's curve over -1 to 1: around a brightness of its own, bent, or bent without order.

    A Bézier curve has four points; sorted, their curve only rises, or falls when it is turned around.
    """
    kind = rng.random()
    axis = np.linspace(-1, 1, BINS)
    if kind < 0.5:
        gain = np.exp(rng.uniform(np.log(0.2), np.log(2.0))) * rng.choice((-1, 1))
        line: np.ndarray = rng.uniform(-1, 1) + gain * (axis - mean)
        return line
    along, values = (np.concatenate([[-1.0], rng.uniform(-1, 1, 2), [1.0]]) for _ in range(2))
    if kind < 0.75:
        values = np.sort(values)
    if rng.random() < 0.5:
        values = -values
    t = np.linspace(0, 1, BINS)
    weights = np.stack([(1 - t) ** 3, 3 * (1 - t) ** 2 * t, 3 * (1 - t) * t**2, t**3])
    return np.interp(axis, np.sort(along) @ weights, values @ weights)


def _groups(rng: np.random.Generator, count: int) -> np.ndarray:
    """The curve of what has no label: air and ``count`` groups, each of one brightness, with slopes between them."""
    # Fat and soft tissue are always apart: a fifth of the way from the dark end of a window of CT numbers.
    fat = rng.uniform(-0.75, -0.2, min(count - 1, 1))
    ends = np.sort(np.concatenate([[AIR], fat, rng.uniform(-0.2, 0.9, max(count - 2, 0))]))
    width = rng.uniform(0.02, 0.15)
    places = np.concatenate([[-1.0], np.repeat(ends, 2) + np.tile([-width, width], len(ends)), [1.0]])
    values = np.repeat(rng.uniform(-1, 1, len(ends) + 1), 2)
    slopes = rng.normal(0, 0.1, len(values))
    return np.interp(np.linspace(-1, 1, BINS), np.maximum.accumulate(places), values + slopes)


def _blending_field(rng: np.random.Generator, shape: Sequence[int]) -> Tensor:
    """A smooth field (d, h, w) from 0 to 1, in some draws with steep slopes between the two."""
    cells = [int(rng.integers(2, 4)), *(int(cell) for cell in rng.integers(2, 7, 2))]
    coarse = rng.standard_normal((1, *cells)).astype(np.float32) * float(np.exp(rng.uniform(0, 2)))
    return stretched(torch.from_numpy(coarse), shape)[0].sigmoid_()


def _averaged(image: Tensor) -> Tensor:
    """The mean of 3 x 3 voxels in each slice (d, h, w)."""
    return F.avg_pool2d(F.pad(image[:, None], (1, 1, 1, 1), mode="replicate"), 3, stride=1)[:, 0]


def _stretched_to(image: Tensor, darkest: Tensor, brightest: Tensor, low: float) -> Tensor:
    """The image with its darkest value at ``low`` and its brightest one at 1."""
    return (image - darkest) * ((1 - low) / (brightest - darkest).clamp_min(1e-6)) + low


def _noise(rng: np.random.Generator, image: Tensor) -> Tensor:
    return torch.from_numpy(rng.standard_normal(image.shape, dtype=np.float32)).to(image.device)
