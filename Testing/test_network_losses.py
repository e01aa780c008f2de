"""Losses against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from AHNetSegmentLib.network.losses import HeatmapFocalLoss, SegmentationLoss, dice_loss, focal_loss


def _logits(probabilities):
    """(1, C, 1, voxels) logits whose softmax is the given (voxels, C) table."""
    return torch.tensor(probabilities).log().T[None, :, None].clone().requires_grad_()


def _labels(*values):
    return torch.tensor(values, dtype=torch.uint8)[None, None]


TWO_CLASSES = [[0.1, 0.9], [0.2, 0.8], [0.7, 0.3], [0.9, 0.1]]


def test_focal_loss_is_the_formula():
    loss = focal_loss(_logits([[0.2, 0.8], [0.6, 0.4]]), _labels(1, 0), gamma=2.0)
    assert loss.item() == pytest.approx(-(0.2**2 * math.log(0.8) + 0.4**2 * math.log(0.6)) / 2, rel=1e-5)


def test_alpha_weighs_the_classes():
    loss = focal_loss(_logits([[0.2, 0.8], [0.6, 0.4]]), _labels(1, 0), gamma=1.0, alpha=[0.25, 0.75])
    assert loss.item() == pytest.approx(-(0.75 * 0.2 * math.log(0.8) + 0.25 * 0.4 * math.log(0.6)) / 2, rel=1e-5)


def test_gamma_0_is_cross_entropy_in_2d_and_3d():
    torch.manual_seed(0)
    for shape in ((2, 4, 5, 6), (2, 4, 3, 5, 6)):
        logits = torch.randn(shape)
        labels = torch.randint(0, 4, (shape[0], *shape[2:]))
        labels[0, 0] = 255
        expected = F.cross_entropy(logits, labels, ignore_index=255)
        assert focal_loss(logits, labels, gamma=0).item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_certain_voxel_costs_nothing_and_has_a_finite_gradient():
    logits = torch.tensor([60.0, -60.0]).reshape(1, 2, 1, 1).requires_grad_()
    loss = focal_loss(logits, _labels(0), gamma=0.5)
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_dice_loss_is_the_formula():
    # I = 0.9 + 0.8, P = 0.9 + 0.8 + 0.3 + 0.1, T = 2
    loss = dice_loss(_logits(TWO_CLASSES), _labels(1, 1, 0, 0), smooth=0.0)
    assert loss.item() == pytest.approx(1 - 3.4 / 4.1, rel=1e-5)


def test_dice_leaves_ignored_voxels_out():
    loss = dice_loss(_logits(TWO_CLASSES), _labels(1, 1, 0, 255), smooth=0.0)
    assert loss.item() == pytest.approx(1 - 3.4 / 4.0, rel=1e-5)


def test_dice_per_batch_sums_and_per_sample_averages():
    logits = torch.cat([_logits([[0.1, 0.9], [0.5, 0.5]]), _logits([[0.8, 0.2], [0.6, 0.4]])])
    labels = torch.cat([_labels(1, 0), _labels(1, 0)])
    batch = dice_loss(logits, labels, smooth=0.0)
    each = dice_loss(logits, labels, smooth=0.0, per_sample=True)
    assert batch.item() == pytest.approx(1 - 2 * (0.9 + 0.2) / (2.0 + 2), rel=1e-5)
    assert each.item() == pytest.approx(1 - (1.8 / (1.4 + 1) + 0.4 / (0.6 + 1)) / 2, rel=1e-5)


def test_dice_leaves_out_a_class_without_a_target():
    logits = _logits([[0.1, 0.6, 0.3], [0.7, 0.2, 0.1]])
    assert dice_loss(logits, _labels(1, 0), smooth=0.0).item() == pytest.approx(1 - 1.2 / (0.8 + 1), rel=1e-5)


def test_dice_is_0_without_any_target():
    logits = _logits(TWO_CLASSES)
    loss = dice_loss(logits, _labels(0, 0, 0, 0))
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_the_segmentation_loss_is_the_weighted_sum():
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 4, 5, 6), torch.randint(0, 3, (2, 4, 5, 6))
    loss = SegmentationLoss(0.5, 2.0, gamma=1.0, alpha=[1.0, 2.0, 3.0])(logits, labels)
    expected = 0.5 * focal_loss(logits, labels, 1.0, [1.0, 2.0, 3.0]) + 2.0 * dice_loss(logits, labels)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)


def test_a_volume_of_one_slice_costs_what_the_slice_does():
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 5, 6), torch.randint(0, 3, (2, 5, 6))
    loss = SegmentationLoss()
    assert torch.equal(loss(logits, labels), loss(logits[:, :, None], labels[:, None]))


def test_channels_last_logits_cost_the_same():
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 4, 5, 6), torch.randint(0, 3, (2, 4, 5, 6))
    loss = SegmentationLoss()
    other = loss(logits.contiguous(memory_format=torch.channels_last_3d), labels)
    assert other.item() == pytest.approx(loss(logits, labels).item(), rel=1e-6)


def test_ignored_voxels_have_no_gradient():
    torch.manual_seed(0)
    logits = torch.randn(1, 3, 2, 4, 4, requires_grad=True)
    labels = torch.randint(0, 3, (1, 2, 4, 4))
    labels[:, 1] = 255
    SegmentationLoss()(logits, labels).backward()
    assert torch.equal(logits.grad[:, :, 1], torch.zeros(1, 3, 4, 4))
    assert logits.grad[:, :, 0].abs().min() > 0


def test_nothing_but_ignored_voxels_gives_exactly_0():
    logits = torch.randn(2, 3, 2, 4, 4, requires_grad=True)
    loss = SegmentationLoss()(logits, torch.full((2, 2, 4, 4), 255), torch.tensor([[True, True, False]] * 2))
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_a_class_that_a_case_does_not_label_counts_as_its_background():
    logits = _logits([[0.2, 0.1, 0.7]])
    labelled = torch.tensor([[True, True, False]])
    assert focal_loss(logits, _labels(0), gamma=0, labelled=labelled).item() == pytest.approx(-math.log(0.9), rel=1e-5)
    assert focal_loss(logits, _labels(1), gamma=0, labelled=labelled).item() == pytest.approx(-math.log(0.1), rel=1e-5)


def test_finding_an_unlabelled_class_in_the_background_is_not_punished():
    logits = _logits([[0.2, 0.1, 0.7], [0.5, 0.4, 0.1]])
    SegmentationLoss()(logits, _labels(0, 1), torch.tensor([[True, True, False]])).backward()
    background, labelled, unlabelled = logits.grad[0, :, 0, 0].tolist()
    assert unlabelled < 0 < labelled
    # Background and the unlabelled class gain in proportion: neither is pushed below the other.
    assert unlabelled / background == pytest.approx(0.7 / 0.2, rel=1e-4)


def test_finding_a_labelled_class_in_the_background_is_punished():
    logits = _logits([[0.2, 0.1, 0.7]])
    SegmentationLoss()(logits, _labels(0), torch.tensor([[True, True, True]])).backward()
    assert logits.grad[0, 2, 0, 0] > 0


def test_dice_leaves_a_case_out_of_the_classes_that_it_does_not_label():
    first, second = _logits([[0.1, 0.9], [0.6, 0.4]]), _logits([[0.3, 0.7], [0.5, 0.5]])
    labels = torch.cat([_labels(1, 0), _labels(0, 0)])
    labelled = torch.tensor([[True, True], [True, False]])
    both = dice_loss(torch.cat([first, second]), labels, labelled=labelled)
    assert both.item() == pytest.approx(dice_loss(first, labels[:1]).item(), rel=1e-6)


def test_labelling_everything_changes_nothing():
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 5, 6), torch.randint(0, 3, (2, 5, 6))
    loss = SegmentationLoss()
    assert torch.equal(loss(logits, labels), loss(logits, labels, torch.ones(2, 3, dtype=torch.bool)))


def test_the_gradient_is_that_of_finite_differences():
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 2, 2, 3, requires_grad=True)
    labels = torch.tensor([0, 1, 2, 255, 0, 1] * 4).reshape(2, 2, 2, 3)
    labelled = torch.tensor([[True, True, True], [True, False, True]])
    loss = SegmentationLoss(alpha=[0.5, 1.0, 2.0])
    loss(logits, labels, labelled).backward()
    direction = torch.randn(logits.shape)
    step = 1e-2
    with torch.no_grad():
        ahead, behind = (loss(logits + sign * step * direction, labels, labelled) for sign in (1, -1))
    slope = (ahead - behind).item() / (2 * step)
    assert (logits.grad * direction).sum().item() == pytest.approx(slope, rel=1e-2, abs=1e-4)


def test_the_loss_is_float32_under_autocast():
    torch.manual_seed(0)
    logits, labels = torch.randn(1, 3, 2, 8, 8).bfloat16(), torch.randint(0, 3, (1, 2, 8, 8))
    loss = SegmentationLoss()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = loss(logits, labels)
    assert mixed.dtype == torch.float32
    assert mixed.item() == pytest.approx(loss(logits.float(), labels).item(), rel=1e-6)


def test_labels_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        focal_loss(torch.zeros(1, 2, 4, 4), torch.zeros(1, 4, 5, dtype=torch.long))


def test_labels_that_the_network_does_not_know_are_refused():
    with pytest.raises(ValueError, match="from 0 to 3, but the network has 3 classes"):
        dice_loss(torch.zeros(1, 3, 1, 2), _labels(0, 3))


def test_alpha_of_another_length_is_refused():
    with pytest.raises(ValueError, match="each of 2 classes"):
        focal_loss(torch.zeros(1, 2, 1, 1), _labels(0), alpha=[1.0, 1.0, 1.0])


def _heat_map_loss(loss, distance):
    return loss(torch.tensor([math.sqrt(distance)]), torch.zeros(1)).item()


def test_the_heat_map_loss_is_the_formula_with_the_largest_distance_so_far():
    loss = HeatmapFocalLoss(gamma=2.0)
    assert _heat_map_loss(loss, 0.9) == pytest.approx(0.9, rel=1e-5)
    assert _heat_map_loss(loss, 0.1) == pytest.approx((math.log(1.1) / math.log(1.9)) ** 2 * 0.1, rel=1e-5)
    assert loss.largest.item() == pytest.approx(0.9)


def test_the_heat_map_loss_rises_with_the_distance_where_the_article_s_formula_falls():
    loss = HeatmapFocalLoss(gamma=2.0)
    _heat_map_loss(loss, 0.9)
    distances = [0.0, 0.01, 0.1, 0.3, 0.5, 0.8, 0.9]
    ours = [_heat_map_loss(loss, distance) for distance in distances]
    assert ours == sorted(ours)

    def literal(distance):
        return (math.log(distance) / math.log(0.9)) ** 2 * distance

    assert literal(0.1) == pytest.approx(47.8, abs=0.05)
    assert literal(0.8) == pytest.approx(3.6, abs=0.05)
    assert ours[distances.index(0.1)] < ours[distances.index(0.8)]


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_equal_heat_maps_cost_nothing_from_the_start(gamma):
    predicted = torch.zeros(2, 1, 3, 4, requires_grad=True)
    loss = HeatmapFocalLoss(gamma)(predicted, torch.zeros(2, 1, 3, 4))
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(predicted.grad, torch.zeros_like(predicted))


def test_the_heat_map_loss_ignores_what_it_is_told_to():
    loss = HeatmapFocalLoss(gamma=0.0)
    predicted = torch.tensor([[1.0, 5.0]], requires_grad=True)
    value = loss(predicted, torch.zeros(1, 2), torch.tensor([[False, True]]))
    value.backward()
    assert value.item() == 1.0
    assert predicted.grad.tolist() == [[2.0, 0.0]]


def test_evaluation_does_not_move_the_largest_distance_and_a_checkpoint_keeps_it():
    loss = HeatmapFocalLoss()
    _heat_map_loss(loss, 3.0)
    _heat_map_loss(loss.eval(), 8.0)
    assert loss.largest.item() == pytest.approx(3.0)
    restored = HeatmapFocalLoss()
    restored.load_state_dict(loss.state_dict())
    assert restored.largest.item() == pytest.approx(3.0)


def test_a_distance_that_is_not_finite_does_not_stay():
    loss = HeatmapFocalLoss()
    _heat_map_loss(loss, 2.0)
    loss(torch.tensor([float("inf")]), torch.zeros(1))
    loss(torch.tensor([float("nan")]), torch.zeros(1))
    assert loss.largest.item() == pytest.approx(2.0)


def test_heat_maps_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match="differ in shape"):
        HeatmapFocalLoss()(torch.zeros(1, 2), torch.zeros(2, 1))
