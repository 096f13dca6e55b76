"""A portrait that was kept is the portrait."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace

import torch

from tests.avatars import sphere_portrait
from zero1toa.portrait.kept import load_portrait, save_portrait


def same(a, b) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b) and a.dtype == b.dtype
    if is_dataclass(a):
        return all(same(getattr(a, entry.name), getattr(b, entry.name)) for entry in fields(a))
    return a == b and type(a) is type(b)


def test_a_portrait_comes_back_to_the_last_bit(tmp_path):
    file = tmp_path / "portrait.safetensors"
    portrait = sphere_portrait()
    still = portrait.state.neck
    portrait = replace(portrait, state=replace(portrait.state, head=still, neck=still))
    save_portrait(file, portrait)
    assert same(load_portrait(file), portrait)
    assert [path.name for path in tmp_path.iterdir()] == ["portrait.safetensors"]
