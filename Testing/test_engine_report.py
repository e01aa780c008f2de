"""Reports of segmentations and evaluations: what they say, and the files they become."""

from __future__ import annotations

import base64
import csv
import json
import math
import platform
import re
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from AHNetSegmentLib import __version__
from AHNetSegmentLib.engine.card import ClassCard, Code, Intensity, ModelCard, Terminology
from AHNetSegmentLib.engine.errors import OutputError
from AHNetSegmentLib.engine.evaluation import CaseMeasures, ClassMeasures, Evaluation
from AHNetSegmentLib.engine.report import (
    NOTICE,
    evaluation_report,
    merge_reports,
    segmentation_report,
    write_csv,
    write_html,
    write_json,
)
from AHNetSegmentLib.engine.volume import Geometry, Region
from AHNetSegmentLib.network.settings import AHNetSettings

TERM = Code("SCT", "91723000", "Anatomical Structure")
LIVER, SPLEEN = (
    ClassCard(label, name, color, Terminology(TERM, TERM))
    for label, name, color in ((1, "liver", (221, 130, 101)), (2, "spleen", (157, 108, 162)))
)
CARD = ModelCard(
    name="abdomen-ct",
    title="Abdominal organs",
    version="1.2.0",
    modality="CT",
    anatomy="liver and spleen",
    description="Portal-venous CT.",
    classes=(LIVER, SPLEEN),
    spacing=(3.0, 1.5, 1.5),
    intensity=Intensity("window", -125, 275),
    network=AHNetSettings(classes=3),
    data_licence="CC BY 4.0",
    weights_sha256="ab" * 32,
)
GRID = Geometry((10, 8, 6), (0.8, 1.5, 4.0), (100.0, -50.0, 20.0))
WHOLE = Region((0, 0, 0), GRID.size)


@dataclass(frozen=True)
class Result:
    labels: np.ndarray[Any, np.dtype[Any]]
    geometry: Geometry = GRID
    classes: tuple[ClassCard, ...] = (LIVER, SPLEEN)
    region: Region = WHOLE
    seconds: dict[str, float] = field(default_factory=lambda: {"network": 1.23456, "total": 2.0})
    device: str = "cpu"
    precision: str = "bfloat16"
    intensity: str = "window of -125 to 275 HU (CT by its values)"
    pieces: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def labels() -> np.ndarray[Any, np.dtype[Any]]:
    """Both organs in one piece each, away from the borders."""
    array = np.zeros(GRID.shape, np.uint8)
    array[1:3, 2:4, 3:8] = 1
    array[4, 5:7, 1:3] = 2
    return array


def report_on(array: np.ndarray[Any, np.dtype[Any]], **changes: Any) -> dict[str, Any]:
    return segmentation_report(replace(Result(array), **changes), CARD, "CT abdomen")


def liver_in(report: dict[str, Any]) -> dict[str, Any]:
    segment: dict[str, Any] = report["runs"][0]["segments"][0]
    return segment


def checks_of(array: np.ndarray[Any, np.dtype[Any]], **changes: Any) -> list[str]:
    checks: list[str] = report_on(array, **changes)["runs"][0]["checks"]
    return checks


class TestSegments:
    def test_a_segment_has_its_size_place_and_pieces(self) -> None:
        liver = liver_in(report_on(labels()))
        assert (liver["label"], liver["segment"], liver["color"]) == (1, "liver", [221, 130, 101])
        assert liver["voxels"] == 20
        assert liver["ml"] == pytest.approx(20 * 0.0048)
        assert liver["extent_ijk"] == [[3, 7], [2, 3], [1, 2]]
        assert liver["touches_edge"] == []
        assert (liver["pieces"], liver["largest_piece_percent"]) == (1, 100)

    def test_its_centre_is_given_in_lps_and_in_ras(self) -> None:
        liver = liver_in(report_on(labels()))
        assert liver["centroid_lps_mm"] == pytest.approx([100 + 5 * 0.8, -50 + 2.5 * 1.5, 20 + 1.5 * 4])
        assert liver["centroid_ras_mm"] == pytest.approx([-104, 46.25, 26])

    def test_its_centre_follows_the_direction_of_the_grid(self) -> None:
        turned = replace(GRID, direction=(0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0))
        liver = liver_in(report_on(labels(), geometry=turned))
        assert liver["centroid_lps_mm"] == pytest.approx([100 - 2.5 * 1.5, -50 + 5 * 0.8, 26])

    def test_pieces_that_share_a_corner_are_one(self) -> None:
        array = np.zeros(GRID.shape, np.uint8)
        array[1, 1, 1] = array[2, 2, 2] = array[4, 4, 4] = 1
        liver = liver_in(report_on(array))
        assert liver["pieces"] == 2
        assert liver["largest_piece_percent"] == pytest.approx(66.67)

    def test_an_empty_segment_has_no_place(self) -> None:
        array = labels()
        array[array == 1] = 0
        liver = liver_in(report_on(array))
        assert (liver["voxels"], liver["ml"], liver["pieces"]) == (0, 0, 0)
        assert liver["extent_ijk"] is None
        assert liver["centroid_lps_mm"] is None
        assert liver["centroid_ras_mm"] is None


class TestChecks:
    def test_nothing_to_say_is_an_empty_list(self) -> None:
        assert checks_of(labels()) == []

    @pytest.mark.parametrize(
        ("place", "end"),
        [
            ((0, 4, 4), "inferior"),
            ((5, 4, 4), "superior"),
            ((3, 0, 4), "anterior"),
            ((3, 7, 4), "posterior"),
            ((3, 4, 0), "right"),
            ((3, 4, 9), "left"),
        ],
    )
    def test_a_segment_at_an_edge_may_be_cut_off_at_that_end(self, place: tuple[int, int, int], end: str) -> None:
        array = np.zeros(GRID.shape, np.uint8)
        array[place] = 1
        array[3, 3, 3] = 2
        assert checks_of(array) == [f"liver touches the edge of the volume ({end}): it may be cut off."]

    def test_the_end_is_that_of_the_patient_and_not_of_the_array(self) -> None:
        turned = replace(GRID, direction=(0.0, 0.0, -1.0, 0.0, -1.0, 0.0, 1.0, 0.0, 0.0))
        array = labels()
        array[:, 2, 5] = 1
        assert checks_of(array, geometry=turned) == [
            "liver touches the edge of the volume (left, right): it may be cut off."
        ]

    def test_a_segment_at_the_edge_of_the_region_of_interest_may_be_cut_off(self) -> None:
        region = Region((3, 1, 0), (10, 8, 6))
        report = report_on(labels(), region=region, classes=(LIVER,))
        assert report["runs"][0]["volume"]["region_of_interest_ijk"] == [[3, 9], [1, 7], [0, 5]]
        assert report["runs"][0]["checks"] == [
            "liver touches the edge of the region of interest (right): it may be cut off."
        ]

    def test_an_empty_segment_is_named(self) -> None:
        array = labels()
        array[array == 2] = 0
        assert checks_of(array) == ["spleen is empty: check whether the volume shows it."]

    def test_nothing_at_all_points_to_modality_and_field_of_view(self) -> None:
        (check,) = checks_of(np.zeros(GRID.shape, np.uint8))
        assert check.startswith("Nothing was found in the volume: check that modality, anatomy and field of view")

    def test_stray_pieces_are_counted(self) -> None:
        array = labels()
        array[4, 1, 8] = 1
        assert checks_of(array) == ["liver is in 2 pieces, the largest with 95.2 % of it: look for stray voxels."]

    def test_a_stray_voxel_in_thousands_is_not_worth_a_check(self) -> None:
        array = np.zeros((20, 20, 20), np.uint8)
        array[1:14, 1:14, 1:14] = 1
        array[17, 17, 17] = 1
        report = report_on(
            array,
            geometry=Geometry((20, 20, 20)),
            region=Region((0, 0, 0), (20, 20, 20)),
            classes=(LIVER,),
        )
        assert liver_in(report)["pieces"] == 2
        assert report["runs"][0]["checks"] == []


class TestFacts:
    def test_the_report_names_volume_model_device_and_times(self) -> None:
        report = report_on(labels(), warnings=["The graphics card was full: the CPU was used."])
        (run,) = report["runs"]
        assert run["volume"] == {
            "name": "CT abdomen",
            "size_ijk": [10, 8, 6],
            "spacing_mm": [0.8, 1.5, 4.0],
            "origin_lps_mm": [100.0, -50.0, 20.0],
            "direction_lps": [1, 0, 0, 0, 1, 0, 0, 0, 1],
            "region_of_interest_ijk": None,
        }
        assert run["model"] == {
            "name": "abdomen-ct",
            "title": "Abdominal organs",
            "version": "1.2.0",
            "modality": "CT",
            "anatomy": "liver and spleen",
            "data_licence": "CC BY 4.0",
            "weights_sha256": "ab" * 32,
        }
        assert (run["device"], run["precision"]) == ("cpu", "bfloat16")
        assert run["intensity"] == "window of -125 to 275 HU (CT by its values)"
        assert run["seconds"] == {"network": 1.235, "total": 2.0}
        assert run["warnings"] == ["The graphics card was full: the CPU was used."]

    def test_the_report_names_the_versions_the_date_and_its_purpose(self) -> None:
        report = report_on(labels())
        assert report["versions"]["AHNetSegment"] == __version__
        assert report["versions"]["Python"] == platform.python_version()
        assert report["versions"]["torch"] == torch.__version__
        assert report["versions"]["numpy"] == np.__version__
        assert re.fullmatch(r"\d+\.\d+\.\d+.*", report["versions"]["SimpleITK"])
        date = datetime.fromisoformat(report["date_utc"])
        assert date.utcoffset() == timedelta(0)
        assert abs(datetime.now(timezone.utc) - date) < timedelta(minutes=1)
        assert report["notice"] == NOTICE
        assert "not for clinical use" in NOTICE

    def test_reports_of_several_runs_become_one(self) -> None:
        left, right = report_on(labels()), report_on(labels(), device="cuda:0")
        merged = merge_reports([("Left", left), ("Right", right)])
        assert [(run["title"], run["device"]) for run in merged["runs"]] == [("Left", "cpu"), ("Right", "cuda:0")]
        assert merged["runs"][0]["segments"] == left["runs"][0]["segments"]
        assert left["runs"][0]["title"] == ""
        again = merge_reports([("Patient 1", merged), ("Patient 2", left)])
        assert [run["title"] for run in again["runs"]] == ["Patient 1 – Left", "Patient 1 – Right", "Patient 2"]

    def test_only_segmentation_reports_are_merged(self) -> None:
        with pytest.raises(ValueError, match="Only segmentation reports can be merged"):
            merge_reports([])
        with pytest.raises(ValueError, match="Only segmentation reports can be merged"):
            merge_reports([("", evaluation_report(Evaluation(()), "nothing"))])


def evaluation() -> Evaluation:
    def liver(dice: float) -> ClassMeasures:
        return ClassMeasures(1, "liver", dice, 2.5, 0.75, 1500.0, 1510.0)

    missed = ClassMeasures(2, "spleen", 0.0, math.nan, math.nan, 200.0, 0.0)
    absent = ClassMeasures(2, "spleen", math.nan, math.nan, math.nan, 0.0, 0.0)
    return Evaluation((CaseMeasures("case <1>", (liver(0.95), missed)), CaseMeasures("case 2", (liver(0.85), absent))))


class TestEvaluation:
    def test_it_holds_measures_model_and_details(self) -> None:
        report = evaluation_report(evaluation(), "Held-out cases", CARD, {"Data": "2 cases"})
        assert report["kind"] == "evaluation"
        assert report["title"] == "Held-out cases"
        assert report["mean_dice"] == pytest.approx((0.9 + 0) / 2)
        assert report["model"]["name"] == "abdomen-ct"
        assert report["details"] == {"Data": "2 cases"}
        assert report["notice"] == NOTICE
        assert report["cases"][1]["classes"][1]["dice"] is None


class TestJsonAndCsv:
    def test_json_comes_back_as_it_was(self, tmp_path: Path) -> None:
        for name, report in (("a", report_on(labels())), ("b", evaluation_report(evaluation(), "Größe"))):
            write_json(tmp_path / name, report)
            assert json.loads((tmp_path / name).read_text(encoding="utf-8")) == report
        assert "Größe" in (tmp_path / "b").read_text(encoding="utf-8")

    def test_csv_has_one_row_per_segment(self, tmp_path: Path) -> None:
        array = labels()
        array[array == 2] = 0
        array[0, 2, 3] = 1
        write_csv(tmp_path / "report.csv", merge_reports([("Left, upper", report_on(array))]))
        with (tmp_path / "report.csv").open(encoding="utf-8", newline="") as file:
            liver, spleen = csv.DictReader(file)
        assert (liver["volume"], liver["region"], liver["model"]) == ("CT abdomen", "Left, upper", "abdomen-ct")
        assert (liver["segment"], liver["voxels"], liver["touches_edge"]) == ("liver", "21", "inferior")
        assert float(liver["ml"]) == pytest.approx(0.1008)
        assert float(liver["centroid_s_mm"]) == pytest.approx(25.71)
        assert (spleen["voxels"], spleen["centroid_r_mm"]) == ("0", "")

    @pytest.mark.parametrize("write", [write_json, write_csv, write_html])
    def test_a_report_that_cannot_be_written_is_named(self, tmp_path: Path, write: Any) -> None:
        (tmp_path / "file").write_text("old")
        with pytest.raises(OutputError, match="report could not be written"):
            write(tmp_path / "file" / "report", report_on(labels()))


class Page(HTMLParser):
    """What a page is made of; fails where its tags do not match."""

    void = frozenset({"meta", "img", "path"})

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]
        if tag not in self.void:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.void:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip() and "style" not in self._open:
            self.words.append(data.strip())


PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


class TestHtml:
    def page(self, folder: Path, report: dict[str, Any], **options: Any) -> Page:
        write_html(folder / "report.html", report, **options)
        return Page(folder / "report.html")

    def test_it_says_what_was_found_by_what(self, tmp_path: Path) -> None:
        array = labels()
        array[array == 2] = 0
        page = self.page(tmp_path, report_on(array, warnings=["The window was made smaller."]))
        for expected in (
            "CT abdomen",
            NOTICE,
            "liver",
            "0.096",
            "empty",
            "spleen is empty: check whether the volume shows it.",
            "The window was made smaller.",
            "Abdominal organs (abdomen-ct 1.2.0)",
            "ab" * 32,
            "CC BY 4.0",
            "10 × 8 × 6",
            "0.800 × 1.500 × 4.000 mm",
            "bfloat16",
            "1.24 s",
        ):
            assert expected in page.words
        assert "All checks passed" not in " ".join(page.words)

    def test_it_says_that_all_checks_passed_where_they_did(self, tmp_path: Path) -> None:
        page = self.page(tmp_path, report_on(labels()))
        assert any(text.startswith("All checks passed") for text in page.words)

    @pytest.mark.parametrize("kind", ["segmentation", "evaluation"])
    def test_it_runs_no_script_and_loads_nothing(self, tmp_path: Path, kind: str) -> None:
        report = report_on(labels()) if kind == "segmentation" else evaluation_report(evaluation(), "Cases", CARD)
        (tmp_path / "slice.png").write_bytes(PNG)
        page = self.page(tmp_path, report, pictures=[("A slice", tmp_path / "slice.png")])
        text = (tmp_path / "report.html").read_text(encoding="utf-8")
        assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & set(page.tags)
        assert page.links == [f"data:image/png;base64,{base64.b64encode(PNG).decode()}"]
        assert "default-src 'none'" in text
        assert "url(" not in text
        assert "@import" not in text
        assert "http:" not in text
        assert "https:" not in text
        assert str(tmp_path) not in text
        assert "prefers-color-scheme: dark" in text
        assert "@media print" in text

    def test_everything_in_it_is_escaped(self, tmp_path: Path) -> None:
        evil = "<script>alert(\"1\" & '2')</script>"
        classes = (replace(LIVER, name=evil),)
        card = replace(CARD, title=evil, data_licence=evil, anatomy=evil, modality=evil, version=evil)
        result = Result(labels(), classes=classes, device=evil, precision=evil, warnings=[evil], seconds={evil: 1.0})
        report = segmentation_report(result, card, evil)
        report["versions"][evil] = evil
        (tmp_path / "slice.png").write_bytes(PNG)
        page = self.page(tmp_path, merge_reports([(evil, report)]), pictures=[(evil, tmp_path / "slice.png")])
        assert "script" not in page.tags
        assert "<script" not in (tmp_path / "report.html").read_text(encoding="utf-8")
        assert page.words.count(evil) >= 6

        measures = ClassMeasures(1, evil, 0.0, math.nan, math.nan, 1.0, 0.0)
        evil_cases = Evaluation((CaseMeasures(evil, (measures,)),))
        page = self.page(tmp_path, evaluation_report(evil_cases, evil, card, {evil: evil}))
        assert "script" not in page.tags
        assert page.words.count(evil) >= 6

    def test_what_runs_have_in_common_is_shown_once(self, tmp_path: Path) -> None:
        left, right = report_on(labels()), report_on(labels(), device="cuda:0")
        words = self.page(tmp_path, merge_reports([("Left", left), ("Right", right)])).words
        assert [word for word in words if word in ("Left", "Right")] == ["Left", "Right"]
        assert [word for word in words if word.startswith(("Model", "Volume:", "Run"))] == [
            "Model",
            "Model",
            "Run: Left",
            "Run: Right",
        ]

    def test_an_evaluation_shows_every_class_and_every_case(self, tmp_path: Path) -> None:
        page = self.page(tmp_path, evaluation_report(evaluation(), "Held-out cases", CARD, {"Data": "2 cases"}))
        for expected in (
            "Held-out cases",
            "0.450",
            "0.900",
            "± 0.071",
            "case <1>",
            "0.950",
            "spleen: not found in 1 of 1 cases that have it.",
            "2 cases",
        ):
            assert expected in page.words
        assert page.tags.count("svg") == 2

    def test_an_evaluation_without_a_case_says_so(self, tmp_path: Path) -> None:
        assert "There is no case." in self.page(tmp_path, evaluation_report(Evaluation(()), "Nothing")).words

    def test_a_picture_that_is_missing_or_no_png_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "slice.png").write_bytes(b"GIF89a")
        for name, complaint in (("slice.png", "is no PNG file"), ("nowhere.png", "is missing or unreadable")):
            with pytest.raises(OutputError, match=rf"The picture .*{name} {complaint}"):
                self.page(tmp_path, report_on(labels()), pictures=[("", tmp_path / name)])
        assert not (tmp_path / "report.html").exists()
