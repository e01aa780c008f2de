"""One process at a time in a folder: it holds a locked file, which the system lets go when the process ends or dies."""

from __future__ import annotations

import errno
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from .errors import OutputError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LOCK_FILE = "lock"
WAIT_SECONDS = 3.0
"""So long is waited for a process that is about to end: Slicer kills a worker half a second after it let it go."""
POLL_SECONDS = 0.05
TAKEN = (errno.EACCES, errno.EAGAIN)


@contextmanager
def locked_folder(folder: Path, wait_seconds: float = WAIT_SECONDS) -> Iterator[None]:
    """Keeps other processes out of a folder while the block runs; the folder is made where it is missing.

    The file of the lock stays: only a process that lives holds it. Where the drive knows no locks, nobody is kept out.

    Args:
        folder: of one training.
        wait_seconds: before it is given up.

    Raises:
        OutputError: another process is in the folder, or it cannot be written.
    """
    path = Path(folder) / LOCK_FILE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
    except OSError as error:
        raise OutputError(
            f"{path} could not be written ({(error.strerror or str(error)).lower()}); choose a folder that you may "
            "write to, with free space."
        ) from error
    with file:
        end = time.monotonic() + wait_seconds
        while not _lock(file):
            if time.monotonic() > end:
                raise OutputError(
                    f"The training in {folder} already goes on in another process, perhaps in a second Slicer; wait "
                    "until it has ended, or stop it there."
                )
            time.sleep(POLL_SECONDS)
        try:
            yield
        finally:
            _unlock(file)


def is_locked(folder: Path) -> bool:
    """Whether another process is in the folder."""
    try:
        with (Path(folder) / LOCK_FILE).open("rb+") as file:
            free = _lock(file)
            if free:
                _unlock(file)
            return not free
    except OSError:
        return False


def _lock(file: BinaryIO) -> bool:
    """Whether the file is ours now."""
    try:
        if sys.platform == "win32":
            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            # Not flock: processes that prepare batches would inherit the lock and outlive the one that trains.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in TAKEN
    return True


def _unlock(file: BinaryIO) -> None:
    try:
        if sys.platform == "win32":
            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)
        else:
            fcntl.lockf(file, fcntl.LOCK_UN)
    except OSError:
        # It was never locked on a drive that knows no locks.
        return
