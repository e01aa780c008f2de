"""What a model of the abdomen reaches on CT and on images that look like MR, made of the same CT.

The images are made otherwise than those of any training: tables of how bright each organ and tissue is in three usual
sequences, a bias field that is a polynomial, noise of two coils, slices as thick as the sequence has them. From the
repository's root, for a finished model or for the weights of a training that is still under way::

    python Testing/pseudo_mr.py --model abdomen --data ../shared/data/abdomen-ct
    python Testing/pseudo_mr.py --work <work folder> --scales 1.25 --data ../shared/data/abdomen-ct
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

from AHNetSegmentLib.engine.build import RECIPE_FILE, card_of, evaluate_model
from AHNetSegmentLib.engine.cases import LabelledCase, find_cases, split_cases
from AHNetSegmentLib.engine.evaluation import Evaluation
from AHNetSegmentLib.engine.inference import InferenceSettings
from AHNetSegmentLib.engine.measures import mean_of_defined
from AHNetSegmentLib.engine.package import Model, find_model, load_model
from AHNetSegmentLib.engine.recipe import Recipe, read_recipe
from AHNetSegmentLib.engine.training import CHECKPOINT_FILE
from AHNetSegmentLib.engine.volume import Array, Geometry, Volume
from AHNetSegmentLib.network.ahnet import AHNet

RECIPE = Path(__file__).resolve().parent / "recipes" / "abdomen.toml"
USUAL = ("Spleen", "Right kidney", "Left kidney", "Gallbladder", "Liver", "Stomach", "Aorta", "Pancreas")
"""The eight organs that are usually reported for these cases."""

HU = (-125, -118, -95, -60, -20, 10, 45, 80, 130, 200, 275)
"""Where the tables of what has no label are given: air, fat from -118 to -60, fluid, muscle, what took up contrast
agent, bone."""


@dataclass(frozen=True)
class MrSequence:
    """How a sequence shows the abdomen.

    Attributes:
        organs: brightness by label, 0 to 1.
        rest: brightness of unlabelled tissue at the numbers of ``HU``.
        slices: their distance, mm; 0: as the CT has them.
        texture: how much of the CT's own texture shows, per 100 HU.
    """

    organs: Mapping[int, float]
    rest: tuple[float, ...]
    slices: float = 0.0
    texture: float = 0.1


SEQUENCES = {
    "T1 in phase": MrSequence(
        {1: 0.42, 2: 0.44, 3: 0.44, 4: 0.30, 5: 0.45, 6: 0.58, 7: 0.40, 8: 0.22, 9: 0.25, 10: 0.28, 11: 0.55, 12: 0.45,
         13: 0.45},
        (0.01, 0.70, 0.95, 0.90, 0.50, 0.25, 0.42, 0.44, 0.40, 0.45, 0.30),
    ),
    "T2, fat suppressed": MrSequence(
        {1: 0.80, 2: 0.85, 3: 0.85, 4: 1.00, 5: 0.40, 6: 0.40, 7: 0.55, 8: 0.06, 9: 0.10, 10: 0.12, 11: 0.55, 12: 0.45,
         13: 0.45},
        (0.01, 0.10, 0.14, 0.16, 0.40, 0.70, 0.25, 0.35, 0.30, 0.20, 0.10),
    ),
    "T2, 7.7 mm": MrSequence(
        {1: 0.70, 2: 0.78, 3: 0.78, 4: 1.00, 5: 0.40, 6: 0.36, 7: 0.50, 8: 0.05, 9: 0.12, 10: 0.10, 11: 0.48, 12: 0.42,
         13: 0.42},
        (0.01, 0.55, 0.75, 0.70, 0.45, 0.65, 0.22, 0.35, 0.30, 0.25, 0.12),
        slices=7.7,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class PseudoCase(LabelledCase):
    """A labelled CT as a sequence would show it; always the same."""

    case: LabelledCase
    sequence: MrSequence

    def read_image(self) -> Volume:
        ct = self.case.read_image()
        labels = self.case.read_labels(ct, range(256))
        rng = np.random.default_rng([11, *self.name.encode("utf-8")])
        shown = appearance(ct.array.astype(np.float32), labels, self.sequence)
        thick = sliced(Volume(shown, ct.geometry, self.name), self.sequence.slices)
        return replace(thick, array=scanned(rng, thick.array), modality="MR")

    def read_labels(self, image: Volume, values: Sequence[int]) -> Array:
        ct = self.case.read_image()
        labels = Volume(self.case.read_labels(ct, values), ct.geometry)
        return on_grid(labels, image.geometry, sitk.sitkNearestNeighbor).array

    def stamp(self) -> str:
        return repr((self.case.stamp(), self.sequence))


def appearance(ct: Array, labels: Array, sequence: MrSequence) -> Array:
    """Brightness 0 to about 1 of HU (k, j, i) with labels."""
    smooth = sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(sitk.GetImageFromArray(ct), 1.2))
    shown = np.interp(smooth, HU, sequence.rest).astype(np.float32)
    for label, brightness in sequence.organs.items():
        shown[labels == label] = brightness
    # A label map's steps are none of an image's.
    blurred = sitk.SmoothingRecursiveGaussian(sitk.GetImageFromArray(shown), 0.6)
    shown = sitk.GetArrayFromImage(blurred) + sequence.texture * (ct - smooth) / 100
    return np.clip(shown, 0, None).astype(np.float32)


def sliced(volume: Volume, distance: float) -> Volume:
    """The volume in slices of a distance (mm) along k, each the mean over its thickness."""
    step = volume.geometry.spacing[2]
    if distance <= step:
        return volume
    count = max(1, int(volume.geometry.size[2] * step / distance))
    spacing = (*volume.geometry.spacing[:2], distance)
    first = volume.geometry.ijk_to_lps() @ np.array([0, 0, (distance / step - 1) / 2, 1])
    x, y, z = (float(value) for value in first[:3])
    geometry = Geometry((*volume.geometry.size[:2], count), spacing, (x, y, z), volume.geometry.direction)
    edges = np.arange(count + 1) * distance / step
    sums = np.concatenate([np.zeros((1, *volume.array.shape[1:])), np.cumsum(volume.array, axis=0, dtype=np.float64)])
    whole = np.minimum(edges.astype(int), len(volume.array) - 1)
    upto = sums[whole] + (edges - whole)[:, None, None] * volume.array[whole]
    means = np.diff(upto, axis=0) * step / distance
    return replace(volume, array=means.astype(np.float32), geometry=geometry)


def scanned(rng: np.random.Generator, image: Array) -> Array:
    """Shaded by a polynomial of the second degree, noise of two coils, on a scanner's scale, whole numbers."""
    axes = np.meshgrid(*(np.linspace(-1, 1, length) for length in image.shape), indexing="ij", sparse=True)
    terms = [*axes, *(a * b for a in axes for b in axes)]
    field = sum(float(weight) * term for weight, term in zip(rng.normal(0, 0.1, len(terms)), terms, strict=True))
    coils = [image * np.exp(field) / np.sqrt(2) + rng.normal(0, 0.02, image.shape) for _ in range(2)]
    return np.rint(700 * np.sqrt(coils[0] ** 2 + coils[1] ** 2)).astype(np.int16)


def on_grid(volume: Volume, geometry: Geometry, interpolator: int) -> Volume:
    """A volume on another grid; 0 beyond its own."""
    if volume.geometry.same_grid(geometry):
        return volume
    grid = Volume(np.zeros(geometry.shape, np.uint8), geometry).to_sitk()
    image = sitk.Resample(volume.to_sitk(), grid, sitk.Transform(), interpolator, 0)
    return replace(volume, array=sitk.GetArrayFromImage(image), geometry=geometry)


def unfinished_model(work: Path, recipe: Recipe) -> Model:
    """The model as it would be delivered if the training in a work folder ended now."""
    saved = torch.load(work / CHECKPOINT_FILE, map_location="cpu", weights_only=True)
    network = AHNet(recipe.network)
    network.load_state_dict(saved["best_weights"] or saved["average"])
    print(f"Weights after {saved['total']} steps.")
    return Model(card_of(recipe), network.eval(), work)


def means(evaluation: Evaluation) -> tuple[float, float]:
    """Mean Dice of the eight usual organs, and of all."""
    usual = [item.dice.mean for item in evaluation.classes if item.name in USUAL]
    return mean_of_defined(usual), evaluation.mean_dice


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--model", help="name of a model, or its folder")
    source.add_argument("--work", type=Path, help="work folder of a training that is under way")
    parser.add_argument(
        "--recipe", type=Path, help="names the validation cases; default: the model's, or the abdomen's"
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with images/ and labels/")
    parser.add_argument("--scales", type=float, nargs="+", help="of the pixels in plane; default: the model's")
    parser.add_argument("--sequences", nargs="+", choices=["CT", *SEQUENCES], default=["CT", *SEQUENCES])
    parser.add_argument("--table", action="store_true", help="print the table of classes too")
    options = parser.parse_args(arguments)
    folder = find_model(options.model) if options.model else None
    path = options.recipe or (folder / RECIPE_FILE if folder is not None else RECIPE)
    recipe = read_recipe(path)
    model = load_model(folder) if folder is not None else unfinished_model(options.work, recipe)
    if options.scales:
        model = Model(replace(model.card, test_time_scales=tuple(options.scales)), model.network, model.folder)
    cases = split_cases(find_cases(options.data), recipe.validation)[1]
    settings = InferenceSettings(device="auto")
    print(f"{'':20s} {'8 organs':>9s} {'all':>7s}")
    for name in options.sequences:
        shown = cases if name == "CT" else [PseudoCase(case.name, case, SEQUENCES[name]) for case in cases]
        evaluation = evaluate_model(model, shown, settings, distances=False)
        usual, every = means(evaluation)
        print(f"{name:20s} {usual:9.3f} {every:7.3f}", flush=True)
        if options.table:
            print(evaluation.table())
    return 0


if __name__ == "__main__":
    sys.exit(main())
