"""Model packages: cards, weights, and what is refused."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
import torch

from AHNetSegmentLib.engine import package
from AHNetSegmentLib.engine.card import ClassCard, Code, Intensity, ModelCard, Terminology, read_card, write_card
from AHNetSegmentLib.engine.errors import ModelError, OutputError
from AHNetSegmentLib.engine.files import sha256
from AHNetSegmentLib.engine.package import (
    CARD_FILE,
    WEIGHTS_FILE,
    find_model,
    load_model,
    model_folders,
    pack_weights,
    read_weights,
    save_model,
    unpack_weights,
)
from AHNetSegmentLib.network.ahnet import AHNet
from AHNetSegmentLib.network.settings import AHNetSettings

TINY = AHNetSettings(classes=3, width=0.125, layers=(1, 1, 1, 1), growth=4, bottleneck=1)
ORGAN = Terminology(Code("SCT", "123037004", "Anatomical Structure"), Code("SCT", "64033007", "Kidney"))
LEFT = replace(ORGAN, modifier=Code("SCT", "7771000", "Left"))
CARD = ModelCard(
    name="kidneys-mr",
    title="Kidneys",
    version="1.0.0",
    modality="MR",
    anatomy="both kidneys",
    description="Axial T2, 5 mm slices.",
    classes=(ClassCard(1, "left kidney", (10, 20, 30), LEFT), ClassCard(2, "cyst", (40, 50, 60), ORGAN)),
    spacing=(None, 1.25, 1.25),
    intensity=Intensity("zscore", 0.5, 99.5),
    network=TINY,
    data_licence="CC0 1.0",
    training={"steps": 10},
    figures={"mean_dice": 0.9, "measured_on": "3 cases"},
)


@pytest.fixture(scope="module")
def network() -> AHNet:
    torch.manual_seed(0)
    return AHNet(TINY).eval()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, network: AHNet) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "kidneys-mr"
    save_model(folder, CARD, network.state_dict(), "float16")
    return folder


@pytest.fixture
def folder(tmp_path: Path, saved: Path) -> Path:
    """A package of its own."""
    return copytree(saved, tmp_path / "models" / "kidneys-mr")


def change_card(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    card = json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))
    change(card)
    (folder / CARD_FILE).write_text(json.dumps(card), encoding="utf-8")


def put_weights(folder: Path, write: Callable[[Path], Any]) -> None:
    """Other weights, which the card vouches for."""
    write(folder / WEIGHTS_FILE)
    change_card(folder, lambda card: card.update(weights_sha256=sha256(folder / WEIGHTS_FILE)))


def refusal_of(folder: Path, file: str) -> str:
    with pytest.raises(ModelError) as refusal:
        load_model(folder)
    message = str(refusal.value)
    assert str(folder / file) in message
    assert message.endswith(".")
    return message


class TestRoundTrip:
    @pytest.mark.parametrize(("storage", "step"), [("float32", 0.0), ("float16", 2**-11), ("int8", 0.501 / 127)])
    def test_a_model_comes_back_as_it_was_saved_up_to_its_storage(
        self, tmp_path: Path, network: AHNet, storage: str, step: float
    ) -> None:
        written = save_model(tmp_path / "model", CARD, network.state_dict(), storage)
        model = load_model(tmp_path / "model")

        assert model.card == written == replace(CARD, weights_sha256=sha256(tmp_path / "model" / WEIGHTS_FILE))
        assert model.folder == tmp_path / "model"
        assert not model.network.training
        again = model.network.state_dict()
        for key, value in network.state_dict().items():
            assert again[key].dtype == value.dtype
            assert ((again[key] - value).abs() <= step * value.abs().amax()).all(), key

    def test_int8_is_off_by_half_a_step_of_each_output_channel_at_most(self) -> None:
        weight = torch.tensor([[-127.0, 0.4, 63.6], [1.0, -0.5, 0.001]]).reshape(2, 3, 1, 1, 1)
        packed = pack_weights({"conv.weight": weight}, "int8")
        assert packed["conv.weight"].dtype == torch.int8
        assert packed["conv.weight"].flatten().tolist() == [-127, 0, 64, 127, -64, 0]
        assert packed["conv.weight.scale"].tolist() == pytest.approx([1, 1 / 127])
        error = (unpack_weights(packed)["conv.weight"] - weight).abs().flatten(1).amax(dim=1)
        assert (error <= torch.tensor([0.5, 0.5 / 127]) + 1e-6).all()

    def test_a_channel_of_zeros_stays_zero_in_int8(self) -> None:
        weight = torch.zeros(2, 3, 1, 1, 1)
        assert torch.equal(unpack_weights(pack_weights({"w": weight}, "int8"))["w"], weight)

    @pytest.mark.parametrize("storage", ["int8", "float16", "float32"])
    def test_vectors_and_counters_are_kept_as_they_are(self, storage: str) -> None:
        state = {"bn.weight": torch.tensor([1.0001, 3e-8]), "bn.num_batches_tracked": torch.tensor(7)}
        again = unpack_weights(pack_weights(state, storage))
        assert all(torch.equal(again[key], value) for key, value in state.items())

    def test_int8_takes_about_a_quarter_of_float32(self) -> None:
        state = {"w": torch.rand(64, 64, 1, 3, 3)}
        sizes = {
            storage: sum(tensor.nbytes for tensor in pack_weights(state, storage).values())
            for storage in ("int8", "float32")
        }
        assert sizes["int8"] < 0.26 * sizes["float32"]

    def test_an_unknown_storage_is_refused(self) -> None:
        with pytest.raises(ValueError, match="known are 'int8', 'float16' and 'float32'"):
            pack_weights({}, "int4")

    def test_further_files_go_into_the_package(self, tmp_path: Path, network: AHNet) -> None:
        save_model(
            tmp_path / "m", CARD, network.state_dict(), add=lambda beside: (beside / "recipe.json").touch() or None
        )
        assert sorted(item.name for item in (tmp_path / "m").iterdir()) == [CARD_FILE, "recipe.json", WEIGHTS_FILE]

    def test_a_full_disk_leaves_the_existing_package(self, folder: Path, network: AHNet) -> None:
        resource = pytest.importorskip("resource")
        before = {item.name: item.read_bytes() for item in folder.iterdir()}
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
        try:
            with pytest.raises(OutputError, match=rf"^The folder {folder} could not be written"):
                save_model(folder, CARD, network.state_dict(), "float32")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert {item.name: item.read_bytes() for item in folder.iterdir()} == before
        assert [item.name for item in folder.parent.iterdir()] == [folder.name]


class Malicious:
    """Writes a file when it is unpickled by a trusting reader."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.marker,))


class TestWeights:
    def test_a_missing_folder_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match=r"^The model folder .*nowhere does not exist; choose another model"):
            load_model(tmp_path / "nowhere")

    def test_missing_weights_are_refused(self, folder: Path) -> None:
        (folder / WEIGHTS_FILE).unlink()
        assert "is missing; import or reinstall" in refusal_of(folder, WEIGHTS_FILE)

    def test_weights_that_were_changed_by_one_bit_are_refused(self, folder: Path) -> None:
        content = bytearray((folder / WEIGHTS_FILE).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / WEIGHTS_FILE).write_bytes(bytes(content))
        assert "is not the one that its card names" in refusal_of(folder, WEIGHTS_FILE)

    @pytest.mark.filterwarnings("ignore:Detected pickle protocol")
    @pytest.mark.parametrize(
        "write",
        [
            pytest.param(lambda path, evil: torch.save(evil, path), id="object"),
            pytest.param(lambda path, evil: torch.save({"weight": evil}, path), id="object among tensors"),
            pytest.param(
                lambda path, evil: torch.save(evil, path, _use_new_zipfile_serialization=False),
                id="old format of torch",
            ),
            pytest.param(lambda path, evil: path.write_bytes(pickle.dumps(evil)), id="plain pickle"),
            pytest.param(
                lambda path, evil: path.write_bytes(pickle.dumps(evil, protocol=0)), id="pickle of protocol 0"
            ),
        ],
    )
    def test_code_in_a_weight_file_is_refused_and_does_not_run(
        self, folder: Path, tmp_path: Path, write: Callable[[Path, Any], Any]
    ) -> None:
        marker = tmp_path / "executed"
        put_weights(folder, lambda path: write(path, Malicious(marker)))
        message = refusal_of(folder, WEIGHTS_FILE)
        assert not marker.exists()
        assert "more than plain tensors, or is damaged, and was not opened" in message
        assert "only from a source that you trust" in message

    def test_that_code_would_run_in_a_trusting_reader(self, tmp_path: Path) -> None:
        pickle.loads(pickle.dumps(Malicious(tmp_path / "executed")))
        assert (tmp_path / "executed").exists()

    @pytest.mark.parametrize("kept", [0, 1, 100, -1])
    def test_a_weight_file_that_is_cut_off_is_refused(self, folder: Path, kept: int) -> None:
        content = (folder / WEIGHTS_FILE).read_bytes()
        put_weights(folder, lambda path: path.write_bytes(content[:kept]))
        assert "is damaged" in refusal_of(folder, WEIGHTS_FILE)

    @pytest.mark.parametrize(
        "content",
        [[torch.ones(1)], {"weight": 1.0}, {1: torch.ones(1)}, {"state": {"weight": torch.ones(1)}}, torch.ones(1)],
        ids=["list", "number", "key that is no text", "nested", "tensor"],
    )
    def test_anything_but_a_dictionary_of_tensors_is_refused(self, folder: Path, content: Any) -> None:
        put_weights(folder, lambda path: torch.save(content, path))
        assert "is no dictionary of tensors" in refusal_of(folder, WEIGHTS_FILE)

    @pytest.mark.filterwarnings("ignore::UserWarning")
    def test_damage_of_every_kind_is_refused_with_one_error(self, tmp_path: Path) -> None:
        path = tmp_path / WEIGHTS_FILE
        torch.save({"a": torch.ones(2, 2)}, path, _use_new_zipfile_serialization=False)
        good = path.read_bytes()
        refused = 0
        for place in range(0, len(good), 7):
            path.write_bytes(good[:place] + bytes([good[place] ^ 0x55]) + good[place + 1 :])
            try:
                read_weights(path, sha256(path))
            except ModelError:
                refused += 1
        assert refused > 20

    def test_scales_that_do_not_fit_are_refused(self, folder: Path) -> None:
        state = {"weight": torch.ones(4, 2, dtype=torch.int8), "weight.scale": torch.ones(3)}
        put_weights(folder, lambda path: torch.save(state, path))
        assert "do not fit their weights" in refusal_of(folder, WEIGHTS_FILE)

    @pytest.mark.parametrize(
        "spoil",
        [
            pytest.param(lambda state: state.pop(next(iter(state))), id="one missing"),
            pytest.param(lambda state: state.update(more=torch.ones(1)), id="one more"),
            pytest.param(lambda state: state.update({next(iter(state)): torch.ones(2, 2)}), id="one of another size"),
            pytest.param(lambda state: state.clear(), id="none"),
        ],
    )
    def test_weights_of_another_network_are_refused(
        self, folder: Path, network: AHNet, spoil: Callable[[dict[str, Any]], Any]
    ) -> None:
        state = dict(network.state_dict())
        spoil(state)
        put_weights(folder, lambda path: torch.save(state, path))
        assert "does not fit the network that its card describes" in refusal_of(folder, WEIGHTS_FILE)

    @pytest.mark.parametrize("width", [0.25, 10_000.0], ids=["a little wider", "beyond all memory"])
    def test_a_card_of_another_network_is_refused(self, folder: Path, width: float) -> None:
        change_card(folder, lambda card: card["network"].update(width=width))
        assert "does not fit the network that its card describes" in refusal_of(folder, WEIGHTS_FILE)


FIELDS = [
    "name",
    "title",
    "version",
    "modality",
    "anatomy",
    "description",
    "classes",
    "spacing",
    "intensity",
    "network",
    "data_licence",
    "training",
    "figures",
    "weights_sha256",
]


class TestCard:
    def test_a_card_comes_back_as_it_was_written(self, tmp_path: Path) -> None:
        card = replace(CARD, one_piece=(2,), test_time_mirroring=True, test_time_scales=(0.9, 1.1))
        write_card(tmp_path / CARD_FILE, card)
        assert read_card(tmp_path / CARD_FILE) == card

    def test_a_term_is_written_as_slicer_writes_it(self) -> None:
        assert LEFT.entry() == (
            "Segmentation category and type - DICOM master list~SCT^123037004^Anatomical Structure~"
            "SCT^64033007^Kidney~SCT^7771000^Left~Anatomic codes - DICOM master list~^^~^^"
        )

    @pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"null", b'"text"', b"\xff\xfe{}"])
    def test_a_file_that_is_missing_or_no_json_object_is_refused(self, tmp_path: Path, content: bytes | None) -> None:
        if content is not None:
            (tmp_path / CARD_FILE).write_bytes(content)
        with pytest.raises(ModelError) as refusal:
            read_card(tmp_path / CARD_FILE)
        assert str(refusal.value).startswith(f"{tmp_path / CARD_FILE} is ")

    @pytest.mark.parametrize("field", FIELDS)
    def test_a_missing_field_is_named(self, folder: Path, field: str) -> None:
        change_card(folder, lambda card: card.pop(field))
        assert f"the field '{field}' is missing" in refusal_of(folder, CARD_FILE)

    @pytest.mark.parametrize("field", FIELDS)
    @pytest.mark.parametrize("value", [None, 7, True], ids=str)
    def test_a_field_of_another_type_is_named(self, folder: Path, field: str, value: Any) -> None:
        change_card(folder, lambda card: card.update({field: value}))
        assert f"the field '{field}' must be of type" in refusal_of(folder, CARD_FILE)

    def test_an_unknown_field_is_named(self, folder: Path) -> None:
        change_card(folder, lambda card: card.update(colour="red"))
        assert "the field 'colour' is unknown" in refusal_of(folder, CARD_FILE)

    @pytest.mark.parametrize("version", [0, 2, "1", None])
    def test_another_format_version_asks_for_an_update(self, folder: Path, version: Any) -> None:
        change_card(folder, lambda card: card.update(format_version=version))
        assert f"its format version is {version}, known is 1: update the extension" in refusal_of(folder, CARD_FILE)

    @pytest.mark.parametrize(
        ("change", "complaint"),
        [
            pytest.param(lambda card: card.update(name="../evil"), "'../evil' may only have", id="name with a path"),
            pytest.param(lambda card: card["classes"][1].update(label=3), "must count from 1", id="labels"),
            pytest.param(lambda card: card.update(one_piece=[1, "2"]), "label 2, which no class has", id="piece"),
            pytest.param(lambda card: card.update(test_time_mirroring=1), "must be true or false", id="mirroring"),
            pytest.param(lambda card: card.update(test_time_scales=[]), "at least one number", id="no scale"),
            pytest.param(lambda card: card.update(test_time_scales=[1, "2"]), "must hold at least one", id="scale"),
            pytest.param(lambda card: card.update(test_time_scales=[3]), "each from 0.5 to 2", id="large scale"),
            pytest.param(lambda card: card.update(test_time_scales=[1, 1.0]), "a scale twice", id="scale twice"),
            pytest.param(lambda card: card["classes"].pop(), "3 outputs, but there are 1", id="outputs"),
            pytest.param(lambda card: card.update(classes=[7, 8]), "each class must be an object", id="class"),
            pytest.param(lambda card: card["classes"][0].update(color=[1, 2]), "three whole numbers", id="two colours"),
            pytest.param(lambda card: card["classes"][0].update(color=[1, 2, 256]), "from 0 to 255", id="colour range"),
            pytest.param(lambda card: card["classes"][0].pop("terminology"), "'terminology' is missing", id="no term"),
            pytest.param(
                lambda card: card["classes"][0]["terminology"]["type"].update(meaning="a~b"),
                "may not hold the characters",
                id="term with a separator",
            ),
            pytest.param(lambda card: card.update(spacing=[1.0, 1.0]), "three numbers or nulls", id="two spacings"),
            pytest.param(
                lambda card: card.update(spacing=[1.0, "1", 1]), "three numbers or nulls", id="spacing as text"
            ),
            pytest.param(lambda card: card.update(spacing=[0, 1, 1]), "above zero", id="spacing of zero"),
            pytest.param(lambda card: card.update(spacing=[float("nan"), 1, 1]), "above zero", id="spacing NaN"),
            pytest.param(lambda card: card["intensity"].update(rule="log"), "known are 'window'", id="rule"),
            pytest.param(lambda card: card["intensity"].update(lower=99.5), "below the upper", id="bounds"),
            pytest.param(lambda card: card["intensity"].update(lower=-1), "from 0 to 100", id="percentile"),
            pytest.param(lambda card: card["intensity"].update(lower=float("nan")), "below the upper", id="bound NaN"),
            pytest.param(lambda card: card["network"].update(depth=50), "depth", id="unknown network setting"),
            pytest.param(lambda card: card["network"].update(width="wide"), "width", id="network setting of a type"),
            pytest.param(lambda card: card["network"].update(slice_strides=[1, 2]), "slice_strides", id="strides"),
        ],
    )
    def test_a_wrong_value_is_explained(
        self, folder: Path, change: Callable[[dict[str, Any]], Any], complaint: str
    ) -> None:
        change_card(folder, change)
        message = refusal_of(folder, CARD_FILE)
        assert "is no valid model card" in message
        assert complaint in message


class TestLibrary:
    @pytest.fixture(autouse=True)
    def no_bundled_models(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(package, "bundled_models_folder", lambda: tmp_path / "bundled")

    @staticmethod
    def put_model(root: Path, name: str) -> Path:
        folder = root / name
        folder.mkdir(parents=True)
        write_card(folder / CARD_FILE, CARD)
        return folder

    def test_packages_are_listed_by_name_and_the_bundled_ones_come_first(self, tmp_path: Path) -> None:
        bundled = self.put_model(tmp_path / "bundled", "b")
        own = self.put_model(tmp_path / "own", "a")
        self.put_model(tmp_path / "own", "b")
        assert model_folders([tmp_path / "own"]) == [own, bundled]

    def test_hidden_folders_files_and_missing_roots_are_passed_over(self, tmp_path: Path) -> None:
        self.put_model(tmp_path / "own", ".a.half-written")
        (tmp_path / "own" / "notes.txt").touch()
        (tmp_path / "own" / "empty").mkdir()
        assert model_folders([tmp_path / "own", tmp_path / "nowhere"]) == []

    def test_a_model_is_found_by_name_or_path(self, tmp_path: Path) -> None:
        folder = self.put_model(tmp_path / "own", "a")
        assert find_model("a", [tmp_path / "own"]) == folder
        assert find_model(folder) == folder

    def test_a_model_that_is_not_there_is_answered_with_those_that_are(self, tmp_path: Path) -> None:
        self.put_model(tmp_path / "bundled", "a")
        self.put_model(tmp_path / "own", "b")
        with pytest.raises(
            ModelError, match=r"There is no model c; choose one of these or give a model folder: a, b\."
        ):
            find_model("c", [tmp_path / "own"])
        (tmp_path / "bundled" / "a" / CARD_FILE).unlink()
        with pytest.raises(ModelError, match=r"none\.$"):
            find_model("c")
