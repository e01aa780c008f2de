"""AH-Net for 3D Slicer: ``network`` (the paper), ``engine`` (what runs it), ``scene`` (what touches Slicer)."""

__version__ = "0.1.0"
