"""Labelled cases of the scene: pairs of a volume and a segmentation, as arrays, and on their way to the worker."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import slicer

from ..engine.card import ClassCard
from ..engine.cases import ArrayCase
from ..engine.errors import AHNetSegmentError, OutputError, VolumeError
from ..engine.files import write_text
from ..engine.finetune_tasks import FORMAT_VERSION, JOB_FILE, job_classes
from ..engine.tasks import geometry_to_dict
from ..engine.volume import Array, Volume
from .exchange import Writing, reason_text
from .labels import labels_from_segments
from .segments import LABELMAP, check_segmentation_node
from .timers import later
from .transforms import image_to_world, lattice_shift, node_name, node_to_node
from .volumes import check_volume_node, first_voxel_to_ras, volume_from_node

SAMPLE_STEP = 4
"""Along each axis: of what is looked at in a first glance."""

CaseArrays = tuple[Volume, Array, tuple[int, ...] | None]


@dataclass(frozen=True)
class CaseRow:
    """A case that a person chose.

    Attributes:
        volume_node: the scan.
        segmentation_node: its segments.
        use: ``auto``, ``training`` or ``validation``.
        complete: every structure of the list is labelled in this case; what is not labelled is background.
    """

    volume_node: Any
    segmentation_node: Any
    use: str = "auto"
    complete: bool = False


@dataclass(frozen=True)
class Pairs:
    """The pairs of volume and segmentation that were found, and the segmentations without a volume."""

    found: tuple[tuple[Any, Any], ...]
    without_volume: tuple[Any, ...]


def pairs_in_scene() -> Pairs:
    """Each segmentation that has segments, with its reference volume, or else the only volume whose grid it lies on."""
    volumes = [node for node in _nodes("vtkMRMLScalarVolumeNode") if _is_usable(node)]
    found, without = [], []
    for segmentation_node in _nodes("vtkMRMLSegmentationNode"):
        if segmentation_node.GetHideFromEditors() or not segmentation_node.GetSegmentation().GetNumberOfSegments():
            continue
        volume_node = segmentation_node.GetNodeReference(segmentation_node.GetReferenceImageGeometryReferenceRole())
        if volume_node is None or not _is_usable(volume_node):
            on_grid = [node for node in volumes if lies_on_grid(segmentation_node, node)]
            volume_node = on_grid[0] if len(on_grid) == 1 else None
        if volume_node is None:
            without.append(segmentation_node)
        else:
            found.append((volume_node, segmentation_node))
    return Pairs(tuple(found), tuple(without))


def layers(segmentation_node: Any) -> list[tuple[Any, dict[str, int]]]:
    """The label map layers of a segmentation, each with the values of its segments by their identifiers."""
    segmentation = segmentation_node.GetSegmentation()
    found: list[tuple[Any, dict[str, int]]] = []
    for segment_id in segmentation.GetSegmentIDs():
        segment = segmentation.GetSegment(segment_id)
        layer = segment.GetRepresentation(LABELMAP)
        if layer is None:
            continue
        values = next((values for other, values in found if other is layer), None)
        if values is None:
            values = {}
            found.append((layer, values))
        values[segment_id] = int(segment.GetLabelValue())
    return found


def present(array: Array, values: Iterable[int]) -> set[int]:
    """Which of the values occur in an array (k, j, i); a sample of its voxels answers for most of them."""
    wanted = set(values)
    step = slice(None, None, SAMPLE_STEP)
    found = wanted & {int(value) for value in np.unique(array[step, step, step])}
    return found | {value for value in wanted - found if (array == value).any()}


def local_to_grid(segmentation_node: Any, volume_node: Any) -> Array:
    """4x4 from a segmentation's own coordinates to voxel indices (i, j, k) of a volume; raises VolumeError."""
    return np.asarray(np.linalg.solve(first_voxel_to_ras(volume_node), node_to_node(segmentation_node, volume_node)))


def lies_on_grid(segmentation_node: Any, volume_node: Any) -> bool:
    """Whether the segmentation has voxels, all within a volume and on its grid."""
    try:
        to_grid = local_to_grid(segmentation_node, volume_node)
    except VolumeError:
        return False
    size = np.array(volume_node.GetImageData().GetDimensions())
    filled = [layer for layer, _ in layers(segmentation_node) if not layer.IsEmpty()]
    for layer in filled:
        extent = layer.GetExtent()
        shift = lattice_shift(to_grid @ image_to_world(layer), extent)
        if shift is None:
            return False
        if (np.array(extent[0::2]) + shift < 0).any() or (np.array(extent[1::2]) + shift >= size).any():
            return False
    return bool(filled)


def segment_labels(segmentation_node: Any, mapping: Mapping[str, int]) -> dict[str, int]:
    """The label of each segment that is learned, by its identifier; upper and lower case in names do not differ."""
    segmentation = segmentation_node.GetSegmentation()
    folded = {name.casefold(): label for name, label in mapping.items()}
    names = {key: segmentation.GetSegment(key).GetName() or "" for key in segmentation.GetSegmentIDs()}
    return {key: folded[name.casefold()] for key, name in names.items() if name.casefold() in folded}


def case_arrays(row: CaseRow, mapping: Mapping[str, int]) -> CaseArrays:
    """A case as the engine takes it.

    Args:
        row: the case.
        mapping: label, 1 to 255, of each segment name; segments of one label are merged, those of other names left
            out. Where segments of different labels overlap, the later segment counts.

    Returns:
        The volume where it lies in the world (a view of the node's voxels), the label map uint8 (k, j, i) on its
        grid, and the labels of the classes that the case speaks of: those with at least one voxel; None (all) where
        the case is complete.

    Raises:
        VolumeError: a node cannot be used, or a transform is not linear.
    """
    found: list[CaseArrays] = []

    def steps() -> Iterator[None]:
        found.append((yield from case_steps(row, mapping)))

    deque(steps(), maxlen=0)
    return found[0]


def case_steps(row: CaseRow, mapping: Mapping[str, int]) -> Generator[None, None, CaseArrays]:
    """:func:`case_arrays` in steps, one segment each, for the event loop."""
    volume = volume_from_node(row.volume_node)
    check_segmentation_node(row.segmentation_node)
    merged = np.zeros(volume.array.shape, np.uint8)
    for segment_id, label in segment_labels(row.segmentation_node, mapping).items():
        part = labels_from_segments(row.segmentation_node, row.volume_node, {segment_id: label})
        np.copyto(merged, part, where=part != 0)
        yield
    if row.complete:
        return volume, merged, None
    return volume, merged, tuple(sorted(present(merged, mapping.values())))


def cases_from_nodes(
    pairs: Sequence[tuple[Any, Any]],
    mapping: Mapping[str, int] | None,
    classes: Sequence[ClassCard],
    complete: bool = False,
) -> list[ArrayCase]:
    """Pairs of nodes as cases of the engine, named ``case 1`` and so on: no name of a node gets into a model.

    Args:
        pairs: (volume node, segmentation node) each.
        mapping: label of each segment name; None: a segment is the class of the same name.
        classes: what the labels mean.
        complete: every class is labelled in every case.

    Raises:
        VolumeError: a node cannot be used, or a segmentation has no segment that is learned.
    """
    if mapping is None:
        mapping = {item.name: item.label for item in classes}
    cases = []
    for number, (volume_node, segmentation_node) in enumerate(pairs, start=1):
        check_segmentation_node(segmentation_node)
        if not segment_labels(segmentation_node, mapping):
            raise VolumeError(
                f"{node_name(segmentation_node, 'The segmentation')} has none of the segments "
                f"{', '.join(mapping)}; rename its segments, or map their names to classes."
            )
        volume, labels, labelled = case_arrays(CaseRow(volume_node, segmentation_node, complete=complete), mapping)
        name = f"case {number}"
        if labelled is None:
            labelled = _known_of_complete(mapping, classes)
        cases.append(ArrayCase(name, replace(volume, name=name), labels, labelled=labelled))
    return cases


class CaseStore:
    """Writes cases into a folder for the worker, piece by piece in the event loop.

    The folder gets ``case-1/image.npy`` and ``case-1/labels.npy``, both (k, j, i), and so on, and in the end
    ``job.json``. No name of a node is in it. Exactly one of ``finished`` and ``failed`` is called, later, from the
    event loop; neither after :meth:`stop`.

    Args:
        folder: it is made where it is missing.
        finished: gets the folder.
        failed: gets one sentence; what was written so far stays for the caller to remove.
        progress: called as ``progress(done, total)`` after each case.
    """

    def __init__(
        self,
        folder: Path,
        finished: Callable[[Path], None],
        failed: Callable[[str], None],
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.folder = Path(folder)
        self._finished, self._failed, self._progress = finished, failed, progress
        self._turns: Iterator[None] = iter(())
        self._writing: Writing | None = None
        self._over = False

    def write(
        self,
        rows: Sequence[CaseRow],
        mapping: Mapping[str, int],
        classes: Sequence[ClassCard],
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        """Begins.

        Args:
            rows: the cases, called ``case 1`` and so on in their order.
            mapping: label of each segment name.
            classes: what the labels mean.
            facts: further fields of ``job.json``: name, title, base, settings and the like.
        """
        self._turns = self._write(tuple(rows), dict(mapping), tuple(classes), dict(facts or {}))
        self._next_turn()

    def stop(self) -> None:
        """Stops writing; nobody is told. Harmless when it has ended."""
        self._over = True
        self._turns = iter(())
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.stop()

    def _next_turn(self) -> None:
        later(0, self._turn)

    def _turn(self) -> None:
        """One step; an array that is being written calls for the next one when it is on the disk."""
        if self._over:
            return
        try:
            next(self._turns)
        except StopIteration:
            self._over = True
            self._finished(self.folder)
        except (AHNetSegmentError, OSError) as error:
            self._fail(error)
        else:
            if self._writing is None:
                self._next_turn()

    def _write(
        self, rows: Sequence[CaseRow], mapping: Mapping[str, int], classes: Sequence[ClassCard], facts: dict[str, Any]
    ) -> Iterator[None]:
        cases = []
        groups = patient_groups(rows)
        for number, row in enumerate(rows, start=1):
            _check_is_there(row)
            folder = self.folder / f"case-{number}"
            folder.mkdir(parents=True, exist_ok=True)
            volume, labels, labelled = yield from case_steps(row, mapping)
            for name, array in (("image", volume.array), ("labels", labels)):
                self._writing = Writing(folder / f"{name}.npy", array, self._written)
                self._writing.start()
                yield
            cases.append({
                "name": f"case {number}",
                "folder": folder.name,
                "geometry": geometry_to_dict(volume.geometry),
                "modality": volume.modality,
                "labelled": _known_of_complete(mapping, classes) if labelled is None else list(labelled),
                "use": row.use,
                "group": groups[number - 1],
            })  # fmt: skip
            if self._progress is not None:
                self._progress(number, len(rows))
            yield
        job = {
            "format_version": FORMAT_VERSION,
            **facts,
            "classes": job_classes(classes),
            "cases": cases,
        }
        write_text(self.folder / JOB_FILE, json.dumps(job, indent=2, ensure_ascii=False) + "\n")

    def _written(self, reason: OSError | None) -> None:
        self._writing = None
        if reason is None:
            self._next_turn()
        else:
            self._fail(reason)

    def _fail(self, error: Exception) -> None:
        self.stop()
        if isinstance(error, OSError):
            error = OutputError(
                f"The cases could not be written to {self.folder.parent} ({reason_text(error)}); make room there, or "
                "choose another folder."
            )
        self._failed(str(error))


def patient_groups(rows: Sequence[CaseRow]) -> list[str]:
    """What a case shares with others: a patient of the subject hierarchy, or the volume; empty: nothing known."""
    keys = [_patient(row.volume_node) or row.volume_node.GetID() or "" for row in rows]
    several = [key for number, key in enumerate(keys) if key and key in keys[:number]]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(several), start=1)}
    return [f"group {numbers[key]}" if key in numbers else "" for key in keys]


def _patient(volume_node: Any) -> str:
    """Something that stands for the patient of a volume, where the scene knows patients."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(volume_node.GetScene())
    item = hierarchy.GetItemByDataNode(volume_node) if hierarchy is not None else 0
    if not item:
        return ""
    level = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMLevelPatient()
    patient = hierarchy.GetItemAncestorAtLevel(item, level)
    return f"patient {patient}" if patient else ""


def _known_of_complete(mapping: Mapping[str, int], classes: Sequence[ClassCard]) -> tuple[int, ...] | None:
    """What a complete case labels: all (None), unless the list lacks some of the classes."""
    listed = set(mapping.values())
    return None if listed >= {item.label for item in classes} else tuple(sorted(listed))


def _check_is_there(row: CaseRow) -> None:
    for node in (row.volume_node, row.segmentation_node):
        if node.GetScene() is None:
            raise VolumeError(
                f"{node_name(node, 'A node')} was removed from the scene while the cases were written; start again."
            )


def _nodes(class_name: str) -> list[Any]:
    scene = slicer.mrmlScene
    return [scene.GetNthNodeByClass(n, class_name) for n in range(scene.GetNumberOfNodesByClass(class_name))]


def _is_usable(volume_node: Any) -> bool:
    try:
        check_volume_node(volume_node)
    except VolumeError:
        return False
    return True
