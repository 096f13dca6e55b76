"""Importing the package costs next to nothing and drags nothing heavy along."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

HEAVY = ("gsplat", "diffusers", "transformers", "gradio", "accelerate", "mediapipe", "anny", "spaces")
SECONDS = 0.3


def loaded_by(statement: str) -> tuple[set[str], float]:
    """Give the top-level modules that a fresh interpreter has after a statement, and the seconds that took."""
    program = (
        "import json, sys, time; began = time.perf_counter()\n"
        f"{statement}\n"
        "print(json.dumps([sorted({name.partition('.')[0] for name in sys.modules}), time.perf_counter() - began]))"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    names, seconds = json.loads(out.splitlines()[-1])
    return set(names), seconds


def test_importing_the_package_loads_nothing_heavy_and_is_quick():
    names, seconds = min((loaded_by("import zero1toa") for _ in range(3)), key=lambda measured: measured[1])
    assert not names & {"torch", "numpy", "numba", *HEAVY}
    assert seconds <= SECONDS


def test_the_command_line_describes_itself_without_loading_torch():
    names, _ = loaded_by(
        "import contextlib, io\nfrom zero1toa.cli import main\nwith contextlib.redirect_stdout(io.StringIO()): main(['--help'])"
    )
    assert not names & {"torch", "numba", *HEAVY}


def test_no_room_loads_what_only_one_function_needs():
    names, _ = loaded_by(
        "import zero1toa.pipeline, zero1toa.config, zero1toa.export.package, zero1toa.export.video, zero1toa.export.motion\n"
        "import zero1toa.evaluation.contact_sheet, zero1toa.doctor, zero1toa.settings"
    )
    assert not names & set(HEAVY)


def test_public_names_are_there():
    import zero1toa

    for name in zero1toa.__all__:
        assert getattr(zero1toa, name) is not None
        assert name in dir(zero1toa)
    with pytest.raises(AttributeError, match="no_such_name"):
        zero1toa.no_such_name  # noqa: B018


@pytest.mark.parametrize("page", ["README.md", "examples/README.md"])
def test_commands_that_the_pages_name_are_found_from_the_folder_of_the_project(page):
    """Run as files, scripts and examples would look for the package beside themselves."""
    text = (ROOT / page).read_text("utf-8")
    named = set(re.findall(r"python -m ((?:scripts|examples|zero1toa)[\w.]*\w)", text))
    assert named
    assert not [name for name in named if importlib.util.find_spec(name) is None]
    assert not re.findall(r"python (?:scripts|examples)/\S+", text)
