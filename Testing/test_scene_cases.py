"""Pairs of nodes as labelled cases: which belong together, what is wrong with them, and their arrays."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import driver

driver.require()

from AHNetSegmentLib.engine.errors import VolumeError

MAPPING = {"Anterior": 1, "Posterior": 2}
TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


pytestmark = pytest.mark.usefixtures("started")


@pytest.fixture
def helpers(scene: Any) -> Any:
    import scene_helpers

    return scene_helpers


@pytest.fixture
def make(helpers: Any) -> Callable[..., Any]:
    """Makes a volume and a segmentation of it with the segments Anterior and Posterior."""
    from AHNetSegmentLib.scene.segments import add_segments, new_segmentation_node

    def pair(name: str = "T1", matrix: Any = None, names: tuple[str, str] = ("Anterior", "Posterior")) -> Any:
        volume = helpers.volume_node(name=name, matrix=matrix)
        node = new_segmentation_node(volume, f"{name} labels")
        classes = [replace(item, name=text) for item, text in zip(helpers.two_classes(), names, strict=True)]
        add_segments(node, helpers.two_labels(), volume, classes, closed_surface=False)
        return volume, node

    return pair


def row(pair: Any, **more: Any) -> Any:
    from AHNetSegmentLib.scene.cases import CaseRow

    return CaseRow(*pair, **more)


def arrays(pair: Any, mapping: Any = MAPPING, **more: Any) -> Any:
    from AHNetSegmentLib.scene.cases import case_arrays

    return case_arrays(row(pair, **more), mapping)


def sentences(pair: Any, mapping: Any = MAPPING, base: Any = None, **more: Any) -> list[tuple[str, bool]]:
    from AHNetSegmentLib.scene.case_checks import check_row

    return [(item.sentence, item.hinders) for item in check_row(row(pair, **more), mapping, base)]


def found_pairs() -> tuple[list[Any], list[Any]]:
    from AHNetSegmentLib.scene.cases import pairs_in_scene

    pairs = pairs_in_scene()
    return list(pairs.found), list(pairs.without_volume)


# Arrays


def orientations() -> Iterator[Any]:
    from scene_helpers import OBLIQUE, axis_orders

    yield OBLIQUE
    yield from axis_orders()[::7]


def test_labels_lie_where_the_segments_do_in_every_orientation(make: Callable[..., Any], helpers: Any) -> None:
    for direction in orientations():
        volume, labels, labelled = arrays(make(matrix=helpers.ijk_to_ras(direction)))
        np.testing.assert_array_equal(labels, helpers.two_labels())
        assert labels.dtype == np.uint8
        assert labelled == (1, 2)
        np.testing.assert_array_equal(volume.array.ravel(), np.arange(volume.array.size))
        np.testing.assert_allclose(volume.geometry.ijk_to_lps(), TO_LPS @ helpers.ijk_to_ras(direction), atol=1e-9)


def test_volume_and_segmentation_under_different_transforms(make: Callable[..., Any], helpers: Any) -> None:
    volume, node = make()
    shift = np.eye(4)
    shift[:3, 3] = helpers.ijk_to_ras()[:3, :3] @ (2, -1, 1)
    helpers.linear_transform(helpers.rotation_and_shift(), volume, name="Turn")
    helpers.linear_transform(helpers.rotation_and_shift() @ shift, node, name="Turn and shift")
    found, labels, _ = arrays((volume, node))
    expected = np.zeros_like(labels)
    expected[1:, :-1, 2:] = helpers.two_labels()[:-1, 1:, :-2]
    np.testing.assert_array_equal(labels, expected)
    world = TO_LPS @ helpers.rotation_and_shift() @ helpers.ijk_to_ras()
    np.testing.assert_allclose(found.geometry.ijk_to_lps(), world, atol=1e-9)


def test_a_sheared_volume_is_passed_on(make: Callable[..., Any], helpers: Any) -> None:
    volume, node = make()
    shear = np.eye(4)
    shear[0, 1] = 0.4
    helpers.linear_transform(shear, volume, node)
    found, labels, _ = arrays((volume, node))
    np.testing.assert_array_equal(labels, helpers.two_labels())
    axes = np.reshape(found.geometry.direction, (3, 3))
    assert abs(axes[:, 0] @ axes[:, 1]) > 0.1
    assert sentences((volume, node)) == []


def test_a_segmentation_on_another_grid_is_resampled(make: Callable[..., Any], helpers: Any) -> None:
    matrix = helpers.ijk_to_ras()
    coarse = helpers.volume_node(np.arange(315).reshape(5, 7, 9), matrix @ np.diag([2.0, 2.0, 2.0, 1.0]), "Coarse")
    volume, node = make("Fine")
    labels = arrays((coarse, node))[1]
    np.testing.assert_array_equal(labels, helpers.two_labels()[::2, ::2, ::2])
    assert sentences((coarse, node)) == [
        ("Fine labels lies on another grid than Coarse: it is resampled to the volume's voxels.", False)
    ]
    assert sentences((volume, node)) == []


def test_segments_of_one_class_are_merged_and_others_left_out(make: Callable[..., Any], helpers: Any) -> None:
    pair = make(names=("Left LOBE", "Right lobe"))
    _, labels, labelled = arrays(pair, {"left lobe": 3, "right lobe": 3})
    np.testing.assert_array_equal(labels, 3 * (helpers.two_labels() > 0))
    assert labelled == (3,)
    _, labels, labelled = arrays(pair, {"RIGHT lobe": 2})
    np.testing.assert_array_equal(labels, 2 * (helpers.two_labels() == 2))
    assert labelled == (2,)


def test_what_is_not_labelled_is_unknown_unless_the_case_is_complete(make: Callable[..., Any], helpers: Any) -> None:
    from AHNetSegmentLib.scene.cases import cases_from_nodes

    pair = make()
    pair[1].GetSegmentation().AddEmptySegment("body", "Body")
    mapping = {**MAPPING, "Body": 3}
    assert arrays(pair, mapping)[2] == (1, 2)
    assert arrays(pair, mapping, complete=True)[2] is None
    classes = [*helpers.two_classes(), replace(helpers.two_classes()[0], label=3, name="Body")]
    (case,) = cases_from_nodes([pair], None, classes)
    assert (case.name, case.image.name, case.labelled) == ("case 1", "case 1", (1, 2))
    np.testing.assert_array_equal(case.labels, helpers.two_labels())
    assert cases_from_nodes([pair], None, classes, complete=True)[0].labelled is None
    # The list says nothing of the third class: no case is complete in it.
    assert cases_from_nodes([pair], MAPPING, classes, complete=True)[0].labelled == (1, 2)


def test_the_console_refuses_a_segmentation_with_nothing_in_common(make: Callable[..., Any], helpers: Any) -> None:
    from AHNetSegmentLib.scene.cases import cases_from_nodes

    with pytest.raises(VolumeError, match="^T1 labels has none of the segments Anterior, Posterior; rename"):
        cases_from_nodes([make(names=("One", "Two"))], None, helpers.two_classes())


# Pairs


def test_a_segmentation_belongs_to_its_reference_volume(make: Callable[..., Any]) -> None:
    first, second = make("A"), make("B")
    assert found_pairs() == ([first, second], [])


def test_without_a_reference_it_belongs_to_the_only_volume_on_its_grid(make: Callable[..., Any], helpers: Any) -> None:
    volume, node = make("A")
    elsewhere = helpers.ijk_to_ras() @ np.diag([1.0, 1.3, 1.0, 1.0])
    helpers.volume_node(name="B", matrix=elsewhere)
    node.SetNodeReferenceID(node.GetReferenceImageGeometryReferenceRole(), None)
    assert found_pairs() == ([(volume, node)], [])
    helpers.volume_node(name="Second on this grid")
    assert found_pairs() == ([], [node])


def test_a_grid_beyond_the_volume_is_not_its_grid(make: Callable[..., Any], helpers: Any, scene: Any) -> None:
    volume, node = make("A")
    node.SetNodeReferenceID(node.GetReferenceImageGeometryReferenceRole(), None)
    scene.RemoveNode(volume)
    helpers.volume_node(np.zeros((4, 14, 17), np.int16), name="Its first four slices")
    assert found_pairs() == ([], [node])


def test_hidden_and_empty_segmentations_are_no_cases(make: Callable[..., Any], scene: Any) -> None:
    hidden = make("A")[1]
    hidden.SetHideFromEditors(True)
    scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Nothing")
    assert found_pairs() == ([], [])


# Checks


def test_a_good_case_gets_no_sentence(make: Callable[..., Any], helpers: Any) -> None:
    for direction in orientations():
        assert sentences(make(matrix=helpers.ijk_to_ras(direction))) == []


def test_volumes_that_cannot_be_used_hinder(make: Callable[..., Any], helpers: Any, scene: Any) -> None:
    _, node = make()
    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Nothing")
    assert sentences((empty, node)) == [("Nothing is empty; choose a volume that holds image data.", True)]
    flat = helpers.volume_node(np.full(helpers.SHAPE, 7, np.int16), name="Flat")
    assert sentences((flat, node)) == [
        ("Flat has the value 7 in every voxel; choose a volume that shows something.", True)
    ]
    holes = np.random.default_rng(0).normal(size=helpers.SHAPE)
    holes[3, 2, 1] = np.nan
    (said,) = sentences((helpers.volume_node(holes, name="Holes"), node))
    assert said == ("Holes holds voxels that are NaN or infinite; replace them by numbers, 0 for example.", True)


def test_non_linear_transforms_hinder(make: Callable[..., Any], helpers: Any) -> None:
    pair = make()
    helpers.warp(pair[1])
    (said,) = sentences(pair)
    assert said == (
        "T1 labels is under the non-linear transform Warp; harden the transform, or take the node out of it.",
        True,
    )
    helpers.warp(pair[0])
    assert sentences(pair)[0][0].startswith("T1 is under the non-linear transform Warp")


def test_a_segmentation_beside_the_volume_hinders(make: Callable[..., Any], helpers: Any) -> None:
    volume, node = make()
    far, turned = np.eye(4), helpers.rotation_and_shift()
    far[:3, 3] = helpers.ijk_to_ras()[:3, :3] @ (0, 0, 9)
    transform = helpers.linear_transform(far, node)
    said = [("T1 labels lies outside T1; choose the volume that it was drawn on.", True)]
    assert sentences((volume, node)) == said
    far[:3, 3] = helpers.ijk_to_ras()[:3, :3] @ (0, 0, 4)
    transform.SetMatrixTransformToParent(helpers.matrix_from_array(far))
    assert sentences((volume, node)) == []
    turned[:3, 3] += 300
    transform.SetMatrixTransformToParent(helpers.matrix_from_array(turned))
    assert sentences((volume, node)) == said


def test_surfaces_alone_are_checked_too(make: Callable[..., Any], helpers: Any) -> None:
    volume, node = make()
    segmentation = node.GetSegmentation()
    node.CreateClosedSurfaceRepresentation()
    segmentation.SetSourceRepresentationName("Closed surface")
    segmentation.RemoveRepresentation("Binary labelmap")
    assert sentences((volume, node)) == []
    assert arrays((volume, node))[2] == (1, 2)
    far = np.eye(4)
    far[:3, 3] = 500
    helpers.linear_transform(far, node)
    assert sentences((volume, node))[0][0] == "T1 labels lies outside T1; choose the volume that it was drawn on."


def test_empty_segments_are_named(make: Callable[..., Any]) -> None:
    pair = make()
    pair[1].GetSegmentation().AddEmptySegment("t", "Tumour")
    mapping = {**MAPPING, "Tumour": 3}
    assert sentences(pair, mapping) == [
        ("T1 labels has no voxels in Tumour; draw it, or leave it: nothing is learned of it here.", False)
    ]
    assert sentences(pair, mapping, complete=True) == [
        ("T1 labels has no voxels in Tumour: in a complete case that means that it is not there.", False)
    ]
    assert sentences(pair, {"Tumour": 1}) == [
        ("Every learned segment of T1 labels is empty; draw them, or remove the case.", True)
    ]
    assert [hinders for _, hinders in sentences(pair, {"Tumour": 1}, complete=True)] == [False]


def test_a_case_without_a_learned_segment_hinders(make: Callable[..., Any]) -> None:
    assert sentences(make(), {"Liver": 1}) == [
        ("T1 labels has no segment that is learned; choose a class for one below, or remove the case.", True)
    ]


def test_slices_in_another_plane_than_the_base_s_are_a_warning(make: Callable[..., Any], helpers: Any) -> None:
    from AHNetSegmentLib.engine.package import read_card
    from AHNetSegmentLib.engine.resources import resources_folder

    card = read_card(resources_folder() / "Models" / "hippocampus-t1" / "model.json")
    said = sentences(make(), base=card)
    assert [hinders for _, hinders in said] == [False] * len(said)
    told = "hippocampus-t1 was trained on axial ones, to which they are resampled (3 mm"
    assert any(told in text for text, _ in said)
    assert len(said) == len(set(said))


# Writing


def store(folder: Path, rows: Any, mapping: Any = MAPPING, classes: Any = (), facts: Any = None) -> list[Any]:
    """What is told of writing cases."""
    from AHNetSegmentLib.scene.cases import CaseStore

    told: list[Any] = []
    CaseStore(folder, told.append, told.append).write(rows, mapping, classes, facts)
    assert told == []
    assert driver.pump(lambda: told, 10)
    return told


def test_cases_arrive_in_the_folder_as_they_are(make: Callable[..., Any], helpers: Any, tmp_path: Path) -> None:
    from AHNetSegmentLib.engine.cases import StoredCase
    from AHNetSegmentLib.engine.tasks import geometry_from_dict

    one, two = make("Mr Smith 1"), make("Mr Smith 2", matrix=helpers.ijk_to_ras(np.eye(3)))
    classes = helpers.two_classes()
    folder = tmp_path / "jobs" / "mine"
    rows = [row(one, use="validation", complete=True), row(two)]
    assert store(folder, rows, {"Anterior": 1}, classes[:1], {"name": "mine"}) == [folder]
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    assert "Smith" not in json.dumps(job)
    assert (job["format_version"], job["name"]) == (1, "mine")
    assert job["classes"] == [json.loads(json.dumps(vars_of(classes[0])))]
    assert [(c["name"], c["folder"], c["labelled"], c["use"], c["group"]) for c in job["cases"]] == [
        ("case 1", "case-1", None, "validation", ""),
        ("case 2", "case-2", [1], "auto", ""),
    ]
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*.npy")) == [
        "case-1/image.npy", "case-1/labels.npy", "case-2/image.npy", "case-2/labels.npy",
    ]  # fmt: skip
    case = StoredCase("case 2", folder / "case-2", geometry_from_dict(job["cases"][1]["geometry"]))
    image = case.read_image()
    expected = arrays(two)[0]
    assert image.geometry == expected.geometry
    np.testing.assert_array_equal(image.array, expected.array)
    np.testing.assert_array_equal(case.read_labels(image, (0, 1)), helpers.two_labels() == 1)


def vars_of(item: Any) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(item)


def test_cases_of_one_patient_or_volume_are_one_group(make: Callable[..., Any], scene: Any) -> None:
    import slicer

    from AHNetSegmentLib.scene.cases import patient_groups

    pairs = [make(name) for name in "ABCD"]
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Smith")
    study = hierarchy.CreateStudyItem(patient, "2001")
    for volume, _ in pairs[1:3]:
        hierarchy.CreateItem(study, volume)
    rows = [*(row(pair) for pair in pairs), row((pairs[3][0], pairs[0][1]))]
    assert patient_groups(rows) == ["", "group 1", "group 1", "group 2", "group 2"]


def test_stopping_tells_nobody(make: Callable[..., Any], helpers: Any, tmp_path: Path) -> None:
    from AHNetSegmentLib.scene.cases import CaseStore

    told: list[Any] = []
    steps: list[tuple[int, int]] = []

    def stop_at_second(done: int, total: int) -> None:
        steps.append((done, total))
        if done == 2:
            writing.stop()
            writing.stop()

    writing = CaseStore(tmp_path / "job", told.append, told.append, stop_at_second)
    writing.write([row(make(str(number))) for number in range(3)], MAPPING, helpers.two_classes())
    assert driver.pump(lambda: len(steps) == 2, 5)
    driver.pump(lambda: False, 0.1)
    assert (told, steps) == ([], [(1, 3), (2, 3)])
    assert not (tmp_path / "job" / "case-3").exists()
    assert not (tmp_path / "job" / "job.json").exists()


def test_what_cannot_be_written_or_used_is_one_sentence(
    make: Callable[..., Any], helpers: Any, scene: Any, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("a file")
    (said,) = store(tmp_path / "taken", [row(make())])
    assert said.startswith(f"The cases could not be written to {tmp_path} (")
    assert said.endswith("); make room there, or choose another folder.")
    pair = make("Gone")
    scene.RemoveNode(pair[0])
    (said,) = store(tmp_path / "job", [row(pair)])
    assert said == "Gone was removed from the scene while the cases were written; start again."
    bent = make("Bent")
    helpers.warp(bent[1])
    (said,) = store(tmp_path / "job", [row(bent)])
    assert said.startswith("Bent labels is under the non-linear transform Warp")
    assert not (tmp_path / "job" / "job.json").exists()


def test_too_little_room_is_said(make: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil
    from types import SimpleNamespace

    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    (said,) = store(tmp_path / "job", [row(make())])
    assert "(0 MB are free, 0 MB are needed); make room there" in said


# Terms and colours


def test_terms_are_read_from_slicers_strings(helpers: Any) -> None:
    from AHNetSegmentLib.engine.card import UNCODED
    from AHNetSegmentLib.scene.structures import terminology_from_entry

    assert terminology_from_entry(helpers.HIPPOCAMPUS.entry()) == helpers.HIPPOCAMPUS
    plain = replace(helpers.HIPPOCAMPUS, modifier=None)
    assert terminology_from_entry(plain.entry()) == plain
    for nothing in ("", None, "~^^~^^~^^~~^^~^^", "no terms", "a~b^c~d^e^f"):
        assert terminology_from_entry(nothing) == UNCODED
    assert UNCODED.type.value == "85756007"
    found = terminology_from_entry("x~SCT^1^Some|thing~SCT^2^Other~^^~y~^^~^^")
    assert found.category.meaning == "Some thing"
