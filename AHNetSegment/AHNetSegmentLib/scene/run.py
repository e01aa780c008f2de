"""One click on Segment: voxels to the worker, the result into the scene, nothing half done in between."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import slicer

from ..engine.card import ClassCard, ModelCard
from ..engine.errors import AHNetSegmentError
from ..engine.tasks import geometry_to_dict
from ..engine.timings import TOTAL, Step, Timings, where_the_time_went
from ..engine.volume import Array, Region
from .exchange import Exchange
from .segmenting import Scan, add_probability_volumes, put_result
from .timers import later
from .worker import Worker
from .worker_run import WorkerRun


@dataclass(frozen=True)
class Settings:
    """What the worker's task ``segment`` takes besides volume, model and region."""

    device: str = "auto"
    precision: str = "auto"
    window_memory: float | None = None
    keep_largest: bool | None = None
    smoothing: float = 0.0
    probabilities: bool = False
    classes: tuple[int, ...] | None = None


@dataclass(frozen=True)
class SegmentVolume:
    """One row of the table of volumes."""

    name: str
    color: tuple[int, int, int]
    ml: float


@dataclass(frozen=True)
class Finished:
    """A run that has ended well.

    Attributes:
        segmentation_node: holds the segments.
        volumes: what was found.
        report: the run report.
        seconds: from the click to the segments.
        device: where it ran.
        precision: the number format that it ran in.
        warnings: sentences about what may be wrong.
    """

    segmentation_node: Any
    volumes: tuple[SegmentVolume, ...]
    report: dict[str, Any]
    seconds: float
    device: str
    precision: str
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Result:
    labels: Array
    classes: tuple[ClassCard, ...]
    probabilities: Array | None


class SegmentRun(WorkerRun):
    """A segmentation that goes on in the worker; see :class:`~.worker_run.WorkerRun`.

    Nobody is told where :meth:`start` raised an error.

    Args:
        worker: where it waits for its turn.
        progress: gets done, total and the seconds left, if known.
        state: gets what begins now.
        finished: gets what was found; the segments are in the scene.
        failed: gets one sentence; the scene is unchanged.
        cancelled: the scene is unchanged.
    """

    def __init__(
        self,
        worker: Worker,
        progress: Callable[[int, int, float | None], None],
        state: Callable[[str], None],
        finished: Callable[[Finished], None],
        failed: Callable[[str], None],
        cancelled: Callable[[], None],
    ) -> None:
        super().__init__("segment", worker, progress, state, finished, failed, cancelled)
        self._exchange: Exchange | None = None
        self._scan: Scan | None = None
        self._volume_node: Any = None
        self._segmentation_node: Any = None

    def start(
        self, scan: Scan, volume_node: Any, segmentation_node: Any, card: ModelCard, model: Path, settings: Settings
    ) -> None:
        """Begins.

        Args:
            scan: what is segmented.
            volume_node: its node.
            segmentation_node: where the segments go; None: a new one.
            card: of the model.
            model: its folder.
            settings: device, precision and the like.

        Raises:
            AHNetSegmentError: the worker or the temporary folder cannot be used.
        """
        self._timings = Timings()
        self._timings.switch(Step.VOXELS)
        self._scan, self._volume_node, self._segmentation_node = scan, volume_node, segmentation_node
        self._identity = (volume_node.GetID(), segmentation_node.GetID() if segmentation_node is not None else "")
        kept = settings.classes
        self._classes = tuple(item for item in card.classes if kept is None or item.label in kept)
        self._arguments = {
            **asdict(settings),
            "name": scan.volume.name,
            "geometry": geometry_to_dict(scan.volume.geometry),
            "volume_modality": scan.volume.modality,
            "model": str(model),
            "region": None if scan.region is None else {"start": scan.region.start, "stop": scan.region.stop},
            "report": True,
        }
        self._worker.start()
        self._exchange = Exchange()
        self._arguments["output"] = str(self._exchange.output)
        self._exchange.write("volume", scan.volume.array, self._volume_written, self._fail)

    def _volume_written(self, path: Path) -> None:
        self._arguments["volume"] = str(path)
        if self._over:
            return
        assert self._exchange is not None
        assert self._scan is not None
        if self._scan.mask is None:
            self._wait_for_worker()
        else:
            self._exchange.write("mask", self._scan.mask, self._mask_written, self._fail)

    def _mask_written(self, path: Path) -> None:
        self._arguments["mask"] = str(path)
        self._wait_for_worker()

    def _wait_for_worker(self) -> None:
        self._timings.switch(Step.WAITING)
        self._compute()

    def _computed(self, result: dict[str, Any]) -> None:
        if self._over:
            self._settle(self._tell_finished)
            return
        self._timings.switch(Step.SCENE)
        self._timings.split(Step.WAITING, result["seconds"])
        try:
            done = self._put(result)
        except AHNetSegmentError as error:
            self._fail(str(error))
        else:
            self._settle(self._tell_finished, done)

    def _put(self, result: dict[str, Any]) -> Finished:
        """Puts the result into the scene, where its nodes still are."""
        assert self._exchange is not None
        assert self._scan is not None
        volume_id, segmentation_id = self._identity
        scene = slicer.mrmlScene
        if scene.GetNodeByID(volume_id) is not self._volume_node:
            raise AHNetSegmentError(
                f"{self._scan.volume.name} was removed while it was segmented; the result was dropped."
            )
        if segmentation_id and scene.GetNodeByID(segmentation_id) is not self._segmentation_node:
            self._segmentation_node = None
        shares = self._exchange.read(result["probabilities"]) if result["probabilities"] else None
        found = _Result(self._exchange.read(result["labels"]), self._classes, shares)
        segments = result["report"]["runs"][0]["segments"]
        node = put_result(found, self._scan, self._volume_node, self._segmentation_node, box=_box(segments))
        add_probability_volumes(found, self._volume_node)
        seconds = self._timings.to_dict()
        result["report"]["runs"][0]["seconds"] = seconds
        logging.getLogger(__name__).info("Segmented in %s", where_the_time_went(seconds))
        return Finished(
            node,
            tuple(SegmentVolume(row["segment"], tuple(row["color"]), row["ml"]) for row in segments),
            result["report"],
            seconds[TOTAL],
            result["device"],
            result["precision"],
            tuple(result["warnings"]),
        )

    def _let_go(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            # In a turn of its own: large files take their time.
            later(0, exchange.close)

    def _forget(self) -> None:
        super()._forget()
        self._scan = self._volume_node = self._segmentation_node = None


def _box(segments: Sequence[Mapping[str, Any]]) -> Region | None:
    """The box of voxels around all segments of a report."""
    extents = [row["extent_ijk"] for row in segments if row["extent_ijk"] is not None]
    if not extents:
        return None
    start = [min(extent[axis][0] for extent in extents) for axis in range(3)]
    stop = [max(extent[axis][1] for extent in extents) + 1 for axis in range(3)]
    return Region((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
