"""Trains, exports and scores the small models that ship with the pack, one of each architecture.

Training can be stopped at any time and continues from its checkpoint when started again.
"""

import argparse
import importlib
import json
import re
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent


class Stage(NamedTuple):
    """A part of a model: the module that trains it, its folder in the model, and its training minutes on two cores.

    apart: it is trained only if it is asked for by name, as the other stages read its released weights.
    """

    module: str
    folder: str
    minutes: float
    apart: bool = False


class Architecture(NamedTuple):
    """How a small model is trained and scored.

    folder: the model's, under models/. package: of the modules. prompts, seeds: how many held-out ones the score uses.
    stages: by name, in their order.
    """

    folder: str
    package: str
    prompts: int
    seeds: int
    stages: dict[str, Stage]

    def module(self, name: str) -> ModuleType:
        return importlib.import_module(f"{self.package}.{name}")


ARCHITECTURES = {
    "ltx": Architecture(
        "pocket",
        "pocket",
        100,
        3,
        {
            "vae": Stage("autoencoder", "vae", 50.0),
            "text_encoder": Stage("text_encoder", "text_encoder", 6.0, apart=True),
            "transformer": Stage("transformer", "transformer", 219.0),
        },
    ),
    "pyramid": Architecture(
        "pocket_pyramid",
        "pocket.pyramid",
        100,
        3,
        {
            "vae": Stage("autoencoder", "causal_video_vae", 34.0),
            "transformer": Stage("transformer", "diffusion_transformer_pocket", 190.0),
        },
    ),
    "ltx2": Architecture(
        "pocket_sound",
        "pocket.ltx2",
        100,
        1,
        {
            "vae": Stage("picture", "vae", 0.0),
            "audio_vae": Stage("audio", "audio_vae", 7.0),
            "vocoder": Stage("vocoder", "vocoder", 6.0),
            "connectors": Stage("text", "connectors", 5.0),
            "transformer": Stage("transformer", "transformer", 44.0),
        },
    ),
    "cogvideox": Architecture(
        "pocket_cogvideox",
        "pocket.cogvideox",
        100,
        3,
        {"vae": Stage("autoencoder", "vae", 67.0), "transformer": Stage("transformer", "transformer", 150.0)},
    ),
    "mochi": Architecture(
        "pocket_mochi",
        "pocket.mochi",
        100,
        3,
        {"vae": Stage("autoencoder", "vae", 12.0), "transformer": Stage("transformer", "transformer", 80.0)},
    ),
}
STAGES = dict.fromkeys(name for architecture in ARCHITECTURES.values() for name in architecture.stages)


def train(arguments: argparse.Namespace) -> None:
    """Trains the chosen stages, one after the other."""
    architecture = ARCHITECTURES[arguments.architecture]
    usual = [name for name, stage in architecture.stages.items() if not stage.apart]
    for name in usual if arguments.stage == "all" else [arguments.stage]:
        if name not in architecture.stages:
            raise SystemExit(f"{arguments.architecture} has no stage '{name}', only: {', '.join(architecture.stages)}.")
        stage = architecture.stages[name]
        release = arguments.warm_start and arguments.warm_start / stage.folder
        architecture.module(stage.module).train(
            arguments.work, stage.minutes if arguments.minutes is None else arguments.minutes, release
        )


def export(arguments: argparse.Namespace) -> None:
    """Writes the model folder from the newest checkpoints."""
    ARCHITECTURES[arguments.architecture].module("export").export(arguments.work, arguments.model)


def colours(arguments: argparse.Namespace) -> None:
    """Fits the preview colours of the model folder's latents and writes them to its recipe.json, as `export` does."""
    from pocket.colours import write
    from pocket.model import load

    print(f"{write(load(arguments.model), arguments.model):.0%} of the variance of small pictures is explained")


def score(arguments: argparse.Namespace) -> None:
    """Prints the score table of the model folder, and fails if a figure is below the released one (scores.json).

    With --release, the figures become the released ones, in scores.json and on the card, which a new model gets from
    the template.
    """
    from pocket.score import below, score_folder, table

    architecture = ARCHITECTURES[arguments.architecture]
    scores = score_folder(arguments.model, architecture.prompts, range(architecture.seeds))
    print(table(scores))
    released = arguments.model / "scores.json"
    if arguments.release:
        released.write_text(json.dumps(scores, indent=2) + "\n")
        card = arguments.model / "README.md"
        if not card.exists():
            card.write_text((ROOT / "tools" / "pocket" / "card_template.md").read_text())
        card.write_text(re.sub(r"(?s)\| \| color.*?\n\n", table(scores) + "\n\n", card.read_text()))
    elif not released.exists():
        print(f"There is no {released} to compare with yet; --release writes it.")
    elif worse := below(scores, json.loads(released.read_text())):
        raise SystemExit("Below the released figures:\n" + "\n".join(worse))


def guidance(arguments: argparse.Namespace) -> None:
    """Prints the figures at several strengths of guidance, on prompts that the score does not use."""
    from pocket.score import guidances, table

    print(table(guidances(arguments.model)))


def sheet(arguments: argparse.Namespace) -> None:
    """Samples held-out prompts, or the given ones, and writes a contact sheet as PNG."""
    from pocket.model import load
    from pocket.score import HELD_OUT, held_out
    from pocket.sheet import contact_sheet

    model = load(arguments.model)
    prompts = arguments.prompt or held_out(100)[1][: arguments.rows]
    videos = model.sample(prompts, model.recipe["guidance"], model.recipe["steps"], seed=HELD_OUT)
    target = arguments.work / "sheet.png"
    contact_sheet(videos, prompts, target)
    print(target)


def compare(arguments: argparse.Namespace) -> None:
    """Samples one prompt with the model of every system, and writes a picture with a row for each."""
    from pocket.model import SYSTEMS, load
    from pocket.sheet import contact_sheet

    clips = []
    for name in SYSTEMS:
        model = load(ROOT / "models" / ARCHITECTURES[name].folder)
        clips.append(model.sample([arguments.prompt], model.recipe["guidance"], model.recipe["steps"])[0])
    target = arguments.work / "compare.png"
    contact_sheet(clips, list(SYSTEMS.values()), target, columns=9)
    print(target)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (default: as many as torch takes)")
    commands = parser.add_subparsers(required=True)

    def command(function) -> argparse.ArgumentParser:
        added = commands.add_parser(function.__name__, help=function.__doc__)
        added.set_defaults(run=function)
        added.add_argument("--architecture", choices=ARCHITECTURES, default="ltx", help="(default: ltx)")
        added.add_argument("--work", type=Path, help="checkpoints and logs (default: .training/ and the model's name)")
        added.add_argument("--model", type=Path, help="the model folder (default: the one in models/)")
        return added

    training = command(train)
    training.add_argument("--stage", choices=[*STAGES, "all"], default="all")
    training.add_argument("--minutes", type=float, help="training time of the stage, earlier runs included")
    training.add_argument("--warm-start", type=Path, help="a released model folder whose weights training starts from")
    command(export)
    command(colours)
    scoring = command(score)
    scoring.add_argument("--release", action="store_true", help="write these figures to scores.json and the card")
    command(guidance)
    drawing = command(sheet)
    drawing.add_argument("--rows", type=int, default=10)
    drawing.add_argument("--prompt", action="append", help="a prompt instead of the held-out ones; may be repeated")
    comparing = commands.add_parser("compare", help=compare.__doc__)
    comparing.set_defaults(run=compare, architecture=None, model=None)
    comparing.add_argument("--prompt", default="a large red circle moving right on a white background")
    comparing.add_argument("--work", type=Path, help="where the picture goes (default: .training/)")
    chosen = parser.parse_args()
    name = ARCHITECTURES[chosen.architecture].folder if chosen.architecture else ""
    chosen.work = chosen.work or ROOT / ".training" / name
    chosen.model = chosen.model or ROOT / "models" / name
    return chosen


def main() -> None:
    chosen = parse()
    if chosen.threads:
        import torch

        torch.set_num_threads(chosen.threads)
    if chosen.architecture not in ("pyramid", None):  # None: all of them
        return chosen.run(chosen)
    import pack

    sys.argv[1:] = []  # ComfyUI reads them too
    with tempfile.TemporaryDirectory() as base:
        pack.prepare_comfyui(Path(base))
        pack.load()
        chosen.run(chosen)


if __name__ == "__main__":
    main()
