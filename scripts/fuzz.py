"""Hunt for files that a reader does not withstand, guided by what of it they reach: python -m scripts.fuzz READER [options]

READER is one of those in tests/readers.py, such as glb, motion, avatar, png, mp4 or flame. Needs `pip install atheris`, whose
options (libFuzzer's) follow, such as -max_total_time=600. What it finds belongs into tests/data/naughty, with a line each.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["zero1toa"]):
    from tests.readers import write_valid_files
    from zero1toa.types import InputError


def main() -> None:
    """Feed the reader until something breaks or the time is over."""
    place = Path(tempfile.mkdtemp(prefix="fuzz-"))
    readers = {reader.name: reader for reader in write_valid_files(place / "valid")}
    if len(sys.argv) < 2 or sys.argv[1] not in readers:
        sys.exit(f"say which reader: {', '.join(readers)}")
    reader = readers[sys.argv.pop(1)]
    logging.disable(logging.CRITICAL)
    # Of a folder, the file that says what the others are is the one to spoil.
    victim = reader.valid / reader.spoilt[0] if reader.spoilt[0] else reader.valid
    seeds = place / "seeds"
    seeds.mkdir()
    (seeds / "valid").write_bytes(victim.read_bytes())

    def try_one(data: bytes) -> None:
        victim.write_bytes(data)
        with contextlib.suppress(InputError):
            reader.read(reader.valid)

    atheris.Setup([sys.argv[0], str(seeds), *sys.argv[1:]], try_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
