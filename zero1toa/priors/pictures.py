"""Pictures as the networks take them: sizes they can halve, latents, and what CLIP makes of a portrait."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate, max_pool2d

from zero1toa.assets import weights_path
from zero1toa.priors.base import ClipRequest
from zero1toa.types import PriorError

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
    from transformers import CLIPVisionModelWithProjection

# The U-Net halves latents three times, and a latent is an eighth of a picture.
MULTIPLE = 64
# Pictures encoded or decoded at once: the autoencoder's activations are the largest of all.
CHUNK = 4
# CLIP's own normalisation (Radford et al. 2021).
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
AUTOENCODERS = ("mixed", "full", "tiny")
# Width of a face's crop in widths of the landmarks' box.
ROOM = 1.3
# How far beyond the render's outline a prior may paint, as a share of the width.
MARGIN = 1 / 24


def working_size(height: int, width: int, wanted: int) -> tuple[int, int]:
    """Give the height and width nearest to a width of `wanted` pixels that the networks can halve."""
    fit = lambda side: max(1, round(side / MULTIPLE)) * MULTIPLE
    return fit(wanted * height / width), fit(wanted)


def resized(pictures: Float[Tensor, "T H W 3"], height: int, width: int) -> Float[Tensor, "T h w 3"]:
    """Resize pictures in [0, 1] smoothly."""
    if pictures.shape[1:3] == (height, width):
        return pictures
    out = interpolate(pictures.movedim(-1, 1), (height, width), mode="bicubic", antialias=True, align_corners=False)
    return out.movedim(1, -1).clamp(0, 1)


def face_crops(
    frames: Float[Tensor, "T H W 3"], landmarks: Float[Tensor, "T 478 3"], side: int
) -> Float[Tensor, "T side side 3"]:
    """Cut a square out of every frame around its landmarks, with room, and resize it; the frame's rim goes on outside it."""
    low, high = landmarks[..., :2].amin(1), landmarks[..., :2].amax(1)
    middle, reach = (low + high) / 2, ROOM * (high - low).amax(-1) / 2
    across = (torch.arange(side, device=frames.device) + 0.5) / side * 2 - 1
    offsets = torch.stack(torch.meshgrid(across, across, indexing="xy"), -1)
    places = middle[:, None, None] + reach[:, None, None, None] * offsets
    grid = 2 * places / places.new_tensor([frames.shape[2], frames.shape[1]]) - 1
    cut = grid_sample(frames.movedim(-1, 1), grid.to(frames), padding_mode="border", align_corners=False)
    return cut.movedim(1, -1)


def keep_background(painted: Float[Tensor, "T H W 3"], request: ClipRequest) -> Float[Tensor, "T H W 3"]:
    """Take a prior's pictures where the avatar is and a little around it, and the flat background of the render elsewhere.

    What a model paints into the void would have to be explained by splats in the air. What the request keeps is kept.
    """
    near = near_avatar(request)
    if request.kept is not None:
        near = near * (1 - request.kept)
    return torch.lerp(request.frames, painted, near[..., None])


def near_avatar(request: ClipRequest) -> Float[Tensor, "T H W"]:
    """Give 1 where the avatar is and a little around it, and 0 in the void, with a soft edge."""
    margin = max(1, round(request.frames.shape[2] * MARGIN))
    # The largest of a square is the largest of its rows' largest: ten times as quick.
    rows = max_pool2d(request.alpha[:, None], (1, 2 * margin + 1), 1, (0, margin))
    near = max_pool2d(rows, (2 * margin + 1, 1), 1, (margin, 0))
    soft = interpolate(near, scale_factor=0.25, mode="area", recompute_scale_factor=True)
    return interpolate(soft, request.frames.shape[1:3], mode="bilinear", align_corners=False)[:, 0]


class LatentSpace:
    """Stable Diffusion's autoencoder between pictures in [0, 1] and latents of unit variance, an eighth of their size.

    A `tiny` one (TAESD) does the work wherever `tiny_encodes` and `tiny_decodes` let it, at a tenth of the cost.
    """

    def __init__(
        self,
        autoencoder: AutoencoderKL,
        tiny: AutoencoderTiny | None = None,
        *,
        tiny_encodes: bool = True,
        tiny_decodes: bool = True,
    ) -> None:
        self.autoencoder, self._scale = autoencoder, autoencoder.config["scaling_factor"]
        self._encoder, self._decoder = tiny if tiny_encodes else None, tiny if tiny_decodes else None

    @classmethod
    def load(cls, kind: str, device: torch.device, dtype: torch.dtype) -> LatentSpace:
        """Load the autoencoders that `DiffusionConfig.autoencoder` names. Raises PriorError if that is none of its words."""
        from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
        from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny

        if kind not in AUTOENCODERS:
            raise PriorError(f"--diffusion-autoencoder {kind} is unknown: use one of {', '.join(AUTOENCODERS)}")
        full = load_pretrained(AutoencoderKL, weights_path("stabilityai/sd-vae-ft-mse"), device, dtype)
        if kind == "full":
            return cls(full)
        tiny = load_pretrained(AutoencoderTiny, weights_path("madebyollin/taesd"), device, dtype)
        return cls(full, tiny, tiny_decodes=kind == "tiny")

    def encode(self, pictures: Float[Tensor, "T H W 3"], *, exact: bool) -> Float[Tensor, "T 4 h w"]:
        """Give the mean latents of pictures, in 32 bits on the network's device; `exact` ones are never TAESD's."""
        if self._encoder is not None and not exact:
            tiny = self._encoder
            encode = lambda x: tiny.encode(x).latents  # pyright: ignore
        else:
            encode = lambda x: self.autoencoder.encode(x).latent_dist.mean * self._scale  # pyright: ignore
        kind = {"device": self.autoencoder.device, "dtype": self.autoencoder.dtype}
        return torch.cat([encode(2 * part.movedim(-1, 1).to(**kind) - 1).float() for part in pictures.split(CHUNK)])

    def decode(self, latents: Float[Tensor, "T 4 h w"]) -> Float[Tensor, "T H W 3"]:
        """Give the pictures of latents."""
        net, scale = (self.autoencoder, self._scale) if self._decoder is None else (self._decoder, 1.0)
        parts = (latents / scale).to(self.autoencoder.dtype).split(CHUNK)
        pictures = torch.cat([net.decode(part).sample.float() for part in parts])  # pyright: ignore
        return (pictures.movedim(1, -1) / 2 + 0.5).clamp(0, 1)


class Gaze:
    """CLIP's view of a portrait."""

    def __init__(self, encoder: CLIPVisionModelWithProjection) -> None:
        self._net, self._side = encoder, int(encoder.config.image_size)  # pyright: ignore[reportArgumentType]

    def __call__(self, picture: Float[Tensor, "H W 3"]) -> Float[Tensor, "1 D"]:
        """Embed one picture in [0, 1]."""
        return self._net(self._prepared(picture[None])).image_embeds.float()

    def patches(self, pictures: Float[Tensor, "T H W 3"]) -> Float[Tensor, "T P D"]:
        """Give the last layer but one: a token for the whole picture, then one for every patch."""
        return self._net(self._prepared(pictures), output_hidden_states=True).hidden_states[-2].float()

    def nothing(self, picture: Float[Tensor, "H W 3"]) -> Float[Tensor, "H W 3"]:
        """Give the picture of which CLIP is shown zeros."""
        return picture.new_tensor(CLIP_MEAN).expand_as(picture)

    def _prepared(self, pictures: Float[Tensor, "T H W 3"]) -> Float[Tensor, "T 3 S S"]:
        small = resized(pictures, self._side, self._side)
        small = (small - small.new_tensor(CLIP_MEAN)) / small.new_tensor(CLIP_STD)
        return small.movedim(-1, 1).to(self._net.device, self._net.dtype)


def load_pretrained(kind: Any, folder: Path, device: torch.device, dtype: torch.dtype, *, variant: str = "") -> Any:
    """Load a model of diffusers or transformers from a folder, all of its weights and nothing else.

    Raises PriorError when they are missing, damaged or another model's.
    """
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    # What they would print, this function says itself.
    for logging in (of_diffusers, of_transformers):
        logging.disable_progress_bar()
        logging.set_verbosity_error()
    options: dict[str, Any] = {"torch_dtype" if kind.__module__.startswith("diffusers") else "dtype": dtype}
    if variant:
        options["variant"] = variant
    try:
        model, loaded = kind.from_pretrained(
            folder, output_loading_info=True, local_files_only=True, low_cpu_mem_usage=True, **options
        )
    except Exception as error:  # the libraries raise whatever their readers do
        reason = f"{kind.__name__}: {type(error).__name__}"
        raise PriorError(f"{folder} is damaged or another model's ({reason}): delete it and fetch it again") from error
    wrong = [*loaded["missing_keys"], *loaded["mismatched_keys"]]
    if wrong:
        raise PriorError(f"{folder} does not hold all weights of a {kind.__name__} (such as {wrong[0]}): fetch it again")
    return model.to(device).eval().requires_grad_(False)
