"""Reports as one HTML file: no scripts, nothing loaded from elsewhere, light and dark, made to be printed."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from .errors import OutputError
from .files import write_text
from .report_style import STYLE

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
MOST_LEVEL_HEADINGS = 6
"""With more classes than these, the class names above the table of cases stand upright."""

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def write_html(path: Path, report: Mapping[str, Any], pictures: Sequence[tuple[str, Path]] = ()) -> None:
    """Writes a report of either kind as one self-contained HTML file.

    Args:
        path: the file.
        report: from ``segmentation_report``, ``merge_reports`` or ``evaluation_report``.
        pictures: (caption, PNG file), put into the file.

    Raises:
        OutputError: a picture is missing or no PNG, or the file cannot be written.
    """
    write_text(path, report_page(report, pictures))


def report_page(report: Mapping[str, Any], pictures: Sequence[tuple[str, Path]] = ()) -> str:
    """The HTML of :func:`write_html`."""
    body = _evaluation(report) if report["kind"] == "evaluation" else _segmentation(report)
    title = _title(report)
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{_text(title)}</title>",
            f"<style>{STYLE}</style>",
            "</head>",
            "<body>",
            "<header>",
            f'<p class="kind">AHNetSegment · {_text(report["kind"])} report</p>',
            f"<h1>{_text(title)}</h1>",
            f'<p class="date">{_text(_date(report["date_utc"]))}</p>',
            f'<p class="notice">{_text(report["notice"])}</p>',
            "</header>",
            *body,
            *_figures(pictures),
            f"<footer>{_text(_software(report['versions']))}</footer>",
            "</body>",
            "</html>",
            "",
        ]
    )


def _title(report: Mapping[str, Any]) -> str:
    if report["kind"] == "evaluation":
        return str(report["title"])
    return ", ".join(dict.fromkeys(str(run["volume"]["name"]) for run in report["runs"]))


def _segmentation(report: Mapping[str, Any]) -> list[str]:
    runs = report["runs"]
    found = [
        line
        for run in runs
        for line in _section(
            run["title"] or "Segments", [*_segments(run), *_checks([*run["checks"], *run["warnings"]]), *_pieces(run)]
        )
    ]
    return [
        *found,
        '<div class="columns">',
        *_once("Model", [(run["title"], _model(run["model"])) for run in runs]),
        *_once("Volume", [(run["title"], _volume(run["volume"])) for run in runs]),
        *_once("Run", [(run["title"], _execution(run)) for run in runs]),
        "</div>",
    ]


def _once(heading: str, contents: Sequence[tuple[str, list[str]]]) -> list[str]:
    """A section per (title, content), or a single one where the contents are all the same."""
    if all(content == contents[0][1] for _, content in contents):
        return _section(heading, contents[0][1])
    return [
        line for title, content in contents for line in _section(f"{heading}: {title}" if title else heading, content)
    ]


def _execution(run: Mapping[str, Any]) -> list[str]:
    times = [(step.replace("_", " ").capitalize(), f"{seconds:.2f} s") for step, seconds in run["seconds"].items()]
    # Reports of older versions do not say it.
    intensity = [("Intensities", run["intensity"])] if run.get("intensity") else []
    return _pairs([("Device", run["device"]), ("Precision", run["precision"]), *intensity, *times])


def _segments(run: Mapping[str, Any]) -> list[str]:
    header = ("Segment", "Volume", "Voxels", "Pieces", "Touches edge", "Centre (R, A, S)")
    rows = [_segment(segment) for segment in run["segments"]]
    if len(rows) > 1:
        rows.append(["Together", _volume_cell(run["total_ml"]), "", "", "", ""])
    return _table(header, rows, numbers=(1, 2, 3))


def _segment(segment: Mapping[str, Any]) -> list[str]:
    red, green, blue = (int(value) for value in segment["color"])
    swatch = f'<span class="swatch" style="background:rgb({red},{green},{blue})"></span>'
    name = f"{swatch}{_text(segment['segment'])}"
    if not segment["voxels"]:
        return [name, '<span class="none">empty</span>', "0", "–", "–", "–"]
    pieces = str(segment["pieces"])
    if segment["pieces"] > 1:
        share = min(segment["largest_piece_percent"], 99.9)
        pieces += f' <span class="unit">largest {share:.1f} %</span>'
    centre = ", ".join(_number(value, 1) for value in segment["centroid_ras_mm"])
    return [
        name,
        _volume_cell(segment["ml"]),
        _grouped(segment["voxels"]),
        pieces,
        _text(", ".join(segment["touches_edge"]) or "no"),
        f'{centre} <span class="unit">mm</span>',
    ]


def _volume_cell(millilitres: float) -> str:
    return f'<b>{_millilitres(millilitres)}</b> <span class="unit">mL</span>'


def _pieces(run: Mapping[str, Any]) -> list[str]:
    """Which pieces were kept; reports of older versions do not say it."""
    return [f"<p>{_text(sentence)}</p>" for sentence in run.get("pieces", ())]


def _checks(sentences: Sequence[str]) -> list[str]:
    if not sentences:
        return ['<p class="fine">All checks passed: no segment is empty, cut off or in stray pieces.</p>']
    return ['<ul class="checks">', *(f"<li>{_text(sentence)}</li>" for sentence in sentences), "</ul>"]


def _model(model: Mapping[str, Any]) -> list[str]:
    return _pairs(
        [
            ("Model", f"{model['title']} ({model['name']} {model['version']})"),
            ("Made for", f"{model['modality']}, {model['anatomy']}"),
            ("Licence of its data", model["data_licence"]),
            ("SHA-256 of its weights", model["weights_sha256"]),
        ]
    )


def _volume(volume: Mapping[str, Any]) -> list[str]:
    direction = volume["direction_lps"]
    lines = [
        ("Name", volume["name"]),
        ("Voxels", " × ".join(map(str, volume["size_ijk"]))),
        ("Spacing", " × ".join(_number(value, 3) for value in volume["spacing_mm"]) + " mm"),
        ("Origin (LPS)", ", ".join(_number(value, 2) for value in volume["origin_lps_mm"]) + " mm"),
    ]
    for column, axis in enumerate("ijk"):
        lines.append((f"Axis {axis} (LPS)", ", ".join(_number(value, 3) for value in direction[column::3])))
    if volume["region_of_interest_ijk"]:
        box = volume["region_of_interest_ijk"]
        lines.append(("Region of interest", " × ".join(f"{first}…{last}" for first, last in box) + " (i, j, k)"))
    return _pairs(lines)


def _evaluation(report: Mapping[str, Any]) -> list[str]:
    cases, classes = report["cases"], report["classes"]
    tiles = (("Mean Dice", _number(report["mean_dice"], 3)), ("Cases", len(cases)), ("Classes", len(classes)))
    details = [*_pairs(report["details"].items())] if report["details"] else []
    return [
        '<div class="tiles">',
        *(f'<div class="tile"><b>{_text(value)}</b><span>{_text(name)}</span></div>' for name, value in tiles),
        "</div>",
        *_section("Classes", [*_class_table(classes, cases), *_class_notes(classes, len(cases))]),
        *_section("Dice by case", _case_table(cases)),
        '<div class="columns">',
        *(_section("Model", _model(report["model"])) if report["model"] else []),
        *(_section("Details", details) if details else []),
        "</div>",
    ]


def _class_table(classes: Sequence[Mapping[str, Any]], cases: Sequence[Mapping[str, Any]]) -> list[str]:
    header = ("Class", "Cases", "Dice", "Cases, 0 to 1", "HD95", "ASD", "Volume error", "Lowest Dice")
    rows = []
    for number, item in enumerate(classes):
        dice, error = item["dice"], item["volume_error_ml"]
        spread = "" if dice["standard_deviation"] is None else f"± {_number(dice['standard_deviation'], 3)}"
        rows.append(
            [
                _text(item["class"]),
                str(dice["count"]),
                f'<b>{_number(dice["mean"], 3)}</b> <span class="unit">{spread}</span>',
                _strip([case["classes"][number]["dice"] for case in cases], dice["mean"]),
                f'{_number(item["hausdorff95_mm"]["mean"], 1)} <span class="unit">mm</span>',
                f'{_number(item["surface_distance_mm"]["mean"], 2)} <span class="unit">mm</span>',
                f'{_number(error["mean"], 2, "+")} <span class="unit">mL</span>',
                f'{_number(dice["worst"], 3)} <span class="unit">{_text(dice["worst_case"])}</span>',
            ]
        )
    return _table(header, rows, numbers=(1, 2, 4, 5, 6))


def _strip(values: Sequence[float | None], mean: float | None) -> str:
    """Every value from 0 to 1 as a stroke on a line, the mean as a longer one."""
    strokes = "".join(f"M{100 * value:.1f} 3v8" for value in values if value is not None)
    drawn = f'<path class="axis" d="M0 7h100"/><path class="case" d="{strokes}"/>'
    if mean is not None:
        drawn += f'<path class="mean" d="M{100 * mean:.1f} 0v14"/>'
    return f'<svg class="strip" viewBox="-1 0 102 14" role="img" aria-label="Dice of every case">{drawn}</svg>'


def _class_notes(classes: Sequence[Mapping[str, Any]], cases: int) -> list[str]:
    notes = []
    for item in classes:
        if item["missed"]:
            notes.append(f"{item['class']}: not found in {item['missed']} of {item['present']} cases that have it.")
        if item["invented"]:
            absent = cases - item["present"]
            notes.append(f"{item['class']}: found in {item['invented']} of {absent} cases that do not have it.")
    legend = (
        '<p class="legend">Means over the cases; Dice ± standard deviation. HD95: 95 % Hausdorff distance, ASD: '
        "average symmetric surface distance, both where prediction and reference have the class.</p>"
    )
    return [legend, *(_checks(notes) if notes else [])]


def _case_table(cases: Sequence[Mapping[str, Any]]) -> list[str]:
    if not cases:
        return ['<p class="fine">There is no case.</p>']
    names = [item["class"] for item in cases[0]["classes"]]
    rows = [
        [_text(case["case"]), *(_shaded(value) for value in (case["mean_dice"], *(c["dice"] for c in case["classes"])))]
        for case in cases
    ]
    table = _table(("Case", "Mean", *names), rows, numbers=range(1, len(names) + 2))
    return ['<div class="upright">', *table, "</div>"] if len(names) > MOST_LEVEL_HEADINGS else table


def _shaded(dice: float | None) -> str:
    if dice is None:
        return '<span class="none">–</span>'
    return f'<span class="shade" style="background:rgba(214,84,56,{max(0.0, 0.9 - dice):.2f})">{dice:.3f}</span>'


def _figures(pictures: Sequence[tuple[str, Path]]) -> list[str]:
    if not pictures:
        return []
    figures = (
        f'<figure><img alt="{_text(caption)}" src="data:image/png;base64,{_base64(path)}">'
        f"<figcaption>{_text(caption)}</figcaption></figure>"
        for caption, path in pictures
    )
    return _section("Pictures", ['<div class="pictures">', *figures, "</div>"])


def _base64(path: Path) -> str:
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise OutputError(f"The picture {path} is missing or unreadable; make it again or leave it out.") from error
    if not content.startswith(PNG_SIGNATURE):
        raise OutputError(f"The picture {path} is no PNG file; save it as PNG.")
    return base64.b64encode(content).decode("ascii")


def _section(heading: str, content: Iterable[str]) -> list[str]:
    return ["<section>", f"<h2>{_text(heading)}</h2>", *content, "</section>"]


def _pairs(lines: Iterable[tuple[str, Any]]) -> list[str]:
    return ["<dl>", *(f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in lines), "</dl>"]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], numbers: Iterable[int]) -> list[str]:
    """A table of cells that are HTML already, under a header of plain text."""
    right = set(numbers)

    def cell(tag: str, column: int, content: str) -> str:
        return f"<{tag}{' class=number' if column in right else ''}>{content}</{tag}>"

    head = "".join(cell("th", column, _text(name)) for column, name in enumerate(header))
    body = ("<tr>" + "".join(cell("td", column, text) for column, text in enumerate(row)) + "</tr>" for row in rows)
    return ['<div class="wide">', "<table>", f"<tr>{head}</tr>", *body, "</table>", "</div>"]


def _text(value: object) -> str:
    return escape(str(value))


def _date(date_utc: str) -> str:
    return date_utc.replace("T", " ").replace("+00:00", " UTC")


def _software(versions: Mapping[str, str]) -> str:
    return "Made with " + ", ".join(f"{name} {version}" for name, version in versions.items()) + "."


def _number(value: float | None, digits: int, sign: str = "") -> str:
    return "–" if value is None else f"{value:{sign}.{digits}f}".replace("-", "−")


def _millilitres(value: float) -> str:
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 100 else f"{value:.1f}"


def _grouped(count: int) -> str:
    return f"{count:,}".replace(",", "\u202f")
