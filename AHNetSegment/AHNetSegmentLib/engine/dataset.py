"""Labelled cases for training: checked, preprocessed once into a cache, and cut into random batches."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..network.settings import IGNORE_LABEL
from .appearance import acquire, make_appearance, normalise
from .augmentation import cut_patch, draw_placement, fill_hollows, vary_intensity
from .cases import LabelledCase
from .distribution import Processes
from .files import new_folder
from .modality import choose_intensity
from .preprocess import ModelGrid, intensity_map, labels_to_model
from .recipe import Recipe, Stage
from .shrinking import shrink_structure
from .thick_slices import thicken_slices
from .volume import check_volume, network_orientation

CENTRES_PER_CLASS = 20_000


@dataclass(frozen=True)
class PreparedCase:
    """A case as training reads it: memory-mapped arrays on the model's grid.

    Attributes:
        name: the case's.
        image: (1, D, H, W) float16, normalised.
        labels: (D, H, W) uint8.
        spacing: mm along (slices, rows, columns).
        centres: for each class that occurs, voxels (n, 3) that patches may be centred on.
        labelled: labels of the classes that the case labels; None: all.
        stamp: changes when what training reads of the case changes.
        folder: that the arrays are read from; None: they are in memory.
    """

    name: str
    image: np.ndarray
    labels: np.ndarray
    spacing: tuple[float, float, float]
    centres: tuple[np.ndarray, ...]
    labelled: tuple[int, ...] | None = None
    stamp: str = ""
    folder: Path | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """For processes that prepare batches: they open the files themselves, where pickling would copy the voxels."""
        if self.folder is None:
            return PreparedCase, tuple(getattr(self, item.name) for item in fields(self))
        return _read_prepared, (self.folder, self.name, self.labelled, self.stamp)


def prepare_case(case: LabelledCase, recipe: Recipe, cache: Path) -> PreparedCase:
    """The case from the cache, where it is put first if it or the settings that decide its voxels have changed.

    Raises:
        VolumeError: image or labels cannot be used.
        OutputError: the cache cannot be written.
    """
    stamp = _fingerprint(case, recipe)
    folder = cache / f"{case.name}-{stamp}"
    if not folder.is_dir():
        _write_prepared(case, recipe, folder)
    return _read_prepared(folder, case.name, case.labelled, stamp)


def _read_prepared(folder: Path, name: str, labelled: tuple[int, ...] | None, stamp: str) -> PreparedCase:
    facts = json.loads((folder / "case.json").read_text(encoding="utf-8"))
    labels = sorted(int(path.stem.split("-")[1]) for path in folder.glob("centres-*.npy"))
    return PreparedCase(
        name,
        np.load(folder / "image.npy", mmap_mode="r"),
        np.load(folder / "labels.npy", mmap_mode="r"),
        tuple(facts["spacing"]),
        tuple(np.load(folder / f"centres-{label}.npy", mmap_mode="r") for label in labels),
        labelled,
        stamp,
        folder,
    )


def prepare_cases(
    cases: Sequence[LabelledCase], recipe: Recipe, cache: Path, progress: Callable[[int, int], None]
) -> list[PreparedCase]:
    """All cases through :func:`prepare_case`; ``progress(done, total)`` after each."""
    prepared = []
    for number, case in enumerate(cases, start=1):
        prepared.append(prepare_case(case, recipe, cache))
        progress(number, len(cases))
    return prepared


class BatchStream(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """The batches of a stage: item n is the batch of step n, decided by seed, stage, step and rank alone.

    So a run that continues at step n, with any number of worker processes, sees what it would have seen.
    Each item is images (N, 1, d, h, w) float32, labels (N, d, h, w) uint8, and which classes each case labels:
    (N, C) bool, background first.
    """

    def __init__(
        self,
        cases: Sequence[PreparedCase],
        recipe: Recipe,
        stage_index: int,
        first_step: int = 0,
        processes: Processes | None = None,
    ) -> None:
        self.cases = cases
        self.recipe = recipe
        self.stage_index = stage_index
        self.stage: Stage = recipe.stages[stage_index]
        self.first_step = first_step
        # One process's batches do not depend on there being a way to have several.
        self._rank = [processes.rank] if processes is not None and processes.count > 1 else []

    def __len__(self) -> int:
        return self.stage.steps - self.first_step

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        rng = np.random.default_rng([self.recipe.seed, self.stage_index, self.first_step + index, *self._rank])
        patches = [self._patch(rng) for _ in range(self.stage.batch)]
        images, labels, labelled = (torch.stack(parts) for parts in zip(*patches, strict=True))
        return images, labels, labelled

    def _patch(self, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        settings = self.recipe.augmentation_of(self.stage)
        case = self.cases[int(rng.integers(len(self.cases)))]
        centre = self._centre(rng, case)
        placement = draw_placement(rng, centre, case.spacing, settings)
        image, labels = cut_patch(case.image, case.labels, placement, self.stage.patch, settings.mirror_swaps)
        image, labels = shrink_structure(rng, image, labels, settings)
        spacing = settings.of_patch(case.spacing)
        image = fill_hollows(rng, image, labels, spacing, settings)
        made = settings.made > 0 and rng.random() < settings.made
        if made:
            image = make_appearance(rng, image, labels, settings)
        image = thicken_slices(rng, image, spacing, settings)
        if made:
            image = normalise(acquire(rng, image, settings), labels, self.recipe.intensity)
        return vary_intensity(rng, image, settings), labels, self._labelled(case)

    def _labelled(self, case: PreparedCase) -> Tensor:
        labels = [0, *(item.label for item in self.recipe.classes)]
        return torch.tensor([label == 0 or case.labelled is None or label in case.labelled for label in labels])

    def _centre(self, rng: np.random.Generator, case: PreparedCase) -> np.ndarray:
        """A voxel to centre a patch on; along an axis that the patch covers wholly, the middle of the volume."""
        shape = np.array(case.labels.shape)
        size = np.array(self.recipe.augmentation_of(self.stage).of_patch(self.stage.patch))
        if case.centres and rng.random() < self.recipe.foreground:
            voxels = case.centres[int(rng.integers(len(case.centres)))]
            centre = voxels[rng.integers(len(voxels))].astype(float)
        else:
            centre = rng.uniform(-0.5, shape - 0.5)
        margin = (size - 1) / 2
        inside = np.clip(centre, margin, np.maximum(shape - 1 - margin, margin))
        return np.where(size >= shape, (shape - 1) / 2, inside)


def _fingerprint(case: LabelledCase, recipe: Recipe) -> str:
    facts: dict[str, Any] = {
        "voxels": case.stamp(),
        "spacing": recipe.spacing,
        "intensity": asdict(recipe.intensity),
        "labels": recipe.labels,
    }
    if recipe.intensity_by_modality:
        facts["intensity_by_modality"] = [(name, asdict(rule)) for name, rule in recipe.intensity_by_modality]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]


def _write_prepared(case: LabelledCase, recipe: Recipe, folder: Path) -> None:
    volume = case.read_image()
    check_volume(volume)
    names = case.read_labels(volume, recipe.labels)
    orientation = network_orientation(volume.geometry)
    scan, labels = orientation.apply(volume.array), orientation.apply(names)
    spacing = orientation.spacing(volume.geometry)
    grid = ModelGrid.of(scan.shape, spacing, recipe.spacing)
    rule = choose_intensity(volume, recipe.intensity, recipe.intensity_by_modality).rule
    image = intensity_map(rule, scan).apply(grid.to_model(scan, 0, grid.model[0]))
    target = labels_to_model(labels, grid).numpy()
    step = [mm * old / new for mm, old, new in zip(spacing, grid.scan, grid.model, strict=True)]
    with new_folder(folder) as beside:
        np.save(beside / "image.npy", image[None].half().numpy())
        np.save(beside / "labels.npy", target)
        (beside / "case.json").write_text(json.dumps({"spacing": step}), encoding="utf-8")
        rng = np.random.default_rng(0)
        for label in np.unique(target):
            if label not in (0, IGNORE_LABEL):
                voxels = np.argwhere(target == label)
                chosen = rng.permutation(len(voxels))[:CENTRES_PER_CLASS]
                np.save(beside / f"centres-{label}.npy", voxels[np.sort(chosen)].astype(np.int16))
