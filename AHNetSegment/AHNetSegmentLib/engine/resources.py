"""Where the extension's Resources folder is: the only place that knows."""

from __future__ import annotations

from pathlib import Path


def resources_folder() -> Path:
    """The Resources folder: beside the module script when installed, one level higher in a source checkout."""
    module_folder = Path(__file__).resolve().parents[2]
    installed = module_folder / "Resources"
    return installed if installed.is_dir() else module_folder.parent / "Resources"


def bundled_models_folder() -> Path:
    """The folder of the models that come with the extension."""
    return resources_folder() / "Models"
