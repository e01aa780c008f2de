"""Weights from files: every format, what is reported, what is refused."""

from __future__ import annotations

import pickle

import pytest
import torch

from AHNetSegmentLib.network.ahnet import AHNet
from AHNetSegmentLib.network.checkpoints import (
    CheckpointError,
    load_weights,
    mcgcn_settings_from_monai,
    read_state_dict,
    settings_from_monai,
)
from AHNetSegmentLib.network.mcgcn import MCGCN
from AHNetSegmentLib.network.resnet import ResNet2d
from AHNetSegmentLib.network.settings import AHNetSettings, MCGCNSettings
from network_helpers import ReferenceResNet, randomise

SHALLOW = (1, 1, 1, 1)


def _ahnet(**settings):
    return AHNet(AHNetSettings(**{"width": 0.125, "layers": SHALLOW, **settings}))


def _mcgcn(**settings):
    return MCGCN(MCGCNSettings(**{"width": 0.125, "layers": SHALLOW, **settings}))


def _agree(first, second):
    other = second.state_dict()
    return all(torch.equal(value, other[name]) for name, value in first.state_dict().items())


@pytest.fixture(scope="module")
def monai_weights():
    nets = pytest.importorskip("monai.networks.nets.ahnet", reason="MONAI wrote this format")
    network = nets.AHNet(layers=SHALLOW, psp_block_num=2, upsample_mode="transpose", out_channels=3)
    return randomise(network).state_dict()


@pytest.mark.parametrize("make", [_ahnet, _mcgcn])
def test_our_own_file_loads_completely(make, tmp_path):
    torch.manual_seed(0)
    source, target = randomise(make()), make()
    path = tmp_path / "weights.pt"
    torch.save(source.state_dict(), path)
    report = load_weights(target, path)
    assert report.complete
    assert report.format == ("AHNet" if make is _ahnet else "MC-GCN")
    assert len(report.loaded) == len(source.state_dict())
    assert _agree(source, target)


def test_half_precision_weights_load():
    source, target = _ahnet(), _ahnet()
    half = {name: value.half() if value.is_floating_point() else value for name, value in source.state_dict().items()}
    assert load_weights(target, half).complete
    assert target.encoder.conv1.weight.dtype == torch.float32
    assert torch.allclose(target.encoder.conv1.weight, source.encoder.conv1.weight, atol=1e-3)


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "network_weights"])
@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.module.", ""])
def test_wrappings_of_training_programs_are_taken_off(wrapper, prefix):
    source, target = randomise(_mcgcn()), _mcgcn()
    wrapped = {"epoch": 3, wrapper: {prefix + name: value for name, value in source.state_dict().items()}}
    assert load_weights(target, wrapped).complete
    assert _agree(source, target)


def test_torchvision_s_resnet_loads_into_all_three_networks():
    source = randomise(ReferenceResNet(SHALLOW))
    weights = source.state_dict()

    encoder = ResNet2d(3, 1.0, SHALLOW)
    report = load_weights(encoder, weights)
    assert (report.format, report.complete) == ("torchvision ResNet", True)
    assert torch.equal(encoder.layer4[0].bn3.running_var, source.layer4[0].bn3.running_var)

    flat = MCGCN(MCGCNSettings(in_channels=2, layers=SHALLOW))
    report = load_weights(flat, weights)
    assert report.complete
    assert "the decoder keeps" in report.summary()
    assert torch.equal(flat.encoder.conv1.weight, source.conv1.weight.repeat(1, 2, 1, 1) / 2)

    deep = AHNet(AHNetSettings(layers=SHALLOW))
    report = load_weights(deep, weights)
    assert report.complete
    assert torch.equal(deep.encoder.conv1.weight, source.conv1.weight[:, None])
    assert torch.equal(deep.encoder.layer2[0].downsample[0].weight, source.layer2[0].downsample[0].weight[:, :, None])


def test_the_2d_network_s_file_gives_the_3d_network_its_encoder():
    source, target = randomise(_mcgcn(in_channels=2, classes=4)), _ahnet(in_channels=2)
    before = target.decoder.head.conv.weight.clone()
    report = load_weights(target, source.state_dict())
    assert report.complete
    assert torch.equal(target.encoder.layer3[0].bn2.running_mean, source.encoder.layer3[0].bn2.running_mean)
    assert torch.equal(target.decoder.head.conv.weight, before)


def test_monai_s_settings_are_read_from_the_shapes(monai_weights):
    assert settings_from_monai(monai_weights) == AHNetSettings(
        in_channels=1,
        classes=3,
        pyramid_levels=2,
        upsampling="transpose",
        align_corners=False,
        padded_pyramid=True,
        zero_padded_slices=True,
        layers=SHALLOW,
    )


def test_monai_s_kernels_are_turned_to_slices_first(monai_weights):
    network = AHNet(settings_from_monai(monai_weights))
    assert load_weights(network, monai_weights).complete
    stem = monai_weights["conv1.weight"]
    assert torch.equal(network.encoder.conv1.weight[5, 0, 2, 1, 6], stem[5, 0, 1, 6, 2])


def test_a_head_for_other_classes_is_left_out_and_the_report_says_so(monai_weights):
    settings = settings_from_monai(monai_weights).to_dict()
    network = AHNet(AHNetSettings.from_dict({**settings, "classes": 7}))
    report = load_weights(network, monai_weights)
    assert {item.name for item in report.mismatched} == {"decoder.head.conv.weight", "decoder.head.up.weight"}
    assert report.mismatched[0].found == (3, 144 - 18, 1, 3, 3)
    assert report.mismatched[0].expected == (7, 144 - 18, 1, 3, 3)
    assert not report.complete
    assert "The head was left out: the file has 3 classes, the network 7." in report.summary()


def test_settings_that_compute_otherwise_than_monai_are_mentioned(monai_weights):
    report = load_weights(AHNet(AHNetSettings(layers=SHALLOW, classes=3)), monai_weights)
    assert "decoder.up0.up.weight" in report.unexpected
    assert "decoder.pyramid.project.3.weight" in report.missing
    assert "settings_from_monai gives the same settings" in report.summary()


def test_missing_and_unexpected_tensors_are_reported():
    weights = _ahnet().state_dict()
    del weights["encoder.layer1.0.conv2.weight"]
    weights["surplus.weight"] = torch.zeros(2)
    report = load_weights(_ahnet(), weights)
    assert report.missing == ("encoder.layer1.0.conv2.weight",)
    assert report.unexpected == ("surplus.weight",)
    assert "Missing from the file: encoder.layer1.0.conv2.weight." in report.summary()
    assert "Not part of the network: surplus.weight." in report.summary()


def test_a_long_list_is_cut_in_the_summary():
    weights = _ahnet().state_dict() | {f"surplus.{i}": torch.zeros(1) for i in range(12)}
    assert "surplus.4 and 7 more." in load_weights(_ahnet(), weights).summary()


def test_files_that_do_not_count_batches_are_complete():
    weights = {name: value for name, value in _ahnet().state_dict().items() if "num_batches" not in name}
    assert load_weights(_ahnet(), weights).complete


def test_another_width_is_refused_with_the_width_to_take():
    with pytest.raises(CheckpointError, match=r"width=0\.125"):
        load_weights(_ahnet(width=0.25), _ahnet().state_dict())


def test_a_3d_network_s_weights_are_refused_by_a_2d_one(monai_weights):
    for network in (_mcgcn(), ResNet2d(3, 0.125, SHALLOW)):
        with pytest.raises(CheckpointError, match="3D network"):
            load_weights(network, monai_weights)


def test_projected_channels_are_refused_by_the_3d_network():
    with pytest.raises(CheckpointError, match="projected"):
        load_weights(_ahnet(), _mcgcn(projected_from=4).state_dict())


def test_another_number_of_volumes_is_refused_by_the_3d_network():
    with pytest.raises(CheckpointError, match="6 channels"):
        load_weights(_ahnet(in_channels=3), _mcgcn(in_channels=2).state_dict())


def test_tensors_of_no_known_network_are_refused(tmp_path):
    path = tmp_path / "other.pt"
    torch.save({"weight": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match=r"other\.pt holds none of the known networks"):
        load_weights(_ahnet(), path)


class _Code:
    """Anything that is not a tensor."""


def _write_pickled_object(path):
    torch.save({"state_dict": {"conv1.weight": torch.zeros(1)}, "trainer": _Code()}, path)


def _write_plain_pickle(path):
    path.write_bytes(pickle.dumps(_Code()))


def _write_text(path):
    path.write_text("conv1.weight = 3")


def _write_nothing(path):
    path.write_bytes(b"")


def _write_torch_script(path):
    torch.jit.script(torch.nn.Linear(1, 1)).save(str(path))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "write", [_write_pickled_object, _write_plain_pickle, _write_text, _write_nothing, _write_torch_script]
)
def test_a_file_that_is_not_safe_or_not_whole_is_refused_in_one_sentence(write, tmp_path):
    path = tmp_path / "model.pt"
    write(path)
    with pytest.raises(CheckpointError) as caught:
        load_weights(_ahnet(), path)
    message = str(caught.value)
    assert str(path) in message
    assert "torch.save(network.state_dict(), path)" in message
    assert message.count(". ") == 0


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path):
    with pytest.raises(CheckpointError, match=r"missing\.pt cannot be read"):
        load_weights(_ahnet(), tmp_path / "missing.pt")


@pytest.mark.parametrize("content", [[torch.zeros(1)], torch.zeros(1), {}, {"conv1.weight": 3}, {1: torch.zeros(1)}])
def test_a_file_without_a_state_dict_is_refused(content, tmp_path):
    path = tmp_path / "list.pt"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match="holds no state dict"):
        read_state_dict(path)


@pytest.mark.parametrize("settings", [settings_from_monai, mcgcn_settings_from_monai])
def test_settings_are_read_from_monai_s_files_only(settings):
    with pytest.raises(CheckpointError, match="no weights of MONAI's"):
        settings(_ahnet().state_dict())
