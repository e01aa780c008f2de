"""Reports: what was segmented, by what, with which checks, as dictionaries and as JSON, CSV and HTML files.

Nothing goes into a report but what is passed in: no patient data, no paths, no user or host names.
"""

from __future__ import annotations

import csv
import io
import json
import platform
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import SimpleITK as sitk

from .. import __version__
from .card import ClassCard, ModelCard
from .evaluation import Evaluation
from .files import write_text
from .report_html import write_html
from .segments import Segment, describe_segments
from .volume import Array, Geometry, Region

__all__ = [
    "NOTICE",
    "SegmentationResult",
    "evaluation_report",
    "merge_reports",
    "segmentation_report",
    "write_csv",
    "write_html",
    "write_json",
]

FORMAT_VERSION = 1
NOTICE = "For research only, not for clinical use: a person who knows the anatomy must check every segment."
STRAY_PERCENT = 0.1
"""Pieces that are together smaller than this share of their segment are not worth a check's words."""


class SegmentationResult(Protocol):
    """What a report needs of a segmentation."""

    @property
    def labels(self) -> Array:
        """uint8 (k, j, i)."""

    @property
    def geometry(self) -> Geometry:
        """Of the labels."""

    @property
    def classes(self) -> tuple[ClassCard, ...]:
        """What the labels mean."""

    @property
    def region(self) -> Region:
        """The box of voxels that was searched."""

    @property
    def seconds(self) -> dict[str, float]:
        """How long each step took."""

    @property
    def device(self) -> str:
        """Where it ran."""

    @property
    def precision(self) -> str:
        """Of the arithmetic."""

    @property
    def warnings(self) -> list[str]:
        """What the run has to say, in sentences."""

    @property
    def intensity(self) -> str:
        """Which intensity rule the values went through, and why that one."""

    @property
    def pieces(self) -> list[str]:
        """Which pieces of structures were kept, and why, in sentences."""


def segmentation_report(result: SegmentationResult, card: ModelCard, volume_name: str) -> dict[str, Any]:
    """What was found in one volume, or in one region of it, for JSON: one entry in ``runs``.

    Args:
        result: the segmentation.
        card: of the model that made it.
        volume_name: what the report calls the volume; it should not identify a patient.
    """
    segments = describe_segments(result.labels, result.geometry, result.classes, result.region)
    whole = result.region == Region((0, 0, 0), result.geometry.size)
    run = {
        "title": "",
        "volume": {"name": volume_name, **_geometry(result.geometry, None if whole else result.region)},
        "model": _model(card),
        "device": result.device,
        "precision": result.precision,
        "intensity": result.intensity,
        "seconds": {step: round(float(seconds), 3) for step, seconds in result.seconds.items()},
        "total_ml": _rounded(sum(segment.ml for segment in segments)),
        "segments": [_segment(segment) for segment in segments],
        "checks": _checks(segments, "volume" if whole else "region of interest"),
        "pieces": [str(sentence) for sentence in result.pieces],
        "warnings": [str(warning) for warning in result.warnings],
    }
    return {**_frame("segmentation"), "runs": [run]}


def merge_reports(parts: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """One segmentation report of several: of the left and the right side of one volume for example.

    Args:
        parts: (title, report); the titles tell the runs apart.

    Raises:
        ValueError: there is none, or one is no segmentation report.
    """
    if not parts or any(report.get("kind") != "segmentation" for _, report in parts):
        raise ValueError("Only segmentation reports can be merged, at least one.")
    runs = [
        {**run, "title": " – ".join(text for text in (title, run["title"]) if text)}
        for title, report in parts
        for run in report["runs"]
    ]
    newest = max((report for _, report in parts), key=lambda report: str(report["date_utc"]))
    return {**newest, "runs": runs}


def evaluation_report(
    evaluation: Evaluation, title: str, card: ModelCard | None = None, details: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """How a model did on cases with references, for JSON.

    Args:
        evaluation: the measures.
        title: what was evaluated.
        card: of the model; None: none made the predictions, or it is unknown.
        details: further lines, ``{"Data": "12 cases of ..."}`` for example.
    """
    return {
        **_frame("evaluation"),
        "title": title,
        "model": None if card is None else _model(card),
        "details": dict(details or {}),
        **evaluation.to_dict(),
    }


def write_json(path: Path, report: Mapping[str, Any]) -> None:
    """Writes a report as JSON; raises OutputError where that fails."""
    write_text(path, json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_csv(path: Path, report: Mapping[str, Any]) -> None:
    """Writes a segmentation report as CSV: one row per segment; raises OutputError where that fails."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    measures = ("label", "segment", "ml", "voxels", "pieces", "largest_piece_percent")
    places = ("centroid_r_mm", "centroid_a_mm", "centroid_s_mm")
    writer.writerow(("volume", "region", "model", "version", *measures, "touches_edge", *places))
    for run in report["runs"]:
        source = (run["volume"]["name"], run["title"], run["model"]["name"], run["model"]["version"])
        for segment in run["segments"]:
            values = (segment[measure] for measure in measures)
            centroid = segment["centroid_ras_mm"] or ("", "", "")
            writer.writerow((*source, *values, " ".join(segment["touches_edge"]), *centroid))
    write_text(path, text.getvalue())


def _frame(kind: str) -> dict[str, Any]:
    return {
        "kind": kind,
        "format_version": FORMAT_VERSION,
        "date_utc": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "notice": NOTICE,
        "versions": {
            "AHNetSegment": __version__,
            "Python": platform.python_version(),
            "torch": _torch_version(),
            "SimpleITK": sitk.Version.VersionString(),
            "numpy": np.__version__,
        },
    }


def _torch_version() -> str:
    # Asked of the installation: importing torch takes seconds, and a report may be written where it never ran.
    try:
        return metadata.version("torch")
    except metadata.PackageNotFoundError:
        return "not installed"


def _model(card: ModelCard) -> dict[str, Any]:
    fields = ("name", "title", "version", "modality", "anatomy", "data_licence", "weights_sha256")
    return {field: getattr(card, field) for field in fields}


def _geometry(geometry: Geometry, region: Region | None) -> dict[str, Any]:
    return {
        "size_ijk": list(geometry.size),
        "spacing_mm": [_rounded(value) for value in geometry.spacing],
        "origin_lps_mm": [_rounded(value) for value in geometry.origin],
        "direction_lps": [_rounded(value, 6) for value in geometry.direction],
        "region_of_interest_ijk": None if region is None else _box(region),
    }


def _segment(segment: Segment) -> dict[str, Any]:
    lps = segment.centroid_lps
    return {
        "label": segment.item.label,
        "segment": segment.item.name,
        "color": list(segment.item.color),
        "voxels": segment.voxels,
        "ml": _rounded(segment.ml),
        "extent_ijk": None if segment.extent is None else _box(segment.extent),
        "touches_edge": list(segment.edges),
        "pieces": segment.pieces,
        "largest_piece_percent": _rounded(segment.largest_piece_percent, 2),
        "centroid_lps_mm": None if lps is None else [_rounded(value, 2) for value in lps],
        "centroid_ras_mm": None if lps is None else [_rounded(v, 2) for v in (-lps[0], -lps[1], lps[2])],
    }


def _checks(segments: Sequence[Segment], where: str) -> list[str]:
    if not any(segment.voxels for segment in segments):
        return [
            f"Nothing was found in the {where}: check that modality, anatomy and field of view are those of the model."
        ]
    checks = []
    for segment in segments:
        name = segment.item.name
        if segment.voxels == 0:
            checks.append(f"{name} is empty: check whether the {where} shows it.")
        if segment.edges:
            ends = ", ".join(segment.edges)
            checks.append(f"{name} touches the edge of the {where} ({ends}): it may be cut off.")
        if segment.pieces > 1 and segment.largest_piece_percent <= 100 - STRAY_PERCENT:
            checks.append(
                f"{name} is in {segment.pieces} pieces, the largest with {segment.largest_piece_percent:.1f} % of it: "
                "look for stray voxels."
            )
    return checks


def _box(region: Region) -> list[list[int]]:
    """First and last voxel along i, j and k."""
    return [[start, stop - 1] for start, stop in zip(region.start, region.stop, strict=True)]


def _rounded(value: float, digits: int = 4) -> float:
    # The sum turns -0.0 into 0.0.
    return round(float(value), digits) + 0.0
