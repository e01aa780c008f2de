"""What the panel says about a model."""

from __future__ import annotations

from html import escape
from typing import Any

from slicer.i18n import tr as _

from ..engine.card import ModelCard
from ..engine.orientation import ANY, AXIAL, CORONAL, SAGITTAL


def summary(card: ModelCard) -> str:
    """One line below the list of models."""
    parts = [card.modality, card.anatomy]
    if "mean_dice" in card.figures:
        parts.append(_("mean Dice {dice}").format(dice=f"{card.figures['mean_dice']:.2f}"))
    return " · ".join(parts)


def about_page(card: ModelCard) -> str:
    """All that the card says, as HTML."""
    spacing = " × ".join(_("as scanned") if step is None else f"{step:g}" for step in card.spacing)
    rows = [
        (_("Version"), card.version),
        (_("Modality"), card.modality),
        (_("Structures"), ", ".join(item.name for item in card.classes)),
        *_one_piece(card),
        (_("Plane"), _plane(card)),
        (_("Spacing"), f"{spacing} mm ({_('slices × rows × columns')})"),
        (_("Licence of the data"), card.data_licence),
        *_seconds(card),
        *_origin(card),
    ]
    table = "".join(f"<tr><td><b>{escape(name)}</b>&nbsp;</td><td>{escape(text)}</td></tr>" for name, text in rows)
    failures = ""
    if card.known_failures:
        failures = f"<p><b>{escape(_('Known failures'))}:</b> {escape(card.known_failures)}</p>"
    words = f"<p>{escape(card.description)}</p>{failures}"
    return f"{words}<table>{table}</table>{_figures(card)}<p>{escape(_notice())}</p>"


def _plane(card: ModelCard) -> str:
    names = {
        AXIAL: _("axial"),
        CORONAL: _("coronal"),
        SAGITTAL: _("sagittal"),
        ANY: _("any: the scan's own slices"),
    }
    return names.get(card.plane, _("not stated"))


def _notice() -> str:
    return _("For research only, not for clinical use.")


def _one_piece(card: ModelCard) -> list[tuple[str, str]]:
    names = ", ".join(item.name for item in card.in_one_piece)
    return [(_("Small pieces are dropped of"), names)] if names else []


def _seconds(card: ModelCard) -> list[tuple[str, str]]:
    seconds = card.figures.get("seconds_per_volume")
    if not isinstance(seconds, int | float):
        return []
    return [(_("Time"), _("{seconds} s a volume on two CPU cores").format(seconds=f"{seconds:.3g}"))]


def _origin(card: ModelCard) -> list[tuple[str, str]]:
    """Where a model of a user's own comes from; nothing for bundled ones."""
    training = card.training
    if "kind" not in training:
        return []
    parent = training.get("parent")
    begun = f"{parent.get('name')} {parent.get('version')}" if isinstance(parent, dict) else _("random weights")
    cases = _("{training} for training, {validation} held out").format(
        training=training.get("training_cases"), validation=training.get("validation_cases")
    )
    return [(_("Made on"), str(training.get("date"))), (_("Begun with"), begun), (_("Cases"), cases)]


def _figures(card: ModelCard) -> str:
    after = _dice(card.figures)
    if not after:
        return ""
    measured = escape(str(card.figures.get("measured_on", "")))
    before = _dice(card.figures.get("before") or {})
    heading = f"<tr><td></td><td>{escape(_('before'))}&nbsp;</td><td>{escape(_('after'))}</td></tr>" if before else ""
    rows = "".join(
        f"<tr><td>{escape(name)}&nbsp;</td>"
        + (f"<td align='right'>{before.get(name, '–')}&nbsp;</td>" if before else "")
        + f"<td align='right'>{text}</td></tr>"
        for name, text in after.items()
    )
    return f"<p>{escape(_('Dice on'))} {measured}:</p><table>{heading}{rows}</table>"


def _dice(figures: dict[str, Any]) -> dict[str, str]:
    """Mean Dice of each class that has one, as text."""
    return {
        str(item["class"]): f"{item['dice']['mean']:.3f}"
        for item in figures.get("classes") or []
        if isinstance(item.get("dice"), dict) and item["dice"].get("mean") is not None
    }
