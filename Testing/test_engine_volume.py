"""Geometry and checks of volumes; reading and writing of image files."""

from __future__ import annotations

import gzip
import struct
from dataclasses import replace
from itertools import product
from pathlib import Path
from shutil import copy
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from AHNetSegmentLib.engine.card import ClassCard, Code, Terminology
from AHNetSegmentLib.engine.errors import OutputError, VolumeError
from AHNetSegmentLib.engine.image_io import image_name, read_labels, read_volume, write_labels, write_volume
from AHNetSegmentLib.engine.volume import (
    Geometry,
    Region,
    Volume,
    check_volume,
    crop,
)

AXIAL = Geometry((5, 4, 3), (1.0, 1.2, 3.0), (10.0, -20.0, 30.0))
VOXELS = np.arange(60, dtype=np.int16).reshape(AXIAL.shape)


def rotated(geometry: Geometry, degrees: tuple[float, float, float] = (15.0, -10.0, 20.0)) -> Geometry:
    """The grid turned about x, y and z."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        first, second = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[[first, first, second, second], [first, second, first, second]] = (
            np.cos(angle),
            -np.sin(angle),
            np.sin(angle),
            np.cos(angle),
        )
        matrix = turn @ matrix
    direction = matrix @ np.reshape(geometry.direction, (3, 3))
    return replace(geometry, direction=tuple(float(value) for value in direction.ravel()))


class TestGeometry:
    def test_shape_is_size_backwards(self) -> None:
        assert AXIAL.shape == (3, 4, 5)

    def test_a_voxel_goes_to_origin_plus_directions_times_spacing(self) -> None:
        turned = replace(AXIAL, direction=(0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0))
        np.testing.assert_allclose(turned.ijk_to_lps() @ [1, 2, 3, 1], [10 - 2.4, -20 + 1, 30 + 9, 1])

    def test_a_matrix_and_back_is_the_same_grid(self) -> None:
        turned = rotated(AXIAL)
        again = Geometry.from_matrix(turned.ijk_to_lps(), turned.size)
        assert again.same_grid(turned)
        assert again.spacing == pytest.approx(turned.spacing)

    def test_a_voxel_has_its_volume_in_millilitres(self) -> None:
        assert AXIAL.voxel_ml == pytest.approx(0.0036)
        assert rotated(AXIAL).voxel_ml == pytest.approx(0.0036)

    def test_a_sheared_voxel_has_the_volume_of_its_parallelepiped(self) -> None:
        matrix = np.eye(4)
        matrix[:3, :3] = [[2, 1, 0], [0, 3, 0], [0, 0, 4]]
        assert Geometry.from_matrix(matrix, (4, 4, 4)).voxel_ml == pytest.approx(0.024)

    @pytest.mark.parametrize(
        ("other", "same"),
        [
            pytest.param(AXIAL, True, id="itself"),
            pytest.param(replace(AXIAL, origin=(10.0005, -20.0, 30.0)), True, id="rounding of a header"),
            pytest.param(replace(AXIAL, origin=(10.08, -20.0, 30.0)), True, id="a float32 orientation"),
            pytest.param(replace(AXIAL, origin=(10.2, -20.0, 30.0)), False, id="a fifth of a voxel"),
            pytest.param(replace(AXIAL, spacing=(1.0, 1.2, 3.1)), False, id="spacing"),
            pytest.param(replace(AXIAL, size=(5, 4, 4)), False, id="size"),
            pytest.param(rotated(AXIAL, (0.0, 0.0, 5.0)), False, id="direction"),
        ],
    )
    def test_grids_are_the_same_when_their_voxels_lie_at_the_same_places(self, other: Geometry, same: bool) -> None:
        assert AXIAL.same_grid(other) is same

    def test_the_largest_offset_is_in_voxels(self) -> None:
        assert AXIAL.largest_offset(replace(AXIAL, origin=(10.0, -20.0, 31.5))) == pytest.approx(0.5)


class TestRegion:
    def test_it_covers_the_voxels_whose_centres_lie_in_the_box(self) -> None:
        region = Region.around(AXIAL, np.array([[10.5, -20.0, 30.0], [13.0, -17.0, 33.5]]))
        assert region == Region((1, 0, 0), (4, 3, 2))
        assert VOXELS[region.slices].shape == (2, 3, 3)

    def test_it_is_clipped_to_the_volume(self) -> None:
        assert Region.around(AXIAL, np.array([[-1e3, -1e3, -1e3], [1e3, 1e3, 1e3]])) == Region((0, 0, 0), (5, 4, 3))

    def test_a_box_outside_the_volume_is_refused_by_name(self) -> None:
        with pytest.raises(VolumeError, match=r"^R lies outside the volume; move it"):
            Region.around(AXIAL, np.array([[100.0, 0.0, 0.0], [110.0, 5.0, 5.0]]), "R")

    @pytest.mark.parametrize(
        ("low", "high", "column"), [(10.2, 10.6, 0), (10.4, 10.8, 1), (9.6, 9.8, 0), (14.1, 14.3, 4)]
    )
    def test_a_box_between_two_voxel_centres_is_the_nearest_voxel(self, low: float, high: float, column: int) -> None:
        region = Region.around(AXIAL, np.array([[low, -20.0, 30.0], [high, -17.0, 33.0]]))
        assert region == Region((column, 0, 0), (column + 1, 3, 2))

    def test_in_an_oblique_volume_it_covers_all_corners(self) -> None:
        turned = rotated(AXIAL)
        corners = [(turned.ijk_to_lps() @ [*ijk, 1.0])[:3] for ijk in product((1, 3), (1, 2), (0, 1))]
        assert Region.around(turned, np.array(corners)) == Region((1, 1, 0), (4, 3, 2))

    def test_a_crop_keeps_every_voxel_at_its_place(self) -> None:
        volume = Volume(VOXELS, rotated(AXIAL), "scan")
        part = crop(volume, Region((1, 2, 1), (4, 4, 3)))
        assert part.array.shape == part.geometry.shape == (2, 2, 3)
        assert part.name == "scan"
        assert part.array[1, 1, 2] == VOXELS[2, 3, 3]
        np.testing.assert_allclose(
            part.geometry.ijk_to_lps() @ [2, 1, 1, 1], volume.geometry.ijk_to_lps() @ [3, 3, 2, 1]
        )


def with_value(value: float) -> Volume:
    array = VOXELS.astype(np.float32)
    array[1, 1, 1] = value
    return Volume(array, AXIAL, "scan")


class TestChecks:
    def test_a_plain_volume_passes(self) -> None:
        check_volume(Volume(VOXELS, rotated(AXIAL), "scan"))

    @pytest.mark.parametrize(
        ("volume", "complaint"),
        [
            pytest.param(with_value(np.nan), "NaN or infinite", id="NaN"),
            pytest.param(with_value(np.inf), "NaN or infinite", id="infinite"),
            pytest.param(with_value(-np.inf), "NaN or infinite", id="minus infinite"),
            pytest.param(Volume(np.zeros((0, 4, 5)), Geometry((5, 4, 0)), "scan"), "is empty", id="empty"),
            pytest.param(Volume(np.full_like(VOXELS, 7), AXIAL, "scan"), "the value 7 in every voxel", id="constant"),
            pytest.param(Volume(VOXELS[0], AXIAL, "scan"), "has 2 dimensions", id="two dimensions"),
            pytest.param(Volume(VOXELS[..., None], AXIAL, "scan"), "has 4 dimensions", id="vector"),
            pytest.param(Volume(VOXELS[:2], AXIAL, "scan"), "a geometry for", id="geometry of another size"),
            pytest.param(Volume(VOXELS.astype(complex), AXIAL, "scan"), "complex128 values", id="complex"),
            pytest.param(
                Volume(VOXELS, replace(AXIAL, spacing=(1.0, 0.0, 3.0)), "scan"), "spacing of 1 × 0 × 3 mm", id="zero"
            ),
            pytest.param(
                Volume(VOXELS, replace(AXIAL, spacing=(1.0, 1.0, -3.0)), "scan"), "spacing of 1 × 1 × -3", id="negative"
            ),
            pytest.param(
                Volume(VOXELS, replace(AXIAL, spacing=(1.0, np.nan, 3.0)), "scan"), "spacing of 1 × nan", id="no number"
            ),
            pytest.param(
                Volume(VOXELS, replace(AXIAL, direction=(1, 0, 0, 1, 0, 0, 0, 0, 1)), "scan"),
                "singular direction matrix",
                id="two axes alike",
            ),
            pytest.param(
                Volume(VOXELS, replace(AXIAL, direction=(np.nan, 0, 0, 0, 1, 0, 0, 0, 1)), "scan"),
                "singular direction matrix",
                id="direction that is no number",
            ),
            pytest.param(
                Volume(VOXELS, replace(AXIAL, direction=(2, 0, 0, 0, 1, 0, 0, 0, 1)), "scan"),
                "not of length one",
                id="direction that hides a spacing",
            ),
            pytest.param(
                Volume(VOXELS, replace(AXIAL, origin=(0.0, np.inf, 0.0)), "scan"),
                "origin that is no number",
                id="origin",
            ),
        ],
    )
    def test_what_cannot_be_segmented_is_refused_by_name_with_a_remedy(self, volume: Volume, complaint: str) -> None:
        with pytest.raises(VolumeError) as refusal:
            check_volume(volume)
        message = str(refusal.value)
        assert message.startswith("scan ")
        assert complaint in message
        assert ";" in message
        assert message.endswith(".")

    @pytest.mark.parametrize(
        ("image", "complaint"),
        [
            pytest.param(sitk.GetImageFromArray(VOXELS[0]), "has 2 dimensions", id="two dimensions"),
            pytest.param(sitk.Image([4, 4, 4, 2], sitk.sitkUInt8), "has 4 dimensions", id="four dimensions"),
            pytest.param(sitk.Image([4, 4, 4], sitk.sitkVectorUInt8, 3), "has 3 values per voxel", id="colour"),
            pytest.param(sitk.Image([4, 0, 4], sitk.sitkUInt8), "is empty", id="empty"),
        ],
    )
    def test_images_of_another_kind_do_not_become_volumes(self, image: sitk.Image, complaint: str) -> None:
        with pytest.raises(VolumeError, match=rf"^scan {complaint}"):
            Volume.from_sitk(image, "scan")

    def test_a_simpleitk_image_and_back_is_the_same_volume(self) -> None:
        again = Volume.from_sitk(Volume(VOXELS, rotated(AXIAL), "scan").to_sitk(), "again")
        np.testing.assert_array_equal(again.array, VOXELS)
        assert again.array.dtype == VOXELS.dtype
        assert again.geometry == rotated(AXIAL)


def write_meta_image(path: Path, **fields: str) -> Path:
    header = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "TransformMatrix": "1 0 0 0 1 0 0 0 1",
        "Offset": "0 0 0",
        "ElementSpacing": "1 1 1",
        "DimSize": "4 4 4",
        "ElementType": "MET_UCHAR",
        **fields,
        "ElementDataFile": "LOCAL",
    }
    text = "".join(f"{key} = {value}\n" for key, value in header.items())
    path.write_bytes(text.encode() + bytes(range(64)))
    return path


def write_nrrd(path: Path, *lines: str) -> Path:
    header = ["NRRD0004", "type: uchar", "dimension: 3", "sizes: 4 4 4", "encoding: raw", *lines, "", ""]
    path.write_bytes("\n".join(header).encode() + bytes(range(64)))
    return path


def write_nifti(path: Path, *patches: tuple[str, int, Any]) -> Path:
    """A NIfTI file of VOXELS with header fields (format, offset, values) overwritten."""
    plain = path.with_name("plain.nii")
    sitk.WriteImage(Volume(VOXELS, AXIAL).to_sitk(), str(plain))
    content = bytearray(plain.read_bytes())
    plain.unlink()
    for form, offset, values in patches:
        struct.pack_into(f"<{form}", content, offset, *np.atleast_1d(values))
    path.write_bytes(gzip.compress(bytes(content)) if path.suffix == ".gz" else bytes(content))
    return path


def refusal_of(path: Path) -> str:
    with pytest.raises(VolumeError) as refusal:
        read_volume(path)
    message = str(refusal.value)
    assert message.startswith(f"{path} ")
    assert message.endswith(".")
    return message


PIXDIM = 76
SFORM_ROWS = 280


class TestReading:
    @pytest.mark.parametrize("name", ["scan.nii.gz", "scan.nii"])
    def test_a_nifti_file_is_read_with_its_geometry(self, tmp_path: Path, name: str) -> None:
        volume = read_volume(write_nifti(tmp_path / name))
        np.testing.assert_array_equal(volume.array, VOXELS)
        assert volume.geometry.same_grid(AXIAL)
        assert volume.name == str(tmp_path / name)

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        assert "does not exist; check the path" in refusal_of(tmp_path / "scan.nii.gz")

    @pytest.mark.parametrize("name", ["scan.nii.gz", "scan.nrrd", "scan.mha", "scan.txt", "scan"])
    @pytest.mark.parametrize("content", [b"", b"this is no image\n" * 100], ids=["empty", "text"])
    def test_a_file_that_is_no_image_is_named(self, tmp_path: Path, name: str, content: bytes) -> None:
        (tmp_path / name).write_bytes(content)
        assert "could not be read as an image; choose a NIfTI" in refusal_of(tmp_path / name)

    def test_a_colour_image_is_refused(self, tmp_path: Path) -> None:
        sitk.WriteImage(sitk.Image([4, 4, 4], sitk.sitkVectorUInt8, 3), str(tmp_path / "scan.nrrd"))
        assert "has 3 values per voxel" in refusal_of(tmp_path / "scan.nrrd")

    def test_a_picture_is_refused(self, tmp_path: Path) -> None:
        sitk.WriteImage(sitk.Image([4, 4], sitk.sitkUInt8), str(tmp_path / "scan.png"))
        assert "could not be read as an image; choose a NIfTI" in refusal_of(tmp_path / "scan.png")

    def test_a_time_series_is_refused(self, tmp_path: Path) -> None:
        sitk.WriteImage(sitk.Image([4, 4, 4, 2], sitk.sitkInt16), str(tmp_path / "scan.nii.gz"))
        assert "has 4 dimensions" in refusal_of(tmp_path / "scan.nii.gz")

    def test_a_time_series_of_one_point_is_a_volume(self, tmp_path: Path) -> None:
        sitk.WriteImage(sitk.Image([5, 4, 3, 1], sitk.sitkInt16), str(tmp_path / "scan.nii.gz"))
        assert read_volume(tmp_path / "scan.nii.gz").geometry.size == (5, 4, 3)

    @pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
    @pytest.mark.parametrize("axis", [1, 2, 3])
    @pytest.mark.parametrize("value", [0.0, -1.0, np.nan])
    def test_a_nifti_spacing_that_cannot_be_is_refused(
        self, tmp_path: Path, name: str, axis: int, value: float
    ) -> None:
        path = write_nifti(tmp_path / name, ("f", PIXDIM + 4 * axis, value))
        assert "zero or negative spacing; correct its header" in refusal_of(path)

    def test_a_nifti_file_of_the_other_byte_order_is_read_and_checked(self, tmp_path: Path) -> None:
        header = bytearray(352)
        struct.pack_into(">i", header, 0, 348)
        struct.pack_into(">8h", header, 40, 3, 5, 4, 3, 1, 1, 1, 1)
        struct.pack_into(">2h", header, 70, 4, 16)
        struct.pack_into(">8f", header, PIXDIM, 1, 1.0, 1.2, 3.0, 0, 0, 0, 0)
        struct.pack_into(">f", header, 108, 352)
        header[344:348] = b"n+1\0"
        path = tmp_path / "scan.nii"
        path.write_bytes(bytes(header) + VOXELS.astype(">i2").tobytes())
        np.testing.assert_array_equal(read_volume(path).array, VOXELS)
        struct.pack_into(">f", header, PIXDIM + 4, 0.0)
        path.write_bytes(bytes(header) + VOXELS.astype(">i2").tobytes())
        assert "zero or negative spacing" in refusal_of(path)

    def test_a_singular_nifti_direction_is_refused(self, tmp_path: Path) -> None:
        rows = [1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0]
        path = write_nifti(tmp_path / "scan.nii", ("2h", 252, (0, 2)), ("12f", SFORM_ROWS, rows))
        assert "singular direction matrix" in refusal_of(path)

    @pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
    @pytest.mark.parametrize("missing", [9, 60, 119])
    def test_a_nifti_file_that_is_cut_off_is_refused(self, tmp_path: Path, name: str, missing: int) -> None:
        path = write_nifti(tmp_path / name)
        content = gzip.decompress(path.read_bytes()) if name.endswith("gz") else path.read_bytes()
        path.write_bytes(gzip.compress(content[:-missing]) if name.endswith("gz") else content[:-missing])
        assert "is cut off" in refusal_of(path)

    def test_a_packed_nifti_file_whose_download_broke_off_is_refused(self, tmp_path: Path) -> None:
        noise = np.random.default_rng(0).integers(0, 1000, (20, 20, 20)).astype(np.int16)
        path = tmp_path / "scan.nii.gz"
        sitk.WriteImage(sitk.GetImageFromArray(noise), str(path))
        path.write_bytes(path.read_bytes()[:-2000])
        assert "is cut off" in refusal_of(path)

    def test_a_packed_nifti_file_in_several_parts_is_whole(self, tmp_path: Path) -> None:
        path = write_nifti(tmp_path / "scan.nii")
        content = path.read_bytes()
        packed = tmp_path / "scan.nii.gz"
        packed.write_bytes(gzip.compress(content[:400]) + gzip.compress(content[400:]))
        np.testing.assert_array_equal(read_volume(packed).array, VOXELS)

    @pytest.mark.parametrize("spacing", ["0 1 1", "1 1 -1", "1 nan 1"])
    def test_a_metaimage_spacing_that_cannot_be_is_refused(self, tmp_path: Path, spacing: str) -> None:
        path = write_meta_image(tmp_path / "scan.mha", ElementSpacing=spacing)
        assert "zero or negative spacing" in refusal_of(path)

    @pytest.mark.parametrize("matrix", ["0 0 0 0 0 0 0 0 0", "1 0 0 1 0 0 0 0 1"])
    def test_a_singular_metaimage_direction_is_refused(self, tmp_path: Path, matrix: str) -> None:
        path = write_meta_image(tmp_path / "scan.mha", TransformMatrix=matrix)
        assert "singular direction matrix" in refusal_of(path)

    def test_a_metaimage_direction_that_hides_a_spacing_is_refused(self, tmp_path: Path) -> None:
        path = write_meta_image(tmp_path / "scan.mha", TransformMatrix="2 0 0 0 1 0 0 0 1")
        assert "not of length one" in refusal_of(path)

    @pytest.mark.parametrize("spacing", ["0 1 1", "1 1 -1", "1 nan 1"])
    def test_an_nrrd_spacing_that_cannot_be_is_refused(self, tmp_path: Path, spacing: str) -> None:
        path = write_nrrd(tmp_path / "scan.nrrd", f"spacings: {spacing}")
        assert "zero or negative spacing" in refusal_of(path)

    @pytest.mark.parametrize(
        ("vectors", "complaint"),
        [
            ("(0,0,0) (0,1,0) (0,0,1)", "zero or negative spacing"),
            ("(1,0,0) (1,0,0) (0,0,1)", "singular direction matrix"),
        ],
    )
    def test_nrrd_space_directions_that_cannot_be_are_refused(
        self, tmp_path: Path, vectors: str, complaint: str
    ) -> None:
        path = write_nrrd(tmp_path / "scan.nrrd", "space: left-posterior-superior", f"space directions: {vectors}")
        assert complaint in refusal_of(path)

    def test_a_sheared_nrrd_file_keeps_its_voxels_at_their_places(self, tmp_path: Path) -> None:
        vectors = "(1,0,0) (0.5,1,0) (0,0,2)"
        path = write_nrrd(tmp_path / "scan.nrrd", "space: left-posterior-superior", f"space directions: {vectors}")
        geometry = read_volume(path).geometry
        np.testing.assert_allclose(geometry.ijk_to_lps() @ [1, 2, 1, 1], [2, 2, 2, 1], atol=1e-6)
        assert geometry.voxel_ml == pytest.approx(0.002)

    def test_a_folder_without_dicom_files_is_refused(self, tmp_path: Path) -> None:
        assert "holds no DICOM series; choose" in refusal_of(tmp_path)


class TestDicom:
    @pytest.fixture
    def prostate(self, shared_data: Path) -> Path:
        return shared_data / "single" / "prostate-t2"

    def test_a_dicom_folder_is_the_same_volume_as_its_nifti_file(self, prostate: Path) -> None:
        dicom, nifti = read_volume(prostate / "dicom"), read_volume(prostate / "image.nii.gz")
        np.testing.assert_array_equal(dicom.array, nifti.array)
        assert dicom.geometry.spacing == pytest.approx(nifti.geometry.spacing, abs=1e-5)
        # That NIfTI file keeps its rotation only as a quaternion in single precision: 2e-4 rad off.
        assert dicom.geometry.largest_offset(nifti.geometry) < 0.1

    def test_a_dicom_folder_without_one_of_its_slices_is_refused(self, prostate: Path, tmp_path: Path) -> None:
        for file in sorted((prostate / "dicom").iterdir()):
            copy(file, tmp_path)
        sorted(tmp_path.iterdir())[9].unlink()
        assert "slices that are missing" in refusal_of(tmp_path)

    def test_a_dicom_folder_with_two_series_is_refused(self, prostate: Path, tmp_path: Path) -> None:
        first, second = sorted((prostate / "dicom").iterdir())[:2]
        copy(first, tmp_path)
        image = sitk.ReadImage(str(second))
        image.SetMetaData("0020|000e", "1.2.3.4")
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(tmp_path / "other.dcm"))
        writer.Execute(image)
        assert "holds 2 DICOM series" in refusal_of(tmp_path)


LABELS = np.zeros(AXIAL.shape, np.uint8)
LABELS[0, 1, 2:4] = 1
LABELS[1:3, 2, 1] = 2


def class_card(label: int, name: str, modifier: Code | None = None) -> ClassCard:
    category, kind = Code("SCT", "123037004", "Anatomical Structure"), Code("SCT", "64033007", "Kidney")
    return ClassCard(label, name, (255, 128, 0), Terminology(category, kind, modifier))


class TestLabels:
    @pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha", ".seg.nrrd"])
    def test_labels_come_back_on_the_grid_that_they_were_written_on(self, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"labels{suffix}"
        oblique = rotated(AXIAL)
        write_labels(path, LABELS, oblique, (class_card(1, "one"), class_card(2, "two")))

        again = read_labels(path, Volume(VOXELS, oblique, "scan"), values=(0, 1, 2))

        np.testing.assert_array_equal(again, LABELS)
        assert again.dtype == np.uint8
        assert [item.name for item in tmp_path.iterdir()] == [path.name]

    def test_a_segmentation_file_names_its_segments_as_slicer_does(self, tmp_path: Path) -> None:
        path = tmp_path / "labels.seg.nrrd"
        left = Code("SCT", "7771000", "Left")
        classes = (class_card(1, "kidney", left), class_card(2, "cyst"), class_card(3, "nothing"))
        write_labels(path, LABELS, AXIAL, classes)

        image = sitk.ReadImage(str(path))
        found = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys() if key.startswith("Seg")}

        context = "Segmentation category and type - DICOM master list~SCT^123037004^Anatomical Structure"
        anatomy = "Anatomic codes - DICOM master list~^^~^^"
        assert found["Segmentation_MasterRepresentation"] == "Binary labelmap"
        assert found["Segment0_ID"] == "Segment_1"
        assert found["Segment0_Name"] == "kidney"
        assert found["Segment0_LabelValue"] == "1"
        assert found["Segment0_Layer"] == "0"
        assert found["Segment0_Extent"] == "2 3 1 1 0 0"
        assert [float(part) for part in found["Segment0_Color"].split()] == pytest.approx([1, 128 / 255, 0], abs=1e-5)
        assert f"TerminologyEntry:{context}~SCT^64033007^Kidney~SCT^7771000^Left~{anatomy}|" in found["Segment0_Tags"]
        assert f"TerminologyEntry:{context}~SCT^64033007^Kidney~^^~{anatomy}|" in found["Segment1_Tags"]
        assert found["Segment1_Extent"] == "1 1 2 2 1 2"
        assert found["Segment2_Extent"] == "0 -1 0 -1 0 -1"

    @pytest.mark.parametrize("name", ["labels.mhd", "labels.nhdr", "labels.txt", "labels"])
    def test_an_ending_that_is_not_one_image_file_is_refused(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(OutputError, match=r"an ending that cannot be written; choose one of \.nii\.gz"):
            write_labels(tmp_path / name, LABELS, AXIAL)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("geometry", "complaint"),
        [
            (replace(AXIAL, size=(5, 4, 4)), "has 5 × 4 × 3 voxels but scan has 5 × 4 × 4"),
            (replace(AXIAL, origin=(10.0, -20.0, 31.5)), "lies 0.5 voxels off the grid of scan"),
            (replace(AXIAL, direction=(-1, 0, 0, 0, 1, 0, 0, 0, 1)), "voxels off the grid of scan"),
        ],
    )
    def test_labels_on_another_grid_are_refused(self, tmp_path: Path, geometry: Geometry, complaint: str) -> None:
        path = tmp_path / "labels.nii.gz"
        write_labels(path, LABELS, AXIAL)
        with pytest.raises(VolumeError) as refusal:
            read_labels(path, Volume(np.zeros(geometry.shape), geometry, "scan"))
        assert str(refusal.value).startswith(f"{path} ")
        assert complaint in str(refusal.value)
        assert "resample the label map onto the grid" in str(refusal.value)

    def test_unknown_labels_are_listed(self, tmp_path: Path) -> None:
        path = tmp_path / "labels.nrrd"
        write_labels(path, LABELS, AXIAL)
        with pytest.raises(VolumeError, match=r"holds the unknown labels 2; expected are 0, 1, 5\.$"):
            read_labels(path, Volume(VOXELS, AXIAL, "scan"), values=(5, 1, 0))

    @pytest.mark.parametrize("value", [0.5, -1.0, 256.0, np.nan])
    def test_values_that_are_no_labels_are_refused(self, tmp_path: Path, value: float) -> None:
        path = tmp_path / "labels.nrrd"
        write_volume(path, with_value(value))
        with pytest.raises(VolumeError, match="values that are no labels"):
            read_labels(path, Volume(VOXELS, AXIAL, "scan"))

    def test_whole_numbers_stored_as_floats_are_labels(self, tmp_path: Path) -> None:
        path = tmp_path / "labels.nrrd"
        write_volume(path, Volume(LABELS.astype(np.float64), AXIAL))
        labels = read_labels(path, Volume(VOXELS, AXIAL, "scan"), values=(0, 1, 2))
        np.testing.assert_array_equal(labels, LABELS)
        assert labels.dtype == np.uint8

    @pytest.mark.parametrize(
        ("name", "expected"),
        [("a.b.nii.gz", "a.b"), ("case.seg.nrrd", "case"), ("scan.MHA", "scan"), ("folder", "folder")],
    )
    def test_a_case_is_called_like_its_file(self, name: str, expected: str) -> None:
        assert image_name(Path("somewhere") / name) == expected
