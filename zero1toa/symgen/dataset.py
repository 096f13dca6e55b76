"""The updatable data set of SymGEN: for every clip the frames last made for it, and how old they are."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

NEVER = -1


class ClipDataset:
    """Frames of clips, as uint8; those beyond the memory limit live in files.

    `updated` is the iteration at which a clip's frames were made (`NEVER` before that), and `unrolled` how many poses of its
    camera path were in use then: what a frame shows was fixed when it was made, not when it is looked at.
    """

    def __init__(self, clips: int, *, memory_mb: float = 512.0, spill: Path | None = None) -> None:
        self.updated = [NEVER] * clips
        self.unrolled = [0] * clips
        self._frames: list[np.ndarray | None] = [None] * clips
        self._room = int(memory_mb * 2**20)
        self._spill = spill
        self._own_spill: tempfile.TemporaryDirectory | None = None

    def __len__(self) -> int:
        return len(self.updated)

    def write(self, clip: int, frames: Float[Tensor, "T H W 3"], *, iteration: int, unrolled: int) -> None:
        """Replace the frames of a clip."""
        pixels = (frames.detach().clamp(0, 1) * 255 + 0.5).to(torch.uint8).cpu().numpy()
        self._store(clip, pixels)
        self.updated[clip], self.unrolled[clip] = iteration, unrolled

    def read(self, clip: int, frame: int) -> Float[Tensor, "H W 3"]:
        """Give one frame of a clip."""
        return torch.from_numpy(np.array(self.frames(clip)[frame])).float() / 255

    def frames(self, clip: int) -> UInt8[np.ndarray, "T H W 3"]:
        """Give all frames of a clip that has some."""
        frames = self._frames[clip]
        if frames is None:
            raise LookupError(f"clip {clip} has no frames yet")
        return frames

    def filled(self, clips: Iterable[int]) -> list[int]:
        """Choose the clips that have frames."""
        return [clip for clip in clips if self.updated[clip] != NEVER]

    def age(self, clip: int, iteration: int) -> int | None:
        """Give how many iterations ago a clip's frames were made; None if they never were."""
        return None if self.updated[clip] == NEVER else iteration - self.updated[clip]

    def stalest(self, clips: Iterable[int], count: int) -> list[int]:
        """Choose the clips that have waited longest; those without frames come first, then the order of the clips."""
        return sorted(clips, key=lambda clip: (self.updated[clip], clip))[:count]

    def save(self, folder: Path, *, previous: Path | None = None) -> None:
        """Write everything into a new folder, linking the clips that `previous` holds already.

        Most clips have not changed since the last checkpoint; a link costs nothing where copies would be hundreds of MB.
        """
        folder.mkdir(parents=True)
        for clip in self.filled(range(len(self))):
            name = self._file(clip)
            if previous is not None and (previous / name).exists():
                _link(previous / name, folder / name)
            else:
                np.save(folder / name, self.frames(clip), allow_pickle=False)
        state = {"updated": self.updated, "unrolled": self.unrolled}
        (folder / "dataset.json").write_text(json.dumps(state))

    def load(self, folder: Path) -> None:
        """Become the data set that was saved in a folder; raises ValueError if it held another number of clips."""
        state = json.loads((folder / "dataset.json").read_text())
        if len(state["updated"]) != len(self):
            raise ValueError(f"{folder} holds {len(state['updated'])} clips, not {len(self)}")
        self.updated, self.unrolled = state["updated"], state["unrolled"]
        for clip in self.filled(range(len(self))):
            self._store(clip, np.load(folder / self._file(clip), mmap_mode="r", allow_pickle=False))

    def _file(self, clip: int) -> str:
        # The iteration is part of the name, so that equal names mean equal frames.
        return f"{clip:03d}-{self.updated[clip]:06d}.npy"

    def _store(self, clip: int, pixels: UInt8[np.ndarray, "T H W 3"]) -> None:
        """Copy frames to where the clip lives: where it did before, in memory while there is room, else in a file."""
        held = self._frames[clip]
        if held is None or held.shape != pixels.shape:
            in_memory = pixels.nbytes <= self._room
            self._room -= pixels.nbytes if in_memory else 0
            held = np.empty_like(pixels) if in_memory else self._map(clip, pixels.shape)
            self._frames[clip] = held
        held[:] = pixels

    def _map(self, clip: int, shape: tuple[int, ...]) -> np.ndarray:
        if self._spill is None:
            self._own_spill = tempfile.TemporaryDirectory(prefix="zero1toa-", ignore_cleanup_errors=True)
            self._spill = Path(self._own_spill.name)
        self._spill.mkdir(parents=True, exist_ok=True)
        return np.lib.format.open_memmap(self._spill / f"{clip:03d}.npy", "w+", np.uint8, shape)


def _link(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
