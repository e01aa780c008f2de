"""The C library's memory, for programs that take and free the same large blocks again and again."""

from __future__ import annotations

import ctypes
import platform

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Names of `mallopt` settings in glibc's malloc.h."""


def keep_freed_memory() -> bool:
    """Makes glibc keep freed memory for the next allocation instead of giving it back to the system at once.

    A training step takes and frees some GB of maps. Fetched from the system each time, their pages take a third of
    the step. The memory stays with the process until it ends, so this suits programs of their own: the command line
    and the worker, not Slicer itself.

    Returns:
        Whether the setting was made; False where the C library is another one.
    """
    library = _glibc()
    return library is not None and bool(library.mallopt(_MMAP_MAX, 0)) and bool(library.mallopt(_TRIM_THRESHOLD, -1))


def give_back_freed_memory() -> bool:
    """Makes glibc give freed memory back to the system, also from between blocks that are still in use.

    Returns:
        Whether any was given back; False where the C library is another one.
    """
    library = _glibc()
    return library is not None and bool(library.malloc_trim(0))


def _glibc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
