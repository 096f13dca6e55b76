"""A saved avatar: a folder that loads again on any machine that has the same head model.

    avatar.safetensors   the splats and the triangles they live on, the identity, and the portrait's pose and camera
    avatar.json          format, versions, head, seed, settings, fit report, notes, timings and counts
    portrait.png         the photo, cropped and matted, RGBA
    preview.png, ...     pictures for people: the photo's own view, both sides, and some faces
    provenance.json      that this is AI-generated, by what and when, and the sha256 of each of those files

A folder is complete or not there: everything is written beside it first, and `avatar.json` comes last.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from zero1toa import __version__
from zero1toa.avatar.rigged import Avatar
from zero1toa.export.claim import LOCK
from zero1toa.export.glb_read import read_glb
from zero1toa.export.saved import Details, SavedAvatar
from zero1toa.export.sidecar import write_sidecar
from zero1toa.export.views import Viewer
from zero1toa.head import load_head
from zero1toa.media import explain_writing, read_image, write_image
from zero1toa.types import AvatarError, Camera, FitReport, HeadState, Identity, InputError, Portrait

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from jaxtyping import UInt8

    from zero1toa.head.base import HeadModel

FORMAT = 1
TENSORS, RECORD, PORTRAIT, PREVIEW = "avatar.safetensors", "avatar.json", "portrait.png", "preview.png"
PREVIEW_SIZE = 384
# What the portrait says of itself: to call a photo AI-generated would be as wrong as the reverse.
PHOTO = {"Software": f"zero1toa {__version__}", "Comment": "a photo, cropped and cut out; an avatar was made of it"}
# What a run in progress keeps in the folder of the avatar-to-be.
WORK = ".work"
# Which files of the folder belong to the tensors: both carry the same number.
STAMP = "stamp"


# ------------------------------------------------------------------------------------------------------- saving


def save_avatar(
    folder: str | Path,
    avatar: Avatar,
    portrait: Portrait,
    config: DataclassInstance,
    *,
    timings: Mapping[str, float] | None = None,
    iteration: int | None = None,
    force: bool = False,
) -> Path:
    """Write an avatar into a new folder, all at once or not at all, and give the folder.

    `timings` are seconds by stage. `iteration` says where training was stopped; without it the avatar counts as
    finished. With `force` an avatar that is there is replaced; other files in the folder stay as they are.
    Raises InputError when the folder holds anything already (but for a run in progress) or cannot be written.
    """
    folder = Path(folder)
    check_output(folder, force=force)
    details = describe(avatar, config, timings=timings, iteration=iteration)
    stamp = uuid.uuid4().hex
    with _partial(folder) as partial, explain_writing(folder):
        _write_tensors(partial / TENSORS, avatar, portrait, stamp)
        write_image(partial / PORTRAIT, portrait_pixels(portrait), metadata=PHOTO)
        for name, picture in _previews(SavedAvatar(avatar, portrait, details)).items():
            write_image(partial / name, picture, provenance=details.provenance())
        text = json.dumps(_record(details, portrait, stamp), indent=1, ensure_ascii=False)
        (partial / RECORD).write_text(text + "\n", encoding="utf-8")
        write_sidecar(partial, list(partial.iterdir()), details.provenance())
        _commit(partial, folder)
    return folder


def check_output(folder: str | Path, *, force: bool = False, resume: bool = False) -> None:
    """Raise InputError unless an avatar may be written to `folder`: a new or an empty one, or any with `force`.

    With `resume`, an avatar that is not finished is no obstacle: the new one comes from it.
    """
    folder = Path(folder)
    if folder.is_dir():
        content = {path.name for path in folder.iterdir()} - {WORK, LOCK}
        if force or not content:
            return
        if RECORD not in content:
            raise InputError(f"the folder {folder} exists and holds other files: choose a new name for the avatar")
        if resume:
            with contextlib.suppress(AvatarError):
                if not read_details(folder).finished:
                    return
            raise InputError(f"the avatar in {folder} is finished: there is nothing to resume; --force makes it again")
        raise InputError(f"the folder {folder} holds an avatar: choose another name, or add --force to replace it")
    if folder.exists() or folder.is_symlink():
        raise InputError(f"{folder} is a file: choose another name for the avatar's folder")


def portrait_pixels(portrait: Portrait) -> UInt8[np.ndarray, "H W 4"]:
    """Give the cropped photo as RGBA bytes."""
    pixels = torch.cat([portrait.image, portrait.alpha[..., None]], -1)
    return (pixels.clamp(0, 1) * 255 + 0.5).byte().cpu().numpy()


def _previews(saved: SavedAvatar) -> dict[str, UInt8[np.ndarray, "H W 3"]]:
    viewer = Viewer.of(saved)
    front = viewer.front()
    return {
        PREVIEW: viewer.picture(size=PREVIEW_SIZE),
        "preview_left.png": viewer.picture(front + 45, size=PREVIEW_SIZE),
        "preview_right.png": viewer.picture(front - 45, size=PREVIEW_SIZE),
        "preview_smile.png": viewer.picture(expressions={"smile": 1.0}, size=PREVIEW_SIZE),
        "preview_open.png": viewer.picture(expressions={"jaw": 0.7}, size=PREVIEW_SIZE),
    }


@contextlib.contextmanager
def _partial(folder: Path) -> Iterator[Path]:
    """Lend a new folder on the same disk: inside `folder` if that exists, else beside it. It goes when we leave."""
    partial = folder / f".partial-{uuid.uuid4().hex[:8]}"
    if not folder.exists():
        partial = folder.absolute().parent / f".{folder.name[:80]}-{uuid.uuid4().hex[:8]}"
    try:
        with explain_writing(folder):
            partial.mkdir(parents=True)
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _commit(partial: Path, folder: Path) -> None:
    """Give what was written its final place; the record goes last, since it vouches for the rest."""
    for path in partial.iterdir():
        _flush(path)
    if not folder.exists():
        partial.rename(folder)
        return
    for path in sorted(partial.iterdir(), key=lambda path: path.name == RECORD):
        os.replace(path, folder / path.name)


def _flush(path: Path) -> None:
    """Make sure a file is on the disk before it replaces another."""
    with path.open("rb") as file, contextlib.suppress(OSError):
        os.fsync(file.fileno())


def _write_tensors(path: Path, avatar: Avatar, portrait: Portrait, stamp: str) -> None:
    from safetensors.torch import save

    tensors = {f"avatar/{name}": tensor for name, tensor in avatar.state_arrays().items()}
    tensors |= {f"identity/{name}": getattr(portrait.identity, name) for name in ("shape", "offsets")}
    tensors |= {f"state/{name}": getattr(portrait.state, name) for name in ("expression", "neck", "head", "eyes")}
    tensors |= {f"camera/{name}": getattr(portrait.camera, name) for name in ("viewmats", "intrinsics")}
    tensors["portrait/points"] = portrait.points
    # Clones: parts of one storage, such as frames cut from a longer state, cannot be written as they are.
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    # Through Python's own file, whose errors say what the system said; safetensors' hide it.
    path.write_bytes(save(tensors, metadata={"format": str(FORMAT), STAMP: stamp}))


def describe(
    avatar: Avatar, config: DataclassInstance, *, timings: Mapping[str, float] | None = None, iteration: int | None = None
) -> Details:
    """Say how an avatar was made, now; `timings` and `iteration` are as in `save_avatar`."""
    settings: Any = asdict(config)
    trainer = settings.get("trainer", {})
    iterations = int(trainer.get("curriculum", {}).get("iterations", 0))
    return Details(
        head=settings.get("head", avatar.head.name),
        splats=len(avatar),
        preset=settings.get("preset", ""),
        prior=settings.get("prior", ""),
        seed=int(trainer.get("seed", 0)),
        background=float(trainer.get("background", 0.5)),
        iteration=iterations if iteration is None else iteration,
        iterations=iterations,
        finished=iteration is None or iteration >= iterations > 0,
        timings=tuple((stage, round(seconds, 2)) for stage, seconds in (timings or {}).items()),
        config=settings,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def _record(details: Details, portrait: Portrait, stamp: str) -> dict[str, Any]:
    return {
        "format": FORMAT,
        STAMP: stamp,
        **asdict(details),
        "timings": dict(details.timings),
        "fit": {**asdict(portrait.report), "expressions": dict(portrait.report.expressions)},
        "crop": portrait.crop,
        "size": [portrait.camera.width, portrait.camera.height],
        "notes": portrait.notes,
    }


# ------------------------------------------------------------------------------------------------------ loading


def load_avatar(folder: str | Path, *, head: str | HeadModel | None = None) -> SavedAvatar:
    """Load a saved avatar; `head` replaces the head model it names, for a FLAME file that lies elsewhere here.

    An avatar that was exported as .glb loads, too, with what that holds: see `read_glb`. Raises AvatarError when the folder
    is missing, damaged or of a newer version, and InputError when the head model is not there.
    """
    folder = Path(folder)
    if folder.suffix.lower() == ".glb" and not folder.is_dir():
        if head is not None:
            raise InputError(f"{folder.name} brings its own head model: leave the other one out (--head)")
        return read_glb(folder)
    record = _read_record(folder)
    details = _read_details(record, folder)
    tensors = _read_tensors(folder, record)
    image, alpha = _read_portrait(folder)
    model = load_head(head or details.head) if head is None or isinstance(head, str) else head
    try:
        groups = {name: _group(tensors, name) for name in ("avatar", "identity", "state", "camera", "portrait")}
        identity, state = Identity(**groups["identity"]), HeadState(**groups["state"])
        camera = Camera(**groups["camera"], width=int(record["size"][0]), height=int(record["size"][1]))
        if identity.offsets.shape != model.neutral_identity().offsets.shape:
            raise AvatarError(f"this avatar was made with another build of the head model {details.head!r}: create it again")
        if state.expression.shape != (len(state.neck), len(model.expression_names)):
            raise KeyError("state/expression")
        portrait = Portrait(
            image=image,
            alpha=alpha,
            points=groups["portrait"]["points"],
            camera=camera,
            identity=identity,
            state=state,
            report=_read_report(record["fit"]),
            crop=tuple(record["crop"]),
            notes=tuple(record["notes"]),
        )
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        if isinstance(error, AvatarError):
            raise
        raise _damaged(folder, f"{RECORD} and {TENSORS} do not fit each other") from error
    avatar = Avatar.from_arrays(model, identity, groups["avatar"])
    return SavedAvatar(avatar, portrait, replace(details, splats=len(avatar)))


def read_details(folder: str | Path) -> Details:
    """Read only what is known about a saved avatar; raises AvatarError as `load_avatar` does."""
    folder = Path(folder)
    return _read_details(_read_record(folder), folder)


def _read_record(folder: Path) -> dict[str, Any]:
    if not folder.exists():
        raise AvatarError(f"there is no folder {folder}: check the name, or make the avatar with `create PHOTO -o {folder}`")
    if not folder.is_dir():
        raise AvatarError(f"{folder} is a file: give the folder of a saved avatar")
    path = folder / RECORD
    if not path.is_file():
        if (folder / WORK).is_dir():
            raise AvatarError(f"the avatar in {folder} is not finished: go on with `create PHOTO -o {folder} --resume`")
        raise AvatarError(f"{folder} holds no avatar ({RECORD} is missing): give the folder that `create` wrote")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AvatarError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise _damaged(folder, f"{RECORD} is not complete") from error
    if not isinstance(record, dict) or not isinstance(record.get("format"), int):
        raise _damaged(folder, f"{RECORD} is not that of an avatar")
    if record["format"] > FORMAT:
        made = record.get("version", "a newer version")
        raise AvatarError(f"the avatar in {folder} was saved by zero1toa {made}: update this program, which is {__version__}")
    return record


def _read_details(record: dict[str, Any], folder: Path) -> Details:
    names = [part.name for part in fields(Details)]
    try:
        values = {name: record[name] for name in names}
        values["timings"] = tuple((str(stage), float(seconds)) for stage, seconds in record["timings"].items())
        if not isinstance(values["head"], str):
            raise TypeError("head")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(folder, f"{RECORD} lacks {error}") from error
    return Details(**values)


def _read_report(fit: dict[str, Any]) -> FitReport:
    expressions = tuple((str(name), float(value)) for name, value in fit["expressions"].items())
    return FitReport(float(fit["rmse_px"]), float(fit["yaw"]), float(fit["pitch"]), float(fit["roll"]), expressions)


def _read_tensors(folder: Path, record: dict[str, Any]) -> dict[str, Tensor]:
    from safetensors import SafetensorError, safe_open

    path = folder / TENSORS
    if not path.is_file():
        raise _damaged(folder, f"{TENSORS} is missing")
    try:
        with safe_open(path, framework="pt") as file:
            stamp = (file.metadata() or {}).get(STAMP)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dict
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(folder, f"{TENSORS} is not complete") from error
    if stamp != record.get(STAMP):
        raise _damaged(folder, f"{TENSORS} and {RECORD} are of two different avatars")
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise _damaged(folder, f"{name} holds values that are not numbers")
    return tensors


def _read_portrait(folder: Path) -> tuple[Tensor, Tensor]:
    path = folder / PORTRAIT
    if not path.is_file():
        raise _damaged(folder, f"{PORTRAIT} is missing")
    try:
        pixels, alpha = read_image(path)
    except InputError as error:
        raise _damaged(folder, str(error)) from error
    image = torch.from_numpy(np.array(pixels)).float() / 255
    if alpha is None:
        return image, torch.ones(image.shape[:2])
    return image, torch.from_numpy(np.array(alpha)).float() / 255


def _group(tensors: dict[str, Tensor], name: str) -> dict[str, Any]:
    return {key.partition("/")[2]: value for key, value in tensors.items() if key.startswith(f"{name}/")}


def _damaged(folder: Path, reason: str) -> AvatarError:
    return AvatarError(f"the avatar in {folder} is damaged ({reason}): copy the folder again, or create the avatar again")
