"""Published files: what is in them, what they become, and what is refused."""

import os
import pickle
import shutil

import pytest
import torch

from tests.priors.tiny_hub import POSE, SHAPE, published, random_denoiser, random_pose_guider, random_reference_net
from zero1toa.assets import weights_path
from zero1toa.priors.aniportrait import FILES, REPO, AniPortrait
from zero1toa.priors.base import DiffusionConfig
from zero1toa.priors.checkpoint import converted, read_tensors
from zero1toa.priors.pose_guider import PoseGuider, PoseGuiderShape
from zero1toa.priors.unets import UNetShape, build_denoiser, build_reference_net, denoiser_tensors
from zero1toa.types import PriorError

CPU = torch.device("cpu")


def gigabytes(tensors) -> float:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) / 1e9


def test_at_full_size_files_hold_as_many_tensors_and_bytes_as_the_published_ones():
    with torch.device("meta"):
        denoiser = build_denoiser(UNetShape()).state_dict()
        reference = build_reference_net(UNetShape(), reads=True).state_dict()
        pose = PoseGuider(PoseGuiderShape()).state_dict()
        spatial, motion = published(denoiser)
    assert (len(spatial), len(motion), len(reference), len(pose)) == (686, 588, 682, 184)
    assert len(denoiser) == 1253
    assert (gigabytes(spatial), gigabytes(motion)) == pytest.approx((3.438, 1.8177), abs=1e-3)
    assert (gigabytes(reference), gigabytes(pose)) == pytest.approx((3.438, 0.6701), abs=1e-3)


def test_renaming_and_its_inverse_give_back_every_tensor():
    denoiser = random_denoiser().state_dict()
    spatial, motion = published(denoiser)
    assert not any("motion_modules" in key for key in spatial)
    assert all(".temporal_transformer." in key for key in motion)
    again = denoiser_tensors(spatial, motion)
    assert again.keys() == denoiser.keys()
    assert all(torch.equal(again[key], denoiser[key]) for key in denoiser)


def test_positions_are_those_that_diffusers_would_make():
    mine = build_denoiser(SHAPE).state_dict()
    pe = mine["down_blocks.0.motion_modules.0.transformer_blocks.0.pos_embed.pe"]
    place = torch.arange(32)[:, None]
    wave = place * torch.exp(torch.arange(0, 32, 2) * (-torch.log(torch.tensor(10000.0)) / 32))
    torch.testing.assert_close(pe[0], torch.stack([wave.sin(), wave.cos()], -1).flatten(1))


def test_widths_are_read_off_the_tensors():
    assert UNetShape.of(random_denoiser().state_dict()) == SHAPE
    assert PoseGuiderShape.of(random_pose_guider().state_dict()) == POSE


def test_loading_is_strict_and_gives_back_what_was_written(hub, aniportrait):
    spatial, motion, reference, pose = (read_tensors(weights_path(REPO, file)) for file in FILES)
    for net, tensors in (
        (aniportrait.denoiser, denoiser_tensors(spatial, motion)),
        (aniportrait.reference_net, reference),
        (aniportrait.guider, pose),
    ):
        loaded = net.state_dict()
        assert loaded.keys() == tensors.keys(), "none missing, none unexpected"
        for key, tensor in tensors.items():
            torch.testing.assert_close(loaded[key], tensor, atol=1e-3, rtol=1e-3)
        assert not any(weight.is_meta or weight.requires_grad for weight in net.parameters())


def test_files_are_converted_once_and_again_when_they_change(tmp_path, monkeypatch):
    monkeypatch.setenv("ZERO1TOA_CACHE", str(tmp_path))
    source, times = tmp_path / "a.pth", []

    def make():
        times.append(1)
        return {"x": torch.full((2,), float(len(times)))}

    source.write_text("one")
    first, kept = converted("model", (source,), make)
    assert torch.equal(converted("model", (source,), make)[0]["x"], first["x"])
    assert len(times) == 1
    kept.write_bytes(b"cut short")
    converted("model", (source,), make)
    assert len(times) == 2
    source.write_text("another")
    assert float(converted("model", (source,), make)[0]["x"][0]) == 3
    assert not list(tmp_path.glob("*.partial"))


# ------------------------------------------------------------------------------------------------- wrong files


@pytest.fixture
def copy(tiny_cache, tmp_path, monkeypatch):
    """Give the folder of the four files in a cache of its own, to be spoiled."""
    shutil.copytree(tiny_cache / "weights", tmp_path / "weights")
    monkeypatch.setenv("ZERO1TOA_CACHE", str(tmp_path))
    return tmp_path / "weights" / REPO


def refused(*parts: str) -> str:
    """Load, which must be refused in one sentence that holds these parts, and leave nothing half done."""
    with pytest.raises(PriorError) as told:
        AniPortrait(DiffusionConfig(), CPU)
    message = str(told.value)
    assert all(part in message for part in parts), message
    assert "fetch" in message
    assert "\n" not in message
    return message


class Villain:
    """Runs a command when it is unpickled."""

    def __reduce__(self):
        return os.system, (f"touch {os.environ['VILLAIN']}",)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_runs_programs_is_refused(copy, tmp_path, monkeypatch, zipped):
    monkeypatch.setenv("VILLAIN", str(tmp_path / "ran"))
    path = copy / "denoising_unet.pth"
    if zipped:
        torch.save({"conv_in.weight": Villain()}, path)
    else:
        path.write_bytes(pickle.dumps({"conv_in.weight": Villain()}))
    refused("denoising_unet.pth", "holds more than tensors" if zipped else "damaged")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("file", FILES)
def test_a_file_that_is_cut_short_is_named(copy, file):
    path = copy / file
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refused(file, "damaged or incomplete")


@pytest.mark.parametrize("content", [b"", b"<html>Not found</html>", b"version https://git-lfs.github.com/spec/v1\noid"])
def test_what_is_no_checkpoint_is_named(copy, content):
    (copy / "motion_module.pth").write_bytes(content)
    refused("motion_module.pth", "damaged or incomplete")


def test_other_things_than_named_tensors_are_refused(copy):
    torch.save([torch.zeros(2)], copy / "reference_unet.pth")
    refused("reference_unet.pth", "something else")
    torch.save({"state_dict": {"a": torch.zeros(2)}}, copy / "reference_unet.pth")
    refused("reference_unet.pth", "something else")


def test_a_file_in_the_place_of_another_is_noticed(copy):
    shutil.copy(copy / "reference_unet.pth", copy / "pose_guider.pth")
    refused("pose_guider.pth", "no pose network")
    shutil.copy(copy / "reference_unet.pth", copy / "motion_module.pth")
    refused("motion_module.pth", "no denoiser")


def test_a_missing_an_unknown_and_a_misshapen_tensor_are_named(copy):
    path = copy / "reference_unet.pth"
    tensors = random_reference_net().state_dict()
    without = {key: tensor for key, tensor in tensors.items() if key != "conv_in.bias"}
    torch.save(without, path)
    refused("reference_unet.pth", "1 tensors missing", "conv_in.bias")
    torch.save({**tensors, "extra.weight": torch.zeros(1)}, path)
    refused("reference_unet.pth", "1 unknown", "extra.weight")
    torch.save({**tensors, "conv_in.bias": torch.zeros(7)}, path)
    refused("reference_unet.pth", "conv_in.bias", "(7,)", "(32,)")


def test_weights_of_different_widths_do_not_go_together(copy):
    pose = PoseGuider(PoseGuiderShape(stem=POSE.stem, width=64, inner=POSE.inner))
    torch.save(pose.state_dict(), copy / "pose_guider.pth")
    refused("pose_guider.pth", "does not belong")


def test_damaged_autoencoders_and_image_encoders_are_named(copy):
    autoencoder = weights_path("stabilityai/sd-vae-ft-mse", "diffusion_pytorch_model.safetensors")
    whole = autoencoder.read_bytes()
    autoencoder.write_bytes(whole[:3000])
    refused("sd-vae-ft-mse")
    autoencoder.write_bytes(whole)
    encoder = weights_path("lambdalabs/sd-image-variations-diffusers", "image_encoder") / "pytorch_model.bin"
    tensors = torch.load(encoder, weights_only=True)
    torch.save({key: tensor for key, tensor in tensors.items() if "visual_projection" not in key}, encoder)
    refused("image_encoder", "visual_projection")
    encoder.write_bytes(b"<html>Not found</html>")
    refused("image_encoder")
