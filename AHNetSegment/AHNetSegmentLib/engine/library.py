"""The user's own models: one folder each in a folder of the user's choice; renamed, deleted, exported and imported."""

from __future__ import annotations

import re
import shutil
import tempfile
import time
import unicodedata
import zipfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from .card import ModelCard, read_card, write_card
from .errors import ModelError, OutputError
from .package import CARD_FILE, WEIGHTS_FILE, find_model, load_model, model_folders
from .package_zip import TITLE_LENGTH, check_title, open_package, write_package
from .resources import bundled_models_folder, resources_folder

NAME_LENGTH = 60
WITHOUT_LETTERS = "model"
"""What a title without any Latin letter or digit becomes."""
DEVICES = {"aux", "con", "nul", "prn", *(f"{port}{number}" for port in ("com", "lpt") for number in range(10))}
"""Names that no folder of Windows may have."""
TEMPORARY = ".temporary-"
TRAININGS = ".training"
"""Folder in the library with a folder for each training that is not finished, called as its model will be."""
LEFT_OVER_SECONDS = 24 * 3600
"""What a process that was killed has left behind is removed by the next import when it is that old."""


class ModelLibrary:
    """The models in a folder; folders that begin with a dot are none of them.

    A model is given by its name or its folder. The models that come with the extension have no place in it, but their
    names are taken and they can be exported.

    Args:
        folder: need not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def names(self) -> list[str]:
        """The names of the models, in order."""
        return sorted(self._folders())

    def path(self, name: str | Path) -> Path:
        """The folder of a model of the library, or of any other one.

        Raises:
            ModelError: there is none; the message lists those that exist.
        """
        return self._folders().get(str(name)) or find_model(name, [self.folder])

    def is_own(self, folder: Path) -> bool:
        """Whether a model's folder belongs to the library, so that it may be renamed and deleted."""
        root = self.folder.resolve()
        return folder.parent.resolve() == root != bundled_models_folder().resolve() and folder.name in self._folders()

    def free_name(self, wanted: str, taken: Collection[str] = ()) -> str:
        """A card's name that no model and no unfinished training has, made of a title.

        Args:
            wanted: ``My liver, v2`` becomes ``my-liver-v2``, or ``my-liver-v2-2`` where that one is taken.
            taken: further names that may not be used.
        """
        return _numbered(_slug(wanted), self._taken() | set(taken))[0]

    def rename(self, name: str | Path, title: str) -> Path:
        """Gives a model another title, and its card and folder the name that fits it; all of it or nothing.

        Returns:
            The folder.

        Raises:
            ModelError: the title is empty, too long or taken, or the model is none of the library's.
            OutputError: the folder cannot be written.
        """
        folder = self._own(name, "renamed")
        card = read_card(folder / CARD_FILE)
        try:
            title = check_title(title)
        except ValueError as error:
            raise ModelError(f"The model {card.title} was not renamed: {error}.") from error
        target = self.folder / self._name_for(title, folder)
        try:
            folder.rename(target)
        except OSError as error:
            raise OutputError(_sentence(folder, "renamed", error, "close what uses it and try again")) from error
        try:
            write_card(target / CARD_FILE, replace(card, name=target.name, title=title))
        except OutputError:
            with suppress(OSError):
                target.rename(folder)
            raise
        return target

    def delete(self, name: str | Path) -> None:
        """Removes a model with all its files.

        Raises:
            ModelError: the model is none of the library's.
            OutputError: it cannot be removed; it is then still there, or at least listed no more.
        """
        folder = self._own(name, "deleted")
        try:
            hidden = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=self.folder)) / folder.name
            try:
                folder.rename(hidden)
            finally:
                shutil.rmtree(hidden.parent)
        except OSError as error:
            raise OutputError(_sentence(folder, "deleted", error, "close what uses it and try again")) from error

    def export(self, name: str | Path, zip_path: Path) -> None:
        """Writes a model, also one that comes with the extension, into one zip file.

        Raises:
            ModelError: there is none of that name, or it is incomplete or changed.
            OutputError: the zip file cannot be written; an existing one is left as it was.
        """
        write_package(Path(zip_path), self.path(name))

    def import_package(self, zip_path: Path, go_on: Callable[[], bool] | None = None) -> Path:
        """Puts a model from a zip file into the library, once all of it was checked; needs PyTorch.

        Where its name is taken, card and folder get a number. Nothing in the file is executed.

        Args:
            zip_path: as :meth:`export` writes it.
            go_on: asked now and then; False stops.

        Returns:
            The new folder.

        Raises:
            ModelError: the file is no model, damaged, changed or unsafe, or the same model is there already.
            OutputError: the library cannot be written.
            Cancelled: ``go_on`` returned False.
        """
        used_folder(self.folder)
        with open_package(zip_path) as package:
            self._refuse_the_same(package.card, package.path)
            card = self._free_card(package.card)
            with self._new_folder(card.name) as beside:
                package.extract(beside, go_on)
                write_card(beside / CARD_FILE, card)
                _check_weights(beside, package.path)
        return self.folder / card.name

    def adopt(self, package: Path, training: str = "") -> ModelCard:
        """Moves a finished package into the library.

        Where its name is taken, card and folder get a number; no model is ever replaced.

        Args:
            package: a folder on the library's drive.
            training: name of the unfinished training that it comes from; that one may have the package's name.

        Returns:
            The card as it is in the library.

        Raises:
            ModelError: the package cannot be read.
            OutputError: the library cannot be written; the package stays where it is.
        """
        used_folder(self.folder)
        card = self._free_card(read_card(package / CARD_FILE), training)
        write_card(package / CARD_FILE, card)
        try:
            package.rename(self.folder / card.name)
        except OSError as error:
            raise OutputError(_sentence(self.folder, "written", error)) from error
        return card

    def _folders(self) -> dict[str, Path]:
        return {folder.name: folder for folder in _entries(self.folder) if (folder / CARD_FILE).is_file()}

    def _taken(self, training: str = "") -> set[str]:
        """What a new folder may not be called, in lower case; the training's own name is not taken for its model."""
        models = {entry.name.lower() for root in (bundled_models_folder(), self.folder) for entry in _entries(root)}
        return models | (self._trainings() - {training.lower()})

    def _trainings(self) -> set[str]:
        return {entry.name.lower() for entry in _entries(self.folder / TRAININGS)}

    def _own(self, name: str | Path, what: str) -> Path:
        """The folder of a model that is the user's to change."""
        folder = self.path(name)
        if self.is_own(folder):
            return self.folder / folder.name
        if folder.parent.resolve() == bundled_models_folder().resolve():
            reason = "comes with the extension"
        else:
            reason = f"lies outside of the library {self.folder}"
        raise ModelError(f"The model {name} {reason} and cannot be {what}; choose one of your own models.")

    def _name_for(self, title: str, folder: Path) -> str:
        """The name that fits a model's new title; raises ModelError where another model has this title or name."""
        others = self._taken() - {folder.name.lower()}
        # A name can leave out much of a title in another script, so that it says nothing about the title being taken.
        taken = title.isascii() and _slug(title) in others
        if taken or title.casefold() in self._titles(folder):
            what = "an unfinished training" if _slug(title) in self._trainings() else "a model"
            raise ModelError(f"There is already {what} {title}; choose another title.")
        return _numbered(_slug(title), others)[0]

    def _free_card(self, card: ModelCard, training: str = "") -> ModelCard:
        """The card with its name, or where that is taken or of no use as a folder's, with another one."""
        usable = len(card.name) <= NAME_LENGTH and card.name not in DEVICES
        name, number = _numbered(card.name if usable else _slug(card.name), self._taken(training))
        if number == 1:
            return replace(card, name=name)
        ending = f" ({number})"
        return replace(card, name=name, title=card.title[: TITLE_LENGTH - len(ending)] + ending)

    def _titles(self, without: Path) -> set[str]:
        titles = set()
        for folder in model_folders([self.folder]):
            if folder != without:
                with suppress(ModelError):
                    titles.add(read_card(folder / CARD_FILE).title.casefold())
        return titles

    def _refuse_the_same(self, card: ModelCard, zip_path: Path) -> None:
        """Raises ModelError where the model is there, be it with a number that an import has given it."""
        for folder in (*model_folders(), *self._folders().values()):
            if re.fullmatch(rf"{re.escape(card.name)}(-\d+)?", folder.name):
                with suppress(ModelError):
                    there = read_card(folder / CARD_FILE)
                    if there.weights_sha256 == card.weights_sha256 and (folder / WEIGHTS_FILE).is_file():
                        break
        else:
            return
        raise ModelError(f"The model of {zip_path} is already there: choose {there.title} in the list of models.")

    @contextmanager
    def _new_folder(self, name: str) -> Iterator[Path]:
        """Gives a hidden folder to fill, which becomes a model's when the block succeeds; never replaces one."""
        self._remove_left_over()
        beside = None
        try:
            beside = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=self.folder))
            yield beside
            beside.chmod(0o755)
            beside.rename(self.folder / name)
        except OSError as error:
            raise OutputError(_sentence(self.folder, "written", error)) from error
        finally:
            if beside is not None:
                shutil.rmtree(beside, ignore_errors=True)

    def _remove_left_over(self) -> None:
        for folder in self.folder.glob(f"{TEMPORARY}*"):
            with suppress(OSError):
                if time.time() - folder.stat().st_mtime > LEFT_OVER_SECONDS:
                    shutil.rmtree(folder, ignore_errors=True)


def used_folder(path: Path) -> Path:
    """Makes a folder of models where it is missing, and tries whether it can be written.

    Raises:
        OutputError: it cannot be made or written, or belongs to the extension.
    """
    path = Path(path)
    try:
        if resources_folder().resolve() in (path.resolve(), *path.resolve().parents):
            raise OutputError(f"The folder {path} belongs to the extension; choose one that an update leaves alone.")
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()
    except OSError as error:
        raise OutputError(_sentence(path, "used for models", error)) from error
    return path


def _check_weights(folder: Path, zip_path: Path) -> None:
    """Opens a model that lies in a temporary folder; raises ModelError, naming the zip file, where that fails."""
    try:
        _check_stored(folder / WEIGHTS_FILE)
        load_model(folder).release()
    except ModelError as error:
        raise ModelError(str(error).replace(str(folder), str(zip_path))) from error
    except (ArithmeticError, MemoryError, RuntimeError, ValueError) as error:
        raise ModelError(f"The network that {zip_path} describes cannot be built; choose another model.") from error


def _check_stored(weights: Path) -> None:
    """Raises ModelError where a weight file is compressed inside: it could become any size in memory."""
    if zipfile.is_zipfile(weights):
        try:
            with zipfile.ZipFile(weights) as archive:
                compressed = any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist())
        except Exception as error:  # what the reader raises is up to the damaged or hostile file
            raise ModelError(f"The weight file {weights} is damaged; get the model again.") from error
        if compressed:
            raise ModelError(f"The weight file {weights} is compressed inside, as none is; get the model again.")


def _slug(title: str) -> str:
    """A title in small Latin letters, digits and hyphens."""
    plain = unicodedata.normalize("NFKD", title.casefold()).encode("ascii", "ignore").decode("ascii")
    slug = re.sub(r"[^a-z0-9]+", "-", plain)[:NAME_LENGTH].strip("-") or WITHOUT_LETTERS
    return f"{slug}-{WITHOUT_LETTERS}" if slug in DEVICES else slug


def _numbered(slug: str, taken: Collection[str]) -> tuple[str, int]:
    """The name itself and 1, or with the first number behind it that is free."""
    name, number = slug, 1
    while name in taken:
        number += 1
        name = f"{slug}-{number}"
    return name, number


def _entries(folder: Path) -> list[Path]:
    """What lies in a folder and is not hidden; nothing where it cannot be read."""
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError:
        return []


def _sentence(
    folder: Path, what: str, error: OSError, remedy: str = "choose one that you may write to, with free space"
) -> str:
    return f"The folder {folder} could not be {what} ({(error.strerror or str(error)).lower()}); {remedy}."
