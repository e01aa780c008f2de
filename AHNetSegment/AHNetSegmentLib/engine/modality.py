"""Which intensity rule a volume gets, where a model has several: by what is said of its modality, or by its values."""

from __future__ import annotations

from dataclasses import dataclass

from .card import Intensity, IntensityByModality
from .familiarity import NOT_TELLING, looks_like_ct
from .volume import Volume

CT = "CT"


@dataclass(frozen=True)
class ChosenIntensity:
    """A rule, and how it came about.

    Attributes:
        rule: what is done with the values.
        modality: what the volume was taken for, by DICOM's name; empty: none that has a rule of its own.
        reason: why, to stand in brackets; empty: there was nothing to choose.
    """

    rule: Intensity
    modality: str = ""
    reason: str = ""

    @property
    def words(self) -> str:
        """The rule and its reason, for a report."""
        low, high = f"{self.rule.lower:g}", f"{self.rule.upper:g}"
        unit = " HU" if self.modality == CT else ""
        said = f"window of {low} to {high}{unit}"
        if self.rule.rule == "zscore":
            said = f"from the percentile {low} to the percentile {high}, mean 0, deviation 1"
        return f"{said} ({self.reason})" if self.reason else said


def choose_intensity(
    volume: Volume, default: Intensity, by_modality: IntensityByModality, asked: str = ""
) -> ChosenIntensity:
    """The rule for a volume.

    Args:
        volume: all of it, not a region: the air that tells a CT lies outside of most regions.
        default: the rule of volumes of any modality that has none of its own.
        by_modality: those that have.
        asked: the modality by a person's word, which goes before all else; empty: not said.
    """
    if not by_modality:
        return ChosenIntensity(default)
    rules = dict(by_modality)
    for told, source in ((asked, "as asked for"), (volume.modality, "by its DICOM header")):
        name = told.strip().upper()
        if name not in NOT_TELLING:
            return ChosenIntensity(rules.get(name, default), name, f"{name} {source}")
    if CT not in rules:
        return ChosenIntensity(default, "", "its modality is unknown")
    if looks_like_ct(volume):
        return ChosenIntensity(rules[CT], CT, "CT by its values")
    return ChosenIntensity(default, "", "no CT by its values")
