"""Every setting of a config as a flat list with help and range; flags and the app's Advanced panel come from it."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from zero1toa.config import Config
from zero1toa.symgen.curriculum import CurriculumConfig
from zero1toa.types import InputError

# These have flags of their own, or follow from others: a schedule is scaled as a whole by `with_iterations`.
APART = ("preset", "head", "prior", "device", "trainer.seed", "portrait.face", "trainer.curriculum.iterations")


@dataclass(frozen=True, slots=True)
class Setting:
    """One number, switch or word of a config. `path` is its place, such as `trainer.losses.l1`."""

    path: str
    kind: type
    help: str
    range: tuple[float, float] | None
    default: Any

    @property
    def flag(self) -> str:
        """The name of its command-line flag: the path without the rooms that would only make it longer."""
        parts = [part for part in self.path.split(".") if part not in ("seed", "trainer", "curriculum")]
        return "--" + "-".join(parts).replace("_", "-")


def list_settings(config: Config | None = None) -> list[Setting]:
    """List the settings that have a help text, with their values in `config` as defaults."""
    return [setting for setting in _walk(config or Config(), "") if setting.path not in APART]


def with_settings(config: Config, values: Mapping[str, Any]) -> Config:
    """Change settings by path; raises InputError for unknown paths and for values outside their range."""
    known = {setting.path: setting for setting in _walk(config, "")}
    for path, value in values.items():
        if path not in known:
            raise InputError(f"no setting is called {path!r}: `create --help-all` lists them")
        setting = known[path]
        # Without a range of its own a number is a length, a rate or a count.
        if setting.kind in (int, float) and not (math.isfinite(value) and value >= 0):
            raise InputError(f"{setting.flag} {value} is out of range: use a number from 0 on ({setting.help})")
        if setting.range and not setting.range[0] <= value <= setting.range[1]:
            low, high = setting.range
            raise InputError(f"{setting.flag} {value} is out of range: use {low:g} to {high:g} ({setting.help})")
        config = _replaced(config, path.split("."), value)
    return config


def with_iterations(config: Config, iterations: int) -> Config:
    """Give the paper's schedule scaled to so many iterations, whatever schedule the preset had."""
    if not 0 <= iterations <= 100_000:
        raise InputError(f"--iterations {iterations} is out of range: use 0 to 100000")
    before = config.trainer.curriculum
    paper = CurriculumConfig()
    schedule = replace(paper, frames=before.frames, fps=before.fps).scaled(iterations / paper.iterations)
    return replace(config, trainer=replace(config.trainer, curriculum=replace(schedule, iterations=iterations)))


def _walk(config: Any, prefix: str) -> list[Setting]:
    hints = typing.get_type_hints(type(config))
    found = []
    for part in fields(config):
        value, path = getattr(config, part.name), f"{prefix}{part.name}"
        if is_dataclass(value):
            found += _walk(value, f"{path}.")
        elif "help" in part.metadata:
            found.append(Setting(path, _kind(hints[part.name]), part.metadata["help"], part.metadata.get("range"), value))
    return found


def _kind(hint: Any) -> type:
    """Take the one type out of `int` or `int | None`."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return next(kind for kind in typing.get_args(hint) if kind is not type(None))
    return hint


def _replaced(config: Any, path: list[str], value: Any) -> Any:
    name, *rest = path
    return replace(config, **{name: _replaced(getattr(config, name), rest, value) if rest else value})
