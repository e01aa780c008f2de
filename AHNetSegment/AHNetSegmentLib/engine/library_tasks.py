"""What the worker does for the user's model library: a foreign model is opened in its process, never in Slicer's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .tasks import Context


def import_model_task(arguments: dict[str, Any], context: Context) -> dict[str, Any]:
    """Imports a model from a zip file.

    Args:
        arguments: ``zip`` (path) and ``library`` (the folder of the user's models).
        context: asked whether to stop.

    Returns:
        ``name`` and ``title`` as they are in the library, ``folder`` (path).
    """
    from .card import read_card
    from .library import ModelLibrary
    from .package import CARD_FILE
    from .tasks import require_torch

    require_torch()
    context.state("Checking the model")
    library = ModelLibrary(Path(arguments["library"]))
    folder = library.import_package(Path(arguments["zip"]), lambda: not context.cancelled)
    card = read_card(folder / CARD_FILE)
    return {"name": folder.name, "title": card.title, "folder": str(folder)}
