"""Put the app on a Hugging Face Space: `python -m scripts.push_to_space OWNER/NAME [--dry-run]`.

Uploads what the app needs of the committed files, in one commit, and removes from the Space what is no longer there;
`--dry-run` prints every file and changes nothing. The account is the one of `hf auth login`. For shared GPUs add
`--hardware zero-a10g`, which works only with the default `--sdk gradio`; `--sdk docker` has the Space build the Dockerfile.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from zero1toa.types import InputError

ROOT = Path(__file__).parent.parent
KEPT = ("LICENSE", "README.md", "app.py", "docs/", "examples/", "packages.txt", "requirements.txt", "zero1toa/")
# Shared GPUs know torch 2.8 to 2.11 (August 2026), and pip would take the newest of ours.
OUR_TORCH, THEIR_TORCH = "torch>=2.8,<=2.13.0\n", "torch>=2.8,<2.12\n"
# What a Space keeps for itself.
THEIRS = (".gitattributes",)


@dataclass(frozen=True, slots=True)
class Upload:
    """A file of the Space."""

    path: str
    content: bytes


def main(arguments: Sequence[str] | None = None) -> int:
    """Upload, or print what would be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("space", metavar="OWNER/NAME")
    parser.add_argument("--sdk", choices=("gradio", "docker"), default="gradio")
    parser.add_argument("--hardware", help="of a Space that is new, such as zero-a10g; the free CPU if left out")
    parser.add_argument("--private", action="store_true", help="of a Space that is new")
    parser.add_argument("--dry-run", action="store_true", help="print what would be uploaded, and ask nobody")
    options = parser.parse_args(arguments)
    try:
        files = list_uploads(options.sdk, ROOT)
        for file in files:
            print(f"{len(file.content):>12,}  {file.path}")
        print(f"{sum(len(file.content) for file in files):>12,}  bytes in {len(files)} files")
        if not options.dry_run:
            print(push(options.space, files, sdk=options.sdk, hardware=options.hardware, private=options.private))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def list_uploads(sdk: str, root: Path) -> list[Upload]:
    """Give every file of the Space; raises InputError unless all of them are committed."""
    if changed := _git(root, "status", "--porcelain", "--untracked-files=no"):
        raise InputError(f"these files have changes that are not committed: commit or undo them first\n{chr(10).join(changed)}")
    kept = KEPT + (("Dockerfile", ".dockerignore") if sdk == "docker" else ())
    names = [
        name for name in _git(root, "ls-files") if any(name == one or (one[-1] == "/" and name.startswith(one)) for one in kept)
    ]
    return [Upload(name, _content(root / name, name, sdk)) for name in names]


def push(space: str, files: Sequence[Upload], *, sdk: str, hardware: str | None, private: bool) -> str:
    """Make the Space if there is none, put the files there in one commit, and give its address."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, SpaceHardware
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError
    from huggingface_hub.utils import HFValidationError

    try:
        machine = SpaceHardware(hardware) if hardware else None
    except ValueError as error:
        raise InputError(f"no hardware is called {hardware!r}: use one of {', '.join(SpaceHardware)}") from error
    api = HfApi()
    wanted = {file.path for file in files}
    try:
        made = api.create_repo(
            space, repo_type="space", space_sdk=sdk, space_hardware=machine, private=private or None, exist_ok=True,
        )  # fmt: skip
        old = set(api.list_repo_files(space, repo_type="space")) - wanted - set(THEIRS)
        operations = [
            *(CommitOperationAdd(file.path, file.content) for file in files),
            *(CommitOperationDelete(path) for path in sorted(old)),
        ]
        api.create_commit(space, operations, repo_type="space", commit_message="The app as it is now")
    except LocalTokenNotFoundError as error:
        raise InputError("no account is known here: run `hf auth login` with a token that may write") from error
    except (HfHubHTTPError, HFValidationError) as error:
        raise InputError(f"the Space {space} cannot be written: {error}") from error
    return str(made)


def _content(path: Path, name: str, sdk: str) -> bytes:
    """Give what a file is on the Space, which is what it is here but for two."""
    content = path.read_bytes()
    if name == "requirements.txt" and sdk == "gradio":
        return _replaced(content.decode(), OUR_TORCH, THEIR_TORCH, name).encode()
    if name == "README.md" and sdk == "docker":
        text = re.sub(r"(?m)^(sdk_version|python_version|app_file): .*\n", "", content.decode())
        return _replaced(text, "sdk: gradio\n", "sdk: docker\napp_port: 7860\n", name).encode()
    return content


def _replaced(text: str, old: str, new: str, name: str) -> str:
    if text.count(old) != 1:
        raise InputError(f"{name} has no line {old.strip()!r} any more: tell scripts/push_to_space.py what is there instead")
    return text.replace(old, new)


def _git(root: Path, *words: str) -> list[str]:
    """Run git and give the lines it prints; raises InputError outside of a clone."""
    try:
        told = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise InputError(f"{root} is no git clone: clone the repository and run the script there") from error
    return told.stdout.splitlines()


if __name__ == "__main__":
    sys.exit(main())
