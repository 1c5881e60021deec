"""Styles: words around a prompt and its negative prompt, from styles.json and the artist's own file."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import folder_paths

NO_STYLE = "none"
MODEL_STYLE = "the model's own"
"""The style whose words a model's authors add to every prompt; none where they add none."""
BUILT_IN = Path(__file__).parents[1] / "styles.json"


def own_styles_file() -> Path:
    """Where an artist's own styles lie: atelier_styles.json in ComfyUI's user folder."""
    return Path(folder_paths.get_user_directory()) / "atelier_styles.json"


def styles() -> dict[str, dict[str, str]]:
    """Name -> {"prompt": text with {prompt} in it, "negative": text}. The artist's own file adds to ours."""
    found: dict[str, dict[str, str]] = {NO_STYLE: {}, MODEL_STYLE: {}}
    for file in (BUILT_IN, own_styles_file()):
        if not file.is_file():
            continue
        try:
            entries = json.loads(file.read_text(encoding="utf-8"))
            found |= {str(name): dict(entry) for name, entry in entries.items()}
        except (ValueError, AttributeError, TypeError) as error:
            logging.warning(
                'Atelier: %s is not used: %s. Expected: {"name": {"prompt": "... {prompt} ...", "negative": "..."}}.',
                file,
                error,
            )
    return found


def styled(prompt: str, negative: str, style: str, own: str = "") -> tuple[str, str]:
    """The prompt and negative prompt with a style's words around them. own: the style that is the model's own."""
    entry = styles().get(own if style == MODEL_STYLE else style, {})
    around = str(entry.get("prompt", "{prompt}"))
    positive = around.replace("{prompt}", prompt) if "{prompt}" in around else f"{prompt}, {around}"
    return positive, ", ".join(filter(None, (negative.strip(), str(entry.get("negative", "")))))
