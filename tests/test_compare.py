"""The comparison of methods: planted scores, and one person by two methods, from the command line to the table."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from zero1toa import cli
from zero1toa.config import preset
from zero1toa.evaluation.ablation import Outcome, as_markdown, mean_scores
from zero1toa.evaluation.methods import METHODS, USUAL, methods_named
from zero1toa.evaluation.metrics import landmark_distance, psnr, score_views
from zero1toa.evaluation.subjects import FACES, YAWS, load_subjects
from zero1toa.export.package import TENSORS, load_avatar
from zero1toa.head.anny import load_anny
from zero1toa.pipeline import first_avatar
from zero1toa.types import InputError

TINY = [
    "--preset", "preview", "--prior", "projection", "--iterations", "4", "--update-every", "2", "--spatial-clips", "1",
    "--relaxed-clips", "1", "--exaggerated-clips", "1", "--frames", "2", "--size", "64", "--splats", "3000",
]  # fmt: skip


@pytest.fixture(scope="module")
def person():
    """Give somebody drawn, with the truth of twelve views."""
    return next(iter(load_subjects(["person:1000000"], load_anny())))


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """Compare two methods on that person, as the command line does."""
    folder = tmp_path_factory.mktemp("compared") / "out"
    words = ["compare", "person:1000000", "-o", str(folder), "--method", "full", "--method", "seed"]
    assert cli.main([*words, *TINY]) == 0
    return folder, [*words, *TINY]


def test_every_cell_of_the_table_has_a_true_view(person):
    assert {(view.face, view.yaw) for view in person.views} == {(face, yaw) for face in FACES for yaw in YAWS}
    for view in person.views:
        assert 0.05 < view.alpha.mean() < 0.95, "the person is in the picture and does not fill it"
        assert (view.hidden <= view.alpha + 1e-5).all()
    hidden = {yaw: np.mean([float(v.hidden.sum() / v.alpha.sum()) for v in person.views if v.yaw == yaw]) for yaw in YAWS}
    assert hidden[90.0] > hidden[0.0], "a photo shows less of somebody's side than of their front"


def test_the_truth_itself_scores_best_and_a_known_error_its_decibels(person):
    truth = torch.stack([view.picture for view in person.views])
    best = score_views(truth, person.views)
    assert best["psnr"] == pytest.approx(100)
    assert best["ssim"] == pytest.approx(1)
    assert best["akd"] == pytest.approx(0)
    off = score_views(truth + 0.01, person.views)
    assert {name: off[name] for name in ("psnr", "hidden", "front", "turned", "profile")} == pytest.approx(
        dict.fromkeys(("psnr", "hidden", "front", "turned", "profile"), 40.0), abs=1e-3
    )


def test_landmarks_that_are_shifted_score_by_how_far(astronaut):
    picture = torch.from_numpy(astronaut).float() / 255
    one, two = (landmark_distance(picture.roll(pixels, 1), picture) for pixels in (4, 8))
    assert one is not None
    assert two is not None
    assert two == pytest.approx(2 * one, rel=0.25)
    assert landmark_distance(torch.full_like(picture, 0.5), picture) is None


def test_psnr_is_of_the_region_alone():
    picture, region = torch.zeros(4, 4, 3), torch.zeros(4, 4, dtype=torch.bool)
    picture[0], region[1:] = 1.0, True
    assert psnr(picture, torch.full_like(picture, 0.1), region) == pytest.approx(20)


def test_the_table_says_means_and_how_sure_differences_are(person, tmp_path):
    full, once = methods_named(["full", "once"])
    scores = {"a": (20.0, 19.0), "b": (22.0, 20.0), "c": (24.0, 21.0)}
    outcomes = [
        Outcome(replace(person, name=name), method, tmp_path, {"psnr": value}, np.zeros((1, 2, 2, 3), np.uint8))
        for name, values in scores.items()
        for method, value in zip((full, once), values, strict=True)
    ]
    assert mean_scores(outcomes) == {"full": {"psnr": 22.0}, "one-time dataset": {"psnr": 20.0}}
    # Differences of -1, -2 and -3: their mean, and their spread of 1 by the root of three.
    assert as_markdown(outcomes).splitlines() == [
        "| | psnr |", "|---|---|", "| full | 22.00 |", "| one-time dataset | 20.00 (-2.00 ± 0.58) |",
    ]  # fmt: skip
    assert "±" not in as_markdown(outcomes[:2]), "one subject says nothing about spread"


def test_methods_have_names_and_change_what_they_say():
    config, names = preset("preview"), [method.name for method in METHODS]
    assert methods_named([]) == USUAL
    assert [method.name for method in methods_named(names)] == names
    changed = {method.name: method.change(config) for method in METHODS}
    assert changed.pop("full") == config
    assert all(other != config for other in changed.values())
    learnt = {name: other.trainer.curriculum.iterations for name, other in changed.items()}
    assert learnt.pop("seed") == 0
    assert set(learnt.values()) == {config.trainer.curriculum.iterations}, "all others learn for as long as the full method"
    with pytest.raises(InputError, match="one-time"):
        methods_named(["one-time"])


def test_a_comparison_writes_tables_sheets_and_a_video(compared):
    folder, _ = compared
    for name in ("table.md", "scores.json", "person-1000000.png", "person-1000000-poses.png", "person-1000000.mp4"):
        assert (folder / name).stat().st_size > 0
    written = json.loads((folder / "scores.json").read_text())
    assert [one["method"] for one in written["each"]] == ["full", "seed"]
    assert all(10 < one["psnr"] < 40 for one in written["each"])
    assert f"{written['mean']['full']['psnr']:.2f}" in (folder / "table.md").read_text()


def test_first_splats_alone_are_what_everybody_begins_with(compared, person):
    folder, _ = compared
    seed, full = (load_avatar(folder / "person-1000000" / name).avatar for name in ("seed", "full"))
    config = preset("preview")
    laid = first_avatar(person.portrait, load_anny(), replace(config, seed=replace(config.seed, splats=3000)))
    assert torch.equal(seed.color, laid.color)
    assert not torch.equal(full.color, laid.color)


def test_what_is_there_is_scored_and_not_made_again(compared, capsys):
    folder, words = compared
    made = {path: path.stat().st_mtime_ns for path in folder.glob(f"*/*/{TENSORS}")}
    scores = (folder / "scores.json").read_text()
    assert cli.main(words) == 0
    assert {path: path.stat().st_mtime_ns for path in folder.glob(f"*/*/{TENSORS}")} == made
    assert (folder / "scores.json").read_text() == scores


@pytest.mark.parametrize(
    ("subject", "method", "said"),
    [("nobody.mp4", "full", "nobody.mp4"), ("person:x", "full", "person:SEED"), ("person:1", "best", "best")],
)
def test_subjects_and_methods_that_are_not_there_are_named(tmp_path, capsys, subject, method, said):
    words = ["compare", subject, "-o", str(tmp_path / "out"), "--method", method, "--i-have-consent", *TINY]
    assert cli.main(words) == 2
    assert said in capsys.readouterr().err
