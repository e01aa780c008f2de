"""Writing without loss: whatever goes wrong, what was there stays, and nothing half-written is left behind."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from AHNetSegmentLib.engine import files
from AHNetSegmentLib.engine.errors import Cancelled, OutputError
from AHNetSegmentLib.engine.files import file_suffix, new_folder, sha256, write_file, write_text
from AHNetSegmentLib.engine.image_io import write_labels
from AHNetSegmentLib.engine.volume import Geometry


def raise_disk_full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def full_disk(after_bytes: int) -> Iterator[None]:
    """Every file that grows beyond some bytes fails to be written, as on a full disk."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (after_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def names_in(folder: Path) -> list[str]:
    return sorted(item.name for item in folder.iterdir())


class TestFiles:
    def test_text_is_written_as_it_is(self, tmp_path: Path) -> None:
        write_text(tmp_path / "report.txt", "Größe 3 µm\nzweite Zeile\n")
        assert (tmp_path / "report.txt").read_bytes() == "Größe 3 µm\nzweite Zeile\n".encode()
        assert names_in(tmp_path) == ["report.txt"]

    def test_missing_folders_are_made(self, tmp_path: Path) -> None:
        write_text(tmp_path / "a" / "b" / "report.txt", "text")
        assert (tmp_path / "a" / "b" / "report.txt").read_text() == "text"

    def test_an_existing_file_is_replaced(self, tmp_path: Path) -> None:
        (tmp_path / "report.txt").write_text("a much longer text that was there before")
        write_text(tmp_path / "report.txt", "new")
        assert (tmp_path / "report.txt").read_text() == "new"

    def test_the_writer_gets_a_path_with_the_ending_of_the_target(self, tmp_path: Path) -> None:
        endings: list[str] = []

        def write(beside: Path) -> None:
            endings.append(file_suffix(beside))
            beside.write_bytes(b"x")

        write_file(tmp_path / "labels.seg.nrrd", write)
        write_file(tmp_path / "labels.nii.gz", write)
        assert endings == [".seg.nrrd", ".nii.gz"]

    def test_a_full_disk_leaves_the_existing_file(self, tmp_path: Path) -> None:
        path = tmp_path / "report.txt"
        path.write_text("old")
        with full_disk(1000), pytest.raises(OutputError) as refusal:
            write_text(path, "new" * 1000)
        assert str(refusal.value).startswith(f"{path} could not be written (file too large); choose a folder")
        assert path.read_text() == "old"
        assert names_in(tmp_path) == ["report.txt"]

    def test_a_disk_that_is_full_only_when_flushed_leaves_the_existing_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "report.txt").write_text("old")
        monkeypatch.setattr(files.os, "fsync", raise_disk_full)
        with pytest.raises(OutputError, match="no space left on device"):
            write_text(tmp_path / "report.txt", "new")
        assert (tmp_path / "report.txt").read_text() == "old"
        assert names_in(tmp_path) == ["report.txt"]

    @pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".seg.nrrd", ".mha"])
    def test_a_full_disk_leaves_the_existing_label_map(self, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"labels{suffix}"
        path.write_bytes(b"old")
        noise = np.random.default_rng(0).integers(0, 255, (20, 20, 20)).astype(np.uint8)
        with full_disk(3000), pytest.raises(OutputError) as refusal:
            write_labels(path, noise, Geometry((20, 20, 20)))
        assert str(refusal.value).startswith(f"{path} could not be written")
        assert path.read_bytes() == b"old"
        assert names_in(tmp_path) == [path.name]

    def test_a_file_that_cannot_be_replaced_stays(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "report.txt").write_text("old")

        def refuse(*_: object) -> None:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

        monkeypatch.setattr(files.os, "replace", refuse)
        with pytest.raises(OutputError, match="permission denied"):
            write_text(tmp_path / "report.txt", "new")
        assert (tmp_path / "report.txt").read_text() == "old"
        assert names_in(tmp_path) == ["report.txt"]

    def test_a_path_below_a_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("old")
        with pytest.raises(OutputError, match="choose a folder that you may write to"):
            write_text(tmp_path / "file" / "report.txt", "new")
        with pytest.raises(OutputError, match="choose a folder that you may write to"):
            write_text(tmp_path / "file" / "deeper" / "report.txt", "new")
        assert (tmp_path / "file").read_text() == "old"

    @pytest.mark.skipif(sys.platform == "win32" or not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may")
    def test_a_read_only_folder_is_refused(self, tmp_path: Path) -> None:
        folder = tmp_path / "locked"
        folder.mkdir(mode=0o500)
        with pytest.raises(OutputError, match="permission denied"):
            write_text(folder / "report.txt", "new")

    def test_a_folder_in_the_place_of_the_file_is_refused_and_stays(self, tmp_path: Path) -> None:
        (tmp_path / "report.txt").mkdir()
        (tmp_path / "report.txt" / "kept").write_text("old")
        with pytest.raises(OutputError, match="could not be written"):
            write_text(tmp_path / "report.txt", "new")
        assert (tmp_path / "report.txt" / "kept").read_text() == "old"
        assert names_in(tmp_path) == ["report.txt"]

    def test_a_writer_that_is_stopped_leaves_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "report.txt").write_text("old")

        def write(beside: Path) -> None:
            beside.write_text("half")
            raise Cancelled("Stopped.")

        with pytest.raises(Cancelled):
            write_file(tmp_path / "report.txt", write)
        assert (tmp_path / "report.txt").read_text() == "old"
        assert names_in(tmp_path) == ["report.txt"]

    def test_the_checksum_is_that_of_the_standard(self, tmp_path: Path) -> None:
        (tmp_path / "abc").write_bytes(b"abc")
        assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


class TestFolders:
    @pytest.fixture
    def model(self, tmp_path: Path) -> Path:
        folder = tmp_path / "model"
        folder.mkdir()
        (folder / "weights").write_text("old")
        return folder

    def test_a_new_folder_appears_when_all_of_it_is_written(self, tmp_path: Path) -> None:
        with new_folder(tmp_path / "models" / "model") as beside:
            (beside / "weights").write_text("new")
            assert not (tmp_path / "models" / "model").exists()
        assert names_in(tmp_path / "models") == ["model"]
        assert (tmp_path / "models" / "model" / "weights").read_text() == "new"

    def test_an_existing_folder_is_replaced_as_a_whole(self, model: Path) -> None:
        (model / "left over").write_text("old")
        with new_folder(model) as beside:
            (beside / "weights").write_text("new")
        assert names_in(model) == ["weights"]
        assert (model / "weights").read_text() == "new"
        assert names_in(model.parent) == ["model"]

    def test_a_full_disk_leaves_the_existing_folder(self, model: Path) -> None:
        with pytest.raises(OutputError) as refusal, full_disk(1000), new_folder(model) as beside:
            (beside / "weights").write_text("new" * 1000)
        assert str(refusal.value).startswith(f"The folder {model} could not be written (file too large); choose one")
        assert (model / "weights").read_text() == "old"
        assert names_in(model.parent) == ["model"]

    @pytest.mark.parametrize("failing", [1, 2], ids=["the old one moved away", "the new one moved in"])
    def test_a_folder_that_cannot_be_renamed_stays(
        self, model: Path, monkeypatch: pytest.MonkeyPatch, failing: int
    ) -> None:
        really_replace, calls = os.replace, 0

        def replace(source: Path, target: Path) -> None:
            nonlocal calls
            calls += 1
            if calls == failing:
                raise_disk_full()
            really_replace(source, target)

        monkeypatch.setattr(files.os, "replace", replace)
        with pytest.raises(OutputError, match="no space left on device"), new_folder(model) as beside:
            (beside / "weights").write_text("new")
        assert (model / "weights").read_text() == "old"
        assert names_in(model.parent) == ["model"]

    def test_a_path_below_a_file_is_refused(self, model: Path) -> None:
        with pytest.raises(OutputError, match="choose one that you may write to"), new_folder(model / "weights" / "m"):
            pytest.fail("there is no folder to fill")
        assert (model / "weights").read_text() == "old"

    def test_a_block_that_is_stopped_leaves_the_existing_folder(self, model: Path) -> None:
        def fill() -> None:
            with new_folder(model) as beside:
                (beside / "weights").write_text("half")
                raise Cancelled("Stopped.")

        with pytest.raises(Cancelled):
            fill()
        assert (model / "weights").read_text() == "old"
        assert names_in(model.parent) == ["model"]
