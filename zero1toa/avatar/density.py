"""Density control: more splats where the picture asks for detail, fewer where they show nothing (3DGS, section 5.2).

The policy is at the top; the one move it needs, `take_rows`, is at the bottom and knows nothing of reasons.
Offspring keep their parent's triangle, as in GaussianAvatars. Its opacity resets are left out: they cure floaters of a
random start, while ours starts from the photo, and a short run would never recover from one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from zero1toa.avatar.rigged import PARAMETERS, Avatar
from zero1toa.geometry.rotation import quaternion_to_matrix

# Where the two halves of a split lie on the longest axis, how long they are, and how much fainter, in units of their
# parent: the best fit of two composited Gaussians to one, within 1.5 % of its energy at opacities from 0.1 to 0.99.
SPLIT_OFFSET, SPLIT_LENGTH, SPLIT_OPACITY = 0.5, 0.75, 0.72


@dataclass(frozen=True, slots=True)
class DensityConfig:
    """When splats multiply and when they go."""

    rounds: int = field(default=8, metadata={"help": "how many times splats are added and removed", "range": (0, 50)})
    start: float = field(default=0.1, metadata={"help": "share of the run before the first round", "range": (0.0, 1.0)})
    stop: float = field(default=0.8, metadata={"help": "share of the run at the last round", "range": (0.0, 1.0)})
    # 3DGS uses 2e-4 under a loss of weight 1; ours weighs pictures with 10 + 10.
    gradient: float = field(default=2e-3, metadata={"help": "pull on a splat that makes it multiply", "range": (1e-4, 1e-1)})
    split_above: float = field(default=0.003, metadata={"help": "larger splats split, smaller are cloned, metres"})
    opacity: float = field(default=0.005, metadata={"help": "fainter splats are removed", "range": (0.0, 0.5)})
    largest: float = field(default=0.05, metadata={"help": "larger splats are removed, metres", "range": (0.001, 1.0)})
    growth: float = field(default=1.3, metadata={"help": "most splats, in times of the first number", "range": (1.0, 10.0)})


@dataclass(frozen=True, slots=True)
class DensityChange:
    """What one round of density control did."""

    cloned: int
    split: int
    pruned: int


class DensityControl:
    """Counts how hard the pictures pull at each splat, and multiplies or removes splats from time to time.

    3DGS measures the pull as the gradient of the loss by the splat's position on the screen, with the image 2 wide.
    A world gradient times `metres_per_half_image` (distance * width / 2 / focal) is the same for a face-on camera and
    needs no second backward path; it only counts motion in depth as well.
    """

    def __init__(self, avatar: Avatar, config: DensityConfig, *, metres_per_half_image: float) -> None:
        self.config = config
        self.room = round(config.growth * len(avatar))
        self.metres_per_half_image = metres_per_half_image
        with torch.no_grad():
            sizes = avatar.triangle_sizes()
        # Triangles of the resting head: poses change sizes by a few per cent, which a threshold does not notice.
        self.sizes = sizes
        self.pull = torch.zeros(len(avatar), device=sizes.device)
        self.seen = torch.zeros(len(avatar), device=sizes.device)

    def observe(self, avatar: Avatar) -> None:
        """Take note of the gradients that the last backward pass left."""
        grad = avatar.centre.grad
        if grad is None:
            return
        # d mean = size * R * d centre, so the world gradient is the local one over the size.
        world = grad.norm(dim=-1) / self.sizes[avatar.face]
        self.pull += world * self.metres_per_half_image
        self.seen += world > 0

    def due(self, iteration: int, iterations: int) -> bool:
        """Say whether a round of density control is due before this iteration."""
        c = self.config
        if c.rounds == 0:
            return False
        step = (c.stop - c.start) * iterations / max(c.rounds - 1, 1)
        times = {round(c.start * iterations + step * i) for i in range(c.rounds)}
        return iteration > 0 and iteration in times

    def apply(self, avatar: Avatar, optimizer: torch.optim.Optimizer) -> DensityChange:
        """Clone small splats and split large ones that are pulled at, remove those that show nothing, start counting anew."""
        with torch.no_grad():
            pull = self.pull / self.seen.clamp_min(1)
            sizes = self.sizes[avatar.face]
            longest = avatar.log_scale.amax(-1).exp() * sizes
            dead = (avatar.opacity_logit.sigmoid() < self.config.opacity) | (longest > self.config.largest)
            grows = (pull > self.config.gradient) & ~dead
            grows &= _strongest(pull, grows, room=self.room - int((~dead).sum()))
            splits = grows & (longest > self.config.split_above)
            change = multiply(avatar, optimizer, clones=grows & ~splits, splits=splits, dead=dead)
            self.pull, self.seen = pull.new_zeros(len(avatar)), pull.new_zeros(len(avatar))
        return change


def _strongest(pull: Float[Tensor, "N"], wanted: Bool[Tensor, "N"], room: int) -> Bool[Tensor, "N"]:
    """Choose at most `room` of the wanted splats, those pulled at hardest."""
    chosen = torch.zeros_like(wanted)
    count = min(int(wanted.sum()), max(room, 0))
    # A stable order, so that equal pulls choose the same splats on every run.
    order = torch.where(wanted, pull, -1.0).argsort(descending=True, stable=True)
    chosen[order[:count]] = True
    return chosen


@torch.no_grad()
def multiply(
    avatar: Avatar,
    optimizer: torch.optim.Optimizer,
    *,
    clones: Bool[Tensor, "N"],
    splits: Bool[Tensor, "N"],
    dead: Bool[Tensor, "N"],
) -> DensityChange:
    """Clone, split and remove the named splats, leaving the picture as nearly as it was as two Gaussians can.

    A clone shares its parent's opacity o, so that both together cover as much: 1 - (1 - o')^2 = o (Bulo et al. 2024). 3DGS
    leaves o, which brightens every cloned spot. A split goes along the longest axis, without chance (3DGS draws the
    offspring at random), so both halves lie inside their parent.
    """
    index = torch.arange(len(avatar), device=clones.device)
    kept, cloned, halves = index[~dead & ~splits], index[clones], index[splits]
    rows = torch.cat([kept, cloned, halves, halves])
    fresh = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
    fresh[len(kept) :] = True
    is_clone = clones[rows]
    take_rows(avatar, optimizer, rows, fresh)
    shared = -torch.expm1(0.5 * torch.log1p(-avatar.opacity_logit.sigmoid().clamp_max(1 - 1e-6)))
    avatar.opacity_logit[is_clone] = torch.logit(shared, eps=1e-6)[is_clone]
    if len(halves):
        half = torch.arange(len(kept) + len(cloned), len(rows), device=rows.device)
        _halve(avatar, half, sign=torch.ones_like(half).index_fill(0, torch.arange(len(halves)).to(half), -1))
    return DensityChange(len(cloned), len(halves), int(dead.sum()))


def _halve(avatar: Avatar, rows: Int[Tensor, "M"], sign: Int[Tensor, "M"]) -> None:
    """Shrink splats to one half of themselves, on the side of the longest axis that `sign` names."""
    scale = avatar.log_scale[rows].exp()
    length, axis = scale.max(-1, keepdim=True)
    direction = quaternion_to_matrix(avatar.quaternion[rows]).gather(-1, axis[:, None, :].expand(-1, 3, 1)).squeeze(-1)
    avatar.centre[rows] += SPLIT_OFFSET * sign[:, None] * length * direction
    avatar.log_scale[rows] = scale.scatter(-1, axis, SPLIT_LENGTH * length).log()
    avatar.opacity_logit[rows] = torch.logit(SPLIT_OPACITY * avatar.opacity_logit[rows].sigmoid(), eps=1e-6)


@torch.no_grad()
def take_rows(avatar: Avatar, optimizer: torch.optim.Optimizer, rows: Int[Tensor, "M"], fresh: Bool[Tensor, "M"]) -> None:
    """Rebuild the avatar from the given rows of itself, optimizer state included; `fresh` rows forget their moments.

    Every parameter group of `optimizer` must hold one parameter, named by the group's "name".
    """
    for group in optimizer.param_groups:
        (old,) = group["params"]
        new = nn.Parameter(old.detach()[rows].contiguous())
        state = optimizer.state.pop(old, {})
        for key, value in state.items():
            if isinstance(value, Tensor) and value.shape == old.shape:
                state[key] = value[rows].masked_fill_(fresh.view(-1, *[1] * (value.dim() - 1)), 0.0)
        if state:
            optimizer.state[new] = state
        group["params"] = [new]
        assert group["name"] in PARAMETERS
        setattr(avatar, group["name"], new)
    avatar.face, avatar.reach = avatar.face[rows], avatar.reach[rows]
