"""Labelled cases on disk: found, checked, preprocessed once into a cache, and cut into random batches."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..network.settings import IGNORE_LABEL
from .augmentation import cut_patch, draw_placement, vary_intensity
from .errors import RecipeError
from .files import new_folder
from .image_io import IMAGE_SUFFIXES, image_name, read_labels, read_volume
from .preprocess import ModelGrid, intensity_map, labels_to_model
from .recipe import Recipe, Stage
from .volume import check_volume, network_orientation

CENTRES_PER_CLASS = 20_000


@dataclass(frozen=True)
class Case:
    """A labelled case: its name, image file and label file."""

    name: str
    image: Path
    labels: Path


@dataclass(frozen=True)
class PreparedCase:
    """A case as training reads it: memory-mapped arrays on the model's grid.

    Attributes:
        name: the case's.
        image: (1, D, H, W) float16, normalised.
        labels: (D, H, W) uint8.
        spacing: mm along (slices, rows, columns).
        centres: for each class that occurs, voxels (n, 3) that patches may be centred on.
    """

    name: str
    image: np.ndarray
    labels: np.ndarray
    spacing: tuple[float, float, float]
    centres: tuple[np.ndarray, ...]


def find_cases(folder: Path) -> list[Case]:
    """The cases of a data folder: files of one name in ``images/`` and ``labels/``, sorted by name.

    Raises:
        RecipeError: there is none, or an image lacks its labels.
    """
    folder = Path(folder)
    labels = {image_name(path): path for path in _images(folder / "labels")}
    cases = []
    for path in _images(folder / "images"):
        name = image_name(path)
        if name not in labels:
            raise RecipeError(f"{path} has no label file in {folder / 'labels'}; add one with the same name.")
        cases.append(Case(name, path, labels[name]))
    if not cases:
        raise RecipeError(f"{folder} holds no cases; put images into its folder images/, label maps into labels/.")
    return cases


def split_cases(cases: Sequence[Case], validation: Sequence[str]) -> tuple[list[Case], list[Case]]:
    """Training and validation cases.

    Raises:
        RecipeError: a validation case is missing, or nothing is left to train on.
    """
    names = {case.name for case in cases}
    if missing := sorted(set(validation) - names):
        raise RecipeError(f"The validation case {missing[0]} is not among the data; correct the recipe or the folder.")
    chosen = set(validation)
    training = [case for case in cases if case.name not in chosen]
    if not training:
        raise RecipeError("Every case is a validation case; leave some for training in the recipe.")
    return training, [case for case in cases if case.name in chosen]


def prepare_case(case: Case, recipe: Recipe, cache: Path) -> PreparedCase:
    """The case from the cache, where it is put first if it or the settings that decide its voxels have changed.

    Raises:
        VolumeError: image or labels cannot be used.
        OutputError: the cache cannot be written.
    """
    folder = cache / f"{case.name}-{_fingerprint(case, recipe)}"
    if not folder.is_dir():
        _write_prepared(case, recipe, folder)
    facts = json.loads((folder / "case.json").read_text(encoding="utf-8"))
    labels = sorted(int(path.stem.split("-")[1]) for path in folder.glob("centres-*.npy"))
    return PreparedCase(
        case.name,
        np.load(folder / "image.npy", mmap_mode="r"),
        np.load(folder / "labels.npy", mmap_mode="r"),
        tuple(facts["spacing"]),
        tuple(np.load(folder / f"centres-{label}.npy", mmap_mode="r") for label in labels),
    )


def prepare_cases(
    cases: Sequence[Case], recipe: Recipe, cache: Path, progress: Callable[[int, int], None]
) -> list[PreparedCase]:
    """All cases through :func:`prepare_case`; ``progress(done, total)`` after each."""
    prepared = []
    for number, case in enumerate(cases, start=1):
        prepared.append(prepare_case(case, recipe, cache))
        progress(number, len(cases))
    return prepared


class BatchStream(Dataset[tuple[Tensor, Tensor]]):
    """The batches of a stage: item n is the batch of step n, decided by seed, stage and step alone.

    So a run that continues at step n, with any number of worker processes, sees what it would have seen.
    Each item is images (N, 1, d, h, w) float32 and labels (N, d, h, w) uint8.
    """

    def __init__(self, cases: Sequence[PreparedCase], recipe: Recipe, stage_index: int, first_step: int = 0) -> None:
        self.cases = cases
        self.recipe = recipe
        self.stage_index = stage_index
        self.stage: Stage = recipe.stages[stage_index]
        self.first_step = first_step

    def __len__(self) -> int:
        return self.stage.steps - self.first_step

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng([self.recipe.seed, self.stage_index, self.first_step + index])
        patches = [self._patch(rng) for _ in range(self.stage.batch)]
        return torch.stack([image for image, _ in patches]), torch.stack([labels for _, labels in patches])

    def _patch(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        settings = self.recipe.augmentation
        case = self.cases[int(rng.integers(len(self.cases)))]
        centre = self._centre(rng, case)
        placement = draw_placement(rng, centre, case.spacing, settings)
        image, labels = cut_patch(case.image, case.labels, placement, self.stage.patch, settings.mirror_swaps)
        return vary_intensity(rng, image, settings), labels

    def _centre(self, rng: np.random.Generator, case: PreparedCase) -> np.ndarray:
        """A voxel to centre a patch on; along an axis that the patch covers wholly, the middle of the volume."""
        shape = np.array(case.labels.shape)
        size = np.array(self.stage.patch)
        if case.centres and rng.random() < self.recipe.foreground:
            voxels = case.centres[int(rng.integers(len(case.centres)))]
            centre = voxels[rng.integers(len(voxels))].astype(float)
        else:
            centre = rng.uniform(-0.5, shape - 0.5)
        margin = (size - 1) / 2
        inside = np.clip(centre, margin, np.maximum(shape - 1 - margin, margin))
        return np.where(size >= shape, (shape - 1) / 2, inside)


def _images(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.name.lower().endswith(IMAGE_SUFFIXES))


def _fingerprint(case: Case, recipe: Recipe) -> str:
    facts = {
        "files": [[path.stat().st_size, path.stat().st_mtime_ns] for path in (case.image, case.labels)],
        "spacing": recipe.spacing,
        "intensity": asdict(recipe.intensity),
        "labels": recipe.labels,
    }
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]


def _write_prepared(case: Case, recipe: Recipe, folder: Path) -> None:
    volume = read_volume(case.image)
    check_volume(volume)
    names = read_labels(case.labels, volume, recipe.labels)
    orientation = network_orientation(volume.geometry)
    scan, labels = orientation.apply(volume.array), orientation.apply(names)
    spacing = orientation.spacing(volume.geometry)
    grid = ModelGrid.of(scan.shape, spacing, recipe.spacing)
    image = intensity_map(recipe.intensity, scan).apply(grid.to_model(scan, 0, grid.model[0]))
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
