"""A model's own kind of volume passes without a doubt, every other kind is told apart, in sentences with a remedy."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from AHNetSegmentLib.engine import build, inference
from AHNetSegmentLib.engine.card import Intensity, ModelCard, read_card
from AHNetSegmentLib.engine.cases import Case, find_cases
from AHNetSegmentLib.engine.errors import Cancelled, ModelError, VolumeError
from AHNetSegmentLib.engine.familiarity import doubts, looks_like_ct, measure_known, spacing_warnings
from AHNetSegmentLib.engine.image_io import read_volume
from AHNetSegmentLib.engine.package import find_model
from AHNetSegmentLib.engine.training_progress import TrainingOptions
from AHNetSegmentLib.engine.volume import Geometry, Region, Volume
from AHNetSegmentLib.network.ahnet import AHNet
from engine_helpers import OBLIQUE, card

LIBRARY = Path(__file__).resolve().parents[1] / "AHNetSegment"
ZSCORE = Intensity("zscore", 0.5, 99.5)
HU = Intensity("window", -125.0, 275.0)
KINDS = {
    "hippocampus-t1": card(name="hippocampus-t1", spacing=(1.0, 1.0, 1.0), intensity=ZSCORE, anatomy="Hippocampus"),
    "cardiac-cine": card(name="cardiac-cine", spacing=(None, 1.37, 1.37), intensity=ZSCORE, anatomy="Left ventricle"),
    "abdomen-ct": card(name="abdomen-ct", modality="CT", spacing=(3.0, 1.6, 1.6), intensity=HU, anatomy="Abdomen"),
}
STEPS = {"hippocampus-t1": 8, "cardiac-cine": 6, "abdomen-ct": 3}
ABDOMEN = {
    "cases": 18,
    "spacing": [[2.5, 5.0], [1.2, 1.7], [1.2, 1.7]],
    "extent": [[280.0, 660.0], [300.0, 440.0], [300.0, 440.0]],
    "below_zero": [0.6, 0.9],
}

RECIPE = """
name = "ball"
title = "Ball"
version = "1.0.0"
modality = "MR"
anatomy = "Ball"
description = "For tests."
data_licence = "CC0 1.0"
spacing = [2.0, 1.0, 1.0]
validation = ["case_2"]
[[classes]]
label = 1
name = "Ball"
color = [200, 20, 20]
[classes.terminology]
category = { scheme = "SCT", value = "123037004", meaning = "Anatomical Structure" }
type = { scheme = "SCT", value = "5366008", meaning = "Hippocampus" }
[intensity]
rule = "zscore"
lower = 0.5
upper = 99.5
[network]
width = 0.125
slice_strides = [1, 1, 2, 2, 1]
pyramid_levels = 2
[[stages]]
kind = "all"
steps = 1
learning_rate = 1e-3
batch = 1
patch = [8, 32, 32]
"""


def trunk(spacing: tuple[float, float, float] = (0.8, 0.8, 5.0), size: tuple[int, int, int] = (400, 400, 80)) -> Volume:
    """A CT of a trunk, sampled coarsely in value: air around fat around soft tissue with bone in it."""
    j, i = np.mgrid[: size[1], : size[0]]
    radius = np.hypot((i - size[0] / 2) / size[0], (j - size[1] / 2) / size[1])
    image = np.select([radius < 0.03, radius < 0.3, radius < 0.4], [700, 45, -100], -1000)
    noise = np.random.default_rng(0).normal(0, 15, image.shape)
    array = np.broadcast_to((image + noise).astype(np.int16), (size[2], size[1], size[0]))
    return Volume(array, Geometry(size, spacing), "Trunk")


def head(size: tuple[int, int, int] = (256, 256, 170), direction: tuple[float, ...] = OBLIQUE) -> Volume:
    """An MR of a head: dark outside, smooth within."""
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in size[::-1]), indexing="ij", sparse=True)
    array = np.clip(900 * (1 - sum(axis**2 for axis in axes)), 0, None).astype(np.int16)
    return Volume(array, Geometry(size, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), direction), "MRHead")


def measured(name: str, shared_data: Path, step: int) -> tuple[ModelCard, list[Case]]:
    """A card that knows some of a kind's cases, and some of the others."""
    cases = find_cases(shared_data / name)[:: STEPS[name]]
    return replace(KINDS[name], known=measure_known(cases[::step], "any")), cases[1::2]


def test_each_kind_passes_its_own_unseen_cases_and_doubts_every_other_volume(shared_data: Path) -> None:
    models = {}
    unseen = {}
    for name in KINDS:
        model, cases = measured(name, shared_data, 2)
        models[name], unseen[name] = model, [read_volume(case.image) for case in cases]
    unseen["single"] = [read_volume(path) for path in sorted((shared_data / "single").glob("*/image.*"))]
    assert len(unseen["single"]) == 2
    for name, model in models.items():
        for kind, volumes in unseen.items():
            for volume in volumes:
                assert bool(doubts(volume, model)) == (kind != name), f"{volume.name} for {name}"


def test_the_bundled_hippocampus_model_passes_its_validation_cases_and_no_whole_head(shared_data: Path) -> None:
    model = read_card(find_model("hippocampus-t1") / "model.json")
    assert model.known["cases"] == 208
    validation = set(model.training["validation_cases"])
    cases = [case for case in find_cases(shared_data / "hippocampus-t1") if case.name in validation]
    assert [doubts(read_volume(case.image), model, "MR") for case in cases] == [[]] * 42


def test_a_whole_head_needs_a_region_around_the_hippocampus() -> None:
    model = read_card(find_model("hippocampus-t1") / "model.json")
    assert doubts(head(), model) == [
        "MRHead covers 256 × 256 × 170 mm, but the model hippocampus-t1 knows pieces of 24 to 58 mm: draw a region of "
        "interest around the hippocampus."
    ]
    small = Region((100, 90, 80), (140, 140, 115))
    assert doubts(head(), model, "MR", small) == []
    large = doubts(head(), model, region=Region((0, 0, 0), (200, 140, 115)))
    assert large[0].startswith("The region of interest in MRHead covers 200 × 140 × 115 mm")
    assert "smaller, close around the hippocampus" in large[0]


def test_the_modality_of_the_dicom_header_is_said_first_and_alone() -> None:
    model = replace(KINDS["abdomen-ct"], known=ABDOMEN)
    chest = replace(head(), name="Chest (MR)")
    assert doubts(chest, model, "MR") == [
        "Chest (MR) is an MR volume by its DICOM header, but the model abdomen-ct knows CT: choose another model or "
        "volume."
    ]
    assert doubts(trunk(), model, "PT")[0].startswith("Trunk is a PT volume by its DICOM header")
    for telling_nothing in (None, "", "OT", "SC", " ct "):
        assert doubts(trunk(), model, telling_nothing) == []


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda values: values + 1024, "an offset of 1024 is left in"),
        (lambda values: np.clip((values + 160) / 4, 0, 100).astype(np.uint8), "a window as 8-bit grey values"),
        (lambda values: ((values + 300.0) / 500).astype(np.float32), "normalised to about -1.4 to 2"),
        (lambda values: np.random.default_rng(0).integers(-4096, 4096, values.shape, np.int16), "a phase image"),
    ],
    ids=lambda item: item if isinstance(item, str) else "",
)
def test_a_ct_model_wants_hounsfield_units(change, why: str) -> None:  # type: ignore[no-untyped-def]
    model = replace(KINDS["abdomen-ct"], known=ABDOMEN)
    volume = trunk()
    assert doubts(volume, model) == []
    (found,) = doubts(replace(volume, array=change(volume.array[::4])), model)
    assert "Trunk does not hold CT numbers in HU" in found
    assert "from DICOM" in found


def test_a_region_of_soft_tissue_alone_is_no_reason_to_doubt_a_ct() -> None:
    volume, model = trunk(), replace(KINDS["abdomen-ct"], known=ABDOMEN)
    soft = Region((137, 137, 15), (263, 263, 65))
    assert np.percentile(volume.array[soft.slices], 0.1) > -20
    assert doubts(volume, model, "CT", soft) == []


@pytest.mark.parametrize("clipped", [False, True])
def test_an_mr_model_tells_a_ct_by_its_air_or_its_many_whole_numbers_below_zero(clipped: bool) -> None:
    model = replace(KINDS["cardiac-cine"], known={"below_zero": [0.0, 0.0], "cases": 1})
    volume = trunk()
    if clipped:
        volume = replace(volume, array=volume.array.clip(-125, 275))
    (found,) = doubts(volume, model)
    assert found.startswith("Trunk looks like a CT (")
    assert found.endswith("but the model cardiac-cine knows MR: choose another model or volume.")


def test_a_whole_scan_with_another_mixture_of_dark_and_bright_is_doubted_a_region_of_it_is_not() -> None:
    volume = head((256, 256, 10))
    known = {"extent": [[8.0, 12.0], [200.0, 300.0], [200.0, 300.0]], "quartiles": {"25": [0.0, 0.0], "75": [0.0, 0.1]}}
    model = replace(KINDS["cardiac-cine"], known=known)
    (found,) = doubts(volume, model, "MR")
    assert found.startswith("MRHead has another mixture of dark and bright than the scans that the model cardiac-cine")
    assert "check that it is the same kind of scan" in found
    assert doubts(volume, model, "MR", Region((20, 20, 0), (240, 240, 10))) == []


def test_an_mr_that_was_normalised_before_is_no_ct() -> None:
    model = replace(KINDS["cardiac-cine"], known={"below_zero": [0.0, 0.0], "cases": 1})
    volume = head()
    values = volume.array.astype(np.float32)
    assert doubts(replace(volume, array=(values - values.mean()) / values.std()), model) == []


@pytest.mark.parametrize(
    ("spacing", "size", "fine"),
    [
        ((0.7, 0.7, 1.0), (512, 512, 400), True),  # thin slices are resampled
        ((0.9, 0.9, 8.0), (400, 400, 50), True),
        ((0.9, 0.9, 12.0), (400, 400, 40), False),
        ((4.0, 4.0, 5.0), (100, 100, 80), False),
        ((0.2, 0.2, 5.0), (1600, 1600, 80), False),
    ],
    ids=str,
)
def test_spacing_may_be_finer_by_far_but_not_coarser(
    spacing: tuple[float, float, float], size: tuple[int, int, int], fine: bool
) -> None:
    volume = trunk(spacing, size)
    model = replace(KINDS["abdomen-ct"], known=ABDOMEN)
    found = doubts(volume, model)
    assert (found == []) == fine
    assert found == spacing_warnings(volume, model)
    if not fine:
        assert "check the result" in found[0]


@pytest.mark.parametrize(
    ("size", "remedy"),
    [
        ((400, 400, 380), "draw a region of interest around the abdomen"),
        ((400, 400, 15), "choose a volume that shows more"),
        ((200, 200, 190), "check that it shows what the model segments"),
    ],
    ids=str,
)
def test_a_field_of_view_unlike_the_known_ones_is_doubted(size: tuple[int, int, int], remedy: str) -> None:
    (found,) = doubts(trunk(size=size), replace(KINDS["abdomen-ct"], known=ABDOMEN))
    assert found.startswith("Trunk covers ")
    assert "knows scans of 280 to 660 mm across the slices and 300 to 440 mm in plane" in found
    assert found.endswith(f"{remedy}.")


def test_a_card_that_knows_nothing_checks_the_spacing_only() -> None:
    old = KINDS["cardiac-cine"]
    assert doubts(trunk(spacing=(1.37, 1.37, 5.0)), old, "CT") == []
    (found,) = doubts(trunk(), replace(old, spacing=(None, 2.0, 0.3)))
    assert found == (
        "Trunk has a spacing far from that of the model cardiac-cine (0.8 mm instead of 2 mm, 0.8 mm instead of 0.3 "
        "mm): check the result."
    )
    assert inference.doubts is doubts


def test_a_large_volume_is_judged_in_a_tenth_of_a_second() -> None:
    volume = trunk((0.7, 0.7, 1.0), (512, 512, 400))
    volume = replace(volume, array=np.ascontiguousarray(volume.array))
    model = replace(KINDS["abdomen-ct"], known=ABDOMEN)
    seconds = []
    for _ in range(5):
        started = time.process_time()
        doubts(volume, model, "CT", Region((10, 10, 10), (500, 500, 390)))
        seconds.append(time.process_time() - started)
    assert min(seconds) < 0.1


def test_odd_volumes_are_left_to_the_checks_of_the_run() -> None:
    model = replace(KINDS["cardiac-cine"], known=ABDOMEN | {"quartiles": {"25": [0.0, 0.1]}})
    for array in (np.full((4, 5, 6), np.nan, np.float32), np.zeros((4, 5, 6), bool), np.zeros((0, 5, 6))):
        assert isinstance(doubts(Volume(array, Geometry((6, 5, array.shape[0]))), model), list)


def test_what_is_known_is_measured_in_the_networks_axes(tmp_path: Path) -> None:
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for number, thickness in enumerate((4.0, 6.0)):
        # The slice axis is i: the first along (slices, rows, columns).
        array = np.arange(20 * 30 * 10, dtype=np.int16).reshape(20, 30, 10) - 600 * number
        image = sitk.GetImageFromArray(array)
        image.SetSpacing((thickness, 2.0, 1.0))
        sitk.WriteImage(image, str(tmp_path / "images" / f"{number}.nii.gz"))
        sitk.WriteImage(image, str(tmp_path / "labels" / f"{number}.nii.gz"))
    known = measure_known(find_cases(tmp_path), "any")
    assert known["cases"] == 2
    assert known["spacing"][0] == [4.0, 6.0]
    assert known["extent"][0] == [40.0, 60.0]
    assert sorted(span[0] for span in known["extent"][1:]) == [20.0, 60.0]
    assert known["below_zero"] == [0.0, 0.1]
    assert known["percentiles"]["50"] == [pytest.approx(2399.5), pytest.approx(2999.5)]
    assert known["quartiles"]["50"] == [pytest.approx(0.5), pytest.approx(0.5)]
    assert known["whole_numbers"] is True
    for case in find_cases(tmp_path):
        assert doubts(read_volume(case.image), replace(card(), plane="any", intensity=ZSCORE, known=known)) == []
    axial = measure_known(find_cases(tmp_path), "axial")
    assert axial["spacing"] == [known["spacing"][1], known["spacing"][2], [4.0, 6.0]]
    assert axial["extent"][2] == [40.0, 60.0]


def test_a_trained_model_knows_its_training_and_validation_cases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        volume = sitk.GetImageFromArray(np.arange(8 * 40 * 40, dtype=np.int16).reshape(8, 40, 40))
        volume.SetSpacing((1.0, 1.0, 2.0 + number))
        for folder, image in (("images", volume), ("labels", sitk.Cast(volume > 9000, sitk.sitkUInt8))):
            (tmp_path / folder).mkdir(exist_ok=True)
            sitk.WriteImage(image, str(tmp_path / folder / f"case_{number}.nii.gz"))
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE, encoding="utf-8")

    class Untrained(build.Trainer):
        def run(self, *_: object) -> dict[str, torch.Tensor]:
            return AHNet(self.recipe.network).state_dict()

    monkeypatch.setattr(build, "Trainer", Untrained)
    options = TrainingOptions(device="cpu", precision="float32")
    build.train_model(recipe, tmp_path, tmp_path / "model", tmp_path / "work", options)
    card_written = read_card(tmp_path / "model" / "model.json")
    assert card_written.known["cases"] == 3
    assert card_written.known["spacing"][0] == [2.0, 4.0]
    assert card_written.figures  # written afterwards, and did not cost the field
    with pytest.raises(Cancelled):
        build.train_model(recipe, tmp_path, tmp_path / "model", tmp_path / "work", None, None, lambda *_: False)


def test_a_case_that_cannot_be_used_is_named_before_hours_of_training(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(np.zeros((4, 5, 6), np.int16))
    sitk.WriteImage(image, str(tmp_path / "flat.nii.gz"))
    with pytest.raises(VolumeError, match="flat"):
        measure_known([Case("flat", tmp_path / "flat.nii.gz", tmp_path / "flat.nii.gz")], "any")


@pytest.mark.parametrize(
    "known",
    [
        [],
        {"spacing": [[1.0, 1.0]]},
        {"spacing": [[0.0, 1.0]] * 3},
        {"extent": [[2.0, 1.0]] * 3},
        {"quartiles": {"25": ["a", "b"]}},
        {"percentiles": [1, 2]},
        {"below_zero": 0.5},
    ],
    ids=str,
)
def test_a_card_with_a_damaged_field_is_refused_with_the_fields_name(tmp_path: Path, known: object) -> None:
    path = tmp_path / "model.json"
    path.write_text(json.dumps(card().to_dict() | {"known": known}), encoding="utf-8")
    with pytest.raises(ModelError, match="known"):
        read_card(path)


def test_old_cards_are_read_and_the_question_needs_no_torch(tmp_path: Path) -> None:
    facts = card().to_dict()
    del facts["known"]
    (tmp_path / "model.json").write_text(json.dumps(facts), encoding="utf-8")
    assert read_card(tmp_path / "model.json").known == {}
    code = "import sys; sys.modules['torch'] = None; from AHNetSegmentLib.engine import familiarity"
    done = subprocess.run([sys.executable, "-c", code], cwd=LIBRARY, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("padding", [-1, -1000, -1024, -2000, -32768])
def test_an_mr_that_is_padded_with_one_number_is_no_ct(padding: int) -> None:
    model = replace(KINDS["cardiac-cine"], known={"below_zero": [0.0, 0.0], "cases": 1})
    volume = head()
    array = volume.array.astype(np.int16)
    array[:, : array.shape[1] // 3] = padding
    assert not looks_like_ct(replace(volume, array=array))
    assert doubts(replace(volume, array=array), model) == []


@pytest.mark.parametrize("lowest", [-3024, -1024, -1000, -500, -125])
def test_a_ct_that_is_padded_or_cut_off_below_is_still_one(lowest: int) -> None:
    volume = trunk()
    array = volume.array.clip(max(lowest, -1024), None)
    array[:, :60] = lowest
    assert looks_like_ct(replace(volume, array=array))


@pytest.mark.parametrize("values", [(0, 1), (0, 255), (0, 1, 2, 3), (0, 2000)])
def test_a_label_map_in_the_place_of_a_scan_is_told(values: tuple[int, ...]) -> None:
    volume = head()
    labels = np.asarray(values, np.int16)[np.digitize(volume.array, np.linspace(200, 600, len(values) - 1))]
    assert (labels == 0).mean() > 0.3
    (found,) = doubts(replace(volume, array=labels), KINDS["cardiac-cine"])
    assert "looks like a label map" in found
