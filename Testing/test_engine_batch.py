"""Batches: each case on its own, whatever is wrong with the others; nothing is done twice, lost or half-written."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from AHNetSegmentLib.engine import batch, batch_records, cli
from AHNetSegmentLib.engine.batch import (
    BatchCase,
    BatchProgress,
    BatchResult,
    find_batch_cases,
    safe_name,
    segment_batch_cases,
)
from AHNetSegmentLib.engine.errors import Cancelled, DeviceError, ModelError, OutputError, VolumeError
from AHNetSegmentLib.engine.image_io import read_volume, write_volume
from AHNetSegmentLib.engine.inference import InferenceSettings
from AHNetSegmentLib.engine.package import save_model
from AHNetSegmentLib.engine.volume import Geometry, Volume
from case_files import (
    DOSE,
    SECONDARY_CAPTURE,
    SEGMENTATION,
    change,
    dataset_of,
    phantom,
    save,
    write_nifti_file,
    write_series,
)
from engine_helpers import OBLIQUE, brightness_model, expected_labels, object_volume, random_model

TESTING = Path(__file__).resolve().parent
SETTINGS = InferenceSettings(device="cpu", precision="float32")


def shifted(number: int) -> Volume:
    """An object without symmetry on an oblique grid, in another place for each number."""
    flat = object_volume()
    array = np.roll(flat.array, (0, number % 3, -number % 4), axis=(0, 1, 2))
    return Volume(array, Geometry((17, 14, 9), (1.0, 1.2, 3.0), (30.0 + number, -7.0, 2.0), OBLIQUE), "object")


def write_dicom(folder: Path, volume: Volume, series: int = 1, patient: str = "Doe^Jane") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    direction = np.reshape(volume.geometry.direction, (3, 3))
    for number, plane in enumerate(volume.array.astype(np.int16)):
        image = sitk.GetImageFromArray(plane[None])
        place = volume.geometry.ijk_to_lps()[:3] @ np.array([0, 0, number, 1])
        tags = {
            "0008|0060": "MR",
            "0008|0016": "1.2.840.10008.5.1.4.1.1.4",
            "0008|0018": f"1.2.3.{series}.{number + 1}",
            "0020|000d": "1.2.3",
            "0020|000e": f"1.2.3.{series}",
            "0020|0011": str(series),
            "0020|0013": str(number + 1),
            "0020|0032": "\\".join(f"{value:.9f}" for value in place),
            "0020|0037": "\\".join(f"{value:.9f}" for value in direction.T[:2].ravel()),
            "0010|0010": patient,
            "0010|0020": "4711",
        }
        image.SetSpacing(volume.geometry.spacing)
        for key, value in tags.items():
            image.SetMetaData(key, value)
        writer.SetFileName(str(folder / f"s{series}-{number:02d}.dcm"))
        writer.Execute(image)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Three volumes that can be segmented and three that cannot."""
    folder = tmp_path / "study"
    for number, path in enumerate(("b.nrrd", "sub dir/Müller.nii.gz", "sub dir/z.mha")):
        write_volume(folder / path, shifted(number))
    whole = (folder / "sub dir" / "Müller.nii.gz").read_bytes()
    (folder / "a-cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    (folder / "letter.nrrd").write_text("Dear colleague", encoding="utf-8")
    (folder / "no dicom").mkdir()
    return folder


GOOD = {"b": "b.nrrd", "sub_dir_Müller": "sub dir/Müller.nii.gz", "sub_dir_z": "sub dir/z.mha"}
BAD = ("a-cut", "letter", "no_dicom")


def run(study: Path, output: Path, **arguments: object) -> BatchResult:
    values = {"model": brightness_model(), "settings": SETTINGS, **arguments}
    return segment_batch_cases(find_batch_cases(study, output), output=output, **values)  # type: ignore[arg-type]


def counts(result: BatchResult) -> tuple[int, int, int]:
    return result.done, result.skipped, result.failed


def table(output: Path) -> list[dict[str, str]]:
    with (output / "batch.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def facts_of(output: Path, name: str) -> dict:  # type: ignore[type-arg]
    return json.loads((output / f"{name}.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def assert_finished(study: Path, output: Path) -> None:
    """The three volumes have their segmentations, the records are complete, and nothing else lies there."""
    expected = {f"{name}.json" for name in (*GOOD, *BAD)} | {f"{name}.seg.nrrd" for name in GOOD} | {"batch.csv"}
    assert {path.name for path in output.iterdir() if not path.name.startswith(".")} == expected
    for name, file in GOOD.items():
        volume, result = read_volume(study / file), read_volume(output / f"{name}.seg.nrrd")
        np.testing.assert_array_equal(result.array, expected_labels(volume))
        assert volume.geometry.same_grid(result.geometry)
        assert facts_of(output, name)["batch"]["status"] == "done"
    rows = table(output)
    assert [(row["case"], row["status"]) for row in rows] == sorted(
        [(name, "done") for name in GOOD for _ in (1, 2)] + [(name, "failed") for name in BAD]
    )
    assert not (output / ".batch-begun").exists()


class TestFinding:
    def test_every_file_is_a_case_named_after_its_place(self, study: Path) -> None:
        cases = find_batch_cases(study)
        assert [case.name for case in cases] == ["a-cut", "b", "letter", "no_dicom", "sub_dir_Müller", "sub_dir_z"]
        assert len({case.stamp for case in cases}) == 6
        np.testing.assert_array_equal(cases[1].read().array, shifted(0).array)

    def test_results_and_hidden_files_are_no_cases(self, study: Path) -> None:
        write_volume(study / "b.seg.nrrd", shifted(1))
        write_volume(study / ".cache" / "c.nrrd", shifted(1))
        write_volume(study / "out" / "d.nrrd", shifted(1))
        (study / "notes.txt").write_text("notes")
        assert [case.name for case in find_batch_cases(study, study / "out")] == [
            *("a-cut", "b", "letter", "no_dicom", "sub_dir_Müller", "sub_dir_z")
        ]

    def test_dicom_folders_give_a_case_per_series(self, tmp_path: Path) -> None:
        volume = shifted(2)
        write_dicom(tmp_path / "jane" / "mr", volume, 5)
        write_dicom(tmp_path / "both", volume, 3)
        write_dicom(tmp_path / "both", shifted(1), 12)
        cases = {case.name: case for case in find_batch_cases(tmp_path)}
        assert sorted(cases) == ["both_series12", "both_series3", "jane_mr"]
        for name, wanted in (("both_series12", shifted(1)), ("both_series3", volume), ("jane_mr", volume)):
            found = cases[name].read()
            np.testing.assert_array_equal(found.array, wanted.array)
            assert wanted.geometry.same_grid(found.geometry)

    def test_a_dicom_folder_can_be_the_folder_itself(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_dicom(tmp_path / "mr 1", shifted(0))
        monkeypatch.chdir(tmp_path / "mr 1")
        (case,) = find_batch_cases(Path())
        assert case.name == "mr_1"
        for file in sorted(Path().iterdir())[2:4]:
            file.unlink()
        (case,) = find_batch_cases(Path())
        with pytest.raises(VolumeError, match="^mr 1 has slices that are missing"):
            case.read()

    def test_files_that_only_claim_to_be_dicom_are_a_case_that_fails(self, tmp_path: Path) -> None:
        (tmp_path / "export").mkdir()
        (tmp_path / "export" / "1.dcm").write_bytes(b"nothing")
        (case,) = find_batch_cases(tmp_path)
        with pytest.raises(VolumeError, match="^export/1.dcm is damaged or cut off"):
            case.read()

    def test_the_stamp_changes_with_the_file(self, study: Path) -> None:
        def stamps() -> dict[str, str]:
            return {case.name: case.stamp for case in find_batch_cases(study)}

        before = stamps()
        assert stamps() == before
        write_volume(study / "b.nrrd", shifted(1))
        assert {name for name, stamp in stamps().items() if stamp != before[name]} == {"b"}

    def test_the_stamp_of_a_header_covers_its_voxels(self, tmp_path: Path) -> None:
        sitk.WriteImage(shifted(0).to_sitk(), str(tmp_path / "a.mhd"))
        (before,) = find_batch_cases(tmp_path)
        os.utime(tmp_path / "a.raw", (1, 1))
        (after,) = find_batch_cases(tmp_path)
        assert before.stamp != after.stamp

    def test_a_folder_without_any_case_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(VolumeError, match="holds no volume; choose one with NIfTI"):
            find_batch_cases(tmp_path)
        with pytest.raises(VolumeError, match="does not exist; choose the folder"):
            find_batch_cases(tmp_path / "absent")

    def test_folders_that_contain_each_other_end(self, study: Path) -> None:
        (study / "sub dir" / "loop").symlink_to(study)
        (study / "gone.nrrd").symlink_to(study / "absent.nrrd")
        names = [case.name for case in find_batch_cases(study)]
        assert names == ["a-cut", "b", "gone", "letter", "no_dicom", "sub_dir_Müller", "sub_dir_z"]

    @pytest.mark.parametrize(
        ("text", "name"),
        [
            ("Jane Doe: CT/abdomen", "Jane_Doe_CT_abdomen"),
            ("../../etc/passwd", "etc_passwd"),
            (".hidden", "hidden"),
            ("NUL", "case-NUL"),
            ("com1.x", "case-com1.x"),
            ("Größe", "Größe"),
            ("Gro\u0308ße", "Größe"),
            ("-=|?*", "case"),
            ("ä" * 200, "ä" * 80),
        ],
    )
    def test_names_are_fit_for_files(self, text: str, name: str) -> None:
        assert safe_name(text) == name
        assert safe_name(name) == name

    def test_names_are_unique_where_upper_and_lower_case_are_one(self) -> None:
        assert safe_name("liver", ("Liver", "liver-2")) == "liver-3"


class TestRunning:
    def test_each_case_is_on_its_own(self, study: Path, tmp_path: Path) -> None:
        output = tmp_path / "out"
        result = run(study, output)
        assert counts(result) == (3, 0, 3)
        assert_finished(study, output)
        errors = {record.name: record.error for record in result.records if record.error}
        assert errors["a-cut"].startswith("a-cut.nii.gz ")
        assert errors["letter"].startswith("letter.nrrd could not be read as an image; choose")
        assert errors["no_dicom"].startswith("no dicom holds no DICOM series; choose")
        rows = table(output)
        assert {row["case"]: row["error"] for row in rows if row["error"]} == errors
        volume = shifted(0)
        tip = next(row for row in rows if row["case"] == "b" and row["segment"] == "Posterior")
        assert int(tip["voxels"]) == (expected_labels(volume) == 2).sum()
        assert float(tip["ml"]) == pytest.approx(int(tip["voxels"]) * 0.0036, abs=1e-4)
        assert (tip["device"], tip["precision"], tip["model"]) == ("cpu", "float32", "tiny")

    def test_a_second_call_does_nothing_and_reports_the_same(self, study: Path, tmp_path: Path) -> None:
        output = tmp_path / "out"
        first = run(study, output)
        files = {path: path.stat().st_mtime_ns for path in output.iterdir() if path.name != "batch.csv"}
        rows = table(output)
        calls: list[BatchProgress] = []
        second = run(study, output, progress=lambda place: calls.append(place) is None)
        assert counts(second) == (0, 3, 3)
        assert calls == []
        assert [record.error for record in second.records] == [record.error for record in first.records]
        assert {path: path.stat().st_mtime_ns for path in output.iterdir() if path.name != "batch.csv"} == files
        assert table(output) == rows

    def test_what_has_changed_is_done_again(self, study: Path, tmp_path: Path) -> None:
        output = tmp_path / "out"
        run(study, output)
        write_volume(study / "b.nrrd", shifted(2))
        write_volume(study / "letter.nrrd", shifted(1))
        (output / "sub_dir_z.seg.nrrd").unlink()
        result = run(study, output)
        assert counts(result) == (3, 1, 2)
        np.testing.assert_array_equal(read_volume(output / "b.seg.nrrd").array, expected_labels(shifted(2)))
        assert (output / "sub_dir_z.seg.nrrd").exists()

    @pytest.mark.parametrize(
        ("changes", "again"),
        [
            ({"settings": replace(SETTINGS, smoothing=1.0)}, True),
            ({"settings": replace(SETTINGS, classes=(2,))}, True),
            ({"settings": replace(SETTINGS, classes=(1, 2))}, False),
            ({"settings": replace(SETTINGS, window_memory=50.0, device="auto", probabilities=True)}, False),
            ({"model": brightness_model(weights_sha256="1" * 64)}, True),
            ({"model": brightness_model(version="1.0.1")}, True),
            ({"model": brightness_model(plane="axial")}, True),
        ],
    )
    def test_settings_and_models_that_give_other_results_are_run(
        self, changes: dict[str, object], again: bool, study: Path, tmp_path: Path
    ) -> None:
        run(study, tmp_path / "out")
        assert counts(run(study, tmp_path / "out", **changes)) == ((3, 0, 3) if again else (0, 3, 3))

    def test_what_failed_for_no_fault_of_the_volume_is_tried_again(
        self, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        output, segment = tmp_path / "out", batch.segment
        trouble = {"b": MemoryError(), "sub_dir_z": RuntimeError("first line\n  at address 17\n")}

        def fail(volume: Volume, *arguments: object) -> object:
            if volume.name in trouble:
                raise trouble[volume.name]
            return segment(volume, *arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(batch, "segment", fail)
        result = run(study, output)
        errors = {record.name: record.error for record in result.records}
        assert errors["b"].startswith("The memory of this machine does not suffice for b; ")
        assert errors["sub_dir_z"].startswith("sub_dir_z failed unexpectedly (RuntimeError: at address 17); ")
        assert not (output / "b.seg.nrrd").exists()
        monkeypatch.undo()
        assert counts(run(study, output)) == (2, 1, 3)
        assert_finished(study, output)

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
    def test_a_file_that_may_not_be_read_is_tried_again(self, study: Path, tmp_path: Path) -> None:
        (study / "b.nrrd").chmod(0)
        result = run(study, tmp_path / "out")
        assert "b could not be opened (permission denied)" in result.records[1].error
        (study / "b.nrrd").chmod(0o644)
        assert counts(run(study, tmp_path / "out")) == (1, 2, 3)

    def test_a_file_that_was_away_for_a_while_is_tried_again(self, study: Path, tmp_path: Path) -> None:
        output = tmp_path / "out"
        cases = find_batch_cases(study)
        (study / "b.nrrd").rename(tmp_path / "kept.nrrd")
        result = segment_batch_cases(cases, brightness_model(), output, SETTINGS)
        assert "b could not be opened (no such file or directory)" in result.records[1].error
        (tmp_path / "kept.nrrd").rename(study / "b.nrrd")
        assert counts(run(study, output)) == (1, 2, 3)

    def test_a_failure_after_a_success_keeps_the_old_result_and_says_so(self, study: Path, tmp_path: Path) -> None:
        output = tmp_path / "out"
        run(study, output)
        before = (output / "b.seg.nrrd").read_bytes()
        (study / "b.nrrd").write_text("now a letter")
        result = run(study, output)
        assert result.records[1].error.endswith("(b.seg.nrrd is from an earlier run.)")
        assert (output / "b.seg.nrrd").read_bytes() == before
        write_volume(study / "b.nrrd", shifted(1))
        assert counts(run(study, output)) == (1, 2, 3)

    def test_cases_may_come_from_anywhere(self, tmp_path: Path) -> None:
        cases = [BatchCase(f"node {n}".replace(" ", "_"), lambda n=n: shifted(n), f"{n}") for n in range(2)]
        assert counts(segment_batch_cases(cases, brightness_model(), tmp_path / "out", SETTINGS)) == (2, 0, 0)
        cases[1] = replace(cases[1], stamp="changed")
        assert counts(segment_batch_cases(cases, brightness_model(), tmp_path / "out", SETTINGS)) == (1, 1, 0)
        with pytest.raises(ValueError, match="safe_name"):
            segment_batch_cases([cases[0], cases[0]], brightness_model(), tmp_path / "out", SETTINGS)
        with pytest.raises(ValueError, match="safe_name"):
            segment_batch_cases([replace(cases[0], name="../x")], brightness_model(), tmp_path / "out", SETTINGS)

    def test_two_calls_with_different_cases_share_one_table(self, tmp_path: Path) -> None:
        for n in range(2):
            case = BatchCase(f"case{n}", lambda n=n: shifted(n), "1")
            segment_batch_cases([case], brightness_model(), tmp_path / "out", SETTINGS)
        assert [row["case"] for row in table(tmp_path / "out")] == ["case0", "case0", "case1", "case1"]

    def test_progress_names_the_case_and_estimates_the_time_left(self, study: Path, tmp_path: Path) -> None:
        calls: list[BatchProgress] = []
        run(study, tmp_path / "out", progress=lambda place: calls.append(place) is None)
        assert [(place.index, place.name) for place in calls if place.done == 0] == list(
            enumerate(("a-cut", "b", "letter", "no_dicom", "sub_dir_Müller", "sub_dir_z"))
        )
        assert {(place.count, place.index - place.ended) for place in calls} == {(6, 0)}
        assert calls[0].seconds_left is None
        assert all(place.seconds_left is not None and place.seconds_left >= 0 for place in calls if place.index > 0)
        assert any(0 < place.done < place.total for place in calls)

    def test_cancelling_keeps_what_is_done(self, study: Path, tmp_path: Path) -> None:
        output = tmp_path / "out"
        with pytest.raises(Cancelled, match="1 of 6 cases are done; the same call goes on"):
            run(study, output, progress=lambda place: not (place.index == 4 and place.done > 0))
        assert [row["case"] for row in table(output)] == ["a-cut", "b", "b", "letter", "no_dicom"]
        assert not (output / ".batch-begun").exists()
        assert counts(run(study, output)) == (2, 1, 3)
        assert_finished(study, output)

    def test_nothing_of_the_patient_but_the_cases_name_is_written(self, tmp_path: Path) -> None:
        write_dicom(tmp_path / "case 7", shifted(0))
        (tmp_path / "case 8").mkdir()
        run(tmp_path, tmp_path / "out", model=brightness_model(spacing=(30.0, 0.1, None)))
        assert facts_of(tmp_path / "out", "case_7")["runs"][0]["warnings"]
        written = b"".join(path.read_bytes() for path in (tmp_path / "out").iterdir())
        for secret in (b"Doe", b"4711", str(tmp_path).encode()):
            assert secret not in written


class TestOutput:
    def test_a_folder_that_cannot_be_written_stops_the_batch(self, study: Path, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("mine")
        with pytest.raises(OutputError, match="choose a folder that you may write to"):
            run(study, tmp_path / "file", model=brightness_model())
        assert (tmp_path / "file").read_text() == "mine"

    def test_a_full_disk_stops_the_batch_and_leaves_nothing_half_written(
        self, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        output = tmp_path / "out"

        def fill_up(image: sitk.Image, path: str, **_: object) -> None:
            Path(path).write_bytes(b"half")
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(sitk, "WriteImage", fill_up)
        with pytest.raises(OutputError, match="b.seg.nrrd could not be written \\(no space left on device\\)"):
            run(study, output)
        monkeypatch.undo()
        assert not list(output.glob("*.seg.nrrd"))
        assert counts(run(study, output)) == (3, 0, 3)
        assert_finished(study, output)

    def test_files_of_others_are_left_alone_and_the_rest_goes_on(self, study: Path) -> None:
        """The output goes beside the input, where a sidecar and a manual segmentation lie already."""
        (study / "b.json").write_text('{"Manufacturer": "x"}')
        (study / "sub_dir_z.seg.nrrd").write_bytes(b"drawn by hand")
        result = run(study, study)
        assert counts(result) == (1, 0, 5)
        errors = {record.name: record.error for record in result.records}
        assert errors["b"].startswith("b.json lies in the output folder already, and is not of a batch; move it away")
        assert errors["sub_dir_z"].startswith("sub_dir_z.seg.nrrd lies in the output folder already")
        assert (study / "b.json").read_text() == '{"Manufacturer": "x"}'
        assert (study / "sub_dir_z.seg.nrrd").read_bytes() == b"drawn by hand"
        assert errors["b"] in {row["error"] for row in table(study)}
        (study / "b.json").unlink()
        assert counts(run(study, study)) == (1, 1, 4)

    def test_corrected_segmentations_are_not_replaced(self, study: Path, tmp_path: Path) -> None:
        output = tmp_path / "out"
        run(study, output)
        (output / "b.seg.nrrd").write_bytes(b"corrected by hand")
        assert counts(run(study, output)) == (0, 3, 3)
        result = run(study, output, settings=replace(SETTINGS, smoothing=1.0))
        assert counts(result) == (2, 0, 4)
        assert result.records[1].error.startswith("b.seg.nrrd was changed since the batch wrote it; move it away")
        assert (output / "b.seg.nrrd").read_bytes() == b"corrected by hand"

    def test_a_table_of_others_is_not_replaced(self, study: Path, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "batch.csv").write_text("my,own\n")
        with pytest.raises(OutputError, match="is not the table of a batch; move it away"):
            run(study, tmp_path / "out")
        assert (tmp_path / "out" / "batch.csv").read_text() == "my,own\n"

    def test_a_table_that_is_open_elsewhere_does_not_stop_the_batch(
        self, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        output, write = tmp_path / "out", batch_records.write_text
        calls: list[Path] = []

        def locked(path: Path, text: str) -> None:
            if path.name == "batch.csv":
                calls.append(path)
                if 1 < len(calls) < 7:
                    raise OutputError("locked")
            write(path, text)

        monkeypatch.setattr(batch_records, "write_text", locked)
        assert counts(run(study, output)) == (3, 0, 3)
        assert len(calls) == 8
        assert_finished(study, output)

    def test_settings_that_no_case_could_have_stop_at_once(self, study: Path, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match="choose 0 to 20 mm"):
            run(study, tmp_path / "out", settings=replace(SETTINGS, smoothing=21.0))
        with pytest.raises(ModelError, match="has no class 9"):
            run(study, tmp_path / "out", settings=replace(SETTINGS, classes=(9,)))
        with pytest.raises(DeviceError):
            run(study, tmp_path / "out", settings=replace(SETTINGS, device="tpu"))
        assert not (tmp_path / "out").exists()

    def test_left_overs_of_killed_runs_are_removed(self, study: Path, tmp_path: Path) -> None:
        output = tmp_path / "out"
        output.mkdir()
        old, new, mine = output / ".7.b.seg.nrrd", output / ".8.b.json", output / ".7.notes.txt"
        for path in (old, new, mine):
            path.write_bytes(b"half")
        for path in (old, mine):
            os.utime(path, (time.time() - 4000,) * 2)
        run(study, output)
        assert [path.exists() for path in (old, new, mine)] == [False, True, True]


CHILD = """
import os, signal, sys, time
from pathlib import Path
import SimpleITK as sitk
from AHNetSegmentLib.engine import batch, batch_records
from engine_helpers import brightness_model
from AHNetSegmentLib.engine.inference import InferenceSettings

study, output, moment = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def progress(place):
    if moment == "computing" and place.name == "sub_dir_Müller" and place.done:
        print("here", flush=True)
        time.sleep(60)
    return True

def half(image, path, **_):
    if "Müller" in path:
        Path(path).write_bytes(b"NRRD0004 half")
        die()
    written(image, path, useCompression=True)

written = sitk.WriteImage
if moment == "writing":
    sitk.WriteImage = half
ended = batch_records.BatchFolder.end
if moment == "recorded":
    batch_records.BatchFolder.end = lambda self, name: die() if "Müller" in name else ended(self, name)
settings = InferenceSettings(device="cpu", precision="float32")
batch.segment_batch_cases(batch.find_batch_cases(study, output), brightness_model(), output, settings, progress)
"""


def child(study: Path, output: Path, moment: str) -> subprocess.Popen[str]:
    paths = os.pathsep.join([str(TESTING.parent / "AHNetSegment"), str(TESTING)])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"}
    command = [sys.executable, "-c", CHILD, str(study), str(output), moment]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, encoding="utf-8")


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
class TestKilled:
    def test_a_kill_at_any_moment_loses_nothing(self, study: Path, tmp_path: Path) -> None:
        moments = ("computing", "writing", "recorded")
        children = {moment: child(study, tmp_path / moment, moment) for moment in moments}
        stream = children["computing"].stdout
        assert stream is not None
        assert stream.readline() == "here\n"
        os.kill(children["computing"].pid, signal.SIGKILL)
        for moment, process in children.items():
            assert process.wait(60) == -signal.SIGKILL, moment
            output = tmp_path / moment
            assert (output / ".batch-begun").read_text(encoding="utf-8") == "sub_dir_Müller"
            assert [row["case"] for row in table(output)] == ["a-cut", "b", "b", "letter", "no_dicom"]
            finished = moment == "recorded"
            order: list[tuple[str, int]] = []
            result = run(study, output, progress=note_names(order))
            assert counts(result) == ((1, 2, 3) if finished else (2, 1, 3)), moment
            assert order == [("sub_dir_z", 5 if finished else 4), ("sub_dir_Müller", 5)][: 1 if finished else 2]
            assert_finished(study, output)

    def test_a_result_whose_record_a_kill_prevented_is_not_taken_for_finished(
        self, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """First without smoothing, then killed after a smoothed result was written, then without smoothing again."""
        output = tmp_path / "out"
        run(study, output)

        def power_cut(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(batch_records, "sha256", lambda path: power_cut())
        monkeypatch.setattr(batch_records.BatchFolder, "obstacle", lambda self, name: "")
        with pytest.raises(KeyboardInterrupt):
            run(study, output, settings=replace(SETTINGS, smoothing=2.0))
        monkeypatch.undo()
        assert (read_volume(output / "b.seg.nrrd").array != expected_labels(shifted(0))).any()
        assert counts(run(study, output)) == (1, 2, 3)
        assert_finished(study, output)


def note_names(order: list[tuple[str, int]]) -> Callable[[BatchProgress], bool]:
    """Notes the cases in the order in which they are worked on, and how many ended before."""

    def note(place: BatchProgress) -> bool:
        if (place.name, place.ended) not in order:
            order.append((place.name, place.ended))
        return True

    return note


class TestCommandLine:
    @pytest.fixture
    def model(self, tmp_path: Path) -> Path:
        made = random_model()
        save_model(tmp_path / "model", made.card, made.network.state_dict(), "int8")
        return tmp_path / "model"

    def test_a_batch_with_failed_cases_ends_with_a_sentence_and_code_2(
        self, study: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        output = study / "out"
        command = ["batch", str(study), "--model", str(model), "-o", str(output), "--device", "cpu", "--smooth", "1"]
        assert cli.main([*command, "--classes", "posterior"]) == 2
        said = capsys.readouterr()
        assert "letter failed: letter.nrrd could not be read as an image" in said.err
        assert said.err.strip().splitlines()[-1].startswith("Error: 3 of 6 cases failed; the column 'error' of ")
        assert "3 done, 0 done before, 3 failed" in said.out
        assert {row["segment"] for row in table(output)} == {"Posterior", ""}
        for name in ("a-cut.nii.gz", "letter.nrrd"):
            (study / name).unlink()
        (study / "no dicom").rmdir()
        assert cli.main([*command, "--classes", "2"]) == 0
        assert "0 done, 3 done before, 0 failed" in capsys.readouterr().out

    def test_bad_arguments_end_with_a_sentence(
        self, study: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        command = ["batch", str(study), "--model", str(model), "-o", str(tmp_path / "out")]
        for more, said in (
            (["--classes", "Liver"], "has no class Liver; choose from 1 Anterior, 2 Posterior."),
            (["--smooth", "30"], "cannot be smoothed by 30 mm; choose 0 to 20 mm."),
        ):
            assert cli.main([*command, *more]) == 2
            assert capsys.readouterr().err.strip().endswith(said)
        shutil.rmtree(study)
        study.mkdir()
        assert cli.main(command) == 2
        assert "holds no volume" in capsys.readouterr().err
        assert not (tmp_path / "out").exists()

    def test_segment_takes_classes_and_smoothing_too(self, study: Path, model: Path, tmp_path: Path) -> None:
        command = ["segment", str(study / "b.nrrd"), "--model", str(model), "-o", str(tmp_path / "b.nii.gz")]
        assert cli.main([*command, "--classes", "Anterior", "--smooth", "1.5", "--device", "cpu"]) == 0
        assert set(np.unique(read_volume(tmp_path / "b.nii.gz").array)) <= {0, 1}

    def test_help_names_the_command(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            cli.main(["batch", "--help"])
        assert "batch.csv" in capsys.readouterr().out


class TestWhatIsNoScan:
    def test_label_maps_beside_scans_are_passed_over_and_named(self, tmp_path: Path) -> None:
        for name in ("c1/scan", "c1/scan-label", "c2/t1", "c2/t1_seg", "c2/t1_mask", "c3/x-label", "c4/liver_mask"):
            write_volume(tmp_path / f"{name}.nrrd", shifted(0))
        for name in ("images/a", "labels/a", "masks/a"):
            write_volume(tmp_path / "set" / f"{name}.nii.gz", shifted(0))
        segments = {"Segment0_ID": "S1", "Segment0_Name": "Liver", "Segment0_LabelValue": "1"}
        image = shifted(0).to_sitk()
        for key, value in segments.items():
            image.SetMetaData(key, value)
        (tmp_path / "c5").mkdir()
        sitk.WriteImage(image, str(tmp_path / "c5" / "drawn.nrrd"))
        said: list[str] = []
        names = [case.name for case in find_batch_cases(tmp_path, None, said.append)]
        # A mask that no scan lies beside may be a scan that somebody called so.
        assert names == ["c1_scan", "c2_t1", "c4_liver_mask", "set_images_a"]
        (told,) = said
        assert told.startswith("7 label maps are no scans and passed over: c1/scan-label.nrrd, c2/t1_mask.nrrd, c2/")

    def test_hidden_files_and_those_of_another_system_are_passed_over(self, tmp_path: Path) -> None:
        write_volume(tmp_path / "c.nrrd", shifted(0))
        for name in ("._c.nrrd", "__MACOSX/c.nrrd", ".hidden/c.nrrd"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(b"\0\5\26\7")
        assert [case.name for case in find_batch_cases(tmp_path)] == ["c"]

    def test_what_dicom_derives_from_a_scan_is_no_case(self, tmp_path: Path) -> None:
        write_series(tmp_path / "ct")
        for number, sop_class in enumerate((SEGMENTATION, DOSE, SECONDARY_CAPTURE)):
            derived = dataset_of(phantom()[:2], f"1.2.4.{number}", sop_class=sop_class, series=f"1.2.4.{number}")
            save(derived, tmp_path / "ct" / f"derived{number}.dcm")
        save(dataset_of(phantom()[:2], "1.2.5", sop_class=SEGMENTATION, series="1.2.5"), tmp_path / "seg" / "s.dcm")
        ct, seg = find_batch_cases(tmp_path)
        volume = ct.read()
        np.testing.assert_array_equal(volume.array, phantom())
        assert "ct holds a DICOM segmentation too: it was left out." in volume.notes
        with pytest.raises(VolumeError, match="^seg holds no scan but a DICOM segmentation"):
            seg.read()

    def test_nothing_of_the_folders_above_the_batch_is_in_its_messages(self, tmp_path: Path) -> None:
        write_series(tmp_path / "jane" / "ct")
        change(tmp_path / "jane" / "ct" / "IM004.dcm", PixelSpacing=None)
        write_nifti_file(tmp_path / "jane" / "b.nii", phantom(), sform=(1, np.eye(4)), pixdim=(2, 2, 2))
        (tmp_path / "jane" / "c.mhd").write_text(
            "ObjectType = Image\nNDims = 3\nDimSize = 2 2 2\nElementType = MET_CHAR\n"
            "ElementSpacing = 1 1 1\nElementDataFile = gone.raw\n"
        )
        result = run(tmp_path / "jane", tmp_path / "out")
        told = [
            record.error + " ".join(record.report["runs"][0]["warnings"] if record.report else ())
            for record in result.records
        ]
        assert [record.status for record in result.records] == ["done", "failed", "failed"]
        assert told[0].startswith("b.nii has two spacings")
        assert told[1].startswith("c.mhd is only a header; gone.raw, the file of its voxels, is missing")
        assert told[2].startswith("ct/IM004.dcm does not say its Pixel Spacing")
        assert str(tmp_path) not in " ".join(told)

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes with names")
    def test_pipes_and_names_that_are_no_text_cost_one_case_each(self, tmp_path: Path) -> None:
        folder = tmp_path / "study"
        write_volume(folder / "good.nrrd", shifted(0))
        for name in ("pipe.nrrd", "pipe.mhd", "pipe.dcm", "pipe"):
            os.mkfifo(folder / name)
        odd = os.fsencode(folder) + b"/scan\xff.nrrd"
        shutil.copy(folder / "good.nrrd", odd)
        Path(os.fsdecode(os.fsencode(folder) + b"/bad\xff.nrrd")).write_bytes(b"nothing")
        result = run(folder, tmp_path / "out")
        assert {record.name: record.status for record in result.records} == {
            "bad": "failed",
            "good": "done",
            "pipe": "failed",
            "pipe-2": "failed",
            "scan": "done",
        }
        assert all("is no regular file" in record.error for record in result.records if record.name.startswith("pipe"))
