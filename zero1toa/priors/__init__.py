"""Video priors behind one door."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zero1toa.types import PriorError

if TYPE_CHECKING:
    from zero1toa.priors.base import VideoPrior


def load_prior(name: str = "projection") -> VideoPrior:
    """Load a video prior by name. Raises PriorError with the names there are when it is unknown."""
    match name:
        case "projection":
            from zero1toa.priors.projection import ProjectionPrior

            return ProjectionPrior()
        case _:
            raise PriorError(f"no video prior is called {name!r}: use projection")
