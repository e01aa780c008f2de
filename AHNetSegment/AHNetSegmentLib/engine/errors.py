"""The errors of the engine: each message is one sentence that names the volume or file and the remedy."""

from __future__ import annotations


class AHNetSegmentError(Exception):
    """Base of all errors that a user can cause and mend.

    Its message can be printed and written as UTF-8, whatever bytes the names of files in it are of.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(message.encode("utf-8", "backslashreplace").decode("utf-8"))


class VolumeError(AHNetSegmentError):
    """A volume, label map or region that cannot be used."""


class ModelError(AHNetSegmentError):
    """A model package that is incomplete, changed, unsafe or of an unknown version."""


class RecipeError(AHNetSegmentError):
    """A training recipe or training data that cannot be used."""


class OutputError(AHNetSegmentError):
    """A result that cannot be written."""


class DeviceError(AHNetSegmentError):
    """A device or precision that this machine does not offer."""


class ResourceError(AHNetSegmentError):
    """Memory that ran out, or a helper process that was ended from outside."""


class Cancelled(AHNetSegmentError):
    """The user stopped the run; nothing was changed."""
