"""What the tests of the network share: random weights that hide nothing, and a ResNet-50 under torchvision's names."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn


def randomise(network: nn.Module, seed: int = 0) -> nn.Module:
    """Random BatchNorm weights, negative ones too, biases and statistics; in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm3d)):
            with torch.no_grad():
                module.weight.uniform_(-0.8, 1.2, generator=generator)
                module.bias.normal_(0, 0.5, generator=generator)
                module.running_mean.normal_(0, 0.5, generator=generator)
                module.running_var.uniform_(0.5, 2.0, generator=generator)
                module.num_batches_tracked.fill_(7)
    return network.eval()


def relative_difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference, as a part of the expected values' range."""
    assert found.shape == expected.shape
    spread = expected.max() - expected.min()
    return float((found - expected).abs().max() / spread)


class ReferenceBottleneck(nn.Module):
    """torchvision's bottleneck, written down again so that no test needs torchvision."""

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, 4 * planes, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * planes)
        self.downsample = None
        if stride > 1 or inputs != 4 * planes:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, 4 * planes, 1, stride, bias=False), nn.BatchNorm2d(4 * planes)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.bn1(self.conv1(x)).relu()
        out = self.bn2(self.conv2(out)).relu()
        out = self.bn3(self.conv3(out))
        return (out + (x if self.downsample is None else self.downsample(x))).relu()


class ReferenceResNet(nn.Module):
    """torchvision's ResNet up to its last stage, with the classifier's weights beside it."""

    def __init__(self, blocks: tuple[int, ...] = (3, 4, 6, 3)) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inputs = 64
        for stage, count in enumerate(blocks):
            planes = 64 * 2**stage
            layers = OrderedDict()
            for block in range(count):
                layers[str(block)] = ReferenceBottleneck(inputs, planes, 2 if stage and not block else 1)
                inputs = 4 * planes
            self.add_module(f"layer{stage + 1}", nn.Sequential(layers))
        self.fc = nn.Linear(inputs, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))
