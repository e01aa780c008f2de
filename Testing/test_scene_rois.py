"""A Markups box becomes the voxels that it covers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from AHNetSegmentLib.engine.errors import VolumeError
from AHNetSegmentLib.engine.volume import Region, Volume

slicer = pytest.importorskip("slicer")
from AHNetSegmentLib.scene.rois import region_from_roi, roi_mask
from AHNetSegmentLib.scene.volumes import volume_from_node
from scene_helpers import (
    OBLIQUE,
    axis_orders,
    ijk_to_ras,
    linear_transform,
    roi_node,
    rotation_and_shift,
    volume_node,
    warp,
)


def voxels_in_box(node: Any, volume: Volume) -> np.ndarray:
    """(k, j, i) indices of the voxels that Slicer itself finds inside a box."""
    found = []
    to_lps = volume.geometry.ijk_to_lps()
    for i, j, k in np.ndindex(volume.geometry.size):
        x, y, z = (to_lps @ [i, j, k, 1.0])[:3]
        if node.IsPointInROIWorld([-x, -y, z]):
            found.append((k, j, i))
    return np.array(found)


def center_of(node: Any, i: float, j: float, k: float) -> np.ndarray:
    x, y, z = (volume_from_node(node).geometry.ijk_to_lps() @ [i, j, k, 1.0])[:3]
    return np.array([-x, -y, z])


def test_a_box_along_the_axes_gives_its_voxels_for_every_axis_order(scene: Any) -> None:
    for direction in axis_orders()[::5]:
        node = volume_node(matrix=ijk_to_ras(direction))
        size = np.abs(direction) @ np.array([4 * 0.7, 6 * 1.1, 2 * 3.0]) + 0.01
        region = region_from_roi(roi_node(center_of(node, 7, 5, 4), size), volume_from_node(node))
        assert region == Region((5, 2, 3), (10, 9, 6))


def test_a_box_along_an_oblique_volume_gives_its_voxels(scene: Any) -> None:
    node = volume_node()
    box = roi_node(center_of(node, 7, 5, 4), (4 * 0.7 + 0.01, 6 * 1.1 + 0.01, 2 * 3.0 + 0.01), OBLIQUE)
    volume = volume_from_node(node)
    region = region_from_roi(box, volume)
    assert region == Region((5, 2, 3), (10, 9, 6))
    assert roi_mask(box, volume, region).all()


@pytest.mark.parametrize("move", ["nothing", "the box", "the volume", "both"])
def test_a_turned_box_covers_the_voxels_that_slicer_finds_inside(scene: Any, move: str) -> None:
    node = volume_node()
    box = roi_node(center_of(node, 8.1, 6.2, 4.3), (7.1, 11.3, 9.2), np.eye(3)[:, [1, 2, 0]])
    turned, straight = rotation_and_shift(), center_of(node, 8.1, 6.2, 4.3)
    turned[:3, 3] = straight - turned[:3, :3] @ straight + [0.3, -0.5, 0.7]
    linear_transform(
        turned, *(child for child, name in ((box, "the box"), (node, "the volume")) if move in (name, "both"))
    )
    volume = volume_from_node(node)
    inside = voxels_in_box(box, volume)
    assert len(inside) > 50
    region = region_from_roi(box, volume)
    start, stop = region.start[::-1], region.stop[::-1]
    assert (inside >= start).all()
    assert (inside < stop).all()
    mask = roi_mask(box, volume, region)
    assert sorted(map(tuple, np.argwhere(mask) + start)) == sorted(map(tuple, inside))
    assert not mask.all()


def test_a_stretched_box_grows_with_its_transform(scene: Any) -> None:
    node = volume_node(matrix=ijk_to_ras(np.eye(3)))
    box = roi_node((0.0, 0.0, 0.0), (2.81, 2.21, 6.01))
    stretch = np.diag([2.0, 3.0, 1.0, 1.0])
    stretch[:3, 3] = center_of(node, 8, 6, 4)
    linear_transform(stretch, box)
    assert region_from_roi(box, volume_from_node(node)) == Region((4, 3, 3), (13, 10, 6))


def test_a_box_that_reaches_beyond_the_volume_is_clipped(scene: Any) -> None:
    node = volume_node()
    region = region_from_roi(roi_node(center_of(node, 0, 0, 0), (500.0, 500.0, 500.0)), volume_from_node(node))
    assert region == Region((0, 0, 0), (17, 14, 9))


def flat_box(**changes: Any) -> Any:
    box = roi_node((11.0, -23.0, 37.0), (0.0, 5.0, 5.0), name="Hippocampus box")
    if changes:
        box.SetSize(5, 5, 5)
    if "inside_out" in changes:
        box.SetInsideOut(True)
    if "squeeze" in changes:
        linear_transform(np.diag([1.0, 0.0, 1.0, 1.0]), box)
    if "warp" in changes:
        warp(box)
    return box


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: None, "No region of interest is selected"),
        (lambda: volume_node(name="T2"), "T2 is no ROI but a Volume"),
        (flat_box, "Hippocampus box has no size; draw it"),
        (lambda: flat_box(inside_out=True), "Hippocampus box is turned inside out"),
        (lambda: flat_box(squeeze=True), "Hippocampus box is squeezed flat"),
        (lambda: flat_box(warp=True), "Hippocampus box is under the non-linear transform Warp"),
        (lambda: roi_node((900.0, 0.0, 0.0), (5.0, 5.0, 5.0), name="Far"), "Far lies outside the volume; move it"),
    ],
)
def test_a_box_without_voxels_is_refused_by_name(scene: Any, make: Any, says: str) -> None:
    volume = volume_from_node(volume_node())
    with pytest.raises(VolumeError) as raised:
        region_from_roi(make(), volume)
    assert str(raised.value).startswith(says)


def test_a_box_between_the_centres_of_voxels_is_the_nearest_voxel(scene: Any) -> None:
    node = volume_node()
    box = roi_node(center_of(node, 8.3, 6.2, 4.4), (0.05, 0.05, 0.05))
    volume = volume_from_node(node)
    region = region_from_roi(box, volume)
    mask = roi_mask(box, volume, region)
    (place,) = np.argwhere(mask) + region.start[::-1]
    assert tuple(place[::-1]) == (8, 6, 4)
