"""No avatar without the word that the person agreed: who is asked, who is refused, and what is remembered."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.avatars import TINY, astronaut_photo
from zero1toa import cli
from zero1toa.consent import PROMISE, consent_file, is_remembered, remember, require_consent
from zero1toa.types import InputError


@pytest.fixture
def stranger(tmp_path, monkeypatch):
    """Be a user who has never promised anything."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    return tmp_path


@pytest.mark.parametrize("words", [["create", "{photo}"], ["batch", "{folder}"], ["reenact", "{photo}"]], ids=lambda w: w[0])
def test_who_cannot_be_asked_is_refused_in_one_sentence(stranger, capsys, words):
    photo = astronaut_photo()
    words = [word.format(photo=photo, folder=photo.parent) for word in words]
    out = ["-o", str(stranger / "a")] if words[0] != "batch" else [str(stranger / "a")]
    assert cli.main([*words, *out, *TINY]) == 2
    told = capsys.readouterr().err
    assert "--i-have-consent" in told
    assert len(told.splitlines()) == 1
    assert cli.main([*words, *out, *TINY, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["kind"] == "input"
    assert not list(stranger.iterdir()), "nothing is written, and nothing remembered"


def test_the_word_is_remembered_in_the_users_own_folder(stranger, capsys):
    missing = ["create", str(stranger / "none.jpg"), "-o", str(stranger / "a")]
    assert cli.main([*missing, "--i-have-consent"]) == 2
    assert "consent" not in capsys.readouterr().err, "only the photo is missing now"
    record = json.loads((stranger / "settings" / "zero1toa" / "consent.json").read_text())
    assert record["promise"] == PROMISE
    assert cli.main(missing) == 2
    assert "consent" not in capsys.readouterr().err
    before = consent_file().stat().st_mtime_ns
    remember()
    assert consent_file().stat().st_mtime_ns == before


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"promise": "anything else"}', b"true"])
def test_other_files_are_no_promise(stranger, content):
    consent_file().parent.mkdir(parents=True)
    consent_file().write_bytes(content)
    assert not is_remembered()
    with pytest.raises(InputError, match="--i-have-consent"):
        require_consent(False, may_ask=False)
    require_consent(True)
    assert is_remembered()


def test_where_nothing_can_be_kept_the_word_holds_once(stranger, caplog):
    (stranger / "settings").write_text("a file where the folder should be")
    require_consent(True)
    assert "cannot be remembered" in caplog.text
    assert not is_remembered()


@pytest.mark.skipif(os.name == "nt", reason="terminals are made as on POSIX")
@pytest.mark.parametrize(("answer", "agreed"), [("y\n", True), ("YES\n", True), ("n\n", False), ("\n", False), ("\x04", False)])
def test_a_person_at_a_terminal_is_asked_once(stranger, answer, agreed):
    import pty

    command = [sys.executable, "-m", "zero1toa", "create", str(stranger / "none.jpg"), "-o", str(stranger / "a")]
    ours, theirs = pty.openpty()
    person = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True)
    os.close(theirs)
    os.write(ours, answer.encode())
    told = read_terminal(ours)
    assert person.wait(timeout=240) == 2
    assert told.count(PROMISE) == 1
    assert is_remembered() == agreed
    assert ("ask them first" in told) == (not agreed)
    assert ("none.jpg" in told) == agreed, "with the promise it goes on to the photo, which is missing"
    if agreed:
        again = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert PROMISE not in again.stderr
        assert "none.jpg" in again.stderr


def read_terminal(file: int) -> str:
    """Read what a terminal shows until the program behind it has gone, which Linux reports as an error."""
    shown = b""
    while True:
        try:
            part = os.read(file, 4096)
        except OSError:
            part = b""
        if not part:
            os.close(file)
            return shown.decode(errors="replace")
        shown += part
