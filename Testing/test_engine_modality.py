"""A model of several modalities gives each its intensity rule, and says which one a volume got and why."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from AHNetSegmentLib.engine.card import Intensity, ModelCard, read_card, write_card
from AHNetSegmentLib.engine.errors import ModelError
from AHNetSegmentLib.engine.familiarity import doubts
from AHNetSegmentLib.engine.finetune_plan import FinetuneSettings, Identity, plan_recipe
from AHNetSegmentLib.engine.image_io import read_volume
from AHNetSegmentLib.engine.inference import InferenceSettings, segment
from AHNetSegmentLib.engine.modality import choose_intensity
from AHNetSegmentLib.engine.package import Model
from AHNetSegmentLib.engine.report import segmentation_report
from AHNetSegmentLib.engine.tasks import geometry_to_dict, segment_task
from AHNetSegmentLib.engine.volume import Geometry, Region, Volume
from engine_helpers import brightness_model, card, random_model

WINDOW, PERCENTILES = Intensity("window", -125.0, 275.0), Intensity("zscore", 0.0, 100.0)
SEVERAL: dict[str, Any] = {
    "modality": "CT, MR",
    "intensity": PERCENTILES,
    "intensity_by_modality": (("CT", WINDOW),),
}
ON_CPU = InferenceSettings(device="cpu", precision="float32")


def ct(modality: str = "") -> Volume:
    """Air around fat and soft tissue with a bright spot, in HU."""
    values = np.full((6, 20, 20), -1000, np.int16)
    values[:, 3:17, 3:17] = -100
    values[:, 4:16, 4:16] = 40
    values[:, 8:10, 8:10] = 230
    return Volume(values, Geometry((20, 20, 6)), "Trunk", modality)


def mr(modality: str = "") -> Volume:
    return Volume((ct().array + 1000).astype(np.uint16), Geometry((20, 20, 6)), "Trunk", modality)


def test_a_ct_is_told_by_its_values_and_all_else_gets_the_rule_of_all_others() -> None:
    found = choose_intensity(ct(), PERCENTILES, (("CT", WINDOW),))
    assert (found.rule, found.words) == (WINDOW, "window of -125 to 275 HU (CT by its values)")
    found = choose_intensity(mr(), PERCENTILES, (("CT", WINDOW),))
    assert found.rule == PERCENTILES
    assert found.words == "from the percentile 0 to the percentile 100, mean 0, deviation 1 (no CT by its values)"


def test_a_header_goes_before_the_values_and_a_person_s_word_before_the_header() -> None:
    rules = (("CT", WINDOW),)
    assert choose_intensity(ct("MR"), PERCENTILES, rules).reason == "MR by its DICOM header"
    assert choose_intensity(ct("MR"), PERCENTILES, rules).rule == PERCENTILES
    assert choose_intensity(mr("CT"), PERCENTILES, rules).rule == WINDOW
    assert choose_intensity(mr("MR"), PERCENTILES, rules, asked="ct").rule == WINDOW
    assert choose_intensity(mr("MR"), PERCENTILES, rules, asked="ct").reason == "CT as asked for"
    for silent in ("OT", "SC", ""):
        assert choose_intensity(ct(silent), PERCENTILES, rules).reason == "CT by its values"


def test_a_model_with_one_rule_asks_nothing() -> None:
    found = choose_intensity(ct(), PERCENTILES, ())
    assert (found.rule, found.reason) == (PERCENTILES, "")


def test_the_whole_volume_tells_the_modality_where_a_region_is_segmented() -> None:
    model = brightness_model(**SEVERAL)
    inside = replace(ON_CPU, region=Region((4, 4, 0), (16, 16, 6)))
    found = segment(ct(), model, inside)
    assert "CT by its values" in found.intensity
    # 230 HU is 0.775 in the window, above the brightness of class 2; 40 HU lies below that of class 1.
    assert sorted(np.unique(found.labels)) == [0, 2]
    assert (found.labels == 2).sum() == 6 * 2 * 2


def test_the_rule_decides_what_is_found_and_the_report_says_which_it_was() -> None:
    model = brightness_model(**SEVERAL)
    as_ct, as_mr = segment(ct(), model, ON_CPU), segment(ct(), model, replace(ON_CPU, modality="MR"))
    assert (as_ct.labels > 0).sum() == 6 * 2 * 2
    assert (as_mr.labels > 0).sum() == 6 * 14 * 14
    (run,) = segmentation_report(as_mr, model.card, "Trunk")["runs"]
    assert run["intensity"].endswith("(MR as asked for)")


def test_a_modality_that_the_model_does_not_know_is_refused() -> None:
    with pytest.raises(ModelError, match="knows no modality PT; choose CT or MR"):
        segment(ct(), brightness_model(**SEVERAL), replace(ON_CPU, modality="PT"))


def test_the_worker_is_told_what_header_and_person_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from AHNetSegmentLib.engine import tasks

    class Context:
        cancelled = False
        waited = 0.0

        def state(self, text: str) -> None:
            pass

        def progress(self, done: int, total: int) -> bool:
            return True

        def report(self, facts: dict[str, Any]) -> None:
            pass

    model: Model = random_model(**SEVERAL)
    monkeypatch.setattr(tasks._MODELS, "get", lambda folder: model)
    np.save(tmp_path / "volume.npy", ct().array)
    arguments = {
        "volume": str(tmp_path / "volume.npy"),
        "geometry": geometry_to_dict(ct().geometry),
        "model": "any",
        "output": str(tmp_path),
        "device": "cpu",
        "report": True,
    }
    for told, reason in (
        ({}, "CT by its values"),
        ({"volume_modality": "MR"}, "MR by its DICOM header"),
        ({"volume_modality": "MR", "modality": "CT"}, "CT as asked for"),
    ):
        found = segment_task({**arguments, **told}, Context())
        assert found["report"]["runs"][0]["intensity"].endswith(f"({reason})")


def test_a_card_keeps_its_rules_and_others_stay_readable_for_older_versions(tmp_path: Path) -> None:
    several = card(**SEVERAL)
    write_card(tmp_path / "several.json", several)
    assert read_card(tmp_path / "several.json") == several
    assert several.intensity_of("ct") == WINDOW
    assert several.intensity_of("MR") == several.intensity_of("") == PERCENTILES
    write_card(tmp_path / "one.json", card())
    assert "intensity_by_modality" not in json.loads((tmp_path / "one.json").read_text())
    assert read_card(tmp_path / "one.json") == card()


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"ct": {"rule": "window", "lower": 0, "upper": 1}}, "no modality in capitals"),
        ({"CT": {"rule": "window", "lower": 0}}, "'upper' is missing"),
        ({"CT": 5}, "must be of type dict"),
        ([], "must be of type dict"),
    ],
)
def test_wrong_rules_in_a_card_are_named(rules: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelCard.from_dict({**json.loads(json.dumps(card().to_dict())), "intensity_by_modality": rules})


def test_a_model_of_several_modalities_doubts_neither_of_them_and_other_ones() -> None:
    known = {
        "spacing": [[1, 1]] * 3,
        "extent": [[5, 30]] * 3,
        "quartiles": {"50": [0.9, 1.0]},
        "below_zero": [0.5, 0.9],
    }
    model = replace(card(**SEVERAL), known=known)
    for volume in (ct(), ct("CT"), mr(), mr("MR"), mr("OT")):
        assert doubts(volume, model) == []
    (found,) = doubts(mr("PT"), model)
    assert found.startswith("Trunk is a PT volume by its DICOM header, but the model tiny knows CT, MR")
    (found,) = doubts(replace(mr("CT"), array=mr().array * 4), model)
    assert "does not hold CT numbers in HU" in found


def test_a_dicom_series_tells_its_modality_and_a_nifti_file_none(shared_data: Path) -> None:
    folder = shared_data / "single" / "prostate-t2"
    series = next(path for path in folder.iterdir() if path.is_dir())
    assert read_volume(series).modality == "MR"
    assert read_volume(next(folder.glob("*.nii.gz"))).modality == ""


@pytest.mark.parametrize(
    ("modality", "rule", "kept"),
    [("CT", WINDOW, ()), ("MR", PERCENTILES, ()), ("CT, MR", PERCENTILES, (("CT", WINDOW),))],
)
def test_a_new_model_takes_the_rule_of_its_own_modality_from_a_base_of_several(
    modality: str, rule: Intensity, kept: Any
) -> None:
    base = card(**SEVERAL, classes=card().classes)
    scans = [("Trunk", Geometry((40, 40, 12), (2.0, 2.0, 3.0)))]
    recipe = plan_recipe(Identity("new", "New", modality=modality), base.classes, scans, base, FinetuneSettings())
    assert (recipe.intensity, recipe.intensity_by_modality) == (rule, kept)
