"""The stored values of DICOM images, frame by frame, as they are in the file: nothing inverted, nothing rescaled.

Values that are not compressed are taken from the file as the header describes them. Compressed ones are decoded by
GDCM, through SimpleITK, from a file that holds one image and says nothing of photometric interpretation or rescaling:
GDCM inverts MONOCHROME1, and rescales a file with many images by what is true of one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .dicom import damaged_dicom, quiet_pydicom, read_dataset
from .errors import VolumeError
from .gdcm import GdcmDecoder
from .stored_voxels import cut_off
from .volume import Array

BIG_ENDIAN = "1.2.840.10008.1.2.2"
FLOATS = {"FloatPixelData": "f4", "DoubleFloatPixelData": "f8"}
MOST_PIXELS = 1 << 26
"""Of one image: a scanner's have 2**20. More would take memory before a byte of a damaged file is decoded."""


def stored_values(path: Path, decoder: GdcmDecoder) -> Array:
    """The stored values (frame, row, column) of a DICOM file.

    Args:
        path: of the file.
        decoder: for images that are compressed.

    Raises:
        VolumeError: it is damaged, or holds colours.
    """
    dataset = read_dataset(path)
    with quiet_pydicom():
        try:
            return _stored_values(dataset, path, decoder)
        except (VolumeError, MemoryError):
            raise
        except Exception as error:  # pydicom raises what it meets
            raise damaged_dicom(path) from error


def _stored_values(dataset: Any, path: Path, decoder: GdcmDecoder) -> Array:
    shape = (int(dataset.get("NumberOfFrames") or 1), int(dataset.Rows), int(dataset.Columns))
    if min(shape) < 1 or shape[1] * shape[2] > MOST_PIXELS:
        raise damaged_dicom(path)
    if int(dataset.get("SamplesPerPixel") or 1) != 1 or "PALETTE" in str(dataset.get("PhotometricInterpretation")):
        raise VolumeError(f"{path} is a colour image; choose a scan with one value per voxel.")
    if "ModalityLUTSequence" in dataset:
        raise VolumeError(
            f"{path} says what its values mean in a table (Modality LUT), which is not read; convert it in 3D Slicer."
        )
    syntax = str(getattr(dataset, "file_meta", {}).get("TransferSyntaxUID") or "")
    for name, code in FLOATS.items():
        if name in dataset:
            order = ">" if syntax == BIG_ENDIAN else "<"
            return _plain(dataset[name].value, np.dtype(order + code), shape, path)
    if "PixelData" not in dataset or not dataset.PixelData:
        raise cut_off(path)
    if dataset["PixelData"].is_undefined_length:
        return _compressed(dataset, shape, path, decoder)
    allocated = int(dataset.BitsAllocated)
    stored = int(dataset.get("BitsStored") or allocated)
    high = int(dataset.get("HighBit") if dataset.get("HighBit") is not None else stored - 1)
    if allocated not in (8, 16, 32) or not 1 <= stored <= allocated or not stored - 1 <= high < allocated:
        raise VolumeError(f"{path} holds values of {allocated} bits, which are not read; convert it in 3D Slicer.")
    if syntax == BIG_ENDIAN and allocated == 8:
        raise VolumeError(f"{path} is in the retired big-endian order, which is not read; convert it in 3D Slicer.")
    dtype = np.dtype(f"{'>' if syntax == BIG_ENDIAN else '<'}u{allocated // 8}")
    values = _plain(dataset.PixelData, dtype, shape, path)
    return _signed(values, stored, high, int(dataset.get("PixelRepresentation") or 0) == 1)


def _plain(content: bytes, dtype: np.dtype[np.generic], shape: Sequence[int], path: Path) -> Array:
    frame = shape[1] * shape[2] * dtype.itemsize
    count = shape[0] * frame
    if len(content) < count:
        raise cut_off(path)
    if len(content) >= count + frame:
        raise VolumeError(
            f"{path} is damaged: it holds more voxels than rows × columns × frames; copy or export it again."
        )
    found: Array = np.frombuffer(content, dtype, count // dtype.itemsize).reshape(shape)
    return found.astype(dtype.newbyteorder("="))


def _signed(values: Array, stored: int, high: int, is_signed: bool) -> Array:
    """The ``stored`` bits up to the bit ``high`` of unsigned values, as numbers; old files keep overlays in others."""
    bits = 8 * values.dtype.itemsize
    if is_signed:
        # Up to the top, so that the sign is where the machine has it, and down again.
        whole = values.view(np.dtype(f"i{values.dtype.itemsize}"))
        signed: Array = (whole << (bits - 1 - high)) >> (bits - stored)
        return signed
    if stored == bits:
        return values
    unsigned: Array = (values >> (high + 1 - stored)) & values.dtype.type((1 << stored) - 1)
    return unsigned


def _compressed(dataset: Any, shape: tuple[int, int, int], path: Path, decoder: GdcmDecoder) -> Array:
    found = []
    for stream in _streams(dataset, shape[0], path):
        _write_image(dataset, stream, decoder.path())
        values = decoder.decode(path)
        if values.size != shape[1] * shape[2]:
            raise damaged_dicom(path)
        found.append(values.reshape(shape[1:]))
    return np.stack(found)


def _streams(dataset: Any, count: int, path: Path) -> list[bytes]:
    """The compressed stream of each frame."""
    from pydicom import encaps

    if hasattr(encaps, "generate_frames"):
        found = list(encaps.generate_frames(dataset.PixelData, number_of_frames=count))
    else:
        found = list(encaps.generate_pixel_data_frame(dataset.PixelData, count))
    if len(found) != count:
        raise cut_off(path)
    return found


def _write_image(dataset: Any, stream: bytes, file: Path) -> None:
    """Writes a file with one compressed image and what is needed to decode it."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import UID, SecondaryCaptureImageStorage

    plain = Dataset()
    plain.file_meta = FileMetaDataset()
    plain.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    plain.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3")
    plain.file_meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    plain.SOPClassUID = SecondaryCaptureImageStorage
    plain.SOPInstanceUID = plain.file_meta.MediaStorageSOPInstanceUID
    for name in ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"):
        setattr(plain, name, getattr(dataset, name))
    plain.SamplesPerPixel, plain.PhotometricInterpretation = 1, "MONOCHROME2"
    plain.PixelData = encapsulate([stream])
    plain["PixelData"].is_undefined_length = True
    try:
        plain.save_as(file, enforce_file_format=True)
    except TypeError:  # before pydicom 3
        plain.is_little_endian, plain.is_implicit_VR = True, False
        plain.save_as(file, write_like_original=False)
