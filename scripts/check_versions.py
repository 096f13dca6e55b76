"""Check that the program suits every Python and torch it names: `python -m scripts.check_versions [--types-only]`.

For each pair uv resolves the requirements of the program and of its tests, of wheels alone and from what is said about them,
as pip would fetch gigabytes for the same answer; then pyright reads the code as each Python would.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PYTHONS = ("3.10", "3.11", "3.12")
# The oldest and the newest of ours, and the newest that shared GPUs know (August 2026).
TORCHES = ("2.8.0", "2.11.0", "2.13.0")
# Whose versions say most about what was chosen.
SHOWN = ("torch", "numpy", "numba", "gradio", "spaces", "huggingface-hub", "gsplat")
REQUIREMENTS = ("requirements.txt", "requirements-dev.txt")


def main() -> int:
    """Check all, print a line for each, and give 1 if anything does not fit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--types-only", action="store_true", help="leave out uv, which needs the network")
    options = parser.parse_args()
    pairs = [] if options.types_only else [(python, torch) for python in PYTHONS for torch in TORCHES]
    # All checks are made even if an early one fails.
    fits = [resolves(*pair) for pair in pairs] + [types_agree(python) for python in PYTHONS]
    return 0 if all(fits) else 1


def resolves(python: str, torch: str) -> bool:
    """Say whether there are wheels of all requirements for a Python on Linux, with one release of torch."""
    command = [
        "uv", "pip", "compile", *REQUIREMENTS, "--constraint", "-", "--python-version", python, "--python-platform",
        "x86_64-manylinux_2_28", "--only-binary", ":all:", "--no-header", "--no-annotate", "--quiet",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, input=f"torch=={torch}", capture_output=True, text=True)
    if done.returncode:
        print(f"Python {python} with torch {torch}: does not fit\n{done.stderr}", flush=True)
        return False
    versions = dict(line.split()[0].split("==") for line in done.stdout.splitlines())
    told = ", ".join(f"{name} {versions[name]}" for name in SHOWN)
    print(f"Python {python} with torch {torch}: {len(versions)} packages, {told}", flush=True)
    return True


def types_agree(python: str) -> bool:
    """Say whether pyright finds nothing to object to under a version of Python."""
    command = ["pyright", "--pythonversion", python, "--pythonpath", sys.executable]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    print(f"pyright for Python {python}: {(done.stdout or done.stderr).strip().splitlines()[-1]}", flush=True)
    if done.returncode:
        print(done.stdout)
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
