"""How a face looks, by which it is followed closer than by landmarks.

Points all over the face remember the colours that a first frame has there. In later frames the pose moves until these have
the same colours at the points again (Lucas and Kanade 1981, here with a face's pose for a warp, as in Face2Face; Thies et
al. 2016). Colours are compared between two blurs: what is finer is noise, what is coarser is light.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8

from zero1toa.geometry.mesh import of_parts, on_surface, vertex_normals
from zero1toa.head.base import HeadModel
from zero1toa.portrait.landmark_fit import Evidence, LandmarkBasis, Pose, expression_basis, jacobian, project, robust
from zero1toa.render.mesh import rasterize_mesh
from zero1toa.types import Camera, Identity

# What does not change its looks with its pose; the inside of a mouth does.
LOOKED_AT = ("skin", "lips", "eyelids", "eyes")
POINTS, FEWEST = 3000, 100
# Width at which faces are looked at, in pixels, and how far around their middle, in widths.
WIDTH, REACH = 200, 1.2
# The two blurs, in widths of the face.
FINEST, COARSEST = 0.006, 0.08
# A difference in colour that counts as much as a landmark that is off by its expected error, and what all points together
# weigh, in landmarks.
UNLIKE, WEIGHT = 0.05, 400.0
# Cosines between surface normal and view at which a point starts to count, and counts in full.
GRAZING, HEAD_ON = 0.2, 0.5


@dataclass(frozen=True, slots=True)
class Look:
    """A frame around a face, larger or smaller, as its colours between the two blurs and how these change along x and y.

    A pixel of the frame is at (pixel - corner) * scale.
    """

    bands: Float[np.ndarray, "h w 3"]
    along_x: Float[np.ndarray, "h w 3"]
    along_y: Float[np.ndarray, "h w 3"]
    corner: Float[np.ndarray, "2"]
    scale: Float[np.ndarray, "2"]

    @classmethod
    def at(cls, frame: UInt8[np.ndarray, "H W 3"], middle: Float[np.ndarray, "2"], scale: float) -> Look:
        """Look at a frame around a pixel, `scale` times as large."""
        size, reach = np.array(frame.shape[1::-1]), REACH * WIDTH / scale
        low = np.clip(np.floor(middle - reach), 0, size - 1).astype(int)
        high = np.clip(np.ceil(middle + reach), low + 1, size).astype(int)
        crop = np.ascontiguousarray(frame[low[1] : high[1], low[0] : high[0]])
        small = np.maximum(np.round((high - low) * scale), 2).astype(int)
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        picture = cv2.resize(crop, small.tolist(), interpolation=how).astype(np.float32) / 255
        fine = cv2.GaussianBlur(picture, (0, 0), FINEST * WIDTH)
        # A wide blur is as good on a picture of a quarter of the size, and takes a thirtieth of the time.
        quarter = cv2.resize(picture, np.maximum(small // 4, 1).tolist(), interpolation=cv2.INTER_AREA)
        bands = fine - cv2.resize(cv2.GaussianBlur(quarter, (0, 0), COARSEST * WIDTH / 4), small.tolist())
        return cls(bands, np.gradient(bands, axis=1), np.gradient(bands, axis=0), low.astype(float), small / (high - low))

    def sample(self, picture: Float[np.ndarray, "h w 3"], pixels: Float[np.ndarray, "P 2"]) -> Float[np.ndarray, "P 3"]:
        """Look pixels of the frame up in one of the pictures."""
        x, y = ((pixels - self.corner) * self.scale - 0.5).astype(np.float32).T
        return cv2.remap(picture, x[None], y[None], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[0].astype(float)


@dataclass(frozen=True, slots=True)
class Appearance:
    """Points on one person's face: where they are, which way they face at rest, and their colours between the two blurs."""

    basis: LandmarkBasis
    normals: Float[np.ndarray, "P 3"]
    colors: Float[np.ndarray, "P 3"]
    scale: float  # of looks, by the focal length in pixels and the face's distance in metres

    @classmethod
    def of(
        cls, head: HeadModel, identity: Identity, pose: Pose, frame: UInt8[np.ndarray, "H W 3"], width: float
    ) -> Appearance | None:
        """Remember how somebody looks in a frame in which their pose is known, and their face so many pixels wide.

        None if next to nothing of the face is in the frame.
        """
        still = head.rest_state()
        vertices = head.vertices(identity, still)[0]
        expression = torch.from_numpy(pose.expression).float()[None]
        at_pose = head.vertices(identity, replace(still, expression=expression))
        fragments = rasterize_mesh(at_pose, head.surface.faces, _camera(pose, *frame.shape[:2]))
        face = fragments.face[0].long()
        shown = (face >= 0) & of_parts(head.surface.parts[face.clamp_min(0)], *LOOKED_AT)
        rows, columns = (index.numpy() for index in shown.nonzero(as_tuple=True))
        if len(rows) < FEWEST:
            return None
        some = np.random.default_rng(0).permutation(len(rows))[:POINTS]
        rows, columns = torch.from_numpy(rows[some]), torch.from_numpy(columns[some])
        face, weights = face[rows, columns], fragments.barycentric[0, rows, columns]
        on_face = lambda values: on_surface(values, head.surface.faces, face, weights)
        basis = expression_basis(head, identity, on_face)
        normals = on_face(vertex_normals(vertices, head.surface.faces))
        pixels, seen = project(basis, pose)
        scale = WIDTH / width
        look = Look.at(frame, pixels.mean(0), scale)
        per_metre = scale * float(seen[:, 2].mean()) / pose.focal
        return cls(basis, normals.double().numpy(), look.sample(look.bands, pixels), per_metre)

    def evidence(self, frame: UInt8[np.ndarray, "H W 3"], pose: Pose) -> Evidence:
        """Tell from a frame, looked at around a first guess of the pose, which way poses should move."""
        pixels, seen = project(self.basis, pose)
        look = Look.at(frame, pixels.mean(0), self.scale * pose.focal / float(seen[:, 2].mean()))
        weight = WEIGHT / len(self.colors)

        def pull(pose: Pose) -> tuple[Float[np.ndarray, "Q Q"], Float[np.ndarray, "Q"]]:
            pixels, seen = project(self.basis, pose)
            unlike = (self.colors - look.sample(look.bands, pixels)) / UNLIKE
            slope = np.stack([look.sample(look.along_x, pixels), look.sample(look.along_y, pixels)], -1) * look.scale / UNLIKE
            facing = -(self.normals @ pose.rotation.T * seen).sum(1) / np.linalg.norm(seen, axis=1)
            trust = weight * np.clip((facing - GRAZING) / (HEAD_ON - GRAZING), 0, 1) * robust(unlike)
            # What points weigh along and between the axes of the picture: a few numbers each, where colours are three.
            metric, aim = np.einsum("pck,pcl,p->pkl", slope, slope, trust), np.einsum("pck,pc,p->pk", slope, unlike, trust)
            moved = jacobian(self.basis, pose, seen)
            flat, weighted = (values.reshape(-1, moved.shape[-1]) for values in (moved, metric @ moved))
            return flat.T @ weighted, flat.T @ aim.ravel()

        return pull


def _camera(pose: Pose, height: int, width: int) -> Camera:
    """Give the camera to whom the unturned head is at a pose."""
    view, intrinsics = np.eye(4), np.array([[pose.focal, 0, pose.centre[0]], [0, pose.focal, pose.centre[1]], [0, 0, 1.0]])
    view[:3, :3], view[:3, 3] = pose.rotation, pose.translation
    return Camera(torch.from_numpy(view).float()[None], torch.from_numpy(intrinsics).float()[None], width, height)
