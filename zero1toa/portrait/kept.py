"""Keep a portrait that was read, in one file of tensors, so that nobody has to look at the photo again."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from zero1toa.types import Camera, FitReport, HeadState, Identity, Portrait

_GROUPS = {"identity": Identity, "state": HeadState}


def save_portrait(file: Path, portrait: Portrait) -> None:
    """Write a portrait aside, then move it to its place."""
    tensors = {"image": portrait.image, "alpha": portrait.alpha, "points": portrait.points}
    tensors |= {"camera/viewmats": portrait.camera.viewmats, "camera/intrinsics": portrait.camera.intrinsics}
    for group, kind in _GROUPS.items():
        tensors |= {f"{group}/{entry.name}": getattr(getattr(portrait, group), entry.name) for entry in fields(kind)}
    camera = portrait.camera
    record = {
        "size": [camera.width, camera.height],
        "crop": portrait.crop,
        "notes": portrait.notes,
        "report": asdict(portrait.report),
    }
    aside = file.with_name(f".{file.name}")
    # A file has no tensors that share their memory.
    save_file(
        {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()},
        aside,
        {"record": json.dumps(record)},
    )
    aside.replace(file)


def load_portrait(file: Path) -> Portrait:
    """Read a portrait that `save_portrait` wrote."""
    with safe_open(file, "pt") as kept:
        record = json.loads(kept.metadata()["record"])
    tensors, report = load_file(file), record["report"]
    report["expressions"] = tuple((name, value) for name, value in report["expressions"])
    groups = {
        group: kind(**{entry.name: tensors[f"{group}/{entry.name}"] for entry in fields(kind)})
        for group, kind in _GROUPS.items()
    }
    return Portrait(
        image=tensors["image"],
        alpha=tensors["alpha"],
        points=tensors["points"],
        camera=Camera(tensors["camera/viewmats"], tensors["camera/intrinsics"], *record["size"]),
        report=FitReport(**report),
        crop=tuple(record["crop"]),
        notes=tuple(record["notes"]),
        **groups,
    )
