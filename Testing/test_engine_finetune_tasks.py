"""The worker's tasks of training and evaluation, called as the worker calls them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from AHNetSegmentLib.engine.card import read_card, write_card
from AHNetSegmentLib.engine.errors import Cancelled, ModelError, OutputError, RecipeError
from AHNetSegmentLib.engine.finetune_tasks import JOB_FILE, WORK, estimate_task, evaluate_task, finetune_task
from AHNetSegmentLib.engine.library import TRAININGS, ModelLibrary
from AHNetSegmentLib.engine.lock import locked_folder
from AHNetSegmentLib.engine.package import CARD_FILE, Model, load_model
from AHNetSegmentLib.engine.tasks import geometry_to_dict
from AHNetSegmentLib.engine.training_progress import LOG_FILE
from finetune_helpers import SETTINGS, base_model, blob, classes

CASES = 3
STEPS = 8


class Context:
    """Remembers what a task says; asks it to stop when ``until`` says so."""

    def __init__(self, until: Callable[[Context], bool] = lambda context: False) -> None:
        self.states: list[str] = []
        self.steps: list[tuple[int, int]] = []
        self.reports: list[dict[str, Any]] = []
        self._until = until

    @property
    def cancelled(self) -> bool:
        return self._until(self)

    def state(self, text: str) -> None:
        if self.cancelled:
            raise Cancelled("The computation was cancelled; nothing was changed.")
        self.states.append(text)

    def progress(self, done: int, total: int) -> bool:
        self.steps.append((done, total))
        return not self.cancelled

    def report(self, facts: dict[str, Any]) -> None:
        json.dumps(facts)
        self.reports.append(facts)

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        return [facts for facts in self.reports if facts["kind"] == kind]


@pytest.fixture
def base(tmp_path: Path) -> Model:
    return base_model(tmp_path / "models")


@pytest.fixture
def library(tmp_path: Path) -> Path:
    return tmp_path / "library"


def write_job(folder: Path, **facts: Any) -> Path:
    """A job as the scene writes it."""
    cases = []
    for number in range(1, CASES + 1):
        case = blob(number)
        (folder / f"case-{number}").mkdir(parents=True)
        np.save(folder / f"case-{number}" / "image.npy", case.image.array)
        np.save(folder / f"case-{number}" / "labels.npy", case.labels)
        geometry = geometry_to_dict(case.image.geometry)
        cases.append({"name": f"case {number}", "folder": f"case-{number}", "geometry": geometry, "labelled": [1, 2]})
    job = {
        "format_version": 1,
        "name": folder.name,
        "title": "Mine",
        "modality": "MR",
        "classes": [asdict(item) for item in classes(2)],
        "cases": cases,
        "settings": {**asdict(SETTINGS), "steps": STEPS, "validate_every": 2},
        **facts,
    }
    (folder / JOB_FILE).write_text(json.dumps(job), encoding="utf-8")
    return folder


@pytest.fixture
def job(library: Path) -> Path:
    return write_job(library / TRAININGS / "mine")


@pytest.fixture
def arguments(job: Path, base: Model, library: Path) -> dict[str, Any]:
    return {
        "job": str(job),
        "base": str(base.folder),
        "library": str(library),
        "device": "cpu",
        "precision": "float32",
        "workers": 0,
    }


def after_validation(context: Context) -> bool:
    return len(context.of_kind("validation")) == 2


def test_a_training_reports_and_leaves_a_model_and_no_job(
    arguments: dict[str, Any], job: Path, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("AHNetSegmentLib.engine.finetune_tasks.REPORT_EVERY", 1)
    context = Context()
    result = finetune_task(arguments, context)
    json.dumps(result)
    assert (result["folder"], result["name"], result["title"]) == (str(library / "mine"), "mine", "Mine")
    assert [facts["step"] for facts in context.of_kind("loss")] == list(range(1, STEPS + 1))
    assert context.of_kind("loss")[0]["stage"] == "decoder"
    validations = context.of_kind("validation")
    assert [facts["step"] for facts in validations] == [2, 4, 6, 8]
    assert all(set(facts["dice"]) == {"Anterior", "Posterior"} for facts in validations)
    assert all(Path(facts["preview"]).parent == job for facts in validations)
    assert any(facts["best"] for facts in validations)
    assert context.states == ["Loading the model", "Preparing the cases", "Training", "Evaluating"]
    assert (STEPS, STEPS) in context.steps
    assert not job.exists()
    assert ModelLibrary(library).names() == ["mine"]
    model = load_model(library / "mine")
    assert (model.card.name, model.card.training["validation_cases"]) == ("mine", 1)
    assert result["after"]["mean_dice"] == pytest.approx(model.card.figures["mean_dice"], abs=1e-4)
    assert [case["case"] for case in result["before"]["cases"]] == [case["case"] for case in result["after"]["cases"]]
    said = json.dumps([result["before"], result["after"], result["notes"], context.states, context.reports])
    for path in sorted((library / "mine").iterdir()):
        said += path.read_bytes().decode("latin-1")
    assert "Jane" not in said


def test_a_stop_leaves_the_job_and_continue_tells_all_again(
    arguments: dict[str, Any], job: Path, library: Path
) -> None:
    first = Context(after_validation)
    with pytest.raises(Cancelled):
        finetune_task(arguments, first)
    assert (job / JOB_FILE).is_file()
    assert not ModelLibrary(library).names()
    (picture,) = job.glob("preview-*.png")
    second = Context()
    told: list[int] = []

    def state(text: str) -> None:
        told.append(len(second.reports))

    second.state = state  # type: ignore[method-assign]
    assert finetune_task(arguments, second)["name"] == "mine"
    before = second.reports[: told[1]]
    assert [facts["step"] for facts in before] == [facts["step"] for facts in first.reports]
    assert [facts.get("dice") for facts in before] == [facts.get("dice") for facts in first.reports]
    assert [facts["preview"] for facts in before if facts["kind"] == "validation"] == [None, str(picture)]
    assert before[0]["loss"] == pytest.approx(first.reports[0]["loss"], abs=1e-5)
    assert [facts["step"] for facts in second.of_kind("validation")] == [2, 4, 6, 8]
    assert not job.exists()


def test_a_picture_that_the_log_does_not_know_is_not_told_again(arguments: dict[str, Any], job: Path) -> None:
    with pytest.raises(Cancelled):
        finetune_task(arguments, Context(after_validation))
    # As after a kill between a validation and the next checkpoint.
    (job / "preview-99.png").write_bytes(next(job.glob("preview-*.png")).read_bytes())
    again = Context(lambda context: bool(context.reports))
    with pytest.raises(Cancelled):
        finetune_task(arguments, again)
    assert [facts["preview"] for facts in again.of_kind("validation")] == [None, None]


@pytest.mark.parametrize("where", ["Loading the model", "Preparing the cases", "Training", "Evaluating"])
def test_a_stop_at_any_moment_adds_no_model(arguments: dict[str, Any], job: Path, library: Path, where: str) -> None:
    with pytest.raises(Cancelled):
        finetune_task(arguments, Context(lambda context: where in context.states))
    assert not ModelLibrary(library).names()
    assert (job / JOB_FILE).is_file()
    if where == "Evaluating":
        assert finetune_task(arguments, Context())["name"] == "mine"
        assert ModelLibrary(library).names() == ["mine"]


def test_a_model_that_took_the_name_meanwhile_is_left_alone(
    arguments: dict[str, Any], library: Path, base: Model, tmp_path: Path
) -> None:
    with pytest.raises(Cancelled):
        finetune_task(arguments, Context(after_validation))
    other = library / "mine"
    base.folder.rename(other)
    write_card(other / CARD_FILE, replace(base.card, name="mine", title="Mine"))
    weights = (other / "weights.pt").read_bytes()
    result = finetune_task({**arguments, "base": str(other)}, Context())
    assert (result["name"], result["title"]) == ("mine-2", "Mine (2)")
    assert result["folder"] == str(library / "mine-2")
    assert read_card(library / "mine-2" / CARD_FILE).name == "mine-2"
    assert result["notes"][-1] == "Another model took the name of Mine meanwhile: the new one is Mine (2)."
    assert (other / "weights.pt").read_bytes() == weights
    assert load_model(other).card.training == base.card.training


def test_an_unfinished_training_keeps_its_name(
    arguments: dict[str, Any], job: Path, library: Path, base: Model, tmp_path: Path
) -> None:
    own = ModelLibrary(library)
    assert own.free_name("Mine") == "mine-2"
    base.folder.rename(library / "mine-2")
    write_card(library / "mine-2" / CARD_FILE, replace(base.card, name="mine-2", title="Other"))
    with pytest.raises(ModelError, match="There is already an unfinished training MINE; choose another title"):
        own.rename("mine-2", "MINE")
    own.export("mine-2", tmp_path / "other.zip")
    own.delete("mine-2")
    write_job(library / TRAININGS / "mine-2")
    assert own.import_package(tmp_path / "other.zip").name == "mine-2-2"
    assert own.free_name("Mine") == "mine-3"


def test_a_training_that_goes_on_elsewhere_is_one_sentence(
    arguments: dict[str, Any], job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import subprocess
    import sys

    code = (
        "import sys, time; from pathlib import Path; from AHNetSegmentLib.engine.lock import locked_folder\n"
        "with locked_folder(Path(sys.argv[1])): print('inside', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(job / WORK)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).resolve().parents[1] / "AHNetSegment",
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline()
            monkeypatch.setattr(
                "AHNetSegmentLib.engine.finetune.locked_folder", lambda folder: locked_folder(folder, 0.1)
            )
            with pytest.raises(OutputError, match="already goes on in another process"):
                finetune_task(arguments, Context())
            assert not (job / WORK / LOG_FILE).exists()
        finally:
            process.kill()
    assert finetune_task(arguments, Context())["name"] == "mine"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "Expecting property name"),
        ("[]", "list indices"),
        ('{"format_version": 2}', "its format version is 2, known is 1"),
        ('{"format_version": 1, "classes": []}', "is missing"),
        ('{"format_version": 1, "name": "mine", "title": "Mine", "classes": [], "cases": [{}]}', "'name' is missing"),
    ],
)
@pytest.mark.parametrize("task", [finetune_task, evaluate_task])
def test_a_damaged_job_is_one_sentence(
    arguments: dict[str, Any], job: Path, base: Model, task: Callable[..., Any], text: str, reason: str
) -> None:
    (job / JOB_FILE).write_text(text, encoding="utf-8")
    sentence = rf"^The training in .*mine cannot be read \(.*{reason}.*\); discard it and start anew\.$"
    with pytest.raises(RecipeError, match=sentence):
        task({**arguments, "model": str(base.folder)}, Context())


def test_settings_that_cannot_be_used_are_one_sentence(arguments: dict[str, Any], job: Path) -> None:
    facts = json.loads((job / JOB_FILE).read_text(encoding="utf-8"))
    (job / JOB_FILE).write_text(json.dumps({**facts, "settings": {"steps": -1}}), encoding="utf-8")
    with pytest.raises(RecipeError, match="The training's settings cannot be used: "):
        finetune_task(arguments, Context())


def test_an_evaluation_counts_cases_and_names_them_by_number(tmp_path: Path, base: Model) -> None:
    job = write_job(tmp_path / "job")
    context = Context()
    found = evaluate_task({"job": str(job), "model": str(base.folder), "device": "cpu"}, context)
    json.dumps(found)
    assert [case["case"] for case in found["evaluation"]["cases"]] == [f"case {n}" for n in range(1, CASES + 1)]
    assert [item["class"] for item in found["evaluation"]["classes"]] == ["Anterior", "Posterior"]
    assert found["csv"].count("\n") == 1 + 2 * CASES
    assert "Anterior" in found["table"]
    assert context.states == ["Loading the model", "Evaluating"]
    assert (CASES, CASES) in context.steps
    assert "Jane" not in json.dumps(found)
    assert job.is_dir()
    with pytest.raises(Cancelled):
        evaluate_task({"job": str(job), "model": str(base.folder)}, Context(lambda context: len(context.steps) > 1))


def test_an_estimate_grows_with_the_steps(base: Model) -> None:
    arguments = {
        "base": str(base.folder),
        "classes": 2,
        "cases": [{"geometry": geometry_to_dict(blob(number).image.geometry)} for number in range(CASES)],
        "settings": {"steps": 40, "patch": [6, 24, 24]},
        "device": "cpu",
        "precision": "float32",
    }
    found = estimate_task(arguments, Context())
    assert found["steps"] == 40
    assert found["seconds"] > 0
    assert found["seconds_per_step"] > 0
    longer = estimate_task({**arguments, "settings": {"steps": 4000, "patch": [6, 24, 24]}}, Context())
    assert longer["seconds"] > 10 * found["seconds"]
    with pytest.raises(Cancelled):
        estimate_task(arguments, Context(lambda context: True))
    coronal = blob(0).image.geometry
    coronal = replace(coronal, direction=(1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0))
    mixed = [*arguments["cases"], {"geometry": geometry_to_dict(coronal)}]  # type: ignore[misc]
    with pytest.raises(RecipeError, match=f"case 1 has axial slices, case {CASES + 1} has coronal ones"):
        estimate_task({**arguments, "cases": mixed}, Context())
