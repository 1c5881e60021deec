"""Measures how often the built-in model follows its prompt. The scorer of tools/pocket reads it from the pixels."""

import comfyui
from console import Problem

from benchmarks.figure import Figure

PROMPTS, SEEDS = 100, (1,)
"""The number of held-out prompts, and seeds other than the one (0) of the model card."""
TARGETS = {"color": 0.9, "background": 0.95, "left_right": 0.8}


def pocket() -> list[Figure]:
    """The share of right clips per attribute, beside the scorer's own accuracy on freshly rendered clips."""
    folder = comfyui.ROOT / "models" / "pocket"
    if not (folder / "model_index.json").is_file():
        raise Problem(f"there is no trained model in {folder} yet (run.py pocket makes it).")
    from diffusers.utils import logging
    from pocket.model import load
    from pocket.score import FIGURES, reconstruction, text_to_video

    logging.disable_progress_bar()
    model = load(folder)
    real = reconstruction(model, PROMPTS)["real clips"]
    sampled = text_to_video(model, model.recipe["guidance"], model.recipe["steps"], PROMPTS, SEEDS)
    return [
        Figure(
            f"pocket, {name}",
            (sampled[name],),
            TARGETS.get(name),
            at_least=True,
            note=f"on real clips the scorer reads {real[name]:.2f}",
        )
        for name in sorted(FIGURES, key=lambda name: name not in TARGETS)
    ]
