"""A laugh, filmed by a camera that goes around: python -m examples.03_animate"""

import math

import torch

from zero1toa import Viewer, load_avatar
from zero1toa.export.video import write_rendering
from zero1toa.symgen.performances import PERFORMANCES, perform

FPS, FRAMES = 24.0, 96

viewer = Viewer.of(load_avatar("out/avatar"))
laugh = next(performance for performance in PERFORMANCES if performance.name == "laugh")
states = perform(laugh, FRAMES, FPS, generator=torch.Generator().manual_seed(0))
frames = (
    viewer.draw(states[i : i + 1], viewer.camera(viewer.front() + 35 * math.sin(2 * math.pi * i / FRAMES)))
    for i in range(FRAMES)
)
write_rendering("out/laugh.mp4", frames, FPS, viewer.saved)
print("out/laugh.mp4")
