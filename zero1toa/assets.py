"""Weights by name, and where files live that are not in the package; the only file that touches the network.

Everything is kept in one folder, which `ZERO1TOA_CACHE` moves. Published weights lie under it in `weights/OWNER/NAME` as they
do in their repository, whoever put them there; `fetch` downloads them from huggingface.co.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from zero1toa.types import PriorError


@dataclass(frozen=True, slots=True)
class Asset:
    """One file of a public repository. `size` is in bytes, rounded where `sha256` is not known either."""

    repo: str
    path: str
    size: int
    sha256: str = ""
    revision: str = "main"

    @property
    def place(self) -> Path:
        """Where it lies once it is here."""
        return weights_path(self.repo, self.path)


@dataclass(frozen=True, slots=True)
class Weights:
    """What a prior needs: files, who may use them for what, and GPU memory in GB (`memory_note` says how it is known)."""

    name: str
    files: tuple[Asset, ...] = ()
    licence: str = "none needed"
    memory_gb: float = 0.0
    memory_note: str = ""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


AUTOENCODER = (
    Asset("stabilityai/sd-vae-ft-mse", "config.json", 547,
          "92d3dfb746fca211a2c9e019e285f8597412211728dce3c5bcf4eda0f2d62e7e", "31f26fdeee1355a5c34592e401dd41e45d25a493"),
    Asset("stabilityai/sd-vae-ft-mse", "diffusion_pytorch_model.safetensors", 334_643_276,
          "a1d993488569e928462932c8c38a0760b874d166399b14414135bd9c42df5815", "31f26fdeee1355a5c34592e401dd41e45d25a493"),
)  # fmt: skip
CLIP_IMAGE_ENCODER = (
    Asset("lambdalabs/sd-image-variations-diffusers", "image_encoder/config.json", 700),
    Asset("lambdalabs/sd-image-variations-diffusers", "image_encoder/pytorch_model.bin", 1_215_993_967,
          "89d2aa29b5fdf64f3ad4f45fb4227ea98bc45156bbae673b85be1af7783dbabb"),
)  # fmt: skip
TABLE = (
    Weights("projection"),
    Weights(
        "aniportrait",
        (
            Asset("ZJYang/AniPortrait", "denoising_unet.pth", 3_440_000_000),
            Asset("ZJYang/AniPortrait", "motion_module.pth", 1_820_000_000),
            Asset("ZJYang/AniPortrait", "reference_unet.pth", 3_440_000_000),
            Asset("ZJYang/AniPortrait", "pose_guider.pth", 670_000_000),
            *AUTOENCODER,
            *CLIP_IMAGE_ENCODER,
        ),
        licence="AniPortrait Apache-2.0 by its model card, made from Stable Diffusion 1.5 (CreativeML OpenRAIL-M, with its "
        "list of forbidden uses); autoencoder MIT; image encoder CreativeML OpenRAIL-M",
        memory_gb=10.0,
        memory_note="its author's figure; not measured with this program",
    ),
    Weights(
        "echomimic",
        (
            Asset("BadToBest/EchoMimic", "denoising_unet_pose_acc.pth", 3_400_000_000),
            Asset("BadToBest/EchoMimic", "motion_module_pose_acc.pth", 1_820_000_000),
            Asset("BadToBest/EchoMimic", "reference_unet_pose.pth", 3_260_000_000),
            Asset("BadToBest/EchoMimic", "face_locator_pose.pth", 4_350_000),
            *AUTOENCODER,
        ),
        licence="EchoMimic Apache-2.0, its README adds that it is meant for academic research; made from Stable Diffusion, "
        "CreativeML OpenRAIL-M, with its list of forbidden uses; autoencoder MIT",
        memory_gb=10.0,
        memory_note="taken to be that of aniportrait, whose networks are as large; not measured",
    ),
)


def cache_folder() -> Path:
    """Give the folder for everything that can be made again; `ZERO1TOA_CACHE` moves it."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "zero1toa"
    folder = Path(os.environ.get("ZERO1TOA_CACHE") or default)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def weights_path(repo: str, path: str = "") -> Path:
    """Give where a repository, or a file of it, lies in the cache; it need not be there."""
    return cache_folder() / "weights" / repo / path


def weights(name: str) -> Weights:
    """Look a prior up in the table. Raises PriorError with the names there are when it is unknown."""
    for entry in TABLE:
        if entry.name == name:
            return entry
    raise PriorError(f"no video prior is called {name!r}: use {', '.join(entry.name for entry in TABLE)}")


def missing(name: str) -> tuple[Asset, ...]:
    """List the files of a prior that are not on this machine."""
    return tuple(file for file in weights(name).files if not file.place.is_file())


def require(name: str) -> None:
    """Raise PriorError, with the command that fetches them, unless a prior's weights are on this machine."""
    lacking = missing(name)
    if lacking:
        size = sum(file.size for file in lacking) / 1e9
        raise PriorError(
            f"the weights of the prior {name} are not on this machine ({len(lacking)} files, {size:.1f} GB): fetch them with "
            f"`zero1toa fetch {name}`, or use --prior projection, which needs none"
        )


def fetch(name: str) -> Iterator[tuple[Asset, bool]]:
    """Download what is missing of a prior, telling of each file before and after; what broke off is gone on with.

    A file takes its place only when its content is what the table says or, where that does not know, its repository.
    Raises PriorError for any other content, which is deleted, and when the network fails.
    """
    for file in missing(name):
        yield file, False
        _download(file)
        yield file, True


def _download(file: Asset) -> None:
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.file_download import http_get

    try:
        published = get_hf_file_metadata(hf_hub_url(file.repo, file.path, revision=file.revision))
        etag = published.etag or "unknown"
        # Named after the content, so that the rest of another version is never put behind it.
        partial = file.place.with_name(f"{file.place.name}.{etag[:16]}.partial")
        partial.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("ab") as stream:
            http_get(published.location, stream, resume_size=stream.tell(), expected_size=published.size)
    except Exception as error:  # whatever the transport of the day raises
        raise PriorError(
            f"{file.path} of {file.repo} could not be downloaded ({type(error).__name__}): check the connection and run the "
            "command again; what has arrived is kept"
        ) from error
    # Only large files are published with their SHA-256.
    expected = file.sha256 or (etag if len(etag) == 64 else "")
    if expected and _sha256(partial) != expected:
        partial.unlink()
        raise PriorError(f"{file.path} of {file.repo} is not the file it should be and was deleted: try again later")
    partial.replace(file.place)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
