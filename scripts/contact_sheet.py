"""Draw a contact sheet of saved avatars or photos: portrait, front, both sides, smile, open jaw, blink, brows.

    python -m scripts.contact_sheet AVATAR_OR_PHOTO... -o sheet.png [--preset preview] [--prior auto] [--keep FOLDER]

Photos become avatars first, which takes a preset's time each; `--keep` saves these avatars.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from pathlib import Path

from zero1toa.cli import main as zero1toa
from zero1toa.evaluation.contact_sheet import contact_sheet
from zero1toa.export.package import load_avatar
from zero1toa.export.views import Viewer
from zero1toa.media import write_image
from zero1toa.provenance import Provenance
from zero1toa.types import InputError


def main() -> int:
    """Make what must be made, and draw all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("inputs", nargs="+", type=Path, metavar="AVATAR_OR_PHOTO")
    parser.add_argument("-o", "--output", type=Path, default=Path("contact_sheet.png"))
    parser.add_argument("--preset", default="preview", help="how photos become avatars")
    parser.add_argument("--prior", default="auto", help="the prior with which they do")
    parser.add_argument("--size", type=int, default=256, help="pixels of each picture")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="save the avatars of photos here")
    parser.add_argument("--i-have-consent", action="store_true", help="confirm that the people shown agreed; remembered")
    options = parser.parse_args()
    agreed = ["--i-have-consent"] if options.i_have_consent else []
    logging.basicConfig(level=logging.WARNING)
    with tempfile.TemporaryDirectory() as temporary:
        rows = []
        for path in options.inputs:
            folder = path
            if not path.is_dir():
                folder = (options.keep or Path(temporary)) / path.stem
                words = ["create", str(path), "-o", str(folder), "--preset", options.preset, "--prior", options.prior, *agreed]
                if not folder.is_dir() and zero1toa(words):
                    continue
            try:
                rows.append((path.stem, Viewer.of(load_avatar(folder))))
            except InputError as error:
                print(f"error: {error}", file=sys.stderr)
        if not rows:
            return 2
        made = Provenance(settings=f"avatars below each other: {len(rows)}")
        write_image(options.output, contact_sheet(rows, size=options.size), provenance=made)
    print(f"the sheet is in {options.output}")
    return 0 if len(rows) == len(options.inputs) else 2


if __name__ == "__main__":
    sys.exit(main())
