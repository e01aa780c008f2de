"""The README's tables of what each bundled model reaches, from the models' cards: ``make model-tables``."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
if str(REPOSITORY / "AHNetSegment") not in sys.path:
    sys.path.insert(0, str(REPOSITORY / "AHNetSegment"))

from AHNetSegmentLib.engine.card import ModelCard, read_card
from AHNetSegmentLib.engine.package import CARD_FILE, model_folders


def table(card: ModelCard) -> str:
    """A model's figures, a line for each class, in Markdown."""
    lines = [
        "| class | Dice, mean ± SD | worst case | 95 % Hausdorff | mean surface distance | volume error |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += ["| " + " | ".join(_cells(figures)) + " |" for figures in card.figures["classes"]]
    return "\n".join(lines)


def _cells(figures: Mapping[str, Any]) -> list[str]:
    dice = figures["dice"]
    return [
        str(figures["class"]),
        f"{dice['mean']:.3f} ± {dice['standard_deviation']:.3f}",
        f"{dice['worst']:.3f} ({dice['worst_case']})",
        f"{figures['hausdorff95_mm']['mean']:.1f} mm",
        f"{figures['surface_distance_mm']['mean']:.2f} mm",
        f"{figures['volume_error_ml']['mean']:+.2f} mL ({figures['volume_error_percent']['mean']:+.1f} %)",
    ]


if __name__ == "__main__":
    for folder in model_folders():
        print(f"{folder.name}\n\n{table(read_card(folder / CARD_FILE))}\n")
