"""What the page says, in English and in Chinese; the browser chooses. What is reported during the work is English.

words.json holds, under "page", the two texts of each part of the page, and, under "panel", the viewer's own words by the
English ones.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gradio as gr

_TABLE = json.loads(Path(__file__).with_suffix(".json").read_text("utf-8"))
PANEL_CHINESE: dict[str, str] = _TABLE["panel"]

# Gradio has words of its own under plain names.
_OURS = "zero1toa-{}"
_TEXTS = {
    language: {_OURS.format(name): texts[language] for name, texts in _TABLE["page"].items()} for language in ("en", "zh")
}
TRANSLATIONS = gr.I18n(**_TEXTS, **{"zh-CN": _TEXTS["zh"]})


def words(name: str) -> Any:
    """Give what the page says under a name, in the language of the browser."""
    return TRANSLATIONS(_OURS.format(name))
