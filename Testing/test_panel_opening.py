"""Opening the module: what it shows itself is not taken for a person's choice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import driver

driver.require()


def test_the_folder_of_models_is_shown_and_not_chosen(
    module: Any, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CTK's button announces every folder that it is given, the one that it shows already too."""
    from AHNetSegmentLib.scene.manage import ManageSection

    taken: list[Path | None] = []
    monkeypatch.setattr(ManageSection, "set_folder", lambda _self, folder: taken.append(folder))
    widget = request.getfixturevalue("widget")
    widget.ownModels.update()
    assert not taken
    shown = widget.ownModels.manage.ui.libraryButton
    assert Path(shown.directory) == widget.ownModels.manage.library.folder


def test_a_folder_that_is_chosen_is_taken_once(widget: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from AHNetSegmentLib.scene import library, manage

    kept = library.library_folder()
    taken: list[Path | None] = []

    def noted(folder: Path | None) -> Path:
        taken.append(folder)
        return library.set_library_folder(folder)

    monkeypatch.setattr(manage, "set_library_folder", noted)
    widget.ownModels.manage.ui.libraryButton.directory = str(tmp_path)
    assert taken == [tmp_path]
    assert widget.ownModels.manage.library.folder == tmp_path
    widget.ownModels.manage.ui.libraryButton.directory = str(tmp_path)
    assert taken == [tmp_path], "nothing has changed"
    library.set_library_folder(kept)
