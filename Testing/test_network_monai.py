"""MONAI's AHNet and FCN as oracles: their weights, loaded here, compute the same."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from AHNetSegmentLib.network.ahnet import AHNet
from AHNetSegmentLib.network.checkpoints import load_weights, mcgcn_settings_from_monai, settings_from_monai
from AHNetSegmentLib.network.mcgcn import MCGCN
from network_helpers import ReferenceResNet, randomise, relative_difference

monai_ahnet = pytest.importorskip("monai.networks.nets.ahnet", reason="MONAI is the oracle")
TOLERANCE = 1e-4

# (H, W, D), as MONAI has them. It needs 128 in plane for all four levels, and one slice of the deepest map.
CASES = [
    ("trilinear", 0, 1, (64, 32, 32)),
    ("trilinear", 1, 3, (96, 64, 32)),
    ("trilinear", 2, 2, (96, 64, 64)),
    ("trilinear", 3, 2, (96, 64, 32)),
    ("trilinear", 4, 4, (160, 128, 32)),
    ("transpose", 0, 1, (64, 32, 32)),
    ("transpose", 1, 2, (32, 64, 64)),
    ("transpose", 2, 3, (32, 96, 32)),
    ("transpose", 3, 2, (64, 64, 32)),
    ("transpose", 4, 4, (128, 128, 32)),
]


@pytest.mark.parametrize(("mode", "levels", "classes", "size"), CASES)
def test_ours_agrees_with_monai_s_ahnet_on_its_own_weights(mode, levels, classes, size):
    torch.manual_seed(levels)
    channels = 1 + levels % 2
    oracle = randomise(
        monai_ahnet.AHNet(
            layers=(3, 4, 6, 3),
            spatial_dims=3,
            in_channels=channels,
            out_channels=classes,
            psp_block_num=levels,
            upsample_mode=mode,
        )
    )
    weights = oracle.state_dict()
    settings = settings_from_monai(weights)
    assert (settings.in_channels, settings.classes) == (channels, classes)
    assert (settings.pyramid_levels, settings.upsampling) == (levels, mode)
    network = AHNet(settings).eval()
    report = load_weights(network, weights)
    assert report.complete
    assert len(report.loaded) == len(weights)
    x = torch.randn(1, channels, *size)
    with torch.no_grad():
        expected = oracle(x).permute(0, 1, 4, 2, 3)
        found = network(x.permute(0, 1, 4, 2, 3))
    assert relative_difference(found, expected) < TOLERANCE


def test_ours_agrees_with_monai_while_training():
    torch.manual_seed(0)
    oracle = monai_ahnet.AHNet(layers=(1, 1, 1, 1), psp_block_num=1, upsample_mode="trilinear", out_channels=2)
    network = AHNet(settings_from_monai(oracle.state_dict()))
    load_weights(network, oracle.state_dict())
    x = torch.randn(2, 1, 64, 64, 32)
    expected = oracle.train()(x).permute(0, 1, 4, 2, 3)
    found = network.train()(x.permute(0, 1, 4, 2, 3))
    assert relative_difference(found.detach(), expected.detach()) < TOLERANCE
    statistics = network.encoder.layer4[0].bn3.running_var
    assert torch.allclose(statistics, oracle.layer4[0].bn3.running_var, rtol=1e-3)


def test_sizes_that_monai_refuses_run_with_its_weights():
    oracle = monai_ahnet.AHNet(layers=(1, 1, 1, 1), psp_block_num=4, upsample_mode="trilinear", out_channels=2)
    network = AHNet(settings_from_monai(oracle.state_dict())).eval()
    load_weights(network, oracle.state_dict())
    with torch.no_grad():
        assert network(torch.randn(1, 1, 32, 96, 96)).shape == (1, 2, 32, 96, 96)


@pytest.mark.parametrize("mode", ["bilinear", "transpose"])
@pytest.mark.parametrize("projected", [0, 5])
def test_ours_agrees_with_monai_s_fcn_on_its_own_weights(mode, projected, monkeypatch):
    fcn = pytest.importorskip("monai.networks.blocks.fcn", reason="MONAI is the oracle")
    backbone = SimpleNamespace(resnet50=lambda progress, weights: ReferenceResNet())
    monkeypatch.setattr(fcn, "models", backbone)
    torch.manual_seed(0)
    settings = {"out_channels": 3, "upsample_mode": mode, "pretrained": False}
    oracle = randomise(fcn.MCFCN(in_channels=projected, **settings) if projected else fcn.FCN(**settings))
    network = MCGCN(mcgcn_settings_from_monai(oracle.state_dict())).eval()
    report = load_weights(network, oracle.state_dict())
    assert report.complete
    assert report.format == ("MONAI MCFCN" if projected else "MONAI FCN")
    x = torch.randn(2, projected or 3, 64, 96)
    with torch.no_grad():
        assert relative_difference(network(x), oracle(x)) < TOLERANCE
