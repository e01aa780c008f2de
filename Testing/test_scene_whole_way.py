"""The whole way: volume node, network, segmentation node. What is found lies where the scene shows the object."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine_helpers import brightness_model, expected_labels, object_volume, random_model

pytest.importorskip("slicer")

from AHNetSegmentLib.engine.inference import InferenceSettings, segment
from AHNetSegmentLib.scene.nodes import (
    add_segments,
    labels_from_segments,
    new_segmentation_node,
    region_from_roi,
    volume_from_node,
)
from scene_helpers import (
    axis_orders,
    ijk_to_ras,
    linear_transform,
    roi_node,
    rotation_and_shift,
    surface_bounds,
    volume_node,
)

EXACT = InferenceSettings(device="cpu", precision="float32")


def segmented(node: Any, model: Any, settings: InferenceSettings = EXACT) -> tuple[Any, Any]:
    """The segmentation node, and the engine's result."""
    result = segment(volume_from_node(node), model, settings)
    segmentation_node = new_segmentation_node(node, "Result")
    add_segments(segmentation_node, result.labels, node, result.classes)
    return segmentation_node, result


def test_the_object_is_found_voxel_for_voxel_in_every_axis_order_and_flip(scene: Any) -> None:
    array = object_volume().array
    for direction in axis_orders():
        node = volume_node(array, ijk_to_ras(direction))
        segmentation_node, result = segmented(node, brightness_model())
        np.testing.assert_array_equal(result.labels, expected_labels(object_volume()))
        np.testing.assert_array_equal(labels_from_segments(segmentation_node, node), result.labels)
        scene.Clear(False)


@pytest.mark.parametrize("moved", [False, True])
def test_a_volume_is_segmented_where_it_is_shown(scene: Any, moved: bool) -> None:
    node = volume_node(object_volume().array)
    to_world = ijk_to_ras()
    if moved:
        linear_transform(rotation_and_shift(), node)
        to_world = rotation_and_shift() @ to_world
    segmentation_node, result = segmented(node, brightness_model())
    np.testing.assert_array_equal(result.labels, expected_labels(object_volume()))
    for label, name in ((1, "Anterior"), (2, "Posterior")):
        ijk = np.argwhere(expected_labels(object_volume()) == label)[:, ::-1]
        points = ijk @ to_world[:3, :3].T + to_world[:3, 3]
        wanted = np.column_stack([points.min(axis=0), points.max(axis=0)])
        segment_id = segmentation_node.GetSegmentation().GetSegmentIdBySegmentName(name)
        # The surface runs outside the voxels' centres by half a voxel at most, less where it is smoothed.
        np.testing.assert_allclose(surface_bounds(segmentation_node, segment_id), wanted, atol=1.6)


def test_a_transform_that_turns_the_patient_turns_what_the_network_sees(scene: Any) -> None:
    array = np.random.default_rng(0).uniform(0, 100, (12, 20, 22)).astype(np.float32)
    plain = volume_node(array, ijk_to_ras(np.eye(3), (1.0, 1.0, 1.0)), "Plain")
    turned = volume_node(array, ijk_to_ras(np.eye(3), (1.0, 1.0, 1.0)), "Turned")
    quarter = np.array([[1.0, 0, 0, 0], [0, 0, -1.0, 0], [0, 1.0, 0, 0], [0, 0, 0, 1.0]])
    linear_transform(quarter, turned)
    model = random_model()
    _, as_stored = segmented(plain, model)
    _, as_shown = segmented(turned, model)
    rotated = volume_node(array, quarter @ ijk_to_ras(np.eye(3), (1.0, 1.0, 1.0)), "Rotated")
    _, expected = segmented(rotated, model)
    np.testing.assert_array_equal(as_shown.labels, expected.labels)
    assert (as_shown.labels != as_stored.labels).any()


@pytest.mark.parametrize("roi", [False, True])
def test_coronal_slices_go_through_an_axial_model_as_its_own(scene: Any, roi: bool) -> None:
    from AHNetSegmentLib.scene.console import segment_node

    rng = np.random.default_rng(0)
    array = np.kron(rng.uniform(0, 100, (6, 5, 6)), np.ones((4, 2, 4))).astype(np.float32)
    node = volume_node(array, ijk_to_ras(np.eye(3), (1.0, 3.0, 1.0)))
    centre = np.array(node.GetOrigin()) + np.array([8.0, 13.0, 9.0])
    box = roi_node(centre, (14.0, 16.0, 12.0)) if roi else None
    model = random_model(plane="axial", spacing=(2.0, 1.5, 1.5))
    volume = volume_from_node(node)
    region = region_from_roi(box, volume) if roi else None
    expected = segment(volume, model, InferenceSettings(region, "cpu", "float32")).labels
    any_plane = random_model(plane="any", spacing=(2.0, 1.5, 1.5))
    assert (segment(volume, any_plane, InferenceSettings(region, "cpu", "float32")).labels != expected).any()

    segmentation_node = segment_node(node, model, box, {"device": "cpu", "precision": "float32"})

    np.testing.assert_array_equal(labels_from_segments(segmentation_node, node), expected)


def test_a_box_under_a_transform_limits_what_is_segmented(scene: Any) -> None:
    node = volume_node(object_volume().array)
    to_world = rotation_and_shift() @ ijk_to_ras()
    linear_transform(rotation_and_shift(), node)
    center = (to_world @ np.array([5.0, 9.0, 3.0, 1.0]))[:3]
    region = region_from_roi(roi_node(center, (6.0, 6.0, 6.0)), volume_from_node(node))
    _, result = segmented(node, brightness_model(), InferenceSettings(region, "cpu", "float32"))
    inside = np.zeros(result.labels.shape, bool)
    inside[region.slices] = True
    np.testing.assert_array_equal(result.labels[inside], expected_labels(object_volume())[inside])
    assert result.labels[inside].any()
    assert not result.labels[~inside].any()
