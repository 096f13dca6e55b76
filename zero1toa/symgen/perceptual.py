"""LPIPS (Zhang et al. 2018), and what its network saw in targets, kept for when they come again."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

log = logging.getLogger(__name__)

Features = tuple[Tensor, ...]


class Perceptual(Protocol):
    """A perceptual difference of pictures in [0, 1]. `marks` name the targets `b`: those with one mark are one picture."""

    def __call__(
        self, a: Float[Tensor, "B H W 3"], b: Float[Tensor, "B H W 3"], marks: Sequence[Hashable] = (), /
    ) -> Float[Tensor, ""]:
        """Give the mean difference over the batch; its gradient is that of `a`."""
        ...


class Lpips:
    """LPIPS by a network of the package `lpips`, which sees a target that has a mark once while it is among the last.

    Values are the same with and without this memory: targets are looked at one by one in either case.
    """

    def __init__(self, network: Any, *, memory_mb: float) -> None:
        self._network, self._room = network, memory_mb * 2**20
        self._seen: OrderedDict[Hashable, Features] = OrderedDict()
        self._told = False

    def __call__(
        self, a: Float[Tensor, "B H W 3"], b: Float[Tensor, "B H W 3"], marks: Sequence[Hashable] = (), /
    ) -> Float[Tensor, ""]:
        """Give the mean difference over the batch."""
        targets = [self._of_target(b[i : i + 1], mark) for i, mark in enumerate(marks or [None] * len(b))]
        total = a.new_zeros(len(a))
        for layer, of_a, of_b in zip(self._network.lins, self._features(a), zip(*targets, strict=True), strict=True):
            total = total + layer((of_a - torch.cat(of_b)).square()).mean((1, 2, 3))
        return total.mean()

    def _features(self, pictures: Float[Tensor, "B H W 3"]) -> Features:
        """Give the layers' activations, each pixel's of length 1."""
        outputs = self._network.net(self._network.scaling_layer(2 * pictures.movedim(-1, 1) - 1))
        return tuple(out / (out.square().sum(1, keepdim=True).sqrt() + 1e-10) for out in outputs)

    @torch.no_grad()
    def _of_target(self, picture: Float[Tensor, "1 H W 3"], mark: Hashable | None) -> Features:
        if mark in self._seen:
            self._seen.move_to_end(mark)
            return self._seen[mark]
        features = self._features(picture)
        if mark is not None:
            self._keep(mark, features)
        return features

    def _keep(self, mark: Hashable, features: Features) -> None:
        """Keep features in the place of those that have waited longest, as many as there is room for."""
        size = sum(part.nbytes for part in features)
        if not self._told:
            self._told = True
            log.info(
                "LPIPS sees %.1f MB in a picture of this size and a data set has hundreds: what it saw in the last %d targets "
                "is kept, as the memory for it (--features-mb) allows", size / 2**20, self._room // size,
            )  # fmt: skip
        while self._seen and sum(part.nbytes for kept in self._seen.values() for part in kept) + size > self._room:
            self._seen.popitem(last=False)
        if size <= self._room:
            self._seen[mark] = features
