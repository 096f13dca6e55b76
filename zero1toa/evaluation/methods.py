"""What the paper compares (Zero-1-to-A, table 2): the same prior and number of steps, one idea less at a time.

Beside these stands what there is before the first step, which says how much there is for methods to differ in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from zero1toa.config import Config
from zero1toa.types import InputError


@dataclass(frozen=True, slots=True)
class Method:
    """One way to make an avatar: what it changes in the settings of the full method."""

    name: str
    title: str
    change: Callable[[Config], Config]


def _curriculum(**changes: Any) -> Callable[[Config], Config]:
    def change(config: Config) -> Config:
        return replace(config, trainer=replace(config.trainer, curriculum=replace(config.trainer.curriculum, **changes)))

    return change


def _once(config: Config) -> Config:
    """Generate every clip once, from noise, before anything has been learnt from."""
    changed = _curriculum(progressive=False, update_every=max(1, config.trainer.curriculum.iterations))(config)
    return replace(changed, trainer=replace(changed.trainer, strength=1.0))


METHODS = (
    Method("full", "full", lambda config: config),
    Method("projection", "full, projection", lambda config: replace(config, prior="projection")),
    Method("unordered", "without progressive learning", _curriculum(progressive=False)),
    Method("no-spatial", "without the spatial stage", _curriculum(spatial_clips=0, relaxed_from=0)),
    Method("no-temporal", "without the temporal stage", _curriculum(relaxed_clips=0, exaggerated_clips=0)),
    Method("once", "one-time dataset", _once),
    Method("seed", "first splats alone", _curriculum(iterations=0)),
    Method("sds", "score distillation", lambda config: replace(config, trainer=replace(config.trainer, distill=True))),
)


# Score distillation needs a prior that judges in one step, which only `embedded` does.
USUAL = tuple(method for method in METHODS if method.name != "sds")


def methods_named(names: Sequence[str]) -> tuple[Method, ...]:
    """Choose methods by name, the usual ones for none; raises InputError with the names there are."""
    known = {method.name: method for method in METHODS}
    for name in names:
        if name not in known:
            raise InputError(f"no method is called {name!r}: use some of {', '.join(known)}")
    return tuple(known[name] for name in names) or USUAL
