"""What the logic offers from Python: blocking, in this process."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..engine.batch import BatchCase, BatchProgress, BatchResult, find_batch_cases, safe_name, segment_batch_cases
from ..engine.errors import VolumeError
from ..engine.inference import InferenceSettings, limit_to_mask, segment
from ..engine.package import Model
from ..engine.timings import Step, Timings, where_the_time_went
from .segmenting import add_probability_volumes, put_result, scan_from_nodes
from .segments import check_output
from .transforms import node_name
from .volumes import volume_from_node


def segment_node(
    volume_node: Any,
    model: Model,
    roi_node: Any,
    settings: Mapping[str, Any],
    progress: Callable[[int, int], bool] | None = None,
    *,
    segmentation_node: Any = None,
    replace: bool = False,
) -> Any:
    """A volume node through a model into a segmentation node.

    Args:
        volume_node: see :func:`~AHNetSegmentLib.scene.volumes.volume_from_node`.
        model: a loaded model.
        roi_node: limits what is computed and changed; None: the whole volume.
        settings: of :class:`InferenceSettings`, but for ``region``.
        progress: see :func:`~AHNetSegmentLib.engine.inference.segment`.
        segmentation_node: where to put the segments; None: a new one.
        replace: whether segments of the same name are replaced.

    Returns:
        The segmentation node.

    Raises:
        AHNetSegmentError: one sentence; the scene is then unchanged.
    """
    scan = scan_from_nodes(volume_node, roi_node)
    chosen = InferenceSettings(region=scan.region, **settings)
    if segmentation_node is not None:
        check_output(segmentation_node, model.card.classes, volume_node, replace=replace)
    timings = Timings()
    result = segment(scan.volume, model, chosen, progress, timings)
    with timings.during(Step.SCENE):
        if scan.mask is not None:
            limit_to_mask(result, scan.mask)
        node = put_result(result, scan, volume_node, segmentation_node, replace=replace)
        add_probability_volumes(result, volume_node)
    logging.getLogger(__name__).info("Segmented in %s", where_the_time_went(timings.to_dict()))
    return node


def segment_batch(
    cases: str | Path | Sequence[Any],
    output: Path,
    model: Model,
    settings: Mapping[str, Any],
    progress: Callable[[BatchProgress], bool] | None = None,
) -> BatchResult:
    """Many volumes, of a folder or of the scene, into files; see :func:`segment_batch_cases`.

    Raises:
        AHNetSegmentError: the folder holds no case, or the output folder cannot be written.
    """
    found = find_batch_cases(Path(cases), output) if isinstance(cases, str | Path) else cases_from_nodes(cases)
    return segment_batch_cases(found, model, output, InferenceSettings(**settings), progress)


def cases_from_nodes(nodes: Sequence[Any]) -> list[BatchCase]:
    """Volume nodes as cases of a batch: named after the nodes, with a number where names are the same."""
    cases: list[BatchCase] = []
    for node in nodes:
        name = safe_name(node_name(node, "volume"), [case.name for case in cases])
        cases.append(BatchCase(name, partial(volume_from_node, node), _stamp(node)))
    return cases


def _stamp(node: Any) -> str:
    """Changes when the voxels of a volume node change, or their place."""
    try:
        volume = volume_from_node(node)
    except VolumeError as error:
        return str(error)
    digest = hashlib.sha256(np.ascontiguousarray(volume.array).data)
    digest.update(repr((volume.geometry, volume.array.dtype)).encode())
    return digest.hexdigest()
