"""Kill the program again and again and see that nothing is lost: python -m scripts.kill PHOTO

Each time `create`, `batch` or `export` is started, killed (SIGKILL) at a random moment, and started again, until it ends by
itself. Then the avatar must be, to the last bit, the one of a run that nobody disturbed, and a file that was there before must
still be whole. Prints a line for every kill, and exits with 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# A run that goes through all stages in seconds, and saves after every iteration.
SMALL = (
    "--iterations", "40", "--splats", "3200", "--size", "64", "--frames", "2", "--portrait-size", "192",
    "--density-rounds", "1", "--checkpoint-s", "0", "--prior", "projection", "--i-have-consent",
)  # fmt: skip
TENSORS = "avatar.safetensors"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path)
    for what, count in (("create", 30), ("batch", 10), ("export", 10)):
        parser.add_argument(f"--{what}", type=int, default=count, metavar="KILLS")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    chance, wrong = random.Random(asked.seed), 0
    with tempfile.TemporaryDirectory(prefix="kill-") as place:
        folder = Path(place)
        began = time.monotonic()
        whole = folder / "whole"
        run("create", str(asked.photo), "-o", str(whole), *SMALL)
        usual = time.monotonic() - began
        print(f"undisturbed: {usual:.1f} s")
        wrong += kill_create(asked.photo, whole, folder, asked.create, usual, chance)
        wrong += kill_batch(asked.photo, whole, folder, asked.batch, usual, chance)
        wrong += kill_export(whole, folder, asked.export, chance)
    print(f"{asked.create + asked.batch + asked.export} kills, {wrong} wrong")
    return 1 if wrong else 0


def kill_create(photo: Path, whole: Path, folder: Path, kills: int, usual: float, chance: random.Random) -> int:
    """Kill creations, some of them several times, and let them end."""
    wrong, left = 0, kills
    while left:
        made = folder / f"create-{left}"
        for _ in range(min(left, chance.randint(1, 3))):
            moment = killed("create", str(photo), "-o", str(made), *SMALL, "--resume", within=usual, chance=chance)
            print(f"create killed after {moment:.2f} s")
            left -= 1
        run("create", str(photo), "-o", str(made), *SMALL, *(() if finished(made) else ("--resume",)), ok=finished(made))
        wrong += told_wrong("the avatar is another one", same(made, whole))
        wrong += told_wrong(f"there are leftovers: {leftovers(made)}", not leftovers(made))
        shutil.rmtree(made)
    return wrong


def kill_batch(photo: Path, whole: Path, folder: Path, kills: int, usual: float, chance: random.Random) -> int:
    """Kill batches of two portraits, and let them end."""
    wrong, photos = 0, folder / "photos"
    photos.mkdir()
    for name in ("one", "two"):
        shutil.copy(photo, photos / f"{name}{photo.suffix}")
    for kill in range(kills):
        made = folder / f"batch-{kill}"
        moment = killed("batch", str(photos), str(made), *SMALL, within=2 * usual, chance=chance)
        print(f"batch killed after {moment:.2f} s")
        run("batch", str(photos), str(made), *SMALL)
        wrong += told_wrong("an avatar of the batch is another one", all(same(made / name, whole) for name in ("one", "two")))
        shutil.rmtree(made)
    return wrong


def kill_export(whole: Path, folder: Path, kills: int, chance: random.Random) -> int:
    """Kill exports over files that are there: each must be the old one or the new one, and whole."""
    wrong = 0
    kinds = ("glb", "ply", "html", "mp4")
    for kill in range(kills):
        kind = kinds[kill % len(kinds)]
        file = folder / f"export.{kind}"
        words = ("export", str(whole), "--to", kind, "-o", str(file), *(("--size", "64") if kind == "mp4" else ()))
        began = time.monotonic()
        run(*words)
        usual, before = time.monotonic() - began, file.read_bytes()
        moment = killed(*words, within=usual, chance=chance)
        print(f"export to {kind} killed after {moment:.2f} s")
        after = file.read_bytes()
        # The date of an export is in it, so a new one differs by a few bytes and not by its length.
        wrong += told_wrong(f"{file.name} is torn", after == before or abs(len(after) - len(before)) < 64)
        run(*words)
        wrong += told_wrong(f"there are leftovers: {leftovers(folder)}", not list(folder.glob(f".{file.name}*")))
    return wrong


def run(*words: str, ok: bool = False) -> None:
    """Run the program to its end; `ok` lets it refuse in a sentence."""
    done = subprocess.run([sys.executable, "-m", "zero1toa", *words], capture_output=True, text=True, check=False)
    if done.returncode and not (ok and done.returncode == 2 and "Traceback" not in done.stderr):
        sys.exit(f"{' '.join(words)} ended with {done.returncode}:\n{done.stderr}")


def killed(*words: str, within: float, chance: random.Random) -> float:
    """Start the program and kill it at a random moment; gives the moment."""
    moment = chance.uniform(0, within)
    process = subprocess.Popen(
        [sys.executable, "-m", "zero1toa", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        process.wait(moment)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
    return moment


def finished(made: Path) -> bool:
    """Say whether an avatar is there and no work is left."""
    return (made / "avatar.json").exists() and not (made / ".work").exists()


def same(made: Path, whole: Path) -> bool:
    """Compare avatars to the last bit; the stamp that binds a folder's files together differs."""
    from safetensors.torch import load_file

    digest = lambda path: {
        name: hashlib.sha256(tensor.numpy().tobytes()).hexdigest() for name, tensor in load_file(path / TENSORS).items()
    }
    return digest(made) == digest(whole)


def leftovers(folder: Path) -> list[str]:
    """List what a killed run left behind."""
    return [path.name for path in folder.iterdir() if path.name.startswith(".") or "partial" in path.name]


def told_wrong(what: str, right: bool) -> int:
    """Say what is wrong, if it is, and count it."""
    if not right:
        print(f"WRONG: {what}")
    return not right


if __name__ == "__main__":
    sys.exit(main())
