"""The command line: results, help, and for every bad input one sentence and exit code 2, with nothing half-written."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from AHNetSegmentLib.engine import cli
from AHNetSegmentLib.engine.files import sha256
from AHNetSegmentLib.engine.image_io import read_volume, write_volume
from AHNetSegmentLib.engine.inference import InferenceSettings, segment
from AHNetSegmentLib.engine.package import load_model, save_model
from AHNetSegmentLib.engine.volume import Geometry, Volume
from case_files import write_nifti_file
from engine_helpers import OBLIQUE, card, noise_volume, random_model


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stored package of a tiny network with random weights; never written to."""
    model = random_model()
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(folder, model.card, model.network.state_dict(), "int8")
    return folder


@pytest.fixture
def model(model_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model_folder, tmp_path / "models" / "tiny"))


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    path = tmp_path / "scan.nii.gz"
    write_volume(path, noise_volume((9, 33, 28), spacing=(1.0, 1.1, 2.5), origin=(4.0, -3.0, 9.0), direction=OBLIQUE))
    return path


def run(*arguments: object) -> int:
    return cli.main([str(argument) for argument in arguments])


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Runs a command that must be refused; returns the sentence."""
    assert run(*arguments) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("Error: ")
    assert said.endswith(".")
    return said


def test_segment_writes_what_the_engine_finds(scan: Path, model: Path, tmp_path: Path) -> None:
    output = tmp_path / "out" / "labels.nii.gz"
    assert run("segment", scan, "--model", model, "-o", output, "--precision", "float32", "--device", "cpu") == 0
    expected = segment(read_volume(scan), load_model(model), InferenceSettings(device="cpu", precision="float32"))
    written = read_volume(output)
    np.testing.assert_array_equal(written.array, expected.labels)
    assert written.geometry.same_grid(read_volume(scan).geometry)
    assert len(np.unique(written.array)) == 3


def test_segment_writes_named_segments_and_a_report(
    scan: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("segment", scan, "--models", model.parent, "--model", "tiny", "--report", "report.json") == 0
    said = capsys.readouterr().out
    assert "mL" in said
    image = sitk.ReadImage("scan.seg.nrrd")
    assert image.GetMetaData("Segment0_Name") == "Anterior"
    facts = json.loads(Path("report.json").read_text(encoding="utf-8"))
    assert facts["runs"][0]["segments"][0]["segment"] == "Anterior"
    assert str(tmp_path) not in Path("report.json").read_text(encoding="utf-8")
    for name in ("report.html", "report.csv"):
        assert run("segment", scan, "--model", model, "--quiet", "--report", name) == 0
        assert "Anterior" in Path(name).read_text(encoding="utf-8")


def test_a_box_in_patient_coordinates_limits_the_segmentation(scan: Path, model: Path, tmp_path: Path) -> None:
    volume = read_volume(scan)
    lps = volume.geometry.ijk_to_lps() @ np.array([14.0, 16.0, 4.0, 1.0])
    output = tmp_path / "box.nii.gz"
    box = [-lps[0], -lps[1], lps[2], 12, 12, 12]
    assert run("segment", scan, "--model", model, "-o", output, "--box", *box) == 0
    found = np.argwhere(read_volume(output).array)[:, ::-1]
    assert len(found)
    placed = found @ volume.geometry.ijk_to_lps()[:3, :3].T + volume.geometry.ijk_to_lps()[:3, 3]
    assert np.abs(placed - lps[:3]).max() < 6 + 13
    said = ("--box", 500, 0, 0, 10, 10, 10)
    assert run("segment", scan, "--model", model, "-o", tmp_path / "no.nii.gz", *said) == 2
    assert not (tmp_path / "no.nii.gz").exists()


def test_evaluate_prints_a_table_and_writes_csv_and_report(
    scan: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    for kind in ("images", "labels"):
        (data / kind).mkdir(parents=True)
    shutil.copy(scan, data / "images" / "one.nii.gz")
    assert run("segment", scan, "--model", model, "-o", data / "labels" / "one.nii.gz", "--precision", "float32") == 0
    command = ("evaluate", "--model", model, "--data", data, "--precision", "float32")
    assert run(*command, "--csv", tmp_path / "e.csv", "--report", tmp_path / "e.html") == 0
    assert "1.000" in capsys.readouterr().out
    assert (tmp_path / "e.csv").read_text(encoding="utf-8").count("\n") == 3
    assert "Anterior" in (tmp_path / "e.html").read_text(encoding="utf-8")


def test_models_lists_and_describes(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("models", "--models", model.parent) == 0
    assert "tiny" in capsys.readouterr().out
    assert run("models", "tiny", "--models", model.parent) == 0
    said = capsys.readouterr().out
    assert "1 Anterior, 2 Posterior" in said
    assert "Plane: not stated\n" in said
    assert run("models", "hippocampus-t1") == 0
    assert "Plane: axial\n" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["segment", "train", "evaluate", "models"])
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        run(command, "--help")
    assert end.value.code == 0
    assert "--" in capsys.readouterr().out


def test_wrong_arguments_end_with_code_2() -> None:
    with pytest.raises(SystemExit) as end:
        run("segment")
    assert end.value.code == 2


def changed(array: np.ndarray, value: float) -> np.ndarray:
    result = array.copy()
    result[2, 3, 4] = value
    return result


BAD_VOXELS = {
    "nan": (lambda array: changed(array, np.nan), "NaN or infinite"),
    "infinite": (lambda array: changed(array, np.inf), "NaN or infinite"),
    "constant": (lambda array: np.full_like(array, 7), "value 7 in every voxel"),
}


@pytest.mark.parametrize("kind", BAD_VOXELS)
def test_voxels_that_cannot_be_used(kind: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change, said = BAD_VOXELS[kind]
    path = tmp_path / "bad.nrrd"
    write_volume(path, Volume(change(noise_volume((5, 9, 8)).array), Geometry((8, 9, 5))))
    sentence = refused(capsys, "segment", path, "--model", model, "-o", tmp_path / "out.nii.gz")
    assert said in sentence
    assert "bad.nrrd" in sentence
    assert not (tmp_path / "out.nii.gz").exists()


MHA = """ObjectType = Image
NDims = {dims}
DimSize = {size}
ElementSpacing = {spacing}
TransformMatrix = {matrix}
ElementType = MET_UCHAR
ElementNumberOfChannels = {channels}
ElementDataFile = LOCAL
"""
AXES = "1 0 0 0 1 0 0 0 1"
BAD_FILES = {
    "two dimensions": ((2, "4 4", "1 1", "1 0 0 1", 1), "2 dimensions"),
    "vector": ((3, "4 4 4", "1 1 1", AXES, 3), "3 values per voxel"),
    "zero spacing": ((3, "4 4 4", "1 0 1", AXES, 1), "spacing"),
    "negative spacing": ((3, "4 4 4", "1 -1 1", AXES, 1), "spacing"),
    "singular direction": ((3, "4 4 4", "1 1 1", "1 0 0 1 0 0 0 0 1", 1), "direction"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_files_that_cannot_be_used(kind: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (dims, size, spacing, matrix, channels), said = BAD_FILES[kind]
    header = MHA.format(dims=dims, size=size, spacing=spacing, matrix=matrix, channels=channels)
    path = tmp_path / "bad.mha"
    path.write_bytes(header.encode("ascii") + bytes(64 * channels))
    sentence = refused(capsys, "segment", path, "--model", model, "-o", tmp_path / "out.nii.gz")
    assert said in sentence
    assert "bad.mha" in sentence


def test_files_that_are_no_images(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "letter.nii.gz"
    text.write_text("Dear colleague", encoding="utf-8")
    assert "letter.nii.gz" in refused(capsys, "segment", text, "--model", model)
    assert "absent.nii" in refused(capsys, "segment", tmp_path / "absent.nii", "--model", model)
    (tmp_path / "folder").mkdir()
    assert "no DICOM series" in refused(capsys, "segment", tmp_path / "folder", "--model", model)


def break_model(kind: str, folder: Path) -> None:
    card_file, weights = folder / "model.json", folder / "weights.pt"
    facts = json.loads(card_file.read_text(encoding="utf-8"))
    if kind == "missing weights":
        weights.unlink()
    elif kind == "changed weights":
        weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    elif kind == "unknown version":
        card_file.write_text(json.dumps({**facts, "format_version": 99}), encoding="utf-8")
    elif kind == "no card":
        card_file.write_text("{", encoding="utf-8")
    elif kind == "a pickle":
        weights.write_bytes(pickle.dumps({"encoder.conv1.weight": Evil(str(folder / "executed"))}))
        card_file.write_text(json.dumps({**facts, "weights_sha256": sha256(weights)}), encoding="utf-8")
    elif kind == "other network":
        facts["network"]["width"] = 0.25
        card_file.write_text(json.dumps(facts), encoding="utf-8")


class Evil:
    """Creates a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (self.path, "w")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("missing weights", "weights.pt"),
        ("changed weights", "weights.pt"),
        ("unknown version", "format version is 99"),
        ("no card", "model.json"),
        ("a pickle", "more than plain tensors"),
        ("other network", "does not fit"),
    ],
)
def test_broken_models(
    kind: str, said: str, scan: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    break_model(kind, model)
    sentence = refused(capsys, "segment", scan, "--model", model, "-o", tmp_path / "out.nii.gz")
    assert said in sentence
    assert not (tmp_path / "out.nii.gz").exists()
    assert not (model / "executed").exists()


def test_a_model_that_does_not_exist_is_answered_with_those_that_do(
    scan: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "tiny" in refused(capsys, "segment", scan, "--model", "liver", "--models", model.parent)


def test_labels_that_do_not_fit_their_image(
    scan: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    (data / "images").mkdir(parents=True)
    shutil.copy(scan, data / "images" / "one.nii.gz")
    geometry = read_volume(scan).geometry
    label = data / "labels" / "one.nii.gz"
    write_volume(label, Volume(np.full((9, 33, 28), 9, np.uint8), geometry))
    assert "unknown labels 9" in refused(capsys, "evaluate", "--model", model, "--data", data)
    write_volume(label, Volume(np.ones((9, 33, 27), np.uint8), Geometry((27, 33, 9))))
    assert "27 × 33 × 9 voxels" in refused(capsys, "evaluate", "--model", model, "--data", data)
    write_volume(label, Volume(np.ones((9, 33, 28), np.uint8), Geometry((28, 33, 9))))
    assert "off the grid" in refused(capsys, "evaluate", "--model", model, "--data", data)


def test_a_folder_that_cannot_be_written_loses_nothing(
    scan: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("mine", encoding="utf-8")
    assert "free space" in refused(capsys, "segment", scan, "--model", model, "-o", blocked / "out.nii.gz")
    assert blocked.read_text(encoding="utf-8") == "mine"


def test_a_full_disk_leaves_the_old_result_and_nothing_half_written(
    scan: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "results" / "out.nrrd"
    assert run("segment", scan, "--model", model, "-o", output) == 0
    before = output.read_bytes()

    def fill_up(image: sitk.Image, path: str, **_: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sitk, "WriteImage", fill_up)
    assert "no space left" in refused(capsys, "segment", scan, "--model", model, "-o", output)
    assert output.read_bytes() == before
    assert [path.name for path in output.parent.iterdir()] == ["out.nrrd"]


def test_stopping_writes_nothing(scan: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli._StopRequest, "__init__", lambda self: self.__dict__.update(asked=True, _before={}))
    assert run("segment", scan, "--model", model, "-o", tmp_path / "out.nii.gz") == 130
    assert not (tmp_path / "out.nii.gz").exists()


def test_a_card_without_figures_is_listed_too(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert card().figures == {}
    assert run("models", model) == 0
    assert "Mean Dice" not in capsys.readouterr().out


def test_a_result_on_a_sheared_grid_lies_there_in_every_format(model: Path, tmp_path: Path) -> None:
    matrix = np.array([[1.0, 0, 0, 5], [0, 1, 0.5, 6], [0, 0, 2, 7], [0, 0, 0, 1]])
    volume = noise_volume((9, 33, 28))
    sheared = Volume(volume.array, Geometry.from_matrix(matrix, volume.geometry.size))
    write_volume(tmp_path / "sheared.nrrd", sheared)
    for suffix in (".nii.gz", ".seg.nrrd", ".mha"):
        output = tmp_path / f"out{suffix}"
        assert run("segment", tmp_path / "sheared.nrrd", "--model", model, "-o", output, "--quiet") == 0
        assert sheared.geometry.largest_offset(read_volume(output).geometry) < 1e-3


def test_what_a_file_leaves_open_is_a_warning(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    array = noise_volume((9, 33, 28)).array.astype(np.int16)
    path = write_nifti_file(tmp_path / "a.nii.gz", array, pixdim=(2, 2, 4), sform=(1, np.diag([1.0, 1, 2, 1])))
    assert run("segment", path, "--model", model, "-o", tmp_path / "out.nrrd", "--quiet") == 0
    assert "Warning: " + str(path) + " has two spacings" in capsys.readouterr().err


def test_what_is_larger_than_a_body_is_refused(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    array = noise_volume((10, 16, 18)).array.astype(np.int16)
    matrix = np.diag([1000.0, 1000.0, 2000.0, 1.0])
    path = write_nifti_file(tmp_path / "a.nii.gz", array, pixdim=(1000, 1000, 2000), sform=(1, matrix))
    assert "more than any body" in refused(capsys, "segment", path, "--model", model)
