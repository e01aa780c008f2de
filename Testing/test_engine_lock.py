"""The lock of a training's folder: one process at a time, whatever becomes of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from AHNetSegmentLib.engine import lock
from AHNetSegmentLib.engine.errors import OutputError
from AHNetSegmentLib.engine.lock import LOCK_FILE, is_locked, locked_folder

LIBRARY = Path(__file__).resolve().parents[1] / "AHNetSegment"
HOLDER = """
import os, sys, time
from pathlib import Path
from AHNetSegmentLib.engine.lock import locked_folder
with locked_folder(Path(sys.argv[1])):
    child = os.fork() if "fork" in sys.argv else 1
    if child:
        print("inside", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a process that is in the folder when it is given back; all have ended after the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*words: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(tmp_path / "work"), *words],
            stdout=subprocess.PIPE,
            encoding="utf-8",
            env={**os.environ, "PYTHONPATH": str(LIBRARY)},
            start_new_session=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "inside\n"
        return process

    yield start
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_a_second_process_is_told_that_the_first_one_is_there(
    tmp_path: Path, holder: Callable[..., subprocess.Popen[str]]
) -> None:
    assert not is_locked(tmp_path / "work")
    holder()
    assert is_locked(tmp_path / "work")
    sentence = r"The training in .*work already goes on in another process, .*; wait until it has ended, or stop it"
    with pytest.raises(OutputError, match=sentence), locked_folder(tmp_path / "work", 0.2):
        raise AssertionError


@pytest.mark.parametrize("words", [(), ("fork",)])
def test_a_process_that_was_killed_locks_nothing_any_more(
    tmp_path: Path, holder: Callable[..., subprocess.Popen[str]], words: tuple[str, ...]
) -> None:
    process = holder(*words)
    # A process that it has forked, as those that prepare batches, lives on.
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with locked_folder(tmp_path / "work", 0):
        pass


def test_a_process_that_is_about_to_end_is_waited_for(
    tmp_path: Path, holder: Callable[..., subprocess.Popen[str]]
) -> None:
    process = holder()
    began = time.monotonic()
    timer = threading.Timer(0.4, process.kill)
    timer.start()
    with locked_folder(tmp_path / "work"):
        assert time.monotonic() - began > 0.3
    timer.join()


def test_the_folder_is_free_afterwards_and_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked_folder(tmp_path / "new" / "work"):
        raise ZeroDivisionError
    assert (tmp_path / "new" / "work" / LOCK_FILE).is_file()
    code = f"from AHNetSegmentLib.engine.lock import is_locked; print(is_locked({str(tmp_path / 'new' / 'work')!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=LIBRARY, capture_output=True, encoding="utf-8", check=True)
    assert done.stdout == "False\n"


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(OutputError, match="lock could not be written .*choose a folder"),
        locked_folder(tmp_path / "file" / "work"),
    ):
        raise AssertionError


def test_a_drive_without_locks_keeps_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    def none(*_arguments: object) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(lock.fcntl, "lockf", none)
    with locked_folder(tmp_path):
        assert not is_locked(tmp_path)
