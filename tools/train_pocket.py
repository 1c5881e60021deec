"""Trains, exports and scores the pocket model: the small LTX that ships in models/pocket.

Training can be stopped at any time and goes on from its checkpoint when started again.
"""

import argparse
import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROMPTS, SEEDS = 100, 3  # of the score
MINUTES = {"vae": 26.0, "text_encoder": 6.0, "transformer": 64.0}  # of training on two cores


def train(arguments: argparse.Namespace) -> None:
    """The chosen stages, one after the other."""
    from pocket import autoencoder, text_encoder, transformer

    stages = {"vae": autoencoder, "text_encoder": text_encoder, "transformer": transformer}
    for stage in stages if arguments.stage == "all" else [arguments.stage]:
        release = arguments.warm_start and arguments.warm_start / stage
        stages[stage].train(arguments.work, arguments.minutes or MINUTES[stage], release)


def export(arguments: argparse.Namespace) -> None:
    """Writes the model folder from the newest checkpoints."""
    from pocket.export import export

    export(arguments.work, arguments.model)


def colours(arguments: argparse.Namespace) -> None:
    """Fits what previews of the model folder's latents look like, into its recipe.json, as `export` does."""
    from pocket.colours import write

    print(f"{write(arguments.model):.0%} of the variance of small pictures is explained")


def score(arguments: argparse.Namespace) -> None:
    """Prints the score table of the model folder, and fails where it is below the released figures (scores.json)."""
    from pocket.score import below, score_folder, table

    scores = score_folder(arguments.model, PROMPTS, range(SEEDS))
    print(table(scores))
    released = arguments.model / "scores.json"
    if arguments.release:
        released.write_text(json.dumps(scores, indent=2) + "\n")
        card = arguments.model / "README.md"
        card.write_text(re.sub(r"(?s)\| \| color.*?\n\n", table(scores) + "\n\n", card.read_text()))
    elif worse := below(scores, json.loads(released.read_text())):
        raise SystemExit("Below the released figures:\n" + "\n".join(worse))


def guidance(arguments: argparse.Namespace) -> None:
    """Prints what several strengths of guidance make of prompts that the score does not use."""
    from pocket.score import guidances, table

    print(table(guidances(arguments.model)))


def sheet(arguments: argparse.Namespace) -> None:
    """Draws clips of held-out prompts, or of the given prompt, as one PNG."""
    from pocket.sample import sample
    from pocket.score import HELD_OUT, held_out, load
    from pocket.sheet import contact_sheet

    pipeline, recipe = load(arguments.model)
    prompts = arguments.prompt or held_out(100)[1][: arguments.rows]
    videos = sample(pipeline, prompts, recipe["guidance"], recipe["steps"], HELD_OUT)
    target = arguments.work / "sheet.png"
    contact_sheet(videos, prompts, target)
    print(target)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (default: as many as torch takes)")
    commands = parser.add_subparsers(required=True)

    def command(function) -> argparse.ArgumentParser:
        added = commands.add_parser(function.__name__, help=function.__doc__)
        added.set_defaults(run=function)
        added.add_argument("--work", type=Path, default=ROOT / ".training" / "pocket", help="checkpoints and logs")
        added.add_argument("--model", type=Path, default=ROOT / "models" / "pocket", help="the model folder")
        return added

    training = command(train)
    training.add_argument("--stage", choices=[*MINUTES, "all"], default="all")
    training.add_argument("--minutes", type=float, help="training time of the stage, earlier runs included")
    training.add_argument("--warm-start", type=Path, help="a released model folder to start from, not from nothing")
    command(export)
    command(colours)
    scoring = command(score)
    scoring.add_argument("--release", action="store_true", help="make these the figures of scores.json and the card")
    command(guidance)
    drawing = command(sheet)
    drawing.add_argument("--rows", type=int, default=10)
    drawing.add_argument("--prompt", action="append", help="instead of held-out prompts; may be given several times")
    return parser.parse_args()


if __name__ == "__main__":
    chosen = parse()
    if chosen.threads:
        import torch

        torch.set_num_threads(chosen.threads)
    chosen.run(chosen)
