"""LPIPS with a tiny network of its kind, and with the package's own class where that is installed."""

import logging

import pytest
import torch
from torch import nn

from zero1toa.symgen.perceptual import Lpips

SIZE = 32


class TinyTrunk(nn.Module):
    """Two layers of a network for pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 12, 3, stride=2, padding=1)
        self.looks = 0

    def forward(self, pictures):
        self.looks += len(pictures)
        first = self.first(pictures).relu()
        return first, self.second(first).relu()


class TinyNetwork(nn.Module):
    """What `lpips.LPIPS` is made of, over that."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.scaling_layer = TinyTrunk(), nn.Identity()
        self.lins = nn.ModuleList(nn.Conv2d(channels, 1, 1, bias=False) for channels in (8, 12))
        for layer in self.lins:
            nn.init.uniform_(layer.weight)
        self.requires_grad_(False)


FEATURES_MB = (8 * SIZE**2 + 12 * SIZE**2 / 4) * 4 / 2**20


@pytest.fixture
def network() -> TinyNetwork:
    torch.manual_seed(0)
    return TinyNetwork()


def pictures(count: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, SIZE, SIZE, 3, generator=torch.Generator().manual_seed(seed))


def value_and_slope(loss: Lpips, a: torch.Tensor, b: torch.Tensor, marks=()) -> tuple[torch.Tensor, torch.Tensor]:
    a = a.clone().requires_grad_()
    value = loss(a, b, marks)
    value.backward()
    return value.detach(), a.grad


@pytest.mark.parametrize("memory_mb", [0.0, 1.5 * FEATURES_MB, 100.0])
def test_values_and_gradients_are_the_same_with_and_without_memory(network, memory_mb):
    plain, keeping = Lpips(network, memory_mb=0), Lpips(network, memory_mb=memory_mb)
    targets, chance = pictures(4), torch.Generator().manual_seed(2)
    for step in range(12):
        chosen = torch.randint(4, (1 + step % 3,), generator=chance)
        a = pictures(len(chosen), 10 + step)
        expected = value_and_slope(plain, a, targets[chosen])
        for one, other in zip(expected, value_and_slope(keeping, a, targets[chosen], chosen.tolist()), strict=True):
            assert torch.equal(one, other)


def test_a_target_is_looked_at_once_while_it_is_among_the_last(network):
    loss, targets = Lpips(network, memory_mb=2.5 * FEATURES_MB), pictures(3)
    looks = []
    for mark in (0, 0, 1, 0, 2, 0, 1):
        before = network.net.looks
        loss(pictures(1, 5), targets[mark : mark + 1], [mark])
        looks.append(network.net.looks - before - 1)
    assert looks == [1, 0, 1, 0, 1, 0, 1], "room for two: 1 had waited longest when 2 came"


def test_memory_stays_within_its_bounds_and_the_log_says_why(network, caplog):
    loss = Lpips(network, memory_mb=2.5 * FEATURES_MB)
    with caplog.at_level(logging.INFO):
        for mark in range(6):
            loss(pictures(1), pictures(1, mark), [mark])
    kept = sum(part.nbytes for features in loss._seen.values() for part in features)
    assert kept == pytest.approx(2 * FEATURES_MB * 2**20)
    assert len(caplog.records) == 1
    assert "the last 2 targets" in caplog.text


def test_equal_pictures_do_not_differ(network):
    loss = Lpips(network, memory_mb=1)
    # Some processors round differently when pictures come together than when one comes alone.
    assert float(loss(pictures(2), pictures(2), ["a", "b"])) < 1e-10
    assert float(loss(pictures(2), pictures(2, 1), ["c", "d"])) > 0.01


def test_the_package_says_the_same():
    lpips = pytest.importorskip("lpips")
    theirs = lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False).requires_grad_(False)
    ours, a, b = Lpips(theirs, memory_mb=100), pictures(2), pictures(2, 1)
    expected = theirs(a.movedim(-1, 1), b.movedim(-1, 1), normalize=True).mean()
    for _ in range(2):
        torch.testing.assert_close(ours(a, b, [0, 1]), expected)
