"""The section Manage models: rename, export, import, delete, and where the user's models are."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..engine.errors import AHNetSegmentError, ModelError
from ..engine.library import ModelLibrary
from .installation import install_torch, torch_problem
from .library import default_library_folder, library_folder, set_library_folder
from .models import ModelShelf
from .questions import agreed
from .quiet import quiet
from .sentences import Sentence
from .timers import Once
from .worker import Worker

ZIP = ".zip"
BUSY_MS = 500
"""How often it is looked whether the worker has become free."""


class ManageSection:
    """What can be done with the chosen model, and with the folder of the user's models.

    The owner calls :meth:`update` when another model is chosen or the worker begins or ends something, and
    :meth:`close` when the module closes.

    Args:
        ui: the widgets of ``Resources/UI/ManageModels.ui`` by name.
        shelf: the models to choose from; its library is set here.
        worker: the process that opens foreign models.
        chosen: gives the name of the chosen model; empty: none.
        changed: called when the models have changed, with the name of the one to be chosen now; empty: any.
        training: whether a training goes on, which ends in the folder in which it began.
        begun_with: gives the title of a training that is not finished and begins with a model; empty: none.
    """

    def __init__(
        self,
        ui: Any,
        shelf: ModelShelf,
        worker: Worker,
        chosen: Callable[[], str],
        changed: Callable[[str], None],
        training: Callable[[], bool] = lambda: False,
        begun_with: Callable[[str], str] = lambda _name: "",
    ) -> None:
        self.ui = ui
        self.shelf = shelf
        self.worker = worker
        self._chosen = chosen
        self._changed = changed
        self._training, self._begun_with = training, begun_with
        self._shown = ""
        self._importing: object | None = None
        self._hindrances: dict[str, str] = {}
        self._look_again = Once(self.update, BUSY_MS)
        self._status = Sentence(ui.manageStatusLabel)
        ui.renameButton.connect("clicked()", self.rename)
        ui.titleEdit.connect("textChanged(QString)", lambda _text: self.update())
        ui.titleEdit.connect("returnPressed()", self._on_return)
        ui.exportButton.connect("clicked()", self.export)
        ui.importButton.connect("clicked()", self.on_import_button)
        ui.deleteButton.connect("clicked()", self.delete)
        ui.libraryButton.connect("directorySelected(QString)", self._on_folder_selected)
        ui.defaultLibraryButton.connect("clicked()", self._on_default_folder)
        self.library = ModelLibrary(library_folder())
        self._show_folder()
        self.update()

    @property
    def importing(self) -> bool:
        """Whether a model is being imported."""
        return self._importing is not None

    def close(self) -> None:
        """Drops an import without a word."""
        if self.importing:
            self.worker.cancel()
            self._importing = None
        self._say("")
        self.update()
        self._look_again.stop()

    def update(self) -> None:
        """Brings the buttons in line with the chosen model and the worker; each tool tip says what is in the way."""
        name = self._chosen()
        if name != self._shown:
            self._shown = name
            card = self.shelf.cards().get(name)
            with quiet(self.ui.titleEdit):
                self.ui.titleEdit.text = card.title if card is not None else ""
        busy = ""
        if self.worker.state == "busy":
            busy = _("Wait until the computation has ended, or cancel it.")
            # Nobody tells of the end of a run that was dropped.
            self._look_again.want()
        nothing = "" if self._folder() is not None else _("Choose a model in the list first.")
        foreign = nothing or self._foreign()
        self._enable("titleEdit", busy or foreign, _("The title in the list of models."))
        self._enable("renameButton", busy or foreign or self._same_title(), _("Gives the chosen model this title."))
        self._enable("exportButton", nothing, _("Writes the chosen model into one zip file."))
        self._enable("deleteButton", busy or foreign, _("Removes the chosen model from the library, after asking."))
        fixed = busy or (_("Wait until the training has ended, or stop it.") if self._training() else "")
        self._enable("libraryButton", fixed, _("Where your own models are. Models are not moved when you change it."))
        default = _("This is the default folder.") if self.library.folder == default_library_folder() else ""
        self._enable("defaultLibraryButton", fixed or default, _("Goes back to the folder beside Slicer's settings."))
        self._show_import_button(busy)

    def rename(self) -> None:
        """Gives the chosen model the title in the field."""
        folder = self._folder()
        if folder is not None and self._may_change("renameButton"):
            self._change(lambda: self.library.rename(folder, self.ui.titleEdit.text).name, _("Renamed."))

    def delete(self) -> None:
        """Removes the chosen model, after asking."""
        name, folder = self._chosen(), self._folder()
        if folder is None or not self._may_change("deleteButton"):
            return
        card = self.shelf.cards().get(name)
        question = _("Delete the model {title} with all its files? This cannot be undone.").format(
            title=card.title if card is not None else name
        )
        if agreed(question):
            self._change(lambda: self._delete(folder), _("Deleted."))

    def export(self) -> None:
        """Writes the chosen model into a zip file that the user names."""
        folder = self._folder()
        if folder is None:
            return
        path = self._ask_where_to(folder.name)
        if path is None:
            return
        try:
            self.library.export(folder, path)
        except AHNetSegmentError as error:
            self._fail(str(error))
            return
        self._say(_("Written: {path}").format(path=path))

    def on_import_button(self) -> None:
        """Imports a model from a zip file that the user chooses, or cancels the import that is going on."""
        if self.importing:
            self._say(_("Cancelling…"))
            self.worker.cancel()
            return
        try:
            if (problem := torch_problem()) and not install_torch(problem):
                self._say(problem)
                return
            path = qt.QFileDialog.getOpenFileName(
                self.ui.importButton, _("Import a model"), "", _("Model (*.zip)") + ";;" + _("All files (*)")
            )
            if path:
                self._import(Path(path))
        except AHNetSegmentError as error:
            self._fail(str(error))

    def set_folder(self, folder: Path | None) -> None:
        """Uses another folder for the user's models; None: the default."""
        try:
            found = set_library_folder(folder)
        except AHNetSegmentError as error:
            self._show_folder()
            self._fail(str(error))
            return
        self.library = ModelLibrary(found)
        self._show_folder()
        self._say("")
        self._tell(self._chosen())

    def _import(self, path: Path) -> None:
        this = object()

        def ended(then: Callable[..., None], *values: Any) -> None:
            if self._importing is this:
                self._importing = None
                then(*values)

        self.worker.run(
            "import_model",
            {"zip": str(path), "library": str(self.library.folder)},
            finished=lambda result: ended(self._imported, result),
            failed=lambda message: ended(self._fail, message),
            cancelled=lambda: ended(self._cancelled),
        )
        self._importing = this
        self._say(_("Checking {file}…").format(file=path.name))
        self.update()

    def _imported(self, result: dict[str, Any]) -> None:
        self._say(_("Imported: {title}").format(title=result["title"]))
        self._tell(result["name"])

    def _cancelled(self) -> None:
        known = set(self.shelf.cards())
        self.shelf.refresh()
        self._changed(self._chosen())
        new = [card.title for name, card in self.shelf.cards().items() if name not in known]
        if new:
            # It was cancelled in the moment in which it ended.
            self._say(_("It had ended already: {title} is in the list of models.").format(title=", ".join(new)))
        else:
            self._say(_("Cancelled; nothing was changed."))
        self.update()

    def _delete(self, folder: Path) -> str:
        self.library.delete(folder)
        return ""

    def _change(self, change: Callable[[], str], said: str) -> None:
        """Changes the library; ``change`` returns the name of the model that is chosen then."""
        try:
            name = change()
        except AHNetSegmentError as error:
            self._tell(self._chosen())
            self._fail(str(error))
            return
        self._say(said)
        self._tell(name)

    def _tell(self, name: str) -> None:
        """Has the list of models shown anew."""
        self.shelf.set_library(self.library.folder)
        self._shown = ""
        self._changed(name if name in self.shelf.cards() else "")
        self.update()

    def _folder(self) -> Path | None:
        """The folder of the chosen model."""
        name = self._chosen()
        if name:
            with suppress(ModelError):
                return self.shelf.folder(name)
        return None

    def _foreign(self) -> str:
        """Why the chosen model cannot be changed; empty where it can."""
        folder = self._folder()
        if folder is not None and not self.library.is_own(folder):
            return _("This model is none of your own: it came with the extension, or lies in another folder.")
        return ""

    def _still(self, button: str) -> bool:
        """Whether a button that was clicked may be clicked: the worker may have begun something meanwhile."""
        self.update()
        hindrance = self._hindrances[button]
        if hindrance:
            self._say(hindrance)
        return not hindrance

    def _may_change(self, button: str) -> bool:
        """Whether a button that was clicked may rename or delete the chosen model; says why not."""
        if not self._still(button):
            return False
        name = self._chosen()
        training = self._begun_with(name)
        if training:
            card = self.shelf.cards().get(name)
            text = _(
                "The unfinished training {training} begins with {model}: continue it to its end, or discard it, first."
            )
            self._say(text.format(training=training, model=card.title if card is not None else name))
        return not training

    def _same_title(self) -> str:
        card = self.shelf.cards().get(self._chosen())
        if card is not None and self.ui.titleEdit.text.strip() in ("", card.title):
            return _("Type another title first.")
        return ""

    def _ask_where_to(self, name: str) -> Path | None:
        chosen = qt.QFileDialog.getSaveFileName(
            self.ui.exportButton, _("Export the model"), name + ZIP, _("Model (*.zip)")
        )
        if not chosen:
            return None
        path = Path(chosen)
        if path.suffix.lower() == ZIP:
            return path
        path = path.with_name(path.name + ZIP)
        question = _("{path} exists. Replace it?").format(path=path)
        return path if not path.exists() or agreed(question) else None

    def _on_return(self) -> None:
        if not self._hindrances["renameButton"]:
            self.rename()

    def _on_folder_selected(self, folder: str) -> None:
        # The button also tells of a choice that changes nothing.
        if Path(folder) == self.library.folder:
            return
        if self._still("libraryButton"):
            self.set_folder(Path(folder))
        else:
            self._show_folder()

    def _on_default_folder(self) -> None:
        if self._still("defaultLibraryButton"):
            self.set_folder(None)

    def _show_folder(self) -> None:
        self.shelf.set_library(self.library.folder)
        with quiet(self.ui.libraryButton):
            self.ui.libraryButton.directory = str(self.library.folder)

    def _show_import_button(self, busy: str) -> None:
        button = self.ui.importButton
        button.text = _("Cancel import") if self.importing else _("Import…")
        tip = _("Adds a model from a zip file to the library, after it was checked. Nothing in it is executed.")
        if self.importing:
            busy, tip = "", _("Stops the import; nothing is changed.")
        self._enable("importButton", busy, tip)

    def _enable(self, name: str, hindrance: str, tip: str) -> None:
        widget = getattr(self.ui, name)
        self._hindrances[name] = hindrance
        widget.enabled = not hindrance
        widget.toolTip = hindrance or tip

    def _say(self, text: str) -> None:
        self._status.say(text)

    def _fail(self, message: str) -> None:
        logging.getLogger(__name__).error("%s", message)
        self._say(message)
        self.update()
        slicer.util.errorDisplay(message)
