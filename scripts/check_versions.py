"""Check that the program suits every Python and torch it names: `python scripts/check_versions.py [--types-only]`.

For each pair pip resolves requirements.txt, of wheels alone and without installing anything, so what it needs is the network
and some minutes; then pyright reads the code as each Python would.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
PYTHONS = ("3.10", "3.11", "3.12")
# The oldest and the newest of ours, and the newest that shared GPUs know (August 2026).
TORCHES = ("2.8.0", "2.11.0", "2.13.0")
# Whose versions say most about what was chosen.
SHOWN = ("torch", "numpy", "numba", "gradio", "spaces", "huggingface_hub", "gsplat")


def main() -> int:
    """Check all, print a line for each, and give 1 if anything does not fit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--types-only", action="store_true", help="leave out pip, which needs the network")
    options = parser.parse_args()
    pairs = [] if options.types_only else [(python, torch) for python in PYTHONS for torch in TORCHES]
    # All checks are made even if an early one fails.
    fits = [resolves(*pair) for pair in pairs] + [types_agree(python) for python in PYTHONS]
    return 0 if all(fits) else 1


def resolves(python: str, torch: str) -> bool:
    """Say whether pip finds wheels of all requirements for a Python on Linux, with one release of torch."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [
            sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", str(report),
            "--python-version", python, "--only-binary=:all:", "--target", folder, "-r", "requirements.txt", f"torch=={torch}",
        ]  # fmt: skip
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            print(f"Python {python} with torch {torch}: does not fit\n{done.stderr}", flush=True)
            return False
        chosen = [one["metadata"] for one in json.loads(report.read_text())["install"]]
    versions = {one["name"].lower().replace("-", "_"): one["version"] for one in chosen}
    told = ", ".join(f"{name} {versions[name]}" for name in SHOWN)
    print(f"Python {python} with torch {torch}: {len(chosen)} packages, {told}", flush=True)
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
