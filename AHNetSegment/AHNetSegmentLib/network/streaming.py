"""AH-Net for inference: a volume of any length runs through it, and no voxel is computed twice.

Only a few of AH-Net's layers look along the slices. Each of them keeps the slices that it still needs, so a volume
comes in batch by batch, and its logits come out as soon as the slices that they depend on have come in. The result is
that of :class:`~AHNetSegmentLib.network.ahnet.AHNet` on the volume in one piece; memory depends on the size of a slice
and on how far the network reaches along the slices, not on their number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from .ahnet import AHNet, Resize
from .folded_layers import FoldedBottleneck, FoldedDense, FoldedHead, FoldedUp, Size, Stem, enlargement, plane_map
from .folding import Target
from .interpolation import PlaneMap
from .resnet import Bottleneck
from .slices import AlongSlices, Maximum, Neighbours, RemadeSlices, SliceQueue, SliceStore, ThroughSlices

CPU_BATCH_BYTES = 8 * 2**20
"""A batch's largest map on a CPU: more falls out of its caches, and out of what an allocator keeps for the next one."""


class StreamedAHNet:
    """A trained AH-Net, folded for inference on one device in one precision.

    Args:
        network: whose weights and BatchNorm statistics count as they are now; it is not changed.
        device: where to run.
        dtype: number format of weights and maps.
    """

    def __init__(self, network: AHNet, device: torch.device, dtype: torch.dtype) -> None:
        self.settings = network.settings
        self.target = Target(device, dtype)
        encoder, decoder = network.encoder, network.decoder
        self._stem = Stem(encoder.conv1, encoder.bn1, self.settings.slice_strides[0] == 2, self.target)
        stages = (encoder.layer1, encoder.layer2, encoder.layer3, encoder.layer4)
        self._stages = [[FoldedBottleneck(cast(Bottleneck, block), self.target) for block in s] for s in stages]
        ups = (decoder.up0, decoder.up1, decoder.up2, decoder.project, decoder.up3)
        self._ups = [FoldedUp(up, self.target) for up in ups]
        blocks = (decoder.dense0, decoder.dense1, decoder.dense2, decoder.dense3, decoder.dense4)
        self._blocks = [FoldedDense(block, self.target) for block in blocks]
        self._head = FoldedHead(decoder.pyramid, decoder.head, self.target)
        self._channels = encoder.channels
        self._overlapping_pool = encoder.overlapping_pool

    def levels(self, size: Sequence[int]) -> list[Size]:
        """(D, H, W) of the input and of the maps conv_x, pool_x, layer1, layer2, layer3, layer4."""
        strides = self.settings.slice_strides
        steps = [(strides[0], 2), (strides[1], 2), (1, 1), *((stride, 2) for stride in strides[2:])]
        levels = [(size[0], size[1], size[2])]
        for along, in_plane in steps:
            depth, rows, columns = levels[-1]
            levels.append((-(-depth // along), -(-rows // in_plane), -(-columns // in_plane)))
        return levels

    def run(
        self,
        batches: Iterable[Tensor],
        size: Sequence[int],
        batch_bytes: int = CPU_BATCH_BYTES,
        *,
        enlarged: bool = True,
        remade: bool = False,
    ) -> Iterator[Tensor]:
        """The logits of a volume, in order.

        Args:
            batches: (n, in_channels, H, W) of the volume's slices, in order, on the network's device.
            size: (D, H, W) of the whole volume.
            batch_bytes: about how large a map may be that is worked on at once.
            enlarged: with the last interpolation in plane, which :meth:`last_enlargement` does otherwise.
            remade: the first and largest maps are made again when the decoder wants them, instead of being kept.

        Yields:
            (n, classes, H, W) in the network's number format, `channels_last`; (n, classes, h, w) if not enlarged.
        """
        yield from _Stream(self, self.levels(size), batch_bytes, enlarged, remade).run(batches)

    def last_enlargement(self, size: Sequence[int]) -> PlaneMap | None:
        """The last interpolation in plane for a volume (D, H, W); None where the network has learned it."""
        image, conv_x = self.levels(size)[:2]
        return plane_map(self._head.resize, conv_x, image) if isinstance(self._head.resize, Resize) else None

    def slices_at_once(self, level: Size, channels: int, batch_bytes: int) -> int:
        """How many slices of a map make a batch."""
        return max(1, batch_bytes // (channels * level[1] * level[2] * self.target.dtype.itemsize))

    def memory_bytes(self, size: Sequence[int], batch_bytes: int = CPU_BATCH_BYTES, *, remade: bool = False) -> int:
        """About how much memory a run over a volume (D, H, W) takes, without the volume and without the results.

        That is what waits for the decoder at each level, for as many slices as the network reaches; the rings of the
        dense blocks; and some more of the largest maps, at work or on their way.
        """
        levels = self.levels(size)
        growth = 3 * self.settings.growth
        waiting = rings = 0
        for number, ((depth, rows, columns), channels) in enumerate(zip(levels[1:6], self._channels[:5], strict=True)):
            reach = min(depth, math.ceil(self.settings.slice_reach * depth / levels[0][0]) + 1)
            if number or not remade:
                waiting += reach * rows * columns * channels
            rings += 4 * rows * columns * (channels + growth)
        if remade:
            waiting += min(size[0], self.settings.slice_reach) * size[1] * size[2] * self.settings.in_channels
        widest = (self._channels[0] + growth) * levels[1][1] * levels[1][2]
        at_work = 8 * max(batch_bytes // self.target.dtype.itemsize, widest)
        return (waiting + rings + at_work) * self.target.dtype.itemsize


class _Stream:
    """One run: the state of every layer that looks along the slices."""

    def __init__(
        self, network: StreamedAHNet, levels: list[Size], batch_bytes: int, enlarged: bool, remade: bool
    ) -> None:
        settings = network.settings
        strides = settings.slice_strides
        self.network = network
        image, conv_x, pool_x, layer1, layer2, layer3, layer4 = levels
        channels = network._channels

        def at_once(level: Size, count: int) -> int:
            return network.slices_at_once(level, count, batch_bytes)

        stem, widest = channels[0], channels[0] + 3 * settings.growth

        def first_maps() -> Callable[[Tensor], Iterator[Tensor]]:
            neighbours = Neighbours(image[0], at_once(conv_x, stem), settings.zero_padded_slices)
            pool = Maximum(image[0], at_once(conv_x, stem)) if strides[0] == 2 else None
            return lambda batch: (maps for triplets in neighbours(batch) for maps in network._stem(triplets, pool))

        self.first_maps = first_maps()
        self.remade = RemadeSlices(first_maps()) if remade else None
        overlapping = network._overlapping_pool
        self.max_pool = Maximum(conv_x[0], at_once(pool_x, channels[1]), overlapping) if strides[1] == 2 else None
        self.pools = [
            (Maximum(before[0], at_once(after, count)), Maximum(before[0], at_once(after, count)))
            if stride == 2
            else None
            for before, after, stride, count in zip(
                (pool_x, layer1, layer2, layer3),
                (layer1, layer2, layer3, layer4),
                (1, *strides[2:]),
                channels[2:],
                strict=True,
            )
        ]
        waiting = zip((conv_x, pool_x, layer1, layer2, layer3), channels[:5], strict=True)
        self.skips = [SliceStore() for _ in waiting]
        growth = 3 * settings.growth
        skip_levels = (layer3, layer2, layer1, pool_x, conv_x)
        widths = [channels[4] + growth, channels[3] + growth, channels[2] + growth, channels[1] + growth, widest]
        coarser = (layer4, layer3, layer2, layer1, pool_x)
        factors = (strides[4], strides[3], strides[2], 0, strides[1])
        self.ups: list[AlongSlices | None] = []
        self.blocks: list[_DenseStream] = []
        for up, block, before, level, width, factor in zip(
            network._ups, network._blocks, coarser, skip_levels, widths, factors, strict=True
        ):
            count = at_once(level, width)
            larger = enlargement(up.resize, network.target, before, level, factor, count) if factor else None
            self.ups.append(larger)
            self.blocks.append(_DenseStream(block, level, count))
        counts = (at_once(conv_x, widest), at_once(image, settings.classes))
        self.head = _HeadStream(network._head, conv_x, image, strides[0], counts, enlarged)

    def run(self, batches: Iterable[Tensor]) -> Iterator[Tensor]:
        for batch in batches:
            slices = self.network.target.put(batch)
            if self.remade is not None:
                self.remade.keep(slices)
            for conv_x in self.first_maps(slices):
                yield from self._encode(conv_x)

    def _encode(self, conv_x: Tensor) -> Iterator[Tensor]:
        if self.remade is None:
            self.skips[0].append(conv_x)
        pooled = self._max_pool_in_plane(conv_x)
        for pool_x in [pooled] if self.max_pool is None else self.max_pool(pooled):
            self.skips[1].append(pool_x)
            yield from self._stages(pool_x, 0)

    def _skip(self, level: int) -> SliceQueue | RemadeSlices:
        return self.skips[level] if level or self.remade is None else self.remade

    def _max_pool_in_plane(self, x: Tensor) -> Tensor:
        if self.network._overlapping_pool:
            return F.max_pool2d(x, 3, 2, 1)
        return F.max_pool2d(x, 2, ceil_mode=True)

    def _stages(self, x: Tensor, stage: int) -> Iterator[Tensor]:
        first, *others = self.network._stages[stage]
        for start in first.halved(x, self.pools[stage]):
            y = start
            for block in others:
                y = block(y)
            if stage < 3:
                self.skips[2 + stage].append(y)
                yield from self._stages(y, stage + 1)
            else:
                yield from self._decode(y, 0)

    def _decode(self, x: Tensor, step: int) -> Iterator[Tensor]:
        if step == len(self.blocks):
            yield from self.head(x)
            return
        enlarged = self.ups[step]
        x = self.network._ups[step](x)
        for y in [x] if enlarged is None else enlarged(x):
            for z in self.blocks[step](y, self._skip(4 - step)):
                yield from self._decode(z, step + 1)


class _DenseStream:
    """A dense block over a stream: each of its layers is a slice behind the one before.

    Inputs and appended channels lie side by side in a ring of slices, so that nothing is joined by copying.
    """

    def __init__(self, block: FoldedDense, level: Size, at_once: int) -> None:
        self.block = block
        self.through = [ThroughSlices(level[0], at_once, layer.rectified3, layer.taps) for layer in block.layers]
        self.rows = min(level[0], at_once + len(block.layers))
        channels = block.inputs + len(block.layers) * block.growth
        self.ring = torch.empty(
            (self.rows, channels, *level[1:]),
            dtype=block.target.dtype,
            device=block.target.device,
            memory_format=torch.channels_last,
        )
        self.written = [0] * (1 + len(block.layers))

    def __call__(self, x: Tensor, skip: SliceQueue | RemadeSlices) -> Iterator[Tensor]:
        """Takes slices, adds the skip connection's, and gives what the block makes of them, valid until the next."""
        start, stop = self.written[0], self.written[0] + len(x)
        for first, piece in skip.pieces(start, stop):
            for place, slots in self._slots(first, first + len(piece)):
                part = slots[:, : self.block.inputs]
                begin = place - start
                torch.add(x[begin : begin + len(slots)], piece[place - first : place - first + len(slots)], out=part)
        skip.let_go(stop)
        self.written[0] = stop
        yield from self._layers(start, stop, 0)

    def _layers(self, start: int, stop: int, number: int) -> Iterator[Tensor]:
        """Runs the layers from one on over slices of its input that have just been written."""
        if number == len(self.block.layers):
            for _, slots in self._slots(start, stop):
                yield slots
            return
        layer = self.block.layers[number]
        channels = self.block.inputs + number * self.block.growth
        for _, slots in self._slots(start, stop):
            for total in self.through[number](layer.in_plane(slots[:, :channels])):
                self._write(layer.appended(total), number, channels)
                begin, self.written[number + 1] = self.written[number + 1], self.written[number + 1] + len(total)
                yield from self._layers(begin, self.written[number + 1], number + 1)

    def _write(self, new: Tensor, number: int, channels: int) -> None:
        start = self.written[number + 1]
        for place, slots in self._slots(start, start + len(new)):
            slots[:, channels : channels + self.block.growth] = new[place - start : place - start + len(slots)]

    def _slots(self, start: int, stop: int) -> Iterator[tuple[int, Tensor]]:
        """The places of slices [start, stop) in the ring, in one piece or two."""
        while start < stop:
            row = start % self.rows
            count = min(stop - start, self.rows - row)
            yield start, self.ring[row : row + count]
            start += count


class _HeadStream:
    """The head over a stream of maps.

    The rectified input of its 3x3 convolution lies in a frame of what stands for zero there, so that the convolution
    needs no padding and features and pyramid come side by side without being joined by copying.
    """

    def __init__(
        self, head: FoldedHead, before: Size, after: Size, factor: int, at_once: tuple[int, int], enlarged: bool
    ) -> None:
        self.head = head
        self.enlarged = enlargement(head.resize, head.target, before, after, factor, at_once[1], enlarged)
        self.frames = head.rectified.rest.repeat(min(before[0], at_once[0]), 1, before[1] + 2, before[2] + 2)
        self.frames = self.frames.contiguous(memory_format=torch.channels_last)

    def __call__(self, x: Tensor) -> Iterator[Tensor]:
        for part in x.split(len(self.frames)):
            for logits in self.enlarged(self._coarse_logits(part)):
                yield logits[:, : self.head.classes]

    def _coarse_logits(self, x: Tensor) -> Tensor:
        head = self.head
        frames = self.frames[: len(x)]
        inner = frames[:, :, 1:-1, 1:-1]
        if head.levels:
            inner[:, : head.levels] = head.pooled(torch.cat(head.pyramid.levels(x), dim=1))
        head.features(x, out=inner[:, head.levels :])
        return head.conv(frames)
