"""How images are generated from label maps alone: which values are one tissue, what is looked for, which contrasts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

LARGEST_VALUE = 65_535
MOST_VALUES = 255


@dataclass(frozen=True)
class Tissue:
    """Values of a label map that look alike in an image, left and right for example.

    Attributes:
        values: of the label map.
        t1: its mean brightness in T1-weighted MR, from 0 (dark) to 1.
    """

    values: tuple[int, ...]
    t1: float

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("a tissue needs at least one value of the label maps")
        if not 0 <= self.t1 <= 1:
            raise ValueError("'t1' is a brightness and must lie from 0 to 1")


@dataclass(frozen=True)
class Generation:
    """How images are made of label maps; the value 0 is air. Patches are turned, bent and blurred by the augmentation.

    Attributes:
        merged: for each class of the recipe, in the order of their labels, the values that belong to it; all others are
            background.
        tissues: which values look alike; every value of the label maps is in one of them.
        envelope: values that a skull-stripped head may keep beside the classes, the fluid around the brain for example.
        t1: share of images that look like T1-weighted MR; the brightness of each tissue of the others is random.
        spread: standard deviation of a tissue's mean brightness in T1-like images.
        texture: largest standard deviation of the brightness within a tissue.
        stripped: share of the heads whose skull was stripped.
        cut: share of the patches of which a part lies outside of the field of view.
        planes: how often thick slices (``thick`` of the augmentation) are axial, coronal and sagittal, that is along
            the slices, rows and columns of the patch.
        air: most air around a patch, as a multiple of it, that counts when it is normalised: a whole head is normalised
            with all the air that its scan holds.
    """

    merged: tuple[tuple[int, ...], ...]
    tissues: tuple[Tissue, ...]
    envelope: tuple[int, ...] = ()
    t1: float = 0.3
    spread: float = 0.04
    texture: float = 0.08
    stripped: float = 0.2
    cut: float = 0.2
    planes: tuple[float, float, float] = (1.0, 1.0, 1.0)
    air: float = 4.0

    def __post_init__(self) -> None:
        named = [value for tissue in self.tissues for value in tissue.values]
        if not all(0 < value <= LARGEST_VALUE for value in named):
            raise ValueError(f"the values of tissues must lie from 1 to {LARGEST_VALUE}; 0 is air")
        if len(named) > MOST_VALUES:
            raise ValueError(f"there may be {MOST_VALUES} values in tissues at most")
        if twice := sorted({value for value in named if named.count(value) > 1}):
            raise ValueError(f"the value {twice[0]} is in two tissues")
        merged = [value for values in self.merged for value in values]
        if twice := sorted({value for value in merged if merged.count(value) > 1}):
            raise ValueError(f"the value {twice[0]} is merged into two classes")
        for name, values in (("merged", merged), ("envelope", self.envelope)):
            if missing := sorted(set(values) - set(named)):
                raise ValueError(f"'{name}' has the value {missing[0]}, which no tissue has")
        for name in ("t1", "stripped", "cut"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"'{name}' is a share and must lie from 0 to 1")
        for name in ("spread", "texture", "air"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"'{name}' must not be negative")
        if len(self.planes) != 3 or min(self.planes) < 0 or not sum(self.planes):
            raise ValueError("'planes' must hold three weights, not all of them zero")

    @property
    def values(self) -> tuple[int, ...]:
        """All values of the label maps but air, ascending. A value's code is its place here, from 1; air's is 0."""
        return tuple(sorted(value for tissue in self.tissues for value in tissue.values))

    def classes_by_code(self) -> np.ndarray:
        """The class of each code, uint8 (256,); 0: background."""
        places = {value: code for code, value in enumerate(self.values, start=1)}
        table = np.zeros(256, np.uint8)
        for label, values in enumerate(self.merged, start=1):
            for value in values:
                table[places[value]] = label
        return table

    def tissues_by_code(self) -> np.ndarray:
        """The tissue of each code, as its place from 1, (256,); 0: air."""
        places = {value: code for code, value in enumerate(self.values, start=1)}
        table = np.zeros(256, np.int64)
        for number, tissue in enumerate(self.tissues, start=1):
            for value in tissue.values:
                table[places[value]] = number
        return table

    def kept_when_stripped(self, *, envelope: bool) -> np.ndarray:
        """Which codes a skull-stripped head keeps, bool (256,): those of classes, and the envelope or not."""
        kept = self.classes_by_code() > 0
        if envelope:
            for code, value in enumerate(self.values, start=1):
                kept[code] |= value in self.envelope
        return kept

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Generation:
        """From the table ``[generation]`` of a recipe; raises ValueError or TypeError naming the setting."""
        if unknown := sorted(set(data) - {item.name for item in fields(cls)}):
            raise ValueError(f"'{unknown[0]}' is unknown in generation")
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in data.items()
        }
        values["merged"] = tuple(tuple(part) for part in data["merged"])
        tissues = []
        for item in data["tissues"]:
            if unknown := sorted(set(item) - {"values", "t1"}):
                raise ValueError(f"'{unknown[0]}' is unknown in a tissue")
            tissues.append(Tissue(tuple(item["values"]), float(item["t1"])))
        return cls(**{**values, "tissues": tuple(tissues)})
