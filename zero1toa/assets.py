"""Weights by name, and where files live that are not in the package; the only file that touches the network.

Everything is kept in one folder, which `ZERO1TOA_CACHE` moves. Published weights lie under it in `weights/OWNER/NAME` as they
do in their repository, whoever put them there; `fetch` downloads them from huggingface.co.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from zero1toa.types import PriorError

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Asset:
    """One file of a public repository. `size` is in bytes, rounded where `sha256` is not known either.

    A model in several files has an index that names them; `lists` is the size of these together.
    """

    repo: str
    path: str
    size: int
    sha256: str = ""
    revision: str = "main"
    lists: int = 0

    @property
    def place(self) -> Path:
        """Where it lies once it is here."""
        return weights_path(self.repo, self.path)

    def listed(self) -> tuple[Asset, ...]:
        """Give the files that this one names, once it is here. Raises PriorError when it is damaged."""
        if not self.lists or not self.place.is_file():
            return ()
        try:
            names = sorted(set(json.loads(self.place.read_text())["weight_map"].values()))
            if not names or any(Path(name).name != name for name in names):
                raise ValueError("names that are no files beside it")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise PriorError(f"{self.place} is damaged: delete it and fetch it again") from error
        folder = self.path.rpartition("/")[0]
        return tuple(
            Asset(self.repo, f"{folder}/{name}".lstrip("/"), self.lists // len(names), revision=self.revision) for name in names
        )


@dataclass(frozen=True, slots=True)
class Weights:
    """What a prior or a head needs: files, who may use them for what, and GPU memory in GB (`memory_note`: how it is known)."""

    name: str
    files: tuple[Asset, ...] = ()
    licence: str = "none needed"
    memory_gb: float = 0.0
    memory_note: str = ""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size + file.lists for file in self.files)


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
TAESD = (
    Asset("madebyollin/taesd", "config.json", 600),
    Asset("madebyollin/taesd", "diffusion_pytorch_model.safetensors", 9_790_000),
)
_BASE, _WAN = "stable-diffusion-v1-5/stable-diffusion-v1-5", "Wan-AI/Wan2.2-Animate-14B-Diffusers"
_VACE = "Wan-AI/Wan2.1-VACE-1.3B-diffusers"
TABLE = (
    Weights("projection"),
    Weights("embedded", licence="Apache-2.0, as this program"),
    Weights(
        "aniportrait",
        (
            Asset("ZJYang/AniPortrait", "denoising_unet.pth", 3_440_000_000),
            Asset("ZJYang/AniPortrait", "motion_module.pth", 1_820_000_000),
            Asset("ZJYang/AniPortrait", "reference_unet.pth", 3_440_000_000),
            Asset("ZJYang/AniPortrait", "pose_guider.pth", 670_000_000),
            *AUTOENCODER,
            *TAESD,
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
            *TAESD,
        ),
        licence="EchoMimic Apache-2.0, its README adds that it is meant for academic research; made from Stable Diffusion, "
        "CreativeML OpenRAIL-M, with its list of forbidden uses; autoencoder MIT",
        memory_gb=10.0,
        memory_note="taken to be that of aniportrait, whose networks are as large; not measured",
    ),
    Weights(
        "animatediff",
        (
            Asset(_BASE, "unet/config.json", 743),
            Asset(_BASE, "unet/diffusion_pytorch_model.fp16.safetensors", 1_719_000_000),
            Asset(_BASE, "text_encoder/config.json", 617),
            Asset(_BASE, "text_encoder/model.fp16.safetensors", 246_000_000),
            *(
                Asset(_BASE, f"tokenizer/{name}", size)
                for name, size in (
                    ("vocab.json", 1_060_000),
                    ("merges.txt", 525_000),
                    ("tokenizer_config.json", 806),
                    ("special_tokens_map.json", 472),
                )
            ),
            Asset("guoyww/animatediff-motion-adapter-v1-5-2", "config.json", 455),
            Asset("guoyww/animatediff-motion-adapter-v1-5-2", "diffusion_pytorch_model.fp16.safetensors", 1_820_000_000),
            Asset("CrucibleAI/ControlNetMediaPipeFace", "diffusion_sd15/config.json", 1_000),
            Asset("CrucibleAI/ControlNetMediaPipeFace", "diffusion_sd15/diffusion_pytorch_model.fp16.safetensors", 723_000_000),
            Asset("h94/IP-Adapter", "models/ip-adapter-plus-face_sd15.safetensors", 98_200_000),
            Asset("h94/IP-Adapter", "models/image_encoder/config.json", 560),
            Asset("h94/IP-Adapter", "models/image_encoder/model.safetensors", 2_530_000_000),
            *AUTOENCODER,
            *TAESD,
        ),
        licence="Stable Diffusion 1.5 CreativeML OpenRAIL-M and ControlNetMediaPipeFace OpenRAIL, with their lists of "
        "forbidden uses; AnimateDiff and IP-Adapter Apache-2.0; autoencoder MIT",
        memory_gb=10.0,
        memory_note="5.3 GB of networks in 16 bits and as much for what they compute; not measured",
    ),
    Weights(
        "wan-animate",
        (
            Asset(_WAN, "transformer/config.json", 808),
            Asset(_WAN, "transformer/diffusion_pytorch_model.safetensors.index.json", 120_000, lists=69_100_000_000),
            Asset(_WAN, "vae/config.json", 1_000),
            Asset(_WAN, "vae/diffusion_pytorch_model.safetensors", 508_000_000),
            Asset(_WAN, "image_encoder/config.json", 498),
            Asset(_WAN, "image_encoder/model.safetensors", 1_264_000_000),
            Asset(_WAN, "text_encoder/config.json", 900),
            Asset(_WAN, "text_encoder/model.safetensors.index.json", 22_500, lists=11_400_000_000),
            Asset(_WAN, "tokenizer/tokenizer.json", 16_800_000),
            Asset(_WAN, "tokenizer/tokenizer_config.json", 62_000),
            Asset(_WAN, "tokenizer/special_tokens_map.json", 7_000),
        ),
        licence="Apache-2.0",
        memory_gb=12.0,
        memory_note="with weights of 8 bits that wait in the computer's memory; 24 without waiting, 45 with 16 bits; computed "
        "from their number, not measured",
    ),
    Weights(
        "wan-vace",
        (
            Asset(_VACE, "transformer/config.json", 662),
            Asset(_VACE, "transformer/diffusion_pytorch_model.safetensors.index.json", 114_000, lists=7_150_000_000),
            Asset(_VACE, "vae/config.json", 1_000),
            Asset(_VACE, "vae/diffusion_pytorch_model.safetensors", 508_000_000),
            Asset(_VACE, "text_encoder/config.json", 850),
            Asset(_VACE, "text_encoder/model.safetensors.index.json", 22_500, lists=11_360_000_000),
            Asset(_VACE, "tokenizer/tokenizer.json", 16_800_000),
            Asset(_VACE, "tokenizer/tokenizer_config.json", 61_800),
            Asset(_VACE, "tokenizer/special_tokens_map.json", 7_080),
        ),
        licence="Apache-2.0",
        memory_gb=8.0,
        memory_note="with weights of 8 bits that wait in the computer's memory; 10 without waiting, 12 with 16 bits; computed "
        "from their number with room for the autoencoder, not measured",
    ),
)


# A head model, not a prior. Two versions of the file have been seen elsewhere, so no hash is taken for granted.
GNM = Weights("gnm", (Asset("google/gnm-v3", "v3_0/gnm_head.npz", 53_300_000),), licence="Apache-2.0")


def cache_folder() -> Path:
    """Give the folder for everything that can be made again; `ZERO1TOA_CACHE` moves it."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "zero1toa"
    folder = Path(os.environ.get("ZERO1TOA_CACHE") or default)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def kept_tensors(path: Path, build: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Give the tensors that a file of the cache holds; they are built if it is not there or is damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file, save_file

    if path.exists():
        try:
            return load_file(path)
        except SafetensorError:
            log.warning("%s is damaged and is made again", path)
    tensors = {key: tensor.contiguous() for key, tensor in build().items()}
    # Another process may be doing the same.
    partial = path.with_suffix(f".{os.getpid()}.partial")
    try:
        save_file(tensors, partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return tensors


def weights_path(repo: str, path: str = "") -> Path:
    """Give where a repository, or a file of it, lies in the cache; it need not be there."""
    return cache_folder() / "weights" / repo / path


def weights(name: str) -> Weights:
    """Look a prior or a head up. Raises PriorError with the names there are when it is unknown."""
    for entry in (*TABLE, GNM):
        if entry.name == name:
            return entry
    raise PriorError(f"no video prior or head is called {name!r}: use {', '.join(entry.name for entry in (*TABLE, GNM))}")


def missing(name: str) -> tuple[Asset, ...]:
    """List the files of a prior that are not on this machine; what an absent index would name counts as part of it."""
    files = [part for file in weights(name).files for part in (file, *file.listed())]
    return tuple(file for file in files if not file.place.is_file())


def require(name: str) -> None:
    """Raise PriorError, with the command that fetches them, unless a prior's weights are on this machine."""
    lacking = missing(name)
    if lacking:
        size = sum(file.size + file.lists for file in lacking) / 1e9
        raise PriorError(
            f"the weights of the prior {name} are not on this machine ({len(lacking)} files, {size:.1f} GB): fetch them with "
            f"`zero1toa fetch {name}`, or use --prior projection, which needs none"
        )


def fetch(name: str) -> Iterator[tuple[Asset, bool]]:
    """Download what is missing of a prior, telling of each file before and after; what broke off is gone on with.

    A file takes its place only when its content is what the table says or, where that does not know, its repository.
    Raises PriorError for any other content, which is deleted, and when the network fails.
    """
    # What an index names shows once it is here.
    while lacking := missing(name):
        for file in lacking:
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
