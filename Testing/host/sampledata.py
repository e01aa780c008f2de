"""The module ``SampleData``: what is registered is kept; nothing is downloaded but local files."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


class SampleDataSource:
    """One entry."""

    def __init__(
        self,
        sampleName=None,
        sampleDescription=None,
        uris=None,
        fileNames=None,
        nodeNames=None,
        checksums=None,
        loadFiles=None,
        customDownloader=None,
        thumbnailFileName=None,
        loadFileTypes=None,
        loadFileProperties=None,
        loadFileType=None,
    ):
        self.sampleName = sampleName
        self.sampleDescription = sampleDescription or sampleName
        self.uris = _listed(uris)
        self.fileNames = _listed(fileNames)
        self.nodeNames = _listed(nodeNames)
        self.checksums = _listed(checksums)
        self.loadFiles = _listed(loadFiles)
        self.customDownloader = customDownloader
        self.thumbnailFileName = thumbnailFileName
        self.loadFileTypes = _listed(loadFileTypes)
        self.loadFileProperties = loadFileProperties or {}
        lengths = {len(self.uris), len(self.fileNames), len(self.nodeNames)}
        if len(lengths) != 1:
            raise ValueError(f"The sample {sampleName} has different numbers of uris, fileNames and nodeNames")


class SampleDataLogic:
    """Registers samples; loads those whose address is a local file."""

    def __init__(self, logMessage=None):
        self.logMessage = logMessage

    @staticmethod
    def registerCustomSampleDataCategory(category, title):
        _categories()[category] = title

    @staticmethod
    def registerCustomSampleDataSource(
        category="Custom",
        sampleName=None,
        uris=None,
        fileNames=None,
        nodeNames=None,
        customDownloader=None,
        thumbnailFileName=None,
        loadFileTypes=None,
        loadFiles=None,
        loadFileProperties={},  # noqa: B006
        checksums=None,
        loadFileType=None,
    ):
        source = SampleDataSource(
            sampleName=sampleName,
            uris=uris,
            fileNames=fileNames,
            nodeNames=nodeNames,
            customDownloader=customDownloader,
            thumbnailFileName=thumbnailFileName,
            loadFileTypes=loadFileTypes or loadFileType,
            loadFiles=loadFiles,
            loadFileProperties=loadFileProperties,
            checksums=checksums,
        )
        _sources().setdefault(category, []).append(source)

    @staticmethod
    def categoryTitle(category):
        return _categories().get(category, category)

    @staticmethod
    def sampleDataSourcesByCategory(category=None):
        return _sources() if category is None else _sources().get(category, [])

    @staticmethod
    def isSampleDataSourceRegistered(category, sampleDataSource):
        registered = [vars(source) for source in _sources().get(category, [])]
        return vars(sampleDataSource) in registered

    def sourceForSampleName(self, sampleName):
        found = (source for sources in _sources().values() for source in sources if source.sampleName == sampleName)
        return next(found, None)

    def downloadFromSource(self, source, maximumAttemptsCount=3, forceDownload=False):
        import slicer

        if source.customDownloader is not None:
            return source.customDownloader(source)
        nodes = []
        for uri, name in zip(source.uris, source.nodeNames, strict=True):
            parts = urlsplit(uri)
            if parts.scheme != "file":
                raise NotImplementedError(f"SampleData downloads {uri} in Slicer; Testing/host has no network")
            node = slicer.util.loadVolume(str(Path(url2pathname(parts.path))), {"name": name})
            nodes.append(node)
        return nodes

    def downloadSamples(self, sampleName):
        return self.downloadFromSource(self.sourceForSampleName(sampleName))

    def downloadSample(self, sampleName):
        return self.downloadSamples(sampleName)[0]


def _sources() -> dict[str, list[SampleDataSource]]:
    import slicer

    if not hasattr(slicer.modules, "sampleDataSources"):
        slicer.modules.sampleDataSources = {}
    return slicer.modules.sampleDataSources


def _categories() -> dict[str, str]:
    import slicer

    if not hasattr(slicer.modules, "sampleDataCategories"):
        slicer.modules.sampleDataCategories = {}
    return slicer.modules.sampleDataCategories


def downloadSample(sampleName):
    """The node of a sample."""
    return SampleDataLogic().downloadSample(sampleName)


def downloadSamples(sampleName):
    """The nodes of a sample."""
    return SampleDataLogic().downloadSamples(sampleName)
