"""A temporary folder through which voxels go to the worker and results come back.

The files in it are called ``volume.npy`` and the like: no name, no identifier of a patient is on the disk.
"""

from __future__ import annotations

import errno
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..engine.errors import OutputError
from ..engine.volume import Array
from .timers import later

PREFIX = "ahnet-segment-"
OUTPUT = "output"
TURN_BYTES = 16 * 2**20
"""No more is written in one turn of the event loop ..."""
TURN_SECONDS = 0.03
"""... and no more is begun after that time."""
PIECE_BYTES = 2 * 2**20
REMOVE_AGAIN_MS = (100, 1_000, 5_000)
"""Windows keeps files that a process, or an array that was read, still holds: they are removed later."""


class Exchange:
    """A new temporary folder; it is removed by :meth:`close`, when this is let go, and when Python ends.

    Args:
        parent: where to make it; None: Slicer's temporary folder, or else the system's.

    Raises:
        OutputError: it cannot be made.
    """

    def __init__(self, parent: Path | None = None) -> None:
        parent = Path(parent) if parent is not None else temporary_folder()
        try:
            self.folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
            (self.folder / OUTPUT).mkdir()
        except OSError as error:
            raise OutputError(_sentence(parent, error)) from error
        self._remove = weakref.finalize(self, shutil.rmtree, str(self.folder), ignore_errors=True)
        self._writing: Writing | None = None

    @property
    def output(self) -> Path:
        """An empty folder for the worker's results."""
        return self.folder / OUTPUT

    @property
    def closed(self) -> bool:
        """Whether the folder was given up."""
        return not self._remove.alive

    def write(self, name: str, array: Array, finished: Callable[[Path], None], failed: Callable[[str], None]) -> None:
        """Writes an array into ``<name>.npy``, piece by piece in the event loop.

        Exactly one of ``finished`` and ``failed`` is called, later, from the event loop; neither after :meth:`close`.
        One array is written at a time.

        Args:
            name: says what the array is, not whose.
            array: any shape and layout; it is not copied as a whole.
            finished: gets the file's path.
            failed: gets one sentence.
        """
        if self.closed or self._writing is not None:
            raise RuntimeError("the exchange is closed or writes another array")
        path = self.folder / f"{name}.npy"

        def end(reason: OSError | None) -> None:
            self._writing = None
            if reason is None:
                finished(path)
            else:
                failed(_sentence(self.folder.parent, reason))

        self._writing = Writing(path, array, end)
        self._writing.start()

    def read(self, path: str | Path) -> Array:
        """An array that the worker wrote, memory-mapped and read-only: let go of it before :meth:`close`.

        Raises:
            OutputError: it is not there or no array.
        """
        try:
            array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise OutputError(
                f"The result could not be read from the temporary folder {self.folder.parent}; choose another one in "
                "Slicer's Application Settings."
            ) from error
        return array

    def close(self) -> None:
        """Stops writing and removes the folder. Harmless when it was done before."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.stop()
        self._remove()
        remove_later(self.folder)


class Writing:
    """An array on its way into a file, piece by piece in the event loop.

    Args:
        path: the ``.npy`` file, in a folder that exists.
        array: any shape and layout; it is not copied as a whole.
        end: called once, from the event loop, with what went wrong, or None; not after :meth:`stop`.
    """

    def __init__(self, path: Path, array: Array, end: Callable[[OSError | None], None]) -> None:
        self._path, self._array, self._end = path, array, end
        self._file: BinaryIO | None = None
        self._pieces: Iterator[Array] = iter(())
        self._over = False

    def start(self) -> None:
        """Begins."""
        later(0, self._turn)

    def stop(self) -> None:
        """Leaves the file as it is and lets go of the array. Harmless when it has ended."""
        self._over = True
        self._let_go()

    def _turn(self) -> None:
        if self._over:
            return
        try:
            goes_on = self._write()
        except OSError as error:
            self.stop()
            self._end(error)
            return
        if goes_on:
            self.start()
        else:
            self._over = True
            self._end(None)

    def _write(self) -> bool:
        """Writes what one turn may; returns whether there is more."""
        if self._file is None:
            self._begin()
        assert self._file is not None
        began, written = time.monotonic(), 0
        while written + PIECE_BYTES <= TURN_BYTES and time.monotonic() - began < TURN_SECONDS:
            piece = next(self._pieces, None)
            if piece is None:
                self._file.close()
                self._let_go()
                return False
            self._file.write(piece.data if piece.flags.c_contiguous else piece.tobytes())
            written += piece.nbytes
        return True

    def _begin(self) -> None:
        free = shutil.disk_usage(self._path.parent).free
        if self._array.nbytes > free:
            raise OSError(
                errno.ENOSPC, f"{free / 2**20:.0f} MB are free, {self._array.nbytes / 2**20:.0f} MB are needed"
            )
        self._file = self._path.open("wb")
        header = {
            "descr": np.lib.format.dtype_to_descr(self._array.dtype),
            "fortran_order": False,
            "shape": self._array.shape,
        }
        np.lib.format.write_array_header_1_0(self._file, header)
        self._pieces = pieces(self._array)

    def _let_go(self) -> None:
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
        self._array, self._pieces = np.empty(0), iter(())


def pieces(array: Array) -> Iterator[Array]:
    """The array's elements in C order in pieces of at most ``PIECE_BYTES``, without a copy of the whole."""
    if array.nbytes <= PIECE_BYTES or array.size <= 1:
        yield array
    elif array.flags.c_contiguous:
        flat = array.reshape(-1)
        step = max(1, PIECE_BYTES // array.itemsize)
        for start in range(0, len(flat), step):
            yield flat[start : start + step]
    elif len(array) > 1:
        half = len(array) // 2
        yield from pieces(array[:half])
        yield from pieces(array[half:])
    else:
        yield from pieces(array[0])


def temporary_folder() -> Path:
    """Slicer's temporary folder (Application Settings, Modules), or else the system's."""
    try:
        import slicer

        path = getattr(getattr(slicer, "app", None), "temporaryPath", None)
    except ImportError:
        path = None
    return Path(path or tempfile.gettempdir())


def remove_later(
    folder: Path, delays: tuple[int, ...] = REMOVE_AGAIN_MS, unused: Callable[[], bool] = lambda: True
) -> None:
    """Removes a folder where it is still there, from the event loop, again and again.

    Args:
        folder: nothing of it is needed.
        delays: ms before each attempt.
        unused: asked before each attempt; False ends them.
    """
    if not folder.exists() or not delays:
        return

    def again() -> None:
        if unused():
            shutil.rmtree(folder, ignore_errors=True)
            remove_later(folder, delays[1:], unused)

    later(delays[0], again)


def reason_text(error: OSError) -> str:
    """Why something could not be written, to stand within a sentence."""
    reason = error.strerror or str(error)
    return reason[:1].lower() + reason[1:]


def _sentence(folder: Path, error: OSError) -> str:
    return (
        f"The temporary folder {folder} could not be written ({reason_text(error)}); choose another one with free "
        "space in Slicer's Application Settings, under Modules."
    )
