"""The models that panel and console offer."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..engine.card import ModelCard, read_card
from ..engine.errors import ModelError
from ..engine.package import CARD_FILE, find_model, model_folders
from ..engine.resources import bundled_models_folder


class ModelShelf:
    """The bundled models and those in further folders, with their cards.

    Args:
        roots: the further folders that hold models.
        library: the folder of the user's models; None: there is none.
    """

    def __init__(self, roots: Sequence[Path] = (), library: Path | None = None) -> None:
        self._more = list(roots)
        self._library = library
        self._cards: dict[str, ModelCard] | None = None

    def add_root(self, folder: Path) -> None:
        """Also offers the models in a folder."""
        self._more.append(Path(folder))
        self.refresh()

    def set_library(self, folder: Path | None) -> None:
        """Offers the user's models in this folder instead of those in the one before."""
        self._library = folder
        self.refresh()

    def refresh(self) -> None:
        """Forgets the cards: what was added, changed or removed since then is seen."""
        self._cards = None

    def cards(self) -> dict[str, ModelCard]:
        """Each model's card by its name, bundled ones first; a package whose card cannot be read is passed over."""
        if self._cards is None:
            self._cards = {}
            bundled = bundled_models_folder()
            for folder in sorted(model_folders(self._roots()), key=lambda folder: folder.parent != bundled):
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
        return find_model(name, self._roots())

    def _roots(self) -> list[Path]:
        roots = self._more if self._library is None else [self._library, *self._more]
        # A drive that is gone, or a folder of somebody else, must not take the other models away.
        return [root for root in roots if os.access(root, os.R_OK | os.X_OK)]
