"""PyTorch: whether it is there, and how it gets there with the user's consent."""

from __future__ import annotations

from importlib import import_module, invalidate_caches
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from slicer.i18n import tr as _

from ..engine.errors import ResourceError
from .questions import accepted

TORCH_VERSIONS = ">=2.4,!=2.9.*"
"""2.9 is slow in 3D convolutions with mixed precision."""


def torch_problem() -> str:
    """A sentence where PyTorch is missing; empty where it is there. PyTorch itself is not imported."""
    invalidate_caches()
    if find_spec("torch") is not None:
        return ""
    return _("PyTorch, which computes the segments, is not installed in Slicer yet.")


def install_torch(problem: str) -> bool:
    """Asks whether PyTorch shall be installed, and has the PyTorch extension do it; no restart is needed.

    Returns:
        Whether it is there now; False where the user declined, or where nobody is there to be asked.

    Raises:
        ResourceError: the PyTorch extension is missing, or the installation failed.
    """
    question = _(
        "The PyTorch extension can install it now: it downloads some hundred MB, up to 3 GB where there is an NVIDIA "
        "GPU, which takes some minutes. Nothing else is changed, and Slicer need not be restarted. Install PyTorch?"
    )
    if not accepted(f"{problem} {question}"):
        return False
    try:
        _pytorch_utils().PyTorchUtilsLogic().installTorch(askConfirmation=False, torchVersionRequirement=TORCH_VERSIONS)
    except ImportError as error:
        raise ResourceError(
            "The PyTorch extension is missing; install PyTorch in the Extensions Manager, restart Slicer and click "
            "Segment again."
        ) from error
    except Exception as error:
        raise ResourceError(
            f"PyTorch could not be installed ({_last_line(error)}); check the network connection, or install it in the "
            "module PyTorch Util."
        ) from error
    if torch_problem():
        raise ResourceError("PyTorch was not installed; try it again in the module PyTorch Util, which says more.")
    return True


def _pytorch_utils() -> ModuleType:
    return import_module("PyTorchUtils")


def _last_line(error: Any) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__).rstrip(".")
