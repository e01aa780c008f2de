"""Labelled cases from tables and folders: which value is which class, and what a case says nothing about."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from AHNetSegmentLib.engine.card import classes_from_dicts
from AHNetSegmentLib.engine.case_list import ClassChoice, classes_of, label_cases, read_cases, segment_values
from AHNetSegmentLib.engine.cases import ArrayCase, Case, StoredCase
from AHNetSegmentLib.engine.errors import AHNetSegmentError, RecipeError, VolumeError
from AHNetSegmentLib.engine.finetune_tasks import job_classes
from AHNetSegmentLib.engine.image_io import write_labels, write_volume
from AHNetSegmentLib.engine.volume import Geometry, Volume
from case_files import write_nifti_file
from engine_helpers import classes

GEOMETRY = Geometry((7, 6, 5), (1.0, 1.5, 3.0), (-10.0, 4.0, 2.0))


def labels(*values: int) -> np.ndarray:
    """One voxel of each value, in the order of the array."""
    array = np.zeros(GEOMETRY.shape, np.uint8)
    array.flat[: len(values)] = values
    return array


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two cases: a has the values 1 and 2, b (a segmentation of Slicer's) the values 1 and 3."""
    image = np.arange(np.prod(GEOMETRY.shape), dtype=np.float32).reshape(GEOMETRY.shape)
    for name in ("a", "b"):
        write_volume(tmp_path / "scans" / f"{name}.nii.gz", Volume(image, GEOMETRY))
    write_labels(tmp_path / "a.nii.gz", labels(1, 2, 2), GEOMETRY)
    named = tuple(classes(3))
    write_labels(tmp_path / "b.seg.nrrd", labels(3, 1), GEOMETRY, named)
    return tmp_path


def table(folder: Path, *lines: str, header: str = "image,labels,name,use,complete,group") -> Path:
    path = folder / "cases.csv"
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def test_a_table_names_cases_relative_to_itself(folder: Path) -> None:
    cases = read_cases(table(folder, "scans/a.nii.gz,a.nii.gz,,Validation,,P1", "scans/b.nii.gz,b.seg.nrrd,second"))
    assert [case.name for case in cases] == ["a", "second"]
    assert [case.use for case in cases] == ["validation", "auto"]
    assert [case.group for case in cases] == ["P1", ""]
    assert cases[0].image == folder / "scans" / "a.nii.gz"
    assert cases[0].read_image().geometry.same_grid(GEOMETRY)


def test_a_case_labels_the_classes_that_it_has_a_voxel_of(folder: Path) -> None:
    path = table(folder, "scans/a.nii.gz,a.nii.gz,,,yes,", "scans/b.nii.gz,b.seg.nrrd,,,no,")
    found = label_cases(read_cases(path), None, classes(4))
    assert [case.labelled for case in found] == [None, (1, 3)]
    assert [case.labelled for case in label_cases(read_cases(path), None, classes(4), complete=True)] == [None, None]


def test_values_and_segment_names_become_classes_and_several_may_merge(folder: Path) -> None:
    path = table(folder, "scans/a.nii.gz,a.nii.gz", "scans/b.nii.gz,b.seg.nrrd")
    choices = [ClassChoice.parse("Tip=third,2"), ClassChoice.parse("Body=1")]
    wanted = classes_of(choices, classes(1))
    found = label_cases(read_cases(path), choices, wanted)
    assert [item.name for item in wanted] == ["Tip", "Body"]
    read = [case.read_labels(case.read_image(), (0, 1, 2)) for case in found]
    np.testing.assert_array_equal(read[0], labels(2, 1, 1))
    np.testing.assert_array_equal(read[1], labels(1, 2))
    assert [case.labelled for case in found] == [(1, 2), (1, 2)]


def test_a_complete_case_speaks_of_the_chosen_classes_alone(folder: Path) -> None:
    path = table(folder, "scans/a.nii.gz,a.nii.gz")
    (case,) = label_cases(read_cases(path), [ClassChoice.parse("Posterior=1")], classes(2), complete=True)
    assert case.labelled == (2,)
    np.testing.assert_array_equal(case.read_labels(case.read_image(), (0, 1, 2)), labels(2))


def test_what_is_no_class_becomes_background(folder: Path) -> None:
    path = table(folder, "scans/a.nii.gz,a.nii.gz")
    choices = [ClassChoice.parse("Body=2")]
    (case,) = label_cases(read_cases(path), choices, classes_of(choices))
    np.testing.assert_array_equal(case.read_labels(case.read_image(), (0, 1)), labels(0, 1, 1))


def test_names_of_segments_are_read_from_a_segmentation_file(folder: Path) -> None:
    assert segment_values(folder / "b.seg.nrrd") == {"anterior": 1, "posterior": 2, "third": 3}
    assert segment_values(folder / "a.nii.gz") == {}


def test_a_known_class_keeps_colour_and_code() -> None:
    both = classes(2)
    found = classes_of([ClassChoice("POSTERIOR", ("7",)), ClassChoice("New", ("8",))], both)
    assert found[0].terminology == both[1].terminology
    assert found[0].color == both[1].color
    assert [item.label for item in found] == [1, 2]
    assert classes_from_dicts(_as_json(job_classes(found))) == found


def _as_json(items: list[dict[str, object]]) -> list[dict[str, object]]:
    import json

    return list(json.loads(json.dumps(items)))


@pytest.mark.parametrize("text", ["Liver", "=3", "Liver=", "Liver=1,,2"])
def test_a_class_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be a name"):
        ClassChoice.parse(text)


@pytest.mark.parametrize(
    ("lines", "header", "sentence"),
    [
        ((), "image,labels", "is empty"),
        (("a.nii.gz,b.nii.gz,1",), "image,labels,colour", "unknown column colour"),
        (("a.nii.gz,",), "image,labels", "Line 2 of .* lacks an image or its labels"),
        (("a.nii.gz,b.nii.gz,c",), "image,labels", "too many cells"),
        (("a.nii.gz,b.nii.gz,never",), "image,labels,use", "has the use never"),
        (("a.nii.gz,b.nii.gz,perhaps",), "image,labels,complete", "says perhaps of being complete"),
        (("x/a.nii.gz,1.nii.gz", "y/a.nii.gz,2.nii.gz"), "image,labels", "two cases called a"),
    ],
)
def test_a_table_that_is_wrong_is_refused_with_its_line(
    tmp_path: Path, lines: tuple[str, ...], header: str, sentence: str
) -> None:
    with pytest.raises(RecipeError, match=sentence):
        read_cases(table(tmp_path, *lines, header=header))


def test_a_table_that_is_missing_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        read_cases(tmp_path / "none.csv")
    (tmp_path / "cases.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="cannot be read"):
        read_cases(tmp_path / "cases.csv")


@pytest.mark.parametrize(
    ("choices", "sentence"),
    [
        (["A=1", "B=1"], "belongs to two classes"),
        (["A=300"], "1 to 254"),
        (["A=1,liver"], "No label map holds liver"),
        (["A=1,7"], "holds 7"),
    ],
)
def test_choices_that_do_not_fit_are_refused(folder: Path, choices: list[str], sentence: str) -> None:
    parsed = [ClassChoice.parse(text) for text in choices]
    cases = read_cases(table(folder, "scans/a.nii.gz,a.nii.gz"))
    with pytest.raises(AHNetSegmentError, match=sentence):
        label_cases(cases, parsed, classes_of(parsed))


def test_a_file_that_is_gone_is_named(folder: Path) -> None:
    (case,) = read_cases(table(folder, "scans/a.nii.gz,a.nii.gz"))
    before = case.stamp()
    (folder / "a.nii.gz").unlink()
    with pytest.raises(VolumeError, match=r"a\.nii\.gz does not exist any more"):
        case.stamp()
    assert before


def test_each_kind_of_case_reads_the_same_and_notices_changes(folder: Path) -> None:
    image = np.arange(np.prod(GEOMETRY.shape), dtype=np.float32).reshape(GEOMETRY.shape)
    file = Case("a", folder / "scans" / "a.nii.gz", folder / "a.nii.gz")
    memory = ArrayCase("a", Volume(image, GEOMETRY), labels(1, 2, 2))
    np.save(folder / "image.npy", image)
    np.save(folder / "labels.npy", labels(1, 2, 2))
    stored = StoredCase("a", folder, GEOMETRY)
    for case in (file, memory, stored):
        volume = case.read_image()
        np.testing.assert_array_equal(volume.array, image)
        np.testing.assert_array_equal(case.read_labels(volume, (0, 1, 2)), labels(1, 2, 2))
        with pytest.raises(VolumeError, match="unknown labels 2"):
            case.read_labels(volume, (0, 1))
    slices = Case("d", folder / "scans", folder / "a.nii.gz")
    listed = slices.stamp()
    (folder / "scans" / "more.dcm").write_text("")
    assert slices.stamp() != listed
    assert memory.stamp() != ArrayCase("a", memory.image, labels(1, 2)).stamp()
    before = stored.stamp()
    np.save(folder / "labels.npy", labels(1, 2))
    assert stored.stamp() != before
    np.save(folder / "labels.npy", labels(1)[:2])
    with pytest.raises(VolumeError, match="start the training anew"):
        stored.read_labels(stored.read_image(), (0, 1, 2))


def test_hidden_files_and_label_maps_among_the_images_are_no_cases(tmp_path: Path) -> None:
    image = Volume(np.arange(np.prod(GEOMETRY.shape), dtype=np.float32).reshape(GEOMETRY.shape), GEOMETRY)
    write_volume(tmp_path / "images" / "c.nrrd", image)
    write_volume(tmp_path / "images" / "c-label.nrrd", image)
    write_labels(tmp_path / "labels" / "c.nrrd", labels(1), GEOMETRY)
    for name in ("images/._c.nrrd", "images/.c.nrrd", "labels/._c.nrrd", "labels/.DS_Store"):
        (tmp_path / name).write_bytes(bytes(100))
    (tmp_path / "images" / "folder.nrrd").mkdir()
    (case,) = read_cases(tmp_path)
    assert (case.name, case.image.name, case.labels.name) == ("c", "c.nrrd", "c.nrrd")
    write_volume(tmp_path / "images" / "d.nrrd", image)
    with pytest.raises(RecipeError, match="d.nrrd has no label file"):
        read_cases(tmp_path)


def test_what_the_images_leave_open_is_said(tmp_path: Path) -> None:
    array = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    write_nifti_file(tmp_path / "a.nii", array, pixdim=(2, 2, 2), sform=(1, np.eye(4)))
    write_nifti_file(tmp_path / "l.nii", (array == 1).astype(np.uint8), pixdim=(2, 2, 2), sform=(1, np.eye(4)))
    said: list[str] = []
    label_cases(read_cases(table(tmp_path, "a.nii,l.nii")), None, classes(1), say=said.append)
    assert len(said) == 1
    assert "a.nii has two spacings" in said[0]
