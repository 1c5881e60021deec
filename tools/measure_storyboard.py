"""Two-card storyboards with the built-in model: does each half show what its card says? Prints a table's rows."""

import argparse
import random
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pack
from benchmarks.figure import Figure
from shots.studio import FPS, SIDEWAYS, STEP, Studio, prompt_of

SEED = 70_800_000
"""Boards from here on belong to this measurement; neither training nor scoring uses them."""
BOARDS, FRAMES, TURN = 50, 25, 13
"""Boards; frames of each clip; the frame (from 0) at which the second card's words begin to hold."""


def cards(number: int) -> tuple[str, Any, Any]:
    """Which attribute changes (motion and colour in turn), and the scenes of the two cards."""
    from pocket.world import COLORS, draw_scenes

    rng = random.Random(SEED + number)
    first = replace(draw_scenes(1, rng)[0], motion=rng.choice(SIDEWAYS), size="small")
    name, choices = (("motion", SIDEWAYS), ("color", tuple(COLORS)))[number % 2]
    return name, first, replace(first, **{name: rng.choice([c for c in choices if c != getattr(first, name)])})


def board(studio: Studio, number: int, cut: bool) -> dict[str, float]:
    """Whether each half of one board's clip shows the changing attribute of its card (1 or 0)."""
    from pocket.score import analyse

    name, first, second = cards(number)
    size = dict(width=0, height=0, seconds=0.0, frames=FRAMES, fps=float(FPS), batch_size=1)
    empty = studio.call(studio.nodes.EmptyVideoLatent, model=studio.model, **size)
    text = f"0s: {prompt_of(first)}\n{TURN / FPS}s{' cut' if cut else ''}: {prompt_of(second)}"
    given = dict(clip=studio.clip, vae=studio.vae, latent=empty, board=text, negative_prompt="", style="none")
    positive, negative, latent = studio.call(studio.nodes.Storyboard, **given)
    settings = dict(seed=number, steps=0, guidance=0.0, denoise=1.0)
    made = dict(model=studio.model, positive=positive, negative=negative, latent=latent)
    frames = studio.decoded(studio.call(studio.nodes.SampleVideo, **made, **settings))
    # Between the halves is the latent frame in which the cards change.
    halves = analyse(frames[:TURN])[name], analyse(frames[TURN + (0 if cut else STEP) :])[name]
    right = [float(seen == getattr(scene, name)) for seen, scene in zip(halves, (first, second), strict=True)]
    return {"first": right[0], "second": right[1], "both": min(right), name: min(right)}


def figures(boards: list[dict[str, float]]) -> list[Figure]:
    names = {
        "first": "the first half follows its card (share)",
        "second": "the second half follows its card (share)",
        "both": "both halves do (share)",
        "motion": "both halves do, motion changes (share)",
        "color": "both halves do, colour changes (share)",
    }
    samples = {what: [one[name] for one in boards if name in one] for name, what in names.items()}
    return [
        Figure(what, (sum(values) / len(values),), 0.8 if "both halves do (" in what else None, "", True, "")
        for what, values in samples.items()
        if values
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--boards", type=int, default=BOARDS, help="how many (default: %(default)s)")
    count = parser.parse_args().boards
    with tempfile.TemporaryDirectory() as base:
        pack.prepare_comfyui(Path(base))
        pack.load()
        import comfy.utils
        import torch
        from shots_table import row

        comfy.utils.set_progress_bar_enabled(False)
        studio = Studio()
        with torch.inference_mode():
            for kind, cut in (("flow", False), ("cut", True)):
                for figure in figures([board(studio, number, cut) for number in range(count)]):
                    print(row(f"Storyboard, {kind}", figure), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
