"""The denoiser with and without photo, guidance and drawings, against the plain networks of diffusers."""

import pytest
import torch
from torch import nn

from tests.priors.tiny_hub import SHAPE, random_denoiser, random_reference_net
from zero1toa.priors.portrait import Conditions, adding, predict
from zero1toa.priors.reference import ReferenceBank, look_at_references, spatial_layers, study
from zero1toa.priors.unets import FrameGroupNorm

FRAMES = 3


@pytest.fixture(scope="module")
def plain():
    """A denoiser as diffusers makes it, but for the normalisation of its motion modules."""
    torch.manual_seed(1)
    return random_denoiser()


@pytest.fixture(scope="module")
def looking(plain):
    """The same with attention that knows of the photo."""
    twin = random_denoiser()
    twin.load_state_dict(plain.state_dict())
    look_at_references(twin)
    return twin


@pytest.fixture(scope="module")
def bank(looking) -> ReferenceBank:
    torch.manual_seed(2)
    return study(random_reference_net(), looking, torch.randn(1, 4, 8, 8), torch.randn(1, 1, SHAPE.tokens))


@pytest.fixture
def sample():
    return torch.randn(FRAMES, 4, 8, 8)


@pytest.fixture
def tokens():
    return torch.randn(1, 1, SHAPE.tokens)


def zeros_like_maps() -> tuple[torch.Tensor, ...]:
    """Maps of each frame, as the network adds them."""
    a, b, c, d = SHAPE.channels
    return tuple(torch.zeros(FRAMES, w, s, s) for w, s in ((a, 8), (a, 4), (b, 2), (c, 1), (d, 1)))


def random_maps() -> tuple[torch.Tensor, ...]:
    return tuple(torch.randn_like(added) for added in zeros_like_maps())


def ask(unet, sample, conditions, guidance):
    """Ask as the priors do, for one clip."""
    with torch.no_grad():
        told, without = predict(unet, sample[:, None], 499, conditions, compare=guidance != 1)
    return (told if without is None else without + guidance * (told - without))[:, 0]


def of_clip(maps) -> tuple[torch.Tensor, ...]:
    """Maps of one clip."""
    return tuple(added[:, None] for added in maps)


def run(unet, sample, tokens, **more):
    """Ask a denoiser directly."""
    many = tokens.expand(len(sample), -1, -1)
    with torch.no_grad():
        return unet(sample.transpose(0, 1)[None], 499, encoder_hidden_states=many, **more).sample[0].transpose(0, 1)


def test_there_are_sixteen_layers_that_look_at_the_photo(plain, bank):
    assert len(spatial_layers(plain)) == 16
    assert spatial_layers(plain) == spatial_layers(random_reference_net())
    assert len(bank.layers) == 16


def test_with_the_reference_off_it_is_the_plain_unet(plain, looking, sample, tokens):
    torch.testing.assert_close(run(looking, sample, tokens), run(plain, sample, tokens), atol=1e-5, rtol=1e-5)
    several = torch.randn(1, 5, SHAPE.tokens)
    torch.testing.assert_close(run(looking, sample, several), run(plain, sample, several), atol=1e-5, rtol=1e-5)


def test_a_bank_that_is_hidden_from_all_rows_changes_nothing(plain, looking, sample, tokens, bank):
    hidden = run(looking, sample, tokens, cross_attention_kwargs={"reference": bank.hidden_from(FRAMES)})
    torch.testing.assert_close(hidden, run(plain, sample, tokens), atol=1e-5, rtol=1e-5)
    seen = run(looking, sample, tokens, cross_attention_kwargs={"reference": bank})
    assert float((seen - hidden).abs().max()) > 1e-3


class Concatenating:
    """Reference attention as it is defined: keys and values of the frame's and the photo's pixels, projected together."""

    def __init__(self, heard: torch.Tensor) -> None:
        self.heard = heard

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None):
        both = torch.cat([hidden_states, self.heard.expand(len(hidden_states), -1, -1)], 1)
        query, key, value = attn.to_q(hidden_states), attn.to_k(both), attn.to_v(both)
        query, key, value = (x.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for x in (query, key, value))
        weights = (query @ key.mT / query.shape[-1] ** 0.5).softmax(-1)
        return attn.to_out[0]((weights @ value).transpose(1, 2).flatten(2))


def test_kept_keys_and_values_are_the_concatenation(plain, looking, sample, tokens):
    net, latent = random_reference_net(), torch.randn(1, 4, 8, 8)
    bank = study(net, looking, latent, tokens)
    heard = {}
    hooks = [
        net.get_submodule(name).register_forward_pre_hook(lambda _, x, name=name: heard.__setitem__(name, x[0]))
        for name in spatial_layers(net)
    ]
    with torch.no_grad():
        net(latent, 0, encoder_hidden_states=tokens)
    for hook in hooks:
        hook.remove()
    defined = random_denoiser()
    defined.load_state_dict(plain.state_dict())
    for name in spatial_layers(defined):
        defined.get_submodule(name).set_processor(Concatenating(heard[name]))
    ours = run(looking, sample, tokens, cross_attention_kwargs={"reference": bank})
    torch.testing.assert_close(ours, run(defined, sample, tokens), atol=1e-5, rtol=1e-5)


def test_guidance_in_one_batch_is_two_passes(plain, looking, sample, tokens, bank):
    maps = random_maps()
    conditions = Conditions(tokens, bank, of_clip(maps))
    batched, with_photo = ask(looking, sample, conditions, 3.5), ask(looking, sample, conditions, 1.0)
    with adding(plain, maps):
        without = run(plain, sample, torch.zeros_like(tokens))
    torch.testing.assert_close(batched, without + 3.5 * (with_photo - without), atol=1e-4, rtol=1e-4)


def test_guidance_can_compare_with_a_pass_that_does_not_know_the_landmarks(plain, looking, sample, tokens, bank):
    maps = of_clip(random_maps())
    batched = ask(looking, sample, Conditions(tokens, bank, maps, maps_always=False), 2.0)
    with_photo = ask(looking, sample, Conditions(tokens, bank, maps), 1.0)
    without = run(plain, sample, torch.zeros_like(tokens))
    torch.testing.assert_close(batched, without + 2.0 * (with_photo - without), atol=1e-4, rtol=1e-4)


def test_clips_in_one_batch_do_not_see_each_other(looking, tokens, bank):
    samples, maps = (
        torch.randn(FRAMES, 2, 4, 8, 8),
        [torch.stack(pair, 1) for pair in zip(random_maps(), random_maps(), strict=True)],
    )
    with torch.no_grad():
        told, _ = predict(looking, samples, 499, Conditions(tokens, bank, tuple(maps)), compare=True)
    for clip in range(2):
        own = Conditions(tokens, bank, tuple(added[:, clip : clip + 1] for added in maps))
        torch.testing.assert_close(told[:, clip], ask(looking, samples[:, clip], own, 1.0), atol=1e-4, rtol=1e-4)


def test_conditions_of_a_window_are_those_of_its_frames(looking, tokens, bank):
    maps = random_maps()
    part = Conditions(tokens, bank, maps).of(slice(1, 3))
    assert all(torch.equal(a, b[1:3]) for a, b in zip(part.maps, maps, strict=True))


# ------------------------------------------------------------------------------------------------ per-frame norm


def still(unet: nn.Module) -> nn.Module:
    """Take away what lets frames see each other: the output of temporal attention."""
    for name, module in unet.named_modules():
        if "motion_modules" in name and name.endswith((".attn1", ".attn2")):
            nn.init.zeros_(module.to_out[0].weight)
            nn.init.zeros_(module.to_out[0].bias)
    return unet


def test_without_temporal_attention_a_frame_does_not_depend_on_the_others(sample, tokens):
    unet = still(random_denoiser())
    other = sample.clone()
    other[1:] += 3 * torch.randn_like(other[1:])
    first, again = run(unet, sample, tokens)[0], run(unet, other, tokens)[0]
    torch.testing.assert_close(first, again, atol=1e-5, rtol=1e-5)
    # Normalised over the clip, as diffusers does it, the frames would be mixed.
    for module in list(unet.modules()):
        if isinstance(getattr(module, "norm", None), FrameGroupNorm):
            joint = nn.GroupNorm(module.norm.num_groups, module.norm.num_channels, eps=module.norm.eps)
            joint.load_state_dict(module.norm.state_dict())
            module.norm = joint
    assert float((run(unet, sample, tokens)[0] - run(unet, other, tokens)[0]).abs().max()) > 1e-3


# ---------------------------------------------------------------------------------------------------- pose maps


def test_maps_are_added_behind_the_blocks_and_not_to_what_they_hand_across(looking, sample, tokens):
    handed, inner = {}, []

    def note(name):
        return lambda _module, _inputs, out: handed.__setitem__(name, out)

    hooks = [block.register_forward_hook(note(i)) for i, block in enumerate(looking.down_blocks)]
    hooks.append(looking.mid_block.register_forward_pre_hook(lambda _, args: inner.append(args[0])))
    plain = run(looking, sample, tokens)
    before = {i: (out[0].clone(), [x.clone() for x in out[1]]) for i, out in handed.items()}
    maps = zeros_like_maps()
    maps = (*maps[:4], torch.ones_like(maps[4]))
    with adding(looking, maps):
        added = run(looking, sample, tokens)
    for hook in hooks:
        hook.remove()
    for i in range(4):
        for a, b in zip(before[i][1], handed[i][1], strict=True):
            torch.testing.assert_close(a, b)
    torch.testing.assert_close(inner[1], inner[0] + 1)
    assert float((added - plain).abs().max()) > 1e-4
    torch.testing.assert_close(run(looking, sample, tokens), plain)  # nothing stays behind


def test_the_first_map_is_in_the_first_skip_too(looking, sample, tokens):
    skips = []
    hook = looking.up_blocks[-1].register_forward_pre_hook(
        lambda _, args, kwargs: skips.append(kwargs["res_hidden_states_tuple"][0]), with_kwargs=True
    )
    run(looking, sample, tokens)
    maps = zeros_like_maps()
    with adding(looking, (torch.ones_like(maps[0]),)):
        run(looking, sample, tokens)
    hook.remove()
    torch.testing.assert_close(skips[1], skips[0] + 1)
