"""NIfTI, NRRD and MetaImage: read as ITK reads what is in order, and as their headers say where ITK guesses."""

from __future__ import annotations

import bz2
import gzip
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from AHNetSegmentLib.engine.errors import OutputError, VolumeError
from AHNetSegmentLib.engine.image_io import read_volume, write_labels, write_volume
from AHNetSegmentLib.engine.volume import Array, Geometry, Volume, check_geometry
from case_files import (
    AXIAL,
    CORONAL,
    OBLIQUE,
    ORIGIN,
    SPACING,
    geometry_of,
    nifti_bytes,
    phantom,
    ras_matrix,
    volume_of,
    write_nifti_file,
)

VOXELS = phantom((5, 6, 7))
GEOMETRY = geometry_of(VOXELS.shape)
SCANNER = (1, ras_matrix(GEOMETRY))
TYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8")
SHEARED = Geometry.from_matrix(
    GEOMETRY.ijk_to_lps() @ np.array([[1, 0, 0, 0], [0, 1, 0.4, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), GEOMETRY.size
)


def refusal_of(path: Path) -> str:
    with pytest.raises(VolumeError) as refusal:
        read_volume(path)
    assert str(path.parent) in str(refusal.value)
    return str(refusal.value)


def assert_is(path: Path, array: Array = VOXELS, geometry: Geometry = GEOMETRY) -> Volume:
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, array)
    assert geometry.largest_offset(volume.geometry) < 1e-3
    return volume


def of_type(code: str) -> Array:
    return (VOXELS % 120).astype(code)


class TestAsItk:
    """Files that ITK has written, in each type, are what ITK reads in them."""

    @pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz", "scan.nrrd", "scan.nhdr", "scan.mha", "scan.mhd"])
    @pytest.mark.parametrize("code", TYPES)
    @pytest.mark.parametrize("packed", [False, True])
    def test_numbers_of_each_type(self, tmp_path: Path, name: str, code: str, packed: bool) -> None:
        path = tmp_path / name
        sitk.WriteImage(volume_of(of_type(code), OBLIQUE).to_sitk(), str(path), useCompression=packed)
        found, expected = read_volume(path), Volume.from_sitk(sitk.ReadImage(str(path)))
        np.testing.assert_array_equal(found.array, expected.array)
        assert found.array.dtype == expected.array.dtype
        assert found.array.flags.writeable
        assert found.geometry.largest_offset(expected.geometry) < 1e-4
        assert found.geometry.spacing == pytest.approx(expected.geometry.spacing, rel=1e-6)
        assert found.notes == ()

    @pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".seg.nrrd", ".mha"])
    @pytest.mark.parametrize("orientation", [AXIAL, CORONAL, OBLIQUE], ids=["axial", "coronal", "oblique"])
    def test_what_is_written_here_itk_reads_alike(
        self, tmp_path: Path, suffix: str, orientation: tuple[float, ...]
    ) -> None:
        path = tmp_path / f"out{suffix}"
        volume = volume_of(of_type("u1"), orientation)
        write_labels(path, volume.array, volume.geometry)
        found = Volume.from_sitk(sitk.ReadImage(str(path)))
        np.testing.assert_array_equal(found.array, volume.array)
        assert volume.geometry.largest_offset(found.geometry) < 1e-3

    @pytest.mark.parametrize("flip", [(-1, 1, 1), (1, -1, -1), (-1, -1, -1)])
    def test_mirrored_grids_are_written_to_nifti_as_itk_reads_them(self, tmp_path: Path, flip: tuple[int, ...]) -> None:
        geometry = Geometry.from_matrix(
            geometry_of(VOXELS.shape, OBLIQUE).ijk_to_lps() @ np.diag([*flip, 1]), (7, 6, 5)
        )
        write_volume(tmp_path / "out.nii.gz", Volume(VOXELS, geometry))
        found = Volume.from_sitk(sitk.ReadImage(str(tmp_path / "out.nii.gz")))
        assert geometry.largest_offset(found.geometry) < 1e-3
        # Other programs take the quaternion: without the matrix, it says the same.
        content = bytearray(gzip.decompress((tmp_path / "out.nii.gz").read_bytes()))
        struct.pack_into("<h", content, 254, 0)
        (tmp_path / "out.nii").write_bytes(content)
        assert geometry.largest_offset(read_volume(tmp_path / "out.nii").geometry) < 1e-3

    @pytest.mark.parametrize(
        ("qform", "sform"), [(1, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 1), (2, 4), (4, 4), (0, 0)]
    )
    def test_of_two_orientations_that_one_is_taken_that_itk_takes(self, tmp_path: Path, qform: int, sform: int) -> None:
        half = np.sqrt(0.5)
        path = write_nifti_file(
            tmp_path / "scan.nii",
            VOXELS,
            qform=(qform, (0, 0, half), (3, 4, 5)) if qform else None,
            sform=(sform, ras_matrix(geometry_of(VOXELS.shape, CORONAL))) if sform else None,
        )
        expected = Volume.from_sitk(sitk.ReadImage(str(path)))
        found = read_volume(path)
        assert found.geometry.largest_offset(expected.geometry) < 1e-3
        told = " ".join(found.notes)
        taken = "sform" if sform == 1 else "qform"
        assert ("has two orientations, up to" in told and f"the {taken} is taken" in told) == bool(qform and sform)
        assert ("does not say how it lies in the body" in told) == (not qform and not sform)

    @pytest.mark.parametrize("unit", [1, 3])
    def test_units_of_length_are_those_of_itk(self, tmp_path: Path, unit: int) -> None:
        factor = 0.001 if unit == 1 else 1000
        matrix = ras_matrix(GEOMETRY)
        matrix[:3] *= factor
        path = write_nifti_file(
            tmp_path / "a.nii", VOXELS, pixdim=np.array(SPACING) * factor, sform=(1, matrix), patches=[("B", 123, unit)]
        )
        expected = Volume.from_sitk(sitk.ReadImage(str(path)))
        assert read_volume(path).geometry.largest_offset(expected.geometry) < 1e-3
        assert_is(path)

    @pytest.mark.parametrize("space", ["left-posterior-superior", "RAS", "left-anterior-superior", "scanner-xyz"])
    def test_spaces_of_nrrd_are_those_of_itk(self, tmp_path: Path, space: str) -> None:
        path = nrrd(tmp_path / "a.nrrd", VOXELS, {"space": space})
        expected = Volume.from_sitk(sitk.ReadImage(str(path)))
        assert read_volume(path).geometry.largest_offset(expected.geometry) < 1e-4

    def test_an_nrrd_file_with_spacings_only_begins_where_its_axes_do(self, tmp_path: Path) -> None:
        for centers in ("cell cell cell", "node node node"):
            fields = {"space directions": None, "space origin": None, "spacings": "1 2 3", "axis mins": "4 5 6"}
            path = nrrd(tmp_path / "a.nrrd", VOXELS, {**fields, "centers": centers})
            expected = Volume.from_sitk(sitk.ReadImage(str(path)))
            assert read_volume(path).geometry.largest_offset(expected.geometry) < 1e-4


def nrrd(path: Path, array: Array, fields: dict[str, str | None] | None = None, content: bytes | None = None) -> Path:
    """A raw NRRD file whose fields are changed, or taken out by None."""
    matrix = GEOMETRY.ijk_to_lps()
    vectors = " ".join("({},{},{})".format(*matrix[:3, axis]) for axis in range(3))
    header: dict[str, str | None] = {
        "type": {"i2": "short", "u1": "uchar", "f4": "float"}[array.dtype.str[1:]],
        "dimension": str(array.ndim),
        "sizes": " ".join(map(str, array.shape[::-1])),
        "space directions": vectors,
        "space origin": "({},{},{})".format(*ORIGIN),
        "endian": "little",
        "encoding": "raw",
        **(fields or {}),
    }
    if "space" not in header and header["space directions"]:
        header["space"] = "left-posterior-superior"
    lines = [f"{key}: {value}" for key, value in sorted(header.items(), key=lambda item: item[0] != "space") if value]
    text = "\n".join(["NRRD0004", *lines, "", ""]).encode()
    path.write_bytes(text + (array.tobytes() if content is None else content))
    return path


def meta(path: Path, keys: dict[str, str | None] | None = None, content: bytes | None = None) -> Path:
    """A MetaImage file of VOXELS whose keys are changed, or taken out by None."""
    header: dict[str, str | None] = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "False",
        "TransformMatrix": "1 0 0 0 1 0 0 0 1",
        "Offset": " ".join(map(str, ORIGIN)),
        "ElementSpacing": " ".join(map(str, SPACING)),
        "DimSize": "7 6 5",
        "ElementType": "MET_SHORT",
        "ElementDataFile": "LOCAL",
        **(keys or {}),
    }
    data = header.pop("ElementDataFile")
    lines = [f"{key} = {value}\n" for key, value in header.items() if value is not None]
    path.write_bytes(
        "".join([*lines, f"ElementDataFile = {data}\n"]).encode() + (VOXELS.tobytes() if content is None else content)
    )
    return path


class TestNifti:
    @pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
    @pytest.mark.parametrize("order", ["<", ">"])
    @pytest.mark.parametrize("version", [1, 2])
    def test_both_versions_and_byte_orders_are_read(self, tmp_path: Path, name: str, order: str, version: int) -> None:
        path = write_nifti_file(tmp_path / name, VOXELS, version=version, order=order, sform=SCANNER)
        assert assert_is(path).notes == ()

    def test_a_gzip_file_is_read_whatever_its_name(self, tmp_path: Path) -> None:
        path = tmp_path / "scan.nii"
        path.write_bytes(gzip.compress(nifti_bytes(VOXELS, sform=SCANNER)))
        assert_is(path)
        path = tmp_path / "plain.nii.gz"
        path.write_bytes(nifti_bytes(VOXELS, sform=SCANNER))
        assert_is(path)

    def test_header_and_voxels_may_be_two_files(self, tmp_path: Path) -> None:
        content = bytearray(nifti_bytes(VOXELS, sform=SCANNER))
        content[344:348] = b"ni1\0"
        struct.pack_into("<f", content, 108, 0)
        (tmp_path / "a.hdr").write_bytes(content[:348])
        assert "a.img, which holds the voxels of" in refusal_of(tmp_path / "a.hdr")
        (tmp_path / "a.img").write_bytes(VOXELS.tobytes())
        assert_is(tmp_path / "a.hdr")

    @pytest.mark.parametrize("slope", [0.0, np.nan, 1.0, 2.0, 0.25])
    def test_values_are_scaled(self, tmp_path: Path, slope: float) -> None:
        path = write_nifti_file(tmp_path / "a.nii", VOXELS, sform=SCANNER, patches=[("2f", 112, (slope, -7.0))])
        assert_is(path, VOXELS * slope - 7 if slope > 0 else VOXELS)

    @pytest.mark.parametrize("scaling", [(np.inf, 0), (1, np.nan), (2, np.inf)])
    def test_a_scaling_by_no_number_is_refused(self, tmp_path: Path, scaling: tuple[float, float]) -> None:
        path = write_nifti_file(tmp_path / "a.nii", VOXELS, sform=SCANNER, patches=[("2f", 112, scaling)])
        assert "scaled by what is no number" in refusal_of(path)

    @pytest.mark.parametrize("begins", [348, 352])
    def test_a_start_of_zero_is_where_the_voxels_are(self, tmp_path: Path, begins: int) -> None:
        assert_is(write_nifti_file(tmp_path / "a.nii", VOXELS, sform=SCANNER, start=begins, patches=[("f", 108, 0)]))
        path = write_nifti_file(tmp_path / "a.nii.gz", VOXELS, sform=SCANNER, start=352, patches=[("f", 108, 0)])
        assert_is(path)

    @pytest.mark.parametrize("start", [-352, -1, 352.5, np.nan, np.inf, 100])
    def test_a_start_that_cannot_be_is_refused(self, tmp_path: Path, start: float) -> None:
        path = write_nifti_file(tmp_path / "a.nii", VOXELS, sform=SCANNER, patches=[("f", 108, start)])
        assert "its voxels are to begin at byte" in refusal_of(path)

    def test_extensions_between_header_and_voxels_are_passed_over(self, tmp_path: Path) -> None:
        assert_is(write_nifti_file(tmp_path / "a.nii", VOXELS, sform=SCANNER, start=352 + 64))

    @pytest.mark.parametrize(
        ("patch", "cause"),
        [
            (("h", 72, 8), "a voxel has 8 bits, but its type has others"),
            (("h", 72, 32), "a voxel has 32 bits, but its type has others"),
            (("4s", 344, b"n+2\0"), "the letters that name the format are wrong"),
            (("4s", 344, b"m+1\0"), "the letters that name the format are wrong"),
            (("4s", 344, bytes(4)), "is an Analyze file"),
            (("h", 40, 0), "does not say how many voxels there are"),
            (("h", 40, 9), "does not say how many voxels there are"),
            (("h", 42, -7), "does not say how many voxels there are"),
            (("h", 70, 128), "is a colour image"),
            (("h", 70, 32), "holds complex numbers"),
            (("h", 70, 1), "of a kind that is not read"),
            (("B", 123, 6), "its unit of length is unknown"),
            (("f", 280, np.nan), "its orientation (sform) is no number"),
            (("4h", 46, (50, 1, 1, 1)), "is cut off"),
            (("h", 46, 4), "more bytes than its header says"),
        ],
    )
    def test_a_header_that_contradicts_itself_is_refused(
        self, tmp_path: Path, patch: tuple[str, int, object], cause: str
    ) -> None:
        assert cause in refusal_of(write_nifti_file(tmp_path / "a.nii", VOXELS, sform=SCANNER, patches=[patch]))

    def test_two_spacings_are_told(self, tmp_path: Path) -> None:
        path = write_nifti_file(tmp_path / "a.nii", VOXELS, sform=SCANNER, pixdim=np.array(SPACING) * 2)
        (told,) = assert_is(path).notes
        assert "has two spacings: 1 × 1.25 × 2 mm (sform) is taken, 3D Slicer takes 2 × 2.5 × 4 mm (pixdim)" in told
        assert "volumes in mL differ by a factor of 8" in told

    @pytest.mark.parametrize("degrees", [0.1, 3.0])
    def test_a_matrix_that_is_sheared_is_read_as_it_is(self, tmp_path: Path, degrees: float) -> None:
        shear = np.eye(4)
        shear[1, 2] = np.tan(np.deg2rad(degrees)) * SPACING[2] / SPACING[1]
        geometry = Geometry.from_matrix(GEOMETRY.ijk_to_lps() @ shear, GEOMETRY.size)
        path = write_nifti_file(tmp_path / "a.nii", VOXELS, pixdim=geometry.spacing, sform=(1, ras_matrix(geometry)))
        assert_is(path, geometry=geometry)

    @pytest.mark.parametrize("shape", [(3, 5, 6, 7), (3, 1, 5, 6, 7)])
    def test_more_than_one_volume_is_refused(self, tmp_path: Path, shape: tuple[int, ...]) -> None:
        path = write_nifti_file(tmp_path / "a.nii", np.zeros(shape, np.int16), sform=SCANNER)
        assert ("has 4 dimensions" if len(shape) == 4 else "has 3 values per voxel") in refusal_of(path)

    def test_a_text_in_a_gzip_file_is_no_nifti_file(self, tmp_path: Path) -> None:
        (tmp_path / "a.nii.gz").write_bytes(gzip.compress(b"Dear colleague" * 50))
        assert "is a gzip file, but holds no NIfTI file" in refusal_of(tmp_path / "a.nii.gz")


class TestNrrd:
    @pytest.mark.parametrize(
        ("encoding", "pack"),
        [
            ("gzip", gzip.compress),
            ("gz", gzip.compress),
            ("bzip2", bz2.compress),
            ("hex", lambda content: content.hex().encode()),
            ("ascii", lambda content: " ".join(map(str, np.frombuffer(content, "i2"))).encode()),
        ],
    )
    def test_each_encoding_is_read_and_checked(
        self, tmp_path: Path, encoding: str, pack: Callable[[bytes], bytes]
    ) -> None:
        packed = pack(VOXELS.tobytes())
        assert_is(nrrd(tmp_path / "a.nrrd", VOXELS, {"encoding": encoding}, packed))
        refusal_of(nrrd(tmp_path / "cut.nrrd", VOXELS, {"encoding": encoding}, packed[: len(packed) // 2]))
        refusal_of(nrrd(tmp_path / "cut.nrrd", VOXELS, {"encoding": encoding}, packed[:-9]))

    def test_other_numbers_of_bytes_than_the_header_says_are_refused(self, tmp_path: Path) -> None:
        assert "is cut off" in refusal_of(nrrd(tmp_path / "a.nrrd", VOXELS, None, VOXELS.tobytes()[:-1]))
        assert "more bytes than its header" in refusal_of(nrrd(tmp_path / "a.nrrd", VOXELS, {"sizes": "7 6 4"}))
        packed = gzip.compress(VOXELS.tobytes())
        for sizes, cause in (("7 6 6", "is cut off"), ("7 6 4", "more bytes than its header")):
            path = nrrd(tmp_path / "a.nrrd", VOXELS, {"sizes": sizes, "encoding": "gzip"}, packed)
            assert cause in refusal_of(path)

    def test_voxels_may_lie_in_other_files(self, tmp_path: Path) -> None:
        (tmp_path / "all.raw").write_bytes(b"head" + VOXELS.tobytes())
        assert_is(nrrd(tmp_path / "a.nhdr", VOXELS, {"data file": "all.raw", "byte skip": "4"}, b""))
        assert_is(nrrd(tmp_path / "b.nhdr", VOXELS, {"data file": "all.raw", "byte skip": "-1"}, b""))
        for number, plane in enumerate(VOXELS, start=1):
            (tmp_path / f"s{number:02d}.raw").write_bytes(plane.tobytes())
        assert_is(nrrd(tmp_path / "c.nhdr", VOXELS, {"data file": "s%02d.raw 1 5 1"}, b""))
        path = nrrd(tmp_path / "d.nhdr", VOXELS, {"data file": None}, b"")
        names = "".join(f"s{number:02d}.raw\n" for number in range(1, 6))
        path.write_text(path.read_text().rstrip("\n") + "\ndata file: LIST\n" + names)
        assert_is(path)
        (tmp_path / "s03.raw").unlink()
        assert "s03.raw, the file of its voxels, is missing: put it beside" in refusal_of(path)

    @pytest.mark.parametrize(
        ("fields", "cause"),
        [
            ({"sizes": "7 6"}, "does not say how many voxels"),
            ({"sizes": "7 6 -5"}, "does not say how many voxels"),
            ({"dimension": "4"}, "does not say how many voxels"),
            ({"type": "shart"}, "of the unknown type 'shart'"),
            ({"encoding": "zip"}, "packed in the unknown way 'zip'"),
            ({"endian": None}, "in which order the bytes"),
            ({"kond": "x"}, "has the unknown line 'kond: x'"),
            ({"space directions": "(1,0,0) (0,1,0)"}, "'space directions'"),
            ({"space directions": "(1,0,0) (0,1,0) (0,0,x)"}, "'space directions'"),
            ({"space origin": "(1,2)"}, "'space origin'"),
            ({"space units": '"cm" "cm" "cm"'}, "has lengths in cm, not mm"),
            ({"byte skip": "x"}, "'byte skip'"),
            ({"kinds": "domain domain"}, "of each axis what it is"),
        ],
    )
    def test_a_damaged_header_is_refused(self, tmp_path: Path, fields: dict[str, str | None], cause: str) -> None:
        assert cause in refusal_of(nrrd(tmp_path / "a.nrrd", VOXELS, fields))

    def test_a_header_without_end_is_cut_off(self, tmp_path: Path) -> None:
        path = nrrd(tmp_path / "a.nrrd", VOXELS)
        path.write_bytes(path.read_bytes()[:90])
        assert "cut off within its header" in refusal_of(path)

    def test_a_size_that_nobody_has_said_is_told(self, tmp_path: Path) -> None:
        path = nrrd(tmp_path / "a.nrrd", VOXELS, {"space directions": None, "space origin": None})
        assert "does not say how large its voxels are: 1 mm is taken" in " ".join(read_volume(path).notes)

    @pytest.mark.parametrize("length", [1_000, 100_000, 3_000_000])
    def test_a_line_of_any_length_ends_in_a_result_or_a_sentence(self, tmp_path: Path, length: int) -> None:
        assert_is(nrrd(tmp_path / "a.nrrd", VOXELS, {"content": "x" * length}))
        for field in ("sizes", "kinds", "space directions", "encoding", "type", "space"):
            path = nrrd(tmp_path / "a.nrrd", VOXELS, {field: "9" * length})
            if field != "space":
                refusal_of(path)

    def test_axes_of_one_voxel_beyond_the_third_are_none(self, tmp_path: Path) -> None:
        vectors = "none (1,0,0) (0,1.25,0) (0,0,2)"
        fields: dict[str, str | None] = {"space directions": vectors, "kinds": "list domain domain domain"}
        assert_is(nrrd(tmp_path / "a.nrrd", VOXELS[..., None], fields))
        assert "has 2 values per voxel" in refusal_of(nrrd(tmp_path / "b.nrrd", np.stack([VOXELS] * 2, -1), fields))


class TestMetaImage:
    @pytest.mark.parametrize("packer", [zlib.compress, gzip.compress])
    def test_packed_voxels_are_read_with_and_without_their_size(
        self, tmp_path: Path, packer: Callable[[bytes], bytes]
    ) -> None:
        packed = packer(VOXELS.tobytes())
        assert_is(meta(tmp_path / "a.mha", {"CompressedData": "True"}, packed))
        assert_is(meta(tmp_path / "b.mha", {"CompressedData": "True", "CompressedDataSize": str(len(packed))}, packed))
        for size in (len(packed) - 1, len(packed) + 1, 0, -5):
            path = meta(tmp_path / "c.mha", {"CompressedData": "True", "CompressedDataSize": str(size)}, packed)
            refusal_of(path)

    def test_voxels_may_lie_in_other_files(self, tmp_path: Path) -> None:
        (tmp_path / "a.raw").write_bytes(b"head" + VOXELS.tobytes())
        assert_is(meta(tmp_path / "a.mhd", {"ElementDataFile": "a.raw", "HeaderSize": "4"}, b""))
        assert_is(meta(tmp_path / "b.mhd", {"ElementDataFile": "a.raw", "HeaderSize": "-1"}, b""))
        assert "more bytes" in refusal_of(meta(tmp_path / "c.mhd", {"ElementDataFile": "a.raw"}, b""))
        for number, plane in enumerate(VOXELS):
            (tmp_path / f"{number}.raw").write_bytes(plane.tobytes())
        assert_is(meta(tmp_path / "d.mhd", {"ElementDataFile": "%d.raw 0 4 1"}, b""))
        names = "".join(f"{number}.raw\n" for number in range(5)).encode()
        assert_is(meta(tmp_path / "e.mhd", {"ElementDataFile": "LIST"}, names))
        (tmp_path / "2.raw").unlink()
        assert "2.raw, the file of its voxels, is missing" in refusal_of(tmp_path / "e.mhd")

    def test_bytes_in_the_other_order_and_text_are_read(self, tmp_path: Path) -> None:
        content = VOXELS.astype(">i2").tobytes()
        assert_is(meta(tmp_path / "a.mha", {"BinaryDataByteOrderMSB": "True"}, content))
        text = " ".join(map(str, VOXELS.ravel())).encode()
        assert_is(meta(tmp_path / "b.mha", {"BinaryData": "False"}, text))

    @pytest.mark.parametrize("code", ["i4", "i8"])
    def test_longs_have_as_many_bytes_as_the_file(self, tmp_path: Path, code: str) -> None:
        assert_is(meta(tmp_path / "a.mha", {"ElementType": "MET_LONG"}, VOXELS.astype(code).tobytes()))
        packed = zlib.compress(VOXELS.astype(code).tobytes())
        assert_is(meta(tmp_path / "a.mha", {"ElementType": "MET_LONG", "CompressedData": "True"}, packed))

    @pytest.mark.parametrize(
        ("keys", "cause"),
        [
            ({"NDims": "99999999999"}, "how many dimensions there are"),
            ({"NDims": "-1"}, "how many dimensions there are"),
            ({"NDims": "nan"}, "how many dimensions there are"),
            ({"NDims": None}, "how many dimensions there are"),
            ({"DimSize": "7 6"}, "its key DimSize is '7 6'"),
            ({"DimSize": "7 6 99999999999999999"}, "how many voxels there are"),
            ({"DimSize": "7 6 50000000"}, "is cut off"),
            ({"ElementType": "MET_HALF"}, "of the unknown type 'MET_HALF'"),
            ({"CompressedData": "perhaps"}, "its key CompressedData is 'perhaps'"),
            ({"Offset": "1 2"}, "its key Offset is '1 2'"),
            ({"TransformMatrix": "1 0 0 0 1 0 0 0 nan"}, "singular direction matrix"),
            ({"ElementDataFile": "absent.raw"}, "absent.raw, the file of its voxels, is missing"),
            ({"ElementDataFile": "%d%d.raw 1 5 1"}, "which files hold its voxels"),
            ({"ElementDataFile": "%d.raw 1 5 0"}, "which files hold its voxels"),
            ({"DistanceUnits": "um"}, "has lengths in um, not mm"),
            ({"ElementToIntensityFunctionSlope": "2"}, "are to be rescaled"),
            ({"ObjectType": "Mesh"}, "holds no image but 'Mesh'"),
        ],
    )
    def test_a_damaged_header_is_refused(self, tmp_path: Path, keys: dict[str, str | None], cause: str) -> None:
        assert cause in refusal_of(meta(tmp_path / "a.mha", keys))

    def test_a_size_that_nobody_has_said_is_told(self, tmp_path: Path) -> None:
        path = meta(tmp_path / "a.mha", {"ElementSpacing": None})
        assert "does not say how large its voxels are: 1 mm is taken" in " ".join(read_volume(path).notes)


class TestOneChangedByte:
    """A packed file carries a checksum of its voxels: no changed byte of it may pass."""

    @pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "a.seg.nrrd", "a.mha"])
    def test_no_changed_byte_of_packed_voxels_passes(self, tmp_path: Path, name: str) -> None:
        write_volume(tmp_path / name, volume_of(VOXELS))
        whole = (tmp_path / name).read_bytes()
        begins = {"a.nii.gz": 10, "a.mha": whole.find(b"LOCAL\n") + 6}.get(name, whole.find(b"\n\n") + 12)
        passed = []
        for place in range(begins, len(whole)):
            for bit in (0, 3, 7):
                changed = bytearray(whole)
                changed[place] ^= 1 << bit
                (tmp_path / name).write_bytes(changed)
                try:
                    volume = read_volume(tmp_path / name)
                except VolumeError:
                    continue
                # The last bits of a last byte of a stream belong to nothing.
                if not np.array_equal(volume.array, VOXELS):
                    passed.append(place)
        assert passed == []


class TestPlaces:
    @pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha", ".seg.nrrd"])
    def test_a_sheared_grid_comes_back_as_it_was(self, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"a{suffix}"
        write_labels(path, of_type("u1"), SHEARED)
        assert SHEARED.largest_offset(read_volume(path).geometry) < 1e-3

    def test_a_sheared_grid_has_a_matrix_and_no_quaternion_in_nifti(self, tmp_path: Path) -> None:
        write_labels(tmp_path / "a.nii", of_type("u1"), SHEARED)
        header = (tmp_path / "a.nii").read_bytes()
        assert struct.unpack_from("<2h", header, 252) == (0, 1)
        rows = np.reshape(struct.unpack_from("<12f", header, 280), (3, 4))
        np.testing.assert_allclose(rows, ras_matrix(SHEARED)[:3], atol=1e-5)

    @pytest.mark.parametrize(
        ("size", "spacing"),
        [((18, 16, 10), (1000, 1000, 2000)), ((4000, 10, 10), (1, 1, 1)), ((1000, 1000, 1000), (2.5, 2.5, 2.5))],
    )
    def test_what_is_larger_than_a_body_is_refused(
        self, size: tuple[int, int, int], spacing: tuple[float, float, float]
    ) -> None:
        with pytest.raises(VolumeError, match=r"^scan is .* mm large, more than any body: its spacing of .* not in mm"):
            check_geometry(Geometry(size, spacing), "scan")
        check_geometry(Geometry((512, 512, 2000), (0.98, 0.98, 1.0)), "scan")

    def test_what_is_larger_than_a_body_is_refused_when_it_is_read(self, tmp_path: Path) -> None:
        matrix = np.diag([1000.0, 1000.0, 2000.0, 1.0])
        path = write_nifti_file(tmp_path / "a.nii.gz", VOXELS, pixdim=(1000, 1000, 2000), sform=(1, matrix))
        assert "more than any body" in refusal_of(path)


class TestWhatIsNoFile:
    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes with names")
    @pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "a.mha", "a.dcm", "a"])
    def test_a_pipe_is_refused_at_once(self, tmp_path: Path, name: str) -> None:
        os.mkfifo(tmp_path / name)
        assert "is no regular file" in refusal_of(tmp_path / name)

    @pytest.mark.skipif(not Path("/dev/zero").exists(), reason="the system has no devices as files")
    def test_a_device_is_refused_at_once(self, tmp_path: Path) -> None:
        (tmp_path / "a.nrrd").symlink_to("/dev/zero")
        assert "is no regular file" in refusal_of(tmp_path / "a.nrrd")

    @pytest.mark.skipif(os.name == "nt", reason="names are text on Windows")
    def test_a_name_that_is_not_utf8_is_read_but_not_written(self, tmp_path: Path) -> None:
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/scan\xff.nii.gz"))
        try:
            write_nifti_file(path, VOXELS, sform=SCANNER)
        except OSError:
            pytest.skip("the file system takes UTF-8 only")
        volume = read_volume(path)
        np.testing.assert_array_equal(volume.array, VOXELS)
        assert volume.name.encode("utf-8").endswith(b"scan\\udcff.nii.gz")
        for suffix in (".nrrd", ".nii.gz"):
            with pytest.raises(OutputError, match="a name that is not UTF-8") as refusal:
                write_volume(path.with_name(os.fsdecode(b"\xff") + suffix), volume)
            str(refusal.value).encode("utf-8")
        path.write_bytes(b"")
        with pytest.raises(VolumeError) as refused:
            read_volume(path)
        str(refused.value).encode("utf-8")
