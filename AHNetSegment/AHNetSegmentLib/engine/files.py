"""Writing without loss: beside the target first, then renamed over it in one step."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import OutputError


def file_suffix(path: Path) -> str:
    """The file's ending with the double endings of medical images kept whole (``.nii.gz``, ``.seg.nrrd``)."""
    name = path.name.lower()
    for ending in (".nii.gz", ".seg.nrrd"):
        if name.endswith(ending):
            return ending
    return path.suffix.lower()


def write_file(path: Path, write: Callable[[Path], None]) -> None:
    """Calls ``write`` with a path beside ``path`` and renames the result over ``path``.

    The temporary file keeps the target's ending, since image writers choose their format by it.

    Raises:
        OutputError: the folder is missing or read-only, or the disk is full; an existing ``path`` is left as it was.
    """
    path = Path(path)
    beside = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(beside)
        with beside.open("rb+") as written:
            os.fsync(written.fileno())
        os.replace(beside, path)
    except (OSError, RuntimeError) as error:
        raise OutputError(
            f"{path} could not be written ({_reason(error)}); choose a folder that you may write to, with free space."
        ) from error
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text through :func:`write_file`."""

    def write(beside: Path) -> None:
        beside.write_text(text, encoding="utf-8", newline="\n")

    write_file(path, write)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Gives an empty folder beside ``path`` to fill, and puts it in place of ``path`` when the block succeeds.

    Raises:
        OutputError: the folder cannot be written; an existing ``path`` is left as it was.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise _folder_error(path, error) from error
    old = beside.with_name(f"{beside.name}.old")
    try:
        yield beside
        beside.chmod(0o755)
        if path.exists():
            os.replace(path, old)
        os.replace(beside, path)
    except (OSError, RuntimeError) as error:
        if old.exists() and not path.exists():
            os.replace(old, path)
        raise _folder_error(path, error) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def sha256(path: Path) -> str:
    """The file's SHA-256 as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _folder_error(path: Path, error: Exception) -> OutputError:
    return OutputError(
        f"The folder {path} could not be written ({_reason(error)}); choose one that you may write to, with free space."
    )


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
