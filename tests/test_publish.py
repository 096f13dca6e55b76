"""What is uploaded to a Space: the right files, and the few lines of them that the platform reads."""

from __future__ import annotations

import importlib.util
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from zero1toa.types import InputError

ROOT = Path(__file__).parent.parent
# The keys that Spaces know and we may use, with what they must look like.
COLOURS = "red|yellow|green|blue|indigo|purple|pink|gray"
KEYS = {
    "title": r".{1,60}", "emoji": r"\W{1,2}", "colorFrom": COLOURS, "colorTo": COLOURS, "sdk": "gradio",
    "sdk_version": r"\d+\.\d+\.\d+", "python_version": r'"3\.1[02]"', "app_file": r"app\.py", "license": r"apache-2\.0",
    "short_description": r".{1,60}", "suggested_hardware": r"cpu-basic", "startup_duration_timeout": r"\d+[mh]", "tags": "",
}  # fmt: skip


@pytest.fixture(scope="module")
def publish():
    """Give the script as a module."""
    spec = importlib.util.spec_from_file_location("push_to_space", ROOT / "scripts" / "push_to_space.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["push_to_space"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def clone(tmp_path):
    """Clone what is committed, so that nothing a developer has changed is in the way."""
    if not (ROOT / ".git").exists():
        pytest.skip("needs the repository's history")
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(tmp_path / "clone")], check=True)
    return tmp_path / "clone"


def test_spaces_can_read_the_front_matter():
    record = _front_matter((ROOT / "README.md").read_text("utf-8"))
    assert set(record) == set(KEYS)
    for key, value in record.items():
        assert re.fullmatch(KEYS[key], value), (key, value)
    assert (ROOT / record["app_file"]).is_file()
    ours = {one.name: one for one in _requirements((ROOT / "requirements.txt").read_text())}
    assert record["sdk_version"] in ours["gradio"].specifier


def test_a_dry_run_lists_what_the_app_needs_and_nothing_else(publish, clone, capsys, monkeypatch):
    monkeypatch.setattr(publish, "ROOT", clone)
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("a dry run asked somebody"))
    assert publish.main(["somebody/zero1toa", "--dry-run"]) == 0
    told = capsys.readouterr().out.splitlines()
    listed = {line.split()[-1]: int(line.split()[0].replace(",", "")) for line in told[:-1]}
    assert {"app.py", "README.md", "requirements.txt", "packages.txt", "LICENSE", "examples/avatars/maya.glb"} <= set(listed)
    assert {name for name in _git(clone, "ls-files", "zero1toa") if name} <= set(listed), "the package is not whole"
    assert not [name for name in listed if name.startswith(("tests/", "scripts/", ".", "benchmarks/"))]
    # What is larger than 10 MB the Hub's client uploads apart, and Spaces expect that of weights.
    large = {name: size for name, size in listed.items() if size >= 10_000_000}
    assert all(name.endswith(".safetensors") for name in large)
    assert sum(large.values()) < 40_000_000
    changed = {name for name, size in listed.items() if size != (clone / name).stat().st_size}
    assert changed <= {"requirements.txt"}
    # The page of the Space shows the README with its pictures.
    for picture in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", (clone / "README.md").read_text("utf-8")):
        assert picture in listed


def test_what_is_not_committed_is_not_uploaded(publish, clone):
    (clone / "secret.txt").write_text("mine")
    (clone / "zero1toa" / "secret.txt").write_text("mine")
    assert not [file for file in publish.list_uploads("gradio", clone) if "secret" in file.path]
    (clone / "app.py").write_text("changed")
    with pytest.raises(InputError, match="commit"):
        publish.list_uploads("gradio", clone)


def test_shared_gpus_get_a_torch_they_know(publish, clone):
    files = {file.path: file.content.decode() for file in publish.list_uploads("gradio", clone) if file.path.endswith(".txt")}
    theirs, ours = (_requirements(text) for text in (files["requirements.txt"], (clone / "requirements.txt").read_text()))
    assert [one.name for one in theirs] == [one.name for one in ours]
    torch = next(one for one in theirs if one.name == "torch")
    known = [version for version in ("2.8.0", "2.9.1", "2.10.0", "2.11.0", "2.12.0", "2.13.0") if version in torch.specifier]
    assert known == ["2.8.0", "2.9.1", "2.10.0", "2.11.0"]
    # The platform brings its own of these.
    for name in ("gradio", "spaces", "huggingface_hub"):
        (found,) = [one for one in theirs if one.name == name]
        assert {one.operator for one in found.specifier} == {">=", "<"}, f"{name} is pinned"


def test_a_docker_space_has_its_port_and_its_file(publish, clone):
    files = {file.path: file.content for file in publish.list_uploads("docker", clone)}
    record = _front_matter(files["README.md"].decode())
    assert record["sdk"] == "docker"
    assert record["app_port"] == "7860"
    assert not {"sdk_version", "python_version", "app_file"} & set(record)
    text = files["Dockerfile"].decode()
    assert "GRADIO_SERVER_PORT=7860" in text
    assert "--uid 1000" in text
    assert "torch.cuda" not in text, "there is no GPU while the image is built"
    assert files["requirements.txt"] == (clone / "requirements.txt").read_bytes()


def test_system_packages_are_the_same_everywhere():
    packages = (ROOT / "packages.txt").read_text().split()
    for place in ("Dockerfile", "README.md"):
        assert " ".join(packages) in (ROOT / place).read_text("utf-8"), place


def test_somewhere_else_the_script_says_what_to_do(publish, tmp_path):
    with pytest.raises(InputError, match="clone the repository"):
        publish.list_uploads("gradio", tmp_path)


def _front_matter(text: str) -> dict[str, str]:
    """Read the keys between the first two lines of dashes; lists are left out."""
    _, head, _ = text.split("---\n", 2)
    pairs = [line.split(":", 1) for line in head.splitlines() if not line.startswith(" ")]
    return {key: value.strip() for key, value in pairs}


def _requirements(text: str) -> list[Requirement]:
    return [Requirement(line) for line in text.splitlines() if line and not line.startswith("#")]


def _git(folder: Path, *words: str) -> list[str]:
    return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True).stdout.splitlines()
