"""How far our clips are from those of LTXPipeline and LTXImageToVideoPipeline, on tiny random networks.

The comparison itself is tests/support/reference.py; here it becomes figures.
"""

import sys
import tempfile
from pathlib import Path

import comfyui

from benchmarks.figure import Figure, short


def parity() -> list[Figure]:
    """The worst relative error of three VAE generations, text to video and image to video."""
    sys.path.insert(0, str(comfyui.ROOT / "tests" / "support"))
    import comfy.utils
    import reference
    import tiny
    from diffusers.utils import logging

    comfy.utils.PROGRESS_BAR_ENABLED = False
    logging.disable_progress_bar()

    errors = {}
    for version in tiny.VERSIONS:
        with tempfile.TemporaryDirectory(prefix="atelier-parity-") as folder:
            loaded = reference.load(Path(folder) / "ltx", version)
            errors[f"{version} text"] = reference.text_to_video(loaded)
            errors[f"{version} image"] = reference.image_to_video(loaded)
    return [_worst(errors, 0, "parity, latents", 1e-5), _worst(errors, 1, "parity, pixels", 1e-4)]


def _worst(errors: dict[str, tuple[float, float]], which: int, name: str, target: float) -> Figure:
    note = "the worst of " + ", ".join(f"{case} {short(both[which])}" for case, both in errors.items())
    return Figure(name, (max(both[which] for both in errors.values()),), target, note=note)
