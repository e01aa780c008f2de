"""The section Manage models, with real clicks on real Qt widgets and a real worker process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from shutil import copytree, rmtree
from typing import Any

import pytest

import driver

driver.require()

from AHNetSegmentLib.engine.card import read_card, write_card
from AHNetSegmentLib.engine.package import CARD_FILE, WEIGHTS_FILE, load_model, save_model
from AHNetSegmentLib.engine.resources import resources_folder
from engine_helpers import random_model
from panel_helpers import tip, widget_names

UI = resources_folder() / "UI" / "ManageModels.ui"
SECONDS = 120
BUNDLED = "hippocampus-t1"
SERVER = """
from AHNetSegmentLib.engine import library_tasks, server
server.TASKS["import_model"] = library_tasks.import_model_task
server.main()
"""


@pytest.fixture(scope="session")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stored package; never written to."""
    model = random_model()
    folder = tmp_path_factory.mktemp("stored") / "tiny"
    save_model(folder, model.card, model.network.state_dict())
    return folder


@pytest.fixture
def settings(module: Any, started: None) -> Iterator[None]:
    """Slicer's settings without a library, and no model in the default one."""
    from AHNetSegmentLib.scene import library

    if not driver.settings_are_temporary():
        pytest.skip("would remove models of the person who runs this; make test-slicer has settings of its own")

    def forget() -> None:
        import qt

        qt.QSettings().remove(library.SETTING)
        rmtree(library.default_library_folder(), ignore_errors=True)

    forget()
    yield
    forget()


class Panel:
    """The section, opened, and a list of models beside it."""

    def __init__(self, worker: Any) -> None:
        import slicer

        from AHNetSegmentLib.scene.manage import ManageSection
        from AHNetSegmentLib.scene.models import ModelShelf

        self.widget = slicer.util.loadUI(str(UI))
        self.ui = slicer.util.childWidgetVariables(self.widget)
        self.widget.collapsed = False
        self.shelf, self.worker, self.chosen = ModelShelf(), worker, BUNDLED
        self.told: list[str] = []
        self.trainings: dict[str, str] = {}
        self.section = ManageSection(
            self.ui,
            self.shelf,
            worker,
            lambda: self.chosen,
            self._changed,
            begun_with=lambda name: self.trainings.get(name, ""),
        )

    def _changed(self, name: str) -> None:
        """As the panel's list of models does."""
        self.told.append(name)
        self.choose(name or next(iter(self.shelf.cards())))

    def choose(self, name: str) -> None:
        self.chosen = name
        self.section.update()

    @property
    def folder(self) -> Path:
        return Path(self.section.library.folder)

    @property
    def said(self) -> str:
        return str(self.ui.manageStatusLabel.text)

    def names(self) -> list[str]:
        return list(self.shelf.cards())

    def enabled(self) -> set[str]:
        names = ("renameButton", "exportButton", "importButton", "deleteButton", "libraryButton",
                 "defaultLibraryButton", "titleEdit")  # fmt: skip
        return {name for name in names if getattr(self.ui, name).enabled}

    def import_file(self, path: Path) -> None:
        driver.answers.append(path)
        assert driver.click(self.ui.importButton)

    def end(self) -> None:
        assert driver.pump(lambda: not self.section.importing, SECONDS)


@pytest.fixture
def panel(settings: None) -> Iterator[Panel]:
    from AHNetSegmentLib.scene import worker_process
    from AHNetSegmentLib.scene.worker import Worker
    from AHNetSegmentLib.scene.worker_process import python_program

    class OwnWorker(Worker):
        def command(self) -> tuple[str, list[str]]:
            return python_program(), ["-c", SERVER]

    found = Panel(OwnWorker())
    yield found
    found.section.close()
    found.worker.stop()
    found.widget.hide()
    found.widget.deleteLater()
    assert driver.pump(lambda: not worker_process._running, 5)


@pytest.fixture
def put(panel: Panel, stored: Path) -> Callable[..., Path]:
    """Puts a model into the library and chooses it."""

    def put_model(name: str = "tiny", title: str = "Tiny") -> Path:
        folder = Path(copytree(stored, panel.folder / name))
        write_card(folder / CARD_FILE, replace(read_card(folder / CARD_FILE), name=name, title=title))
        panel.shelf.refresh()
        panel.choose(name)
        return folder

    return put_model


@pytest.fixture
def exported(panel: Panel, stored: Path, tmp_path: Path) -> Path:
    panel.section.library.export(stored, tmp_path / "tiny.zip")
    return tmp_path / "tiny.zip"


def test_the_library_is_beside_slicer_s_settings(panel: Panel) -> None:
    import slicer

    assert panel.folder == Path(slicer.app.slicerUserSettingsFilePath).parent / "AHNetSegment" / "Models"
    assert Path(panel.ui.libraryButton.directory) == panel.folder
    assert not panel.folder.exists()
    assert not driver.messages


def test_a_bundled_model_can_only_be_exported_and_the_buttons_say_why(panel: Panel) -> None:
    assert panel.enabled() == {"exportButton", "importButton", "libraryButton"}
    for name in ("renameButton", "deleteButton", "titleEdit"):
        assert tip(getattr(panel.ui, name)).startswith("This model is none of your own")
    assert tip(panel.ui.defaultLibraryButton) == "This is the default folder."
    assert panel.ui.titleEdit.text == panel.shelf.cards()[BUNDLED].title
    panel.choose("")
    assert tip(panel.ui.exportButton) == "Choose a model in the list first."
    assert panel.enabled() == {"importButton", "libraryButton"}
    assert panel.ui.titleEdit.text == ""


def test_own_models_are_listed_after_the_bundled_ones(panel: Panel, put: Any) -> None:
    put("a-first-one")
    names = panel.names()
    assert names[-1] == "a-first-one"
    assert BUNDLED in names[:-1]


class TestRename:
    def test_a_new_title_is_shown_at_once(self, panel: Panel, put: Any) -> None:
        put()
        assert panel.ui.titleEdit.text == "Tiny"
        assert tip(panel.ui.renameButton) == "Type another title first."
        panel.ui.titleEdit.text = "My liver, v2"
        assert panel.enabled() >= {"renameButton", "deleteButton"}
        assert driver.click(panel.ui.renameButton)
        assert panel.told == ["my-liver-v2"]
        assert panel.shelf.cards()["my-liver-v2"].title == "My liver, v2"
        assert "tiny" not in panel.names()
        assert panel.ui.titleEdit.text == "My liver, v2"
        assert not panel.ui.renameButton.enabled
        assert panel.said == "Renamed."

    def test_return_renames_too(self, panel: Panel, put: Any) -> None:
        put()
        panel.ui.titleEdit.returnPressed.emit()
        assert panel.told == []
        panel.ui.titleEdit.text = "Other"
        panel.ui.titleEdit.returnPressed.emit()
        assert panel.told == ["other"]

    def test_a_taken_title_is_a_sentence_and_nothing_changes(self, panel: Panel, put: Any) -> None:
        put()
        panel.ui.titleEdit.text = panel.shelf.cards()[BUNDLED].title
        driver.click(panel.ui.renameButton)
        assert "There is already a model" in panel.said
        assert driver.messages == [("error", panel.said)]
        assert panel.chosen == "tiny"
        assert panel.shelf.cards()["tiny"].title == "Tiny"


class TestDelete:
    def test_it_asks_and_then_the_model_is_gone(self, panel: Panel, put: Any) -> None:
        folder = put()
        driver.answers.append(False)
        driver.click(panel.ui.deleteButton)
        assert driver.messages[-1] == (
            "question",
            "Delete the model Tiny with all its files? This cannot be undone.",
        )
        assert folder.exists()
        driver.answers.append(True)
        driver.click(panel.ui.deleteButton)
        assert not folder.exists()
        assert panel.told == [""]
        assert "tiny" not in panel.names()
        assert panel.said == "Deleted."

    def test_nothing_is_deleted_or_renamed_while_the_worker_computes(
        self, panel: Panel, put: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = put()
        panel.ui.titleEdit.text = "Other"
        monkeypatch.setattr(type(panel.worker), "state", "busy")
        for button in (panel.ui.deleteButton, panel.ui.renameButton):
            button.enabled = True  # nobody has told the section yet
            driver.click(button)
            assert panel.said == "Wait until the computation has ended, or cancel it."
        assert read_card(folder / CARD_FILE).title == "Tiny"

    def test_a_model_that_an_unfinished_training_begins_with_stays_as_it_is(self, panel: Panel, put: Any) -> None:
        folder = put()
        panel.trainings["tiny"] = "Mine"
        panel.ui.titleEdit.text = "Other"
        for button in (panel.ui.deleteButton, panel.ui.renameButton):
            panel.section._say("")
            assert driver.click(button)
            assert panel.said == (
                "The unfinished training Mine begins with Tiny: continue it to its end, or discard it, first."
            )
        assert read_card(folder / CARD_FILE).title == "Tiny"
        assert not driver.messages
        panel.trainings.clear()
        assert driver.click(panel.ui.renameButton)
        assert panel.said == "Renamed."

    def test_a_model_that_is_gone_meanwhile(self, panel: Panel, put: Any) -> None:
        rmtree(put())
        panel.section.update()
        assert tip(panel.ui.deleteButton) == "Choose a model in the list first."
        assert not driver.click(panel.ui.deleteButton)


class TestExport:
    def test_a_zip_file_is_written(self, panel: Panel, put: Any, tmp_path: Path) -> None:
        put()
        driver.answers.append(tmp_path / "out.zip")
        driver.click(panel.ui.exportButton)
        assert panel.said == f"Written: {tmp_path / 'out.zip'}"
        assert (tmp_path / "out.zip").is_file()

    def test_a_bundled_one_and_an_ending_that_is_missing(self, panel: Panel, tmp_path: Path) -> None:
        (tmp_path / "out.v2.zip").write_bytes(b"old")
        driver.answers.extend([tmp_path / "out.v2", False])
        driver.click(panel.ui.exportButton)
        assert driver.messages[-1] == ("question", f"{tmp_path / 'out.v2.zip'} exists. Replace it?")
        assert (tmp_path / "out.v2.zip").read_bytes() == b"old"
        driver.answers.extend([tmp_path / "out.v2", True])
        driver.click(panel.ui.exportButton)
        assert (tmp_path / "out.v2.zip").stat().st_size > 10**6

    def test_no_file_chosen_or_none_that_can_be_written(self, panel: Panel, tmp_path: Path) -> None:
        driver.answers.append("")
        driver.click(panel.ui.exportButton)
        assert panel.said == ""
        (tmp_path / "file").touch()
        driver.answers.append(tmp_path / "file" / "out.zip")
        driver.click(panel.ui.exportButton)
        assert "could not be written" in panel.said
        assert driver.messages[-1] == ("error", panel.said)


class TestImport:
    def test_the_model_is_there_and_chosen_at_once(self, panel: Panel, exported: Path) -> None:
        with driver.event_loop_gaps() as gaps:
            panel.import_file(exported)
            assert panel.section.importing
            assert panel.said == "Checking tiny.zip…"
            assert panel.ui.importButton.text == "Cancel import"
            assert panel.enabled() == {"importButton", "exportButton"}
            assert tip(panel.ui.deleteButton) == "Wait until the computation has ended, or cancel it."
            panel.end()
        assert panel.said == "Imported: Tiny"
        assert panel.told == ["tiny"]
        assert panel.names()[-1] == "tiny"
        assert panel.ui.importButton.text == "Import…"
        assert panel.enabled() >= {"importButton", "exportButton", "deleteButton"}
        assert load_model(panel.folder / "tiny")
        assert gaps.largest_ms < 1000

    def test_what_is_refused_is_a_sentence_and_nothing_stays(self, panel: Panel, exported: Path) -> None:
        content = bytearray(exported.read_bytes())
        content[len(content) // 2] ^= 1
        exported.write_bytes(content)
        panel.import_file(exported)
        panel.end()
        assert f"{exported} is damaged at {WEIGHTS_FILE}" in panel.said
        assert driver.messages[-1] == ("error", panel.said)
        assert list(panel.folder.iterdir()) == []
        assert panel.told == []
        panel.import_file(exported.with_name("nowhere.zip"))
        panel.end()
        assert "is missing or unreadable" in panel.said

    def test_the_same_model_again_is_told(self, panel: Panel, exported: Path) -> None:
        for _ in range(2):
            panel.import_file(exported)
            panel.end()
        assert "is already there: choose Tiny" in panel.said
        assert panel.section.library.names() == ["tiny"]

    def test_it_can_be_cancelled(self, panel: Panel, exported: Path) -> None:
        panel.import_file(exported)
        assert driver.click(panel.ui.importButton)
        panel.end()
        assert panel.said == "Cancelled; nothing was changed."
        assert panel.section.library.names() == []
        panel.import_file(exported)
        panel.end()
        assert panel.section.library.names() == ["tiny"]

    def test_what_ended_in_the_moment_of_the_cancel_is_shown(
        self, panel: Panel, stored: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        told: dict[str, Any] = {}
        monkeypatch.setattr(panel.worker, "run", lambda task, arguments, **callbacks: told.update(callbacks))
        panel.import_file(tmp_path / "tiny.zip")
        copytree(stored, panel.folder / "tiny")
        told["cancelled"]()
        assert panel.said == "It had ended already: Tiny is in the list of models."
        assert "tiny" in panel.names()
        assert panel.told == [BUNDLED]

    def test_no_file_chosen(self, panel: Panel) -> None:
        driver.answers.append("")
        driver.click(panel.ui.importButton)
        assert not panel.section.importing
        assert panel.said == ""

    def test_closing_drops_it_without_a_word(self, panel: Panel, exported: Path) -> None:
        panel.import_file(exported)
        panel.section.close()
        assert not panel.section.importing
        assert driver.pump(lambda: panel.worker.state != "busy", SECONDS)
        assert panel.said == ""
        assert panel.told == []
        assert not [text for kind, text in driver.messages if kind == "error"]

    def test_a_worker_that_is_busy_is_waited_for(self, panel: Panel, exported: Path) -> None:
        told: list[Any] = []
        panel.worker.run(
            "import_model",
            {"zip": str(exported), "library": str(panel.folder)},
            finished=told.append,
            failed=told.append,
            cancelled=lambda: told.append(None),
        )
        panel.import_file(exported)  # before anybody has told the section
        assert "The worker is busy" in panel.said
        assert not panel.section.importing
        assert tip(panel.ui.importButton) == "Wait until the computation has ended, or cancel it."
        assert driver.pump(lambda: told, SECONDS)
        assert driver.pump(lambda: "importButton" in panel.enabled(), 2)

    def test_without_pytorch_its_installation_is_offered(
        self, panel: Panel, exported: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from AHNetSegmentLib.scene import installation

        find = installation.find_spec
        monkeypatch.setattr(installation, "find_spec", lambda name: None if name == "torch" else find(name))
        driver.answers.append(False)
        driver.click(panel.ui.importButton)
        assert "Install PyTorch?" in driver.messages[-1][1]
        assert not panel.section.importing


class TestFolder:
    @staticmethod
    def select(panel: Panel, folder: Path) -> None:
        driver.choose_folder(panel.ui.libraryButton, folder)

    def test_another_folder_is_used_at_once_and_at_the_next_start(
        self, panel: Panel, put: Any, stored: Path, tmp_path: Path
    ) -> None:
        from AHNetSegmentLib.scene.library import library_folder

        put()
        copytree(stored, tmp_path / "Größe, 脑" / "other")
        self.select(panel, tmp_path / "Größe, 脑")
        assert library_folder() == panel.folder == tmp_path / "Größe, 脑"
        assert panel.names()[-1] == "other"
        assert "tiny" not in panel.names()
        assert panel.told == [""]
        again = Panel(panel.worker)
        assert again.folder == tmp_path / "Größe, 脑"
        assert again.names()[-1] == "other"
        assert driver.click(panel.ui.defaultLibraryButton)
        assert panel.names()[-1] == "tiny"
        assert Path(panel.ui.libraryButton.directory) == panel.folder == library_folder()

    def test_a_folder_that_cannot_be_used_is_a_sentence_and_nothing_changes(self, panel: Panel, tmp_path: Path) -> None:
        from AHNetSegmentLib.scene.library import library_folder

        before = panel.folder
        (tmp_path / "file").touch()
        self.select(panel, tmp_path / "file")
        assert "could not be used for models" in panel.said
        assert driver.messages[-1] == ("error", panel.said)
        assert library_folder() == panel.folder == before
        assert Path(panel.ui.libraryButton.directory) == before

    def test_a_folder_that_has_gone_takes_no_other_model_away(self, panel: Panel, tmp_path: Path) -> None:
        import qt

        from AHNetSegmentLib.scene.library import SETTING

        qt.QSettings().setValue(SETTING, str(tmp_path / "unplugged"))
        again = Panel(panel.worker)
        assert again.names() == panel.names()
        assert not (tmp_path / "unplugged").exists()


def test_the_section_fits_below_the_models_of_the_panel(widget: Any, settings: None) -> None:
    """It has no name in common with the panel's widgets, and Slicer's functions find all of its own."""
    import slicer

    manage = slicer.util.loadUI(str(UI))
    ui = slicer.util.childWidgetVariables(manage)
    own = widget_names(UI)
    assert own <= set(vars(ui))
    assert not own & widget_names(UI.with_name("AHNetSegment.ui"))
    layout = widget.ui.modelSection.parentWidget().layout()
    layout.insertWidget(layout.indexOf(widget.ui.modelSection) + 1, manage)
    assert layout.itemAt(2).widget() == manage
