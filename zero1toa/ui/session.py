"""What belongs to one visitor: a folder of their own, and the avatar in it, ready to be drawn."""

from __future__ import annotations

import atexit
import filecmp
import shutil
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from zero1toa.export.package import RECORD, load_avatar
from zero1toa.export.views import Viewer

# Avatars kept in memory; with the head model shared, each takes some 10 MB.
KEPT = 8

_opened: set[Path] = set()
_viewers: OrderedDict[Path, tuple[int, Viewer]] = OrderedDict()
_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Session:
    """A visitor's own folder. It is a plain record, so that it survives being handed to another process."""

    folder: Path

    @classmethod
    def open(cls) -> Session:
        """Make a folder that only this user of the computer may enter."""
        folder = Path(tempfile.mkdtemp(prefix="zero1toa-"))
        if not _opened:
            atexit.register(_close_all)
        _opened.add(folder)
        return cls(folder)

    @property
    def avatar(self) -> Path:
        """Where the avatar is saved."""
        return self.folder / "avatar"

    @property
    def ready(self) -> bool:
        """Whether there is an avatar to play with."""
        return (self.avatar / RECORD).is_file()

    @property
    def stopping(self) -> bool:
        """Whether the work should end: the visitor said so, or has left."""
        return not self.folder.is_dir() or self._flag.exists()

    @property
    def _flag(self) -> Path:
        return self.folder / "stop"

    def start(self) -> None:
        """Take back what `stop` said."""
        self._flag.unlink(missing_ok=True)

    def stop(self) -> None:
        """Ask the work on the avatar to end; a file, because that work may be going on in another process."""
        if self.folder.is_dir():
            self._flag.touch()

    def viewer(self) -> Viewer:
        """Give the avatar, loaded; raises AvatarError when there is none."""
        return open_viewer(self.avatar)

    def close(self) -> None:
        """Delete everything of this visitor's."""
        with _lock:
            _viewers.pop(self.avatar, None)
        _opened.discard(self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)


def open_viewer(folder: Path) -> Viewer:
    """Load a saved avatar, or give it again if it has not changed since; raises AvatarError when it cannot be loaded."""
    record = folder / RECORD
    stamp = record.stat().st_mtime_ns if record.is_file() else 0
    with _lock:
        held = _viewers.get(folder)
        if held is None or held[0] != stamp:
            held = stamp, Viewer.of(load_avatar(folder))
        _viewers[folder] = held
        _viewers.move_to_end(folder)
        while len(_viewers) > KEPT:
            _viewers.popitem(last=False)
        return held[1]


def close_session(session: Session | None) -> None:
    """Forget a visitor who left."""
    if session is not None:
        session.close()


def _close_all() -> None:
    """Delete what visitors leave behind when the program ends."""
    for folder in tuple(_opened):
        Session(folder).close()


def delete_copies(paths: Iterable[str | None], cache: Path, examples: Iterable[Path]) -> None:
    """Delete a visitor's uploads and downloads from the web server's cache, but never what the examples need there."""
    keep = tuple(examples)
    for path in (Path(path).resolve() for path in paths if path):
        inside = cache.resolve() in path.parents and path.is_file()
        if inside and not any(filecmp.cmp(path, example, shallow=False) for example in keep):
            path.unlink(missing_ok=True)
