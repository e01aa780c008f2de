"""Where the user's own models are inside Slicer: beside its settings, or where the user wants them."""

from __future__ import annotations

from pathlib import Path

import qt
import slicer

from ..engine.library import used_folder

SETTING = "AHNetSegment/ModelLibrary"


def default_library_folder() -> Path:
    """A folder beside Slicer's settings, which an update of Slicer or of the extension leaves alone."""
    return Path(slicer.app.slicerUserSettingsFilePath).parent / "AHNetSegment" / "Models"


def library_folder() -> Path:
    """The folder of the user's models; it need not exist yet."""
    chosen = qt.QSettings().value(SETTING)
    return Path(str(chosen)) if chosen else default_library_folder()


def set_library_folder(folder: Path | None) -> Path:
    """Chooses the folder of the user's models, for this and the next starts of Slicer; models are not moved.

    Args:
        folder: None: the default.

    Raises:
        OutputError: it cannot be made or written; the choice is left as it was.
    """
    found = used_folder(folder or default_library_folder())
    if found == default_library_folder():
        qt.QSettings().remove(SETTING)
    else:
        qt.QSettings().setValue(SETTING, str(found))
    return found
