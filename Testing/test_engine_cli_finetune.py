"""The commands finetune and evaluate with tables of cases; bad input gets one sentence and exit code 2."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from AHNetSegmentLib.engine import cli
from AHNetSegmentLib.engine.card import read_card
from AHNetSegmentLib.engine.image_io import write_labels, write_volume
from AHNetSegmentLib.engine.package import CARD_FILE
from engine_helpers import classes
from finetune_helpers import base_model, blob

SHORT = ("--steps", 4, "--patch", 6, 24, 24, "--validate-every", 2, "--device", "cpu", "--precision", "float32")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Three blobs, one for validation; the second is a segmentation of Slicer's."""
    lines = ["image,labels,use"]
    for number, (ending, use) in enumerate(((".nii.gz", ""), (".seg.nrrd", ""), (".nii.gz", "validation"))):
        case = blob(number)
        write_volume(tmp_path / f"{number}.nii.gz", case.image)
        write_labels(tmp_path / f"{number}-labels{ending}", case.labels, case.image.geometry, classes(2))
        lines.append(f"{number}.nii.gz,{number}-labels{ending},{use}")
    path = tmp_path / "cases.csv"
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return base_model(tmp_path / "models").folder


def run(*arguments: object) -> int:
    return cli.main([str(argument) for argument in arguments])


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert run(*arguments) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("Error: ")
    assert said.endswith(".")
    return said


def test_finetune_and_evaluate(table: Path, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work = tmp_path / "work"
    command = ("finetune", "--cases", table, "--base", base, "--name", "both", "--title", "Both of them")
    assert (
        run(
            *command,
            "--work",
            work,
            "--class",
            "Both=1,posterior,2",
            *SHORT,
            "--workers",
            0,
            "--quiet",
            "--plane",
            "coronal",
        )
        == 0
    )
    said = capsys.readouterr().out
    assert "After, on the validation cases" in said
    assert f"Written: {work / 'model'}" in said
    card = read_card(work / "model" / CARD_FILE)
    assert (card.name, card.title, [item.name for item in card.classes]) == ("both", "Both of them", ["Both"])
    assert card.training["validation_cases"] == 1
    assert (card.plane, card.known["spacing"][1]) == ("coronal", [3.0, 3.0])
    output = tmp_path / "dice.csv"
    page = tmp_path / "dice.html"
    options = ("--class", "Both=1,2", "--csv", output, "--report", page, "--device", "cpu", "--quiet")
    assert run("evaluate", "--cases", table, "--model", work / "model", *options) == 0
    rows = list(csv.DictReader(output.open()))
    assert [row["case"] for row in rows] == ["0", "1", "2"]
    voxel_ml = 1.0 * 1.1 * 3.0 / 1000
    assert [float(row["reference_ml"]) for row in rows] == pytest.approx(
        [(blob(number).labels > 0).sum() * voxel_ml for number in range(3)], rel=1e-4
    )
    assert "cases.csv" in page.read_text(encoding="utf-8")


def test_what_is_wrong_is_said_in_a_sentence(
    table: Path, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work = tmp_path / "work"
    begin = ("finetune", "--cases", table, "--work", work, "--workers", 0, "--quiet", *SHORT)
    assert "has no classes yet" in refused(capsys, *begin, "--base", "none", "--name", "mine")
    assert "must be a name" in refused(capsys, *begin, "--base", base, "--name", "mine", "--class", "Liver")
    assert "lower case letters" in refused(capsys, *begin, "--base", base, "--name", "My Model")
    assert "no model nothing" in refused(capsys, *begin, "--base", "nothing", "--name", "mine")
    assert "'learning_rate' must be above zero" in refused(
        capsys, *begin, "--base", base, "--name", "mine", "--learning-rate", 0
    )
    missing = tmp_path / "resnet50.pth"
    named = ("--base", "none", "--name", "mine", "--class", "Both=1,2", "--width", 1, "--resnet", missing)
    plane = ("--base", base, "--name", "mine", "--plane", "frontal")
    assert "known are axial, coronal, sagittal, any" in refused(capsys, *begin, *plane)
    assert "resnet50.pth" in refused(capsys, *begin, *named)
    assert not (work / "model").exists()
    both = ("evaluate", "--model", base, "--cases", table, "--data", tmp_path)
    assert "either by --data" in refused(capsys, *both)
    assert "either by --data" in refused(capsys, "evaluate", "--model", base)
