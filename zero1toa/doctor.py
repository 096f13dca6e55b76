"""Examine the installation: what is there, what works, what is missing and how to get it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from dataclasses import dataclass

from zero1toa import __version__

# Package, what it is for, and whether the main job on a CPU needs it.
PACKAGES = (
    ("torch", "tensors", True),
    ("numpy", "arrays", True),
    ("numba", "the CPU rasterizer", True),
    ("scipy", "fitting", True),
    ("pillow", "photos", True),
    ("mediapipe", "face detection", True),
    ("anny", "the default head model", True),
    ("safetensors", "saved avatars", True),
    ("accelerate", "the training loop", True),
    ("imageio-ffmpeg", "video", True),
    ("rich", "the progress bar", True),
    ("gradio", "the app", False),
    ("gsplat", "the CUDA rasterizer", False),
    ("diffusers", "diffusion priors", False),
    ("transformers", "diffusion priors", False),
    ("huggingface_hub", "downloading weights", False),
    ("lpips", "the paper's perceptual loss; D-SSIM stands in", False),
    ("c2pa-python", "signatures in pictures and videos", False),
)
# Space for a run of the best preset with its data set and checkpoints.
FREE_GB = 2.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was examined: its status is `ok`, `note` or `missing`; `needed` says the main job needs it."""

    name: str
    status: str
    text: str
    remedy: str = ""
    needed: bool = False


def examine() -> list[Finding]:
    """Look at everything; takes a second or two, downloads and builds nothing."""
    heads = (_anny(), _flame(), _gnm())
    return [_program(), *_packages(), _rasterizer(), _cuda(), _faces(), _ffmpeg(), _cache(), *heads, *_priors()]


def _program() -> Finding:
    text = (
        f"{__version__} on Python {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    )
    if not (3, 10) <= sys.version_info[:2] <= (3, 12):
        return Finding("zero1toa", "note", text, "mediapipe has wheels for Python 3.10 to 3.12: use one of these")
    return Finding("zero1toa", "ok", text)


def _packages() -> list[Finding]:
    findings = []
    for package, purpose, needed in PACKAGES:
        try:
            findings.append(Finding(package, "ok", f"{importlib.metadata.version(package)} ({purpose})"))
        except importlib.metadata.PackageNotFoundError:
            status = "missing" if needed else "note"
            findings.append(Finding(package, status, f"not installed ({purpose})", f"pip install {package}", needed))
    return findings


def _rasterizer() -> Finding:
    """Draw one splat: the kernels compile or they do not."""
    name = "draws on the CPU"
    try:
        import torch

        from zero1toa.geometry.camera import orbit_camera
        from zero1toa.render import rasterize
        from zero1toa.types import Gaussians

        one = torch.ones(1, 1, 3)
        splat = Gaussians(0 * one, torch.tensor([[[1.0, 0, 0, 0]]]), 0.05 * one, torch.ones(1, 1), one)
        camera = orbit_camera(
            torch.zeros(1), torch.zeros(1), target=torch.zeros(3), distance=1.0, focal=32.0, width=32, height=32
        )
        seen = float(rasterize(splat, camera, background=torch.zeros(3)).alpha[0, 16, 16])
        if seen < 0.9:
            return Finding(
                name, "missing", f"a splat that should cover a pixel covers {seen:.2f} of it", _reinstall("numba"), True
            )
        return Finding(name, "ok", f"numba kernels, {torch.get_num_threads()} threads", needed=True)
    except Exception as error:
        return Finding(name, "missing", f"{type(error).__name__}: {error}", _reinstall("torch numba"), True)


def _cuda() -> Finding:
    name = "draws on CUDA"
    try:
        import torch

        if not torch.cuda.is_available():
            return Finding(name, "note", "no CUDA device; everything runs on the CPU", "optional: a torch build for CUDA")
        device = torch.cuda.get_device_name(0)
    except Exception as error:
        return Finding(name, "note", f"{type(error).__name__}: {error}", _reinstall("torch"))
    gsplat = importlib.util.find_spec("gsplat")
    if gsplat is None or not gsplat.submodule_search_locations:
        return Finding(name, "note", f"{device}, without gsplat: splats are drawn on the CPU", "pip install gsplat")
    # A wheel with kernels in it needs no compiler.
    compiled = any(name.startswith("csrc.") for name in os.listdir(gsplat.submodule_search_locations[0]))
    if not compiled and shutil.which("nvcc") is None:
        return Finding(
            name, "note", f"{device}; gsplat has no kernels and no nvcc to compile them with: splats are drawn on the CPU",
            "install the CUDA toolkit that torch was built with, or make a wheel elsewhere by scripts/build_gsplat_wheel.sh",
        )  # fmt: skip
    return Finding(name, "ok", f"{device} with gsplat")


def _faces() -> Finding:
    """Look for the models that mediapipe's wheel carries, without loading it."""
    name = "finds faces"
    spec = importlib.util.find_spec("mediapipe")
    if spec is None or not spec.submodule_search_locations:
        return Finding(name, "missing", "mediapipe is not installed", "pip install mediapipe==0.10.21", True)
    modules = os.path.join(spec.submodule_search_locations[0], "modules")
    wanted = ("face_landmark/face_landmark_with_attention.tflite", "face_detection/face_detection_full_range_sparse.tflite",
              "selfie_segmentation/selfie_segmentation.tflite")  # fmt: skip
    lacking = [path for path in wanted if not os.path.isfile(os.path.join(modules, path))]
    if lacking:
        return Finding(name, "missing", f"mediapipe lacks {', '.join(lacking)}", "pip install mediapipe==0.10.21", True)
    return Finding(name, "ok", "detector, landmarks and segmentation are on this machine")


def _ffmpeg() -> Finding:
    try:
        import imageio_ffmpeg

        return Finding("reads video", "ok", imageio_ffmpeg.get_ffmpeg_exe())
    except Exception as error:
        return Finding("reads video", "missing", f"{type(error).__name__}: {error}", _reinstall("imageio-ffmpeg"), True)


def _cache() -> Finding:
    from zero1toa.assets import cache_folder

    try:
        folder = cache_folder()
        probe = folder / ".probe"
        probe.write_bytes(b"0")
        probe.unlink()
    except OSError as error:
        return Finding("cache", "missing", f"cannot be written: {error}", "set ZERO1TOA_CACHE to a folder of yours", True)
    free = shutil.disk_usage(folder).free / 1e9
    text = f"{folder}, {free:.0f} GB free"
    return (
        Finding("cache", "ok", text)
        if free >= FREE_GB
        else Finding("cache", "note", text, f"free {FREE_GB:g} GB for long runs")
    )


def _anny() -> Finding:
    from zero1toa.assets import cache_folder

    name = "head anny"
    if importlib.util.find_spec("anny") is None:
        return Finding(name, "missing", "the package anny is not installed", "pip install anny", True)
    try:
        built = sorted(path.name for path in cache_folder().glob("anny-*.safetensors"))
    except OSError:
        built = []
    return Finding(name, "ok", f"built ({', '.join(built)})" if built else "will be built at first use, within a minute")


def _flame() -> Finding:
    return Finding(
        "head flame", "note", "optional: --head flame:PATH with your own file",
        "FLAME 2020, 2023 or 2023 Open from https://flame.is.tue.mpg.de, under its own licence; anny needs none",
    )  # fmt: skip


def _gnm() -> Finding:
    from zero1toa.assets import GNM, missing

    if missing(GNM.name):
        return Finding("head gnm", "note", f"optional: {GNM.size / 1e6:.0f} MB are not here", "zero1toa fetch gnm")
    return Finding("head gnm", "ok", "its file is here; --head gnm uses it")


def _priors() -> list[Finding]:
    from zero1toa.assets import TABLE, missing

    findings = [
        Finding("prior embedded", "ok", "works offline; its weights come with the program"),
        Finding("prior projection", "ok", "works offline, without weights"),
    ]
    for entry in TABLE:
        if entry.files and missing(entry.name):
            text = f"optional: {entry.size / 1e9:.1f} GB of weights are not here"
            findings.append(Finding(f"prior {entry.name}", "note", text, f"zero1toa doctor --prior {entry.name} says more"))
        elif entry.files:
            findings.append(Finding(f"prior {entry.name}", "ok", "its weights are here"))
    return findings


def examine_prior(name: str) -> list[Finding]:
    """Say of one prior which files it needs, how large they are, whether it fits this machine, and who may use it for what.

    Raises PriorError when there is no such prior.
    """
    from zero1toa.assets import cache_folder, missing, weights

    entry, lacking = weights(name), missing(name)
    if not entry.files:
        return [Finding(f"prior {name}", "ok", "works offline, without weights")]
    findings = [
        Finding(
            f"{file.repo}/{file.path}", "note" if file in lacking else "ok",
            f"{'to download' if file in lacking else 'here'}, {(file.size + file.lists) / 1e6:.0f} MB",
        )
        for file in entry.files
    ]  # fmt: skip
    to_fetch = sum(file.size + file.lists for file in lacking)
    # Pickles are converted once fetched, and the half as large result is kept beside them.
    converted = sum(file.size for file in entry.files if file.path.endswith(".pth")) // 2
    free, needed = shutil.disk_usage(cache_folder()).free, to_fetch + converted
    if to_fetch:
        remedy = f"zero1toa fetch {name}" if free > needed else f"free {(needed - free) / 1e9:.1f} GB, or move ZERO1TOA_CACHE"
        text = f"{to_fetch / 1e9:.1f} of {entry.size / 1e9:.1f} GB to download; {free / 1e9:.0f} GB are free on the disk"
        findings.append(Finding("download", "note", text, remedy))
    findings.append(_prior_memory(entry.memory_gb, entry.memory_note))
    findings.append(Finding("licence", "note", entry.licence))
    return findings


def _prior_memory(needed_gb: float, how: str) -> Finding:
    import torch

    text = f"about {needed_gb:g} GB of GPU memory ({how})"
    if not torch.cuda.is_available():
        return Finding("memory", "note", f"{text}; there is no GPU here", "on a CPU it runs, far too slowly for an avatar")
    free = torch.cuda.mem_get_info()[0] / 1e9
    if free < needed_gb:
        return Finding("memory", "note", f"{text}; {free:.1f} GB are free", "a smaller --diffusion-size needs less")
    return Finding("memory", "ok", f"{text}; {free:.1f} GB are free")


def _reinstall(packages: str) -> str:
    return f"pip install --force-reinstall {packages}"
