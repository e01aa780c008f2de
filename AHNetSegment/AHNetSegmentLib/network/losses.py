"""Losses: focal and soft Dice for segmentation, a focal L2 loss for heat maps.

Logits are (N, C, H, W) or (N, C, D, H, W), background first; labels (N, H, W) or (N, D, H, W) of any integer
type. All is computed in float32, whatever the autocast.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from .settings import IGNORE_LABEL

_TINY = 1e-12


def focal_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    gamma: float = 2.0,
    alpha: torch.Tensor | Sequence[float] | None = None,
    ignore_label: int = IGNORE_LABEL,
    *,
    labelled: torch.Tensor | None = None,
) -> torch.Tensor:
    """Mean over the valid voxels of -alpha_t (1 - p_t)^gamma ln p_t, over the softmax (Lin et al., ICCV 2017).

    `gamma` 0 without `alpha` is cross entropy. Without a valid voxel the loss is 0, and so are its gradients.

    Args:
        logits: (N, C, ...), background first.
        labels: (N, ...), values 0 to C-1 or `ignore_label`.
        gamma: 0 or more; the larger, the less do easy voxels count.
        alpha: one weight per class.
        ignore_label: voxels that count for nothing.
        labelled: (N, C) bool, the classes that each case labels; see :class:`SegmentationLoss`.

    Raises:
        ValueError: the shapes do not fit each other, or a label is out of range.
    """
    with _float32(logits):
        return _focal(_Voxels(logits, labels, ignore_label, labelled), gamma, alpha)


def dice_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    ignore_label: int = IGNORE_LABEL,
    smooth: float = 1e-5,
    per_sample: bool = False,
    *,
    labelled: torch.Tensor | None = None,
) -> torch.Tensor:
    """1 minus the mean soft Dice, (2 I + s) / (P + T + s), of the foreground classes (after Milletari et al., 2016).

    I sums the probabilities inside a class's target, P all of its probabilities, T its target voxels; the sums run
    over the batch and its valid voxels, or per sample. A class without a target voxel in its sum is left out: its
    Dice would be 0 wherever the network looks, and the focal term already punishes what it finds there. Without
    any target the loss is 0, and so are its gradients.

    Args:
        logits: (N, C, ...), background first.
        labels: (N, ...), values 0 to C-1 or `ignore_label`.
        ignore_label: voxels that count for nothing.
        smooth: s, in voxels.
        per_sample: a Dice for each case and class, instead of one for each class.
        labelled: (N, C) bool; a case takes no part in the Dice of classes that it does not label.

    Raises:
        ValueError: the shapes do not fit each other, or a label is out of range.
    """
    with _float32(logits):
        return _dice(_Voxels(logits, labels, ignore_label, labelled), smooth, per_sample)


class SegmentationLoss(nn.Module):
    """Focal loss plus soft Dice, weighted.

    Cases of one batch may label different classes: `labelled` says which. Where a case does not label a class, the
    voxels of that class are background in its labels. There, background stands for "background or any class that
    this case does not label": these probabilities are added up before the focal loss sees them (marginal loss,
    after Shi et al., Medical Image Analysis 2021), so a network that finds such a class is not punished. Dice
    leaves these classes out for that case.

    Args:
        focal_weight: weight of the focal loss.
        dice_weight: weight of the Dice loss.
        gamma: see :func:`focal_loss`.
        alpha: see :func:`focal_loss`.
        ignore_label: voxels that count for nothing.
        smooth: see :func:`dice_loss`.
        per_sample: see :func:`dice_loss`.
    """

    alpha: torch.Tensor | None

    def __init__(
        self,
        focal_weight: float = 1.0,
        dice_weight: float = 1.0,
        *,
        gamma: float = 2.0,
        alpha: Sequence[float] | torch.Tensor | None = None,
        ignore_label: int = IGNORE_LABEL,
        smooth: float = 1e-5,
        per_sample: bool = False,
    ) -> None:
        super().__init__()
        self.focal_weight = focal_weight
        self.dice_weight = dice_weight
        self.gamma = gamma
        self.ignore_label = ignore_label
        self.smooth = smooth
        self.per_sample = per_sample
        weights = None if alpha is None else torch.as_tensor(alpha, dtype=torch.float32)
        self.register_buffer("alpha", weights, persistent=False)

    def forward(self, logits: torch.Tensor, labels: torch.Tensor, labelled: torch.Tensor | None = None) -> torch.Tensor:
        """The loss, a scalar, of logits (N, C, ...) for labels (N, ...) and `labelled` (N, C) bool.

        Raises:
            ValueError: the shapes do not fit each other, or a label is out of range.
        """
        with _float32(logits):
            voxels = _Voxels(logits, labels, self.ignore_label, labelled)
            loss = logits.new_zeros((), dtype=torch.float32)
            if self.focal_weight:
                loss = loss + self.focal_weight * _focal(voxels, self.gamma, self.alpha)
            if self.dice_weight:
                loss = loss + self.dice_weight * _dice(voxels, self.smooth, self.per_sample)
            return loss


class HeatmapFocalLoss(nn.Module):
    """Focal L2 loss for heat-map regression, (ln(1 + D) / ln(1 + D_max))^gamma * D.

    D is the sum of squared differences over the batch, D_max the largest D that training has had (a buffer, so a
    checkpoint keeps it). The article (arXiv 1711.08580) has ln D / ln D_max. Taken literally, that favours easy
    samples as soon as D < 1: with D_max 0.9 and gamma 2, D = 0.1 would cost 47.8 and D = 0.8 only 3.6. With 1
    added, the loss rises with D everywhere, as the article intends, and agrees with it for large D.

    Args:
        gamma: 0 or more; 0 is the plain sum of squares.
    """

    largest: torch.Tensor

    def __init__(self, gamma: float = 2.0) -> None:
        super().__init__()
        if gamma < 0:
            raise ValueError(f"gamma must be 0 or more, not {gamma!r}.")
        self.gamma = gamma
        self.register_buffer("largest", torch.zeros(()))

    def forward(
        self, predicted: torch.Tensor, target: torch.Tensor, ignore: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The loss, a scalar; in training mode, D_max follows.

        Args:
            predicted: heat maps, any shape.
            target: the same shape.
            ignore: bool, broadcastable to that shape, true where a voxel counts for nothing.

        Raises:
            ValueError: the shapes differ.
        """
        if predicted.shape != target.shape:
            raise ValueError(f"Heat maps {tuple(predicted.shape)} and target {tuple(target.shape)} differ in shape.")
        with _float32(predicted):
            difference = predicted.float() - target.float()
            if ignore is not None:
                difference = difference.masked_fill(ignore, 0.0)
            distance = difference.square().sum()
            largest = torch.maximum(self.largest, torch.nan_to_num(distance.detach(), nan=0.0, posinf=0.0))
            if self.training:
                self.largest.copy_(largest)
            ratio = torch.log1p(distance) / torch.log1p(largest).clamp_min(_TINY)
            return ratio.clamp_min(_TINY) ** self.gamma * distance


class _Voxels:
    """Logits and labels, checked, with classes that a case does not label folded into its background.

    The class axis stays where it is; spatial axes are flattened. V is the number of voxels of a case.
    """

    def __init__(
        self, logits: torch.Tensor, labels: torch.Tensor, ignore_label: int, labelled: torch.Tensor | None
    ) -> None:
        _check_shapes(logits, labels, labelled)
        self.classes = logits.shape[1]
        self.labelled = None if labelled is None else labelled.to(logits.device, torch.bool)
        flat_labels = labels.to(logits.device).flatten(1).long()
        self.valid = flat_labels != ignore_label
        self.all_valid = bool(self.valid.all())
        self.labels = flat_labels if self.all_valid else flat_labels * self.valid
        if self.labels.numel() and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < self.classes:
            raise ValueError(
                f"The labels go from {int(self.labels.min())} to {int(self.labels.max())}, but the network has "
                f"{self.classes} classes, 0 to {self.classes - 1}; {ignore_label} is ignored."
            )
        self.log_probabilities = torch.log_softmax(logits.float().flatten(2).contiguous(), dim=1)  # (N, C, V)
        if self.labelled is not None:
            own = torch.arange(self.classes, device=logits.device) * self.labelled  # 0 for what a case does not label
            self.labels = own.gather(1, self.labels)
        self.target = self.log_probabilities.gather(1, self.labels[:, None])[:, 0]  # (N, V), ln p of the label

    def marginal_target(self) -> torch.Tensor:
        """ln p_t, (N, V): for background, of background or any class that the case does not label."""
        if self.labelled is None or bool(self.labelled[:, 1:].all()):
            return self.target
        apart = self.labelled.clone()
        apart[:, 0] = False
        background = self.log_probabilities.masked_fill(apart[:, :, None], -torch.inf).logsumexp(dim=1)
        return torch.where(self.labels == 0, background, self.target)


def _focal(voxels: _Voxels, gamma: float, alpha: torch.Tensor | Sequence[float] | None) -> torch.Tensor:
    log_target = voxels.marginal_target()
    loss = -log_target
    if gamma:
        loss = loss * (-torch.expm1(log_target)).clamp_min(_TINY) ** gamma
    if alpha is not None:
        weights = torch.as_tensor(alpha, dtype=torch.float32, device=loss.device)
        if weights.shape != (voxels.classes,):
            raise ValueError(f"alpha must hold one weight for each of {voxels.classes} classes.")
        loss = loss * weights[voxels.labels]
    if not voxels.all_valid:
        loss = loss.masked_fill(~voxels.valid, 0.0)
    return loss.sum() / voxels.valid.sum().clamp_min(1)


def _dice(voxels: _Voxels, smooth: float, per_sample: bool) -> torch.Tensor:
    cases, classes = voxels.log_probabilities.shape[:2]
    probabilities = voxels.log_probabilities[:, 1:].exp()
    target = voxels.target.exp()
    if not voxels.all_valid:
        probabilities = probabilities * voxels.valid[:, None]
        target = target * voxels.valid
    # One pass over the voxels for all classes: the label of a voxel says where its probability goes.
    bins = voxels.labels + classes * torch.arange(cases, device=target.device)[:, None]
    # The CPU adds one by one, which loses digits in float32; Apple's devices have no float64.
    precise = torch.float64 if target.device.type == "cpu" else torch.float32
    hits = target.new_zeros(cases * classes, dtype=precise)
    hits = hits.index_add(0, bins.flatten(), target.flatten().to(precise)).float()
    counts = torch.bincount(bins.flatten(), voxels.valid.flatten().float(), cases * classes)
    intersection = hits.view(cases, classes)[:, 1:]
    expected = counts.view(cases, classes)[:, 1:].float()
    found = probabilities.sum(dim=2)
    if voxels.labelled is not None:
        found = found * voxels.labelled[:, 1:]
    if not per_sample:
        intersection, found, expected = intersection.sum(0), found.sum(0), expected.sum(0)
    present = (expected > 0).float()
    overlap = (2 * intersection + smooth) / (found + expected + smooth).clamp_min(_TINY)
    return (present * (1 - overlap)).sum() / present.sum().clamp_min(1)


def _check_shapes(logits: torch.Tensor, labels: torch.Tensor, labelled: torch.Tensor | None) -> None:
    if logits.dim() < 3 or labels.shape != (logits.shape[0], *logits.shape[2:]):
        raise ValueError(f"Labels {tuple(labels.shape)} do not fit logits {tuple(logits.shape)}.")
    if labelled is not None and labelled.shape != logits.shape[:2]:
        raise ValueError(f"labelled must be (N, C) = {tuple(logits.shape[:2])}, not {tuple(labelled.shape)}.")


def _float32(tensor: torch.Tensor) -> torch.autocast:
    return torch.autocast(tensor.device.type, enabled=False)
