"""Make the avatars of the app's gallery from the project's own portraits: `python -m scripts.make_gallery [NAME ...]`.

Each portrait `examples/NAME.jpg` becomes `examples/avatars/NAME.glb`, rounded as in an exported page, and a picture of it,
`NAME.webp`. The people in those portraits never were; `python -m scripts.make_examples` renders them.
"""

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import replace
from pathlib import Path

from PIL import Image

from zero1toa.avatar.seed import SeedConfig
from zero1toa.config import preset
from zero1toa.export.package import load_avatar, save_avatar
from zero1toa.export.views import Viewer
from zero1toa.export.web import light_glb
from zero1toa.pipeline import create_avatar, settle_prior

log = logging.getLogger("gallery")

EXAMPLES = Path(__file__).parent.parent / "examples"
SPLATS = 39_000  # fewer than the preset takes, for phones
TURN, THUMBNAIL = 18.0, 160  # degrees and pixels of the picture


def main() -> None:
    """Make those avatars that are asked for, or all."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = sorted(path.stem for path in EXAMPLES.glob("*.jpg"))
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)}; all if left out")
    parser.add_argument("--preset", default="standard")
    parser.add_argument("--work", type=Path, required=True, help="folder for the avatars as `create` saves them")
    options = parser.parse_args()
    for name in options.names or names:
        make(name, options.preset, options.work / name)


def make(name: str, quality: str, folder: Path) -> None:
    """Create one avatar and write what the gallery shows of it."""
    config, _ = settle_prior(replace(preset(quality), seed=SeedConfig(splats=SPLATS)))
    avatar = portrait = None
    for event in create_avatar(EXAMPLES / f"{name}.jpg", config):
        avatar, portrait = event.avatar or avatar, event.portrait or portrait
        if event.message:
            log.info("%s: %s", name, event.message)
    assert avatar is not None
    assert portrait is not None
    saved = load_avatar(save_avatar(folder, avatar, portrait, config, force=True))
    target = EXAMPLES / "avatars"
    target.mkdir(exist_ok=True)
    (target / f"{name}.glb").write_bytes(light_glb(saved))
    Image.fromarray(Viewer.of(saved).picture(TURN, size=THUMBNAIL)).save(
        target / f"{name}.webp", quality=82, xmp=saved.provenance().xmp().encode()
    )


if __name__ == "__main__":
    main()
