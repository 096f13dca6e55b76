"""A stand-in for the platform of Spaces with shared GPUs: what it answers, whom it kills, and how the app is run there.

The package `spaces` is the real one, so functions run in forked processes, and what they are given and give is pickled. There
is no GPU: the program hides torch while `spaces` loads, and it leaves torch as it is.
"""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import signal
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

# Settings of turns that tests change, and what the app answers when it has done so.
SETTINGS = ("MOST_S", "LEAST_S", "END_S", "CHECKPOINT_S")
CHANGED = "The settings are changed."


@dataclass
class Platform:
    """Lends "GPUs": notes the seconds that are asked for and the processes that got them, and ends who takes longer.

    A process that is done is ended as well, so that nothing of it can be of use to the next one.
    """

    generous: bool = True
    asked: list[int] = field(default_factory=list)
    processes: list[int] = field(default_factory=list)
    killed: list[int] = field(default_factory=list)
    _lent: dict[str, tuple[int, threading.Timer]] = field(default_factory=dict)

    def forget(self) -> None:
        """Begin anew, when nothing is lent any more."""
        self.generous = True
        for known in (self.asked, self.processes, self.killed):
            known.clear()

    def schedule(self, durationSeconds: str, **_: str) -> tuple[int, dict]:
        if not self.generous:
            return 429, {"left": 0, "wait": 3600}
        self.asked.append(int(durationSeconds))
        return 200, {"idle": False, "nvidiaIndex": 0, "nvidiaUUID": "none", "allowToken": str(len(self.asked) - 1)}

    def allow(self, allowToken: str, pid: str) -> tuple[int, dict]:
        self.processes.append(int(pid))
        timer = threading.Timer(self.asked[int(allowToken)], self._cut_off, [int(pid)])
        self._lent[allowToken] = int(pid), timer
        timer.start()
        return 200, {}

    def release(self, allowToken: str, **_: str) -> tuple[int, dict]:
        self._take_back(allowToken)
        return 200, {}

    def startup_report(self) -> tuple[int, dict]:
        return 200, {}

    def cut_off(self) -> None:
        """End whoever has a "GPU" now, as if the time were over."""
        for pid, timer in tuple(self._lent.values()):
            timer.cancel()
            self._cut_off(pid)

    def _cut_off(self, pid: int) -> None:
        self.killed.append(pid)
        _kill(pid)

    def _take_back(self, token: str) -> None:
        if token in self._lent:
            pid, timer = self._lent.pop(token)
            timer.cancel()
            _kill(pid)

    @contextlib.contextmanager
    def listening(self):
        """Answer on the loopback; gives the address."""
        platform = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                address = urlsplit(self.path)
                act = getattr(platform, address.path.strip("/").replace("-", "_"))
                status, answer = act(**{name: values[0] for name, values in parse_qs(address.query).items()})
                body = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            for token in tuple(self._lent):
                self._take_back(token)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def environment(address: str, folder: Path) -> dict[str, str]:
    """Give the environment that the platform gives a program."""
    (folder / "cgroup").write_text("0::/space\n")
    (folder / "visits").mkdir()
    return {
        **os.environ, "SPACES_ZERO_GPU": "true", "SPACES_ZERO_DEVICE_API_URL": address, "NO_PROXY": "127.0.0.1",
        "ZEROGPU_PROC_SELF_CGROUP_PATH": str(folder / "cgroup"), "TMPDIR": str(folder / "visits"),
        "GRADIO_TEMP_DIR": str(folder / "cache"), "PYTHONPATH": str(Path(__file__).parents[1]),
    }  # fmt: skip


def run_app(port: str) -> None:
    """Run app.py as it is, with small presets; lines of JSON on its standard input change settings of its turns."""
    sys.modules["torch"] = None  # pyright: ignore[reportArgumentType]
    import spaces  # noqa: F401

    del sys.modules["torch"]
    from test_app import ENDLESS, TINY

    from zero1toa.config import PRESETS
    from zero1toa.ui import build, shared_gpus

    def obey() -> None:
        # Not sys.stdin, whose lock would stay closed in forked processes, which close it.
        for line in os.fdopen(os.dup(0)):
            for name, value in json.loads(line).items():
                for module in (shared_gpus, build):
                    if hasattr(module, name):
                        setattr(module, name, value)
            print(CHANGED, flush=True)

    threading.Thread(target=obey, daemon=True).start()
    PRESETS.clear()
    PRESETS.update(tiny=TINY, endless=ENDLESS)
    sys.argv = ["app.py", "--server-port", port]
    runpy.run_path(str(Path(__file__).parents[1] / "app.py"), run_name="__main__")


if __name__ == "__main__":
    run_app(*sys.argv[1:])
