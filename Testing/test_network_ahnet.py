"""The 3D network: sizes, layout, parameters, the locked encoder."""

from __future__ import annotations

import pytest
import torch

from AHNetSegmentLib.network.ahnet import AHNet, Head, LearnedResize, Pyramid, Resize, Up
from AHNetSegmentLib.network.settings import AHNetSettings

FEW_SLICES = (1, 1, 2, 1, 1)


def _parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_full_width_has_27_million_parameters_of_which_23_5_are_the_encoder():
    network = AHNet()
    assert _parameters(network) / 1e6 == pytest.approx(27.1, abs=0.05)
    assert _parameters(network.encoder) / 1e6 == pytest.approx(23.5, abs=0.05)


def test_half_the_width_has_a_quarter_of_the_encoder():
    assert _parameters(AHNet(AHNetSettings(width=0.5)).encoder) / 1e6 == pytest.approx(23.5 / 4, rel=0.02)


def test_the_strides_are_those_of_the_article():
    features = AHNet(AHNetSettings(width=0.125)).eval().encoder(torch.zeros(1, 1, 32, 64, 32))
    shapes = {name: tuple(map_.shape[2:]) for name, map_ in features._asdict().items()}
    assert shapes == {
        "conv_x": (16, 32, 16),
        "pool_x": (8, 16, 8),
        "layer1": (8, 16, 8),
        "layer2": (4, 8, 4),
        "layer3": (2, 4, 2),
        "layer4": (1, 2, 1),
    }


@pytest.mark.parametrize(
    ("height", "width", "slices"),
    [(96, 96, 32), (128, 128, 48), (33, 47, 5), (512, 512, 1), (31, 40, 24), (1, 1, 1), (64, 2, 3)],
)
@pytest.mark.parametrize("upsampling", ["trilinear", "transpose"])
def test_any_size_keeps_its_shape(height, width, slices, upsampling):
    network = AHNet(AHNetSettings(width=0.125, classes=3, upsampling=upsampling)).eval()
    with torch.no_grad():
        logits = network(torch.randn(1, 1, slices, height, width))
    assert logits.shape == (1, 3, slices, height, width)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("strides", [(1, 1, 1, 1, 1), FEW_SLICES, (2, 1, 2, 1, 2)])
@pytest.mark.parametrize("monai", [False, True])
def test_any_slice_strides_and_any_pyramid_keep_the_shape(strides, monai):
    settings = AHNetSettings(
        width=0.125, slice_strides=strides, in_channels=2, align_corners=monai, padded_pyramid=monai
    )
    with torch.no_grad():
        logits = AHNet(settings).eval()(torch.randn(2, 2, 7, 50, 41))
    assert logits.shape == (2, 2, 7, 50, 41)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("strides", [(1, 1, 1, 1, 1), FEW_SLICES])
def test_no_slice_beyond_the_slice_reach_changes_a_result(strides):
    settings = AHNetSettings(width=0.125, slice_strides=strides, pyramid_levels=1)
    network = AHNet(settings).double().eval()
    reach = settings.slice_reach
    volume = torch.randn(1, 1, 2 * reach + 8, 32, 32, dtype=torch.float64)
    changed = volume.clone()
    changed[:, :, reach + 4] += 10
    with torch.no_grad():
        difference = (network(changed) - network(volume)).abs().amax(dim=(0, 1, 3, 4))
    distances = (difference.nonzero().flatten() - (reach + 4)).abs()
    assert reach - 4 <= distances.max() <= reach


def test_another_number_of_channels_is_refused():
    with pytest.raises(ValueError, match=r"\(N, 1, D, H, W\), not \(1, 2, 4, 32, 32\)"):
        AHNet(AHNetSettings(width=0.125))(torch.zeros(1, 2, 4, 32, 32))


@pytest.mark.parametrize("upsampling", ["trilinear", "transpose"])
@pytest.mark.parametrize("cases", [1, 2])
@pytest.mark.parametrize("size", [(8, 64, 64), (6, 40, 72)])
def test_every_map_stays_channels_last(upsampling, cases, size):
    network = AHNet(AHNetSettings(width=0.25, classes=3, upsampling=upsampling, slice_strides=FEW_SLICES))
    broken = []

    def check(module, inputs, output):
        # One-channel maps have no layout. Cropped maps are views of channels-last ones.
        if not isinstance(output, torch.Tensor) or output.shape[1] == 1:
            return
        whole = output.is_contiguous(memory_format=torch.channels_last_3d)
        if not (whole or (isinstance(module, cropping) and output.stride(1) == 1)):
            broken.append((type(module).__name__, tuple(output.shape)))

    multiple = all(length % 32 == 0 for length in size[1:])
    # The head leaves out the channels that fill its logits up to eights.
    cropping = (Head, type(network.decoder), *(() if multiple else (Up, Resize, LearnedResize)))
    for module in network.decoder.modules():
        module.register_forward_hook(check)
    for module in network.encoder.modules():
        module.register_forward_hook(check)
    network(torch.randn(cases, 1, *size))
    assert broken == []


def test_a_pyramid_cell_covers_exactly_its_own_pixels():
    pyramid = Pyramid(AHNetSettings(pyramid_levels=1, upsampling="transpose"), channels=1)
    with torch.no_grad():
        pyramid.project[0].weight.fill_(1)
        pyramid.project[0].bias.zero_()
        pyramid.up[0].weight.fill_(1)
        pyramid.up[0].bias.zero_()
    x = torch.zeros(1, 1, 1, 12, 20)
    x[..., 3, 5], x[..., 9, 17] = 2.0, 3.0
    with torch.no_grad():
        pooled = pyramid(x)[0, 0, 0]
    expected = torch.zeros(12, 20)
    expected[:8, :8], expected[8:, 16:] = 2.0, 3.0
    assert torch.equal(pooled, expected)


def test_a_map_smaller_than_every_window_is_pooled_whole():
    pyramid = Pyramid(AHNetSettings(), channels=1)
    with torch.no_grad():
        for project in pyramid.project:
            project.weight.fill_(1)
            project.bias.zero_()
    x = torch.rand(1, 1, 2, 5, 3)
    with torch.no_grad():
        levels = pyramid(x)[:, :4]
    assert torch.allclose(levels, x.amax(dim=(3, 4), keepdim=True).expand_as(levels))


def test_training_starts_from_nearly_equal_probabilities():
    torch.manual_seed(0)
    logits = AHNet(AHNetSettings(width=0.25, slice_strides=FEW_SLICES))(torch.randn(2, 1, 8, 64, 64))
    assert logits.std() < 0.5


def _step(network):
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    network.train()
    network(torch.randn(2, 1, 4, 32, 32)).square().mean().backward()
    optimizer.step()


def _copy(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def test_a_locked_encoder_keeps_weights_and_statistics_while_the_decoder_learns():
    network = AHNet(AHNetSettings(width=0.125, slice_strides=FEW_SLICES))
    network.lock_encoder(True)
    encoder, decoder = _copy(network.encoder), _copy(network.decoder)
    _step(network)
    assert network.encoder_locked
    assert all(torch.equal(value, encoder[name]) for name, value in network.encoder.state_dict().items())
    assert not torch.equal(network.decoder.head.conv.weight, decoder["head.conv.weight"])
    assert not torch.equal(network.decoder.up0.norm.running_mean, decoder["up0.norm.running_mean"])


def test_an_unlocked_encoder_learns_again():
    network = AHNet(AHNetSettings(width=0.125, slice_strides=FEW_SLICES))
    network.lock_encoder(True)
    network.train()
    network.lock_encoder(False)
    assert network.encoder.training
    before = _copy(network.encoder)
    _step(network)
    assert not torch.equal(network.encoder.conv1.weight, before["conv1.weight"])
    assert not torch.equal(network.encoder.bn1.running_mean, before["bn1.running_mean"])


def test_unlocking_in_eval_mode_leaves_eval_mode_alone():
    network = AHNet(AHNetSettings(width=0.125)).eval()
    network.lock_encoder(True)
    network.lock_encoder(False)
    assert not network.encoder.training
    assert all(parameter.requires_grad for parameter in network.encoder.parameters())


def test_bfloat16_autocast_gives_finite_logits():
    network = AHNet(AHNetSettings(width=0.125, slice_strides=FEW_SLICES)).eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        logits = network(torch.randn(1, 1, 4, 32, 32))
    assert torch.isfinite(logits.float()).all()
