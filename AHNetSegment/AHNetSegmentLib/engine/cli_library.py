"""The commands of the user's model library: ``export``, ``import``, ``rename`` and ``delete``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Protocol

from .errors import ModelError
from .library import ModelLibrary


class Stop(Protocol):
    """Whether the user has asked to stop."""

    asked: bool


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    """Adds the commands.

    Args:
        commands: what ``add_subparsers`` returns.
        common: options of all commands, ``--models`` and ``--quiet`` among them.
    """
    library = argparse.ArgumentParser(add_help=False)
    library.add_argument("--library", type=Path, required=True, metavar="FOLDER", help="folder of your own models")

    item = commands.add_parser("export", parents=[common], help="write a model into one zip file")
    item.add_argument("name", help="name of a model, or its folder")
    item.add_argument("zip", type=Path, help="file to write")
    item.set_defaults(run=_export)

    item = commands.add_parser("import", parents=[common, library], help="add a model from a zip file, once checked")
    item.add_argument("zip", type=Path, help="file that export has written")
    item.set_defaults(run=_import)

    item = commands.add_parser("rename", parents=[common, library], help="give a model of your own another title")
    item.add_argument("name", help="name of the model")
    item.add_argument("title", help="the new title; the new name is made of it")
    item.set_defaults(run=_rename)

    item = commands.add_parser("delete", parents=[common, library], help="remove a model of your own")
    item.add_argument("name", help="name of the model")
    item.add_argument("--yes", action="store_true", help="really: it cannot be undone")
    item.set_defaults(run=_delete)


def _export(options: argparse.Namespace, _stop: Stop) -> None:
    from .package import find_model
    from .package_zip import write_package

    write_package(options.zip, find_model(options.name, options.models))
    _say(options, f"Written: {options.zip}")


def _import(options: argparse.Namespace, stop: Stop) -> None:
    folder = ModelLibrary(options.library).import_package(options.zip, lambda: not stop.asked)
    _say(options, f"Written: {folder}")


def _rename(options: argparse.Namespace, _stop: Stop) -> None:
    folder = ModelLibrary(options.library).rename(options.name, options.title)
    _say(options, f"Written: {folder}")


def _delete(options: argparse.Namespace, _stop: Stop) -> None:
    library = ModelLibrary(options.library)
    if not options.yes:
        raise ModelError(f"{library.path(options.name)} was not deleted, which cannot be undone; add --yes to do it.")
    library.delete(options.name)
    _say(options, f"Deleted: {options.name}")


def _say(options: argparse.Namespace, text: str) -> None:
    if not options.quiet:
        print(text)
