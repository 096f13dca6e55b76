"""Weights by name: what is here, what is not, how it comes here, and what is not accepted."""

import contextlib
import hashlib
import http.server
import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from zero1toa import cli
from zero1toa.assets import TABLE, Asset, Weights, missing, require, weights, weights_path
from zero1toa.priors import NAMES, choose_prior, load_prior
from zero1toa.priors.base import DiffusionConfig
from zero1toa.types import PriorError

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")


@pytest.fixture
def empty(tmp_path, monkeypatch) -> Path:
    """Work with a cache that holds nothing."""
    monkeypatch.setenv("ZERO1TOA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_every_prior_has_an_entry_with_a_licence():
    assert {entry.name for entry in TABLE} == set(NAMES)
    for entry in TABLE:
        assert entry.licence
        assert all(len(file.sha256) in (0, 64) and file.size > 0 for file in entry.files)
        assert bool(entry.files) == (entry.memory_gb > 0)
    assert weights("aniportrait").size == pytest.approx(10.9e9, rel=0.01)


@pytest.mark.parametrize("name", [entry.name for entry in TABLE if entry.files])
def test_absent_weights_are_named_with_the_command_that_fetches_them(empty, name):
    for ask in (lambda: require(name), lambda: choose_prior(name, CPU), lambda: load_prior(name, DiffusionConfig(), CPU)):
        with pytest.raises(PriorError, match=f"zero1toa fetch {name}"):
            ask()
    assert len(missing(name)) == len(weights(name).files)


def test_unknown_priors_are_refused_with_the_names_there_are(empty):
    for ask in (weights, lambda name: choose_prior(name, CPU), lambda name: load_prior(name, DiffusionConfig(), CPU)):
        with pytest.raises(PriorError, match="projection"):
            ask("oracle")


def test_auto_takes_what_there_is_and_says_why(empty, hub):
    name, why = choose_prior("auto", CPU)
    assert name == "embedded"
    assert "aniportrait: too slow without a GPU" in why
    assert choose_prior("projection", CPU) == ("projection", "")
    assert choose_prior("aniportrait", CPU) == ("aniportrait", "")


def test_auto_looks_at_files_and_at_free_memory(empty, monkeypatch):
    gpu = torch.device("cuda")
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device=None: (6e9, 8e9))
    assert "aniportrait: its weights are not here" in choose_prior("auto", gpu)[1]
    for file in weights("aniportrait").files:
        file.place.parent.mkdir(parents=True, exist_ok=True)
        file.place.touch()
    name, why = choose_prior("auto", gpu)
    assert name == "embedded"
    assert "needs 10 GB of GPU memory, 6 are free" in why
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device=None: (20e9, 24e9))
    assert choose_prior("auto", gpu)[0] == "aniportrait"


def test_the_command_line_refuses_at_once_and_leaves_nothing(empty, tmp_path):
    words = ["create", str(tmp_path / "me.jpg"), "-o", str(tmp_path / "out"), "--prior", "aniportrait", "--json"]
    environment = {**os.environ, "ZERO1TOA_CACHE": str(empty)}
    seconds = []
    for _ in range(3):
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "zero1toa", *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        seconds.append(time.monotonic() - began)
        assert done.returncode == 2
    assert min(seconds) < 2
    assert "zero1toa fetch aniportrait" in done.stderr
    assert json.loads(done.stdout)["kind"] == "input"
    assert not (tmp_path / "out").exists()


def test_doctor_says_what_a_prior_needs(empty, capsys):
    assert cli.main(["doctor", "--prior", "aniportrait", "--json"]) == 0
    found = {finding["name"]: finding for finding in json.loads(capsys.readouterr().out)}
    assert found["ZJYang/AniPortrait/denoising_unet.pth"]["text"] == "to download, 3440 MB"
    assert "10.9 of 10.9 GB" in found["download"]["text"]
    assert "10 GB of GPU memory" in found["memory"]["text"]
    assert "OpenRAIL" in found["licence"]["text"]
    assert cli.main(["doctor", "--prior", "oracle"]) == 2
    assert cli.main(["doctor", "--prior", "projection"]) == 0


def test_doctor_sees_weights_that_are_here(hub, capsys):
    assert cli.main(["doctor", "--prior", "aniportrait", "--json"]) == 0
    found = {finding["name"]: finding for finding in json.loads(capsys.readouterr().out)}
    assert found["ZJYang/AniPortrait/denoising_unet.pth"]["status"] == "ok"
    assert "download" not in found


# ------------------------------------------------------------------------------------------------ downloading

# Larger than the pieces in which the library writes downloads, 10 MB.
CONTENT = bytes(range(256)) * (1 << 17)


class Hub(http.server.BaseHTTPRequestHandler):
    """Serves one file as huggingface.co does; the first time it hangs up in the middle."""

    def do_HEAD(self) -> None:
        self._begin(200, len(CONTENT))

    def do_GET(self) -> None:
        self.server.asked.append(self.headers.get("Range"))
        start = int(re.findall(r"bytes=(\d+)-", self.headers.get("Range") or "bytes=0-")[0])
        self._begin(206 if start else 200, len(CONTENT) - start, start)
        end = len(CONTENT) // 2 if self.server.breaks and not start else len(CONTENT)
        self.wfile.write(CONTENT[start:end])
        if end < len(CONTENT):
            self.server.breaks = False
            self.wfile.flush()
            self.connection.close()

    def _begin(self, status: int, length: int, start: int = 0) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("ETag", f'"{self.server.etag}"')
        self.end_headers()

    def log_message(self, *_) -> None:
        pass


@contextlib.contextmanager
def serving(etag: str, *, breaks: bool):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.asked, server.etag, server.breaks = [], etag, breaks
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


FETCH = """
import sys
from zero1toa import assets
from zero1toa.types import PriorError
assets.TABLE = (assets.Weights("tiny", (assets.Asset("some/one", "deep/file.bin", 1, sys.argv[1]),)),)
try:
    for file, done in assets.fetch("tiny"):
        print("done" if done else "begun", file.path, flush=True)
except PriorError as error:
    print("refused:", error)
"""


def fetched(server, cache: Path, sha256: str = "") -> list[str]:
    """Fetch in a process that takes this server for the hub; give what it told."""
    environment = {
        **os.environ, "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HUB_OFFLINE": "0", "PYTHONPATH": str(ROOT),
        "ZERO1TOA_CACHE": str(cache), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1",
        "HF_HOME": str(cache / "hf"),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", FETCH, sha256], env=environment, capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_download_that_breaks_off_is_gone_on_with(tmp_path):
    right = hashlib.sha256(CONTENT).hexdigest()
    place = tmp_path / "weights" / "some" / "one" / "deep" / "file.bin"
    with serving(right, breaks=True) as server:
        assert fetched(server, tmp_path, right) == ["begun deep/file.bin", "done deep/file.bin"]
    assert place.read_bytes() == CONTENT
    assert server.asked[0] is None
    assert re.fullmatch(r"bytes=[1-9]\d+-", server.asked[1]), "the rest only"


def test_a_download_of_a_process_that_died_is_gone_on_with(tmp_path):
    right = hashlib.sha256(CONTENT).hexdigest()
    place = tmp_path / "weights" / "some" / "one" / "deep" / "file.bin"
    place.parent.mkdir(parents=True)
    half = place.with_name(f"file.bin.{right[:16]}.partial")
    half.write_bytes(CONTENT[:1000])
    with serving(right, breaks=False) as server:
        assert fetched(server, tmp_path) == ["begun deep/file.bin", "done deep/file.bin"]
    assert server.asked == ["bytes=1000-"]
    assert place.read_bytes() == CONTENT
    assert not half.exists()


@pytest.mark.parametrize("known", [True, False])
def test_a_file_with_another_hash_is_deleted(tmp_path, known):
    wrong = hashlib.sha256(b"something else").hexdigest()
    with serving(wrong, breaks=False) as server:
        told = fetched(server, tmp_path, wrong if known else "")
    assert told[-1].startswith("refused: ")
    assert "not the file it should be" in told[-1]
    assert not (tmp_path / "weights" / "some" / "one" / "deep" / "file.bin").exists()


def test_without_a_network_fetching_says_so(empty, monkeypatch):
    entry = Weights("tiny", (Asset("some/one", "file.bin", 1),))
    monkeypatch.setattr("zero1toa.assets.TABLE", (entry,))
    assert cli.main(["fetch", "tiny"]) == 2
    assert not weights_path("some/one", "file.bin").exists()
