"""Checkpoints: a folder that is either complete or not there, so that a run survives being killed at any moment."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from zero1toa.avatar.density import DensityControl
from zero1toa.avatar.rigged import PARAMETERS, Avatar
from zero1toa.symgen.dataset import ClipDataset
from zero1toa.types import InputError

FORMAT = 1


@dataclass(slots=True)
class TrainingState:
    """All that changes during a run; the rest follows from the portrait and the config."""

    avatar: Avatar
    optimizer: torch.optim.Optimizer
    density: DensityControl
    dataset: ClipDataset
    generator: torch.Generator
    iteration: int = 0
    elapsed_s: float = 0.0


def save_checkpoint(folder: Path, state: TrainingState, *, settings: str) -> Path:
    """Write a checkpoint into `folder` and then remove the one before; `settings` says which run it belongs to.

    Until the new folder has its final name, the old one is untouched.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    previous = latest_checkpoint(folder)
    for leftover in folder.glob(".partial-*"):
        shutil.rmtree(leftover)
    partial = folder / f".partial-{os.getpid()}"
    # Only clips of this very run may be linked: other settings give other frames under the same names.
    kin = previous is not None and _read_json(previous).get("settings") == settings
    state.dataset.save(partial / "clips", previous=previous / "clips" if kin and previous is not None else None)
    save_file(_tensors(state), partial / "state.safetensors")
    record = {"format": FORMAT, "settings": settings, "iteration": state.iteration, "elapsed_s": state.elapsed_s}
    (partial / "state.json").write_text(json.dumps(record))
    for path in partial.rglob("*"):
        if path.is_file():
            _flush(path)
    number = 1 + max((_number(path) for path in folder.glob("checkpoint-*")), default=0)
    final = folder / f"checkpoint-{number:06d}"
    partial.rename(final)
    for old in folder.glob("checkpoint-*"):
        if old != final:
            shutil.rmtree(old)
    return final


def latest_checkpoint(folder: Path) -> Path | None:
    """Give the newest complete checkpoint of a folder, if there is one."""
    return max(folder.glob("checkpoint-*"), key=_number, default=None)


def load_checkpoint(checkpoint: Path, state: TrainingState, *, settings: str) -> None:
    """Turn `state` into what it was when the checkpoint was written.

    Raises InputError if the checkpoint is damaged or belongs to a run with another portrait or other settings.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        record = _read_json(checkpoint)
        if record["format"] != FORMAT:
            raise InputError(f"{checkpoint} is of another version of this program: start again in a new folder")
        if record["settings"] != settings:
            raise InputError(
                f"{checkpoint} belongs to a run with {_difference(record['settings'], settings)}: "
                "resume with the same portrait and settings, or start again in a new folder"
            )
        tensors = load_file(checkpoint / "state.safetensors")
        state.dataset.load(checkpoint / "clips")
        _restore(state, tensors)
    except (OSError, KeyError, json.JSONDecodeError, SafetensorError) as error:
        raise InputError(f"{checkpoint} is damaged ({error}): remove it and start again") from error
    state.iteration, state.elapsed_s = record["iteration"], record["elapsed_s"]


def _tensors(state: TrainingState) -> dict[str, Tensor]:
    """Name every tensor of a run: avatar/, optimizer/<parameter>/, density/ and the random numbers."""
    tensors = {f"avatar/{name}": tensor for name, tensor in state.avatar.state_arrays().items()}
    for name in PARAMETERS:
        moments = state.optimizer.state.get(getattr(state.avatar, name), {})
        tensors |= {f"optimizer/{name}/{key}": value for key, value in moments.items()}
    tensors |= {"density/pull": state.density.pull, "density/seen": state.density.seen}
    tensors["generator"] = state.generator.get_state()
    return {name: tensor.detach().contiguous() for name, tensor in tensors.items()}


def _restore(state: TrainingState, tensors: dict[str, Tensor]) -> None:
    """Put tensors back where `_tensors` found them; the avatar object stays the one the caller holds."""
    avatar, optimizer = state.avatar, state.optimizer
    device = avatar.centre.device
    saved = {name: tensors[f"avatar/{name}"].to(device) for name in avatar.state_arrays()}
    again = Avatar.from_arrays(avatar.head, avatar.identity, saved)
    avatar.face, avatar.reach = again.face, again.reach
    optimizer.state.clear()
    for group in optimizer.param_groups:
        name = group["name"]
        parameter = nn.Parameter(getattr(again, name).detach())
        setattr(avatar, name, parameter)
        group["params"] = [parameter]
        prefix = f"optimizer/{name}/"
        moments = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        if moments:
            # Adam counts its steps on the CPU.
            optimizer.state[parameter] = {k: v if k == "step" else v.to(device) for k, v in moments.items()}
    state.density.pull, state.density.seen = tensors["density/pull"].to(device), tensors["density/seen"].to(device)
    state.generator.set_state(tensors["generator"])


def _read_json(checkpoint: Path) -> dict:
    return json.loads((checkpoint / "state.json").read_text())


def _difference(theirs: str, ours: str) -> str:
    """Name the first setting that differs, for people."""
    a, b = json.loads(theirs), json.loads(ours)
    for name in {**a, **b}:
        if a.get(name) != b.get(name):
            return f"{name} = {a.get(name)} instead of {b.get(name)}"
    return "other settings"


def _number(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("checkpoint-"))


def _flush(path: Path) -> None:
    """Make sure a file has reached the disk before its folder gets its name: laptops lose power."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        pass  # some file systems cannot; a kill is still survived, only a power cut is not
    finally:
        os.close(handle)
