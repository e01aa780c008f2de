"""Small volumes, networks and models for the engine's tests."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from AHNetSegmentLib.engine.card import ClassCard, Code, Intensity, ModelCard, Terminology
from AHNetSegmentLib.engine.package import Model
from AHNetSegmentLib.engine.volume import Geometry, Volume
from AHNetSegmentLib.network.ahnet import AHNet
from AHNetSegmentLib.network.settings import AHNetSettings

OBLIQUE = tuple(np.linalg.qr(np.array([[0.9, -0.3, 0.2], [0.35, 0.85, -0.3], [-0.1, 0.35, 0.9]]))[0].ravel().tolist())


class BrightnessNetwork(nn.Module):
    """Calls voxels above ``first`` class 1 and voxels above ``second`` class 2, each for itself, without context."""

    def __init__(self, first: float = 0.0, second: float = 0.6) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, x: Tensor) -> Tensor:
        one, two = x - self.first, 2 * x - self.first - self.second
        return 50 * torch.cat([torch.zeros_like(x), one, two], dim=1)

    def run(
        self, batches: Iterator[Tensor], size: Sequence[int], batch_bytes: int, *, enlarged: bool, remade: bool
    ) -> Iterator[Tensor]:
        for batch in batches:
            yield self(batch)

    def last_enlargement(self, size: Sequence[int]) -> None:
        return None

    def memory_bytes(self, size: Sequence[int], batch_bytes: int, *, remade: bool) -> int:
        return 16 * math.prod(size)


class BrightnessModel(Model):
    """A model with a :class:`BrightnessNetwork`."""

    def for_inference(self, device: torch.device, precision: torch.dtype) -> BrightnessNetwork:  # type: ignore[override]
        return self.network  # type: ignore[return-value]


def classes(count: int = 2) -> tuple[ClassCard, ...]:
    names = ("Anterior", "Posterior", "Third", "Fourth")
    term = Terminology(Code("SCT", "123037004", "Anatomical Structure"), Code("SCT", "5366008", "Hippocampus"))
    return tuple(ClassCard(n + 1, names[n], (200, 50 * n, 20), term) for n in range(count))


def card(**changes: Any) -> ModelCard:
    values: dict[str, Any] = {
        "name": "tiny",
        "title": "Tiny",
        "version": "1.0.0",
        "modality": "MR",
        "anatomy": "Test object",
        "description": "For tests.",
        "classes": classes(),
        "spacing": (None, None, None),
        "intensity": Intensity("window", 0.0, 100.0),
        "network": AHNetSettings(classes=3, width=0.125, slice_strides=(1, 1, 2, 2, 1), pyramid_levels=2),
        "data_licence": "CC0 1.0",
    }
    return ModelCard(**{**values, **changes})


def brightness_model(**changes: Any) -> Model:
    """A model whose result can be said in advance: above 50 is class 1, above 80 class 2."""
    return BrightnessModel(card(**changes), BrightnessNetwork(), Path("brightness"))  # type: ignore[arg-type]


def random_model(seed: int = 0, **changes: Any) -> Model:
    """A real network with random weights and random BatchNorm statistics."""
    torch.manual_seed(seed)
    made = card(**changes)
    network = AHNet(made.network)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
            nn.init.normal_(module.running_mean, 0, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    nn.init.normal_(network.decoder.head.conv.weight, 0, 0.3)
    return Model(made, network.eval(), Path("random"))


def noise_volume(shape: tuple[int, int, int], seed: int = 0, **geometry: Any) -> Volume:
    """Smooth random values from 0 to 100; shape (k, j, i)."""
    coarse = torch.from_numpy(np.random.default_rng(seed).uniform(0, 100, (1, 1, 5, 6, 7)).astype(np.float32))
    array = nn.functional.interpolate(coarse, shape, mode="trilinear")[0, 0].numpy()
    return Volume(array, Geometry((shape[2], shape[1], shape[0]), **geometry), "noise")


def object_volume() -> Volume:
    """An L-shaped object without any symmetry, of class 1, with a tip of class 2; axial, 1.0 x 1.2 x 3.0 mm."""
    array = np.zeros((9, 14, 17), np.float32)
    array[2:7, 3:11, 4:7] = 60
    array[2:4, 8:11, 4:14] = 60
    array[2, 9:11, 12:15] = 90
    return Volume(array, Geometry((17, 14, 9), (1.0, 1.2, 3.0), (-20.0, 11.0, 5.0)), "object")


def expected_labels(volume: Volume) -> np.ndarray:
    """What :func:`brightness_model` must find in a volume that is not resampled."""
    return ((volume.array > 50).astype(np.uint8) + (volume.array > 80)).astype(np.uint8)


def all_48(volume: Volume) -> list[Volume]:
    """The same object in the same place, stored with each of the 48 axis orders and flips."""
    result = []
    matrix = volume.geometry.ijk_to_lps()
    for order in itertools.permutations(range(3)):
        for flips in itertools.product((False, True), repeat=3):
            array = volume.array.transpose(order)
            columns = [matrix[:3, 2 - axis] for axis in order]  # of array axes 0, 1, 2
            origin = matrix[:3, 3].copy()
            for axis, flip in enumerate(flips):
                if flip:
                    array = np.flip(array, axis)
                    origin += columns[axis] * (array.shape[axis] - 1)
                    columns[axis] = -columns[axis]
            new = np.eye(4)
            new[:3, :3] = np.column_stack(columns[::-1])
            new[:3, 3] = origin
            size = (array.shape[2], array.shape[1], array.shape[0])
            result.append(Volume(np.ascontiguousarray(array), Geometry.from_matrix(new, size), volume.name))
    return result


def lps_points(mask: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Sorted LPS positions in mm, rounded, of the voxels of a mask (k, j, i)."""
    ijk = np.argwhere(mask)[:, ::-1]
    points = ijk @ geometry.ijk_to_lps()[:3, :3].T + geometry.ijk_to_lps()[:3, 3]
    return np.array(sorted(np.round(points, 4).tolist()))
