"""The user's model library: what it does, and all that a foreign zip file is refused for before it can do harm."""

from __future__ import annotations

import argparse
import io
import json
import os
import pickle
import stat
import struct
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from AHNetSegmentLib.engine import build, library, package, package_zip
from AHNetSegmentLib.engine.card import read_card, write_card
from AHNetSegmentLib.engine.cli_library import add_commands
from AHNetSegmentLib.engine.errors import AHNetSegmentError, Cancelled, ModelError, OutputError
from AHNetSegmentLib.engine.inference import InferenceSettings, segment
from AHNetSegmentLib.engine.library import ModelLibrary, used_folder
from AHNetSegmentLib.engine.library_tasks import import_model_task
from AHNetSegmentLib.engine.package import CARD_FILE, WEIGHTS_FILE, load_model, save_model
from AHNetSegmentLib.engine.package_zip import LIMITS, RECIPE_FILE, open_package
from engine_helpers import noise_volume, random_model

RECIPE = "name = 'tiny'\n"


@pytest.fixture(scope="module")
def package_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stored package with a recipe; never written to."""
    model = random_model()
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(
        folder,
        model.card,
        model.network.state_dict(),
        "int8",
        lambda beside: (beside / RECIPE_FILE).write_text(RECIPE, encoding="utf-8") and None,
    )
    return folder


@pytest.fixture
def bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the bundled models for this test; it is empty."""
    folder = tmp_path / "extension" / "Models"
    folder.mkdir(parents=True)
    for module in (package, library):
        monkeypatch.setattr(module, "bundled_models_folder", lambda: folder)
    monkeypatch.setattr(library, "resources_folder", lambda: folder.parent)
    return folder


@pytest.fixture
def own(tmp_path: Path, bundled: Path) -> ModelLibrary:
    """A library whose folder does not exist yet."""
    return ModelLibrary(tmp_path / "own" / "Models")


@pytest.fixture
def put(own: ModelLibrary, package_folder: Path) -> Callable[..., Path]:
    """Puts a model into the library, or into another folder."""

    def put_model(name: str = "tiny", title: str = "Tiny", root: Path | None = None) -> Path:
        folder = Path(copytree(package_folder, (root or own.folder) / name))
        write_card(folder / CARD_FILE, replace(read_card(folder / CARD_FILE), name=name.strip("."), title=title))
        return folder

    return put_model


@pytest.fixture
def members(package_folder: Path) -> dict[str, bytes]:
    """The members of a good zip file, to be spoilt."""
    return {name: (package_folder / name).read_bytes() for name in LIMITS}


def zipped(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return path


def contents(folder: Path) -> list[str]:
    """All that lies in a folder, hidden or not."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*")) if folder.is_dir() else []


def refusal_of(own: ModelLibrary, path: Path) -> str:
    """The sentence with which an import is refused; nothing of it stays."""
    before = contents(own.folder)
    with pytest.raises(ModelError) as refusal:
        own.import_package(path)
    message = str(refusal.value)
    assert str(path) in message
    assert str(own.folder) not in message
    assert message.endswith(".")
    assert contents(own.folder) == before
    return message


def vouched(members: dict[str, bytes], weights: bytes) -> dict[str, bytes]:
    """Other weights, which the card vouches for."""
    import hashlib

    data = json.loads(members[CARD_FILE])
    data["weights_sha256"] = hashlib.sha256(weights).hexdigest()
    return {**members, CARD_FILE: json.dumps(data).encode(), WEIGHTS_FILE: weights}


def changed(members: dict[str, bytes], change: Callable[[dict[str, Any]], Any]) -> dict[str, bytes]:
    """Another card."""
    data = json.loads(members[CARD_FILE])
    change(data)
    return {**members, CARD_FILE: json.dumps(data).encode()}


class TestNames:
    @pytest.mark.parametrize(
        ("title", "name"),
        [
            ("My liver, v2", "my-liver-v2"),
            ("  Ärzte & Größen  ", "arzte-grossen"),
            ("__..//\\", "model"),
            ("脑", "model"),
            ("NUL", "nul-model"),
            ("x" * 500, "x" * 60),
            ("../../etc/passwd", "etc-passwd"),
        ],
    )
    def test_a_title_becomes_a_valid_name(self, own: ModelLibrary, title: str, name: str) -> None:
        assert own.free_name(title) == name
        replace(random_card(), name=own.free_name(title))

    def test_a_taken_name_gets_a_number(self, own: ModelLibrary, bundled: Path, put: Any) -> None:
        put("my-liver-v2")
        assert own.free_name("My liver, v2") == "my-liver-v2-2"
        put("my-liver-v2-2", root=bundled)
        assert own.free_name("My liver, v2") == "my-liver-v2-3"
        assert own.free_name("My liver, v2", {"my-liver-v2-3"}) == "my-liver-v2-4"

    def test_hidden_folders_files_and_folders_without_a_card_are_not_listed(self, own: ModelLibrary, put: Any) -> None:
        put("b")
        put("a")
        put(".temporary-x")
        put("c", root=own.folder / ".training")
        (own.folder / "notes.txt").touch()
        (own.folder / "empty").mkdir()
        assert own.names() == ["a", "b"]
        assert ModelLibrary(own.folder / "nowhere").names() == []

    def test_a_model_is_found_by_name_folder_or_among_the_bundled_ones(
        self, own: ModelLibrary, bundled: Path, put: Any
    ) -> None:
        mine, theirs = put("mine"), put("theirs", root=bundled)
        assert own.path("mine") == own.path(mine) == mine
        assert own.path("theirs") == theirs
        with pytest.raises(ModelError, match=r"There is no model nobodys; .*: mine, theirs\."):
            own.path("nobodys")


def random_card() -> Any:
    return random_model().card


class TestRename:
    def test_title_name_and_folder_change_together(self, own: ModelLibrary, put: Any) -> None:
        folder = put()
        weights = (folder / WEIGHTS_FILE).read_bytes()
        renamed = own.rename("tiny", "  My  liver, v2 ")
        assert renamed == own.folder / "my-liver-v2"
        assert own.names() == ["my-liver-v2"]
        model = load_model(renamed)
        assert (model.card.name, model.card.title) == ("my-liver-v2", "My liver, v2")
        assert (renamed / WEIGHTS_FILE).read_bytes() == weights
        assert contents(own.folder) == ["my-liver-v2", *(f"my-liver-v2/{name}" for name in sorted(LIMITS))]

    def test_the_same_name_with_other_letters_keeps_the_folder(self, own: ModelLibrary, put: Any) -> None:
        put()
        assert own.rename("tiny", "TINY!").name == "tiny"
        assert read_card(own.folder / "tiny" / CARD_FILE).title == "TINY!"

    @pytest.mark.parametrize("title", ["", "   ", "\n\t", "a\x00b", "x" * 101])
    def test_a_title_that_no_list_can_show_is_refused(self, own: ModelLibrary, put: Any, title: str) -> None:
        put()
        before = contents(own.folder)
        with pytest.raises(ModelError, match=r"The model Tiny was not renamed: the title must have 1 to 100 char"):
            own.rename("tiny", title)
        assert contents(own.folder) == before
        assert read_card(own.folder / "tiny" / CARD_FILE).title == "Tiny"

    @pytest.mark.parametrize("where", ["own", "bundled"])
    def test_a_taken_name_is_refused(self, own: ModelLibrary, bundled: Path, put: Any, where: str) -> None:
        put()
        put("liver-ct", "Liver in CT", root=bundled if where == "bundled" else None)
        for title in ("liver ct", "LIVER IN CT"):
            with pytest.raises(ModelError, match=rf"There is already a model {title}; choose another title\."):
                own.rename("tiny", title)
        assert "tiny" in own.names()

    def test_titles_in_other_scripts_do_not_hinder_each_other(self, own: ModelLibrary, put: Any) -> None:
        put("one")
        put("two")
        assert own.rename("one", "脑").name == "model"
        assert own.rename("two", "肝").name == "model-2"
        with pytest.raises(ModelError, match="There is already a model 脑"):
            own.rename("model-2", "脑")

    def test_a_card_that_cannot_be_written_leaves_all_as_it_was(
        self, own: ModelLibrary, put: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put()
        before = contents(own.folder)

        def full(path: Path, card: Any) -> None:
            raise OutputError(f"{path} could not be written (disk full); choose another folder.")

        monkeypatch.setattr(library, "write_card", full)
        with pytest.raises(OutputError, match="disk full"):
            own.rename("tiny", "Other")
        assert contents(own.folder) == before
        assert read_card(own.folder / "tiny" / CARD_FILE).name == "tiny"

    def test_a_folder_that_cannot_be_moved_leaves_all_as_it_was(
        self, own: ModelLibrary, put: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put()
        monkeypatch.setattr(Path, "rename", in_use)
        with pytest.raises(OutputError, match=r"tiny could not be renamed \(in use\); close what uses it"):
            own.rename("tiny", "Other")
        assert read_card(own.folder / "tiny" / CARD_FILE).title == "Tiny"


def in_use(self: Path, target: Any) -> None:
    raise PermissionError(13, "In use")


class TestDelete:
    def test_a_model_is_gone_with_all_its_files(self, own: ModelLibrary, put: Any) -> None:
        put()
        put("other")
        own.delete("tiny")
        assert own.names() == ["other"]
        assert [path.name for path in own.folder.iterdir()] == ["other"]

    def test_a_broken_model_can_be_deleted(self, own: ModelLibrary, put: Any) -> None:
        (put() / CARD_FILE).write_text("{", encoding="utf-8")
        own.delete("tiny")
        assert contents(own.folder) == []

    def test_what_a_link_points_to_stays(self, own: ModelLibrary, put: Any, tmp_path: Path) -> None:
        elsewhere = put(root=tmp_path / "elsewhere")
        own.folder.mkdir(parents=True)
        (own.folder / "link").symlink_to(elsewhere)
        own.delete("link")
        assert contents(own.folder) == []
        assert load_model(elsewhere)

    def test_a_folder_in_use_is_a_sentence(self, own: ModelLibrary, put: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        put()
        before = contents(own.folder)
        monkeypatch.setattr(Path, "rename", in_use)
        with pytest.raises(OutputError, match=r"tiny could not be deleted \(in use\); close what uses it"):
            own.delete("tiny")
        assert contents(own.folder) == before

    def test_bundled_and_foreign_models_and_unfinished_trainings_stay(
        self, own: ModelLibrary, bundled: Path, put: Any, tmp_path: Path
    ) -> None:
        put()
        theirs, outside = put("theirs", root=bundled), put("outside", root=tmp_path)
        training = put("new", root=own.folder / ".training")
        for change in (own.delete, lambda name: own.rename(name, "Other")):
            with pytest.raises(ModelError, match="theirs comes with the extension and cannot be"):
                change("theirs")
            for folder in (outside, training, own.folder / "tiny" / ".." / ".training" / "new"):
                with pytest.raises(ModelError, match="lies outside of the library"):
                    change(folder)
            for name in (".training", "..", "new", ""):
                with pytest.raises(ModelError, match="There is no model"):
                    change(name)
        assert all((folder / CARD_FILE).is_file() for folder in (theirs, outside, training))

    def test_the_bundled_models_are_no_library(self, bundled: Path, put: Any) -> None:
        put("theirs", root=bundled)
        with pytest.raises(ModelError, match="comes with the extension"):
            ModelLibrary(bundled).delete("theirs")


class TestRoundTrip:
    def test_an_exported_model_comes_back_with_the_same_weights_and_segments(
        self, own: ModelLibrary, put: Any, tmp_path: Path
    ) -> None:
        before = load_model(put())
        own.export("tiny", tmp_path / "out" / "tiny.zip")
        own.delete("tiny")
        folder = own.import_package(tmp_path / "out" / "tiny.zip")
        assert folder == own.folder / "tiny"
        after = load_model(folder)
        assert after.card == before.card
        assert (folder / RECIPE_FILE).read_text(encoding="utf-8") == RECIPE
        state = after.network.state_dict()
        assert all(torch.equal(state[key], value) for key, value in before.network.state_dict().items())
        volume, settings = noise_volume((9, 33, 28)), InferenceSettings(device="cpu", precision="float32")
        found = [segment(volume, model, settings).labels for model in (before, after)]
        assert np.array_equal(*found)
        assert len(np.unique(found[0])) > 1
        assert contents(own.folder) == ["tiny", *(f"tiny/{name}" for name in sorted(LIMITS))]
        assert stat.S_IMODE(folder.stat().st_mode) & 0o055 == 0o055

    def test_the_zip_is_the_same_each_time_and_holds_only_the_package(
        self, own: ModelLibrary, put: Any, tmp_path: Path
    ) -> None:
        folder = put()
        (folder / "notes.txt").write_text("mine", encoding="utf-8")
        own.export("tiny", tmp_path / "one.zip")
        os.utime(folder / WEIGHTS_FILE, (0, 0))
        own.export(folder, tmp_path / "two.zip")
        assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
        with zipfile.ZipFile(tmp_path / "one.zip") as archive:
            assert archive.namelist() == [CARD_FILE, WEIGHTS_FILE, RECIPE_FILE]
            assert archive.testzip() is None

    def test_a_bundled_model_can_be_exported(self, own: ModelLibrary, bundled: Path, put: Any, tmp_path: Path) -> None:
        put("theirs", root=bundled)
        own.export("theirs", tmp_path / "theirs.zip")
        with open_package(tmp_path / "theirs.zip") as found:
            assert found.card.name == "theirs"
        assert "already there" in refusal_of(own, tmp_path / "theirs.zip")

    def test_a_zip_that_another_program_compressed_is_read(
        self, own: ModelLibrary, members: dict[str, bytes], tmp_path: Path
    ) -> None:
        del members[RECIPE_FILE]
        folder = own.import_package(zipped(tmp_path / "m.zip", members, zipfile.ZIP_DEFLATED))
        assert load_model(folder)
        assert not (folder / RECIPE_FILE).exists()

    def test_another_model_of_the_same_name_gets_a_number(self, own: ModelLibrary, put: Any, tmp_path: Path) -> None:
        other = random_model(seed=1)
        save_model(own.folder / "tiny", other.card, other.network.state_dict())
        put(root=tmp_path / "other")
        own.export(tmp_path / "other" / "tiny", tmp_path / "m.zip")
        folder = own.import_package(tmp_path / "m.zip")
        card = load_model(folder).card
        assert (folder.name, card.name, card.title) == ("tiny-2", "tiny-2", "Tiny (2)")
        assert "already there: choose Tiny (2) in the list" in refusal_of(own, tmp_path / "m.zip")

    def test_a_name_that_windows_has_not_becomes_another(
        self, own: ModelLibrary, members: dict[str, bytes], tmp_path: Path
    ) -> None:
        path = zipped(tmp_path / "m.zip", changed(members, lambda data: data.update(name="con")))
        assert own.import_package(path).name == "con-model"

    @pytest.mark.parametrize("kind", ["directory", "below a file"])
    def test_a_zip_that_cannot_be_written_is_a_sentence(
        self, own: ModelLibrary, put: Any, tmp_path: Path, kind: str
    ) -> None:
        put()
        (tmp_path / "taken").mkdir() if kind == "directory" else (tmp_path / "taken").touch()
        target = tmp_path / "taken" if kind == "directory" else tmp_path / "taken" / "m.zip"
        with pytest.raises(OutputError, match=r"could not be written \(.*\); choose a folder"):
            own.export("tiny", target)
        assert not list(tmp_path.glob(".*"))

    def test_a_full_disk_leaves_the_old_zip(
        self, own: ModelLibrary, put: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put()
        (tmp_path / "m.zip").write_bytes(b"old")
        monkeypatch.setattr(package_zip.shutil, "copyfileobj", full_disk)
        with pytest.raises(OutputError, match="no space left"):
            own.export("tiny", tmp_path / "m.zip")
        assert (tmp_path / "m.zip").read_bytes() == b"old"
        assert not list(tmp_path.glob(".*"))

    @pytest.mark.parametrize(
        ("spoil", "said"),
        [
            (lambda folder: (folder / WEIGHTS_FILE).unlink(), "is missing"),
            (lambda folder: (folder / WEIGHTS_FILE).write_bytes(b"other"), "is not the one that its card names"),
            (lambda folder: (folder / CARD_FILE).write_text("{}", encoding="utf-8"), "is no valid model card"),
            (lambda folder: (folder / RECIPE_FILE).write_bytes(bytes(10**6 + 1)), "has more than 1 MB"),
        ],
        ids=["no weights", "other weights", "card", "large recipe"],
    )
    def test_what_could_not_be_imported_is_not_exported(
        self, own: ModelLibrary, put: Any, tmp_path: Path, spoil: Any, said: str
    ) -> None:
        spoil(put())
        with pytest.raises(ModelError, match=said):
            own.export("tiny", tmp_path / "m.zip")
        assert not (tmp_path / "m.zip").exists()

    def test_the_recipe_is_called_as_training_calls_it(self) -> None:
        assert RECIPE_FILE == build.RECIPE_FILE


def full_disk(*_values: Any) -> None:
    raise OSError(28, "No space left on device")


class TestRefusedMembers:
    @pytest.mark.parametrize(
        "name",
        [
            "../evil.txt",
            "../../model.json",
            "/etc/evil",
            "C:\\evil.txt",
            "..\\evil.txt",
            "folder/model.json",
            "folder/",
            "model.json/",
            "./model.json",
            "model.json\0.txt",
            "weights.pt.py",
            ".model.json",
            "__MACOSX/._model.json",
            "",
        ],
    )
    def test_a_foreign_member_is_refused(
        self, own: ModelLibrary, members: dict[str, bytes], tmp_path: Path, name: str
    ) -> None:
        path = tmp_path / "deep" / "m.zip"
        path.parent.mkdir()
        with zipfile.ZipFile(zipped(path, members), "a") as archive:
            entry = zipfile.ZipInfo("x")
            entry.filename = name
            archive.writestr(entry, b"evil")
        before = contents(tmp_path)
        message = refusal_of(own, path)
        assert "but a model has only model.json, weights.pt, recipe.toml, in no folder" in message
        assert set(contents(tmp_path)) - set(before) <= {"own", "own/Models"}

    @pytest.mark.filterwarnings("ignore:Duplicate name")
    @pytest.mark.parametrize("name", list(LIMITS))
    def test_a_member_that_is_there_twice_is_refused(
        self, own: ModelLibrary, members: dict[str, bytes], tmp_path: Path, name: str
    ) -> None:
        with zipfile.ZipFile(zipped(tmp_path / "m.zip", members), "a") as archive:
            archive.writestr(name, members[name])
        assert f"holds {name} twice" in refusal_of(own, tmp_path / "m.zip")

    @pytest.mark.parametrize(
        "attributes",
        [(stat.S_IFLNK | 0o777) << 16, (stat.S_IFDIR | 0o755) << 16, (stat.S_IFIFO | 0o644) << 16, 0x10],
        ids=["link", "folder", "pipe", "folder of DOS"],
    )
    def test_what_is_no_plain_file_is_refused(
        self, own: ModelLibrary, members: dict[str, bytes], tmp_path: Path, attributes: int
    ) -> None:
        path = tmp_path / "m.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members.items():
                entry = zipfile.ZipInfo(name)
                entry.external_attr = attributes if name == WEIGHTS_FILE else 0
                archive.writestr(entry, content)
        assert "holds weights.pt as something else than a plain file" in refusal_of(own, path)

    def test_an_encrypted_member_is_refused(self, own: ModelLibrary, members: dict[str, bytes], tmp_path: Path) -> None:
        path = zipped(tmp_path / "m.zip", members)
        patch_entry(path, WEIGHTS_FILE, 8, "<H", 1)
        assert "holds an encrypted weights.pt" in refusal_of(own, path)

    @pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    def test_an_unusual_compression_is_refused(
        self, own: ModelLibrary, members: dict[str, bytes], tmp_path: Path, compression: int
    ) -> None:
        path = zipped(tmp_path / "m.zip", members, compression)
        assert "in an unusual compression" in refusal_of(own, path)

    @pytest.mark.parametrize("name", [CARD_FILE, WEIGHTS_FILE])
    def test_a_missing_member_is_named(
        self, own: ModelLibrary, members: dict[str, bytes], tmp_path: Path, name: str
    ) -> None:
        del members[name]
        assert f"holds no {name}, so it is no model" in refusal_of(own, zipped(tmp_path / "m.zip", members))


def patch_entry(path: Path, name: str, offset: int, code: str, value: int) -> None:
    """Changes a field of a member's entry in the central directory, where readers look; offsets from its signature."""
    content = bytearray(path.read_bytes())
    place = content.rindex(name.encode()) - 46
    assert content[place : place + 4] == b"PK\x01\x02"
    struct.pack_into(code, content, place + offset, value)
    path.write_bytes(content)


class TestSizes:
    @pytest.mark.parametrize("name", [CARD_FILE, RECIPE_FILE])
    def test_a_bomb_that_declares_its_size_is_refused(
        self, own: ModelLibrary, members: dict[str, bytes], tmp_path: Path, name: str
    ) -> None:
        path = zipped(tmp_path / "m.zip", {**members, name: bytes(30 * 10**6)}, zipfile.ZIP_DEFLATED)
        assert path.stat().st_size < 2 * 10**6
        assert f"holds {name} with more than 1 MB" in refusal_of(own, path)

    def test_weights_that_declare_too_much_are_refused_unread(
        self, own: ModelLibrary, members: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = zipped(tmp_path / "m.zip", members)
        patch_entry(path, WEIGHTS_FILE, 24, "<I", 400 * 10**6 + 1)
        monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_values: pytest.fail("it was read"))
        assert "holds weights.pt with more than 400 MB" in refusal_of(own, path)

    @pytest.mark.parametrize("name", list(LIMITS))
    def test_a_bomb_that_declares_too_little_is_refused(
        self, own: ModelLibrary, members: dict[str, bytes], tmp_path: Path, name: str
    ) -> None:
        path = zipped(tmp_path / "m.zip", {**members, name: bytes(30 * 10**6)}, zipfile.ZIP_DEFLATED)
        patch_entry(path, name, 24, "<I", 1000)
        assert f"is damaged at {name}" in refusal_of(own, path)

    def test_reading_stops_at_the_limit_whatever_was_declared(
        self, own: ModelLibrary, members: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path, read = zipped(tmp_path / "m.zip", members), []

        class Endless(io.BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                assert size is not None
                assert 0 < size <= 2**20
                assert sum(read) < 20 * 10**6
                read.append(size)
                return bytes(size)

        opened = zipfile.ZipFile.open
        monkeypatch.setattr(
            zipfile.ZipFile,
            "open",
            lambda self, entry, *more: Endless() if entry.filename == WEIGHTS_FILE else opened(self, entry, *more),
        )
        monkeypatch.setitem(LIMITS, WEIGHTS_FILE, 5 * 10**6)
        assert "holds weights.pt with more than 5 MB" in refusal_of(own, path)
        assert sum(read) < 7 * 10**6

    def test_a_file_larger_than_any_model_is_refused_unread(
        self, own: ModelLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with (tmp_path / "m.zip").open("wb") as file:
            file.truncate(10**9)
        monkeypatch.setattr(zipfile, "ZipFile", lambda *_values: pytest.fail("it was read"))
        assert "is too large for a model" in refusal_of(own, tmp_path / "m.zip")

    def test_weights_that_are_compressed_inside_are_refused(
        self, own: ModelLibrary, members: dict[str, bytes], tmp_path: Path
    ) -> None:
        packed = io.BytesIO()
        with (
            zipfile.ZipFile(io.BytesIO(members[WEIGHTS_FILE])) as source,
            zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target,
        ):
            for name in source.namelist():
                target.writestr(name, source.read(name))
        path = zipped(tmp_path / "m.zip", vouched(members, packed.getvalue()))
        assert "is compressed inside" in refusal_of(own, path)


class TestRefusedFiles:
    @pytest.mark.parametrize("content", [b"", b"PK", b"not a zip", pickle.dumps([1])])
    def test_what_is_no_zip_is_refused(self, own: ModelLibrary, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "m.zip").write_bytes(content)
        assert "is no zip file, or is cut off" in refusal_of(own, tmp_path / "m.zip")

    def test_a_zip_that_is_missing_or_a_folder_is_refused(self, own: ModelLibrary, tmp_path: Path) -> None:
        assert "is missing or unreadable" in refusal_of(own, tmp_path / "nowhere.zip")
        (tmp_path / "folder.zip").mkdir()
        assert "is missing or unreadable" in refusal_of(own, tmp_path / "folder.zip")

    @pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
    def test_a_zip_that_is_cut_off_is_refused(
        self, own: ModelLibrary, members: dict[str, bytes], tmp_path: Path, share: float
    ) -> None:
        path = zipped(tmp_path / "m.zip", members)
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])
        assert "is no zip file, or is cut off" in refusal_of(own, path)

    def test_damage_anywhere_is_refused_with_one_error(
        self, own: ModelLibrary, members: dict[str, bytes], tmp_path: Path
    ) -> None:
        members = {CARD_FILE: members[CARD_FILE], WEIGHTS_FILE: b"weights"}
        good = zipped(tmp_path / "good.zip", members, zipfile.ZIP_DEFLATED).read_bytes()
        path, refused = tmp_path / "m.zip", 0
        for place in range(0, len(good), 11):
            path.write_bytes(good[:place] + bytes([good[place] ^ 0x55]) + good[place + 1 :])
            with pytest.raises(AHNetSegmentError) as refusal:
                own.import_package(path)
            refused += isinstance(refusal.value, ModelError)
        assert refused > 50
        assert contents(own.folder) == []

    def test_weights_that_the_card_does_not_name_are_refused(
        self, own: ModelLibrary, members: dict[str, bytes], tmp_path: Path
    ) -> None:
        weights = bytearray(members[WEIGHTS_FILE])
        weights[len(weights) // 2] ^= 1
        path = zipped(tmp_path / "m.zip", {**members, WEIGHTS_FILE: bytes(weights)})
        assert "are not those that its card names" in refusal_of(own, path)

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (lambda data: data.update(name="../evil"), "'../evil' may only have"),
            (lambda data: data.update(name="/etc"), "may only have"),
            (lambda data: data.update(name=""), "may only have"),
            (lambda data: data.update(extra=1), "the field 'extra' is unknown"),
            (lambda data: data.pop("classes"), "the field 'classes' is missing"),
            (lambda data: data.update(format_version=99), "update the extension"),
            (lambda data: data.update(title=" "), "the title must have"),
            (lambda data: data.update(title="x" * 101), "the title must have"),
            (lambda data: data.update(figures={"mean_dice": "good"}), "'mean_dice' in 'figures' must be a number"),
            (lambda data: data.update(figures={"classes": [1]}), "'classes' in 'figures' must be a list"),
            (
                lambda data: data.update(figures={"classes": [{"class": "a", "dice": {"mean": "b"}}]}),
                "the mean Dice of each class",
            ),
            (lambda data: data["network"].update(layers=[10**9, 1, 1, 1]), "more than 1000 bottlenecks"),
            (lambda data: data["network"].update(width=10**400), "is no valid model card"),
        ],
    )
    def test_a_wrong_card_is_refused_before_the_weights_are_read(
        self, own: ModelLibrary, members: dict[str, bytes], tmp_path: Path, change: Any, said: str
    ) -> None:
        path = zipped(tmp_path / "m.zip", {**changed(members, change), WEIGHTS_FILE: b"never read"})
        message = refusal_of(own, path)
        assert f"The model.json in {path} is no valid model card" in message
        assert said in message

    @pytest.mark.parametrize("content", [b"", b"[]", b"null", b"\xff\xfe{}", b"[" * 500_000])
    def test_a_card_that_is_no_json_object_is_refused(
        self, own: ModelLibrary, members: dict[str, bytes], tmp_path: Path, content: bytes
    ) -> None:
        path = zipped(tmp_path / "m.zip", {**members, CARD_FILE: content})
        assert "is no valid model card" in refusal_of(own, path)

    def test_a_card_that_is_nested_too_deep_is_refused(
        self, own: ModelLibrary, members: dict[str, bytes], tmp_path: Path
    ) -> None:
        deep = b'{"a":' * 900 + b"1" + b"}" * 900
        card = members[CARD_FILE].replace(b'"training": {}', b'"training": ' + deep)
        assert deep in card
        assert "is no valid model card" in refusal_of(own, zipped(tmp_path / "m.zip", {**members, CARD_FILE: card}))

    @pytest.mark.filterwarnings("ignore:Detected pickle protocol")
    @pytest.mark.parametrize("kind", ["torch", "old torch", "plain pickle", "among tensors"])
    def test_code_in_the_weights_is_refused_and_does_not_run(
        self, own: ModelLibrary, members: dict[str, bytes], tmp_path: Path, kind: str
    ) -> None:
        marker = tmp_path / "executed"
        evil, stream = Malicious(marker), io.BytesIO()
        if kind == "plain pickle":
            pickle.dump(evil, stream)
        else:
            value = {"weight": evil} if kind == "among tensors" else evil
            torch.save(value, stream, _use_new_zipfile_serialization=kind != "old torch")
        path = zipped(tmp_path / "m.zip", vouched(members, stream.getvalue()))
        message = refusal_of(own, path)
        assert not marker.exists()
        assert f"The weight file {path / WEIGHTS_FILE} holds more than plain tensors" in message

    def test_that_code_would_run_in_a_trusting_reader(self, tmp_path: Path) -> None:
        pickle.loads(pickle.dumps(Malicious(tmp_path / "executed")))
        assert (tmp_path / "executed").exists()

    @pytest.mark.parametrize(
        ("state", "said"),
        [
            ({"weight": torch.ones(3)}, "does not fit the network"),
            ([torch.ones(3)], "is no dictionary of tensors"),
            ({"weight": 3}, "is no dictionary of tensors"),
        ],
        ids=["other tensors", "list", "number"],
    )
    def test_weights_of_another_kind_are_refused(
        self, own: ModelLibrary, members: dict[str, bytes], tmp_path: Path, state: Any, said: str
    ) -> None:
        stream = io.BytesIO()
        torch.save(state, stream)
        assert said in refusal_of(own, zipped(tmp_path / "m.zip", vouched(members, stream.getvalue())))

    def test_weights_of_one_wrong_shape_are_refused(
        self, own: ModelLibrary, members: dict[str, bytes], tmp_path: Path
    ) -> None:
        stored = torch.load(io.BytesIO(members[WEIGHTS_FILE]), weights_only=True)
        key = next(name for name, value in stored.items() if value.ndim == 1 and not name.endswith(".scale"))
        stored[key] = torch.ones(stored[key].shape[0] + 1)
        stream = io.BytesIO()
        torch.save(stored, stream)
        path = zipped(tmp_path / "m.zip", vouched(members, stream.getvalue()))
        assert "does not fit the network that its card describes" in refusal_of(own, path)

    @pytest.mark.parametrize("width", [1e308, 10_000.0, 0.25])
    def test_a_network_of_another_size_is_refused(
        self, own: ModelLibrary, members: dict[str, bytes], tmp_path: Path, width: float
    ) -> None:
        path = zipped(tmp_path / "m.zip", changed(members, lambda data: data["network"].update(width=width)))
        message = refusal_of(own, path)
        assert "cannot be built" in message or "does not fit the network" in message


class Malicious:
    """Makes a file where it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return Path.touch, (self.marker,)


class TestImportAndTheDisk:
    @pytest.mark.parametrize("kind", ["a file", "below a file"])
    def test_a_library_that_cannot_be_used_is_a_sentence(
        self, bundled: Path, members: dict[str, bytes], tmp_path: Path, kind: str
    ) -> None:
        (tmp_path / "file").touch()
        folder = tmp_path / "file" if kind == "a file" else tmp_path / "file" / "Models"
        with pytest.raises(OutputError, match=r"file.* could not be used for models \(.*\); choose one that you may"):
            ModelLibrary(folder).import_package(zipped(tmp_path / "m.zip", members))
        with pytest.raises(OutputError, match="could not be used for models"):
            used_folder(folder)

    def test_a_library_without_the_right_to_write_is_a_sentence(
        self, own: ModelLibrary, members: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(**_options: Any) -> Any:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(library.tempfile, "TemporaryFile", refuse)
        with pytest.raises(OutputError, match=r"could not be used for models \(permission denied\)"):
            own.import_package(zipped(tmp_path / "m.zip", members))

    def test_the_extension_s_folder_is_no_library(self, bundled: Path) -> None:
        for folder in (bundled, bundled / "mine", bundled.parent):
            with pytest.raises(OutputError, match="belongs to the extension"):
                used_folder(folder)
        assert contents(bundled) == []

    def test_a_library_folder_is_made(self, bundled: Path, tmp_path: Path) -> None:
        assert used_folder(tmp_path / "a" / "b") == tmp_path / "a" / "b"
        assert contents(tmp_path / "a") == ["b"]

    def test_a_full_disk_leaves_nothing(
        self, own: ModelLibrary, members: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(package_zip.PackageReader, "extract", full_disk)
        with pytest.raises(OutputError, match="no space left"):
            own.import_package(zipped(tmp_path / "m.zip", members))
        assert contents(own.folder) == []

    def test_a_folder_that_appeared_meanwhile_is_not_replaced(
        self, own: ModelLibrary, put: Any, members: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(library, "_check_weights", lambda *_values: put())
        with pytest.raises(OutputError, match="could not be written"):
            own.import_package(zipped(tmp_path / "m.zip", members))
        assert contents(own.folder) == ["tiny", *(f"tiny/{name}" for name in sorted(LIMITS))]

    def test_a_stop_leaves_nothing(self, own: ModelLibrary, members: dict[str, bytes], tmp_path: Path) -> None:
        with pytest.raises(Cancelled, match="nothing was changed"):
            own.import_package(zipped(tmp_path / "m.zip", members), lambda: False)
        assert contents(own.folder) == []

    def test_what_a_killed_import_left_is_removed_a_day_later(
        self, own: ModelLibrary, put: Any, members: dict[str, bytes], tmp_path: Path
    ) -> None:
        old, fresh, training = put(".temporary-old"), put(".temporary-new"), put("x", root=own.folder / ".training")
        os.utime(old, (time.time() - 2 * 24 * 3600,) * 2)
        own.import_package(zipped(tmp_path / "m.zip", members))
        assert not old.exists()
        assert fresh.exists()
        assert training.exists()
        assert own.names() == ["tiny"]


class Context:
    cancelled = False

    def __init__(self) -> None:
        self.states: list[str] = []

    def state(self, text: str) -> None:
        self.states.append(text)

    def progress(self, done: int, total: int) -> bool:
        return True


def test_the_worker_s_task_imports(own: ModelLibrary, members: dict[str, bytes], tmp_path: Path) -> None:
    context = Context()
    path = zipped(tmp_path / "m.zip", members)
    result = import_model_task({"zip": str(path), "library": str(own.folder)}, context)
    assert result == {"name": "tiny", "title": "Tiny", "folder": str(own.folder / "tiny")}
    assert context.states == ["Checking the model"]
    context.cancelled = True
    own.delete("tiny")
    with pytest.raises(Cancelled):
        import_model_task({"zip": str(path), "library": str(own.folder)}, context)


class TestCommands:
    @staticmethod
    def run(*arguments: object) -> None:
        parser = argparse.ArgumentParser()
        common = argparse.ArgumentParser(add_help=False)
        common.add_argument("--models", type=Path, action="append", default=[])
        common.add_argument("--quiet", action="store_true")
        add_commands(parser.add_subparsers(required=True), common)
        options = parser.parse_args([str(argument) for argument in arguments])
        options.run(options, SimpleNamespace(asked=False))

    def test_export_import_rename_delete(
        self, own: ModelLibrary, package_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.run("export", "tiny", tmp_path / "m.zip", "--models", package_folder.parent)
        self.run("import", tmp_path / "m.zip", "--library", own.folder)
        assert own.names() == ["tiny"]
        self.run("rename", "tiny", "My liver", "--library", own.folder)
        assert own.names() == ["my-liver"]
        with pytest.raises(ModelError, match=r"my-liver was not deleted, .* add --yes"):
            self.run("delete", "my-liver", "--library", own.folder)
        assert own.names() == ["my-liver"]
        self.run("delete", "my-liver", "--library", own.folder, "--yes")
        assert own.names() == []
        said = capsys.readouterr().out.splitlines()
        assert said == [
            f"Written: {tmp_path / 'm.zip'}",
            f"Written: {own.folder / 'tiny'}",
            f"Written: {own.folder / 'my-liver'}",
            "Deleted: my-liver",
        ]
