"""What the worker computes: each task is a function of its arguments and a context, both fit for JSON.

A task is called as ``task(arguments, context)`` and returns a dictionary. What it imports beyond the standard library
it imports when it is called: the worker starts without PyTorch.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from .errors import OutputError, ResourceError, VolumeError
from .finetune_tasks import estimate_task, evaluate_task, finetune_task
from .library_tasks import import_model_task
from .timings import Step, Timings

if TYPE_CHECKING:
    from .package import Model
    from .volume import Array, Geometry, Volume


class Context(Protocol):
    """What a task may say while it runs, and whether it is to stop."""

    @property
    def waited(self) -> float:
        """Seconds that the task waited for its beginning."""

    @property
    def cancelled(self) -> bool:
        """Whether the task is to stop."""

    def state(self, text: str) -> None:
        """Says what begins now; raises Cancelled when the task is to stop."""

    def progress(self, done: int, total: int) -> bool:
        """Says how far the task is; returns whether to go on."""

    def report(self, facts: dict[str, Any]) -> None:
        """Says what was found on the way, in a dictionary fit for JSON."""


Task = Callable[[dict[str, Any], Context], dict[str, Any]]


def segment_task(arguments: dict[str, Any], context: Context) -> dict[str, Any]:
    """Segments a volume that lies in a file.

    Args:
        arguments: ``volume`` (path of an .npy file, (k, j, i)), ``geometry`` (see :func:`geometry_to_dict`), ``model``
            (folder of the package), ``output`` (folder for the results). And, if wanted: ``name`` (what messages call
            the volume), ``region`` ({"start": [i, j, k], "stop": [i, j, k]}), ``mask`` (path of an .npy
            file, bool, of the region's shape (k, j, i): all else becomes background), ``device``, ``precision``,
            ``window_memory`` (MB), ``keep_largest`` (None: as the model says), ``smoothing`` (mm), ``classes`` (labels
            to keep), ``modality`` (what the volume is taken for), ``volume_modality`` (what its DICOM header says),
            ``probabilities``, ``report`` (True or False).
        context: progress counts slices.

    Returns:
        ``labels`` (path, uint8 (k, j, i)), ``probabilities`` (path, uint8 (class, k, j, i); None unless asked for),
        ``region``, ``seconds``, ``device``, ``precision``, ``warnings``, ``model`` (name and version), ``segments``
        (label, name, voxels and ml of each class), ``report`` (see :mod:`.report`; None unless asked for).
    """
    timings = Timings()
    timings.add(Step.WAITING, "", context.waited)
    timings.switch(Step.WAITING)
    require_torch()
    import numpy as np

    from .inference import InferenceSettings, limit_to_mask, segment
    from .report import segmentation_report
    from .volume import Region

    region = arguments.get("region")
    settings = InferenceSettings(
        region=Region(tuple(region["start"]), tuple(region["stop"])) if region else None,
        device=arguments.get("device") or "auto",
        precision=arguments.get("precision") or "auto",
        window_memory=arguments.get("window_memory"),
        keep_largest=arguments.get("keep_largest"),
        probabilities=bool(arguments.get("probabilities")),
        smoothing=float(arguments.get("smoothing") or 0.0),
        classes=tuple(arguments["classes"]) if arguments.get("classes") is not None else None,
        modality=arguments.get("modality") or "",
    )
    context.state("Loading the model")
    timings.switch(Step.MODEL)
    model = _MODELS.get(Path(arguments["model"]))
    context.state("Segmenting")
    timings.switch(Step.VOXELS)
    volume = _read_volume(arguments)
    result = segment(volume, model, settings, context.progress, timings)
    context.state("Writing the result")
    if arguments.get("mask"):
        limit_to_mask(result, _read_array(arguments["mask"], volume.name))
    folder = Path(arguments["output"])
    files = {
        "labels": _write(folder / "labels.npy", result.labels),
        "probabilities": _write(folder / "probabilities.npy", result.probabilities),
    }
    timings.switch(Step.REPORT)
    voxels = np.sum([np.bincount(part.ravel(), minlength=256) for part in result.labels], axis=0)
    report = segmentation_report(result, model.card, volume.name) if arguments.get("report") else None
    return {
        **files,
        "region": {"start": list(result.region.start), "stop": list(result.region.stop)},
        "seconds": timings.to_dict(),
        "device": result.device,
        "precision": result.precision,
        "warnings": result.warnings,
        "model": {"name": model.card.name, "version": model.card.version},
        "segments": [
            {
                "label": item.label,
                "name": item.name,
                "voxels": int(voxels[item.label]),
                "ml": float(voxels[item.label] * volume.geometry.voxel_ml),
            }
            for item in result.classes
        ],
        "report": report,
    }


TASKS: dict[str, Task] = {
    "segment": segment_task,
    "finetune": finetune_task,
    "evaluate": evaluate_task,
    "estimate": estimate_task,
    "import_model": import_model_task,
}
"""The commands that compute something, by name."""


def geometry_to_dict(geometry: Geometry) -> dict[str, Any]:
    """A geometry for JSON, without any loss."""
    return {
        "size": [int(value) for value in geometry.size],
        "spacing": [float(value) for value in geometry.spacing],
        "origin": [float(value) for value in geometry.origin],
        "direction": [float(value) for value in geometry.direction],
    }


def geometry_from_dict(values: dict[str, Any]) -> Geometry:
    """The inverse of :func:`geometry_to_dict`."""
    from .volume import Geometry

    size, spacing, origin = (tuple(values[name]) for name in ("size", "spacing", "origin"))
    return Geometry(size, spacing, origin, tuple(values["direction"]))


class _LastModel:
    """Keeps the model that was asked for last, while its files stay as they were."""

    def __init__(self) -> None:
        self._key: tuple[Any, ...] = ()
        self._model: Model | None = None

    def get(self, folder: Path) -> Model:
        from .package import CARD_FILE, WEIGHTS_FILE, load_model

        try:
            stats = [(folder / name).stat() for name in (CARD_FILE, WEIGHTS_FILE)]
            key: tuple[Any, ...] = (str(folder), *((file.st_mtime_ns, file.st_size) for file in stats))
        except OSError:
            key = ()
        if self._model is None or not key or key != self._key:
            self._model = None
            self._model, self._key = load_model(folder), key
        return self._model

    def forget(self) -> None:
        self._model = None


_MODELS = _LastModel()


def forget_models() -> None:
    """Lets go of the model that is kept for the next task."""
    _MODELS.forget()


def require_torch() -> None:
    """Imports PyTorch.

    Raises:
        ResourceError: it is not installed, or cannot be loaded.
    """
    importlib.invalidate_caches()
    try:
        importlib.import_module("torch")
    except (ImportError, OSError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "torch":
            raise ResourceError(
                "PyTorch is not installed in the Python of the worker; install it with Slicer's PyTorch extension."
            ) from error
        raise ResourceError(
            f"PyTorch could not be loaded ({' '.join(str(error).split())}); install it again with Slicer's PyTorch "
            "extension."
        ) from error


def _read_volume(arguments: dict[str, Any]) -> Volume:
    from .volume import Volume

    name = arguments.get("name") or "The volume"
    told = arguments.get("volume_modality") or ""
    return Volume(_read_array(arguments["volume"], name), geometry_from_dict(arguments["geometry"]), name, told)


def _read_array(path: str, name: str) -> Array:
    import numpy as np

    try:
        array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise VolumeError(
            f"{name} could not be read from the temporary folder; choose another one in Slicer's Application Settings."
        ) from error
    return array


def _write(path: Path, array: Array | None) -> str | None:
    import numpy as np

    if array is None:
        return None
    try:
        np.save(path, array, allow_pickle=False)
    except OSError as error:
        raise OutputError(
            f"The result could not be written ({(error.strerror or str(error)).lower()}); choose a temporary folder "
            "with free space in Slicer's Application Settings."
        ) from error
    return str(path)
