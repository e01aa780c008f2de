"""GDCM in a process of its own: the decoder of compressed DICOM images, foreign bytes in C and C++.

What it finds wrong with a stream it says on standard error only, and goes on with what it has; some streams end it. In
a process of its own the one is an error, and the other costs one file.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import numpy as np

from .errors import VolumeError
from .stored_voxels import printable
from .volume import Array

PROGRAM = """
import sys
import numpy
import SimpleITK
print("ready", flush=True)
for line in sys.stdin:
    try:
        image = SimpleITK.ReadImage(line.strip(), imageIO="GDCMImageIO")
        numpy.save("decoded.npy", SimpleITK.GetArrayFromImage(image))
        print("done", flush=True)
    except Exception:
        print("failed", flush=True)
"""
SECONDS = 120
"""A single image takes less than one; a decoder that takes so long hangs."""
SHOWN_LETTERS = 100


class GdcmDecoder:
    """Decodes one image after the other; the process begins with the first and ends with the block."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._process: subprocess.Popen[str] | None = None
        self._heard = 0

    def __enter__(self) -> GdcmDecoder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def path(self) -> Path:
        """Where the next image is to be written, as a DICOM file."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="ahnet-segment-"))
        return self._folder / "image.dcm"

    def decode(self, source: Path) -> Array:
        """The values of the image at :meth:`path`.

        Args:
            source: the file that it comes from, for messages.

        Raises:
            VolumeError: GDCM cannot decode it, complains about it, or ends.
        """
        process = self._started()
        assert process.stdin is not None
        with suppress(OSError):
            process.stdin.write(f"{self.path().name}\n")
            process.stdin.flush()
        answer = self._answer(process)
        complaint = self._complaint()
        if answer != "done" or complaint:
            self._end()
            said = f" ({complaint})" if complaint else ""
            raise VolumeError(
                f"{source} is damaged, or compressed in a way that is not read{said}; copy it again, or convert it in "
                "3D Slicer."
            )
        values: Array = np.load(self.path().with_name("decoded.npy"), allow_pickle=False)
        return values

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            folder = self.path().parent
            with (folder / "errors").open("wb") as errors:
                self._process = subprocess.Popen(
                    [_python(), "-c", PROGRAM],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    cwd=folder,
                    encoding="utf-8",
                    creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
                )
            if self._answer(self._process) != "ready":
                complaint = self._complaint()
                self._end()
                raise VolumeError(
                    f"The decoder of compressed DICOM images could not be started ({complaint}); convert the scan in "
                    "3D Slicer."
                )
            self._complaint()
        return self._process

    def _answer(self, process: subprocess.Popen[str]) -> str:
        """The next line; empty where the process has ended, or was ended since it hangs."""
        assert process.stdout is not None
        watch = threading.Timer(SECONDS, process.kill)
        watch.daemon = True
        watch.start()
        try:
            return process.stdout.readline().strip()
        finally:
            watch.cancel()

    def _complaint(self) -> str:
        """What was said on standard error since this was asked last, as part of a sentence."""
        text = (self.path().with_name("errors")).read_bytes()
        new, self._heard = text[self._heard :], len(text)
        words = " ".join(printable(new.decode("utf-8", "replace")).split())
        return words[:SHOWN_LETTERS].rstrip(".") if words else ""

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            for pipe in (self._process.stdin, self._process.stdout):
                with suppress(OSError):
                    if pipe is not None:
                        pipe.close()
            self._process.wait()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = self._process = None
        self._heard = 0


def _python() -> str:
    """The Python that runs this, or Slicer's where Slicer itself does."""
    if sys.executable and Path(sys.executable).stem.lower().startswith("python"):
        return sys.executable
    return shutil.which("PythonSlicer") or sys.executable
