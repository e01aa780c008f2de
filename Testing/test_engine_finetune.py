"""Fine-tuning: what is learned, what is kept, and that neither a kill nor a missing label does harm."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from AHNetSegmentLib.engine.build import evaluate_model
from AHNetSegmentLib.engine.card import Intensity
from AHNetSegmentLib.engine.cases import ArrayCase, Case
from AHNetSegmentLib.engine.errors import (
    AHNetSegmentError,
    Cancelled,
    ModelError,
    OutputError,
    RecipeError,
    ResourceError,
)
from AHNetSegmentLib.engine.finetune import FinetuneResult, FinetuneTask, finetune
from AHNetSegmentLib.engine.finetune_plan import FinetuneSettings, Identity
from AHNetSegmentLib.engine.image_io import write_labels
from AHNetSegmentLib.engine.package import Model, load_model
from AHNetSegmentLib.engine.start import HEAD, known_classes, starting_weights
from AHNetSegmentLib.engine.training import CHECKPOINT_FILE, Trainer
from AHNetSegmentLib.engine.training_progress import LOG_FILE, TrainingProgress, Watch
from AHNetSegmentLib.engine.volume import Volume
from AHNetSegmentLib.network.resnet import ResNet2d
from AHNetSegmentLib.network.settings import AHNetSettings
from finetune_helpers import OPTIONS, SETTINGS, base_model, blob, classes, task

TESTING = Path(__file__).resolve().parent


@pytest.fixture
def base(tmp_path: Path) -> Model:
    return base_model(tmp_path / "models")


def run(what: FinetuneTask, folder: Path, watch: Watch | None = None) -> FinetuneResult:
    result = finetune(what, folder / "model", folder / "work", OPTIONS, watch)
    assert result is not None
    return result


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_model(folder / "model").network.state_dict())


def assert_same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=0, atol=0, msg=name)


class StopAt:
    """Answers no when asked for the n-th time."""

    def __init__(self, number: int) -> None:
        self.left = number

    def __call__(self) -> bool:
        self.left -= 1
        return self.left > 0


@pytest.mark.slow
def test_a_run_that_is_stopped_anywhere_ends_like_one_that_is_not(base: Model, tmp_path: Path) -> None:
    run(task(base), tmp_path / "whole")
    # While cases are prepared, in both stages, in a validation and after one: each try goes on where the last stopped.
    for number in (2, 8, 9, 10, 12):
        with pytest.raises(Cancelled):
            run(task(base), tmp_path / "stopped", Watch(go_on=StopAt(number)))
    run(task(base), tmp_path / "stopped")
    assert_same_weights(weights(tmp_path / "stopped"), weights(tmp_path / "whole"))


KILLED = """
import sys
from pathlib import Path
from finetune_helpers import OPTIONS, task
from AHNetSegmentLib.engine.finetune import finetune
from AHNetSegmentLib.engine.package import load_model
base, folder = map(Path, sys.argv[1:])
finetune(task(load_model(base)), folder / "model", folder / "work", OPTIONS)
"""


@pytest.mark.slow
def test_a_run_that_is_killed_at_a_random_step_ends_like_one_that_is_not(base: Model, tmp_path: Path) -> None:
    run(task(base), tmp_path / "whole")
    killed = tmp_path / "killed"
    paths = os.pathsep.join([str(TESTING), str(TESTING.parent / "AHNetSegment")])
    kills = 0
    for steps in np.sort(np.random.default_rng().choice(np.arange(1, SETTINGS.steps), 2, replace=False)):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(base.folder), str(killed)], env={**os.environ, "PYTHONPATH": paths}
        )
        while process.poll() is None and _steps_logged(killed / "work" / LOG_FILE) < steps:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
    assert kills == 2
    assert (killed / "work" / CHECKPOINT_FILE).is_file()
    run(task(base), killed)
    assert_same_weights(weights(killed), weights(tmp_path / "whole"))


def _steps_logged(path: Path) -> int:
    return int(json.loads(path.read_text())[-1]["total"]) if path.is_file() else 0


def test_a_seed_decides_everything_and_another_one_something_else(base: Model, tmp_path: Path) -> None:
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        run(task(base, settings=replace(SETTINGS, seed=seed)), tmp_path / name)
    assert_same_weights(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not torch.equal(weights(tmp_path / "a")[HEAD], weights(tmp_path / "c")[HEAD])


def test_the_encoder_stays_locked_while_the_decoder_learns(base: Model, tmp_path: Path) -> None:
    kinds: list[str] = []
    stages: dict[str, dict[str, torch.Tensor]] = {}

    def watch(place: TrainingProgress) -> None:
        kinds.append(place.kind)
        saved = torch.load(tmp_path / "work" / CHECKPOINT_FILE, weights_only=True)["network"]
        stages[place.kind] = {name: value for name, value in saved.items() if name.startswith("encoder.")}

    run(task(base), tmp_path, Watch(steps=lambda place: watch(place) if place.total > 1 else None))
    before = {name: value for name, value in base.network.state_dict().items() if name.startswith("encoder.")}
    assert kinds == sorted(kinds, reverse=True)
    assert_same_weights(stages["decoder"], before)
    assert any(not torch.equal(value, before[name]) for name, value in stages["all"].items())


def learning(**changes: Any) -> FinetuneSettings:
    """Settings with which a tiny network learns a blob in seconds."""
    settings = replace(SETTINGS, steps=120, learning_rate=1e-2, encoder_factor=1.0, validate_every=0, patience=0)
    return replace(settings, checkpoint_seconds=1e9, batch=4, **changes)


def test_a_missing_label_is_not_learned_as_background(base: Model, tmp_path: Path) -> None:
    whole = blob(0, use="training")
    partly = [blob(number, names=(1,), labelled=(1,), use="training") for number in range(20, 31)]
    wrongly = [replace(case, labelled=None) for case in partly]
    unseen = [blob(number) for number in (10, 11, 12)]
    dice = {}
    for name, cases in (("unknown", partly), ("background", wrongly)):
        what = task(base, [whole, *cases], settings=learning(), intensity=Intensity("window", 0.0, 100.0))
        result = run(what, tmp_path / name)
        found = evaluate_model(load_model(result.folder), unseen, distances=False)
        dice[name] = {item.name: item.dice.mean for item in found.classes}
    assert dice["unknown"]["Anterior"] > 0.7
    assert dice["unknown"]["Posterior"] > 0.7
    # The very same voxels, said to be background: the class is lost.
    assert dice["background"]["Posterior"] < 0.4
    assert dice["unknown"]["Posterior"] > dice["background"]["Posterior"] + 0.3


def test_validation_measures_only_what_a_case_labels(base: Model, tmp_path: Path) -> None:
    cases = [blob(0, use="training"), blob(1, names=(1,), labelled=(1,), use="validation")]
    result = run(task(base, cases), tmp_path)
    assert result.after is not None
    assert [item.dice.count for item in result.after.classes] == [1, 0]
    validation = result.card.training["log"][0]["dice"]
    assert validation["Posterior"] is None
    assert validation["Anterior"] is not None


def test_the_weights_of_the_best_validation_are_delivered(base: Model, tmp_path: Path) -> None:
    result = run(task(base, settings=replace(SETTINGS, steps=60, learning_rate=5e-3, encoder_factor=1.0)), tmp_path)
    assert result.after is not None
    scores = [np.nanmean([v for v in e["dice"].values() if v is not None]) for e in result.card.training["log"]]
    best = [entry["best"] for entry in result.card.training["log"]]
    assert best[int(np.argmax(scores))]
    assert not any(best[int(np.argmax(scores)) + 1 :])
    assert result.after.mean_dice == pytest.approx(max(scores), abs=2e-3)
    saved = torch.load(tmp_path / "work" / CHECKPOINT_FILE, weights_only=True)
    for name, value in weights(tmp_path).items():
        torch.testing.assert_close(value, saved["best_weights"][name].float(), rtol=1e-3, atol=1e-4)


def test_a_training_that_stops_early_says_so(base: Model, tmp_path: Path) -> None:
    settings = replace(SETTINGS, steps=40, learning_rate=1e-9, validate_every=1, patience=1)
    result = run(task(base, settings=settings), tmp_path)
    assert result.stopped_early
    assert json.loads((tmp_path / "work" / LOG_FILE).read_text())[-1]["total"] < 40
    assert any("ended early" in note for note in result.notes)
    patient = run(task(base, settings=replace(settings, steps=6, patience=0)), tmp_path / "patient")
    assert not patient.stopped_early


def test_below_three_cases_none_is_held_out_and_that_is_said(base: Model, tmp_path: Path) -> None:
    result = run(task(base, [blob(0), blob(1)]), tmp_path)
    assert result.before is result.after is None
    assert result.card.figures == {}
    assert result.card.training["validation_cases"] == 0
    assert any("fewer than 3 cases" in note for note in result.notes)


def test_nothing_of_a_case_but_numbers_is_written_down(base: Model, tmp_path: Path) -> None:
    what = task(base, [blob(number, group=f"Jane Doe {number}") for number in range(4)])
    run(what, tmp_path, Watch(preview=tmp_path))
    written = [path for path in tmp_path.rglob("*") if path.is_file() and "models" not in path.parts]
    assert {CHECKPOINT_FILE, LOG_FILE, "model.json", "weights.pt"} <= {path.name for path in written}
    for path in written:
        content = path.read_bytes()
        for word in (b"Jane", str(tmp_path).encode()):
            assert word not in content, path.name
            assert word.decode() not in str(path.relative_to(tmp_path))


def test_nothing_of_dicom_headers_or_paths_is_written_down(base: Model, tmp_path: Path) -> None:
    secret = tmp_path / "Doe^Jane 1970"
    cases = []
    for number in range(3):
        case = blob(number)
        write_dicom(case.image, secret / f"series {number}", {"0010|0010": "Doe^Jane", "0010|0020": "Doe-4711"})
        write_labels(secret / f"Doe {number}.nii.gz", case.labels, case.image.geometry)
        cases.append(Case(f"Doe {number}", secret / f"series {number}", secret / f"Doe {number}.nii.gz", group="Doe 1"))
    cases = [replace(case, group="") for case in cases]
    assert b"Doe^Jane" in next((secret / "series 0").iterdir()).read_bytes()
    out = tmp_path / "out"
    run(task(base, cases), out, Watch(preview=out))
    written = [path for path in out.rglob("*") if path.is_file()]
    assert {CHECKPOINT_FILE, LOG_FILE, "model.json", "weights.pt"} <= {path.name for path in written}
    for path in written:
        for word in (b"Jane", b"Doe-4711", b"Doe ", b"series "):
            assert word not in path.read_bytes(), path.name


def write_dicom(volume: Volume, folder: Path, tags: dict[str, str]) -> None:
    """A series of one file per slice, int16."""
    folder.mkdir(parents=True)
    image = replace(volume, array=volume.array.astype(np.int16)).to_sitk()
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for number in range(image.GetSize()[2]):
        piece = image[:, :, number]
        places = {
            "0008|0060": "MR",
            "0020|000e": "1.2.3.4",
            "0020|000d": "1.2.3",
            "0008|0018": f"1.2.3.4.{number + 1}",
            "0020|0013": str(number + 1),
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0020|0032": "\\".join(map(str, image.TransformIndexToPhysicalPoint((0, 0, number)))),
        }
        for key, value in {**tags, **places}.items():
            piece.SetMetaData(key, value)
        writer.SetFileName(str(folder / f"{number:03d}.dcm"))
        writer.Execute(piece)


def test_a_full_disk_loses_nothing(base: Model, tmp_path: Path) -> None:
    run(task(base), tmp_path / "whole")
    saved, save = [0], torch.save

    def fail_once_full(content: Any, path: Any) -> None:
        saved[0] += 1
        if saved[0] > 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(content, path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "save", fail_once_full)
        with pytest.raises(OutputError, match="no space left"):
            run(task(base), tmp_path / "full")
    assert not (tmp_path / "full" / "model").exists()
    assert _steps_logged(tmp_path / "full" / "work" / LOG_FILE) > 0
    run(task(base), tmp_path / "full")
    assert_same_weights(weights(tmp_path / "full"), weights(tmp_path / "whole"))


def test_a_base_that_is_deleted_during_the_training_is_no_longer_needed(base: Model, tmp_path: Path) -> None:
    result = run(task(base), tmp_path, Watch(steps=lambda place: shutil.rmtree(base.folder, ignore_errors=True)))
    assert not base.folder.exists()
    assert result.before is not None
    assert result.card.training["parent"]["weights_sha256"] == base.card.weights_sha256


def test_cases_of_two_modalities_are_refused(base: Model, tmp_path: Path) -> None:
    ct = blob(1)
    array = np.where(ct.image.array > 45, 60, -1000).astype(np.int16)
    array[:, ::2] += 40
    mixed = [blob(0), replace(ct, image=replace(ct.image, array=array, name="Thorax"))]
    with pytest.raises(RecipeError, match="Thorax looks like a CT, Jane Doe 0 does not"):
        run(task(base, mixed), tmp_path)


def in_coronal_slices(case: ArrayCase) -> ArrayCase:
    """The case as a scanner gives it whose slices are coronal: k runs from front to back, j from bottom to top."""
    direction = (1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0)
    return replace(case, image=replace(case.image, geometry=replace(case.image.geometry, direction=direction)))


def test_the_new_model_sees_the_plane_of_its_cases(base: Model, tmp_path: Path) -> None:
    result = run(task(base, [in_coronal_slices(blob(number)) for number in range(3)]), tmp_path)
    assert result.card.plane == "coronal"
    assert result.card.known["spacing"][0] == [3.0, 3.0]
    axial = run(task(base), tmp_path / "axial")
    assert axial.card.plane == "axial"


def test_cases_in_slices_of_two_planes_are_refused_or_resampled_when_asked(base: Model, tmp_path: Path) -> None:
    cases = [blob(0), in_coronal_slices(blob(1))]
    with pytest.raises(RecipeError, match="Jane Doe 0 has axial slices, Jane Doe 1 has coronal ones"):
        run(task(base, cases), tmp_path)
    result = run(task(base, cases, settings=replace(SETTINGS, plane="axial")), tmp_path)
    assert result.card.plane == "axial"
    assert result.card.known["spacing"][0] == [1.1, 3.0]


def test_more_classes_than_the_base_has_can_be_learned(base: Model, tmp_path: Path) -> None:
    case = blob(0)
    labels = case.labels.copy()
    labels[0, :3, :3], labels[0, -3:, -3:] = 3, 4
    result = run(task(base, [replace(case, labels=labels)], classes=classes(4)), tmp_path)
    assert result.card.network.classes == 5
    assert load_model(result.folder).network.settings.classes == 5


def test_the_card_says_where_the_model_comes_from(base: Model, tmp_path: Path) -> None:
    result = run(task(base), tmp_path)
    training = result.card.training
    assert training["parent"] == {
        "name": "tiny",
        "version": "1.0.0",
        "weights_sha256": base.card.weights_sha256,
    }
    assert (training["training_cases"], training["validation_cases"]) == (3, 1)
    assert training["settings"]["seed"] == SETTINGS.seed
    assert training["versions"]["torch"] == str(torch.__version__)
    assert len(training["date"]) == 10
    figures = result.card.figures
    assert figures["mean_dice"] == pytest.approx(result.after.mean_dice, abs=1e-4)  # type: ignore[union-attr]
    assert figures["before"]["mean_dice"] == pytest.approx(result.before.mean_dice, abs=1e-4)  # type: ignore[union-attr]
    assert "chose the best weights" in figures["measured_on"]
    assert load_model(result.folder).card == result.card


def test_before_is_the_base_s_own_dice_on_the_validation_cases(base: Model, tmp_path: Path) -> None:
    # The new model has the base's second class as its first, and one that the base does not know.
    both = classes(2)
    new = (replace(both[1], label=1), replace(both[0], label=2, name="Tumour"))
    cases = [blob(0, use="training"), blob(1, use="validation")]
    result = run(task(base, cases, classes=new), tmp_path)
    same = replace(cases[1], labels=np.where(cases[1].labels == 1, 2, 0).astype(np.uint8))
    expected = evaluate_model(base, [same], distances=False).classes[1].dice.mean
    assert result.before is not None
    assert result.before.classes[0].dice.mean == pytest.approx(expected)
    assert np.isnan(result.before.classes[1].dice.mean)
    unknown = tuple(replace(item, name=f"New {item.label}") for item in both)
    other = run(task(base, cases, classes=unknown), tmp_path / "other")
    assert other.before is None
    assert any("knows none of these structures" in note for note in other.notes)


def test_a_new_head_takes_over_what_the_base_knows(base: Model) -> None:
    both = classes(4)
    wanted = (replace(both[1], label=1, name="POSTERIOR"), replace(both[2], label=2, name="New"))
    assert known_classes(base.card.classes, wanted) == {1: 2}
    network = replace(base.card.network, classes=3)
    start = starting_weights(base, network, wanted, seed=1)
    old = base.network.state_dict()
    assert_same_weights({k: v for k, v in start.items() if k != HEAD}, {k: v for k, v in old.items() if k != HEAD})
    torch.testing.assert_close(start[HEAD][:2], old[HEAD][[0, 2]], rtol=0, atol=0)
    assert not torch.equal(start[HEAD][2], old[HEAD][1])
    assert 0 < start[HEAD][2].std() < 0.02


def test_from_scratch_the_2d_network_comes_first(tmp_path: Path) -> None:
    kinds: list[str] = []
    what = task(None, settings=replace(SETTINGS, width=0.125))
    result = run(what, tmp_path, Watch(steps=lambda place: kinds.append(place.kind)))
    assert list(dict.fromkeys(kinds)) == ["slices", "decoder", "all"]
    assert result.card.training["parent"] is None
    assert result.card.training["kind"] == "from scratch"
    assert result.before is None


def test_from_scratch_an_imagenet_file_fills_the_2d_encoder(tmp_path: Path) -> None:
    torch.manual_seed(3)
    resnet = ResNet2d(3, 1.0).state_dict()
    torch.save(
        {**resnet, "fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}, tmp_path / "resnet50.pth"
    )
    seen: list[dict[str, torch.Tensor]] = []
    settings = replace(SETTINGS, width=1.0, steps=3, patch=(4, 16, 16))
    start = Trainer._start_stage

    def spy(trainer: Trainer, network: Any) -> None:
        seen.append({name: value.clone() for name, value in network.encoder.state_dict().items()})
        start(trainer, network)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_start_stage", spy)
        what = task(None, [blob(0)], resnet=tmp_path / "resnet50.pth", settings=settings)
        result = run(what, tmp_path)
    assert_same_weights(seen[0], dict(resnet))
    assert result.card.training["imagenet"]
    with pytest.raises(RecipeError, match="full width"):
        run(replace(what, settings=SETTINGS), tmp_path / "narrow")


def test_a_stop_in_the_last_evaluation_leaves_no_model_and_goes_on(base: Model, tmp_path: Path) -> None:
    begun: list[str] = []
    with pytest.raises(Cancelled):
        run(task(base), tmp_path, Watch(state=begun.append, go_on=lambda: begun[-1:] != ["Evaluating"]))
    assert not (tmp_path / "model").exists()
    assert run(task(base), tmp_path).after is not None


def test_a_patch_that_leaves_nothing_to_learn_from_is_refused(base: Model, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="too small to learn from"):
        run(task(base, settings=replace(SETTINGS, batch=1, patch=(3, 24, 24))), tmp_path)


@pytest.mark.parametrize("changed", ["more", "training", "validation"])
def test_cases_that_change_are_noticed_on_continuing(base: Model, tmp_path: Path, changed: str) -> None:
    cases = [blob(0, use="training"), blob(1, use="training"), blob(2, use="validation")]
    with pytest.raises(Cancelled):
        run(task(base, cases), tmp_path, Watch(go_on=StopAt(9)))
    if changed == "more":
        cases.append(blob(3, use="training"))
    else:
        number = 1 if changed == "training" else 2
        corrected = cases[number].labels.copy()
        corrected[0, 0, 0] = 1
        cases[number] = replace(cases[number], labels=corrected)
    with pytest.raises(RecipeError, match="another recipe or other cases"):
        run(task(base, cases), tmp_path)


def test_a_folder_with_other_files_is_never_replaced(base: Model, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "thesis.txt").write_text("Chapter 1")
    with pytest.raises(OutputError, match=r"holds thesis\.txt"):
        run(task(base), tmp_path)
    assert (tmp_path / "model" / "thesis.txt").read_text() == "Chapter 1"


def test_memory_that_runs_out_is_said_with_a_remedy(base: Model, tmp_path: Path) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_step", fail)
        with pytest.raises(ResourceError, match="fewer or smaller patches"):
            run(task(base), tmp_path)


def test_copies_of_the_voxels_are_gone_in_the_end(base: Model, tmp_path: Path) -> None:
    run(task(base), tmp_path)
    assert not list((tmp_path / "work").rglob("*.npy"))


def test_a_ct_without_any_labelled_voxel_is_refused(base: Model, tmp_path: Path) -> None:
    zscore = base_model(tmp_path / "zscore", intensity=Intensity("zscore", 0.5, 99.5))
    empty = replace(blob(0), labels=np.zeros_like(blob(0).labels))
    with pytest.raises(RecipeError, match="No training case has a labelled voxel"):
        run(task(zscore, [empty], identity=Identity("mine", "Mine", modality="CT")), tmp_path)
    result = run(task(zscore, identity=Identity("mine", "Mine", modality="CT")), tmp_path / "labelled")
    assert result.card.intensity.rule == "window"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"cases": ()}, "no labelled case"),
        ({"classes": ()}, "No structure"),
        ({"cases": (blob(0, use="validation"),)}, "Every case is a validation case"),
        ({"cases": (blob(0, names=(1,), labelled=(1,)),)}, "No training case labels Posterior"),
        ({"cases": (blob(0, names=(), labelled=()),)}, "No training case labels Anterior"),
        ({"identity": Identity("My Model", "Mine")}, "lower case letters"),
        ({"classes": (classes(2)[0], replace(classes(2)[1], name="anterior"))}, "same name"),
        ({"resnet": Path("resnet.pth")}, "exclude each other"),
        ({"identity": Identity("mine", "x" * 200)}, "cannot be called so"),
    ],
)
def test_a_task_that_cannot_work_is_refused_with_a_sentence(
    base: Model, tmp_path: Path, change: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(AHNetSegmentError, match=sentence):
        run(replace(task(base), **change), tmp_path)
    assert not (tmp_path / "model").exists()


def test_several_input_channels_are_refused(tmp_path: Path) -> None:
    network = AHNetSettings(in_channels=2, classes=3, width=0.125, slice_strides=(1, 1, 2, 2, 1), pyramid_levels=2)
    with pytest.raises(ModelError, match="several volumes"):
        run(task(base_model(tmp_path / "models", network=network)), tmp_path)


def test_a_diverged_training_says_so(base: Model, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="smaller learning rate"):
        run(task(base, settings=replace(SETTINGS, learning_rate=1e30)), tmp_path)


def test_a_picture_of_a_validation_case_is_drawn(base: Model, tmp_path: Path) -> None:
    pictures: list[str | None] = []
    result = run(task(base), tmp_path, Watch(preview=tmp_path, picture=pictures.append))
    assert len(pictures) == len(result.card.training["log"])
    assert [path.name for path in tmp_path.glob("*.png")] == [Path(pictures[-1] or "").name]
