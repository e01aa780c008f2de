"""The transfer from 2D to 3D: with slice pooling off, both encoders compute the same."""

from __future__ import annotations

import pytest
import torch

from AHNetSegmentLib.network.ahnet import AHNet
from AHNetSegmentLib.network.mcgcn import MCGCN, slice_triplets
from AHNetSegmentLib.network.resnet import ResNet2d
from AHNetSegmentLib.network.settings import AHNetSettings, MCGCNSettings
from AHNetSegmentLib.network.transfer import transfer_encoder
from network_helpers import randomise, relative_difference

NO_SLICE_POOLING = (1, 1, 1, 1, 1)


def test_slice_triplets_are_ordered_by_volume_and_repeat_the_edge():
    volumes = torch.tensor([[10.0, 11, 12], [20, 21, 22]]).reshape(1, 2, 3, 1, 1)
    triplets = slice_triplets(volumes).reshape(3, 6)
    assert triplets.tolist() == [
        [10, 10, 11, 20, 20, 21],
        [10, 11, 12, 20, 21, 22],
        [11, 12, 12, 21, 22, 22],
    ]


def test_slice_triplets_keep_cases_apart():
    volumes = torch.arange(2 * 4.0).reshape(2, 1, 4, 1, 1)
    triplets = slice_triplets(volumes).reshape(8, 3)
    assert triplets[3].tolist() == [2, 3, 3]
    assert triplets[4].tolist() == [4, 4, 5]


def test_a_single_slice_is_its_own_neighbour():
    assert slice_triplets(torch.full((1, 1, 1, 1, 1), 5.0)).flatten().tolist() == [5, 5, 5]


@pytest.mark.parametrize(
    ("width", "volumes", "size"),
    [
        (0.25, 1, (2, 1, 5, 64, 32)),
        (0.5, 2, (1, 2, 3, 64, 96)),
        (0.25, 3, (1, 3, 1, 32, 32)),
        (0.25, 1, (1, 1, 4, 45, 71)),
        (1.0, 1, (1, 1, 3, 64, 64)),
    ],
)
def test_every_slice_has_the_features_of_the_2d_network_at_every_level(width, volumes, size):
    torch.manual_seed(1)
    source = randomise(ResNet2d(3 * volumes, width))
    target = AHNet(AHNetSettings(in_channels=volumes, width=width, slice_strides=NO_SLICE_POOLING)).eval()
    transfer_encoder(source, target)
    x = torch.randn(size)
    with torch.no_grad():
        in_plane = source(slice_triplets(x))
        in_volume = target.encoder(x)
    for level, expected in in_plane._asdict().items():
        found = getattr(in_volume, level).transpose(1, 2).flatten(0, 1)
        assert relative_difference(found, expected) < 1e-5, level


def test_the_whole_2d_network_can_be_the_source():
    source = randomise(MCGCN(MCGCNSettings(width=0.25)))
    target = AHNet(AHNetSettings(width=0.25, classes=5))
    transfer_encoder(source, target)
    weight = source.encoder.conv1.weight
    assert torch.equal(target.encoder.conv1.weight, weight.unsqueeze(1))


def test_everything_of_batch_norm_is_copied():
    source = randomise(ResNet2d(3, 0.25))
    target = AHNet(AHNetSettings(width=0.25))
    transfer_encoder(source, target)
    copied = target.encoder.state_dict()
    for name, value in source.state_dict().items():
        if ".bn" in name or "downsample.1" in name or name.startswith("bn1"):
            assert torch.equal(copied[name], value), name
    assert copied["layer4.2.bn3.num_batches_tracked"] == 7


def test_one_volume_s_encoder_serves_several_equal_volumes():
    source = randomise(ResNet2d(3, 0.25))
    one = AHNet(AHNetSettings(width=0.25, slice_strides=NO_SLICE_POOLING)).eval()
    three = AHNet(AHNetSettings(width=0.25, in_channels=3, slice_strides=NO_SLICE_POOLING)).eval()
    transfer_encoder(source, one)
    transfer_encoder(source, three)
    x = torch.randn(1, 1, 3, 32, 32)
    with torch.no_grad():
        expected, found = one.encoder(x), three.encoder(x.repeat(1, 3, 1, 1, 1))
    assert relative_difference(found.layer4, expected.layer4) < 1e-5


def test_another_width_is_refused():
    with pytest.raises(ValueError, match=r"width 0\.5.*width 0\.25"):
        transfer_encoder(ResNet2d(3, 0.5), AHNet(AHNetSettings(width=0.25)))


def test_another_number_of_volumes_is_refused():
    with pytest.raises(ValueError, match="6 channels"):
        transfer_encoder(ResNet2d(6, 0.25), AHNet(AHNetSettings(width=0.25, in_channels=3)))


def test_projected_channels_are_refused():
    with pytest.raises(ValueError, match="projects"):
        transfer_encoder(MCGCN(MCGCNSettings(width=0.25, projected_from=4)), AHNet(AHNetSettings(width=0.25)))
