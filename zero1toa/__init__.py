"""Zero-1-to-A: one portrait photo becomes an animatable 3D-Gaussian head.

The public names are loaded when they are first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zero1toa.avatar.rigged import Avatar
    from zero1toa.config import PRESETS, Config, preset
    from zero1toa.export.package import SavedAvatar, load_avatar, save_avatar
    from zero1toa.export.ply import write_ply
    from zero1toa.export.views import Viewer
    from zero1toa.pipeline import create_avatar
    from zero1toa.render import rasterize
    from zero1toa.symgen.events import Event
    from zero1toa.types import InputError

__version__ = "0.1.0"

__all__ = [
    "PRESETS",
    "Avatar",
    "Config",
    "Event",
    "InputError",
    "SavedAvatar",
    "Viewer",
    "create_avatar",
    "load_avatar",
    "preset",
    "rasterize",
    "save_avatar",
    "write_ply",
]

_ROOMS = {
    "PRESETS": "config",
    "Avatar": "avatar.rigged",
    "Config": "config",
    "Event": "symgen.events",
    "InputError": "types",
    "SavedAvatar": "export.package",
    "Viewer": "export.views",
    "create_avatar": "pipeline",
    "load_avatar": "export.package",
    "preset": "config",
    "rasterize": "render",
    "save_avatar": "export.package",
    "write_ply": "export.ply",
}


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_ROOMS[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_ROOMS])
