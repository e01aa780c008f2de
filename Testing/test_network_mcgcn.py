"""The 2D network: sizes, kernels, torchvision's backbone."""

from __future__ import annotations

import pytest
import torch

from AHNetSegmentLib.network.mcgcn import MCGCN, GlobalConvolution, Refine
from AHNetSegmentLib.network.resnet import ResNet2d
from AHNetSegmentLib.network.settings import MCGCNSettings
from network_helpers import ReferenceResNet, randomise, relative_difference


@pytest.mark.parametrize(("height", "width"), [(64, 64), (33, 47), (31, 130), (1, 1)])
@pytest.mark.parametrize("upsampling", ["bilinear", "transpose"])
def test_any_size_keeps_its_shape(height, width, upsampling):
    network = MCGCN(MCGCNSettings(width=0.125, classes=4, in_channels=2, upsampling=upsampling)).eval()
    with torch.no_grad():
        logits = network(torch.randn(2, 6, height, width))
    assert logits.shape == (2, 4, height, width)
    assert torch.isfinite(logits).all()


def test_another_number_of_channels_is_refused():
    with pytest.raises(ValueError, match=r"\(N, 3, H, W\)"):
        MCGCN(MCGCNSettings(width=0.125))(torch.zeros(1, 1, 32, 32))


def test_kernels_grow_from_the_deepest_level_to_the_shallowest():
    network = MCGCN(MCGCNSettings(width=0.125))
    assert [level.left[0].kernel_size for level in network.decoder.gcn] == [
        (7, 1),
        (9, 1),
        (15, 1),
        (31, 1),
        (63, 1),
    ]


def test_a_global_convolution_sees_a_whole_square():
    layer = GlobalConvolution(1, 1, 5)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.fill_(1.0 if parameter.dim() == 4 else 0.0)
    x = torch.zeros(1, 1, 9, 9)
    x[0, 0, 4, 4] = 1.0
    expected = torch.zeros(9, 9)
    expected[2:7, 2:7] = 2.0
    assert torch.equal(layer(x)[0, 0].detach(), expected)


def test_refine_adds_its_input():
    block = Refine(2)
    with torch.no_grad():
        block.conv2.weight.zero_()
        block.conv2.bias.zero_()
    x = torch.randn(1, 2, 4, 4)
    assert torch.equal(block(x), x)


def test_the_encoder_computes_what_torchvision_s_resnet_50_does():
    torch.manual_seed(0)
    reference = randomise(ReferenceResNet())
    encoder = ResNet2d().eval()
    missing, unexpected = encoder.load_state_dict(reference.state_dict(), strict=False)
    assert missing == []
    assert unexpected == ["fc.weight", "fc.bias"]
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        assert relative_difference(encoder(x).layer4, reference(x)) < 1e-5


def test_all_maps_of_the_2d_network_are_channels_last():
    broken = []
    network = MCGCN(MCGCNSettings(width=0.25))

    def check(module, inputs, output):
        if isinstance(output, torch.Tensor) and not output.is_contiguous(memory_format=torch.channels_last):
            broken.append(type(module).__name__)

    for module in network.modules():
        module.register_forward_hook(check)
    network(torch.randn(2, 3, 64, 64))
    assert broken == []


@pytest.mark.parametrize("classes", [2, 14])
def test_training_starts_from_nearly_equal_probabilities(classes):
    torch.manual_seed(0)
    network = MCGCN(MCGCNSettings(width=0.25, classes=classes)).train()
    with torch.no_grad():
        logits = network(torch.randn(2, 3, 64, 64))
    labels = torch.randint(0, classes, (2, 64, 64))
    loss = torch.nn.functional.cross_entropy(logits, labels)
    assert loss < 1.3 * torch.log(torch.tensor(float(classes)))
