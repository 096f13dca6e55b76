"""Head models behind one door."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zero1toa.types import InputError

if TYPE_CHECKING:
    from zero1toa.head.base import HeadModel


def load_head(name: str = "anny") -> HeadModel:
    """Load a head model by name: `anny`, the downloaded `gnm`, or `flame:PATH` with the path of the user's own FLAME file.

    Raises InputError with what to do when the name is unknown or the file is missing or of the wrong kind.
    """
    kind, _, path = name.partition(":")
    match kind:
        case "anny":
            from zero1toa.head.anny import load_anny

            return load_anny()
        case "flame":
            from zero1toa.head.flame import load_flame

            return load_flame(path)
        case "gnm":
            from zero1toa.head.gnm import load_gnm

            return load_gnm()
        case _:
            raise InputError(f"no head model is called {name!r}: use anny, gnm, or flame:PATH with your own FLAME file")
