"""The models that panel and console offer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..engine.card import ModelCard, read_card
from ..engine.errors import ModelError
from ..engine.package import CARD_FILE, find_model, model_folders


class ModelShelf:
    """The bundled models and those in further folders, with their cards.

    Args:
        roots: the further folders that hold models.
    """

    def __init__(self, roots: Sequence[Path] = ()) -> None:
        self._roots = list(roots)
        self._cards: dict[str, ModelCard] | None = None

    def add_root(self, folder: Path) -> None:
        """Also offers the models in a folder."""
        self._roots.append(Path(folder))
        self._cards = None

    def cards(self) -> dict[str, ModelCard]:
        """Each model's card by its name; a package whose card cannot be read is passed over."""
        if self._cards is None:
            self._cards = {}
            for folder in model_folders(self._roots):
                try:
                    card = read_card(folder / CARD_FILE)
                except ModelError:
                    continue
                self._cards[folder.name] = card
        return self._cards

    def folder(self, name: str | Path) -> Path:
        """The folder of a model given by its name or its folder.

        Raises:
            ModelError: there is none any more; the message lists those that exist.
        """
        return find_model(name, self._roots)
