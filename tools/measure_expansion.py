"""Measures whether the built-in model follows incomplete prompts as well after their expansion as before."""

import argparse
import random
import sys
import tempfile
from pathlib import Path

import comfyui
import pack

SEED = 70_900_000
"""First seed of this measurement's prompts; neither training nor scoring uses them."""
SAID = 0.5
"""Probability that a prompt mentions an attribute other than the shape."""


def prompts(count: int) -> tuple[list, list[str], list[set[str]]]:
    """Scenes, incomplete captions for them, and the attributes that each caption mentions."""
    from pocket.captions import caption
    from pocket.world import ATTRIBUTES, draw_scenes

    rng = random.Random(SEED)
    scenes = draw_scenes(count, rng, withheld=None)
    said = []
    while len(said) < count:
        names = {"shape"} | {name for name in ATTRIBUTES if rng.random() < SAID}
        said += [names] if len(names) < len(ATTRIBUTES) else []
    return scenes, [caption(scene, rng, names) for scene, names in zip(scenes, said, strict=True)], said


def row(kind: str, verdicts: list[dict[str, float]], said: list[set[str]]) -> str:
    """A table row: the share of right clips for each mentioned attribute, and of clips with all of them right."""
    from pocket.world import ATTRIBUTES

    cells = []
    for name in (*ATTRIBUTES, "whole"):
        right = [verdict[name] for verdict, names in zip(verdicts, said, strict=True) if name in names | {"whole"}]
        cells.append(f"{sum(right) / len(right):.3f} ({len(right)})")
    whole = [min(v[name] for name in names | {"whole"}) for v, names in zip(verdicts, said, strict=True)]
    return "| " + " | ".join([kind, *cells, f"{sum(whole) / len(whole):.3f} ({len(whole)})"]) + " |"


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--prompts", type=int, default=30, help="how many (default: %(default)s)")
    options.add_argument("--seeds", type=int, default=3, help="clips of each (default: %(default)s)")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as base:
        pack.prepare_comfyui(Path(base))
        pack.load()
        from atelier.models.contract.vocabulary import completed
        from atelier.models.library import folders
        from pocket.model import load
        from pocket.score import judge

        pocket = load(comfyui.ROOT / "models" / "pocket")
        recipe = pocket.recipe
        words = folders.vocabulary(folders.POCKET)
        scenes, plain, said = prompts(given.prompts)
        long = [completed(prompt, number, words) for number, prompt in enumerate(plain)]
        print("\n".join(f"{short!r} -> {made!r}" for short, made in zip(plain, long, strict=True)), flush=True)
        print("| | color | shape | size | motion | background | whole | all that was said |\n" + "|---" * 8 + "|")
        for kind, texts in (("as they are", plain), ("expanded", long)):
            verdicts = []
            for seed in range(given.seeds):
                videos = pocket.sample(texts, recipe["guidance"], recipe["steps"], SEED + 1000 * seed)
                verdicts += [judge(video, scene) for video, scene in zip(videos, scenes, strict=True)]
            print(row(kind, verdicts, said * given.seeds), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
