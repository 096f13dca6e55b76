"""A photo becomes an avatar: python -m examples.01_create [PHOTO]"""

import sys
from pathlib import Path

from skimage.data import astronaut

from zero1toa import create_avatar, preset, save_avatar

photo = Path(sys.argv[1]) if len(sys.argv) > 1 else astronaut()
config = preset("preview")
portrait = avatar = None
for event in create_avatar(photo, config):
    if event.message:
        print(f"{event.elapsed_s:5.1f} s  {event.stage:<12} {event.message}")
    portrait, avatar = event.portrait or portrait, event.avatar or avatar
assert portrait is not None
assert avatar is not None
print("strongest expressions:", portrait.report.expressions)
print("saved in", save_avatar("out/avatar", avatar, portrait, config, force=True))
