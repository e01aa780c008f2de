"""Text in pictures, on a machine without fonts too."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from PySide6 import QtGui

FAMILY = "DejaVu Sans"
SIZE_PT = 9


def font_files() -> list[Path]:
    """DejaVu Sans from the wheel of matplotlib, which vtk's wheel requires."""
    found = importlib.util.find_spec("matplotlib")
    if found is None or found.origin is None:
        return []
    return sorted((Path(found.origin).parent / "mpl-data" / "fonts" / "ttf").glob("DejaVuSans*.ttf"))


def use(app: QtGui.QGuiApplication) -> None:
    """The same font everywhere, so that pictures of a panel look alike on all machines."""
    for path in font_files():
        QtGui.QFontDatabase.addApplicationFont(str(path))
    if FAMILY in QtGui.QFontDatabase.families():
        app.setFont(QtGui.QFont(FAMILY, SIZE_PT))
