"""Volume and segmentation nodes to engine volumes and back: what the module, the worker and scripts use."""

from .labels import labels_from_segments
from .rois import region_from_roi, roi_mask
from .segments import add_segments, new_segmentation_node
from .volumes import volume_from_node

__all__ = [
    "add_segments",
    "labels_from_segments",
    "new_segmentation_node",
    "region_from_roi",
    "roi_mask",
    "volume_from_node",
]
