"""A volume that streams through the folded network gives what the network gives for it in one piece."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from AHNetSegmentLib.network import folding
from AHNetSegmentLib.network.ahnet import AHNet
from AHNetSegmentLib.network.folding import Target, plane_weight, rectified_convolution
from AHNetSegmentLib.network.layers import Conv3d
from AHNetSegmentLib.network.settings import AHNetSettings
from AHNetSegmentLib.network.streaming import StreamedAHNet
from network_helpers import randomise, relative_difference

CPU = torch.device("cpu")
EXACT = Target(CPU, torch.float32)
TOLERANCE = 1e-5

SETTINGS: dict[str, dict[str, Any]] = {
    "as published": {},
    "slices kept at first": {"slice_strides": (1, 1, 2, 2, 2)},
    "all slices kept": {"slice_strides": (1, 1, 1, 1, 1)},
    "pool of three slices, two volumes": {"slice_strides": (1, 2, 1, 2, 1), "in_channels": 2},
    "learned upsampling": {"upsampling": "transpose"},
    "learned upsampling, odd strides": {
        "upsampling": "transpose",
        "slice_strides": (2, 1, 2, 1, 1),
        "pyramid_levels": 0,
    },
    "as MONAI": {"align_corners": True, "padded_pyramid": True, "zero_padded_slices": True},
    "one class more than eight": {"classes": 9, "slice_strides": (1, 1, 1, 2, 1)},
}
SIZES = [(33, 64, 64), (40, 75, 50), (1, 33, 31), (2, 64, 40)]


def network_of(name: str) -> AHNet:
    torch.manual_seed(1)
    network = AHNet(AHNetSettings(**{"classes": 3, "width": 0.125, "pyramid_levels": 2, **SETTINGS[name]}))
    randomise(network)
    return network


@torch.inference_mode()
def streamed(network: AHNet, volume: torch.Tensor, slices: int, batch_bytes: int, **options: Any) -> torch.Tensor:
    """(D, classes, H, W) of a volume (C, D, H, W) that comes in batches of so many slices."""
    batches = iter(volume.transpose(0, 1).split(slices))
    stream = StreamedAHNet(network, CPU, torch.float32)
    return torch.cat(list(stream.run(batches, volume.shape[1:], batch_bytes, **options)))


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", SETTINGS)
def test_a_streamed_volume_gives_what_the_whole_volume_gives(name: str, size: tuple[int, int, int]) -> None:
    network = network_of(name)
    volume = torch.randn(network.settings.in_channels, *size)
    with torch.inference_mode():
        expected = network(volume[None])[0].transpose(0, 1)
    for slices, batch_bytes in ((1, 1), (3, 50_000), (1000, 2**26)):
        assert relative_difference(streamed(network, volume, slices, batch_bytes), expected) < TOLERANCE


@pytest.mark.parametrize("name", SETTINGS)
def test_maps_can_be_made_again_instead_of_being_kept(name: str) -> None:
    network = network_of(name)
    volume = torch.randn(network.settings.in_channels, 37, 40, 50)
    for slices, batch_bytes in ((1, 1), (6, 50_000)):
        kept = streamed(network, volume, slices, batch_bytes)
        assert torch.equal(streamed(network, volume, slices, batch_bytes, remade=True), kept)


@pytest.mark.parametrize("name", ["as published", "learned upsampling"])
def test_without_onednn_s_joined_convolutions_the_result_is_the_same(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = network_of(name)
    volume = torch.randn(1, 21, 50, 40)
    joined = streamed(network, volume, 4, 100_000)
    monkeypatch.setattr(folding, "runs_fused", lambda target: False)
    assert relative_difference(streamed(network, volume, 4, 100_000), joined) < TOLERANCE


def test_the_network_itself_is_left_as_it_was() -> None:
    network = network_of("as published")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    streamed(network, torch.randn(1, 8, 32, 32), 8, 1000)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("name", ["as published", "as MONAI"])
def test_logits_can_be_had_before_their_last_enlargement(name: str) -> None:
    network = network_of(name)
    volume = torch.randn(1, 12, 45, 38)
    full = streamed(network, volume, 5, 100_000)
    coarse = streamed(network, volume, 5, 100_000, enlarged=False)
    enlargement = StreamedAHNet(network, CPU, torch.float32).last_enlargement(volume.shape[1:])
    assert enlargement is not None
    assert coarse.shape[2:] == (23, 19)
    torch.testing.assert_close(enlargement(coarse), full)


def test_a_learned_enlargement_is_part_of_the_network() -> None:
    assert StreamedAHNet(network_of("learned upsampling"), CPU, torch.float32).last_enlargement((9, 9, 9)) is None


def test_making_maps_again_takes_less_memory() -> None:
    stream = StreamedAHNet(AHNet(AHNetSettings(width=0.5)).eval(), CPU, torch.float32)
    assert stream.memory_bytes((100, 256, 256), remade=True) < stream.memory_bytes((100, 256, 256))


def test_logits_come_as_soon_as_their_slices_are_there() -> None:
    network = network_of("slices kept at first")
    reach = network.settings.slice_reach
    stream = StreamedAHNet(network, CPU, torch.float32)
    fed = 0

    def batches():  # type: ignore[no-untyped-def]
        nonlocal fed
        for _ in range(4 * reach):
            fed += 1
            yield torch.randn(1, 1, 32, 32)

    done = 0
    with torch.inference_mode():
        for logits in stream.run(batches(), (4 * reach, 32, 32), 1):
            done += len(logits)
            assert fed - done <= reach + network.settings.slice_stride


def test_what_is_kept_does_not_grow_with_the_number_of_slices() -> None:
    stream = StreamedAHNet(network_of("slices kept at first"), CPU, torch.float32)
    assert stream.memory_bytes((200, 256, 256), 2**20) == stream.memory_bytes((400, 256, 256), 2**20)
    assert stream.memory_bytes((200, 256, 256), 2**20) > stream.memory_bytes((200, 192, 256), 2**20)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_bfloat16_agrees_with_float32_within_its_rounding(dtype: torch.dtype) -> None:
    network = network_of("slices kept at first")
    volume = torch.randn(1, 16, 64, 64)
    with torch.inference_mode():
        expected = network(volume[None])[0].transpose(0, 1)
        stream = StreamedAHNet(network, CPU, dtype)
        found = torch.cat(list(stream.run(iter(volume.transpose(0, 1).split(4)), (16, 64, 64))))
    assert found.dtype == dtype
    assert float((found.float() - expected).std() / expected.std()) < (1e-5 if dtype == torch.float32 else 0.05)


def odd_norm() -> nn.BatchNorm3d:
    """Positive, negative, zero and nearly zero scales, with shifts of both signs."""
    norm = nn.BatchNorm3d(8)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, -0.7, 0.0, 0.0, 1e-12, 1e-12, 2.0, -1e-4]))
        norm.bias.copy_(torch.tensor([0.3, 0.4, 0.5, -0.5, 0.6, -0.6, -1.0, 0.2]))
        norm.running_mean.copy_(torch.linspace(-1, 1, 8))
        norm.running_var.copy_(torch.linspace(0.5, 2, 8))
    return norm.eval()


@pytest.mark.parametrize("columns", [6, 16])
@pytest.mark.parametrize("relu", [False, True])
def test_batch_norm_and_relu_before_a_convolution_are_one_comparison(columns: int, relu: bool) -> None:
    torch.manual_seed(0)
    norm, conv = odd_norm(), Conv3d(8, 5, 1, bias=False)
    x = torch.randn(3, 8, 7, columns).contiguous(memory_format=torch.channels_last)
    after = (torch.rand(5).double() - 0.5, torch.randn(5).double())
    rectified, (folded,) = rectified_convolution(norm, [plane_weight(conv)], EXACT, after, relu=relu)
    with torch.no_grad():
        expected = conv(norm(x.unsqueeze(2)).relu()).squeeze(2) * after[0][:, None, None] + after[1][:, None, None]
        expected = expected.relu() if relu else expected
        found = folded(rectified(x))
        torch.testing.assert_close(found, expected.float())
        out = torch.empty_like(x)
        assert rectified(x, out=out) is out
        torch.testing.assert_close(out, rectified(x))


def test_the_first_channels_and_the_others_can_be_limited_apart() -> None:
    rectified, _ = rectified_convolution(odd_norm(), [torch.ones(1, 8, 1, 1).double()], EXACT)
    x = torch.randn(2, 8, 5, 6)
    first, others = rectified.parted(3)
    torch.testing.assert_close(torch.cat([first(x[:, :3]), others(x[:, 3:])], dim=1), rectified(x))


def test_half_precision_meets_no_number_beyond_its_range() -> None:
    norm = odd_norm()
    with torch.no_grad():
        norm.weight[7] = 1e-6  # its ReLU turns on at 2e5
    rectified, (folded,) = rectified_convolution(norm, [torch.randn(4, 8, 1, 1).double()], Target(CPU, torch.float16))
    assert torch.isfinite(rectified.rest).all()
    assert torch.isfinite(folded.bias).all()  # type: ignore[arg-type]
