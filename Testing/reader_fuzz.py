"""Reads damaged image files, one after the other, and says of each how it ended: a process of its own, which may die.

``python reader_fuzz.py KIND FIRST COUNT FOLDER`` writes a line for each input before and after it is read, and at the
end how much memory was taken: what is missing in between, killed the process or hangs.
"""

from __future__ import annotations

import gzip
import json
import random
import re
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk

from case_files import (
    compressed,
    frame_groups,
    group,
    multi_frame,
    nifti_bytes,
    phantom,
    place_of,
    ras_matrix,
    run_length_encoded,
    save,
    volume_of,
    write_series,
)

VOXELS = phantom((4, 5, 6))
NUMBERS = (b"0", b"-1", b"99999999999", b"nan", b"inf", b"1e308", b"1e-300", b"", b"%d", b"2147483648", b"((", b'"')


def _nifti(number: int) -> tuple[str, bytes]:
    matrix = ras_matrix(volume_of(VOXELS).geometry)
    content = nifti_bytes(VOXELS, version=1 + number % 2, order="<>"[number // 2 % 2], sform=(1, matrix))
    return "a.nii", content


def _nrrd(number: int) -> tuple[str, bytes]:
    encoding = ("raw", "gzip", "ascii", "bzip2")[number % 4]
    header = (
        f"NRRD0005\n# comment\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 6 5 4\n"
        f"space directions: (1,0,0) (0,1.25,0) (0,0,2)\nkinds: domain domain domain\nendian: little\n"
        f"encoding: {encoding}\nspace origin: (-31,12.5,40)\nkey:=value\n\n"
    ).encode()
    import bz2

    pack: dict[str, Callable[[bytes], bytes]] = {
        "raw": bytes,
        "gzip": gzip.compress,
        "bzip2": bz2.compress,
        "ascii": lambda content: " ".join(map(str, np.frombuffer(content, np.int16))).encode(),
    }
    return "a.nrrd", header + pack[encoding](VOXELS.tobytes())


def _segmentation(number: int) -> tuple[str, bytes]:
    layers = number % 2 + 1
    labels = np.stack([(VOXELS % 3).astype(np.uint8)] * layers, axis=-1)
    axes = ("4", f"{layers} 6 5 4", "none (1,0,0) (0,1,0) (0,0,2)", "list domain domain domain")
    segments = "".join(
        f"Segment{n}_ID:=S{n}\nSegment{n}_Name:=Part {n}\nSegment{n}_LabelValue:={n + 1}\nSegment{n}_Layer:=0\n"
        f"Segment{n}_Extent:=0 5 0 4 0 3\nSegment{n}_Color:=1 0 0\n"
        for n in range(2)
    )
    header = (
        f"NRRD0004\ntype: unsigned char\ndimension: {axes[0]}\nspace: left-posterior-superior\nsizes: {axes[1]}\n"
        f"space directions: {axes[2]}\nkinds: {axes[3]}\nencoding: gzip\nspace origin: (0,0,0)\n{segments}\n"
    ).encode()
    return "a.seg.nrrd", header + gzip.compress(labels.tobytes())


def _metaimage(number: int) -> tuple[str, bytes]:
    packed = number % 2 == 1
    content = zlib.compress(VOXELS.tobytes()) if packed else VOXELS.tobytes()
    size = f"CompressedDataSize = {len(content)}\n" if packed else ""
    header = (
        f"ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = {packed}\n"
        f"{size}TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 1 2 3\nCenterOfRotation = 0 0 0\n"
        f"ElementSpacing = 1 1.25 2\nDimSize = 6 5 4\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    ).encode()
    return "a.mha", header + content


def _dicom(folder: Path, number: int) -> Path:
    """A folder of a plain series, a file with many frames, or a compressed one; gives the file that is damaged."""
    if number % 3 == 0:
        write_series(folder, VOXELS)
        return folder / f"IM{number // 3 % 4:03d}.dcm"
    if number % 3 == 1:
        groups = [frame_groups(place_of(n), MREchoSequence=group(EffectiveEchoTime=5.0)) for n in range(len(VOXELS))]
        return save(multi_frame(VOXELS, groups), folder / "e.dcm")
    if number % 2:
        return _itk_compressed(folder / "c.dcm", ("JPEG2000", "JPEG")[number // 6 % 2])
    return save(compressed(VOXELS[0], "1.2.840.10008.1.2.5", [run_length_encoded(VOXELS[0])]), folder / "c.dcm")


def _itk_compressed(path: Path, compressor: str) -> Path:
    """A slice that GDCM has compressed, with its place added."""
    stored = phantom((1, 24, 24))[0].astype(np.uint16)
    writer = sitk.ImageFileWriter()
    writer.SetFileName(str(path))
    writer.SetCompressor(compressor)
    writer.UseCompressionOn()
    writer.Execute(sitk.GetImageFromArray(stored))
    written = pydicom.dcmread(path)
    (stream,) = pydicom.encaps.generate_frames(written.PixelData, number_of_frames=1)
    dataset = compressed(stored, written.file_meta.TransferSyntaxUID, [stream])
    return save(dataset, path)


KINDS: dict[str, Callable[[int], tuple[str, bytes]] | None] = {
    "nifti": _nifti,
    "nrrd": _nrrd,
    "segmentation": _segmentation,
    "metaimage": _metaimage,
    "dicom": None,
}


def mutated(content: bytes, chance: random.Random) -> bytes:
    """The content with one to four changes, more of them in its header."""
    changed = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        if not changed:
            break
        reach = len(changed) if chance.random() < 0.5 else min(len(changed), 700)
        place = chance.randrange(reach)
        length = chance.choice((1, 1, 2, 4, 8, 40))
        what = chance.randrange(9)
        if what == 0:
            changed[place] ^= 1 << chance.randrange(8)
        elif what == 1:
            changed[place : place + length] = chance.randbytes(length)
        elif what == 2:
            del changed[place : place + length * chance.choice((1, 10, 1000))]
        elif what == 3:
            changed[place:place] = chance.randbytes(length)
        elif what == 4:
            changed[place:place] = changed[place : place + 40 * length]
        elif what == 5:
            changed[place:place] = chance.choice((b"9", b"x", b"(", b" ", b"\0")) * chance.choice((1100, 70_000))
        elif what == 6:
            changed[place : place + length] = bytes([chance.choice((0, 1, 127, 128, 255))]) * length
        elif what == 7:
            found = list(re.finditer(rb"-?\d[\d.]*", bytes(changed[:1000])))
            if found:
                number = chance.choice(found)
                changed[number.start() : number.end()] = chance.choice(NUMBERS)
        else:
            del changed[place:]
    return bytes(changed)


def write_input(kind: str, number: int, folder: Path) -> Path:
    """The damaged input of a number, the same in each call: a file, or a folder of a DICOM series."""
    chance = random.Random(f"{kind} {number}")
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    make = KINDS[kind]
    if make is None:
        path = _dicom(folder, number)
        path.write_bytes(mutated(path.read_bytes(), chance))
        return folder if number % 3 == 0 else path
    name, content = make(number)
    content = mutated(content, chance)
    path = folder / name
    if kind == "nifti" and number % 3 == 0:
        path = folder / "a.nii.gz"
        content = gzip.compress(content) if number % 2 else mutated(gzip.compress(content), chance)
    path.write_bytes(content)
    return path


def outcome(path: Path) -> str:
    """``result``, ``sentence``, or what else came of reading."""
    from AHNetSegmentLib.engine.case_list import segment_values
    from AHNetSegmentLib.engine.errors import AHNetSegmentError
    from AHNetSegmentLib.engine.image_io import label_maps, read_volume
    from AHNetSegmentLib.engine.volume import check_volume

    try:
        segment_values(path)
        label_maps([path])
        volume = read_volume(path)
        check_volume(volume)
    except AHNetSegmentError as error:
        text = str(error)
        text.encode("utf-8")
        return "sentence" if text.endswith(".") and len(text.splitlines()) == 1 and len(text) < 1000 else repr(text)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "result" if volume.array.shape == volume.geometry.shape else "a volume that contradicts its geometry"


def main() -> None:
    kind, first, count, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    outcome(write_input(kind, first, folder))
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(first, first + count):
        path = write_input(kind, number, folder)
        print(json.dumps({"begun": number}), flush=True)
        print(json.dumps({"ended": number, "how": outcome(path)}), flush=True)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(json.dumps({"grown_mb": grown}), flush=True)


if __name__ == "__main__":
    main()
