"""Whether whoever sits at the command line has said that the people in the photos agreed, and where that is remembered."""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import datetime, timezone
from pathlib import Path

from zero1toa.types import InputError

log = logging.getLogger(__name__)

PROMISE = "I make avatars only of myself, of people who agreed, and of people who never were."


def require_consent(given: bool, *, may_ask: bool = True) -> None:
    """Go on only with the promise: `given` now, remembered from before, or typed when a person at a terminal is asked.

    It is remembered in the user's folder of settings. Raises InputError without it.
    """
    if not given:
        if is_remembered():
            return
        if not (may_ask and sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
            raise InputError(
                "making an avatar needs the consent of the person shown: if you have it, or it is you, add --i-have-consent, "
                "which is remembered"
            )
        if not _asked():
            raise InputError("no avatar is made without the consent of the person shown: ask them first")
    remember()


def is_remembered() -> bool:
    """Tell whether the promise was given before; a file that cannot be read counts for nothing."""
    try:
        record = json.loads(consent_file().read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    except (OSError, ValueError, RuntimeError) as error:
        log.warning("The remembered consent cannot be read (%s), so it does not count.", error)
        return False
    return isinstance(record, dict) and record.get("promise") == PROMISE


def remember() -> None:
    """Write the promise down; where nothing can be written it holds for this time only."""
    if is_remembered():
        return
    record = {"promise": PROMISE, "given": datetime.now(timezone.utc).isoformat(timespec="seconds")}
    try:
        file = consent_file()
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    except (OSError, RuntimeError) as error:
        log.warning("Your consent cannot be remembered (%s): it will be asked for again.", error)


def consent_file() -> Path:
    """Name the file in the user's folder of settings; raises RuntimeError where there is no home to look in."""
    settings = os.environ.get("XDG_CONFIG_HOME") or os.environ.get("APPDATA") or Path.home() / ".config"
    return Path(settings) / "zero1toa" / "consent.json"


def _asked() -> bool:
    """Ask once, beside the program's output; the end of the input is a no."""
    print(f'Please confirm, once for all: "{PROMISE}" [y/N] ', end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
