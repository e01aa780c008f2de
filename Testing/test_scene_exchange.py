"""Voxels go to the worker through a temporary folder: piece by piece, and nothing of it stays."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from AHNetSegmentLib.engine.errors import OutputError


@pytest.fixture
def make(pump: object, tmp_path: Path) -> Callable[..., Any]:
    """Makes exchanges in a folder of the test."""
    from AHNetSegmentLib.scene.exchange import Exchange

    return lambda: Exchange(tmp_path)


def write(exchange: Any, array: np.ndarray, pump: Callable[..., bool]) -> list[Any]:
    """What is told of writing an array."""
    told: list[Any] = []
    exchange.write("volume", array, told.append, told.append)
    assert told == []
    assert pump(lambda: told)
    return told


def arrays() -> dict[str, np.ndarray]:
    values = np.random.default_rng(0).integers(-1000, 3000, (37, 290, 310)).astype(np.int16)
    return {
        "several pieces": values,
        "slices last": values.transpose(1, 2, 0),
        "backwards": values[::-1, :, ::-1],
        "a part": values[3:30, 5:280, 11:301],
        "one slice of a column": values[:1, :, :1],
        "big endian": values[:5].astype(">f8"),
        "bool": values > 5,
        "one voxel": values[:1, :1, :1],
        "empty": values[:0],
        "read-only": np.broadcast_to(values[0], (12, 290, 310)),
        "long rows": np.arange(1_500_000, dtype=np.float32).reshape(1, 1, -1)[:, :, ::-1],
    }


@pytest.mark.parametrize("kind", sorted(arrays()))
def test_an_array_of_any_layout_arrives_as_it_was(
    make: Callable[..., Any], pump: Callable[..., bool], kind: str
) -> None:
    array, exchange = arrays()[kind], make()
    (path,) = write(exchange, array, pump)
    found = np.load(path)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)
    exchange.close()


def test_pieces_are_small_and_in_order_without_a_copy_of_the_whole(pump: object) -> None:
    from AHNetSegmentLib.scene.exchange import PIECE_BYTES, pieces

    array = np.arange(3_000_000, dtype=np.float64).reshape(3, 1000, 1000)
    for view in (array, array.transpose(2, 1, 0), array[:, ::2]):
        found = list(pieces(view))
        assert max(piece.nbytes for piece in found) <= PIECE_BYTES
        assert all(np.shares_memory(piece, array) for piece in found)
        np.testing.assert_array_equal(np.concatenate([piece.ravel() for piece in found]), view.ravel())


def test_the_event_loop_goes_on_while_a_large_volume_is_written(
    make: Callable[..., Any], pump: Callable[..., bool]
) -> None:
    import qt

    from AHNetSegmentLib.scene.exchange import TURN_BYTES

    array = np.zeros((64, 512, 512), np.float32)
    exchange, told, sizes, busy = make(), [], [0], [time.process_time()]
    path = exchange.folder / "volume.npy"

    def look() -> None:
        busy.append(time.process_time())
        if path.exists():
            sizes.append(path.stat().st_size)
        if not told:
            qt.QTimer.singleShot(0, look)

    look()
    exchange.write("volume", array, told.append, told.append)
    assert pump(lambda: told)
    look()
    assert told == [path]
    steps = np.diff(sizes)
    assert steps.max() <= TURN_BYTES + 1024
    assert (steps > 0).sum() >= array.nbytes // TURN_BYTES
    assert np.diff(busy).max() < 0.1
    exchange.close()


def test_the_folder_is_for_this_user_only_and_names_nobody(make: Callable[..., Any], pump: Callable[..., bool]) -> None:
    exchange = make()
    write(exchange, np.zeros((2, 2, 2)), pump)
    assert sorted(path.name for path in exchange.folder.iterdir()) == ["output", "volume.npy"]
    assert list(exchange.output.iterdir()) == []
    if sys.platform != "win32":
        assert exchange.folder.stat().st_mode & 0o077 == 0
    exchange.close()


def test_results_are_read_memory_mapped(make: Callable[..., Any]) -> None:
    exchange = make()
    np.save(exchange.output / "labels.npy", np.arange(8, dtype=np.uint8).reshape(2, 2, 2))
    labels = exchange.read(str(exchange.output / "labels.npy"))
    assert isinstance(labels, np.memmap)
    assert not labels.flags.writeable
    np.testing.assert_array_equal(np.asarray(labels).ravel(), np.arange(8))
    with pytest.raises(OutputError, match="could not be read from the temporary folder .*; choose another one"):
        exchange.read(exchange.output / "gone.npy")
    del labels
    exchange.close()


def test_close_in_the_middle_of_writing_tells_nothing_and_leaves_nothing(
    make: Callable[..., Any], pump: Callable[..., bool], tmp_path: Path
) -> None:
    exchange, told = make(), []
    exchange.write("volume", np.zeros((64, 512, 512), np.float32), told.append, told.append)
    path = exchange.folder / "volume.npy"
    assert pump(lambda: path.exists() and path.stat().st_size > 1000)
    assert told == []
    exchange.close()
    exchange.close()
    assert exchange.closed
    assert list(tmp_path.iterdir()) == []
    pump(lambda: False, 0.1)
    assert told == []
    with pytest.raises(RuntimeError, match="closed"):
        exchange.write("volume", np.zeros(3), told.append, told.append)


def test_an_exchange_that_is_forgotten_leaves_nothing(make: Callable[..., Any], tmp_path: Path) -> None:
    exchange = make()
    assert len(list(tmp_path.iterdir())) == 1
    del exchange
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_could_not_be_removed_at_first_is_removed_later(
    make: Callable[..., Any], pump: Callable[..., bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove, calls = shutil.rmtree, []

    def refuse_once(path: str, ignore_errors: bool) -> None:
        calls.append(path)
        if len(calls) > 1:
            remove(path, ignore_errors=ignore_errors)

    monkeypatch.setattr(shutil, "rmtree", refuse_once)
    exchange = make()
    exchange.close()
    assert exchange.folder.exists()
    assert pump(lambda: not exchange.folder.exists(), 2)


@pytest.mark.parametrize("parent", ["missing", "a file"])
def test_a_temporary_folder_that_cannot_be_used_gives_a_sentence(pump: object, tmp_path: Path, parent: str) -> None:
    from AHNetSegmentLib.scene.exchange import Exchange

    (tmp_path / "a file").write_text("")
    with pytest.raises(OutputError, match=r"^The temporary folder .* could not be written \(.+\); choose another one"):
        Exchange(tmp_path / parent)


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="for the super-user no folder is read-only")
def test_a_read_only_temporary_folder_gives_a_sentence(pump: object, tmp_path: Path) -> None:
    from AHNetSegmentLib.scene.exchange import Exchange

    tmp_path.chmod(0o555)
    with pytest.raises(OutputError, match=r"could not be written \(permission denied\); choose another one"):
        Exchange(tmp_path)


def test_too_little_space_is_told_before_anything_is_written(
    make: Callable[..., Any], pump: Callable[..., bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange = make()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=3 * 2**20))
    (message,) = write(exchange, np.zeros((8, 512, 512), np.float32), pump)
    assert "could not be written (3 MB are free, 8 MB are needed); choose another one with free space" in message
    assert not (exchange.folder / "volume.npy").exists()
    exchange.close()


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_a_disk_that_fills_up_gives_a_sentence(make: Callable[..., Any], pump: Callable[..., bool]) -> None:
    import resource

    exchange = make()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handled = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # it would end an application that Python is embedded in
    resource.setrlimit(resource.RLIMIT_FSIZE, (5 * 2**20, before[1]))
    try:
        (message,) = write(exchange, np.zeros((8, 512, 512), np.float32), pump)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL if handled is None else handled)
    assert "could not be written (file too large); choose another one" in message
    exchange.close()
    assert not exchange.folder.exists()


def test_slicers_temporary_folder_is_taken(pump: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from AHNetSegmentLib.scene.exchange import Exchange, temporary_folder

    monkeypatch.setitem(sys.modules, "slicer", SimpleNamespace(app=SimpleNamespace(temporaryPath=str(tmp_path))))
    exchange = Exchange()
    assert exchange.folder.parent == tmp_path
    exchange.close()
    monkeypatch.setitem(sys.modules, "slicer", None)
    assert temporary_folder().is_dir()
