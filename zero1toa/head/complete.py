"""What a head model's file does not say and is found out once: landmarks, parts of the surface, and the 52 ARKit actions."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from zero1toa.head.anny import load_anny
from zero1toa.head.landmarks import LEFT_LIDS, LIPS, RIGHT_LIDS, inside_outline
from zero1toa.head.linear import JOINTS, LinearHead
from zero1toa.head.transfer import transfer_expressions
from zero1toa.types import PARTS

log = logging.getLogger(__name__)

VARIETY = 0.5  # how far apart the measured people are, in standard deviations of the model's population
CHIN = 152  # landmark


def complete_head(head: LinearHead, expressions: Float[Tensor, "K V 3"], *, shapes: int) -> LinearHead:
    """Measure landmarks on `shapes` people, divide the skin, and make the 52 actions out of the model's own expressions."""
    # The landmarks are measured in the package's only room that knows faces in pictures; it knows this one.
    from zero1toa.portrait.calibrate import measure_landmarks

    log.info("getting to know the head model, once")
    measured = measure_landmarks(head, shapes=shapes, variety=VARIETY)
    log.info("landmarks spread by %.1f mm", 1e3 * measured.spread)
    head = replace(
        head,
        landmark_faces=torch.from_numpy(measured.faces.astype(np.int64)),
        landmark_weights=torch.from_numpy(measured.weights),
    )
    head = replace(head, surface=replace(head.surface, parts=torch.from_numpy(label_parts(head))))
    actions = transfer_expressions(load_anny(), head, expressions)
    return replace(head, expression_basis=actions.basis, expression_turns=actions.turns)


def label_parts(head: LinearHead) -> Int[np.ndarray, "F"]:
    """Divide what is labelled skin by skinning weights and landmarks; see `zero1toa.types.PARTS`."""
    part = {name: index for index, name in enumerate(PARTS)}
    faces = head.surface.faces.numpy()
    label = head.surface.parts.numpy().copy()
    skin = label == part["skin"]
    middle = head.template.numpy()[faces].mean(1)
    joint = head.weights.numpy()[faces].mean(1)
    landmarks = head.landmarks(head.template[None])[0].numpy()
    # Hair grows above the hairline, behind the temples, and behind the ears down to the nape; metres from the eyes.
    x, y, z = middle.T
    ears = (np.abs(x) > 0.066) & (y > -0.05) & (y < 0.02) & (z > -0.105)
    hairline = (y > 0.062) | ((y > 0) & (z < -0.062 - 0.35 * np.clip(0.062 - y, 0, 0.1))) | ((y > -0.075) & (z < -0.11))
    label[skin & hairline & ~ears] = part["scalp"]
    below_chin = (y < landmarks[CHIN, 1] - 0.005) | ((y < -0.085) & (z < -0.11))
    label[skin & below_chin & (joint[:, JOINTS.index("jaw")] < 0.5)] = part["neck"]
    label[skin & (joint[:, JOINTS.index("root")] > 0.5)] = part["bust"]
    for outline, name in ((LEFT_LIDS, "eyelids"), (RIGHT_LIDS, "eyelids"), (LIPS, "lips")):
        label[skin & inside_outline(middle, landmarks[list(outline)])] = part[name]
    return label
