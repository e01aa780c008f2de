"""A training recipe: one TOML file that says what is trained, on what and how."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from ..network.settings import AHNetSettings, MCGCNSettings
from .augmentation import Augmentation
from .card import (
    ClassCard,
    Intensity,
    IntensityByModality,
    Spacing,
    check_classes,
    check_mirroring,
    check_modalities,
    check_one_piece,
    check_scales,
    classes_from_dicts,
    label_values,
)
from .errors import RecipeError
from .generation import Generation
from .orientation import ANY, SAGITTAL, check_plane

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Settings = TypeVar("Settings")

WORDS = ("title", "version", "anatomy", "description", "data_licence", "known_failures", "storage")
"""Settings of a recipe that decide no weight."""

STAGE_KINDS = ("slices", "decoder", "all")


@dataclass(frozen=True)
class Stage:
    """One stage of the training.

    Attributes:
        kind: ``slices`` (the 2D MC-GCN; its encoder is transferred afterwards), ``decoder`` (the 3D network with
            its encoder locked) or ``all`` (the 3D network).
        steps: optimiser steps.
        learning_rate: at the start; it falls to zero polynomially, (1 - step / steps)^0.9.
        batch: patches a step.
        patch: (slices, rows, columns) of a patch, voxels; for ``slices`` all but the first and last slice are used.
        augmentation: of this stage; None: the recipe's. In a recipe's file it holds what differs from that.
    """

    kind: str
    steps: int
    learning_rate: float
    batch: int
    patch: tuple[int, int, int]
    augmentation: Augmentation | None = None

    def __post_init__(self) -> None:
        if self.kind not in STAGE_KINDS:
            raise ValueError(f"the stage kind is {self.kind!r}; known are {', '.join(STAGE_KINDS)}")
        if self.steps < 1 or self.batch < 1 or len(self.patch) != 3 or min(self.patch) < 1:
            raise ValueError("a stage needs at least one step, one patch a step and a patch of three sizes")
        if self.kind == "slices" and self.patch[0] < 3:
            raise ValueError("a patch of the stage 'slices' needs at least three slices")


@dataclass(frozen=True)
class Recipe:
    """All settings of a training; the card fields are those of the model that comes out.

    Attributes:
        plane: see :class:`~.card.ModelCard`; empty: as the cases' slices lie.
        validation: names of the cases that training never sees.
        foreground: share of the patches that are centred on a labelled voxel, of a class drawn at random.
        focal_weight: weight of the focal loss.
        focal_gamma: its exponent.
        dice_weight: weight of the soft Dice loss.
        weight_decay: of AdamW.
        average: decay per step of the running average of the weights, which is what is delivered; 0: the last ones.
        kernels: K per level of the 2D network, from the deepest to the shallowest.
        storage: how the weights are stored: see :func:`AHNetSegmentLib.engine.package.save_model`.
        validate_every: steps of a 3D stage between validations, whose best weights are kept; 0: only at its end, and
            the last weights are kept.
        patience: a stage ends after so many validations without a better one; 0: never before its last step.
        known_failures: see :class:`~.card.ModelCard`.
        one_piece: see there.
        test_time_mirroring: see there; the training must mirror left and right too.
        test_time_scales: see there.
        test_time_intensity: the card's intensity rule where it is not that of the training; None: it is.
        intensity_by_modality: see :class:`~.card.ModelCard`; a case's modality is told as that of a volume is that is
            segmented.
        generation: how images are generated; the cases are label maps without images then. None: they have images.
        base: name of the model that the first stage begins with, as far as its weights fit; empty: random weights.
    """

    name: str
    title: str
    version: str
    modality: str
    anatomy: str
    description: str
    data_licence: str
    classes: tuple[ClassCard, ...]
    spacing: Spacing
    intensity: Intensity
    network: AHNetSettings
    stages: tuple[Stage, ...]
    plane: str = ""
    validation: tuple[str, ...] = ()
    augmentation: Augmentation = field(default_factory=Augmentation)
    seed: int = 0
    foreground: float = 0.67
    focal_weight: float = 1.0
    focal_gamma: float = 0.0
    dice_weight: float = 1.0
    weight_decay: float = 1e-4
    average: float = 0.999
    kernels: tuple[int, int, int, int, int] = (7, 9, 15, 31, 63)
    storage: str = "int8"
    validate_every: int = 0
    patience: int = 0
    base: str = ""
    known_failures: str = ""
    one_piece: tuple[int, ...] = ()
    test_time_mirroring: bool = False
    test_time_scales: tuple[float, ...] = (1.0,)
    test_time_intensity: Intensity | None = None
    intensity_by_modality: IntensityByModality = ()
    generation: Generation | None = None

    def __post_init__(self) -> None:
        check_classes(self.classes, self.network)
        check_one_piece(self.one_piece, self.classes)
        check_scales(self.test_time_scales)
        check_modalities(self.intensity_by_modality)
        if self.intensity.rule != "zscore" and any(self.augmentation_of(stage).made for stage in self.stages):
            raise ValueError(
                "'made' intensities are on no scale and need percentiles ('zscore') as the rule in 'intensity'; give "
                "the window of CT numbers in 'intensity_by_modality'"
            )
        if self.generation is not None:
            if self.intensity.rule != "zscore":
                raise ValueError("generated images are on no scale and need percentiles ('zscore') in 'intensity'")
            if len(self.generation.merged) != len(self.classes):
                raise ValueError(
                    f"'merged' in generation holds {len(self.generation.merged)} lists of values for "
                    f"{len(self.classes)} classes"
                )
        check_plane(self.plane)
        check_mirroring(self.plane, self.test_time_mirroring)
        if self.plane in (SAGITTAL, ANY) and any(self.augmentation_of(item).mirror_swaps for item in self.stages):
            raise ValueError(f"'mirror_swaps' needs columns across left and right; the plane {self.plane!r} has others")
        if self.test_time_mirroring:
            last = self.augmentation_of(self.stages[-1])
            if not last.mirror[2] or last.mirror_swaps:
                raise ValueError(
                    "'test_time_mirroring' needs a training that mirrors left and right, without 'mirror_swaps'"
                )
        if self.network.in_channels != 1:
            raise ValueError("the network's in_channels must be 1: a case has one image")

    @property
    def plane_network(self) -> MCGCNSettings:
        """The 2D network whose encoder fits the 3D one."""
        net = self.network
        return MCGCNSettings(
            in_channels=net.in_channels,
            classes=net.classes,
            width=net.width,
            kernels=self.kernels,
            layers=net.layers,
        )

    def augmentation_of(self, stage: Stage) -> Augmentation:
        """How strongly a stage's patches are varied."""
        return stage.augmentation or self.augmentation

    def up_to(self, stages: int) -> Recipe:
        """What decides the weights up to the end of so many stages: no later ones, no words, nothing of inference."""
        idle: dict[str, Any] = dict.fromkeys(WORDS, "")
        if not self.validate_every:
            idle.update(one_piece=(), test_time_mirroring=False, test_time_scales=(1.0,), test_time_intensity=None)
        through = tuple(replace(item, augmentation=self.augmentation_of(item)) for item in self.stages[:stages])
        return replace(self, stages=through, augmentation=Augmentation(), **idle)

    @property
    def labels(self) -> tuple[int, ...]:
        """All values that a label file may hold."""
        return label_values(self.classes)


def said(settings: Any) -> Any:
    """What settings say beyond their defaults, nested, in order.

    So a run that was stopped goes on after an update that knows further settings.
    """
    if isinstance(settings, tuple):
        return tuple(said(item) for item in settings)
    if not is_dataclass(settings) or isinstance(settings, type):
        return settings
    found = []
    for item in fields(settings):
        value = getattr(settings, item.name)
        default = item.default_factory() if item.default_factory is not MISSING else item.default
        if value != default:
            found.append((item.name, said(value)))
    return (type(settings).__name__, *found)


def read_recipe(path: Path) -> Recipe:
    """Reads and checks a recipe.

    Raises:
        RecipeError: missing, no TOML, or a setting is wrong; the message names the file and the setting.
    """
    try:
        data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        return recipe_from_dict(data)
    except OSError as error:
        raise RecipeError(f"The recipe {path} is missing or unreadable; check the path.") from error
    except (ValueError, TypeError, KeyError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error).rstrip(".")
        raise RecipeError(f"The recipe {path} cannot be used: {reason}.") from error


def recipe_from_dict(data: Mapping[str, Any]) -> Recipe:
    """A recipe from the contents of its TOML file; raises ValueError, TypeError or KeyError naming the setting."""
    values = dict(data)
    classes = classes_from_dicts(values.pop("classes"))
    network = AHNetSettings.from_dict({"classes": len(classes) + 1, **values.pop("network", {})})
    values["spacing"] = tuple(None if step == 0 else float(step) for step in values["spacing"])
    common = values.pop("augmentation", {})
    values["augmentation"] = _make(Augmentation, common, "augmentation")
    values["stages"] = tuple(_stage(stage, common) for stage in values.pop("stages"))
    values["intensity"] = _make(Intensity, values["intensity"], "intensity")
    if "generation" in values:
        values["generation"] = Generation.from_dict(values["generation"])
    values["intensity_by_modality"] = tuple(
        (name, _make(Intensity, rule, f"intensity_by_modality, {name}"))
        for name, rule in values.get("intensity_by_modality", {}).items()
    )
    if "test_time_intensity" in values:
        values["test_time_intensity"] = _make(Intensity, values["test_time_intensity"], "test_time_intensity")
    if len(values["spacing"]) != 3:
        raise ValueError("'spacing' must hold three numbers, 0 for 'as scanned'")
    if not values["stages"]:
        raise ValueError("it has no stages")
    return _make(Recipe, {**values, "classes": classes, "network": network}, "recipe")


def _stage(values: Mapping[str, Any], common: Mapping[str, Any]) -> Stage:
    if "augmentation" in values:
        own = _make(Augmentation, {**common, **values["augmentation"]}, "augmentation of a stage")
        values = {**values, "augmentation": own}
    return _make(Stage, values, "stage")


def _make(kind: type[Settings], values: Mapping[str, Any], place: str) -> Settings:
    known = {item.name for item in fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(set(values) - known):
        raise ValueError(f"'{unknown[0]}' is unknown in {place}")
    return kind(**{name: _frozen(value) for name, value in values.items()})


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
