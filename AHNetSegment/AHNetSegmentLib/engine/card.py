"""A model's card (``model.json``): what the model is, checked field by field when it is read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

from ..network.settings import IGNORE_LABEL, AHNetSettings
from .errors import ModelError
from .files import write_text
from .orientation import AXIAL, SAGITTAL, THICK_SLICE_RATIO, check_plane

FORMAT_VERSION = 1
SCALES = (0.5, 2.0)
"""Smallest and largest of ``test_time_scales``."""
TERMINOLOGY_CONTEXT = "Segmentation category and type - DICOM master list"
ANATOMIC_CONTEXT = "Anatomic codes - DICOM master list"

Kind = TypeVar("Kind")

Spacing = tuple[float | None, float | None, float | None]
"""mm along (slices, rows, columns) that volumes are resampled to; None: as scanned."""


@dataclass(frozen=True)
class Code:
    """A coded term, ``SCT 5366008 Hippocampus`` for example: coding scheme, value, meaning."""

    scheme: str
    value: str
    meaning: str

    def entry(self) -> str:
        """The term as Slicer's terminology strings have it."""
        return f"{self.scheme}^{self.value}^{self.meaning}"


@dataclass(frozen=True)
class Terminology:
    """What a class is in coded terms: category, type and, where it has one, the type's modifier (left, right)."""

    category: Code
    type: Code
    modifier: Code | None = None

    def entry(self) -> str:
        """Slicer's serialised terminology entry: seven fields parted by tildes."""
        modifier = self.modifier.entry() if self.modifier else "^^"
        terms = (self.category.entry(), self.type.entry(), modifier)
        return "~".join((TERMINOLOGY_CONTEXT, *terms, ANATOMIC_CONTEXT, "^^", "^^"))


UNCODED = Terminology(Code("SCT", "123037004", "Anatomical Structure"), Code("SCT", "85756007", "Tissue"))
"""Slicer's own terms for a segment that was given none."""


@dataclass(frozen=True)
class ClassCard:
    """One class: its label in label maps (1 to 255), name, colour (RGB, 0 to 255) and terminology."""

    label: int
    name: str
    color: tuple[int, int, int]
    terminology: Terminology


@dataclass(frozen=True)
class Intensity:
    """How voxel values become network input.

    ``window``: clipped to [lower, upper] (HU for CT) and mapped linearly to [-1, 1].
    ``zscore``: clipped to the percentiles [lower, upper] of the volume or region, then mean 0 and variance 1 there.
    """

    rule: str
    lower: float
    upper: float

    def __post_init__(self) -> None:
        if self.rule not in ("window", "zscore"):
            raise ValueError(f"the intensity rule is {self.rule!r}; known are 'window' and 'zscore'")
        if not self.lower < self.upper:
            raise ValueError("the lower intensity bound must be below the upper one")
        if self.rule == "zscore" and not (0 <= self.lower and self.upper <= 100):
            raise ValueError("the percentiles of the intensity rule must lie from 0 to 100")


IntensityByModality = tuple[tuple[str, Intensity], ...]
"""The rule of each of some modalities, by DICOM's names of them, in order."""


@dataclass(frozen=True)
class ModelCard:
    """All that is said of a model.

    Attributes:
        name: identifier and folder name: lower case letters, digits and hyphens.
        title: what lists show.
        version: of the model, ``1.0.0``.
        modality: ``MR``, ``CT``, or several: ``CT, MR``.
        anatomy: what it segments, in words.
        description: a few sentences: what it is for and what field of view it expects.
        classes: without background, labels ascending.
        spacing: mm along (slices, rows, columns) that volumes are resampled to; None: as scanned.
        intensity: how voxel values become network input, in volumes of any modality that has no rule of its own.
        network: settings of the network.
        data_licence: of the data that it was trained on.
        plane: ``axial``, ``coronal`` or ``sagittal``: volumes are turned and resampled to slices of that plane;
            ``any``: to their own slices; empty: not stated, as ``any``. See :mod:`.orientation`.
        training: how it was trained: recipe, command, cases, steps, versions.
        figures: results, each with what it was measured on.
        known: what the cases looked like that it was made with (``familiarity.measure_known``); empty: not measured.
        weights_sha256: of ``weights.pt``.
        known_failures: a few sentences: where it was seen to fail; empty: not looked at.
        one_piece: labels of the classes of which, unless asked otherwise, only the best connected piece is kept, and
            such as are not small beside it: see :mod:`.pieces`.
        test_time_mirroring: the mirror image, left and right exchanged, is segmented too, and the mean of the logits
            counts; for models without classes of one side.
        test_time_scales: multiples of the spacing in plane at which a volume is segmented; where there are several, the
            mean of the probabilities counts.
        intensity_by_modality: modalities with rules of their own: CT has a window in HU, which would say nothing of MR.
    """

    name: str
    title: str
    version: str
    modality: str
    anatomy: str
    description: str
    classes: tuple[ClassCard, ...]
    spacing: Spacing
    intensity: Intensity
    network: AHNetSettings
    data_licence: str
    plane: str = ""
    training: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)
    known: dict[str, Any] = field(default_factory=dict)
    weights_sha256: str = ""
    known_failures: str = ""
    one_piece: tuple[int, ...] = ()
    test_time_mirroring: bool = False
    test_time_scales: tuple[float, ...] = (1.0,)
    intensity_by_modality: IntensityByModality = ()

    def __post_init__(self) -> None:
        check_name(self.name)
        check_classes(self.classes, self.network)
        check_one_piece(self.one_piece, self.classes)
        check_scales(self.test_time_scales)
        check_modalities(self.intensity_by_modality)
        check_plane(self.plane)
        check_mirroring(self.plane, self.test_time_mirroring)
        for value in self.spacing:
            if value is not None and not value > 0:
                raise ValueError("every spacing must be above zero, or null for 'as scanned'")
        _check_known(self.known)

    @property
    def in_one_piece(self) -> tuple[ClassCard, ...]:
        """The classes that ``one_piece`` names."""
        return tuple(item for item in self.classes if item.label in self.one_piece)

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities that it knows, in capitals."""
        return tuple(part.strip().upper() for part in self.modality.split(","))

    def intensity_of(self, modality: str) -> Intensity:
        """The intensity rule of a modality, by DICOM's name; empty: unknown."""
        return dict(self.intensity_by_modality).get(modality.strip().upper(), self.intensity)

    def to_dict(self) -> dict[str, Any]:
        """The card as it stands in ``model.json``."""
        card = asdict(self)
        card["network"] = self.network.to_dict()
        card["intensity_by_modality"] = {name: asdict(rule) for name, rule in self.intensity_by_modality}
        if not self.intensity_by_modality:
            # Versions that do not know the field can read the card then.
            del card["intensity_by_modality"]
        return {"format_version": FORMAT_VERSION, **card}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ModelCard:
        """The card from the contents of ``model.json``.

        Raises:
            ValueError: a field is missing, unknown or of the wrong type; the message names it.
        """
        version = data.get("format_version")
        if version != FORMAT_VERSION:
            raise ValueError(f"its format version is {version}, known is {FORMAT_VERSION}: update the extension")
        known = {"format_version", *cls.__dataclass_fields__}
        if unknown := sorted(set(data) - known):
            raise ValueError(f"the field '{unknown[0]}' is unknown")
        texts = {
            key: _get(data, key, str)
            for key in ("name", "title", "version", "modality", "anatomy", "description", "data_licence")
        }
        spacing = _get(data, "spacing", list)
        if len(spacing) != 3 or not all(value is None or _is_number(value) for value in spacing):
            raise ValueError("'spacing' must hold three numbers or nulls")
        by_modality = _get({"intensity_by_modality": {}, **data}, "intensity_by_modality", dict)
        return cls(
            **texts,
            classes=tuple(_class_from_dict(item) for item in _get(data, "classes", list)),
            spacing=(spacing[0], spacing[1], spacing[2]),
            plane=_get({"plane": _plane_of_old(data), **data}, "plane", str),
            intensity=_intensity(_get(data, "intensity", dict)),
            network=AHNetSettings.from_dict(_get(data, "network", dict)),
            training=_get(data, "training", dict),
            figures=_get(data, "figures", dict),
            known=_get({"known": {}, **data}, "known", dict),
            weights_sha256=_get(data, "weights_sha256", str),
            known_failures=_get({"known_failures": "", **data}, "known_failures", str),
            one_piece=tuple(_get({"one_piece": [], **data}, "one_piece", list)),
            test_time_mirroring=_flag(data, "test_time_mirroring"),
            test_time_scales=tuple(_get({"test_time_scales": [1.0], **data}, "test_time_scales", list)),
            intensity_by_modality=tuple((name, _intensity(_get(by_modality, name, dict))) for name in by_modality),
        )


def read_card(path: Path) -> ModelCard:
    """Reads and checks a ``model.json``.

    Raises:
        ModelError: missing, no JSON, or a field is wrong; the message names the file.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
        if not isinstance(data, dict):
            raise ValueError("it must hold one JSON object")
        return ModelCard.from_dict(data)
    except OSError as error:
        raise ModelError(f"{path} is missing or unreadable; reinstall or re-import the model.") from error
    except (ValueError, TypeError) as error:
        raise ModelError(f"{path} is no valid model card: {error}.") from error


def write_card(path: Path, card: ModelCard) -> None:
    """Writes a ``model.json``; raises OutputError where that fails."""
    write_text(path, json.dumps(card.to_dict(), indent=2, ensure_ascii=False) + "\n")


def check_name(name: str) -> None:
    """Raises ValueError unless a model may be called so."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name):
        raise ValueError(f"the name {name!r} may only have lower case letters, digits and hyphens")


def check_classes(classes: Sequence[ClassCard], network: AHNetSettings) -> None:
    """Raises ValueError unless labels count from 1 upwards and the network has an output for each and background."""
    labels = [item.label for item in classes]
    if labels != list(range(1, len(labels) + 1)):
        raise ValueError(f"the labels are {labels}; they must count from 1 upwards")
    if network.classes != len(labels) + 1:
        raise ValueError(
            f"the network has {network.classes} outputs, but there are {len(labels)} classes and background"
        )


def check_one_piece(labels: Sequence[int], classes: Sequence[ClassCard]) -> None:
    """Raises ValueError unless all of the labels are those of classes."""
    if unknown := [label for label in labels if label not in [item.label for item in classes]]:
        raise ValueError(f"'one_piece' has the label {unknown[0]}, which no class has")


def check_scales(scales: Sequence[float]) -> None:
    """Raises ValueError unless there are scales to segment at, each from ``SCALES`` and named once."""
    low, high = SCALES
    if not (scales and all(_is_number(scale) and low <= scale <= high for scale in scales)):
        raise ValueError(f"'test_time_scales' must hold at least one number, each from {low:g} to {high:g}")
    if len(set(scales)) < len(scales):
        raise ValueError("'test_time_scales' names a scale twice")


def check_modalities(rules: IntensityByModality) -> None:
    """Raises ValueError unless each rule has one modality, by DICOM's name of it."""
    for name, _ in rules:
        if not re.fullmatch("[A-Z]{2,16}", name):
            raise ValueError(f"'intensity_by_modality' has {name!r}, which is no modality in capitals, as 'CT' is")


def check_mirroring(plane: str, mirrored: bool) -> None:
    """Raises ValueError where images are to be mirrored along their columns, and those do not cross left and right."""
    if mirrored and plane == SAGITTAL:
        raise ValueError("left and right cannot be mirrored in the sagittal plane, whose slices are across them")


def label_values(classes: Sequence[ClassCard]) -> tuple[int, ...]:
    """All values that a label file may hold: background, the classes, and the ignore label."""
    return (0, *(item.label for item in classes), IGNORE_LABEL)


def classes_from_dicts(items: Sequence[Mapping[str, Any]]) -> tuple[ClassCard, ...]:
    """Classes from their dictionaries in a card or recipe; raises ValueError naming the wrong field."""
    return tuple(_class_from_dict(item) for item in items)


def _class_from_dict(data: Mapping[str, Any]) -> ClassCard:
    if not isinstance(data, Mapping):
        raise ValueError("each class must be an object")
    color = _get(data, "color", list)
    if len(color) != 3 or not all(isinstance(value, int) and 0 <= value <= 255 for value in color):
        raise ValueError("'color' must hold three whole numbers from 0 to 255")
    terms = _get(data, "terminology", dict)
    modifier = terms.get("modifier")
    terminology = Terminology(
        _code(_get(terms, "category", dict)),
        _code(_get(terms, "type", dict)),
        _code(modifier) if modifier is not None else None,
    )
    return ClassCard(_get(data, "label", int), _get(data, "name", str), (color[0], color[1], color[2]), terminology)


def _intensity(data: Mapping[str, Any]) -> Intensity:
    return Intensity(_get(data, "rule", str), _get(data, "lower", float), _get(data, "upper", float))


def _code(data: Mapping[str, Any]) -> Code:
    parts = {key: _get(data, key, str) for key in ("scheme", "value", "meaning")}
    if any(set(part) & set("^~|") for part in parts.values()):
        raise ValueError("a code may not hold the characters ^, ~ or |")
    return Code(**parts)


def _get(data: Mapping[str, Any], key: str, kind: type[Kind]) -> Kind:
    if key not in data:
        raise ValueError(f"the field '{key}' is missing")
    value = data[key]
    fits = _is_number(value) if kind is float else isinstance(value, kind) and not isinstance(value, bool)
    if not fits:
        raise ValueError(f"the field '{key}' must be of type {kind.__name__}")
    return cast(Kind, value)


def _flag(data: Mapping[str, Any], key: str) -> bool:
    value = data.get(key, False)
    if not isinstance(value, bool):
        raise ValueError(f"the field '{key}' must be true or false")
    return value


def _plane_of_old(data: Mapping[str, Any]) -> str:
    """The plane of a card that does not state one.

    Such models saw scans by their thickest slices, and axially where none stood out: what they were trained on tells
    that they saw nothing else, or leaves it open.
    """
    known = data.get("known", {})
    spans = known.get("spacing") if isinstance(known, dict) else None
    if not spans:
        return ""
    _check_known(known)
    thickest, plane = spans[0][1], max(spans[1][0], spans[2][0])
    return AXIAL if thickest < THICK_SLICE_RATIO * plane else ""


def _check_known(known: Mapping[str, Any]) -> None:
    """Raises ValueError where the field ``known`` does not hold ranges [smallest, largest] as it should."""
    for key in ("spacing", "extent"):
        axes = known.get(key, [[1, 1]] * 3)
        if not (isinstance(axes, list) and len(axes) == 3 and all(_is_range(item) and item[0] > 0 for item in axes)):
            raise ValueError(f"'{key}' in 'known' must hold three ranges above zero, [smallest, largest]")
    for key in ("percentiles", "quartiles"):
        named = known.get(key, {})
        if not (isinstance(named, dict) and all(_is_range(item) for item in named.values())):
            raise ValueError(f"'{key}' in 'known' must hold ranges [smallest, largest]")
    places = known.get("places", {})
    if not (isinstance(places, dict) and all(_is_place(item) for item in places.values())):
        raise ValueError("'places' in 'known' must hold four numbers each, the last one a deviation")
    if not _is_range(known.get("below_zero", [0, 0])):
        raise ValueError("'below_zero' in 'known' must be a range [smallest, largest]")


def _is_place(item: Any) -> bool:
    return isinstance(item, list) and len(item) == 4 and all(map(_is_number, item)) and item[3] >= 0


def _is_range(item: Any) -> bool:
    return isinstance(item, list) and len(item) == 2 and all(map(_is_number, item)) and item[0] <= item[1]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
