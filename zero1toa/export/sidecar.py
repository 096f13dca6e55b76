"""provenance.json: what the files beside it are, where they come from, and their checksums."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from zero1toa.media import explain_writing, replacing
from zero1toa.provenance import Provenance

SIDECAR = "provenance.json"


def write_sidecar(folder: Path, files: Iterable[Path], provenance: Provenance) -> Path:
    """Write the record into `folder`, with the sha256 of each of its `files` under the name it has in there.

    Raises InputError when it cannot be written.
    """
    hashes = {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files)}
    text = json.dumps({**provenance.record(), "sha256": hashes}, indent=1, ensure_ascii=False)
    with replacing(folder / SIDECAR) as partial, explain_writing(folder / SIDECAR):
        partial.write_text(text + "\n", encoding="utf-8")
    return folder / SIDECAR
