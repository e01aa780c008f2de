"""Scans in another plane than the model's, through every path: resampled without a shift, on their own grid again."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from AHNetSegmentLib.engine import build, cli
from AHNetSegmentLib.engine.augmentation import Augmentation
from AHNetSegmentLib.engine.build import evaluate_model, train_model
from AHNetSegmentLib.engine.card import ModelCard
from AHNetSegmentLib.engine.cases import ArrayCase
from AHNetSegmentLib.engine.dataset import prepare_case
from AHNetSegmentLib.engine.errors import RecipeError
from AHNetSegmentLib.engine.evaluation import LabelPair
from AHNetSegmentLib.engine.familiarity import doubts, measure_known, spacing_warnings
from AHNetSegmentLib.engine.image_io import read_volume, write_volume
from AHNetSegmentLib.engine.inference import InferenceSettings, segment
from AHNetSegmentLib.engine.orientation import ANATOMICAL, PLANES, network_orientation
from AHNetSegmentLib.engine.package import Model, load_model, save_model
from AHNetSegmentLib.engine.preprocess import ModelGrid, labels_to_model
from AHNetSegmentLib.engine.preview import Preview
from AHNetSegmentLib.engine.recipe import Recipe, Stage, recipe_from_dict
from AHNetSegmentLib.engine.tasks import geometry_to_dict, segment_task
from AHNetSegmentLib.engine.volume import Geometry, Region, Volume, crop
from AHNetSegmentLib.network.ahnet import AHNet
from engine_helpers import OBLIQUE, all_48, brightness_model, card, classes, noise_volume, random_model

EXACT = InferenceSettings(device="cpu", precision="float32")
AXIS = {"axial": 2, "coronal": 1, "sagittal": 0}
"""The axis of LPS that a plane's slices lie across."""
CENTRE, RADII = np.array([3.3, -5.2, 7.4]), np.array([13.0, 17.0, 15.0])
"""Of the phantom, along the axes of the grid before it is stored in another way, mm."""
STRAIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
FIELD = 48.0
"""mm."""


def phantom(plane: str, thickness: float, pixel: float, direction: tuple[float, ...] = OBLIQUE) -> Volume:
    """An ellipsoid whose value falls off linearly and is 50 at its border, in slices of a plane, as a scanner has it.

    Each voxel is the mean over its slice's thickness.
    """
    step = np.full(3, pixel)
    step[AXIS[plane]] = thickness
    size = np.round(FIELD / step).astype(int)
    parts = 12
    fine = [
        (np.arange(n * (parts if axis == AXIS[plane] else 1)) + 0.5) * mm / (parts if axis == AXIS[plane] else 1)
        - n * mm / 2
        for axis, (n, mm) in enumerate(zip(size, step, strict=True))
    ]
    x, y, z = np.meshgrid(*fine, indexing="ij", sparse=True)
    distance = np.sqrt(sum(((at - c) / r) ** 2 for at, c, r in zip((x, y, z), CENTRE, RADII, strict=True)))
    values = np.moveaxis(100 * np.clip(1 - 0.5 * distance, 0, 1), AXIS[plane], 0)
    values = values.reshape(size[AXIS[plane]], parts, *values.shape[1:]).mean(axis=1)
    array = np.moveaxis(values, 0, AXIS[plane]).transpose(2, 1, 0).astype(np.float32)
    origin = np.reshape(direction, (3, 3)) @ (-(size - 1) * step / 2)
    shape = (int(size[0]), int(size[1]), int(size[2]))
    spacing = (float(step[0]), float(step[1]), float(step[2]))
    return Volume(np.ascontiguousarray(array), Geometry(shape, spacing, tuple(origin.tolist()), direction), "phantom")


def centroid_mm(mask: np.ndarray, geometry: Geometry) -> np.ndarray:
    return geometry.ijk_to_lps()[:3, :3] @ np.argwhere(mask).mean(axis=0)[::-1] + geometry.ijk_to_lps()[:3, 3]


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


@pytest.mark.parametrize("scan", ANATOMICAL)
@pytest.mark.parametrize("plane", ANATOMICAL)
def test_thick_slices_of_every_plane_come_back_without_a_shift_in_all_48_orders(plane: str, scan: str) -> None:
    model = brightness_model(plane=plane, spacing=(3.0, 1.6, 1.6))
    for volume in all_48(phantom(scan, 4.0, 1.0)):
        result = segment(volume, model, EXACT)
        assert result.labels.shape == volume.array.shape
        assert result.geometry == volume.geometry
        found, wanted = result.labels > 0, volume.array > 50
        assert overlap(found, wanted) > 0.97
        offset = np.argwhere(found).mean(axis=0) - np.argwhere(wanted).mean(axis=0)
        assert np.abs(offset).max() < 0.1


@pytest.mark.parametrize("thickness", [1.6, 3.0, 5.0])
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 2.5, 2.5), (6.0, 1.0, 1.0), (0.7, 0.6, 0.6)], ids=str)
@pytest.mark.parametrize("scan", ANATOMICAL)
def test_slices_of_every_thickness_lie_where_the_body_is(
    scan: str, spacing: tuple[float, float, float], thickness: float
) -> None:
    volume = phantom(scan, thickness, 0.9)
    model = brightness_model(plane="axial", spacing=spacing, test_time_scales=(0.9, 1.1))
    found = segment(volume, model, EXACT).labels > 0
    offset = centroid_mm(found, volume.geometry) - centroid_mm(volume.array > 50, volume.geometry)
    along = np.abs(np.reshape(volume.geometry.direction, (3, 3)).T @ offset)
    # In voxels of the coarser grid, which decides how exactly a border can be known.
    assert (along / np.maximum(volume.geometry.spacing, spacing[::-1])).max() < 0.1


def test_a_real_network_finds_one_thing_in_a_coronal_scan_however_it_is_stored() -> None:
    original = noise_volume((21, 8, 18), spacing=(1.0, 2.5, 1.1), direction=OBLIQUE)
    model = random_model(plane="axial", spacing=(1.4, 1.2, 1.2), test_time_mirroring=True, test_time_scales=(0.9, 1.1))
    expected = segment(original, model, EXACT).labels
    assert len(np.unique(expected)) == 3
    stored = all_48(Volume(expected, original.geometry))
    for volume, labels in zip(all_48(original), stored, strict=True):
        np.testing.assert_array_equal(segment(volume, model, EXACT).labels, labels.array)


def test_a_region_is_segmented_like_the_piece_cut_out() -> None:
    volume = phantom("coronal", 4.0, 1.0)
    region = Region((8, 2, 11), (40, 10, 45))
    model = random_model(plane="axial", spacing=(2.0, 1.5, 1.5))
    result = segment(volume, model, replace(EXACT, region=region, probabilities=True))
    alone = segment(crop(volume, region), model, EXACT)
    np.testing.assert_array_equal(result.labels[region.slices], alone.labels)
    outside = result.labels.copy()
    outside[region.slices] = 0
    assert not outside.any()
    assert result.probabilities is not None
    assert result.probabilities.shape == (2, *volume.array.shape)


class TestResampling:
    """Of slices that are finer than the model's, each counts with its share."""

    @pytest.mark.parametrize("factor", [2, 3, 5])
    def test_slices_within_one_of_the_model_are_averaged(self, factor: int) -> None:
        scan = np.random.default_rng(0).normal(0, 1, (6 * factor, 7, 8)).astype(np.float32)
        grid = ModelGrid.of(scan.shape, (1.0, 2.0, 2.0), (float(factor), 2.0, 2.0))
        expected = scan.reshape(6, factor, 7, 8).mean(axis=1)
        np.testing.assert_allclose(grid.to_model(scan, 0, 6).numpy(), expected, atol=1e-6)

    def test_alternate_bright_and_dark_slices_become_grey(self) -> None:
        scan = np.zeros((40, 4, 4), np.int16)
        scan[::2] = 100
        for length in (20, 18, 13, 7, 4):
            seen = ModelGrid((40, 4, 4), (length, 4, 4)).to_model(scan, 0, length)
            assert float((seen - 50).abs().max()) <= 50 * length / 40 + 1e-4

    def test_the_mean_is_of_equal_parts_whatever_the_ratio(self) -> None:
        ramp = np.broadcast_to(np.arange(41, dtype=np.float32)[:, None, None] + 0.5, (41, 3, 3))
        for length in (20, 17, 9, 1):
            seen = ModelGrid((41, 3, 3), (length, 3, 3)).to_model(ramp, 0, length)[:, 0, 0].numpy()
            np.testing.assert_allclose(seen, (np.arange(length) + 0.5) * 41 / length, rtol=1e-5, atol=0.13)
            assert seen.mean() == pytest.approx(20.5, abs=1e-3)

    def test_slices_come_out_alike_in_any_batches(self) -> None:
        scan = np.random.default_rng(1).integers(0, 900, (61, 20, 24)).astype(np.int16)
        grid = ModelGrid(scan.shape, (17, 13, 31))
        whole = grid.to_model(scan, 0, 17)
        parts = [grid.to_model(scan, start, min(start + 3, 17)) for start in range(0, 17, 3)]
        assert torch.equal(torch.cat(parts), whole)

    def test_up_to_two_slices_are_interpolated_as_ever(self) -> None:
        scan = np.random.default_rng(2).normal(0, 1, (30, 5, 5)).astype(np.float32)
        seen = ModelGrid((30, 5, 5), (16, 5, 5)).to_model(scan, 0, 16).numpy()
        place = (np.arange(16) + 0.5) * 30 / 16 - 0.5
        low = np.floor(place).astype(int)
        share = (place - low)[:, None, None].astype(np.float32)
        np.testing.assert_allclose(seen, scan[low] * (1 - share) + scan[low + 1] * share, atol=1e-6)

    def test_memory_is_that_of_one_slice_and_not_of_the_stack(self) -> None:
        scan = np.zeros((400, 128, 128), np.int16)
        grid = ModelGrid(scan.shape, (40, 64, 64))
        tracemalloc.start()
        grid.to_model(scan, 0, 40)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 3 * 10 * 128 * 128 * 4

    def test_of_labels_the_largest_share_counts(self) -> None:
        labels = np.zeros((12, 2, 2), np.uint8)
        labels[:5], labels[5:10] = 1, 2
        found = labels_to_model(labels, ModelGrid((12, 2, 2), (3, 2, 2)))[:, 0, 0]
        assert found.tolist() == [1, 2, 0] or found.tolist() == [1, 2, 2]


def tiny_package(folder: Path, **changes: Any) -> Path:
    model = random_model(spacing=(2.0, 1.3, 1.3), **changes)
    save_model(folder / model.card.name, model.card, dict(model.network.state_dict()), "float32")
    return folder / model.card.name


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_package(tmp_path_factory.mktemp("models"), plane="axial")


@pytest.fixture(scope="module")
def coronal() -> Volume:
    return noise_volume((30, 9, 28), spacing=(1.0, 3.5, 1.1), origin=(4.0, -3.0, 9.0), direction=OBLIQUE)


@pytest.fixture(scope="module")
def expected(package: Path, coronal: Volume) -> np.ndarray:
    """What an axial model finds in coronal slices; one of any plane finds something else."""
    model = load_model(package)
    labels = segment(coronal, model, EXACT).labels
    of_any_plane = Model(replace(model.card, plane="any"), model.network, model.folder)
    by_thickness = segment(coronal, of_any_plane, EXACT).labels
    assert (labels != by_thickness).mean() > 0.05
    return labels


class TestEveryPath:
    """Command line, batch, worker and evaluation see a scan as the engine does, and say alike what they doubt."""

    def test_the_command_line(self, package: Path, coronal: Volume, expected: np.ndarray, tmp_path: Path) -> None:
        write_volume(tmp_path / "scan.nrrd", coronal)
        output = tmp_path / "labels.nrrd"
        words = ["segment", tmp_path / "scan.nrrd", "--model", package, "-o", output, "--device", "cpu"]
        assert cli.main([*map(str, words), "--precision", "float32"]) == 0
        written = read_volume(output)
        np.testing.assert_array_equal(written.array, expected)
        assert written.geometry.same_grid(coronal.geometry)

    def test_the_batch(self, package: Path, coronal: Volume, expected: np.ndarray, tmp_path: Path) -> None:
        write_volume(tmp_path / "scans" / "one.nrrd", coronal)
        words = ["batch", tmp_path / "scans", "-o", tmp_path / "out", "--model", package, "--device", "cpu"]
        assert cli.main([*map(str, words), "--precision", "float32"]) == 0
        np.testing.assert_array_equal(read_volume(tmp_path / "out" / "one.seg.nrrd").array, expected)

    def test_the_worker_of_the_panel(
        self, package: Path, coronal: Volume, expected: np.ndarray, tmp_path: Path
    ) -> None:
        class Context:
            cancelled = False
            waited = 0.0

            def progress(self, done: int, total: int) -> bool:
                return True

            def state(self, text: str) -> None:
                pass

        np.save(tmp_path / "volume.npy", coronal.array)
        found = segment_task(
            {
                "volume": str(tmp_path / "volume.npy"),
                "geometry": geometry_to_dict(coronal.geometry),
                "model": str(package),
                "output": str(tmp_path),
                "device": "cpu",
                "precision": "float32",
            },
            Context(),  # type: ignore[arg-type]
        )
        np.testing.assert_array_equal(np.load(found["labels"]), expected)
        assert found["warnings"] == spacing_warnings(replace(coronal, name="The volume"), load_model(package).card)

    def test_the_evaluation(self, package: Path, coronal: Volume, expected: np.ndarray) -> None:
        seen: list[LabelPair] = []
        cases = [ArrayCase("one", coronal, expected)]
        found = evaluate_model(load_model(package), cases, EXACT, look=lambda _, pair: seen.append(pair))
        np.testing.assert_array_equal(seen[0].predicted, expected)
        assert found.mean_dice == 1.0

    def test_the_picture_of_a_training_shows_the_model_s_slices(
        self, coronal: Volume, expected: np.ndarray, tmp_path: Path
    ) -> None:
        sizes = {}
        for plane in ("axial", "coronal", "any"):
            preview = Preview(tmp_path, classes())
            preview.take(coronal, LabelPair("one", expected, expected, coronal.geometry), plane)
            written = preview.write()
            assert written is not None
            sizes[plane] = read_picture_size(written)
        # 28 x 31.5 mm in the axial plane, 28 x 33 mm in the coronal one.
        assert sizes["axial"] == (341, 384)
        assert sizes["coronal"] == sizes["any"] == (326, 384)


def read_picture_size(path: str) -> tuple[int, int]:
    import SimpleITK as sitk

    width, height = sitk.ReadImage(path).GetSize()
    return width, height


RECIPE: dict[str, Any] = {
    "name": "ball",
    "title": "Ball",
    "version": "1.0.0",
    "modality": "MR",
    "anatomy": "Ball",
    "description": "For tests.",
    "data_licence": "CC0 1.0",
    "spacing": [2.0, 1.5, 1.5],
    "intensity": {"rule": "window", "lower": 0.0, "upper": 100.0},
    "network": {"width": 0.125, "slice_strides": [1, 1, 2, 2, 1], "pyramid_levels": 2},
    "classes": [
        {
            "label": 1,
            "name": "Ball",
            "color": [200, 20, 20],
            "terminology": {
                "category": {"scheme": "SCT", "value": "123037004", "meaning": "Anatomical Structure"},
                "type": {"scheme": "SCT", "value": "5366008", "meaning": "Hippocampus"},
            },
        }
    ],
    "stages": [{"kind": "all", "steps": 1, "learning_rate": 1e-3, "batch": 1, "patch": [8, 32, 32]}],
}


def recipe(**changes: Any) -> Recipe:
    return recipe_from_dict({**RECIPE, **changes})


class TestTraining:
    """Cases are prepared in the plane that the card will name."""

    @staticmethod
    def case(plane: str, number: int = 0) -> ArrayCase:
        volume = phantom(plane, 4.0, 1.0, STRAIGHT)
        image = replace(volume, array=volume.array + np.float32(number), name=f"{plane} {number}")
        return ArrayCase(image.name, image, (volume.array > 50).astype(np.uint8))

    @pytest.mark.parametrize("scan", ANATOMICAL)
    @pytest.mark.parametrize("plane", PLANES)
    def test_a_case_is_prepared_in_the_recipe_s_plane(self, plane: str, scan: str, tmp_path: Path) -> None:
        found = prepare_case(self.case(scan), recipe(plane=plane), tmp_path)
        across = AXIS[scan if plane == "any" else plane]
        down, along = (axis for axis in (2, 1, 0) if axis != across)
        assert found.labels.shape == (24, 32, 32)
        assert found.spacing == pytest.approx((2.0, 1.5, 1.5))
        place = (np.argwhere(found.labels == 1).mean(axis=0) - (np.array(found.labels.shape) - 1) / 2) * found.spacing
        # A tenth of the scan's own slices, whose voxels are wholly inside or outside.
        np.testing.assert_allclose(place, CENTRE[[across, down, along]], atol=0.4)
        bright = np.argwhere(np.asarray(found.image[0], np.float32) > 0).mean(axis=0)
        np.testing.assert_allclose(bright, np.argwhere(found.labels == 1).mean(axis=0), atol=0.3)

    def test_a_case_is_prepared_anew_for_another_plane(self, tmp_path: Path) -> None:
        stamps = {prepare_case(self.case("axial"), recipe(plane=plane), tmp_path).stamp for plane in PLANES}
        assert len(stamps) == len(PLANES)

    @pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
    def test_train_takes_the_plane_of_its_cases(
        self, plane: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        written = self.trained(tmp_path, monkeypatch, [plane, plane])
        assert written.plane == plane
        assert written.known["spacing"][0] == [4.0, 4.0]

    def test_train_takes_the_plane_of_its_recipe_before_that(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        written = self.trained(tmp_path, monkeypatch, ["coronal", "axial"], 'plane = "axial"\n')
        assert written.plane == "axial"
        assert written.known["spacing"] == [[1.0, 4.0], [1.0, 4.0], [1.0, 1.0]]

    def test_train_refuses_slices_of_two_planes(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(RecipeError, match="case_0 has coronal slices, case_1 has axial ones"):
            self.trained(tmp_path, monkeypatch, ["coronal", "axial"])
        assert not (tmp_path / "model").exists()

    def test_train_refuses_to_mirror_left_and_right_in_sagittal_slices(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        mirroring = "test_time_mirroring = true\naugmentation = { mirror = [0.0, 0.0, 0.5] }\n"
        with pytest.raises(RecipeError, match="does not fit its cases' sagittal slices"):
            self.trained(tmp_path, monkeypatch, ["sagittal"], mirroring)

    def trained(self, folder: Path, monkeypatch: pytest.MonkeyPatch, kinds: list[str], settings: str = "") -> ModelCard:
        class Untrained(build.Trainer):
            def run(self, *_: object) -> dict[str, torch.Tensor]:
                return AHNet(self.recipe.network).state_dict()

        monkeypatch.setattr(build, "Trainer", Untrained)
        for number, kind in enumerate(kinds):
            case = self.case(kind)
            write_volume(folder / "images" / f"case_{number}.nrrd", case.image)
            write_volume(folder / "labels" / f"case_{number}.nrrd", replace(case.image, array=case.labels))
        (folder / "recipe.toml").write_text(settings + RECIPE_TOML, encoding="utf-8")
        train_model(folder / "recipe.toml", folder, folder / "model", folder / "work")
        return load_model(folder / "model").card

    def test_labels_are_swapped_with_mirrored_columns_only_where_those_cross_left_and_right(self) -> None:
        stage = Stage("all", 1, 1e-3, 1, (8, 32, 32))
        swaps = Augmentation(mirror=(0.0, 0.0, 0.5), mirror_swaps=((1, 2),))
        for plane in ("axial", "coronal", ""):
            assert replace(recipe(plane=plane), augmentation=swaps).augmentation_of(stage) == swaps
        for plane in ("sagittal", "any"):
            with pytest.raises(ValueError, match="'mirror_swaps' needs columns across left and right"):
                replace(recipe(plane=plane), augmentation=swaps)


RECIPE_TOML = """\
name = "ball"
title = "Ball"
version = "1.0.0"
modality = "MR"
anatomy = "Ball"
description = "For tests."
data_licence = "CC0 1.0"
spacing = [2.0, 1.5, 1.5]
intensity = { rule = "window", lower = 0.0, upper = 100.0 }
network = { width = 0.125, slice_strides = [1, 1, 2, 2, 1], pyramid_levels = 2 }
[[classes]]
label = 1
name = "Ball"
color = [200, 20, 20]
[classes.terminology]
category = { scheme = "SCT", value = "123037004", meaning = "Anatomical Structure" }
type = { scheme = "SCT", value = "5366008", meaning = "Hippocampus" }
[[stages]]
kind = "all"
steps = 1
learning_rate = 1e-3
batch = 1
patch = [8, 32, 32]
"""


class TestCard:
    """Old cards load; what their models were trained on says which plane they know, or it stays open."""

    @staticmethod
    def read(known: dict[str, Any] | None = None, **changes: Any) -> ModelCard:
        data = {**card(known=known or {}).to_dict(), **changes}
        return ModelCard.from_dict({key: as_json(value) for key, value in data.items() if value is not None})

    def test_the_plane_is_kept(self) -> None:
        for plane in (*PLANES, ""):
            assert self.read(plane=plane).plane == plane

    @pytest.mark.parametrize(
        ("spacing", "plane"),
        [
            pytest.param([[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]], "axial", id="isotropic: always turned to axial slices"),
            pytest.param([[1.0, 1.4], [1.0, 1.1], [0.9, 1.0]], "axial", id="nothing stands out"),
            pytest.param([[2.5, 5.0], [1.2, 1.7], [1.2, 1.7]], "", id="thick slices of some plane"),
            pytest.param([[1.0, 1.6], [1.0, 1.1], [0.9, 1.0]], "", id="some with slices of their own"),
        ],
    )
    def test_a_card_from_before_tells_its_plane_by_its_cases(self, spacing: list[list[float]], plane: str) -> None:
        old = self.read({"spacing": spacing}, plane=None)
        assert old.plane == plane
        assert ModelCard.from_dict(as_json(old.to_dict())).plane == plane

    def test_a_card_that_knows_no_cases_leaves_it_open(self) -> None:
        assert self.read(plane=None).plane == ""

    @pytest.mark.parametrize("plane", ["Axial", "oblique", 1, []])
    def test_another_plane_is_refused(self, plane: Any) -> None:
        with pytest.raises(ValueError, match="plane"):
            self.read(plane=plane)

    def test_a_sagittal_model_cannot_be_mirrored_from_left_to_right(self) -> None:
        with pytest.raises(ValueError, match="cannot be mirrored in the sagittal plane"):
            self.read(plane="sagittal", test_time_mirroring=True)

    def test_a_model_of_unknown_plane_is_doubted_for_slices_that_are_not_axial(self) -> None:
        old = card(known={"spacing": [[4.0, 4.0], [1.0, 1.0], [1.0, 1.0]]})
        assert doubts(phantom("axial", 4.0, 1.0), old) == []
        assert doubts(phantom("coronal", 4.0, 1.0), old) == [
            "phantom has coronal slices, and the model tiny does not say which it was trained on: check the result."
        ]
        assert doubts(phantom("coronal", 4.0, 1.0), replace(old, plane="any")) == []


def as_json(value: Any) -> Any:
    import json

    return json.loads(json.dumps(value))


class TestDoubts:
    """Warned is before the run where reslicing costs, and not where it does not."""

    MODEL = card(
        name="abdomen",
        plane="axial",
        spacing=(3.0, 2.5, 2.5),
        known={"spacing": [[2.5, 5.0], [1.2, 1.7], [1.2, 1.7]]},
    )

    def test_coarse_slices_in_another_plane_are_named_with_both(self) -> None:
        assert spacing_warnings(phantom("sagittal", 5.0, 1.5), self.MODEL) == [
            "phantom has sagittal slices of 5 mm, but the model abdomen was trained on axial ones, to which they are "
            "resampled (5 mm instead of 1.2 to 1.7 mm): check the result."
        ]

    def test_slices_that_the_model_s_grid_holds_pass(self) -> None:
        for plane, thickness in product(ANATOMICAL, (2.5, 3.0)):
            assert spacing_warnings(phantom(plane, thickness, 1.5), self.MODEL) == []

    def test_what_is_known_lies_along_the_model_s_axes(self) -> None:
        cases = [TestTraining.case("coronal")]
        assert measure_known(cases, "axial")["spacing"] == [[1.0, 1.0], [4.0, 4.0], [1.0, 1.0]]
        assert measure_known(cases, "any")["spacing"] == [[4.0, 4.0], [1.0, 1.0], [1.0, 1.0]]
        known = measure_known(cases, "axial")
        assert doubts(cases[0].image, replace(self.MODEL, modality="MR", known=known)) == []


def test_the_orientation_of_an_axial_model_is_that_of_its_scan_in_axial_slices() -> None:
    for volume in all_48(phantom("axial", 4.0, 1.0)):
        assert network_orientation(volume.geometry, "any") == network_orientation(volume.geometry, "axial")
