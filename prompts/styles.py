"""Styles: words added to a prompt and its negative prompt, from styles.json and the artist's own file."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import folder_paths

NO_STYLE = "none"
MODEL_STYLE = "the model's own"
"""The style that the model's authors add to every prompt, if any."""
BUILT_IN = Path(__file__).parents[1] / "styles.json"


def own_styles_file() -> Path:
    """The file of the artist's own styles: atelier_styles.json in ComfyUI's user folder."""
    return Path(folder_paths.get_user_directory()) / "atelier_styles.json"


def styles() -> dict[str, dict[str, str]]:
    """Name -> {"prompt": text with {prompt} in it, "negative": text}. The artist's own file adds to ours."""
    entries: dict[str, dict[str, str]] = {NO_STYLE: {}, MODEL_STYLE: {}}
    for file in (BUILT_IN, own_styles_file()):
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            entries |= {str(name): dict(entry) for name, entry in content.items()}
        except FileNotFoundError:
            continue
        except (OSError, ValueError, AttributeError, TypeError) as error:
            logging.warning(
                'Atelier: %s is not used: %s. Expected: {"name": {"prompt": "... {prompt} ...", "negative": "..."}}.',
                file,
                error,
            )
    return entries


def styled(prompt: str, negative: str, style: str, own: str = "") -> tuple[str, str]:
    """The prompt and negative prompt with a style's words. own: the name of the style that MODEL_STYLE stands for."""
    entry = styles().get(own if style == MODEL_STYLE else style, {})
    around = str(entry.get("prompt", "{prompt}"))
    positive = around.replace("{prompt}", prompt) if "{prompt}" in around else f"{prompt}, {around}"
    return positive, ", ".join(filter(None, (negative.strip(), str(entry.get("negative", "")))))
