"""What belongs to one visitor: a folder of their own with their avatars, and what may be shown to them."""

from __future__ import annotations

import atexit
import contextlib
import filecmp
import math
import shutil
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from zero1toa.export.package import RECORD, load_avatar
from zero1toa.export.views import Viewer

# Avatars kept in memory; with the head model shared, each takes some 10 MB.
KEPT = 8
# Avatars kept for a visitor to compare; with their files, each takes some 20 MB of disk.
MOST_AVATARS = 4

_opened: set[Path] = set()
_viewers: OrderedDict[Path, tuple[int, Viewer]] = OrderedDict()
_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Shown:
    """An avatar that can be on the stage: `source` is what `load_avatar` takes, `glb` what browsers take."""

    name: str
    source: Path
    glb: Path

    def viewer(self) -> Viewer:
        """Load the avatar, or give it again if it has not changed since; raises AvatarError when it cannot be loaded."""
        record = self.source if self.source.is_file() else self.source / RECORD
        stamp = record.stat().st_mtime_ns if record.is_file() else 0
        with _lock:
            held = _viewers.get(self.source)
            if held is None or held[0] != stamp:
                held = stamp, Viewer.of(load_avatar(self.source))
            _viewers[self.source] = held
            _viewers.move_to_end(self.source)
            while len(_viewers) > KEPT:
                _viewers.popitem(last=False)
            return held[1]


@dataclass(frozen=True, slots=True)
class Session:
    """A visitor's own folder. It is a plain record, so that it survives being handed to another process.

    Its name is in the name of every file that the web server is given to hand out, so that all copies can be found.
    """

    folder: Path

    @classmethod
    def open(cls) -> Session:
        """Make a folder that only this user of the computer may enter."""
        folder = Path(tempfile.mkdtemp(prefix="zero1toa-"))
        if not _opened:
            atexit.register(_close_all)
        _opened.add(folder)
        return cls(folder)

    @classmethod
    def of(cls, session: Session | None) -> Session:
        """Give the visitor's session, or a new one to who has none any more."""
        return session if session is not None and session.alive else cls.open()

    @property
    def alive(self) -> bool:
        """Whether the visitor is still there and has not deleted everything."""
        return self.folder.is_dir()

    @property
    def run(self) -> Path:
        """Where the creation keeps its checkpoints."""
        return self.folder / "run"

    @property
    def portrait(self) -> Path:
        """What was read out of the photo, for the creation to begin or go on with."""
        return self.run / "portrait.safetensors"

    @property
    def stopping(self) -> bool:
        """Whether the work should end: the visitor said so, or has left."""
        return not self.alive or self._flag.exists()

    @property
    def _flag(self) -> Path:
        return self.folder / "stop"

    def start(self, *, afresh: bool = True) -> None:
        """Begin a creation; `afresh` forgets what an earlier one would have gone on from."""
        self._flag.unlink(missing_ok=True)
        if afresh:
            shutil.rmtree(self.run, ignore_errors=True)

    def stop(self) -> None:
        """Ask for the end of a creation, which may be going on in another process."""
        if self.alive:
            self._flag.touch()

    def file(self, name: str) -> Path:
        """Give the place of a file to be handed out; nobody can guess its copy's address."""
        folder = self.folder / "files"
        folder.mkdir(exist_ok=True)
        return folder / f"{self.folder.name}-{name}"

    def avatars(self) -> list[Shown]:
        """List the visitor's avatars, the oldest first."""
        folders = sorted((record.parent for record in self.folder.glob(f"avatars/*/{RECORD}")), key=lambda path: int(path.name))
        return [self._shown(folder) for folder in folders]

    def next_avatar(self) -> Shown:
        """Give the place for one more avatar; the oldest goes when there are too many."""
        known = self.avatars()
        for old in known[: len(known) + 1 - MOST_AVATARS]:
            shutil.rmtree(old.source, ignore_errors=True)
            old.glb.unlink(missing_ok=True)
            self._name_file(old.source).unlink(missing_ok=True)
        return self._shown(self.folder / "avatars" / str(1 + (int(known[-1].source.name) if known else 0)))

    def call(self, avatar: Shown, name: str) -> Shown:
        """Give an avatar a name of its own."""
        self._name_file(avatar.source).write_text(name, encoding="utf-8")
        return self._shown(avatar.source)

    def _shown(self, folder: Path) -> Shown:
        named = self._name_file(folder)
        name = f"# {folder.name}" + (f": {named.read_text('utf-8')}" if named.is_file() else "")
        return Shown(name, folder, self.file(f"{folder.name}.glb"))

    @staticmethod
    def _name_file(folder: Path) -> Path:
        return folder.with_suffix(".name")

    def close(self, copies: Path | None = None) -> None:
        """Delete everything of this visitor's, in the web server's cache of copies, too."""
        with _lock:
            for source in [source for source in _viewers if self.folder in source.parents]:
                del _viewers[source]
        _opened.discard(self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)
        if copies is not None:
            self.forget_copies(copies)

    def forget_copies(self, copies: Path, pattern: str = "*", *, older_s: float = -math.inf) -> None:
        """Delete the web server's copies of this visitor's files, those that are older than so many seconds."""
        for path in copies.glob(f"*/{self.folder.name}-{pattern}"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > older_s:
                    path.unlink()


@dataclass(slots=True)
class Uploads:
    """All that a visitor uploaded and not only what is on the page now; grows in place, as several events may add to it."""

    paths: set[str] = field(default_factory=set)

    def add(self, path: str) -> Uploads:
        """Take note of a file that a handler was given."""
        self.paths.add(path)
        return self

    def delete(self, examples: Iterable[Path]) -> None:
        """Delete them from the web server's cache, but never what the examples need there."""
        from gradio.utils import get_upload_folder

        examples = tuple(examples)
        while self.paths:
            delete_upload(self.paths.pop(), Path(get_upload_folder()), examples)


def close_session(session: Session | None) -> None:
    """Forget a visitor who left."""
    from gradio.utils import get_upload_folder

    if session is not None:
        session.stop()
        session.close(Path(get_upload_folder()))


def _close_all() -> None:
    """Delete what visitors leave behind when the program ends."""
    for folder in tuple(_opened):
        Session(folder).close()


def delete_upload(path: str | None, cache: Path, examples: Iterable[Path]) -> None:
    """Delete a visitor's upload from the web server's cache, but never what the examples need there."""
    if path is None:
        return
    upload = Path(path).resolve()
    inside = cache.resolve() in upload.parents and upload.is_file()
    if inside and not any(filecmp.cmp(upload, example, shallow=False) for example in examples):
        upload.unlink(missing_ok=True)
