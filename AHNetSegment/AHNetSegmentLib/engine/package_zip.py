"""A model package as one zip file: how it is written, and what is checked before anything of a foreign one is used."""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from .card import ModelCard, read_card
from .errors import Cancelled, ModelError
from .files import sha256, write_file
from .package import CARD_FILE, WEIGHTS_FILE

RECIPE_FILE = "recipe.toml"
LIMITS = {CARD_FILE: 10**6, WEIGHTS_FILE: 400 * 10**6, RECIPE_FILE: 10**6}
"""The members of a package's zip file and how many bytes each may have."""
MOST_BOTTLENECKS = 1000
"""Of a network that is built to look whether weights fit it; ResNet-152 has 50."""
TITLE_LENGTH = 100
BLOCK_BYTES = 2**20
ENCRYPTED = 0x01 | 0x40
DOS_FOLDER = 0x10


def write_package(zip_path: Path, folder: Path) -> None:
    """Writes a package into a zip file; the same package always gives the same bytes.

    Raises:
        ModelError: the package is incomplete, or its weights are not those that its card names.
        OutputError: the zip file cannot be written; an existing one is left as it was.
    """
    weights = folder / WEIGHTS_FILE
    card = read_card(folder / CARD_FILE)
    if not weights.is_file():
        raise ModelError(f"The weight file {weights} is missing; import or reinstall the model.")
    if sha256(weights) != card.weights_sha256:
        raise ModelError(
            f"The weight file {weights} is not the one that its card names; import or reinstall the model."
        )
    members = [folder / name for name in LIMITS if (folder / name).is_file()]
    for member in members:
        if member.stat().st_size > LIMITS[member.name]:
            raise ModelError(f"{member} has more than {_megabytes(LIMITS[member.name])}; make it smaller to export it.")

    def write(beside: Path) -> None:
        with zipfile.ZipFile(beside, "w", zipfile.ZIP_STORED) as archive:
            for member in members:
                with member.open("rb") as source, archive.open(_plain_entry(member), "w") as target:
                    shutil.copyfileobj(source, target, BLOCK_BYTES)

    write_file(zip_path, write)


def _plain_entry(member: Path) -> zipfile.ZipInfo:
    """An entry without anything of this machine: the date is zip's first day."""
    entry = zipfile.ZipInfo(member.name)
    entry.create_system = 3
    entry.external_attr = (stat.S_IFREG | 0o644) << 16
    entry.file_size = member.stat().st_size
    return entry


class PackageReader:
    """A zip file whose members and card are those of a model package.

    Args:
        path: the zip file, for messages.
        archive: it, open.

    Raises:
        ModelError: a member is foreign, twice there, no plain file, encrypted or too large; or the card is wrong.
    """

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.path = path
        self._archive = archive
        self._members: dict[str, zipfile.ZipInfo] = {}
        for entry in archive.infolist():
            self._check_entry(entry)
            self._members[entry.orig_filename] = entry
        for name in (CARD_FILE, WEIGHTS_FILE):
            if name not in self._members:
                raise ModelError(f"{path} holds no {name}, so it is no model; choose a file that Export has written.")
        self.card = self._read_card()

    def extract(self, folder: Path, go_on: Callable[[], bool] | None = None) -> None:
        """Writes all but the card into a folder.

        Args:
            folder: exists.
            go_on: asked before each block; False stops.

        Raises:
            ModelError: a member is damaged or larger than it may be, or the weights are not those of the card.
            OSError: the folder cannot be written.
            Cancelled: ``go_on`` returned False.
        """
        for name in self._members.keys() - {CARD_FILE}:
            digest = hashlib.sha256()
            with (folder / name).open("xb") as file:
                for block in self._blocks(name):
                    if go_on is not None and not go_on():
                        raise Cancelled("The import was stopped; nothing was changed.")
                    digest.update(block)
                    file.write(block)
            if name == WEIGHTS_FILE and digest.hexdigest() != self.card.weights_sha256:
                raise ModelError(
                    f"The weights in {self.path} are not those that its card names; get the file again from a source "
                    "that you trust."
                )

    def _check_entry(self, entry: zipfile.ZipInfo) -> None:
        name = entry.orig_filename
        if name not in LIMITS:
            raise ModelError(
                f"{self.path} holds {ascii(name)[:80]}, but a model has only {', '.join(LIMITS)}, in no folder; "
                "choose a file that Export has written."
            )
        if name in self._members:
            self._refuse(f"holds {name} twice")
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG) or entry.external_attr & DOS_FOLDER:
            self._refuse(f"holds {name} as something else than a plain file")
        if entry.flag_bits & ENCRYPTED:
            self._refuse(f"holds an encrypted {name}")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            self._refuse(f"holds {name} in an unusual compression")
        if entry.file_size > LIMITS[name]:
            self._refuse_size(name)

    def _blocks(self, name: str) -> Iterator[bytes]:
        """A member's bytes; what its entry says of its size is not relied on."""
        left = LIMITS[name]
        try:
            with self._archive.open(self._members[name]) as file:
                while block := file.read(BLOCK_BYTES):
                    left -= len(block)
                    if left < 0:
                        self._refuse_size(name)
                    yield block
        except ModelError:
            raise
        except Exception as error:  # what the reader raises is up to the damaged or hostile file
            raise ModelError(f"{self.path} is damaged at {name}; get it again, or export the model again.") from error

    def _read_card(self) -> ModelCard:
        try:
            data = json.loads(b"".join(self._blocks(CARD_FILE)).decode("utf-8"))
            if not isinstance(data, dict):
                raise ValueError("it must hold one JSON object")
            card = ModelCard.from_dict(data)
            card = replace(card, title=check_title(card.title))
            _check_figures(card.figures)
            if sum(card.network.layers) > MOST_BOTTLENECKS:
                raise ValueError(f"its network has more than {MOST_BOTTLENECKS} bottlenecks")
            json.dumps(card.to_dict())
        except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
            reason = str(error).rstrip(".")
            raise ModelError(f"The {CARD_FILE} in {self.path} is no valid model card: {reason}.") from error
        return card

    def _refuse_size(self, name: str) -> NoReturn:
        self._refuse(f"holds {name} with more than {_megabytes(LIMITS[name])}")

    def _refuse(self, what: str) -> NoReturn:
        raise ModelError(f"{self.path} {what}, which no model has; choose a file that Export has written.")


@contextmanager
def open_package(path: Path) -> Iterator[PackageReader]:
    """Opens a zip file for reading and checks its members and its card; nothing is written.

    Raises:
        ModelError: it is missing, no zip file, cut off, or no model: see :class:`PackageReader`.
    """
    path = Path(path)
    try:
        if path.stat().st_size > BLOCK_BYTES + sum(LIMITS.values()):
            raise ModelError(f"{path} is too large for a model; choose a file that Export has written.")
        archive = zipfile.ZipFile(path)
    except OSError as error:
        raise ModelError(f"{path} is missing or unreadable; choose another file.") from error
    except ModelError:
        raise
    except Exception as error:  # what the reader raises is up to the damaged or hostile file
        raise ModelError(f"{path} is no zip file, or is cut off; choose a file that Export has written.") from error
    with archive:
        yield PackageReader(path, archive)


def check_title(title: str) -> str:
    """The title without needless spaces; raises ValueError where a list could not show it."""
    title = " ".join(title.split())
    if not title or not title.isprintable() or len(title) > TITLE_LENGTH:
        raise ValueError(f"the title must have 1 to {TITLE_LENGTH} characters that can be shown")
    return title


def _check_figures(figures: dict[str, Any]) -> None:
    """Raises ValueError where lists of models could not show the figures."""
    if not isinstance(figures.get("mean_dice", 0.0), int | float):
        raise ValueError("'mean_dice' in 'figures' must be a number")
    classes = figures.get("classes") or []
    if not isinstance(classes, list) or not all(isinstance(item, dict) and "class" in item for item in classes):
        raise ValueError("'classes' in 'figures' must be a list of objects with the field 'class'")
    for item in classes:
        dice = item.get("dice")
        if isinstance(dice, dict) and not isinstance(dice.get("mean"), int | float | None):
            raise ValueError("the mean Dice of each class in 'figures' must be a number")


def _megabytes(size: int) -> str:
    return f"{size // 10**6} MB"
