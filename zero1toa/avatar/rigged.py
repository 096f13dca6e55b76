"""The avatar: Gaussians that live in the triangles of a head model (GaussianAvatars, Qian et al., CVPR 2024).

Each splat belongs to one triangle for life. With the triangle's frame of `zero1toa.geometry.mesh.face_frames` (origin T,
rotation R, size k) and the splat's own centre c, rotation r and scale s, the splat in the world is (section 3.2 there)

    mean = k R c + T        rotation = R r        scale = k s

so lengths are in units of triangle size: a splat at |c| = 1 floats about one edge away from its triangle. As k scales the
offset too, a splat far off the surface (hair, shoulders) swings when a small triangle stretches or turns; the position
loss therefore keeps |c| short, and whoever seeds splats should bind distant ones to large, calm triangles.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import normalize

from zero1toa.geometry.mesh import face_frames
from zero1toa.geometry.rotation import matrix_to_quaternion, quaternion_multiply
from zero1toa.head.base import HeadModel
from zero1toa.types import AvatarError, Gaussians, HeadState, Identity, on_device

# The zeroth spherical harmonic, so that `color` is what 3DGS files call f_dc.
SH0 = 0.28209479177387814

# Degenerate triangles (an eyelid shut to a line) have no size; one micrometre keeps their splats finite.
SMALLEST_TRIANGLE = 1e-6

PARAMETERS = ("centre", "quaternion", "log_scale", "opacity_logit", "color")


@dataclass(frozen=True, slots=True)
class Rig:
    """Who moves the splats: a head model and one identity of it, neither of which training changes."""

    head: HeadModel
    identity: Identity


class Avatar(nn.Module):
    """`N` Gaussians bound to the triangles of one person's head.

    Parameters: `centre` (N, 3) and `log_scale` (N, 3) in units of triangle size, `quaternion` (N, 4) as (w, x, y, z),
    `opacity_logit` (N), `color` (N, 3) with rgb = 0.5 + SH0 * color. Buffers: `face` (N), the triangle of each, and
    `reach` (N), how far from its triangle the position loss lets it float: 1 as in GaussianAvatars, but farther where it
    was seeded farther. Hair and shoulders leave the mesh, and an edge of it would pull them in whenever no frame shows them
    (ours).
    """

    face: Int[Tensor, "N"]
    reach: Float[Tensor, "N"]
    centre: nn.Parameter
    quaternion: nn.Parameter
    log_scale: nn.Parameter
    opacity_logit: nn.Parameter
    color: nn.Parameter

    def __init__(
        self,
        head: HeadModel,
        identity: Identity,
        *,
        face: Int[Tensor, "N"],
        centre: Float[Tensor, "N 3"],
        quaternion: Float[Tensor, "N 4"],
        log_scale: Float[Tensor, "N 3"],
        opacity_logit: Float[Tensor, "N"],
        color: Float[Tensor, "N 3"],
        reach: Float[Tensor, "N"] | None = None,
    ) -> None:
        super().__init__()
        # Held inside a record: were the head a Module, a plain attribute would make its weights ours to train and save.
        self.rig = Rig(head, identity)
        self.register_buffer("face", face)
        self.register_buffer("reach", centre.detach().norm(dim=-1).clamp_min(1.0) if reach is None else reach)
        self.centre = nn.Parameter(centre)
        self.quaternion = nn.Parameter(quaternion)
        self.log_scale = nn.Parameter(log_scale)
        self.opacity_logit = nn.Parameter(opacity_logit)
        self.color = nn.Parameter(color)

    @classmethod
    def bind(
        cls,
        head: HeadModel,
        identity: Identity,
        state: HeadState,
        *,
        face: Int[Tensor, "N"],
        means: Float[Tensor, "N 3"],
        quats: Float[Tensor, "N 4"],
        scales: Float[Tensor, "N 3"],
        opacities: Float[Tensor, "N"],
        colors: Float[Tensor, "N 3"],
    ) -> Avatar:
        """Bind world-space splats, seen in the first pose of `state`, to the triangles `face`.

        The inverse of `pose`, but for opacities and scales at their very limits (0, 1), which are pulled in.
        """
        origin, rotation, size = face_frames(head.vertices(identity, state[:1])[0], head.surface.faces)
        turn = matrix_to_quaternion(rotation)[face]
        inverse = turn * turn.new_tensor([1.0, -1.0, -1.0, -1.0])
        size = size.clamp_min(SMALLEST_TRIANGLE)[face, None]
        offset = (means - origin[face])[:, None, :] @ rotation[face]
        return cls(
            head,
            identity,
            face=face,
            centre=offset[:, 0] / size,
            quaternion=quaternion_multiply(inverse, normalize(quats, dim=-1)),
            log_scale=(scales / size).clamp_min(1e-8).log(),
            opacity_logit=torch.logit(opacities, eps=1e-5),
            color=(colors - 0.5) / SH0,
        )

    @property
    def head(self) -> HeadModel:
        """The head model that moves the triangles."""
        return self.rig.head

    @property
    def identity(self) -> Identity:
        """The person the head model is shaped to."""
        return self.rig.identity

    def __len__(self) -> int:
        return self.face.shape[0]

    def on(self, device: torch.device) -> Avatar:
        """Give a copy on a device, its head model included."""
        arrays = {name: array.to(device) for name, array in self.state_arrays().items()}
        return Avatar.from_arrays(on_device(self.head, device), on_device(self.identity, device), arrays)

    def triangle_sizes(self) -> Float[Tensor, "F"]:
        """Give the sizes in metres, the unit of length of each triangle's splats, on the resting head."""
        resting = self.head.vertices(self.identity, self.head.rest_state())[0]
        return face_frames(resting, self.head.surface.faces)[2].clamp_min(SMALLEST_TRIANGLE)

    def pose(self, state: HeadState) -> Gaussians:
        """Move the splats with the head; differentiable in the parameters."""
        with torch.no_grad():
            vertices = self.head.vertices(self.identity, state)
        return self.on_vertices(vertices)

    def on_vertices(self, vertices: Float[Tensor, "B V 3"]) -> Gaussians:
        """Give the splats on a mesh that is posed already, as training has it for every frame of its clips."""
        if vertices.device.type == "cpu" and self.centre.dtype == torch.float32:
            from zero1toa.avatar.posing import pose_splats as move
        else:
            move = move_splats
        faces, frames = self.head.surface.faces, len(vertices)
        means, quats, scales = move(vertices, faces, self.face, self.centre, self.quaternion, self.log_scale)
        return Gaussians(
            means=means,
            quats=quats,
            scales=scales,
            opacities=self.opacity_logit.sigmoid().expand(frames, -1),
            colors=_Clamp.apply(0.5 + SH0 * self.color).expand(frames, -1, -1),
        )

    def state_arrays(self) -> dict[str, Tensor]:
        """Give everything that training made, by name: what a safetensors file of an avatar holds."""
        return {name: getattr(self, name).detach() for name in ("face", "reach", *PARAMETERS)}

    @classmethod
    def from_arrays(cls, head: HeadModel, identity: Identity, arrays: dict[str, Tensor]) -> Avatar:
        """Make the avatar that `state_arrays` described; raises AvatarError when arrays are missing or do not fit."""
        missing = [name for name in ("face", "reach", *PARAMETERS) if name not in arrays]
        if missing:
            raise AvatarError(f"the avatar file lacks {', '.join(missing)}: it was cut short; save it again")
        shapes = dict.fromkeys(("centre", "log_scale", "color"), (3,)) | {"quaternion": (4,)}
        shapes |= dict.fromkeys(("face", "reach", "opacity_logit"), ())
        count = arrays["face"].shape[0] if arrays["face"].dim() == 1 else -1
        if any(arrays[name].shape != (count, *tail) for name, tail in shapes.items()):
            raise AvatarError("the arrays of the avatar file do not fit each other: the file is damaged; save it again")
        face = arrays["face"].long()
        if count > 0 and not 0 <= int(face.min()) <= int(face.max()) < head.surface.faces.shape[0]:
            raise AvatarError(f"this avatar was made for another head model than {head.name!r}: load it with the one it names")
        return cls(head, identity, face=face, **{name: arrays[name].clone() for name in ("reach", *PARAMETERS)})


def move_splats(
    vertices: Float[Tensor, "B V 3"],
    faces: Int[Tensor, "F 3"],
    face: Int[Tensor, "N"],
    centre: Float[Tensor, "N 3"],
    quaternion: Float[Tensor, "N 4"],
    log_scale: Float[Tensor, "N 3"],
) -> tuple[Float[Tensor, "B N 3"], Float[Tensor, "B N 4"], Float[Tensor, "B N 3"]]:
    """Move splats with their triangles on any device; `zero1toa.avatar.posing.pose_splats` is its quick twin on the CPU."""
    with torch.no_grad():
        origin, rotation, size = face_frames(vertices, faces)
        size = size.clamp_min(SMALLEST_TRIANGLE)[:, face, None]
        turn = matrix_to_quaternion(rotation)[:, face]
    means = origin[:, face] + size * (rotation[:, face] * centre[:, None, :]).sum(-1)
    return means, quaternion_multiply(turn, quaternion.expand(len(turn), -1, -1)), size * log_scale.exp()


class _Clamp(torch.autograd.Function):
    """Clamp to [0, 1], letting through the gradients that lead back inside.

    The plain clamp kills every gradient outside, so a splat seeded from a blown-out white could never darken; passing all
    of them would let colours drift away without end.
    """

    @staticmethod
    def forward(ctx, value: Tensor) -> Tensor:
        ctx.save_for_backward(value)
        return value.clamp(0, 1)

    @staticmethod
    def backward(ctx, *grads: Tensor) -> Tensor:
        (value,), (grad,) = ctx.saved_tensors, grads
        # Descent moves against the gradient: below 0 only a negative one leads back, above 1 only a positive one.
        outward = ((value < 0) & (grad > 0)) | ((value > 1) & (grad < 0))
        return grad.masked_fill(outward, 0.0)
