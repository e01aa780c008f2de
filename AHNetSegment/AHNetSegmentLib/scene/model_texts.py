"""What the panel says about a model."""

from __future__ import annotations

from html import escape

from slicer.i18n import tr as _

from ..engine.card import ModelCard


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
        (_("Spacing"), f"{spacing} mm ({_('slices × rows × columns')})"),
        (_("Licence of the data"), card.data_licence),
    ]
    table = "".join(f"<tr><td><b>{escape(name)}</b>&nbsp;</td><td>{escape(text)}</td></tr>" for name, text in rows)
    return f"<p>{escape(card.description)}</p><table>{table}</table>{_figures(card)}<p>{escape(_notice())}</p>"


def _notice() -> str:
    return _("For research only, not for clinical use.")


def _figures(card: ModelCard) -> str:
    classes = card.figures.get("classes") or []
    if not classes:
        return ""
    measured = escape(str(card.figures.get("measured_on", "")))
    rows = "".join(
        f"<tr><td>{escape(str(item['class']))}&nbsp;</td><td align='right'>{item['dice']['mean']:.3f}</td></tr>"
        for item in classes
        if isinstance(item.get("dice"), dict) and item["dice"].get("mean") is not None
    )
    return f"<p>{escape(_('Dice on'))} {measured}:</p><table>{rows}</table>"
