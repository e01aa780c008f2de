"""The volumes that Slicer's Sample Data module offers to try the extension with."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from slicer.i18n import tr as _

from ..engine.resources import resources_folder

CATEGORY = "AHNetSegment"
DATA_URL = "https://github.com/Slicer/SlicerTestingData/releases/download/SHA256/"
"""Where Slicer keeps its own sample data, each under its SHA-256 (``slicer.util.TESTING_DATA_URL``)."""


@dataclass(frozen=True)
class Sample:
    """A volume that Slicer itself offers: it is downloaded once for both.

    Attributes:
        name: what the Sample Data module shows below the thumbnail, unique over all its categories.
        node_name: of the volume node.
        file_name: in Slicer's cache.
        sha256: of the file.
        thumbnail: a file in ``Resources/Icons/``.
    """

    name: str
    node_name: str
    file_name: str
    sha256: str
    thumbnail: str

    @property
    def thumbnail_path(self) -> Path:
        """Where the thumbnail is."""
        return resources_folder() / "Icons" / self.thumbnail


SAMPLES = (
    # Medical Segmentation Decathlon, Task03, liver_100; CC BY-SA 4.0.
    Sample(
        "Abdomen CT",
        "CTLiver",
        "CTLiver.nrrd",
        "e16eae0ae6fefa858c5c11e58f0f1bb81834d81b7102e021571056324ef6f37e",
        "AHNetSegmentAbdomenCT.png",
    ),
    # Given to the 3D Slicer project by the person whom it shows, for any use.
    Sample(
        "Head T1 MR",
        "MRHead",
        "MR-head.nrrd",
        "cc211f0dfd9a05ca3841ce1141b292898b2dd2d3f08286affadf823a7e58df93",
        "AHNetSegmentHeadMR.png",
    ),
)


def register_sample_data() -> None:
    """Adds the volumes to the Sample Data module; nothing is downloaded before the user clicks one.

    To be called when Slicer has started up. Does nothing in applications without that module.
    """
    try:
        logic = import_module("SampleData").SampleDataLogic
    except ImportError:
        return
    if hasattr(logic, "registerCustomSampleDataCategory"):  # since Slicer 5.12
        logic.registerCustomSampleDataCategory(CATEGORY, title=_("AHNetSegment"))
    for sample in SAMPLES:
        logic.registerCustomSampleDataSource(
            category=CATEGORY,
            sampleName=sample.name,
            thumbnailFileName=str(sample.thumbnail_path),
            uris=DATA_URL + sample.sha256,
            fileNames=sample.file_name,
            checksums=f"SHA256:{sample.sha256}",
            nodeNames=sample.node_name,
        )
