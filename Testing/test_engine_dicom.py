"""DICOM: place, orientation and rescaling of every image decide; what is no even stack is refused with its cause."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset

from AHNetSegmentLib.engine import gdcm
from AHNetSegmentLib.engine.errors import VolumeError
from AHNetSegmentLib.engine.image_io import read_volume
from AHNetSegmentLib.engine.volume import Array, Volume
from case_files import (
    AXIAL,
    CORONAL,
    CT,
    DOSE,
    OBLIQUE,
    PET,
    SECONDARY_CAPTURE,
    SEGMENTATION,
    change,
    compressed,
    dataset_of,
    frame_groups,
    geometry_of,
    group,
    multi_frame,
    phantom,
    place_of,
    run_length_encoded,
    save,
    slice_of,
    write_series,
)

VOXELS = phantom()
IMPLICIT, BIG, DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
RLE = "1.2.840.10008.1.2.5"


def refusal_of(path: Path) -> str:
    with pytest.raises(VolumeError) as refusal:
        read_volume(path)
    assert str(refusal.value).startswith(str(path))
    return str(refusal.value)


def assert_is(volume: Volume, expected: Array, orientation: Any = AXIAL) -> None:
    np.testing.assert_allclose(volume.array, expected, rtol=1e-6)
    assert volume.geometry.largest_offset(geometry_of(expected.shape, orientation)) < 1e-3


def frames_of(stored: Array, **more: Any) -> list[Dataset]:
    return [frame_groups(place_of(number), **more) for number in range(len(stored))]


class TestSeries:
    @pytest.mark.parametrize("orientation", [AXIAL, CORONAL, OBLIQUE], ids=["axial", "coronal", "oblique"])
    def test_slices_lie_where_their_headers_say(self, tmp_path: Path, orientation: tuple[float, ...]) -> None:
        write_series(tmp_path, VOXELS, ImageOrientationPatient=orientation)
        volume = read_volume(tmp_path)
        assert_is(volume, VOXELS, orientation)
        assert volume.array.dtype == np.int16
        assert volume.notes == ()

    def test_positions_decide_and_not_names_or_instance_numbers(self, tmp_path: Path) -> None:
        for number in range(10):
            save(slice_of(VOXELS[number], (7 * number) % 10, place=number), tmp_path / f"{(3 * number) % 10}.dcm")
        assert_is(read_volume(tmp_path), VOXELS)

    @pytest.mark.parametrize("syntax", [IMPLICIT, DEFLATED])
    def test_each_way_of_writing_a_header_is_read(self, tmp_path: Path, syntax: str) -> None:
        assert_is(read_volume(write_series(tmp_path, VOXELS, syntax=syntax)), VOXELS)

    def test_the_retired_order_of_bytes_is_read(self, tmp_path: Path) -> None:
        for number, plane in enumerate(VOXELS):
            dataset = slice_of(plane, number, syntax=BIG, PixelData=plane.astype(">i2").tobytes())
            pydicom.dcmwrite(tmp_path / f"{number}.dcm", dataset, implicit_vr=False, little_endian=False)
        assert_is(read_volume(tmp_path), VOXELS)

    def test_a_mosaic_is_no_slice(self, tmp_path: Path) -> None:
        path = save(slice_of(VOXELS[0], 0, ImageType=("ORIGINAL", "PRIMARY", "M", "MOSAIC")), tmp_path / "a.dcm")
        assert "is no scan but a mosaic of many slices in one image" in refusal_of(path)

    def test_files_without_preamble_and_ending_are_read(self, tmp_path: Path) -> None:
        write_series(tmp_path / "with", VOXELS, syntax=IMPLICIT)
        (tmp_path / "without").mkdir()
        for number, path in enumerate(sorted((tmp_path / "with").iterdir())):
            dataset = pydicom.dcmread(path)
            del dataset.file_meta
            dataset.save_as(tmp_path / "without" / str(number), implicit_vr=True, little_endian=True)
        assert_is(read_volume(tmp_path / "without"), VOXELS)

    def test_a_slope_of_each_slice_is_applied_to_that_slice(self, tmp_path: Path) -> None:
        slopes = [1.0, *[0.004 + 0.001 * number for number in range(1, 10)]]
        for number, slope in enumerate(slopes):
            save(
                slice_of(VOXELS[number], number, sop_class=PET, RescaleSlope=slope, RescaleIntercept=-number),
                tmp_path / f"{number}.dcm",
            )
        expected = VOXELS * np.reshape(slopes, (10, 1, 1)) - np.arange(10).reshape(10, 1, 1)
        volume = read_volume(tmp_path)
        assert_is(volume, expected.astype(np.float32))
        assert volume.array.dtype == np.float32

    def test_unsigned_and_signed_slices_keep_their_values(self, tmp_path: Path) -> None:
        stored = VOXELS.astype(np.int32)
        stored[0] += 40000
        stored[1:] -= 700
        for number, plane in enumerate(stored):
            save(slice_of(plane.astype(np.int16 if number else np.uint16), number), tmp_path / f"{number}.dcm")
        assert_is(read_volume(tmp_path), stored)

    def test_intercepts_that_differ_are_those_of_their_slices(self, tmp_path: Path) -> None:
        for number, plane in enumerate(VOXELS):
            intercept = -1024 if number else 0
            save(slice_of(plane, number, sop_class=CT, RescaleIntercept=intercept), tmp_path / f"{number}.dcm")
        expected = VOXELS.astype(np.int32) - np.where(np.arange(10) > 0, 1024, 0).reshape(10, 1, 1)
        volume = read_volume(tmp_path)
        assert_is(volume, expected)
        assert volume.array.dtype == np.int16

    def test_monochrome1_says_how_to_show_values_and_not_what_they_are(self, tmp_path: Path) -> None:
        assert_is(read_volume(write_series(tmp_path, VOXELS, PhotometricInterpretation="MONOCHROME1")), VOXELS)

    @pytest.mark.parametrize("signed", [0, 1])
    def test_bits_above_the_stored_ones_are_no_part_of_a_value(self, tmp_path: Path, signed: int) -> None:
        values = VOXELS - (600 if signed else 0)
        overlay = (np.arange(VOXELS.size).reshape(VOXELS.shape) % 13).astype(np.uint16) << 12
        stored = (values.view(np.uint16) & 0x0FFF) | overlay
        write_series(tmp_path, stored, BitsStored=12, HighBit=11, PixelRepresentation=signed)
        assert_is(read_volume(tmp_path), values)

    @pytest.mark.parametrize("first", ["int16 then float", "float then int16"])
    def test_a_file_can_be_read_after_one_of_another_kind(self, tmp_path: Path, first: str) -> None:
        write_series(tmp_path / "a", VOXELS)
        write_series(tmp_path / "b", VOXELS, RescaleSlope=0.5)
        order = ("a", "b") if first == "int16 then float" else ("b", "a")
        found = {name: read_volume(tmp_path / name) for name in order}
        assert_is(found["a"], VOXELS)
        assert_is(found["b"], VOXELS * 0.5)

    def test_a_single_slice_is_as_thick_as_it_says(self, tmp_path: Path) -> None:
        path = save(slice_of(VOXELS[0], 0), tmp_path / "one.dcm")
        assert_is(read_volume(path), VOXELS[:1])
        change(path, SliceThickness=None)
        assert "does not say how thick it is" in refusal_of(path)


class TestCompressed:
    @pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
    def test_run_lengths_are_decoded(self, tmp_path: Path, photometric: str) -> None:
        for number, plane in enumerate(VOXELS):
            dataset = compressed(plane, RLE, [run_length_encoded(plane)], PhotometricInterpretation=photometric)
            dataset.SOPInstanceUID, dataset.ImagePositionPatient = f"1.2.3.{number}", place_of(number)
            dataset.RescaleIntercept = -10
            save(dataset, tmp_path / f"{number}.dcm")
        assert_is(read_volume(tmp_path), VOXELS - 10)

    @pytest.mark.parametrize("compressor", ["JPEG2000", "JPEG"])
    def test_frames_of_one_file_are_decoded_and_rescaled_one_by_one(self, tmp_path: Path, compressor: str) -> None:
        streams, syntax = [], ""
        for plane in VOXELS.astype(np.uint16):
            writer = sitk.ImageFileWriter()
            writer.SetFileName(str(tmp_path / "stream.dcm"))
            writer.SetCompressor(compressor)
            writer.UseCompressionOn()
            writer.Execute(sitk.GetImageFromArray(plane))
            written = pydicom.dcmread(tmp_path / "stream.dcm")
            syntax = written.file_meta.TransferSyntaxUID
            assert written["PixelData"].is_undefined_length
            streams.append(next(pydicom.encaps.generate_frames(written.PixelData, number_of_frames=1)))
        (tmp_path / "stream.dcm").unlink()
        groups = [frame_groups(place_of(number), slope=1 + number, intercept=-number) for number in range(10)]
        dataset = multi_frame(VOXELS.astype(np.uint16), groups)
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.PixelData = pydicom.encaps.encapsulate(streams)
        dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
        dataset.PhotometricInterpretation = "MONOCHROME1"
        expected = VOXELS.astype(float) * (1 + np.arange(10)).reshape(10, 1, 1) - np.arange(10).reshape(10, 1, 1)
        assert_is(read_volume(save(dataset, tmp_path / "e.dcm")), expected)

    def test_a_stream_that_is_no_image_is_refused(self, tmp_path: Path) -> None:
        path = save(compressed(VOXELS[0], RLE, [b"no run lengths" * 20]), tmp_path / "e.dcm")
        assert "damaged, or compressed in a way that is not read" in refusal_of(path)

    def test_a_stream_that_is_missing_is_refused(self, tmp_path: Path) -> None:
        dataset = multi_frame(VOXELS, frames_of(VOXELS))
        dataset.file_meta.TransferSyntaxUID = RLE
        dataset.PixelData = pydicom.encaps.encapsulate([run_length_encoded(plane) for plane in VOXELS[:9]])
        dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
        refusal_of(save(dataset, tmp_path / "e.dcm"))


class TestManyFrames:
    def test_frames_lie_where_their_own_groups_say(self, tmp_path: Path) -> None:
        path = save(multi_frame(VOXELS, frames_of(VOXELS)), tmp_path / "e.dcm")
        assert_is(read_volume(path), VOXELS)
        assert_is(read_volume(tmp_path), VOXELS)

    def test_frames_out_of_order_are_put_in_order(self, tmp_path: Path) -> None:
        order = [3, 0, 9, 1, 8, 2, 7, 4, 6, 5]
        groups = [frame_groups(place_of(number), slope=1 + number) for number in order]
        path = save(multi_frame(VOXELS[order], groups), tmp_path / "e.dcm")
        assert_is(read_volume(path), VOXELS * (1 + np.arange(10)).reshape(10, 1, 1))

    def test_frames_from_top_to_bottom_are_turned_around(self, tmp_path: Path) -> None:
        groups = [frame_groups(place_of(number)) for number in reversed(range(10))]
        assert_is(read_volume(save(multi_frame(VOXELS[::-1].copy(), groups), tmp_path / "e.dcm")), VOXELS)

    def test_one_volume_in_several_files_is_read_from_its_folder(self, tmp_path: Path) -> None:
        for part in range(2):
            numbers = range(5 * part, 5 * part + 5)
            dataset = multi_frame(VOXELS[numbers], [frame_groups(place_of(number)) for number in numbers])
            dataset.SOPInstanceUID, dataset.InConcatenationTotalNumber = f"1.2.3.{part}", 2
            save(dataset, tmp_path / f"{part}.dcm")
        assert_is(read_volume(tmp_path), VOXELS)
        assert f"one part of a scan of 2 files; choose its folder {tmp_path}" in refusal_of(tmp_path / "0.dcm")

    @pytest.mark.parametrize("missing", [1, 4, 8])
    def test_a_missing_frame_is_named(self, tmp_path: Path, missing: int) -> None:
        kept = [number for number in range(10) if number != missing]
        groups = [frame_groups(place_of(number)) for number in kept]
        message = refusal_of(save(multi_frame(VOXELS[kept], groups), tmp_path / "e.dcm"))
        assert "slices that are missing: 1, the first after" in message
        assert "follows at 4 instead of 2 mm; add what is missing" in message

    @pytest.mark.parametrize("interleaved", [False, True])
    @pytest.mark.parametrize(
        ("groups_of", "cause"),
        [
            (
                lambda n: {"MREchoSequence": group(EffectiveEchoTime=5.0 + 25 * n)},
                "two images at each place, which differ in echo time (30.0, 5.0)",
            ),
            (
                lambda n: {"MRImageFrameTypeSequence": group(ComplexImageComponent=("MAGNITUDE", "PHASE")[n])},
                "two images at each place, which differ in kind of image (MAGNITUDE, PHASE)",
            ),
            (
                lambda n: {"FrameContentSequence": group(TemporalPositionIndex=n + 1)},
                "two images at each place, which differ in time (1, 2)",
            ),
            (
                lambda n: {"MRDiffusionSequence": group(DiffusionBValue=1000.0 * n)},
                "two images at each place, which differ in b-value (0.0, 1000.0)",
            ),
        ],
        ids=["echoes", "magnitude and phase", "time points", "diffusion"],
    )
    def test_two_volumes_in_one_file_are_told_apart(
        self, tmp_path: Path, groups_of: Callable[[int], dict[str, Any]], cause: str, interleaved: bool
    ) -> None:
        pairs = [(number, kind) for number in range(10) for kind in range(2)]
        pairs = pairs if interleaved else sorted(pairs, key=lambda pair: pair[1])
        groups = [frame_groups(place_of(number), **groups_of(kind)) for number, kind in pairs]
        stored = np.stack([VOXELS[number] + kind for number, kind in pairs])
        assert cause in refusal_of(save(multi_frame(stored, groups), tmp_path / "e.dcm"))

    def test_echoes_that_follow_each_other_in_space_are_no_volume(self, tmp_path: Path) -> None:
        groups = [
            frame_groups(place_of(number), MREchoSequence=group(EffectiveEchoTime=5.0 if number < 5 else 30.0))
            for number in range(10)
        ]
        assert "mixes images that differ in echo time" in refusal_of(save(multi_frame(VOXELS, groups), tmp_path / "e"))

    def test_some_places_with_two_images_are_told(self, tmp_path: Path) -> None:
        numbers = [*range(10), 4]
        groups = [frame_groups(place_of(number)) for number in numbers]
        message = refusal_of(save(multi_frame(VOXELS[numbers], groups), tmp_path / "e.dcm"))
        assert "two images at some places" in message

    def test_two_stacks_of_two_orientations_are_refused(self, tmp_path: Path) -> None:
        groups = [
            frame_groups(
                place_of(number),
                PlaneOrientationSequence=group(ImageOrientationPatient=list(AXIAL if number < 5 else CORONAL)),
            )
            for number in range(10)
        ]
        dataset = multi_frame(VOXELS, groups)
        del dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence
        assert "images of several orientations" in refusal_of(save(dataset, tmp_path / "e.dcm"))

    @pytest.mark.parametrize("degrees", [5, 15, -20])
    def test_tilted_frames_are_refused(self, tmp_path: Path, degrees: float) -> None:
        shift = 2 * np.tan(np.deg2rad(degrees))
        groups = [frame_groups(np.add(place_of(number), (0, number * shift, 0))) for number in range(10)]
        message = refusal_of(save(multi_frame(VOXELS, groups), tmp_path / "e.dcm"))
        assert f"a gantry tilted by {abs(degrees):.1f}°" in message

    def test_a_stack_that_rounding_has_sheared_keeps_its_places(self, tmp_path: Path) -> None:
        groups = [frame_groups(np.add(place_of(number), (0, 0.01 * number, 0))) for number in range(10)]
        volume = read_volume(save(multi_frame(VOXELS, groups), tmp_path / "e.dcm"))
        place = volume.geometry.ijk_to_lps() @ [0, 0, 9, 1]
        np.testing.assert_allclose(place[:3], np.add(place_of(9), (0, 0.09, 0)), atol=1e-6)

    def test_a_file_with_fewer_places_than_frames_is_refused(self, tmp_path: Path) -> None:
        path = save(multi_frame(VOXELS, frames_of(VOXELS)[:9]), tmp_path / "e.dcm")
        assert "holds 10 images but says of 9 where they lie" in refusal_of(path)

    def test_a_film_is_no_volume(self, tmp_path: Path) -> None:
        dataset = dataset_of(VOXELS, "1.2.3.1", sop_class="1.2.840.10008.5.1.4.1.1.3.1")
        dataset.PixelSpacing, dataset.ImagePositionPatient = [1, 1], [0, 0, 0]
        dataset.ImageOrientationPatient = list(AXIAL)
        assert "does not say where it lies in the body" in refusal_of(save(dataset, tmp_path / "e.dcm"))

    def test_fewer_voxels_than_frames_are_refused(self, tmp_path: Path) -> None:
        dataset = multi_frame(VOXELS, frames_of(VOXELS))
        dataset.PixelData = dataset.PixelData[:-2]
        assert "is cut off" in refusal_of(save(dataset, tmp_path / "e.dcm"))

    def test_more_voxels_than_frames_are_refused(self, tmp_path: Path) -> None:
        dataset = multi_frame(VOXELS[:9], frames_of(VOXELS[:9]))
        dataset.PixelData = VOXELS.tobytes()
        assert "more voxels than rows × columns × frames" in refusal_of(save(dataset, tmp_path / "e.dcm"))


class TestWhatIsNoStack:
    @pytest.mark.parametrize("number", [0, 6, 9])
    def test_a_slice_of_another_orientation_is_named(self, tmp_path: Path, number: int) -> None:
        path = write_series(tmp_path, VOXELS) / f"IM{number:03d}.dcm"
        change(path, ImageOrientationPatient=list(CORONAL))
        message = refusal_of(tmp_path)
        assert f"holds 1 image of another orientation than the rest, such as {path};" in message

    def test_radial_slices_are_refused(self, tmp_path: Path) -> None:
        for number, plane in enumerate(VOXELS):
            angle = np.pi * number / 10
            orientation = (np.cos(angle), np.sin(angle), 0.0, 0.0, 0.0, -1.0)
            save(slice_of(plane, number, 0.0, ImageOrientationPatient=orientation), tmp_path / f"{number}.dcm")
        assert "of several orientations, such as radial slices" in refusal_of(tmp_path)

    def test_an_image_that_is_turned_in_its_plane_is_refused(self, tmp_path: Path) -> None:
        write_series(tmp_path, VOXELS)
        change(tmp_path / "IM003.dcm", ImageOrientationPatient=[0, 1, 0, -1, 0, 0])
        assert "of another orientation than the rest" in refusal_of(tmp_path)

    @pytest.mark.parametrize("missing", [1, 5, 8])
    def test_a_missing_slice_is_named(self, tmp_path: Path, missing: int) -> None:
        write_series(tmp_path, VOXELS)
        (tmp_path / f"IM{missing:03d}.dcm").unlink()
        message = refusal_of(tmp_path)
        assert f"the first after {tmp_path / f'IM{missing - 1:03d}.dcm'}, where the next follows at 4" in message

    def test_uneven_steps_are_told(self, tmp_path: Path) -> None:
        for number, plane in enumerate(VOXELS):
            save(slice_of(plane, number, number * (1 + 0.05 * number)), tmp_path / f"{number}.dcm")
        assert "unevenly spaced, by 2.1 to 3.7 mm" in refusal_of(tmp_path)

    def test_rounded_positions_are_even(self, tmp_path: Path) -> None:
        for number, plane in enumerate(VOXELS):
            save(slice_of(plane, number, round(number * 1.04, 1)), tmp_path / f"{number}.dcm")
        assert read_volume(tmp_path).geometry.spacing[2] == pytest.approx(2.08, abs=0.02)

    def test_a_slice_that_is_shifted_sideways_is_named(self, tmp_path: Path) -> None:
        write_series(tmp_path, VOXELS)
        change(tmp_path / "IM004.dcm", ImagePositionPatient=[-29.0, 12.5, 48.0])
        assert f"shifted sideways, such as {tmp_path / 'IM004.dcm'}" in refusal_of(tmp_path)

    def test_two_phases_in_one_series_are_told(self, tmp_path: Path) -> None:
        for phase in range(2):
            for number, plane in enumerate(VOXELS):
                dataset = slice_of(plane + phase, number, AcquisitionNumber=phase + 1)
                dataset.SOPInstanceUID = f"1.2.3.{phase}.{number}"
                save(dataset, tmp_path / f"{phase}-{number}.dcm")
        message = refusal_of(tmp_path)
        assert "holds two images at each place, which differ in acquisition (1, 2)" in message
        assert "export each echo, phase or time point as a series of its own" in message

    def test_files_that_are_there_twice_are_read_once(self, tmp_path: Path) -> None:
        write_series(tmp_path, VOXELS)
        for path in sorted(tmp_path.iterdir()):
            shutil.copy(path, tmp_path / f"{path.stem} (1).dcm")
        volume = read_volume(tmp_path)
        assert_is(volume, VOXELS)
        assert volume.notes == (f"{tmp_path} holds 10 files twice: each was read once.",)

    def test_two_different_files_of_one_identity_are_not_taken_for_one(self, tmp_path: Path) -> None:
        write_series(tmp_path, VOXELS)
        save(slice_of(VOXELS[5], 4), tmp_path / "other.dcm")
        assert "holds two images at some places" in refusal_of(tmp_path)

    def test_a_localizer_in_the_series_is_left_out(self, tmp_path: Path) -> None:
        write_series(tmp_path, VOXELS)
        localizer = slice_of(
            np.zeros((30, 20), np.int16),
            20,
            ImageType=("ORIGINAL", "PRIMARY", "LOCALIZER"),
            ImageOrientationPatient=CORONAL,
        )
        save(localizer, tmp_path / "scout.dcm")
        volume = read_volume(tmp_path)
        assert_is(volume, VOXELS)
        assert volume.notes == (f"{tmp_path} holds a localizer: 1 image left out.",)

    def test_what_is_derived_from_a_scan_is_left_out(self, tmp_path: Path) -> None:
        write_series(tmp_path, VOXELS)
        for number, sop_class in enumerate((SEGMENTATION, DOSE, SECONDARY_CAPTURE)):
            dataset = dataset_of(VOXELS[:2], f"1.2.4.{number}", sop_class=sop_class, series=f"1.2.4.{number}")
            save(dataset, tmp_path / f"derived{number}.dcm")
        localizer = slice_of(VOXELS[0], 0, series="1.2.5", ImageType=("ORIGINAL", "PRIMARY", "LOCALIZER"))
        save(localizer, tmp_path / "scout.dcm")
        volume = read_volume(tmp_path)
        assert_is(volume, VOXELS)
        told = " ".join(volume.notes)
        for what in ("a DICOM segmentation", "a radiotherapy dose", "a secondary capture", "a localizer"):
            assert f"holds {what} too: it was left out" in told

    def test_a_secondary_capture_that_says_where_it_lies_is_a_scan(self, tmp_path: Path) -> None:
        assert_is(read_volume(write_series(tmp_path, VOXELS, sop_class=SECONDARY_CAPTURE)), VOXELS)

    def test_a_derived_object_alone_is_named(self, tmp_path: Path) -> None:
        path = save(dataset_of(VOXELS, "1.2.4", sop_class=DOSE), tmp_path / "dose.dcm")
        assert "is no scan but a radiotherapy dose" in refusal_of(path)
        assert "holds no scan but a radiotherapy dose" in refusal_of(tmp_path)

    def test_images_of_two_sizes_are_refused(self, tmp_path: Path) -> None:
        write_series(tmp_path, VOXELS)
        save(slice_of(np.zeros((20, 18), np.int16), 10), tmp_path / "IM010.dcm")
        assert "images of different sizes (18 × 16 and 18 × 20 pixels)" in refusal_of(tmp_path)

    @pytest.mark.parametrize("which", [0, 3, 9])
    def test_pixel_spacings_that_differ_are_refused(self, tmp_path: Path, which: int) -> None:
        write_series(tmp_path, VOXELS)
        change(tmp_path / f"IM{which:03d}.dcm", PixelSpacing=[1.3, 1.0])
        assert "different Pixel Spacings (from 1.25 × 1 to 1.3 × 1 mm)" in refusal_of(tmp_path)

    @pytest.mark.parametrize("which", [0, 9])
    @pytest.mark.parametrize(
        ("spacing", "cause"),
        [
            (None, "does not say its Pixel Spacing"),
            ([0, 0], "a Pixel Spacing of 0 and 0 mm"),
            ([1.25, -1], "a Pixel Spacing of 1.25 and -1 mm"),
            (["nan", "nan"], "a Pixel Spacing of nan and nan mm"),
            ([1.25], "says 1 values of Pixel Spacing, not two"),
            ([1.25, 1, 2], "says 3 values of Pixel Spacing, not two"),
            ("", "does not say its Pixel Spacing"),
        ],
    )
    def test_a_pixel_spacing_that_is_none_is_refused(
        self, tmp_path: Path, spacing: Any, cause: str, which: int
    ) -> None:
        write_series(tmp_path, VOXELS)
        path = tmp_path / f"IM{which:03d}.dcm"
        with pydicom.config.disable_value_validation():
            change(path, PixelSpacing=spacing)
        message = refusal_of(tmp_path)
        assert cause in message
        assert str(path) in message

    @pytest.mark.parametrize(
        ("elements", "cause"),
        [
            ({"ImagePositionPatient": None}, "does not say where it lies in the body"),
            ({"ImageOrientationPatient": None}, "does not say where it lies in the body"),
            ({"ImagePositionPatient": [0, 0]}, "an Image Position that is none"),
            ({"ImagePositionPatient": ["nan", 0, 0]}, "an Image Position that is none"),
            ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "an Image Orientation that is none"),
            ({"ImageOrientationPatient": [1, 0, 0, 0, "nan", 0]}, "an Image Orientation that is none"),
            ({"RescaleSlope": 0}, "Rescale Slope 0"),
            ({"RescaleSlope": "nan"}, "Rescale Slope nan"),
            ({"RescaleIntercept": "inf"}, "Intercept inf"),
        ],
    )
    def test_a_header_that_says_no_place_or_value_is_refused(
        self, tmp_path: Path, elements: dict[str, Any], cause: str
    ) -> None:
        write_series(tmp_path, VOXELS)
        with pydicom.config.disable_value_validation():
            change(tmp_path / "IM005.dcm", **elements)
        assert cause in refusal_of(tmp_path)

    @pytest.mark.parametrize("which", [0, 4, 9])
    @pytest.mark.parametrize("kept", [0, 100, 200, 600, -1, -100])
    def test_a_file_that_is_cut_off_is_named(self, tmp_path: Path, which: int, kept: int) -> None:
        path = write_series(tmp_path, VOXELS) / f"IM{which:03d}.dcm"
        path.write_bytes(path.read_bytes()[:kept])
        assert str(path) in refusal_of(tmp_path)

    def test_voxels_fewer_than_rows_times_columns_are_refused(self, tmp_path: Path) -> None:
        write_series(tmp_path, VOXELS)
        for path in tmp_path.iterdir():
            change(path, Rows=17)
        assert "is cut off: voxels are missing" in refusal_of(tmp_path)

    def test_colours_are_refused(self, tmp_path: Path) -> None:
        path = save(slice_of(VOXELS[0], 0, SamplesPerPixel=3, PhotometricInterpretation="RGB"), tmp_path / "a.dcm")
        assert "is a colour image" in refusal_of(path)

    def test_one_file_of_a_series_is_not_taken_for_all(self, tmp_path: Path) -> None:
        write_series(tmp_path, VOXELS)
        message = refusal_of(tmp_path / "IM005.dcm")
        assert f"is one slice of a series of 10 files; choose its folder {tmp_path} instead" in message

    def test_hidden_files_and_notes_beside_a_series_are_passed_over(self, tmp_path: Path) -> None:
        write_series(tmp_path, VOXELS)
        for name in ("._IM000.dcm", ".DS_Store", "DICOMDIR", "readme.txt", "Thumbs.db"):
            (tmp_path / name).write_bytes(b"\0\5\26\7" + bytes(200))
        assert_is(read_volume(tmp_path), VOXELS)

    def test_two_series_are_not_mixed(self, tmp_path: Path) -> None:
        write_series(tmp_path, VOXELS)
        save(slice_of(VOXELS[0], 0, series="1.2.9"), tmp_path / "other.dcm")
        assert "holds 2 DICOM series; choose a folder that holds exactly one" in refusal_of(tmp_path)


class TestDecoder:
    def test_what_the_decoder_complains_about_is_a_refusal(self, tmp_path: Path, capfd: Any) -> None:
        writer = sitk.ImageFileWriter()
        writer.SetFileName(str(tmp_path / "a.dcm"))
        writer.SetCompressor("JPEG2000")
        writer.UseCompressionOn()
        writer.Execute(sitk.GetImageFromArray(VOXELS[0].astype(np.uint16)))
        written = pydicom.dcmread(tmp_path / "a.dcm")
        (stream,) = pydicom.encaps.generate_frames(written.PixelData, number_of_frames=1)
        place = stream.index(b"\xff\x90") + 6  # the length of the first tile part
        changed = stream[:place] + bytes([0, 0, 255, 255]) + stream[place + 4 :]
        path = save(
            compressed(VOXELS[0].astype(np.uint16), written.file_meta.TransferSyntaxUID, [changed]), tmp_path / "b.dcm"
        )
        assert "Tile part length size inconsistent with stream length" in refusal_of(path)
        assert capfd.readouterr().err == ""

    def test_a_decoder_that_dies_or_hangs_costs_one_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = save(compressed(VOXELS[0], RLE, [run_length_encoded(VOXELS[0])]), tmp_path / "a.dcm")
        whole = gdcm.PROGRAM
        for fault in ("import os; os.abort()", "import time; time.sleep(60)"):
            monkeypatch.setattr(gdcm, "PROGRAM", whole.replace("image = ", f"{fault}; image = "))
            monkeypatch.setattr(gdcm, "SECONDS", 8)
            assert "damaged, or compressed in a way that is not read" in refusal_of(path)
        monkeypatch.setattr(gdcm, "PROGRAM", whole)
        assert_is(read_volume(path), VOXELS[:1])

    def test_nothing_of_a_scan_is_left_in_the_temporary_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = save(compressed(VOXELS[0], RLE, [run_length_encoded(VOXELS[0])]), tmp_path / "a.dcm")
        monkeypatch.setattr(gdcm.tempfile, "tempdir", str(tmp_path / "temporary"))
        (tmp_path / "temporary").mkdir()
        assert_is(read_volume(path), VOXELS[:1])
        assert list((tmp_path / "temporary").iterdir()) == []
