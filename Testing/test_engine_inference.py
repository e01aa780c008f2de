"""A result lies on the grid of its input, voxel for voxel, whatever the orientation, spacing, size and window."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from AHNetSegmentLib.engine import inference, pipeline, returning
from AHNetSegmentLib.engine.card import Intensity
from AHNetSegmentLib.engine.errors import Cancelled, DeviceError, ModelError, ResourceError, VolumeError
from AHNetSegmentLib.engine.image_io import read_volume
from AHNetSegmentLib.engine.inference import InferenceSettings, segment
from AHNetSegmentLib.engine.timings import Step, Timings
from AHNetSegmentLib.engine.volume import Geometry, Region, Volume, crop
from AHNetSegmentLib.network.settings import AHNetSettings
from engine_helpers import (
    OBLIQUE,
    BrightnessModel,
    BrightnessNetwork,
    all_48,
    brightness_model,
    card,
    expected_labels,
    lps_points,
    noise_volume,
    object_volume,
    random_model,
)

SIZES = [(96, 96, 32), (128, 128, 48), (33, 47, 5), (512, 512, 1), (31, 40, 24)]
EXACT = InferenceSettings(device="cpu", precision="float32")


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_any_size_goes_through_the_network_and_comes_back_with_its_shape(size: tuple[int, int, int]) -> None:
    model = random_model(network=AHNetSettings(classes=3, width=0.125))
    volume = noise_volume((size[2], size[1], size[0]), spacing=(0.8, 0.8, 3.0))
    with torch.inference_mode():
        logits = model.network(torch.zeros(1, 1, size[2], size[1], size[0]))
    assert logits.shape == (1, 3, size[2], size[1], size[0])
    result = segment(volume, model, EXACT)
    assert result.labels.shape == volume.array.shape
    assert result.labels.dtype == np.uint8
    assert result.geometry == volume.geometry


@pytest.mark.parametrize("number", range(48))
def test_the_object_is_found_where_it_lies_in_all_48_axis_orders_and_flips(number: int) -> None:
    original = object_volume()
    volume = all_48(original)[number]
    result = segment(volume, brightness_model(), EXACT)
    np.testing.assert_array_equal(result.labels, expected_labels(volume))
    for label in (1, 2):
        found = lps_points(result.labels == label, result.geometry)
        np.testing.assert_allclose(found, lps_points(expected_labels(original) == label, original.geometry), atol=1e-3)


def test_the_input_is_left_as_it_was() -> None:
    volume = object_volume()
    before = volume.array.copy()
    segment(volume, brightness_model(), EXACT)
    np.testing.assert_array_equal(volume.array, before)


def test_a_real_network_finds_the_same_in_all_48_axis_orders_and_flips() -> None:
    original = noise_volume((8, 21, 18), spacing=(1.0, 1.1, 2.5))
    model = random_model()
    expected = segment(original, model, EXACT)
    assert len(np.unique(expected.labels)) == 3
    probes = {label: lps_points(expected.labels == label, original.geometry) for label in (1, 2)}
    for volume in all_48(original):
        labels = segment(volume, model, EXACT).labels
        for label, points in probes.items():
            np.testing.assert_allclose(lps_points(labels == label, volume.geometry), points, atol=1e-3)


def test_an_oblique_volume_is_segmented_voxel_for_voxel() -> None:
    flat = object_volume()
    oblique = Volume(flat.array, Geometry((17, 14, 9), (1.0, 1.2, 3.0), (30.0, -7.0, 2.0), OBLIQUE), "oblique")
    result = segment(oblique, brightness_model(), EXACT)
    np.testing.assert_array_equal(result.labels, expected_labels(oblique))
    assert result.geometry == oblique.geometry


@pytest.mark.parametrize("case", ["prostate-t2/label.nii.gz", "brain-tumour-mr/label.nrrd"])
def test_a_real_object_in_a_real_file_is_found_voxel_for_voxel(shared_data: Path, case: str) -> None:
    labels = read_volume(shared_data / "single" / case)
    bright = Volume((labels.array > 0).astype(np.float32) * 60, labels.geometry, case)
    result = segment(bright, brightness_model(), EXACT)
    np.testing.assert_array_equal(result.labels, (labels.array > 0).astype(np.uint8))
    assert result.geometry == labels.geometry


@pytest.mark.parametrize(
    ("spacing", "dice"),
    [((None, 0.7, 0.7), 0.98), ((1.5, 1.0, 1.0), 0.98), ((1.0, 2.1, 0.9), 0.97), ((3.5, 1.6, 1.6), 0.95)],
    ids=str,
)
@pytest.mark.parametrize("number", [0, 13, 29, 47])
def test_resampling_to_the_model_and_back_does_not_shift(
    spacing: tuple[float | None, float, float], dice: float, number: int
) -> None:
    shape, step = (12, 40, 44), np.array([2.4, 1.1, 1.0])
    place = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    centre, radii = np.array([6.5, 17.3, 25.2]), np.array([9.0, 12.0, 10.0])
    distance = np.sqrt(((place - centre) * step / radii) ** 2 @ np.ones(3))
    ball = (100 * np.clip(1 - 0.5 * distance, 0, 1)).astype(np.float32)
    geometry = Geometry((44, 40, 12), (1.0, 1.1, 2.4), (3.0, -4.0, 5.0), OBLIQUE)
    volume = all_48(Volume(ball, geometry, "ball"))[number]
    found = segment(volume, brightness_model(spacing=spacing), EXACT).labels > 0
    wanted = volume.array > 50
    assert 2 * (found & wanted).sum() / (found.sum() + wanted.sum()) > dice
    offset = np.argwhere(found).mean(axis=0) - np.argwhere(wanted).mean(axis=0)
    assert np.abs(offset).max() < 0.1  # half a voxel of the coarser grid would be 0.2 or more


@pytest.mark.parametrize("mirrored", [False, True])
def test_tiles_in_plane_are_blended_without_a_seam(mirrored: bool) -> None:
    volume = noise_volume((4, 300, 250))
    settings = InferenceSettings(device="cpu", precision="float32", window_memory=1.0)
    np.testing.assert_array_equal(
        segment(volume, brightness_model(test_time_mirroring=mirrored), settings).labels, expected_labels(volume)
    )


def test_tiles_of_a_real_network_give_nearly_what_whole_slices_give() -> None:
    settings = AHNetSettings(classes=3, width=0.125, slice_strides=(1, 1, 1, 2, 1), pyramid_levels=0)
    model = random_model(network=settings)
    volume = noise_volume((90, 150, 130))
    whole = segment(volume, model, EXACT)
    network = model.for_inference(torch.device("cpu"), torch.float32)
    needed = network.memory_bytes(volume.array.shape) / 2**20
    tiles = segment(volume, model, InferenceSettings(None, "cpu", "float32", needed * 0.6))
    assert len(np.unique(whole.labels)) == 3
    assert (whole.labels == tiles.labels).mean() > 0.97


def test_only_the_region_is_looked_at_and_all_else_stays_background() -> None:
    volume = noise_volume((20, 30, 40), origin=(5.0, 6.0, 7.0))
    region = Region((6, 4, 3), (30, 25, 17))
    result = segment(volume, brightness_model(), InferenceSettings(region, "cpu", "float32"))
    inside = np.zeros(volume.array.shape, bool)
    inside[region.slices] = True
    np.testing.assert_array_equal(result.labels[inside], expected_labels(volume)[inside])
    assert not result.labels[~inside].any()


def test_intensities_are_normalised_within_the_region() -> None:
    volume = noise_volume((20, 30, 40))
    region = Region((6, 4, 3), (30, 25, 17))
    model = brightness_model(intensity=Intensity("zscore", 0.5, 99.5))
    part = segment(crop(volume, region), model, EXACT)
    whole = segment(volume, model, InferenceSettings(region, "cpu", "float32"))
    np.testing.assert_array_equal(whole.labels[region.slices], part.labels)


def test_a_region_outside_the_volume_is_refused() -> None:
    with pytest.raises(VolumeError, match="outside noise"):
        segment(noise_volume((5, 6, 7)), brightness_model(), InferenceSettings(Region((0, 0, 0), (8, 6, 5))))


def test_probabilities_agree_with_the_labels() -> None:
    volume = noise_volume((10, 30, 40), spacing=(1.0, 1.0, 2.0))
    result = segment(volume, random_model(), InferenceSettings(None, "cpu", "float32", probabilities=True))
    assert result.probabilities is not None
    assert result.probabilities.shape == (2, *volume.array.shape)
    background = 255 - result.probabilities.astype(int).sum(axis=0)
    certain = np.concatenate([background[None], result.probabilities]).max(axis=0) > 135
    most = np.concatenate([background[None], result.probabilities]).argmax(axis=0)
    np.testing.assert_array_equal(most[certain], result.labels[certain])


@pytest.mark.parametrize(
    ("one_piece", "keep_largest", "lost"),
    [((), True, (2, 1)), ((), None, (0, 0)), ((1,), None, (2, 0)), ((1, 2), None, (2, 1)), ((1, 2), False, (0, 0))],
)
def test_the_largest_piece_alone_is_kept_where_asked_for_or_where_the_model_says_so(
    one_piece: tuple[int, ...], keep_largest: bool | None, lost: tuple[int, int]
) -> None:
    volume = object_volume()
    volume.array[7, 1, 1:3] = 60
    volume.array[0, 13, 16] = 100
    settings = InferenceSettings(device="cpu", precision="float32", keep_largest=keep_largest)
    kept = segment(volume, brightness_model(one_piece=one_piece), settings).labels
    assert (kept[7, 1, 1], kept[0, 13, 16]) == (0 if lost[0] else 1, 0 if lost[1] else 2)
    expected = expected_labels(volume)
    assert tuple((expected == label).sum() - (kept == label).sum() for label in (1, 2)) == lost


def test_with_mirroring_the_mirror_image_has_the_mirrored_result() -> None:
    volume = noise_volume((9, 70, 75), spacing=(1.0, 1.0, 3.0))
    mirror_image = replace(volume, array=np.ascontiguousarray(volume.array[:, :, ::-1]))
    plain, model = random_model(), random_model(test_time_mirroring=True)
    found = segment(volume, model, EXACT).labels
    differs = found != segment(mirror_image, model, EXACT).labels[:, :, ::-1]
    assert differs.mean() < 1e-4
    assert (found != segment(volume, plain, EXACT).labels).mean() > 0.01


def test_with_mirroring_the_mean_of_both_logits_counts() -> None:
    volume = noise_volume((9, 33, 46), spacing=(1.0, 1.0, 3.0))
    model = random_model(test_time_mirroring=True)
    image = torch.from_numpy(volume.array)[None, None] / 50 - 1
    with torch.inference_mode():
        logits = model.network(image) + model.network(image.flip(-1)).flip(-1)
    found = segment(volume, model, EXACT).labels
    assert (found == logits[0].argmax(dim=0).numpy()).mean() > 0.9999


def test_nothing_is_mirrored_where_columns_do_not_cross_sides() -> None:
    volume = noise_volume((20, 33, 9), spacing=(3.0, 1.0, 1.0))
    found = [segment(volume, random_model(test_time_mirroring=on), EXACT).labels for on in (False, True)]
    np.testing.assert_array_equal(*found)


def interpolated(images: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    shrinks = images.shape[-1] > size[1]
    return torch.nn.functional.interpolate(images, size, mode="bilinear", antialias=shrinks)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("scales", [(0.8,), (1.25, 0.8), (1.0, 0.8, 1.25)])
def test_at_several_scales_the_mean_of_the_probabilities_counts(scales: tuple[float, ...], mirrored: bool) -> None:
    volume = noise_volume((7, 40, 60), spacing=(1.0, 1.0, 3.0))
    model = random_model(test_time_scales=scales, test_time_mirroring=mirrored)
    with torch.no_grad():
        # Random weights give logits of some 1e7, so each look would be certain of everything.
        model.network.decoder.head.conv.weight.mul_(1e-6)
    image = torch.from_numpy(volume.array)[:, None] / 50 - 1
    shares = []
    for scale in scales:
        seen = interpolated(image, (round(40 / scale), round(60 / scale))).transpose(0, 1)[None]
        with torch.inference_mode():
            logits = model.network(seen)
            if mirrored:
                logits = (logits + model.network(seen.flip(-1)).flip(-1)) / 2
        shares.append(interpolated(logits[0].transpose(0, 1), (40, 60)).softmax(dim=1))
    expected = torch.stack(shares).mean(dim=0)
    for settings in (EXACT, replace(EXACT, probabilities=True)):
        result = segment(volume, model, settings)
        assert (result.labels == expected.argmax(dim=1).numpy()).mean() > 0.999
    assert result.probabilities is not None
    assert np.abs(result.probabilities / 255 - expected[:, 1:].transpose(0, 1).numpy()).max() < 0.02
    plain = segment(volume, random_model(test_time_mirroring=mirrored), EXACT).labels
    assert (result.labels != plain).mean() > 0.03


@pytest.mark.parametrize("depth", [4, 7, 15])
@pytest.mark.parametrize("scales", [(1.25, 1.6), (1.0, 2.0, 1.3)])
def test_labels_that_skip_what_is_certain_are_those_of_the_whole_mean(
    scales: tuple[float, ...], depth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = noise_volume((depth, 40, 60), spacing=(1.0, 1.0, 3.0 * 7 / depth))
    model = random_model(spacing=(3.0, 1.0, 1.0), test_time_scales=scales)
    with torch.no_grad():
        model.network.decoder.head.conv.weight.mul_(1e-6)
    fast = segment(volume, model, EXACT).labels
    monkeypatch.setattr(pipeline.LabelsOfViews, "fits", lambda grids: False)
    np.testing.assert_array_equal(fast, segment(volume, model, EXACT).labels)
    assert len(np.unique(fast)) > 1


def test_the_largest_channel_of_several_equal_ones_is_the_first() -> None:
    logits = torch.randint(0, 3, (2, 5, 16, 16)).float()
    for layout in (torch.contiguous_format, torch.channels_last):
        found = returning._largest_channel(logits.contiguous(memory_format=layout))
        assert torch.equal(found, logits.argmax(dim=1).to(torch.uint8))


def test_the_seconds_of_a_run_are_told_by_step_and_view() -> None:
    model = random_model(spacing=(3.0, 1.0, 1.0), test_time_scales=(1.0, 1.5), test_time_mirroring=True)
    timings = Timings()
    timings.add(Step.MODEL, "", 5.0)
    volume = noise_volume((7, 40, 60), spacing=(1.0, 1.0, 3.0))
    seconds = segment(volume, model, replace(EXACT, smoothing=1.0), timings=timings).seconds
    steps = ["reading_model", "preparing", "resampling", "network", "labels", "pieces", "smoothing"]
    views = [f"network_view_{number}{mirrored}" for number in (1, 2) for mirrored in ("", "_mirrored")]
    assert [*seconds][: len(steps)] == steps
    assert {*seconds} == {*steps, *views, "total"}
    assert sum(seconds[view] for view in views) == pytest.approx(seconds["network"], abs=1e-3)
    assert sum(seconds[step] for step in steps) == pytest.approx(seconds["total"], abs=1e-3)
    assert seconds["reading_model"] == 5.0


@pytest.mark.parametrize("number", range(48))
def test_scales_lie_in_plane_and_keep_the_place_whatever_the_orientation(number: int) -> None:
    k, j, i = np.meshgrid(np.arange(12), np.arange(40), np.arange(44), indexing="ij")
    distance = np.sqrt(((k - 5) * 2.4 / 9) ** 2 + ((j - 17) * 1.1 / 13) ** 2 + ((i - 25) / 7) ** 2)
    ball = (100 * np.clip(1 - 0.5 * distance, 0, 1)).astype(np.float32)
    volume = all_48(Volume(ball, Geometry((44, 40, 12), (1.0, 1.1, 2.4), (3.0, -4.0, 5.0), OBLIQUE), "ball"))[number]
    found = segment(volume, brightness_model(test_time_scales=(0.9, 1.1)), EXACT).labels > 0
    wanted = volume.array > 50
    assert 2 * (found & wanted).sum() / (found.sum() + wanted.sum()) > 0.99
    offset = np.argwhere(found).mean(axis=0) - np.argwhere(wanted).mean(axis=0)
    assert np.abs(offset).max() < 0.05


def test_at_several_scales_tiles_give_what_whole_planes_give() -> None:
    volume = noise_volume((9, 300, 250))
    model = brightness_model(test_time_scales=(0.8, 1.1))
    settings = InferenceSettings(device="cpu", precision="float32", window_memory=1.0)
    whole, tiles = (segment(volume, model, each).labels for each in (EXACT, settings))
    np.testing.assert_array_equal(tiles, whole)
    assert (whole == expected_labels(volume)).mean() > 0.98


def test_a_run_can_be_cancelled_before_its_end() -> None:
    calls: list[tuple[int, int]] = []

    def stop(done: int, total: int) -> bool:
        calls.append((done, total))
        return False

    with pytest.raises(Cancelled):
        segment(noise_volume((6, 20, 20)), random_model(), EXACT, stop)
    assert len(calls) == 1
    assert calls[0][0] < calls[0][1]


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("scales", [(1.0,), (0.9, 1.1)])
def test_progress_rises_to_its_end(scales: tuple[float, ...], mirrored: bool) -> None:
    calls: list[tuple[int, int]] = []

    def go_on(done: int, total: int) -> bool:
        calls.append((done, total))
        return True

    volume = noise_volume((6, 20, 20), spacing=(1.0, 1.0, 3.0))
    segment(volume, random_model(test_time_scales=scales, test_time_mirroring=mirrored), EXACT, go_on)
    assert {total for _, total in calls} == {12 * len(scales)}
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)
    assert calls[-1][0] == 12 * len(scales)


def air_around(volume: Volume, value: float) -> Volume:
    """The volume in the middle of a much larger one that is filled with one value."""
    pads = ((40, 24), (70, 90), (130, 60))
    array = np.pad(volume.array, pads, constant_values=value)
    return Volume(array, Geometry(array.shape[::-1], volume.geometry.spacing), "in air")


@pytest.mark.parametrize(
    ("rule", "limit"), [(Intensity("window", 20.0, 100.0), -0.5), (Intensity("zscore", 0.5, 99.5), 0.0)], ids=str
)
def test_air_around_the_object_is_not_searched(rule: Intensity, limit: float) -> None:
    seen: list[tuple[int, ...]] = []
    block = np.full((20, 60, 70), 60, np.float32)
    block[3:, 40:, 20:] = 0
    volume = air_around(Volume(block, Geometry(block.shape[::-1]), "block"), 0.0)

    class Watching(BrightnessNetwork):
        def run(self, batches, size, batch_bytes, **options):  # type: ignore[no-untyped-def]
            seen.append(tuple(size))
            return super().run(batches, size, batch_bytes, **options)

    model = BrightnessModel(card(intensity=rule), Watching(limit, 100.0), Path("watching"))  # type: ignore[arg-type]
    result = segment(volume, model, EXACT)
    np.testing.assert_array_equal(result.labels > 0, volume.array > 0)
    assert len(seen) == 1
    assert np.prod(seen[0]) < volume.array.size / 8


def test_a_network_that_stretches_its_maps_sees_the_whole_scan() -> None:
    settings = AHNetSettings(classes=3, width=0.125, align_corners=True, padded_pyramid=True, pyramid_levels=1)
    model = random_model(network=settings)
    volume = air_around(object_volume(), 0.0)
    with torch.inference_mode():
        image = torch.from_numpy(volume.array / 50 - 1)[None, None]
        expected = model.network(image).argmax(dim=1)[0].numpy()
    assert (segment(volume, model, EXACT).labels == expected).mean() > 0.9999


def test_a_volume_of_nothing_but_air_gives_nothing_and_says_so() -> None:
    volume = noise_volume((6, 20, 20))
    result = segment(volume, random_model(intensity=Intensity("window", 200.0, 300.0)), EXACT)
    assert not result.labels.any()
    assert result.warnings == [
        "noise holds no value above 200, where the model tiny begins to see something: nothing was searched; check the "
        "volume."
    ]


@pytest.mark.parametrize("spacing", [(None, None, None), (3.3, 1.7, 1.6), (2.0, 0.7, 0.9)], ids=str)
@pytest.mark.parametrize(("precision", "agreement"), [("float32", 0.9999), ("bfloat16", 0.98)])
def test_labels_are_those_of_the_largest_probability(
    spacing: tuple[float | None, float, float], precision: str, agreement: float
) -> None:
    volume = noise_volume((18, 44, 37), spacing=(1.2, 1.1, 2.6))
    model = random_model(spacing=spacing)
    plain = segment(volume, model, InferenceSettings(None, "cpu", precision))
    with_shares = segment(volume, model, InferenceSettings(None, "cpu", precision, probabilities=True))
    assert plain.precision == precision
    assert len(np.unique(plain.labels)) == 3
    assert (plain.labels == with_shares.labels).mean() > agreement


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_of_the_network_that_are_not_finite_are_refused(value: float) -> None:
    class Broken(BrightnessNetwork):
        def run(self, batches, size, batch_bytes, **options):  # type: ignore[no-untyped-def]
            for logits in super().run(batches, size, batch_bytes, **options):
                logits[0, 1, 2, 3] = value
                yield logits

    model = BrightnessModel(card(), Broken(), Path("broken"))  # type: ignore[arg-type]
    with pytest.raises(VolumeError, match="not finite; run it again with the precision float32"):
        segment(object_volume(), model, EXACT)


def short_of_memory(monkeypatch: pytest.MonkeyPatch, kind: str, error: RuntimeError) -> list[tuple[str, float]]:
    """A machine whose device of this kind raises the error in every run; returns what is tried, as it is tried."""
    tried: list[tuple[str, float]] = []
    real = inference.Pipeline

    class ShortOfMemory(real):  # type: ignore[misc, valid-type]
        def __init__(self, model, scan, spacing, intensities, device, precision, memory_mb, mirrored, timings) -> None:  # type: ignore[no-untyped-def]
            tried.append((device.type, memory_mb))
            self.fails = device.type == kind
            cpu = torch.device("cpu")
            super().__init__(model, scan, spacing, intensities, cpu, torch.float32, memory_mb, mirrored, timings)

        def write(self, labels, shares, progress=None, *, certainty=False) -> None:  # type: ignore[no-untyped-def]
            if self.fails:
                raise error
            super().write(labels, shares, progress, certainty=certainty)

    monkeypatch.setattr(inference, "Pipeline", ShortOfMemory)
    monkeypatch.setattr(inference, "choose_device", lambda wish: torch.device(kind))
    return tried


def test_a_machine_without_enough_memory_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    error = RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory")
    tried = short_of_memory(monkeypatch, "cpu", error)
    with pytest.raises(
        ResourceError, match=r"The memory of this machine does not suffice for object; .* smaller region"
    ):
        segment(object_volume(), brightness_model(), InferenceSettings(window_memory=800))
    assert tried == [("cpu", 800), ("cpu", 400), ("cpu", 200)]


def test_other_errors_of_a_device_are_not_taken_for_a_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    short_of_memory(monkeypatch, "cuda", RuntimeError("CUDA error: device-side assert triggered"))
    with pytest.raises(RuntimeError, match="device-side assert"):
        segment(object_volume(), brightness_model(), InferenceSettings(window_memory=800))


def test_out_of_memory_leads_to_smaller_windows_then_to_the_cpu_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = short_of_memory(monkeypatch, "cuda", torch.OutOfMemoryError("CUDA out of memory"))
    volume = object_volume()
    result = segment(volume, brightness_model(), InferenceSettings(window_memory=800, precision="float32"))
    assert tried == [("cuda", 800), ("cuda", 400), ("cuda", 200), ("cpu", 800)]
    assert [warning.rpartition(": ")[2] for warning in result.warnings] == [
        "went on with smaller windows.",
        "went on with smaller windows.",
        "went on with the CPU.",
    ]
    np.testing.assert_array_equal(result.labels, expected_labels(volume))


def test_a_spacing_far_from_the_models_is_told() -> None:
    volume = noise_volume((10, 20, 20), spacing=(1.0, 1.0, 8.0))
    result = segment(volume, brightness_model(spacing=(3.0, 1.0, 1.0)), EXACT)
    assert len(result.warnings) == 1
    assert "8 mm instead of 3 mm" in result.warnings[0]


def test_a_model_for_several_volumes_at_once_is_refused() -> None:
    model = random_model(network=AHNetSettings(in_channels=2, classes=3, width=0.125))
    with pytest.raises(ModelError, match="tiny needs 2 registered volumes"):
        segment(object_volume(), model, EXACT)


def test_wrong_wishes_for_device_and_precision_are_refused() -> None:
    with pytest.raises(DeviceError, match="unknown"):
        segment(object_volume(), brightness_model(), InferenceSettings(device="tpu"))
    with pytest.raises(DeviceError, match="float16"):
        segment(object_volume(), brightness_model(), InferenceSettings(device="cpu", precision="float16"))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_no_numbers_are_refused(value: float) -> None:
    volume = object_volume()
    volume.array[3, 3, 3] = value
    with pytest.raises(VolumeError, match="object holds voxels that are NaN or infinite"):
        segment(volume, brightness_model(), EXACT)


def test_the_reach_along_the_slices_is_never_underestimated() -> None:
    settings = AHNetSettings(classes=3, width=0.125, slice_strides=(1, 2, 1, 2, 1), pyramid_levels=2)
    model = random_model(network=settings)
    reach = settings.slice_reach
    depth = 8 * ((2 * reach + 20) // 8 + 1)
    changed = depth // 2
    x = torch.randn(1, 1, depth, 32, 32)
    y = x.clone()
    y[:, :, changed] += 1
    with torch.inference_mode():
        moved = (model.network(x) - model.network(y)).abs().amax(dim=(0, 1, 3, 4)).nonzero().flatten()
    assert moved.min() >= changed - reach
    assert moved.max() <= changed + reach
